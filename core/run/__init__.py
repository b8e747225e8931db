"""The run folder, the schemas of its tables, and the reader of a run; the folder alone is imported here."""

from core.run.folder import (
    LAYERS_DIR,
    REDO,
    TEMPORARY,
    Manifest,
    Run,
    RunHeld,
    StageRecord,
    atomic_path,
    check_run_name,
    list_runs,
    manifest_version,
    open_run,
    runs_dir,
    table_file,
    write_json,
    write_table,
)

__all__ = [
    "LAYERS_DIR",
    "REDO",
    "TEMPORARY",
    "Manifest",
    "Run",
    "RunHeld",
    "StageRecord",
    "atomic_path",
    "check_run_name",
    "list_runs",
    "manifest_version",
    "open_run",
    "runs_dir",
    "table_file",
    "write_json",
    "write_table",
]

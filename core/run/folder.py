"""The run folder ``cache/<run>/``: manifest, progress, lock, reading its tables, and atomic writing.

A stage is done when its record stands in ``manifest.json``, which is written last and in one step. Nothing here needs
torch, and pyarrow only where a table is read or written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config import PROJECT_ROOT, Config, captions_given, config_from_dict
from core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FORMAT = 1
LAYERS_DIR = (".work", "layers")  # locks and progress of processes that compute single layers
TEMPORARY = ".tmp-"  # how the names of half-written files begin
REDO = "Compute it again: python -m precompute run PRESET."


def runs_dir() -> Path:
    """The folder of all runs: the environment variable CAPTIONSCOPE_CACHE, or ``cache/`` of the project."""
    return Path(os.environ.get("CAPTIONSCOPE_CACHE") or PROJECT_ROOT / "cache")


@dataclass(frozen=True)
class StageRecord:
    """What one finished stage left: seconds, bytes and rows are totals; ``files`` maps a path in the run to its bytes.

    ``content`` is a hash of the files, ``inputs`` the content of the stages they were made from, and ``parts`` the
    hashes that the fingerprint is made of, so that a plan can say what changed.
    """

    fingerprint: str
    started: str
    seconds: float
    rows: int
    bytes: int
    peak_memory: int
    versions: dict[str, str]
    device: str
    files: dict[str, int]
    notes: dict[str, Any] = field(default_factory=dict)
    content: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``: the resolved settings of a run and the records of its finished stages."""

    run: str
    preset: str
    config: dict[str, Any]
    stages: dict[str, StageRecord] = field(default_factory=dict)
    format: int = FORMAT


class Run:
    """One run folder."""

    def __init__(self, dir: str | Path):
        self.dir = Path(dir)

    def __repr__(self) -> str:
        return f"Run({str(self.dir)!r})"

    @property
    def name(self) -> str:
        return self.dir.name

    def path(self, *parts: str) -> Path:
        return self.dir.joinpath(*parts)

    def has(self, table: str) -> bool:
        """Whether the run has this table, such as "features" or "captions"."""
        return self.path(table_file(table)).is_file()

    def table(self, name: str, columns: Sequence[str] | None = None, **equal: int | str | list[int]) -> pa.Table:
        """A table, or these columns of it, or its rows with these values (or one of these: a list), of which row groups
        that cannot have them are not read; UserError where it is not there, or is not as docs/formats.md says."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(table_file(name))
        what = f"The table {name} of the run {self.name} cannot be read."
        try:
            known = pq.read_schema(path).names
            lacking = [column for column in (*(columns or ()), *equal) if column not in known]
            if lacking:
                raise UserError(what, f"It has no column {', '.join(lacking)}.", REDO)
            how = {True: "in", False: "="}
            filters = [(column, how[isinstance(value, list)], value) for column, value in equal.items()] or None
            return pq.read_table(path, columns=None if columns is None else list(columns), filters=filters)
        except FileNotFoundError:
            why = "The stage that writes it has not been computed yet."
            raise UserError(f"The run {self.name} has no table {name}.", why, REDO) from None
        except pa.ArrowException as e:
            raise UserError(what, str(e).strip().splitlines()[0], REDO) from e

    def images(self) -> pd.DataFrame:
        """One row an image, by sample_id: the columns of samples, with ``gender`` as the stage words tells it.

        ``gender`` is "unknown" where that says nothing; what is annotated is ``gender_annotated``. ``attributes`` is
        JSON or empty.
        """
        samples = self.table("samples").to_pandas().sort_values("sample_id", ignore_index=True)
        genders = self.table("genders", ["sample_id", "gender"]).to_pandas()
        both = samples.merge(genders, on="sample_id", how="left", suffixes=("_annotated", ""))
        return both.fillna({"gender": "unknown", "attributes": ""})

    def manifest(self) -> Manifest:
        """The manifest as it stands on disk; UserError when there is none or it is of another format."""
        path = self.path("manifest.json")
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            do = f"Make it: python -m precompute run demo --run {self.name}"
            raise UserError(f"There is no run in {self.dir}.", "It has no manifest.json.", do) from None
        except ValueError as e:
            do = "Remove the folder and compute the run again."
            raise UserError(f"{path} cannot be read.", str(e), do) from None
        if tree.get("format") != FORMAT:
            why = f"Its format is {tree.get('format')}; this version reads format {FORMAT}."
            raise UserError(f"The run {self.name} was made by another version.", why, "Compute it again.")
        known = {f.name for f in fields(StageRecord)}
        stages = {n: StageRecord(**{k: v for k, v in r.items() if k in known}) for n, r in tree["stages"].items()}
        return Manifest(tree["run"], tree["preset"], tree["config"], stages, tree["format"])

    def write_manifest(self, manifest: Manifest) -> None:
        write_json(self.path("manifest.json"), asdict(manifest))

    def config(self) -> Config:
        return config_from_dict(self.manifest().config)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the run's captions: "en", "ar" or both."""
        return self.config().samples.languages

    @property
    def captions_given(self) -> str:
        """What is to be said of captions that people wrote, read in the place of the model's own; "" where it wrote."""
        return captions_given(self.config().caption.source)

    def is_done(self, stage: str) -> bool:
        return self.path("manifest.json").exists() and stage in self.manifest().stages

    def progress(self) -> dict[str, Any] | None:
        """What ``progress.json`` says, or None; a run whose process has died reads "stopped", not "running"."""
        try:
            progress = json.loads(self.path("progress.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if progress.get("state") == "running" and self.holder() is None:
            progress["state"], progress["message"] = "stopped", "The process ended before its work was done."
            for stage in progress.get("stages", []):
                stage["state"] = "stopped" if stage["state"] == "running" else stage["state"]
        return progress

    def holder(self) -> int | None:
        """The process id that works on this run now, on the whole or on single layers, or None."""
        paths = [self.path(".lock"), *sorted(self.path(*LAYERS_DIR).glob("*.lock"))]
        return next((pid for path in paths if (pid := _holder(path)) is not None), None)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for writing; the system lets go of it when the process ends, however it ends.

        Raises UserError that names the holder when another process has it.
        """
        with _locked(self.path(".lock"), fcntl.LOCK_EX, lambda: _held(self)):
            yield

    @contextlib.contextmanager
    def lock_layer(self, stage: str, layer: int) -> Iterator[None]:
        """Hold one layer of a stage: others may hold other layers at the same time, but nobody the whole run.

        Raises UserError that names the holder when another process has the layer or the run.
        """
        mine = self.path(*LAYERS_DIR, f"{stage}-{layer:02d}.lock")
        with (
            _locked(self.path(".lock"), fcntl.LOCK_SH, lambda: _held(self)),
            _locked(mine, fcntl.LOCK_EX, lambda: _held(self, _holder(mine), f"layer {layer} of the stage {stage}")),
        ):
            yield

    @contextlib.contextmanager
    def lock_work(self) -> Iterator[None]:
        """One after the other: for who holds a layer and prepares the stage's work folder, which all layers share."""
        with _locked(self.path(*LAYERS_DIR, "work"), fcntl.LOCK_EX, lambda: _held(self), wait=600.0):
            yield

    def layers_held(self, stage: str) -> list[int]:
        """Layers of a stage that processes, this one among them, compute now."""
        held = (path for path in sorted(self.path(*LAYERS_DIR).glob(f"{stage}-*.lock")) if _holder(path) is not None)
        return [int(path.stem.removeprefix(f"{stage}-")) for path in held]

    def layers_at_work(self) -> list[dict[str, Any]]:
        """What processes say that now compute single layers of a stage, one each."""
        held = (path for path in sorted(self.path(*LAYERS_DIR).glob("*.lock")) if _holder(path) is not None)
        found = (path.with_suffix(".json") for path in held)
        return [json.loads(path.read_text(encoding="utf-8")) for path in found if path.exists()]


def table_file(name: str) -> str:
    """Where the table of that name lies in a run."""
    return "activations/tokens.parquet" if name == "tokens" else f"{name}.parquet"


class RunHeld(UserError):
    """Another process works on the run."""


@contextlib.contextmanager
def _locked(path: Path, how: int, held: Callable[[], UserError], wait: float = 0.5) -> Iterator[None]:
    """Lock a file, alone (LOCK_EX; it then says who has it) or with others (LOCK_SH); ``held()`` where it is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        deadline = time.monotonic() + wait  # who asks for the holder has the file for an instant
        while True:
            try:
                fcntl.flock(file, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise held() from None
                time.sleep(0.02)
        if how == fcntl.LOCK_EX:
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
        yield


def _holder(path: Path) -> int | None:
    """The process that has locked a file for itself, 0 where it has not said who it is, or None."""
    try:
        with open(path, encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read().strip()
                return int(text) if text.isdigit() else 0
    except FileNotFoundError:
        return None
    return None


def _held(run: Run, pid: int | None = None, what: str = "") -> RunHeld:
    what = f"{what[0].upper()}{what[1:]} of the run {run.name}" if what else f"The run {run.name}"
    return RunHeld(
        f"{what} is being worked on by process {pid or run.holder() or 'unknown'}.",
        "Two processes on one run folder would overwrite each other.",
        f"Wait for it (python -m precompute status {run.name} --watch), or give another name with --run.",
    )


def check_run_name(name: str) -> str:
    """The name itself, or UserError where it cannot be the name of a folder."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        return name
    do = "Use letters, digits, dots, dashes and underscores, beginning with a letter or a digit."
    raise UserError(f"{name!r} cannot be the name of a run.", "It becomes the name of a folder.", do)


def list_runs(root: Path | None = None) -> list[Run]:
    """All runs under ``root`` (default: ``runs_dir()``), by name."""
    root = runs_dir() if root is None else Path(root)
    return [Run(p.parent) for p in sorted(root.glob("*/manifest.json"))]


def open_run(name: str | Path, root: Path | None = None) -> Run:
    """The run of that name, or in that folder where a Path is given; UserError where there is none."""
    root = runs_dir() if root is None else Path(root)
    run = Run(name if isinstance(name, Path) else root / check_run_name(name))
    if not run.path("manifest.json").is_file():
        names = ", ".join(r.name for r in list_runs(root)) or "none yet"
        raise UserError(
            f"There is no run called {name}.", f"Runs in {root}: {names}.", "Make one: python -m precompute run demo"
        )
    return run


def manifest_version(run: Run) -> str:
    """A text that changes whenever the manifest does; "" before there is one."""
    try:
        stat = run.path("manifest.json").stat()
    except FileNotFoundError:
        return ""
    return f"{stat.st_mtime_ns}-{stat.st_size}"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which it becomes when the block ends well; else it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")  # keeps the suffix, from which formats are told
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: str | Path, obj: Any) -> None:
    """Write JSON in one step, readable, UTF-8, NaN refused."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(obj, file, ensure_ascii=False, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def write_table(path: str | Path, table: pa.Table, **options: Any) -> None:
    """Write a Parquet file in one step (zstd); ``options`` go to ``pyarrow.parquet.write_table``."""
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, **{"compression": "zstd", **options})

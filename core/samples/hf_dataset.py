"""The source ``dataset``: a data set of Hugging Face, from a directory of save_to_disk or by its name on the hub.

A directory is read with pyarrow alone. A name needs the package ``datasets`` and a pinned revision; the package fetches
the data when the run prepares its samples, never when a run is planned.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.config import SamplesConfig
from core.errors import UserError
from core.samples import checks
from core.samples.folder import Cells, entries
from core.samples.pictures import place
from core.samples.sources import Entry, TableSource, attribute_columns, caption_columns
from core.samples.tables import Table, arrow_table

DIRECTORY = ("state.json", "dataset_dict.json")
BATCH = 1024  # rows without images


def dataset_source(config: SamplesConfig) -> TableSource:
    """The rows of a data set, whose image_column holds images; UserError where it is not there."""
    rows, odd = _rows(config), []

    def listed() -> Iterator[Entry]:
        table = _arrow_table(rows, config)
        annotated = [config.gender_column, config.areas_column, *(column for _, column in attribute_columns(config))]
        table.require([config.image_column, *caption_columns(config).values(), *annotated])
        if config.image_column not in table.pictures:
            why = f"Columns that do: {', '.join(table.pictures) or 'none'}."
            raise UserError(
                f"The column {config.image_column} of {config.dataset} holds no images.",
                why,
                "Name the one of images: --set samples.image_column=...",
            )
        table.odd = odd
        return entries(table, config, caption_columns(config), rows.cells.names)

    if rows.files:
        listed()  # so that a plan already says what is missing
        return TableSource(rows.cells, listed, tuple(rows.files), n=len(rows.table), odd=[odd])
    which = f"{config.dataset}@{config.dataset_revision}"
    origin = {"dataset": config.dataset, "revision": config.dataset_revision, "split": config.dataset_split}
    return TableSource(rows.cells, listed, content=which, is_far=True, origin=origin, odd=[odd])


def data_set_table(config: SamplesConfig) -> Table:
    """All columns of a data set but the bytes of its images; from the hub where it has to be."""
    return _arrow_table(_rows(config), config)


def _arrow_table(rows: TableRows, config: SamplesConfig) -> Table:
    def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
        yield from rows.table.select(names).to_batches(BATCH)

    return arrow_table(config.dataset, rows.table.schema, batches)


def _rows(config: SamplesConfig) -> TableRows:
    path = place(config.dataset)
    if any((path / name).is_file() for name in DIRECTORY):
        files = _arrow_files(path, config.dataset_split)
        return TableRows(lambda: _mapped(path, files), config.image_column, files)
    if path.exists() or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", config.dataset):
        raise UserError(
            f"There is no data set in {path}.",
            f"It has neither {' nor '.join(DIRECTORY)}.",
            "Give a directory written by save_to_disk, or a name on the hub.",
        )
    if not re.fullmatch(r"[0-9a-f]{40}", config.dataset_revision):
        do = "Give the commit from its page (Files, History): --set samples.dataset_revision=..."
        why = "What a hub name stands for may change; a run records which revision it has read."
        raise UserError(f"The data set {config.dataset} is not pinned.", why, do)
    return TableRows(lambda: _from_hub(config), config.image_column)


class TableRows:
    """A column of images of an Arrow table that lies on disk and is mapped, not read, into memory."""

    def __init__(self, load: Callable[[], pa.Table], column: str, files: Sequence[Path] = ()):
        self._load, self._column, self.files = load, column, list(files)  # no files: it is the hub's
        self.cells = Cells(self)

    @functools.cached_property
    def table(self) -> pa.Table:
        return self._load()

    def __iter__(self) -> Iterator[Any]:
        return (self.cell(row) for row in range(len(self.table)))

    def cell(self, row: int) -> Any:
        value = self.table.column(self._column)[row].as_py()
        if not self.files and isinstance(value, dict) and value.get("bytes") is None and value.get("path"):
            return {**value, "bytes": _cached_bytes(value["path"])}
        return value


def _arrow_files(path: Path, split: str) -> list[Path]:
    """The Arrow files of a directory of save_to_disk; ``split`` may name several, as in train+test."""
    folders = [path]
    if not (path / "state.json").is_file():
        splits = _json(path / "dataset_dict.json").get("splits", [])
        chosen = split.split("+") if split else splits
        if not set(chosen) <= set(splits) or (not split and len(splits) != 1):
            raise UserError(
                f"Which part of {path.name} is meant?",
                f"It has {', '.join(splits)}.",
                f"Name one, or several: --set samples.dataset_split={'+'.join(splits)}",
            )
        folders = [_inside(path, name) for name in chosen]
    named = [
        (folder, item.get("filename", ""))
        for folder in folders
        for item in _json(folder / "state.json").get("_data_files", [])
    ]
    return [_inside(folder, name) for folder, name in named]


def _inside(folder: Path, name: str) -> Path:
    """A file or folder directly in ``folder``; UserError for names that lead elsewhere or to nothing."""
    path = folder / name
    if not re.fullmatch(r"[\w][\w.-]*", name) or not path.exists() or path.resolve().parent != folder.resolve():
        raise UserError(
            f"The data set in {folder} is damaged.",
            f"It names {name!r}, which is not in it.",
            "Write it again with save_to_disk.",
        )
    return path


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise UserError(
            f"The data set in {path.parent} is damaged.", f"{path.name}: {e}", "Write it again with save_to_disk."
        ) from e


def _mapped(path: Path, files: list[Path]) -> pa.Table:
    try:
        tables = [pa.ipc.open_stream(pa.memory_map(str(file))).read_all() for file in files]
        return pa.concat_tables(tables)
    except (pa.ArrowException, OSError) as e:
        why = (str(e).splitlines() or [""])[0]
        raise UserError(f"The data set in {path} is damaged.", why, "Write it again with save_to_disk.") from e


def _from_hub(config: SamplesConfig) -> pa.Table:
    """The table behind a hub name, as ``datasets`` fetches or has cached it."""
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError as e:
        raise UserError(
            "The package datasets is not installed.",
            "It reads data sets by their hub name.",
            "Install it: pip install datasets; or give a directory of save_to_disk.",
        ) from e
    wanted = {"name": config.dataset_config or None, "split": config.dataset_split or "train"}
    try:
        found = datasets.load_dataset(config.dataset, revision=config.dataset_revision, **wanted)
    except (OSError, ValueError, RuntimeError, DatasetsError) as e:
        why = (str(e).splitlines() or [type(e).__name__])[0][:200]
        do = "Check name, revision, config, split and network, or give a directory of save_to_disk."
        raise UserError(f"The data set {config.dataset} could not be had.", why, do) from e
    plain = found.flatten_indices() if found._indices is not None else found
    return plain.data.table.replace_schema_metadata(plain.features.arrow_schema.metadata)


def _cached_bytes(path: str) -> bytes | None:
    """An image file that the package has fetched into its own cache; None for any other place."""
    from datasets import config
    from huggingface_hub.constants import HF_HUB_CACHE

    file = Path(path).resolve()
    roots = [Path(root).resolve() for root in (HF_HUB_CACHE, config.HF_DATASETS_CACHE)]
    if not file.is_file() or not any(file.is_relative_to(root) for root in roots):
        return None
    with open(file, "rb") as f:
        return f.read(checks.MAX_BYTES + 1)

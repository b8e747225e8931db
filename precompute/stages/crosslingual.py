"""Stage crosslingual: what English and Arabic share, by one dictionary for both and by dictionaries trained apart.

Each layer, each separate SAE and each comparison leaves a part; what is there after a kill is kept. Multiplicity is
controlled at the end, over all layers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.activations.replay import Activations
from core.config import only_language
from core.crosslingual.assembled import PARTS, assembled
from core.crosslingual.assembled import Part as Found
from core.crosslingual.compared_saes import compare_saes
from core.crosslingual.measures import measure_row
from core.crosslingual.pairs import LANGUAGES, paired_images
from core.crosslingual.separate import SEEDS, train_language_sae
from core.crosslingual.shared_dictionary import SharedDictionary
from core.crosslingual.tables import TABLES
from core.crosslingual.things import words_for_things
from core.features.pooled import Pooled
from core.run import write_json, write_table
from core.sae.files import CFG_FILE, load_sae, save_sae
from core.samples.sources import knowledge
from core.vlm import load_captioner
from precompute.context import Part, StageContext

FOLDER = "language_saes"


def run(ctx: StageContext) -> dict:
    """Write the tables of ``TABLES`` and language_saes/."""
    work = _Work(ctx)
    parts = [] if work.too_few else [part for n in work.layers for part in work.shared(n)]
    saes = [] if work.too_few else [part for n in work.separate_layers for part in work.language_saes(n)]
    compared = [] if work.too_few else [work.compared(n) for n in work.separate_layers]
    total = len(parts) + len(saes) + len(compared)
    ctx.make(saes, lambda n: ctx.progress(n, total, "parts", "SAEs of one language"))  # the longest ones first
    ctx.make([*compared, *parts], lambda n: ctx.progress(len(saes) + n, total, "parts", "comparing languages"))
    return {} if ctx.helper else work.finish()


class _Work:
    def __init__(self, ctx: StageContext):
        self.ctx, self.config, self.layers = ctx, ctx.config.crosslingual, ctx.config.activations.layers
        self.separate_layers = self.config.layers or (self.layers[len(self.layers) // 2],)
        load = lambda: load_captioner(ctx.run, ctx.config.model, ctx.device)  # noqa: E731
        self.activations = Activations.of(ctx, load, self.separate_layers)
        images = ctx.run.images()
        self.gender = images["gender"].to_numpy(object)
        self.train = (images["split"] == "train").to_numpy()
        source = knowledge(ctx.config.samples)
        self.things = [source.thing(attributes, "ar") for attributes in images["attributes"]]
        self.pooled = {layer: Pooled(ctx.run.dir, layer) for layer in self.layers}
        self.n_paired = len(paired_images(self.pooled[self.layers[0]].n_positions["caption"]))
        self.too_few = self.n_paired < 2 * self.config.min_images

    def shared(self, layer: int) -> list[Part]:
        """What needs only a layer's pooled captions."""
        folder, pooled = self.folder(layer), self.pooled[layer]
        make = cache(lambda: SharedDictionary(pooled, self.gender, self.train, self.config, self.ctx.config.seed))
        steps: dict[str, Callable[[], Found]] = {
            "languages": lambda: ([], make().languages()),
            "residuals": lambda: (_tagged(*make().residuals()), {}),
            "gender": lambda: make().gender_scores(),
            "overlap": lambda: (make().overlap(), {}),
            "words": lambda: ([], make().words(*words_for_things(self.ctx.run, self.things))),
        }
        return [_part(folder, name, step) for name, step in steps.items()]

    def language_saes(self, layer: int) -> list[Part]:
        """SAEs of one language each at a layer."""
        parts = []
        for lang, seed in ((lang, seed) for lang in LANGUAGES for seed in SEEDS):
            folder = self.folder(layer) / f"{lang}_{seed}"

            def make(lang: str = lang, seed: int = seed, folder: Path = folder) -> None:
                reader = self.activations.reader(layer)
                train_language_sae(self.ctx.config, reader, lang, seed, folder, self.ctx.device, lambda _: None)

            parts.append(Part(folder / CFG_FILE, make))  # written last
        return parts

    def compared(self, layer: int) -> Part:
        """SAEs of one language each, matched and scored."""
        folder, pooled = self.folder(layer), self.pooled[layer]

        def make() -> Found:
            images = paired_images(pooled.n_positions["caption"])
            reader = self.activations.reader(layer)
            return compare_saes(self.ctx.config, reader, folder, images, self.gender, self.train), {}

        return _part(folder, "separate", make)

    def folder(self, layer: int) -> Path:
        return self.ctx.work_dir / f"layer_{layer:02d}"

    def finish(self) -> dict:
        """All tables, from the parts."""
        parts = ((n, self.pooled[n].sae_id, name, _kept(self.folder(n), name)) for n in self.layers for name in PARTS)
        instead = [self.nothing(layer) for layer in self.layers] if self.too_few else []
        tables = assembled(parts, self.layers, self.config, instead)
        for name, table in tables.items():
            TABLES[name].write(self.ctx.run, table)
        self.save_language_saes()
        notes = {"images_in_both_languages": self.n_paired, "separate_layers": list(self.separate_layers)}
        return {"rows": sum(len(t) for t in tables.values()), "notes": notes}

    def nothing(self, layer: int) -> dict[str, Any]:
        why = f"{self.n_paired} images have a caption in both languages; {2 * self.config.min_images} are needed"
        why = only_language(self.ctx.config.samples.languages) or why
        return {"layer": layer, **measure_row("cka", self.n_paired, "images", None, why, view="caption")}

    def save_language_saes(self) -> None:
        target = self.ctx.run.path(FOLDER)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for layer in () if self.too_few else self.separate_layers:
            for source in sorted(self.folder(layer).glob("*_[0-9]")):
                save_sae(load_sae(source), target / f"layer_{layer:02d}_{source.name}")


def _tagged(similarity: list[dict[str, Any]], directions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tables = {"alignment": similarity, "gender_directions": directions}
    return [{"table": table, **row} for table, rows in tables.items() for row in rows]


def _part(folder: Path, name: str, make: Callable[[], Found]) -> Part:
    return Part(folder / f"{name}.json", lambda: _keep(folder, name, *make()))


def _keep(folder: Path, name: str, rows: list[dict[str, Any]], columns: dict[str, np.ndarray]) -> None:
    """A part: columns first, then rows, whose file says that the part is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    if columns:
        write_table(folder / f"{name}.parquet", pa.table({k: pa.array(v.tolist()) for k, v in columns.items()}))
    write_json(folder / f"{name}.json", [{k: _known(v) for k, v in row.items()} for row in rows])


def _known(value: Any) -> Any:
    """None for a number that is not known, as where a feature never fires among the images of a draw."""
    return None if isinstance(value, float) and value != value else value


def _kept(folder: Path, name: str) -> Found:
    path = folder / f"{name}.json"
    if not path.exists():
        return [], {}
    parquet = path.with_suffix(".parquet")
    table = pq.read_table(parquet) if parquet.exists() else pa.table({})
    return json.loads(path.read_text(encoding="utf-8")), {c: table[c].to_numpy() for c in table.column_names}

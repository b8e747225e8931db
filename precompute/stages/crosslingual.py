"""Stage crosslingual: what English and Arabic share, by one dictionary for both and by dictionaries trained apart.

Each layer, each separate SAE and each comparison leaves a part; what is there after a kill is kept. Multiplicity is
controlled at the end, over all layers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.activations.store import ActivationReader
from core.config import only_language
from core.crosslingual.aligner import CrossLingualFeatureAligner, Dictionary
from core.crosslingual.grammatical import class_follows
from core.crosslingual.language import LanguageSpecificFeatureIdentifier
from core.crosslingual.measures import measure_row
from core.crosslingual.pairs import LANGUAGES, PairedCodes, paired_images
from core.crosslingual.separate import SEEDS, caption_means, held_out_fit, language_rows, train_language_sae
from core.crosslingual.shared_dictionary import SharedDictionary, joined, scored, too_few_of_a_gender
from core.crosslingual.sharing import class_sharing, gendered_codes
from core.crosslingual.tables import SCHEMAS, table_of_columns, table_of_rows
from core.crosslingual.things import grammatical_gender, things
from core.features.pooled import Pooled
from core.features.tokens import read_token_index
from core.runs import write_json, write_table
from core.sae.files import load_sae, sae_id, save_sae
from precompute.context import StageContext

FOLDER = "language_saes"
SEPARATE_STREAM = 81
LAYER, SEPARATE = 4, 10  # weights of a layer and of a layer with separate SAEs in the progress
Part = tuple[list[dict[str, Any]], dict[str, np.ndarray]]


def run(ctx: StageContext) -> dict:
    """Write the tables of ``SCHEMAS`` and language_saes/."""
    work = _Work(ctx)
    for number, layer in enumerate(work.layers):
        work.shared(layer, number)
    for number, layer in enumerate(work.separate_layers):
        work.separate(layer, number)
    return work.finish()


class _Work:
    def __init__(self, ctx: StageContext):
        self.ctx, self.config, self.layers = ctx, ctx.config.crosslingual, ctx.config.activations.layers
        self.separate_layers = self.config.layers or (self.layers[len(self.layers) // 2],)
        self.activations = ctx.activations(self.load_vlm, self.separate_layers)
        samples = pq.read_table(ctx.run.path("samples.parquet"), columns=["sample_id", "split", "attributes"])
        genders = pq.read_table(ctx.run.path("genders.parquet"), columns=["sample_id", "gender"])
        order = np.argsort(genders["sample_id"].to_numpy())
        self.gender = np.array(genders["gender"].to_pylist(), dtype=object)[order]
        self.train = np.array(samples["split"].to_pylist()) == "train"
        self.attributes = samples["attributes"].to_pylist()
        self.pooled = {layer: Pooled(ctx.run.dir, layer) for layer in self.layers}
        self.n_paired = len(paired_images(self.pooled[self.layers[0]].n_positions["caption"]))
        self.too_few = self.n_paired < 2 * self.config.min_images
        self.total = LAYER * len(self.layers) + SEPARATE * len(self.separate_layers)

    def shared(self, layer: int, number: int) -> None:
        """The parts of a layer that need only its pooled captions."""
        folder = self.folder(layer)
        if self.too_few:
            return
        compared = SharedDictionary(self.pooled[layer], self.gender, self.train, self.config, self.ctx.config.seed)
        steps: tuple[tuple[str, Callable[[], Part]], ...] = (
            ("languages", lambda: ([], compared.languages())),
            ("residuals", lambda: (_tagged(*compared.residuals()), {})),
            ("gender", compared.gender_scores),
            ("words", lambda: ([], compared.words(*self.words()))),
        )
        for step, (name, make) in enumerate(steps):
            if not (folder / f"{name}.json").exists():
                _keep(folder, name, *make())
            self.ctx.progress(number * LAYER + step + 1, self.total, "parts", f"layer {layer}: {name}")

    def separate(self, layer: int, number: int) -> None:
        """SAEs of one language each at a layer, matched and scored."""
        folder, done = self.folder(layer), LAYER * len(self.layers) + SEPARATE * number
        if self.too_few or (folder / "separate.json").exists():
            return
        reader = self.activations.reader(layer)
        for n, (lang, seed) in enumerate((lang, seed) for lang in LANGUAGES for seed in SEEDS):

            def report(step: int, n: int = n, lang: str = lang) -> None:
                message = f"layer {layer}: {lang} SAE, step {step}"
                self.ctx.progress(done + 2 * n + 2 * step // self.config.steps, self.total, "parts", message)

            train_language_sae(self.ctx.config, reader, lang, seed, folder / f"{lang}_{seed}", self.ctx.device, report)
        self.ctx.progress(done + 8, self.total, "parts", f"layer {layer}: matching")
        _keep(folder, "separate", *self.matched(layer, reader, folder))
        self.ctx.progress(done + SEPARATE, self.total, "parts", f"layer {layer}: matched")

    def matched(self, layer: int, reader: ActivationReader, folder: Path) -> Part:
        tokens = read_token_index(self.ctx.run.path("activations", "tokens.parquet"))
        images = paired_images(self.pooled[layer].n_positions["caption"])
        dictionaries, rows = [], []
        for lang, seed in ((lang, seed) for lang in LANGUAGES for seed in SEEDS):
            sae = load_sae(folder / f"{lang}_{seed}")
            codes = caption_means(sae, reader, tokens, lang, images)
            dictionaries.append(Dictionary(lang, seed, sae_id(sae), codes, sae.W_dec.detach().numpy()))
            rows.append({"table": "language_saes", "lang": lang, "seed": seed, "language_sae_id": sae_id(sae),
                         "d_sae": sae.cfg.d_sae, "k": sae.cfg.k,
                         "n_train_tokens": len(language_rows(reader, lang, "train")),
                         "explained_variance": held_out_fit(folder / f"{lang}_{seed}", reader, lang)})  # fmt: skip
        train, seed = self.train[images], self.ctx.config.seed
        aligner = CrossLingualFeatureAligner(train, self.config.n_bootstrap, seed)
        measures, matches = aligner.align(dictionaries)
        rows += [{"table": "alignment", **row} for row in measures]
        rows += [{"table": "language_matches", **row} for row in matches]
        gender = self.gender[images]
        if not too_few_of_a_gender(gender, train, self.config.min_images):
            first = {d.lang: d for d in reversed(dictionaries)}
            assigned = [m for m in matches if m["matched_by"] == "activation"]
            pairs = [np.array([m[f"feature_{lang}"] for m in assigned]) for lang in LANGUAGES]
            codes = PairedCodes(*(first[lang].codes[:, p] for lang, p in zip(LANGUAGES, pairs, strict=True)))
            found = gendered_codes([(0, codes)], gender, train, self.config.min_images)
            key = [seed, SEPARATE_STREAM, layer]
            rows += [
                {"table": "clbas", **row} for row in scored(found, "caption", "separate", self.config.n_bootstrap, key)
            ]
        return rows, {}

    def words(self) -> tuple[Any, np.ndarray]:
        """Which words for things stand in each sample's Arabic caption, and which of the words are feminine."""
        captions = pq.read_table(
            self.ctx.run.path("captions.parquet"), columns=["sample_id", "lang", "text"]
        ).to_pylist()
        texts = {row["sample_id"]: row["text"] for row in captions if row["lang"] == "ar"}
        said = pq.read_table(self.ctx.run.path("words.parquet"), columns=["word", "lang"]).to_pylist()
        persons = {row["word"] for row in said if row["lang"] == "ar"}
        words, stands = things([texts.get(i, "") for i in range(len(self.train))], self.attributes, persons)
        return stands, np.array([grammatical_gender(word) == "female" for word in words], bool)

    def load_vlm(self) -> Any:
        """The model, where activations are to be computed again."""
        from core.vlm import load_captioner

        return load_captioner(self.ctx.run, self.ctx.config.model, self.ctx.device)

    def folder(self, layer: int) -> Path:
        return self.ctx.work_dir / f"layer_{layer:02d}"

    def finish(self) -> dict:
        """All tables, from the parts; q values are taken over all layers here."""
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
        columns: dict[str, list[dict[str, np.ndarray]]] = {"languages": [], "gender": [], "words": []}
        for layer in self.layers:
            for name in ("languages", "residuals", "gender", "words", "separate"):
                found, part = _kept(self.folder(layer), name)
                for row in found:
                    rows[row.get("table", "clbas")].append({"layer": layer, **row})
                if part:
                    n = len(part["feature"])
                    sae = np.full(n, self.pooled[layer].sae_id, dtype=object)
                    columns[name].append(part | {"layer": np.full(n, layer), "sae_id": sae})
        if self.too_few:
            rows["alignment"] = [self.nothing(layer) for layer in self.layers]
        classed, classes = self.classify(joined(columns["languages"]))
        rows["language_classes"] = classes
        gender, words = joined(columns["gender"]), joined(columns["words"])
        tables = {name: table_of_rows(name, rows[name]) for name in SCHEMAS}
        tables["language_features"] = table_of_columns("language_features", classed)
        tables["shared_gender"] = table_of_columns(
            "shared_gender", class_sharing(gender, self.config.fdr) if gender else {}
        )
        follows = class_follows(words, self.config.fdr, self.config.min_images) if words else {}
        tables["grammatical_gender"] = table_of_columns("grammatical_gender", follows)
        for name, table in tables.items():
            write_table(self.ctx.run.path(f"{name}.parquet"), table)
        self.save_language_saes()
        notes = {"images_in_both_languages": self.n_paired, "separate_layers": list(self.separate_layers)}
        return {"rows": sum(len(t) for t in tables.values()), "notes": notes}

    def classify(self, columns: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        if not columns:
            return {}, []
        identifier = LanguageSpecificFeatureIdentifier(fdr=self.config.fdr, min_images=self.config.min_images)
        classed = identifier.classify(columns)
        return classed, [
            {"layer": layer, **row} for layer in self.layers
            for row in identifier.count_classes({k: v[classed["layer"] == layer] for k, v in classed.items()})
        ]  # fmt: skip

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


def _keep(folder: Path, name: str, rows: list[dict[str, Any]], columns: dict[str, np.ndarray]) -> None:
    """A part: columns first, then rows, whose file says that the part is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    if columns:
        write_table(folder / f"{name}.parquet", pa.table({k: pa.array(v.tolist()) for k, v in columns.items()}))
    write_json(folder / f"{name}.json", rows)


def _kept(folder: Path, name: str) -> Part:
    path = folder / f"{name}.json"
    if not path.exists():
        return [], {}
    parquet = path.with_suffix(".parquet")
    table = pq.read_table(parquet) if parquet.exists() else pa.table({})
    return json.loads(path.read_text(encoding="utf-8")), {c: table[c].to_numpy() for c in table.column_names}

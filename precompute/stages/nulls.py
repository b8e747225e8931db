"""Stage nulls: what the same questions give for dictionaries and models that learned nothing, beside the run's own.

What needs no training is done at every layer; what is trained at ``nulls.layers``. Each leaves a part; what is there
after a kill is kept, and a training goes on from its checkpoint.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from core.activations.passes import Passes
from core.activations.replay import GB, Activations, Replay
from core.activations.store import ActivationReader
from core.features.labels import Candidates, attributes_of, candidates
from core.features.pooled import Pooled
from core.features.tokens import LANGUAGES, read_token_index
from core.gender.findings import shuffled_labels
from core.layers.control_task import telling_words
from core.nulls.codes import VIEWS, CaptionCodes, TextRows, axes, components, encoded, text_rows
from core.nulls.contrasts import Contrast, contrast_rows, gender_contrast, other_contrasts
from core.nulls.detectors import detector_rows
from core.nulls.dictionaries import DRAW, random_dictionary
from core.nulls.findings import (
    AXES,
    COMPONENTS,
    FROZEN,
    RANDOM,
    RANDOM_MODEL,
    SEED,
    SHUFFLED,
    TRAINED,
    Asked,
    ask,
    compared,
    whole_residual,
)
from core.nulls.layers import layer_rows
from core.nulls.others import alignment_row, label_counts
from core.nulls.quality import quality_rows
from core.nulls.random_model import among, mean_residuals, randomise, spread_blocks
from core.nulls.recurrence import decoder_rows, held_out_rows, recurrence, recurrence_rows, token_codes
from core.nulls.training import train_beside
from core.run import write_table
from core.run.schema import Table
from core.run.schema.nulls import (
    NULL_ALIGNMENT,
    NULL_DETECTORS,
    NULL_FINDINGS,
    NULL_LABELS,
    NULL_LAYERS,
    NULL_OTHERS,
    NULL_PROBES,
    RECURRENCE,
    SAE_QUALITY,
)
from core.sae.files import load_sae
from core.sae.modules import SAE
from core.vlm import load_captioner
from precompute.context import Part, StageContext

TABLES = (
    *(RECURRENCE, NULL_LAYERS, NULL_DETECTORS, SAE_QUALITY, NULL_LABELS, NULL_ALIGNMENT, NULL_OTHERS),
    *(NULL_FINDINGS, NULL_PROBES),  # the last of a part says that it is whole
)
PERCENT = 100
RANDOM_DRAW = 50  # the number of the randomised model's SAE among the trainings
Rows = list[dict[str, Any]]
Made = Mapping[Table, Rows]


def run(ctx: StageContext) -> dict:
    """Write the tables of ``TABLES``."""
    work = _Work(ctx)
    ctx.make([work.part(*one) for one in work.plan], work.tell)
    if ctx.helper:
        return {}
    rows = {}
    for of in TABLES:
        files = [work.folder(layer, name) / of.file for name, layer, _ in work.plan]
        rows[of.name] = of.write_parts(ctx.run, (pq.read_table(file) for file in files))
    return {"rows": sum(rows.values()), "notes": rows | work.why_not}


class _Work:
    def __init__(self, ctx: StageContext):
        self.ctx, self.config, self.layers = ctx, ctx.config.nulls, ctx.config.activations.layers
        self.seed, self.n_done = ctx.config.seed, 0
        self.load = functools.partial(load_captioner, ctx.run, ctx.config.model, ctx.device)
        self.activations = Activations.of(ctx, self.load, self.layers)
        images = ctx.run.images()
        self.is_train = (images["split"] == "train").to_numpy(bool)
        self.asked = Asked(images["gender"].to_numpy(str), self.is_train, ctx.config.gender)
        self.tokens = read_token_index(ctx.run)
        self.trained_layers = self.config.layers or (self.layers[len(self.layers) // 2],)
        self.why_not: dict[str, str] = {}
        self.plan = self.planned()

    def planned(self) -> list[tuple[str, int, Callable[[], Made]]]:
        """Name, layer (-1: all) and making of each part, the longest first."""
        c, found = self.config, []
        untrained = [("untrained", layer, functools.partial(self.untrained, layer)) for layer in self.layers]
        if self.ctx.config.sae.source:
            self.why_not["trained"] = "the run's SAEs are by others: nothing is trained beside them"
            return untrained
        if c.random_model and self.ctx.config.model.quantize:
            self.why_not["random_model"] = "weights of few bits cannot be drawn at random"
        elif c.random_model:
            found.append(("random_model", -1, self.random_model))
        for layer in self.trained_layers:
            found += [(f"seed_{n}", layer, functools.partial(self.beside, layer, n)) for n in range(c.n_seeds)]
            if c.frozen_decoder:
                found.append(("frozen", layer, functools.partial(self.beside, layer, -1)))
        return found + untrained

    def folder(self, layer: int, name: str) -> Path:
        return self.ctx.work_dir / (f"layer_{layer:02d}" if layer >= 0 else "layers") / name

    def part(self, name: str, layer: int, make: Callable[[], Made]) -> Part:
        """A part is whole when the last of its tables is there."""
        folder = self.folder(layer, name)

        def write() -> None:
            made = make()
            for of in TABLES:
                write_table(folder / of.file, of.of_rows(made.get(of, [])))

        return Part(folder / TABLES[-1].file, write)

    def tell(self, n: int) -> None:
        self.n_done = n
        self.tick(0.0, "parts that are there")

    def tick(self, share: float, what: str) -> None:
        """Progress within a part."""
        done, total = int(PERCENT * (self.n_done + share)), PERCENT * len(self.plan)
        self.ctx.progress(min(done, total), total, "hundredths", what)

    def pooled(self, layer: int) -> Pooled:
        return Pooled(self.ctx.run.dir, layer)

    def own_sae(self, layer: int) -> SAE:
        return load_sae(self.ctx.run.path("saes", f"layer_{layer:02d}"))

    def untrained(self, layer: int) -> Made:
        """Rows of the dictionaries that need no training, and of the run's own, with true and with shuffled labels."""
        pooled, reader, c = self.pooled(layer), self.activations.reader(layer), self.config
        told = np.flatnonzero(np.isin(self.asked.gender, ("female", "male")))  # of others nothing is asked here
        text, sae = among(text_rows(self.tokens, pooled), told, len(LANGUAGES)), self.own_sae(layer)
        seeds = [self.seed + DRAW * (1 + draw) for draw in range(c.n_random)]
        random = [random_dictionary(reader, self.tokens, text, self.is_train, sae, seed) for seed in seeds]
        coded = {
            RANDOM: encoded(reader, text, random, self.ctx.device),
            AXES: [axes(pooled)],
            COMPONENTS: [components(pooled, self.is_train)],
        }
        self.tick(0.5, f"layer {layer}: dictionaries that need no training")
        own = ask(pooled, self.asked, c.ks)
        whole = {(v, lang): whole_residual(pooled.resid(v), pooled.n_positions[v], lang, self.asked) for v, lang in own}
        kinds = {TRAINED: [own]} | {kind: [ask(one, self.asked, c.ks) for one in of] for kind, of in coded.items()}
        found, probes = compared(own, kinds, whole, c.ks)
        mixed = [
            shuffled_labels(self.asked.gender, self.is_train, self.seed + DRAW * (1 + n)) for n in range(c.n_shuffles)
        ]
        shuffled = [ask(pooled, Asked(labels, self.is_train, self.asked.config), c.ks) for labels in mixed]
        more, chance = compared(own, {SHUFFLED: shuffled}, whole, c.ks, same_labels=False)
        key = {"layer": layer, "sae_id": pooled.sae_id}
        made: dict[Table, Rows] = {
            NULL_FINDINGS: found + more,
            NULL_PROBES: probes + chance,
            NULL_DETECTORS: detector_rows(pooled, self.asked),
            **self.described(pooled, sae, coded[RANDOM][0], random[0], told),
        }
        return {of: [key | row for row in rows] for of, rows in made.items()}

    def described(self, pooled: Pooled, sae: SAE, random: CaptionCodes, random_sae: SAE, told: np.ndarray) -> Made:
        """Quality, labels and alignment of the run's dictionary and of a random one, on images of women and men."""
        kinds = {TRAINED: pooled, RANDOM: random}
        decoders = {TRAINED: decoder_rows(sae), RANDOM: decoder_rows(random_sae)}
        made: dict[Table, Rows] = {SAE_QUALITY: [], NULL_LABELS: [], NULL_ALIGNMENT: []}
        for there in self.candidates:
            made[SAE_QUALITY] += quality_rows(pooled, {k: (kinds[k], decoders[k]) for k in kinds}, there, self.asked)
            counts = {k: label_counts(codes, there, self.asked.config.label_auc) for k, codes in kinds.items()}
            made[NULL_LABELS] += [{"kind": kind, **row} for kind, row in counts.items()]
        if len(pooled.languages) > 1:
            rows = {kind: alignment_row(codes, self.asked, told, self.seed) for kind, codes in kinds.items()}
            made[NULL_ALIGNMENT] = [{"kind": kind, **row} for kind, row in rows.items()]
            least = self.asked.config.min_images
            made[NULL_OTHERS] = contrast_rows(pooled, self.contrasts, self.is_train, least, self.seed)
        return made

    @functools.cached_property
    def contrasts(self) -> list[Contrast]:
        """Women and men, and what else images show: annotated, or in words of people's captions."""
        images, lang = self.ctx.run.images(), self.ctx.config.samples.languages[0]
        attributes = [json.loads(text or "{}") for text in images["attributes"]]
        texts: list[list[str]] = [[] for _ in attributes]
        for row in self.ctx.run.table("references", ["sample_id", "lang", "text"]).to_pylist():
            if row["lang"] == lang:
                texts[row["sample_id"]].append(row["text"])
        words = telling_words(texts, lang, self.asked.config.min_images)
        wanted, gender = self.config.other_attributes, self.asked.gender
        others = other_contrasts(attributes, words, wanted, gender, self.is_train, self.seed)
        return [gender_contrast(gender), *others]

    @functools.cached_property
    def candidates(self) -> list[Candidates]:
        """By language, what features may be called, on images of women and men."""
        images = self.ctx.run.images()
        told = zip(images["sample_id"], images["attributes"], self.asked.gender, strict=True)
        attributes = {i: attributes_of(text, str(shown)) for i, text, shown in told if shown in ("female", "male")}
        texts: dict[str, dict[int, str]] = {}
        for row in self.ctx.run.table("captions", ["sample_id", "lang", "text"]).to_pylist():
            if row["sample_id"] in attributes:
                texts.setdefault(row["lang"], {})[row["sample_id"]] = row["text"]
        return [candidates(lang, texts[lang], attributes, self.is_train) for lang in sorted(texts)]

    def train(self, reader: ActivationReader, rows: np.ndarray, folder: Path, draw: int, frozen: bool = False) -> SAE:
        """Another seed (``draw`` from 0 on) takes as many steps as the run's own."""
        again = 0 <= draw < RANDOM_DRAW
        steps, what = 0 if again else self.config.steps, f"layer {reader.layer}: {folder.name}"
        seed, n = self.seed + DRAW * (101 + draw), steps or self.ctx.config.train.steps
        report = lambda step: self.tick(0.8 * step / n, what)  # noqa: E731
        return train_beside(self.ctx.config, reader, rows, seed, folder, self.ctx.device, frozen, steps, report)

    def train_rows(self, reader: ActivationReader) -> np.ndarray:
        index = reader.index
        return np.flatnonzero(
            (index["kind"].isin(self.ctx.config.train.tokens) & (index["split"] == "train")).to_numpy()
        )

    def beside(self, layer: int, n: int) -> Made:
        """Another seed of the layer's SAE, and what recurs there; with ``n`` -1 an SAE whose decoder is frozen."""
        pooled, reader, frozen = self.pooled(layer), self.activations.reader(layer), n < 0
        name = "frozen" if frozen else f"seed_{n}"
        sae = self.train(reader, self.train_rows(reader), self.folder(layer, name) / "sae", n, frozen)
        text, resid = text_rows(self.tokens, pooled), {view: pooled.resid(view) for view in VIEWS}
        kind = FROZEN if frozen else SEED
        found, probes = self.asked_of(sae, reader, text, resid, pooled, self.asked, kind)
        key = {"layer": layer, "sae_id": pooled.sae_id}
        made: dict[Table, Rows] = {
            NULL_FINDINGS: [key | row | {"draw": max(n, 0)} for row in found],
            NULL_PROBES: [key | row for row in probes] if n <= 0 else [],
        }
        if not frozen:
            rows, first = held_out_rows(reader.index), self.own_sae(layer)
            codes = [token_codes(one, reader, rows, self.ctx.device) for one in (first, sae)]
            told = recurrence(codes[0], codes[1], decoder_rows(first), decoder_rows(sae), self.seed + layer)
            made[RECURRENCE] = [key | {"seed": n, "n_tokens": len(rows), **row} for row in recurrence_rows(told)]
        return made

    def random_model(self) -> Made:
        """The same model with weights drawn at random: probes of every layer, and an SAE of it, on the same images."""
        vlm = self.load()
        randomise(vlm, self.seed + DRAW)
        passes = Passes(self.ctx.run, self.ctx.config, vlm)
        rows, samples = spread_blocks(passes, self.config.n_random_images)
        settings, folder = self.ctx.config, self.folder(-1, "random_model")
        cache = int(settings.activations.cache_gb * GB)
        replay = Replay(passes, self.layers, folder / "passes", cache, settings.model.dtype, self.ctx.log)
        inside = np.isin(np.arange(len(self.is_train)), samples)
        asked = Asked(np.where(inside, self.asked.gender, "left out"), self.is_train, self.asked.config)
        made: dict[Table, Rows] = {of: [] for of in TABLES}
        for number, layer in enumerate(self.layers):
            pooled, reader = self.pooled(layer), replay.reader(layer)
            text = among(text_rows(self.tokens, pooled), samples, len(LANGUAGES))
            resid = mean_residuals(reader, text)
            for view, n in text.n_positions.items():
                told = layer_rows(pooled.resid(view), resid[view], n, pooled.languages, asked)
                made[NULL_LAYERS] += [{"layer": layer, "view": view, **row} for row in told]
            if layer in self.trained_layers:
                chosen = np.intersect1d(self.train_rows(reader), rows)
                sae = self.train(reader, chosen, folder / f"sae_{layer:02d}", RANDOM_DRAW)
                found, probes = self.asked_of(sae, reader, text, resid, pooled, asked, RANDOM_MODEL)
                key = {"layer": layer, "sae_id": pooled.sae_id}
                made[NULL_FINDINGS] += [key | row for row in found]
                made[NULL_PROBES] += [key | row for row in probes]
            self.tick((number + 1) / len(self.layers), f"layer {layer}: the randomised model")
        return made

    def asked_of(
        self,
        sae: SAE,
        reader: ActivationReader,
        text: TextRows,
        resid: Mapping[str, np.ndarray],
        pooled: Pooled,
        asked: Asked,
        kind: str,
    ) -> tuple[Rows, Rows]:
        """What an SAE says, beside the run's own; ``resid`` are mean residuals by view of what it reads."""
        (coded,), ks = encoded(reader, text, [sae], self.ctx.device), self.config.ks
        own = ask(pooled, asked, ks)
        whole = {(v, lang): whole_residual(resid[v], text.n_positions[v], lang, asked) for v, lang in own}
        return compared(own, {kind: [ask(coded, asked, ks)]}, whole, ks)

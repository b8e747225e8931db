"""Stage mechanisms: direct effects of heads and MLPs, their weights, pairs of features, and gradients put to the test.

Parts are kept in the work folder, one a language and question, so that what is there after a kill is not done again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from core.features.pooled import Pooled
from core.features.tokens import LANGUAGES
from core.gender.attribution import Target, balanced, targets_of
from core.gender.lexicon import WORD_CLASSES, lexicon
from core.gender.logit_words import WordSets, word_sets
from core.mech import direct, heads, weights
from core.mech.effects import FeatureEffects, pair_rows, patched_rows
from core.mech.interactions import InteractionPatternAnalyzer
from core.mech.readings import GenderReader
from core.mech.tables import SCHEMAS, table
from core.runs import write_table
from core.sae.files import load_sae, sae_id
from core.samples.gather import open_image
from core.vlm import load_captioner
from core.vlm.blocks import Block
from core.vlm.hookpoints import MIB
from precompute.context import StageContext

Rows = list[dict[str, Any]]
GENDERED = ("female", "male")
VIEWS = ("image", "before")  # where heads may find gender: at the image, or at the words so far


def run(ctx: StageContext) -> dict:
    """Write the seven tables of core/mech/tables.py."""
    work = _Work(ctx)
    rows: dict[str, Rows] = {name: [] for name in SCHEMAS}
    rows["weight_spectra"] = work.part("weight_spectra", "", work.spectra)["weight_spectra"]
    for lang in ctx.config.samples.languages:
        for name, make in (("heads", work.heads), ("readings", work.readings), ("features", work.features)):
            for made, found in work.part(name, lang, lambda m=make, c=lang: m(c)).items():
                rows[made] += found
    heads.with_q(rows["head_effects"], ctx.config.mechanisms.fdr)
    for name, schema in SCHEMAS.items():
        write_table(ctx.run.path(f"{name}.parquet"), table(rows[name], schema))
    found = [f"{r['lang']} {r['part']} {r['layer']}.{r['head']}" for r in rows["head_effects"] if r["finding"]]
    return {"rows": sum(map(len, rows.values())), "notes": {"findings": found[:50]}}


MAKES = {"": ("weight_spectra",), "heads": ("head_effects", "head_attention"), "readings": ("head_readings",),
         "features": ("feature_pairs", "patching", "patching_checks")}  # fmt: skip


class _Work:
    """What the parts share: the model, loaded when first needed, the captions and the images' genders."""

    def __init__(self, ctx: StageContext):
        self.ctx, self.settings, self.seed = ctx, ctx.config.mechanisms, ctx.config.seed
        self.layers = ctx.config.activations.layers
        self.done, self.total = 0, 1 + 3 * len(ctx.config.samples.languages)
        samples = pq.read_table(ctx.run.path("samples.parquet"), columns=["sample_id", "split"]).to_pylist()
        genders = pq.read_table(ctx.run.path("genders.parquet"), columns=["sample_id", "gender"]).to_pylist()
        self.gender = np.full(len(samples), "unknown", dtype="<U8")
        for row in genders:
            self.gender[row["sample_id"]] = row["gender"]
        self.is_train = np.zeros(len(samples), bool)
        self.is_train[[s["sample_id"] for s in samples if s["split"] == "train"]] = True
        self._vlm: Any = None
        self._saes: dict[int, Any] = {}
        self._sets: dict[str, WordSets] = {}

    def part(self, name: str, lang: str, make: Callable[[], dict[str, Rows]]) -> dict[str, Rows]:
        """Rows as they stand in the part's files, so that a fresh part and a kept one are the same."""
        tables = MAKES.get(name, (name,))
        paths = {t: self.ctx.work_dir / f"{t}_{lang}.parquet" for t in tables}
        self.ctx.progress(self.done, self.total, "steps", f"{name.replace('_', ' ')} {lang}".strip())
        if not all(path.exists() for path in paths.values()):
            made = make()
            for t, path in paths.items():
                write_table(path, table(made[t], SCHEMAS[t]))
        self.done += 1
        self.ctx.progress(self.done, self.total, "steps", name)
        return {t: pq.read_table(path).to_pylist() for t, path in paths.items()}

    # What is needed where

    @property
    def vlm(self) -> Any:
        if self._vlm is None:
            self._vlm = load_captioner(self.ctx.run, self.ctx.config.model, self.ctx.device)
        return self._vlm

    @property
    def saes(self) -> dict[int, Any]:
        if not self._saes:
            folder = self.ctx.run.path("saes")
            self._saes = {n: load_sae(folder / f"layer_{n:02d}", self.ctx.device) for n in self.layers}
        return self._saes

    def sets(self, lang: str) -> WordSets:
        if lang not in self._sets:
            path = getattr(self.ctx.config.words, f"lexicon_{lang}")
            self._sets[lang] = word_sets(self.vlm, lang, WORD_CLASSES, lexicon(lang, path))
        return self._sets[lang]

    def captions(self, lang: str) -> Rows:
        columns = ["sample_id", "lang", "token_ids"]
        rows = pq.read_table(self.ctx.run.path("captions.parquet"), columns=columns).to_pylist()
        return [row for row in rows if row["lang"] == lang]

    def words(self, lang: str) -> Rows:
        """The own captions' words that name a woman or a man."""
        columns = ["sample_id", "lang", "source", "start", "end", "gender", "word"]
        rows = pq.read_table(self.ctx.run.path("words.parquet"), columns=columns).to_pylist()
        return [row for row in rows if row["lang"] == lang and row["source"] == "own" and row["gender"] in GENDERED]

    def targets(self, lang: str, n: int) -> dict[str, list[Target]]:
        """Captions up to their gendered word by split, as many of women's images as of men's; none without words."""
        sets = self.sets(lang)
        if not len(sets.female) or not len(sets.male):
            return {"train": [], "test": []}
        found = targets_of(self.captions(lang), self.words(lang), lang, sets, self.vlm.decode)
        return balanced(found, self.gender, self.is_train, n, [self.seed, 7, LANGUAGES.index(lang)])

    def rows_of(self, lang: str, targets: list[Target]) -> tuple[list[list[int]], torch.Tensor]:
        prompt = self.vlm.prompt_ids(getattr(self.ctx.config.caption, f"prompt_{lang}"))
        images = [open_image(self.ctx.run, target.sample_id) for target in targets]
        return [[*prompt, *target.token_ids] for target in targets], self.vlm.encode_images(images)

    # The parts

    def spectra(self) -> dict[str, Rows]:
        found: Rows = []
        for layer in range(self.vlm.n_layers):
            found += weights.spectra(self.vlm, layer, self.seed)
            self.ctx.progress(self.done, self.total, "steps", f"weights of layer {layer}")
        return {"weight_spectra": found}

    def heads(self, lang: str) -> dict[str, Rows]:
        """Direct effects of all parts, and attention of heads to the image."""
        by_split = self.targets(lang, self.settings.n_images)
        targets = [t for split in ("train", "test") for t in by_split[split]]
        female = np.array([self.gender[t.sample_id] == "female" for t in targets], bool)
        held_out = np.array([not self.is_train[t.sample_id] for t in targets], bool)
        parts, seed = direct.parts_of(self.vlm), [self.seed, 8, LANGUAGES.index(lang)]
        said = {t for c in self.captions(lang) for t in c["token_ids"]} - self.vlm.special_ids if targets else set()
        controls = direct.random_sets(self.sets(lang), sorted(said), seed)
        done, lengths = [], []
        size = self.settings.batch_size
        for start in range(0, len(targets), size):
            rows, features = self.rows_of(lang, targets[start : start + size])
            max_bytes = self.settings.cache_mib * MIB
            done.append(direct.direct_effects(self.vlm, rows, features, self.sets(lang), controls, max_bytes))
            lengths += map(len, rows)
        effects = direct.join(done) if done else None
        found = heads.effect_rows(
            effects, parts, lang, female, held_out, np.array(lengths), self.settings, seed
        )  # fmt: skip
        return {"head_effects": found, "head_attention": self._maps(lang, effects, parts, targets, held_out)}

    def _maps(self, lang: str, effects: Any, parts: Any, targets: list[Target], held_out: np.ndarray) -> Rows:
        if effects is None or not self.settings.n_maps:
            return []
        first: dict[int, tuple[int, str]] = {}
        for word in self.words(lang):
            place = (word["start"], word["word"])
            first[word["sample_id"]] = min(place, first.get(word["sample_id"], place))
        samples = [
            {"sample_id": t.sample_id, "gender": str(self.gender[t.sample_id]), "word": first[t.sample_id][1]}
            for t in targets
        ]
        chosen = [[i for i, s in enumerate(samples) if held_out[i] and s["gender"] == g] for g in ("female", "male")]
        each = self.settings.n_maps // 2
        return heads.map_rows(effects, parts, lang, [i for of in chosen for i in of[:each]], samples)

    def readings(self, lang: str) -> dict[str, Rows]:
        """What OV matrices make of the gender direction of training images."""
        ids = np.flatnonzero(self.is_train & np.isin(self.gender, ("female", "male")))
        pooled = {layer: Pooled(self.ctx.run.dir, layer) for layer in self.layers}
        rows_of = len(LANGUAGES) * ids + LANGUAGES.index(lang)
        known = np.all([p.n_positions[v][rows_of] > 0 for p in pooled.values() for v in VIEWS], axis=0)
        female = self.gender[ids[known]] == "female"
        if min(female.sum(), (~female).sum()) < self.settings.min_images or not len(self.sets(lang).female):
            return {"head_readings": []}
        reader = GenderReader(female, self.settings.n_bootstrap, self.seed)
        directions = {(n, v): reader.directions(p.resid(v)[rows_of[known]]) for n, p in pooled.items() for v in VIEWS}
        unembed, sets = self.vlm.unembed().detach().float().cpu(), self.sets(lang)
        words = (unembed[sets.female].mean(0) - unembed[sets.male].mean(0)) * Block(self.vlm, 0).final_gain(
            self.vlm
        ).cpu()
        found: Rows = []
        for layer in range(self.vlm.n_layers):
            below, above = [n for n in self.layers if n < layer], [n for n in self.layers if n >= layer]
            if not below or not above:
                continue
            w_dec = self.saes[above[0]].W_dec.detach().double().cpu().numpy()
            for head in range(Block(self.vlm, layer).n_heads):
                matrix = weights.ov(self.vlm, layer, head)
                for view in VIEWS:
                    source, target = directions[below[-1], view], directions[above[0], "before"]
                    found.append({
                        "lang": lang, "head_layer": layer, "head": head, "view": view, "in_layer": below[-1],
                        "out_layer": above[0], "sae_id": sae_id(self.saes[above[0]]), "n_female": int(female.sum()),
                        "n_male": int((~female).sum()), **reader.read(matrix, source, target, words.double().numpy()),
                        **reader.features(matrix, source, w_dec),
                    })  # fmt: skip
        return {"head_readings": found}

    def features(self, lang: str) -> dict[str, Rows]:
        """Predicted and true effects of features, and pairs of them."""
        made: dict[str, Rows] = {name: [] for name in MAKES["features"]}
        by_split = self.targets(lang, 2 * self.settings.n_ablated)
        if min(map(len, by_split.values())) < self.settings.min_images:
            return made
        tick = lambda text: self.ctx.progress(self.done, self.total, "steps", f"{text}, {lang}")  # noqa: E731
        ids = {n: sae_id(sae) for n, sae in self.saes.items()}
        found = {s: self.rows_of(lang, targets) for s, targets in by_split.items()}
        work = FeatureEffects(self.vlm, self.saes, ids, self.sets(lang).difference, found, self.settings, tick)
        for layer in self.layers:
            seed = [self.seed, 9, layer, LANGUAGES.index(lang)]
            plan = work.plan(layer, seed)
            pooled = Pooled(self.ctx.run.dir, layer)
            caption = len(LANGUAGES) * np.arange(len(self.gender)) + LANGUAGES.index(lang)
            there = (caption < pooled.n_captions) & (
                pooled.n_positions["before"][np.minimum(caption, pooled.n_captions - 1)] > 0
            )
            codes = pooled.codes("before")[caption[there]]
            analyzer = InteractionPatternAnalyzer(codes, self.gender[there], self.settings.min_images)
            made["feature_pairs"] += pair_rows(work, analyzer, layer, lang, plan, seed)
            patched, checks = patched_rows(work, layer, lang, plan, seed)
            made["patching"] += patched
            made["patching_checks"] += checks
        return made

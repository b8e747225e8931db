"""Stage explain: what the model says of an empty image with one feature turned up, and a grid of steered captions.

Jobs are cut into blocks of one layer (or set) and language whose borders follow from the settings alone; blocks that
are there after a kill are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.config import LANGUAGES
from core.features.pooled import Pooled
from core.gender import caption_gender, find
from core.gender.sets import edits_key, gender_sets
from core.runs import write_table
from core.samples.gather import open_image
from core.steering.explain import DOSES_SCHEMA, explanations_table, features_to_explain, said, score

if TYPE_CHECKING:
    from precompute.context import StageContext

GREY, SIDE = 128, 224  # the empty image
DECIMALS = 4  # of probabilities
TEXTS_SCHEMA = pa.schema([
    ("layer", pa.int32()), ("feature", pa.int32()), ("lang", pa.string()), ("strength", pa.float32()),
    ("text", pa.string()), ("finished", pa.bool_()),
])  # fmt: skip
Job = dict[str, Any]


def run(ctx: StageContext) -> dict:
    """Write explanations.parquet and doses.parquet."""
    world = _World(ctx)
    writer = _Writer(ctx, world)
    blocks = [*_blocks(ctx, explain_jobs(ctx, world), "explained"), *_blocks(ctx, dose_jobs(ctx, world), "doses")]
    paths = {"explained": [], "doses": []}
    done, total = 0, sum(len(jobs) for _, _, jobs in blocks)
    for kind, name, jobs in blocks:
        path = ctx.work_dir / f"{name}.parquet"
        ctx.progress(done, total, "captions", "the empty image" if kind == "explained" else "the dose grid")
        if not path.exists():
            write_table(path, writer.texts(jobs) if kind == "explained" else writer.doses(jobs))
        paths[kind].append(path)
        done += len(jobs)
    ctx.progress(total, total, "captions", "comparing texts with references")
    texts = pa.concat_tables([TEXTS_SCHEMA.empty_table(), *map(pq.read_table, paths["explained"])]).to_pandas()
    explanations = explanations_table(scored(ctx, world, texts))
    doses = pa.concat_tables([DOSES_SCHEMA.empty_table(), *map(pq.read_table, paths["doses"])])
    write_table(ctx.run.path("explanations.parquet"), explanations)
    write_table(ctx.run.path("doses.parquet"), doses)
    return {"rows": len(explanations) + len(doses), "notes": _notes(explanations.to_pandas(), doses)}


class _World:
    """The tables that the stage reads."""

    def __init__(self, ctx: StageContext):
        def read(name: str, columns: list[str]) -> pd.DataFrame:
            return pq.read_table(ctx.run.path(f"{name}.parquet"), columns=columns).to_pandas()

        self.features = read("features", ["layer", "feature", "sae_id", "alive", "p999"])
        gender = read("gender_features", ["layer", "feature", "lang", "view", "auc_train", "finding"])
        self.gender = gender[gender["view"] == "before"]
        self.samples = read("samples", ["sample_id", "split"])
        self.references = read("references", ["sample_id", "lang", "text"])
        self.p999 = {(int(r.layer), int(r.feature)): float(r.p999) for r in self.features.itertuples()}
        self.sae_id = dict(zip(self.features["layer"].astype(int), self.features["sae_id"], strict=True))

    def of(self, layer: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        return tuple(frame[frame["layer"] == layer] for frame in (self.features, self.gender))  # type: ignore[return-value]


def explain_jobs(ctx: StageContext, world: _World) -> list[Job]:
    """One caption of the empty image each, unedited ones (feature -1) first."""
    settings, languages = ctx.config.explain, ctx.config.samples.languages
    jobs = [{"group": "empty", "layer": -1, "feature": -1, "lang": lang, "strength": 0.0} for lang in languages]
    for layer in ctx.config.activations.layers:
        chosen = features_to_explain(*world.of(layer), settings.n_features)
        jobs += [{"group": f"{layer:02d}_{lang}", "layer": layer, "feature": f, "lang": lang, "strength": strength}
                 for lang in languages for f in chosen for strength in settings.strengths]  # fmt: skip
    return jobs


def dose_jobs(ctx: StageContext, world: _World) -> list[Job]:
    """One caption each of the first test images: unedited, and with each ready-made set at each strength."""
    settings, languages = ctx.config.explain, ctx.config.samples.languages
    test = world.samples.loc[world.samples["split"] == "test", "sample_id"]
    images = sorted(int(i) for i in test)[: settings.n_dose_images]
    jobs = [{"group": f"none_{lang}", "layer": -1, "gender": "", "features": [], "lang": lang, "strength": 0.0,
             "sample_id": i} for lang in languages for i in images]  # fmt: skip
    for layer in ctx.config.activations.layers:
        sets = gender_sets(world.of(layer)[1])
        jobs += [{"group": f"{layer:02d}_{lang}", "layer": layer, "gender": gender, "features": features, "lang": lang,
                  "strength": strength, "sample_id": i}
                 for lang in languages for gender, features in sets.items() if features
                 for strength in settings.dose_strengths for i in images]  # fmt: skip
    return jobs


def _blocks(ctx: StageContext, jobs: Sequence[Job], kind: str) -> list[tuple[str, str, list[Job]]]:
    """(kind, name, jobs) of at most a batch of captions, all of one group."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job["group"], []).append(job)
    size = ctx.config.caption.batch_size
    return [(kind, f"{kind}_{group}_{i // size:04d}", of_group[i : i + size])
            for group, of_group in groups.items() for i in range(0, len(of_group), size)]  # fmt: skip


class _Writer:
    """The model with its dictionaries, loaded when a block is first missing."""

    def __init__(self, ctx: StageContext, world: _World):
        self.ctx, self.world, self._kept = ctx, world, {}

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @property
    def vlm(self) -> Any:
        from core.vlm import load_captioner

        return self._once("vlm", lambda: load_captioner(self.ctx.run, self.ctx.config.model, self.ctx.device))

    def _write(self, jobs: Sequence[Job], features: Any, words: bool) -> list[Any]:
        """What was written of each job, whose edits are those of its ``features``, pushed by ``strength``."""
        from core.gender.lexicon import lexicon
        from core.gender.logit_words import word_sets
        from core.sae.files import load_sae
        from core.steering import Edit, edit_hooks
        from core.steering.writing import write

        ctx, vlm, lang = self.ctx, self.vlm, jobs[0]["lang"]
        saes = {n: self._once(f"sae {n}", lambda n=n: load_sae(ctx.run.path("saes", f"layer_{n:02d}"), ctx.device))
                for n in sorted({job["layer"] for job in jobs} - {-1})}  # fmt: skip
        edits = [[Edit(job["layer"], f, self.world.sae_id[job["layer"]], "add", job["strength"])
                  for f in job.get("features", [job.get("feature", -1)]) if f >= 0] for job in jobs]  # fmt: skip
        hooks = edit_hooks(edits, saes, self.world.p999)
        path = getattr(ctx.config.words, f"lexicon_{lang}")
        sets = [self._once(lang, lambda: word_sets(vlm, lang, entries=lexicon(lang, path)))] * len(jobs)
        prompt = vlm.prompt_ids(getattr(ctx.config.caption, f"prompt_{lang}"))
        steps = write(vlm, [prompt] * len(jobs), features, ctx.config.caption.max_new_tokens, hooks,
                      sets if words else ())  # fmt: skip
        return deque(steps, maxlen=1).pop()

    def texts(self, jobs: Sequence[Job]) -> pa.Table:
        """Captions of the empty image."""
        from PIL import Image

        one = self._once("empty", lambda: self.vlm.encode_images([Image.new("RGB", (SIDE, SIDE), (GREY,) * 3)]))
        rows = []
        for job, told in zip(jobs, self._write(jobs, one.expand(len(jobs), -1, -1), words=False), strict=True):
            rows.append({**{name: job[name] for name in ("layer", "feature", "lang", "strength")},
                         "text": self.vlm.decode(told.ids), "finished": told.finished})  # fmt: skip
        return pa.Table.from_pylist(rows, schema=TEXTS_SCHEMA)

    def doses(self, jobs: Sequence[Job]) -> pa.Table:
        """Captions of test images, with the probability of gendered words at every token."""
        import torch

        ids = sorted({job["sample_id"] for job in jobs})
        images = dict(zip(ids, self.vlm.encode_images([open_image(self.ctx.run, i) for i in ids]), strict=True))
        features = torch.stack([images[job["sample_id"]] for job in jobs])
        rows = []
        for job, told in zip(jobs, self._write(jobs, features, words=True), strict=True):
            text, lang = self.vlm.decode(told.ids), job["lang"]
            path = getattr(self.ctx.config.words, f"lexicon_{lang}")
            rows.append({
                "sample_id": job["sample_id"], "lang": lang, "layer": job["layer"] if job["features"] else None,
                "edits": edits_key((job["layer"], f, job["strength"]) for f in job["features"]),
                "sae_id": self.world.sae_id.get(job["layer"]), "gender": job["gender"], "strength": job["strength"],
                "text": text, "finished": told.finished, "named": caption_gender(find(text, lang, path)),
                "pieces": self.vlm.token_strings(told.ids),
                "p_female": np.round(told.female, DECIMALS), "p_male": np.round(told.male, DECIMALS),
            })  # fmt: skip
        return pa.Table.from_pylist(rows, schema=DOSES_SCHEMA)


def scored(ctx: StageContext, world: _World, texts: pd.DataFrame) -> pd.DataFrame:
    """Every text with its score, layer by layer and language by language."""
    train = dict(zip(world.samples["sample_id"].astype(int), world.samples["split"] == "train", strict=True))
    empty = texts[texts["feature"] < 0].set_index("lang")["text"]
    found = []
    for lang in ctx.config.samples.languages:
        mine = world.references[world.references["lang"] == lang]
        there = said(zip(mine["sample_id"], mine["text"], strict=True), train)
        rows = len(LANGUAGES) * there.samples + LANGUAGES.index(lang)
        for layer, of_layer in texts[(texts["lang"] == lang) & (texts["feature"] >= 0)].groupby("layer"):
            fires = fires_on(Pooled(ctx.run.dir, int(layer)), rows, sorted(set(of_layer["feature"])))
            scores = score(of_layer, there, fires, ctx.config.explain.min_images, empty[lang])
            changed = scores["text"] != empty[lang]
            found.append(scores.assign(changed=changed, sae_id=world.sae_id[int(layer)]))
    return pd.concat(found, ignore_index=True)


def fires_on(pooled: Pooled, rows: np.ndarray, features: Sequence[int]) -> np.ndarray:
    """Whether each feature fires anywhere on the image or the caption of each caption row, (n_rows, n_features)."""
    fires = np.zeros((len(rows), len(features)), bool)
    there = rows < pooled.n_captions
    for first, last in pooled.blocks():
        inside = [(i, f - first) for i, f in enumerate(features) if first <= f < last]
        if inside:
            at, columns = map(list, zip(*inside, strict=True))
            for view in ("image", "caption"):
                block = pooled.codes(view, first, last)[:, columns].toarray() > 0
                fires[np.ix_(there, at)] |= block[rows[there]]
    return fires


def _notes(explanations: pd.DataFrame, doses: pa.Table) -> dict[str, Any]:
    """What the record says: how many chosen texts were scored, and how many beat the texts of other features."""
    chosen = explanations[explanations["chosen"]]
    tested = chosen[chosen["why"] == ""]
    better = tested[(tested["auc_low_test"] > 0.5) & (tested["q"] <= 0.05)]
    return {"features": int(chosen[["layer", "feature"]].drop_duplicates().shape[0]), "scored": len(tested),
            "fit_better_than_others": len(better), "doses": len(doses)}  # fmt: skip

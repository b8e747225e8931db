"""What the model is asked to write: captions of an empty image with a feature turned up, and a grid of doses.

A job is one caption. Jobs follow from tables and settings alone. What was said of features is scored here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from core.config import LANGUAGES, Config
from core.features.pooled import Pooled
from core.gender.sets import gender_sets
from core.run import Run
from core.steering.explain import features_to_explain, said, score

Job = dict[str, Any]


class Tables:
    """What is read of a run: its features with their max_act, what they have to do with gender, samples, references."""

    def __init__(self, run: Run):
        def read(name: str, columns: list[str]) -> pd.DataFrame:
            return run.table(name, columns).to_pandas()

        self.features = read("features", ["layer", "feature", "sae_id", "alive", "p999"])
        gender = read("gender_features", ["layer", "feature", "lang", "view", "auc_train", "finding"])
        self.gender = gender[gender["view"] == "before"]
        self.samples = read("samples", ["sample_id", "split"])
        self.references = read("references", ["sample_id", "lang", "text"])
        self.p999 = {(int(r.layer), int(r.feature)): float(r.p999) for r in self.features.itertuples()}
        self.sae_id = dict(zip(self.features["layer"].astype(int), self.features["sae_id"], strict=True))

    def of(self, layer: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The features of a layer, and their rows about gender."""
        return tuple(frame[frame["layer"] == layer] for frame in (self.features, self.gender))  # type: ignore[return-value]


def explain_jobs(config: Config, tables: Tables) -> list[Job]:
    """One caption of the empty image each, unedited ones (feature -1) first."""
    settings, languages = config.explain, config.samples.languages
    jobs = [{"group": "empty", "layer": -1, "feature": -1, "lang": lang, "strength": 0.0} for lang in languages]
    for layer in config.activations.layers:
        chosen = features_to_explain(*tables.of(layer), settings.n_features)
        jobs += [
            {"group": f"{layer:02d}_{lang}", "layer": layer, "feature": f, "lang": lang, "strength": strength}
            for lang in languages
            for f in chosen
            for strength in settings.strengths
        ]
    return jobs


def dose_jobs(config: Config, tables: Tables) -> list[Job]:
    """One caption each of the first test images: unedited, and with each ready-made set at each strength."""
    settings, languages = config.explain, config.samples.languages
    test = tables.samples.loc[tables.samples["split"] == "test", "sample_id"]
    images = sorted(int(i) for i in test)[: settings.n_dose_images]
    jobs = [
        {
            "group": f"none_{lang}",
            "layer": -1,
            "gender": "",
            "features": [],
            "lang": lang,
            "strength": 0.0,
            "sample_id": i,
        }
        for lang in languages
        for i in images
    ]
    for layer in config.activations.layers:
        sets = gender_sets(tables.of(layer)[1])
        jobs += [
            {
                "group": f"{layer:02d}_{lang}",
                "layer": layer,
                "gender": gender,
                "features": features,
                "lang": lang,
                "strength": strength,
                "sample_id": i,
            }
            for lang in languages
            for gender, features in sets.items()
            if features
            for strength in settings.dose_strengths
            for i in images
        ]
    return jobs


def blocks(jobs: Sequence[Job], kind: str, size: int) -> list[tuple[str, str, list[Job]]]:
    """(kind, name, jobs) of at most ``size`` captions, all of one group: the same whatever is done already."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job["group"], []).append(job)
    return [
        (kind, f"{kind}_{group}_{i // size:04d}", of_group[i : i + size])
        for group, of_group in groups.items()
        for i in range(0, len(of_group), size)
    ]


def scored(run: Run, config: Config, tables: Tables, texts: pd.DataFrame) -> pd.DataFrame:
    """Every text with its score, layer by layer and language by language."""
    train = dict(zip(tables.samples["sample_id"].astype(int), tables.samples["split"] == "train", strict=True))
    empty = texts[texts["feature"] < 0].set_index("lang")["text"]
    found = []
    for lang in config.samples.languages:
        mine = tables.references[tables.references["lang"] == lang]
        there = said(zip(mine["sample_id"], mine["text"], strict=True), train)
        rows = len(LANGUAGES) * there.samples + LANGUAGES.index(lang)
        for layer, of_layer in texts[(texts["lang"] == lang) & (texts["feature"] >= 0)].groupby("layer"):
            fires = fires_on(Pooled(run.dir, int(layer)), rows, sorted(set(of_layer["feature"])))
            scores = score(of_layer, there, fires, config.explain.min_images, empty[lang])
            changed = scores["text"] != empty[lang]
            found.append(scores.assign(changed=changed, sae_id=tables.sae_id[int(layer)]))
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

"""The tables of stage nulls over a toy run (tests/toy_run.py), made up but consistent, for pages and their tests.

The run's first feature goes far (AUC .95), that of random dictionaries less (.70), a principal component as far; of
recurrence, even features recur with another seed, odd ones do not, and the last fires too seldom.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from core.run import Run
from tests.toy_run import write_rows

AUC = {"trained": 0.95, "random": 0.70, "axes": 0.80, "components": 0.94, "shuffled labels": 0.5}
TRAINED_BESIDE = {"second seed": 0.95, "frozen decoder": 0.85, "random model": 0.75}
FOUND = {"trained": 3, "random": 12}
IMAGES = {"n_female_test": 67, "n_male_test": 73}


def add_nulls_tables(run_dir: str | Path, difference: float = 0.25) -> None:
    """Write null_findings, null_probes, null_layers and recurrence; ``difference`` is that from random dictionaries."""
    run = Run(run_dir)
    features = pq.read_table(run.path("features.parquet"), columns=["layer", "feature", "sae_id", "alive"]).to_pylist()
    layers = {row["layer"]: row["sae_id"] for row in features}
    found, probes, of_layers = [], [], []
    for layer, sae_id in layers.items():
        kinds = AUC | (TRAINED_BESIDE if layer == max(layers) else {})
        for view in ("before", "caption"):
            for lang in ("en", "ar"):
                key = {"layer": layer, "sae_id": sae_id, "lang": lang, "view": view}
                for kind, auc in kinds.items():
                    auc = AUC["trained"] - difference if kind == "random" else auc
                    draws = 5 if kind in ("random", "shuffled labels") else 1
                    row = {"n_features": 60, "n_findings": FOUND.get(kind, 4), **IMAGES, "why": ""}
                    row |= {"best_feature": 0, "best_auc_train": auc, "best_auc_test": auc}
                    row |= {"best_auc_low": auc - 0.04, "best_auc_high": min(1.0, auc + 0.04)}
                    found += [{**key, "kind": kind, "draw": draw, **row} for draw in range(draws)]
                    for k, more in ((1, 0.0), (5, 0.03)):
                        told = {
                            "auc": auc + more,
                            "auc_low": auc + more - 0.04,
                            "auc_high": min(1.0, auc + more + 0.04),
                        }
                        if kind != "shuffled labels":
                            share = (auc + more - 0.5) / 0.49
                            told |= {"residual_auc": 0.99, "share": share, "share_low": share - 0.1}
                            told["share_high"] = share + 0.1
                        if kind not in ("trained", "shuffled labels"):
                            apart = AUC["trained"] - auc
                            told |= {"difference": apart, "difference_low": apart - 0.05}
                            told["difference_high"] = apart + 0.05
                        probes.append({**key, "kind": kind, "k": k, "n_draws": draws, **IMAGES, **told, "why": ""})
                here = {"layer": layer, "lang": lang, "view": view, **IMAGES, "why": ""}
                for name, value in (("auc", 0.97), ("random_auc", 0.72), ("difference", 0.25)):
                    here |= {name: value, f"{name}_low": value - 0.05, f"{name}_high": value + 0.03}
                of_layers.append(here)
    beside, quality, labels, aligned = [], [], [], []
    for layer, sae_id in layers.items():
        key = {"layer": layer, "sae_id": sae_id}
        beside += [
            {**key, "feature": 0, "lang": lang, "view": "before", "detector": detector, **IMAGES}
            | {"auc": 0.95, "auc_low": 0.9, "auc_high": 0.98, "detector_auc": 0.99, "detector_auc_low": 0.96}
            | {"detector_auc_high": 1.0, "difference": -0.04, "difference_low": -0.09, "difference_high": 0.01}
            for lang in ("en", "ar")
            for detector in ("difference of means", "probe")
        ]
        for lang in ("en", "ar"):
            for kind, value in (("trained", 0.9), ("random", 0.6)):
                named = {"trained": 30, "random": 12}[kind]
                labels.append({**key, "lang": lang, "kind": kind, "n_features": 60, "n_labelled": named, "auc": value})
                told = {
                    "value": value,
                    "low": value - 0.05,
                    "high": value + 0.05,
                    "n": 12,
                    "unit": "concepts",
                    "why": "",
                }
                quality += [
                    {**key, "lang": lang, "kind": kind, "measure": measure, "k": k, **told}
                    for measure, k in (("sparse probing", 1), ("absorption", 1), ("disentanglement", 5))
                ]
        for kind, value in (("trained", 0.5), ("random", 0.45)):
            ends = {"value": value, "low": value - 0.1, "high": value + 0.1, "floor": 0.0, "ceiling": 0.8}
            aligned.append({**key, "kind": kind, "view": "before", "n_features": 20, **ends, "why": ""})
    others = []
    for layer, sae_id in layers.items():
        for view in ("before", "caption"):
            for measure in ("direction_cosine", "clbas"):
                for number, name in enumerate(("gender", *(f"object: {n}" for n in range(6)))):
                    ratio = 0.98 if not number else 0.3 + 0.02 * number + (0.5 if view == "caption" else 0.0)
                    row = {"layer": layer, "sae_id": sae_id, "view": view, "contrast": name, "measure": measure}
                    row |= {"source": "annotation" if number else "gender", "n_with": 60, "n_without": 200, "why": ""}
                    for key, value in (("value", 0.8 * ratio), ("floor", 0.0), ("ceiling", 0.8), ("ratio", ratio)):
                        low, high = ("low", "high") if key == "value" else (f"{key}_low", f"{key}_high")
                        row |= {key: value, low: value - 0.05, high: value + 0.05}
                    others.append(row)
    last = max(row["feature"] for row in features)
    recurrence = [
        {
            **{name: row[name] for name in ("layer", "feature", "sae_id")},
            "seed": 0,
            "n_tokens": 5000,
            "n_fires": 3 if row["feature"] == last else 120,
            "partner": row["feature"] + 1,
            "correlation": 0.9 if row["feature"] % 2 == 0 else 0.3,
            "correlation_floor": 0.05,
            "cosine": 0.92 if row["feature"] % 2 == 0 else 0.4,
            "cosine_floor": 0.25,
            "recurs": None if row["feature"] == last else row["feature"] % 2 == 0,
            "recurs_shuffled": None if row["feature"] == last else False,
        }
        for row in features
        if row["layer"] == max(layers)
    ]
    made = {"null_findings": found, "null_probes": probes, "null_layers": of_layers, "recurrence": recurrence}
    made |= {"null_detectors": beside, "sae_quality": quality, "null_labels": labels, "null_alignment": aligned}
    made |= {"null_others": others}
    for name, rows in made.items():
        write_rows(run, name, rows)

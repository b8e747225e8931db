"""The tables of stage gender over a toy run (tests/toy_run.py), made up but consistent, for pages and their tests.

Feature 0 is for women, 1 for men; 2 has nothing to say; 3 is told apart by one language only. Feature 8 has too few
images at the image tokens, feature 3 never fires in Arabic.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.gender.tables import (
    GENDERS,
    RANKINGS,
    SILENT,
    SPLITS,
    TOO_FEW,
)
from core.run import Run
from tests.toy_run import write_rows

CELLS = (("before", "en"), ("before", "ar"), ("caption", "en"), ("caption", "ar"), ("image", ""))
LABELS = {
    0: ("woman", "امرأة"),
    1: ("man", "رجل"),
    3: ("next", ""),
    4: ("", "على"),
    5: ("role: nurse", "role: nurse"),
    6: ("butterfly", "فراشة"),
    7: ("background: red", "حمراء"),
}
N = {"female": (290, 67), "male": (290, 73), "neutral": (620, 160)}


def add_gender_tables(run_dir: str | Path, seed: int = 0) -> None:
    """Write gender_features, gender_rankings, gender_pairs and labels beside the run's features.parquet."""
    run_dir, rng = Path(run_dir), random.Random(seed)
    alive = pq.read_table(run_dir / "features.parquet", columns=["layer", "feature", "sae_id", "alive"]).to_pylist()
    keys = [{k: r[k] for k in ("layer", "feature", "sae_id")} for r in alive if r["alive"]]
    samples = pq.read_table(run_dir / "samples.parquet", columns=["sample_id", "gender"]).to_pylist()
    features = [_feature(key, view, lang, rng) for key in keys for view, lang in CELLS]
    _rank(features)
    layers = {key["layer"]: key["sae_id"] for key in keys}
    rankings = [row for layer, sae_id in layers.items() for row in _rankings(layer, sae_id, len(keys) // len(layers))]
    pairs = [_pairs(key, samples, rng) for key in keys]
    labels = [_label(key, lang, rng) for key in keys for lang in ("ar", "en")]
    made = {"gender_features": features, "gender_rankings": rankings, "gender_pairs": pairs, "labels": labels}
    for name, rows in made.items():
        write_rows(Run(run_dir), name, rows)


def _strength(feature: int, view: str, lang: str) -> float:
    """The planted difference, in standard deviations; positive for women."""
    if feature == 3:
        return 1.5 if lang == "en" and view == "caption" else 0.0
    return {0: 2.2, 1: -2.0, 5: 0.8}.get(feature, 0.0) * (0.8 if view == "before" else 1.0)


def _feature(key: dict[str, Any], view: str, lang: str, rng: random.Random) -> dict[str, Any]:
    row = {**key, "lang": lang, "view": view, "finding": False, "direction": "", "why": "", "shuffled_holds": 0}
    row |= {f"n_{g}_{s}": N[g][i] for g in GENDERS for i, s in enumerate(SPLITS)}
    if view == "image" and key["feature"] == 8:
        row |= {f"n_{g}_{s}": 7 for g in GENDERS for s in SPLITS}
        return {**row, "why": TOO_FEW}
    if lang == "ar" and key["feature"] == 3:
        zeros = {f"{what}_{g}_{s}": 0.0 for what in ("rate", "mean") for g in GENDERS for s in SPLITS}
        return {**row, **zeros, "why": SILENT}
    d = _strength(key["feature"], view, lang)
    for split in SPLITS:
        seen = d + rng.gauss(0, 0.08)
        for gender, sign in zip(GENDERS, (0.5, -0.5, 0), strict=True):
            row[f"rate_{gender}_{split}"] = 1 / (1 + math.exp(0.4 - 1.6 * sign * seen))
            row[f"mean_{gender}_{split}"] = max(0.0, 1.5 + sign * seen)
        row |= {f"auc_{split}": _phi(seen / math.sqrt(2)), f"d_{split}": seen, f"difference_{split}": seen}
        row |= {f"effect_{split}": 0.02 * seen, f"n_effect_{split}": 48}
    for name, half in (("auc", 0.05), ("d", 0.33), ("difference", 0.33), ("effect", 0.005)):
        row |= {f"{name}_low_test": row[f"{name}_test"] - half, f"{name}_high_test": row[f"{name}_test"] + half}
    row |= {f"auc_{end}_test": min(1.0, max(0.0, row[f"auc_{end}_test"])) for end in ("low", "high")}
    for split, n in (("train", 290), ("test", 70)):
        row[f"p_{split}"] = math.erfc(abs(row[f"d_{split}"]) * math.sqrt(n / 2) / math.sqrt(2))
    row |= {"q_train": min(1.0, row["p_train"] * 20), "direction": "female" if row["auc_train"] > 0.5 else "male"}
    same = (row["auc_test"] > 0.5) == (row["auc_train"] > 0.5)
    clear = not row["auc_low_test"] <= 0.5 <= row["auc_high_test"]
    if view == "image":  # no gendered word can be said at the image
        row |= {f"effect_{part}": None for part in ("train", "test", "low_test", "high_test")}
        row |= {"n_effect_train": 0, "n_effect_test": 0}
    return {**row, "finding": row["q_train"] <= 0.05 and same and clear}


def _phi(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _rank(rows: list[dict[str, Any]]) -> None:
    cells = {(row["layer"], row["view"], row["lang"]) for row in rows}
    for layer, view, lang in cells:
        cell = [r for r in rows if (r["layer"], r["view"], r["lang"]) == (layer, view, lang)]
        for ranking in RANKINGS:
            middle = 0.5 if ranking == "auc" else 0.0
            ranked = [r for r in cell if r.get(f"{ranking}_train") is not None]
            ranked.sort(key=lambda r: -abs(r[f"{ranking}_train"] - middle))
            for place, row in enumerate(ranked):
                row[f"rank_{ranking}"] = place + 1


def _rankings(layer: int, sae_id: str, n: int) -> list[dict[str, Any]]:
    rows = []
    for view, lang in CELLS:
        for i, a in enumerate(RANKINGS):
            for b in RANKINGS[i:]:
                row = {"layer": layer, "sae_id": sae_id, "lang": lang, "view": view, "ranking_a": a, "ranking_b": b}
                if view == "image" and "effect" in (a, b):
                    rows.append({**row, "n_features": 0, "why": "no effect is taken at the image"})
                    continue
                agree = 0.9 if a == b else 0.75 if "effect" not in (a, b) else 0.3
                shuffled = (0.5, 0.8) if a != b and "effect" not in (a, b) else (-0.1, 0.1)
                rows.append(
                    {
                        **row,
                        "n_features": n,
                        "spearman": agree,
                        "spearman_shuffled_low": shuffled[0],
                        "spearman_shuffled_high": shuffled[1],
                        "k": 20,
                        "overlap": int(20 * agree),
                        "overlap_chance": 400 / n,
                        "overlap_chance_low": 2,
                        "overlap_chance_high": 12,
                        "why": "",
                    }
                )
    return rows


def _pairs(key: dict[str, Any], samples: list[dict[str, Any]], rng: random.Random) -> dict[str, Any]:
    ids = {g: [s["sample_id"] for s in samples if s["gender"] == g] for g in ("female", "male")}
    n = min(12, len(ids["female"]), len(ids["male"])) if key["feature"] not in (0, 1) else 1
    strengths = sorted((rng.uniform(1, 6) for _ in range(n)), reverse=True)
    row = {**key, "n_pairs": n, "n_female": 67, "n_male": 73, "why": ""}
    for gender in ("female", "male"):
        row[f"sample_{gender}"] = rng.sample(ids[gender], n)
        row[f"activation_{gender}"] = [x * rng.uniform(0.96, 1.04) for x in strengths]
    if key["feature"] == 8:
        return {**row, "n_top": 3, "n_top_female": 1, "why": TOO_FEW}
    women = {0: 23, 1: 1}.get(key["feature"], 12)
    share, base = women / 24, 67 / 140
    row |= {"n_top": 24, "n_top_female": women, "lift_female": share / base, "lift_male": (1 - share) / (1 - base)}
    for gender in ("female", "male"):
        lift = row[f"lift_{gender}"]
        row |= {f"lift_{gender}_low": max(0.0, lift - 0.4), f"lift_{gender}_high": lift + 0.4}
    return row


def _label(key: dict[str, Any], lang: str, rng: random.Random) -> dict[str, Any]:
    text = LABELS.get(key["feature"], ("", ""))[("en", "ar").index(lang)]
    auc = rng.uniform(0.85, 0.97) if text else rng.uniform(0.5, 0.65)
    return {
        **key,
        "lang": lang,
        "label": text,
        "candidate": text or ("red" if lang == "en" else "حمراء"),
        "kind": "attribute" if ": " in text else "word",
        "view": "image" if ": " in text else "caption",
        "auc_train": min(1.0, auc + 0.02),
        "auc_test": auc,
        "auc_low_test": auc - 0.06,
        "auc_high_test": min(1.0, auc + 0.05),
        "n_fires_test": 60,
        "n_silent_test": 240,
        "n_candidates": 240,
        "why": "" if text else "nothing predicts it well enough",
    }

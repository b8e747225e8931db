"""The tables of stage crosslingual over a toy run (tests/toy_run.py), made up but consistent, for pages' tests.

Feature 0 is a gender feature in both languages, 1 in English only, 2 in Arabic only; separate dictionaries stand at the
last layer.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.crosslingual import earlier
from core.crosslingual.clbas import CASES, OVER, VARIANTS
from core.crosslingual.language import CLASSES
from core.crosslingual.measures import measure_row
from core.crosslingual.tables import table_of_rows
from core.run import write_table

VIEWS = ("prompt", "before", "caption")
SHARING = {0: "shared", 1: "english", 2: "arabic"}
FELLED = "3 images have a caption in both languages; 40 are needed"


def add_crosslingual_tables(run_dir: str | Path, one_language: bool = False, few_images: bool = False) -> None:
    """Write the tables; ``one_language`` and ``few_images`` give what the stage writes in those cases."""
    run_dir, rng = Path(run_dir), random.Random(0)
    saes = pq.read_table(run_dir / "saes.parquet", columns=["layer", "sae_id", "d_sae"]).to_pylist()
    rows: dict[str, list[dict[str, Any]]] = {
        "alignment": [],
        "gender_directions": [],
        "clbas": [],
        "feature_overlap": [],
        "earlier_scores": [],
        "language_features": [],
        "language_classes": [],
        "shared_gender": [],
        "grammatical_gender": [],
        "language_saes": [],
        "language_matches": [],
    }
    for sae in saes:
        layer = {"layer": sae["layer"]}
        if one_language:
            rows["alignment"].append(layer | measure_row("cka", 3, "images", None, FELLED, view="caption"))
            continue
        rows["alignment"] += [layer | {"view": view} | row for view in VIEWS for row in _similarity(rng)]
        rows["gender_directions"] += [layer | {"view": v} | row for v in VIEWS for row in _directions(rng, few_images)]
        rows["clbas"] += [layer | row for row in _scores(rng, few_images)]
        if not few_images:
            n = {"n_female": 60, "n_male": 60}
            rows["feature_overlap"] += [layer | n | _overlap(k, v) for v in ("before", "caption") for k in (1, 2, 5)]
            rows["earlier_scores"] += [
                layer | n | _earlier(score, case, v)
                for v in ("before", "caption")
                for score in earlier.SCORES
                for case in earlier.CASES
            ]
        rows["language_classes"] += [layer | _class(kind, n) for n, kind in enumerate(CLASSES)]
        for feature in range(sae["d_sae"]):
            key = layer | {"feature": feature, "sae_id": sae["sae_id"]}
            rows["language_features"].append(key | _language(feature, rng))
            rows["grammatical_gender"].append(key | _grammar(feature, rng))
            if feature < 12 and not few_images:
                rows["shared_gender"] += [key | _gender(feature, view, rng) for view in ("before", "caption")]
    if not one_language:
        last = saes[-1]["layer"]
        rows["alignment"] += [{"layer": last, **row} for row in _matched()]
        rows["language_saes"] += [
            {
                "layer": last,
                "lang": lang,
                "seed": seed,
                "language_sae_id": f"{lang}{seed}",
                "d_sae": 16,
                "k": 4,
                "n_train_tokens": 900,
                "explained_variance": 0.9,
            }
            for lang in ("en", "ar")
            for seed in (0, 1)
        ]
    for name, some in rows.items():
        write_table(run_dir / f"{name}.parquet", table_of_rows(name, some))


def _overlap(k: int, view: str) -> dict[str, Any]:
    row = {"k": k, "view": view, "n_features": 12, "value": 0.4, "low": 0.3, "high": 0.5, "floor": 0.05}
    row |= {"floor_high": 0.1, "ceiling": 0.8, "ceiling_low": 0.7, "ceiling_high": 0.9}
    return row | {"ratio": 0.47, "ratio_low": 0.35, "ratio_high": 0.6}


def _earlier(score: str, case: str, view: str) -> dict[str, Any]:
    row = {"score": score, "case": case, "view": view, "n_draws": 4, "n_features": 12}
    return row | {"value": 0.5, "low": 0.45, "high": 0.55}


def _numbers(value: float, floor: float = 0.05, ceiling: float = 0.95) -> dict[str, float]:
    return {
        "value": value,
        "low": value - 0.03,
        "high": value + 0.03,
        "floor": floor - 0.05,
        "floor_low": floor - 0.1,
        "floor_high": floor,
        "ceiling": ceiling,
        "ceiling_low": ceiling - 0.02,
        "ceiling_high": ceiling,
        "ratio": value / ceiling,
        "ratio_low": (value - 0.03) / ceiling,
        "ratio_high": (value + 0.03) / ceiling,
    }


def _similarity(rng: random.Random) -> list[dict[str, Any]]:
    rows = [measure_row("cka", 40, "images", _numbers(rng.uniform(0.4, 0.8)), lang="", other="")]
    for lang, other in (("en", "ar"), ("ar", "en")):
        for name in ("shared_variance", "language_only_variance", "predicted_variance"):
            rows.append(measure_row(name, 8, "held-out images", _numbers(0.6), lang=lang, other=other))
    return rows


def _directions(rng: random.Random, few: bool) -> list[dict[str, Any]]:
    why = "3 training images of women and 30 of men; 20 of each are needed" if few else ""
    number = None if few else _numbers(rng.uniform(0.85, 0.92))
    rows = [measure_row("direction_cosine", 40, "images", number, why, lang="en", other="ar")]
    return rows + [
        measure_row("direction_auc", 8, "held-out images", number, why, lang=lang, other=other)
        for lang in ("en", "ar")
        for other in ("en", "ar")
    ]


def _scores(rng: random.Random, few: bool) -> list[dict[str, Any]]:
    values = {
        "measured": 0.6,
        OVER: 0.67,
        "same language twice": 0.9,
        "labels shuffled": 0.0,
        "effects at random": 0.05,
    }
    rows = []
    for view, dictionary in (("before", "shared"), ("caption", "shared"), ("caption", "separate")):
        for score in ("clbas", *VARIANTS):
            for case in (*CASES, *([OVER] if score == "clbas" else [])):
                # the variants' shuffled labels reach what the data have
                value = 0.59 if case == "labels shuffled" and score != "clbas" else values[case]
                row = {
                    "view": view,
                    "dictionary": dictionary,
                    "score": score,
                    "case": case,
                    "n_features": 12,
                    "n_female": 10,
                    "n_male": 9,
                    "value": value,
                    "low": max(0.0, value - 0.05),
                    "high": min(1.0, value + rng.uniform(0.04, 0.05)),
                    "why": "",
                }
                empty = {"value": None, "low": None, "high": None, "why": "3 held-out images of women and 30 of men"}
                rows.append(row | empty if few else row)
    return rows


def _class(kind: str, n: int) -> dict[str, Any]:
    chance = 0.4 if kind in ("shared", "english", "arabic") else None
    return {"language_class": kind, "n": 4 + n, "n_tested": 40, "chance": chance}


def _language(feature: int, rng: random.Random) -> dict[str, Any]:
    kind = {0: "shared", 1: "english", 2: "arabic"}.get(feature, "unclear")
    index = {"english": -1.0, "arabic": 1.0}.get(kind, rng.uniform(-0.2, 0.2))
    return {
        "n_images": 40,
        "n_en": 20,
        "n_ar": 20,
        "rate_en": 0.5,
        "rate_ar": 0.5,
        "mean_en": 1.0,
        "mean_ar": 1.0,
        "language_index": index,
        "low": index,
        "high": index,
        "null_low": -0.3,
        "null_high": 0.3,
        "pair_correlation": 0.8,
        "p_language": 0.01,
        "q_language": 0.02,
        "p_pairs": 0.01,
        "q_pairs": 0.02,
        "language_class": kind,
    }


def _gender(feature: int, view: str, rng: random.Random) -> dict[str, Any]:
    kind = SHARING.get(feature, "unclear")
    row: dict[str, Any] = {
        "view": view,
        "n_female": 10,
        "n_male": 9,
        "sharing": kind,
        "difference_low": -0.1,
        "difference_high": 0.1,
    } | dict.fromkeys(("p_both", "q_both", "p_own", "q_own"), 0.02)
    for lang, silent in (("en", "arabic"), ("ar", "english")):
        effect = 0.0 if kind == silent else 1.5 if kind != "unclear" else rng.uniform(-0.3, 0.3)
        half = 0.0 if kind == silent else 0.4
        row |= {
            f"train_effect_{lang}": effect,
            f"effect_{lang}": effect,
            f"low_{lang}": effect - half,
            f"high_{lang}": effect + half,
            f"p_{lang}": 0.01,
        }
    return row


def _grammar(feature: int, rng: random.Random) -> dict[str, Any]:
    follows = "person" if feature == 0 else "neither" if feature % 16 != 15 else "not enough data"
    return {
        "n_en": 20,
        "n_ar": 20,
        "n_words_female": 14,
        "n_words_male": 6,
        "auc_word_ar": rng.random(),
        "auc_word_en": 0.5,
        "size_word": rng.random(),
        "n_labellings": 20_000,
        "p_word": 0.3,
        "p_word_adjusted": 0.9,
        "auc_person": 0.5,
        "p_person": 0.5,
        "q_person": 0.8,
        "follows": follows,
    }


def _matched() -> list[dict[str, Any]]:
    rows = []
    for by in ("activation", "decoder"):
        for method in ("mutual", "assignment"):
            names = {"view": "caption", "lang": "", "other": "", "matched_by": by, "method": method}
            first = "matched_share" if method == "mutual" else "assignment_bound"
            for measure in (first, "matched_correlation", "matched_cosine"):
                rows.append(measure_row(measure, 8, "held-out images", _numbers(0.5), **names))
    return rows

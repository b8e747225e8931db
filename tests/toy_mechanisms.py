"""The tables of stage mechanisms over a toy run (tests/toy_run.py), made up but consistent, for pages and their tests.

Head 3.1 carries gender in both languages; gradients rank features rightly and halve their effects; ``why`` makes tables
in which nothing can be said.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.mech.exchange import NUMBERS
from core.mech.tables import TABLES, table
from core.run import Run

N_HEADS, N_PATCHES = 2, 16
Rows = list[dict[str, Any]]


def add_mechanisms_tables(
    run_dir: str | Path, n_layers: int = 5, layers: Sequence[int] = (1, 3), why: str = ""
) -> None:
    """Write the tables into a run folder that has SAEs of ``layers``."""
    rng, sae_ids = random.Random(0), {}
    for row in pq.read_table(Path(run_dir) / "saes.parquet", columns=["layer", "sae_id"]).to_pylist():
        sae_ids[row["layer"]] = row["sae_id"]
    rows: dict[str, Rows] = {name: [] for name in TABLES}
    for lang in ("en", "ar"):
        rows["head_effects"] += _effects(lang, n_layers, why)
        rows["image_exchange"] += _exchanged(lang, layers, why)
        if not why:
            rows["head_attention"] += _maps(lang, n_layers)
            rows["head_readings"] += _readings(lang, n_layers, layers, sae_ids)
            for layer in layers:
                rows["feature_pairs"] += _pairs(lang, layer, sae_ids[layer])
                patched, checks = _patched(lang, layer, sae_ids[layer], rng)
                rows["patching"] += patched
                rows["patching_checks"] += checks
    rows["part_agreement"] = [_alike(parts, n, why) for parts, n in (("all", 15), ("head", 10), ("mlp", 5))]
    rows["part_shares"] = [] if why else [_share(lang, i) for lang in ("en", "ar") for i in range(4)]
    rows["weight_spectra"] = [
        _spectrum(layer, head, m)
        for layer in range(n_layers)
        for m, head in (*(("OV", h) for h in range(N_HEADS)), *(("QK", h) for h in range(N_HEADS)), ("MLP", -1))
    ]
    for name, of in TABLES.items():
        of.write(Run(run_dir), table(name, rows[name]))


def _exchanged(lang: str, layers: Sequence[int], why: str) -> Rows:
    rows: Rows = []
    for i, layer in enumerate((-1, *layers)):
        for change, share in (("direction", 0.8 / (1 + i)), ("all", 1 - 0.3 * i)):
            key = {"lang": lang, "site": "decoder" if i else "projector", "layer": layer, "change": change, "why": why}
            row = dict.fromkeys(NUMBERS, math.nan)
            if not why:
                row |= {"effect": 5 * share, "effect_low": 5 * share - 0.5, "effect_high": 5 * share + 0.5}
                row |= {"share": share, "low": share - 0.1, "high": share + 0.1}
                if (i, change) == (0, "direction"):
                    row |= {"control": 0.1, "beyond": 0.7, "beyond_low": 0.5, "beyond_high": 0.9}
            rows.append({**key, "n_images": 48, **row})
    return rows


def _effects(lang: str, n_layers: int, why: str) -> Rows:
    parts = [
        (-1, "embedding", -1),
        *((n, "head", h) for n in range(n_layers) for h in range(N_HEADS)),
        *((n, "mlp", -1) for n in range(n_layers)),
        (-1, "all", -1),
    ]
    rows = []
    for layer, part, head in parts:
        row = {
            "lang": lang,
            "layer": layer,
            "part": part,
            "head": head,
            "finding": False,
            "why": why,
            "n_female": 40,
            "n_male": 38,
            "n_female_train": 40,
            "n_male_train": 40,
        }
        if not why:
            strong = (layer, part, head) == (3, "head", 1)
            effect = {"all": 4.0}.get(part, 2.0 if strong else 0.05 * (layer + 1))
            row |= {
                "effect": effect,
                "low": effect - 0.2,
                "high": effect + 0.2,
                "effect_train": 0.9 * effect,
                "mean_female": effect / 2,
                "mean_male": -effect / 2,
                "shuffled_low": -0.3,
                "shuffled_high": 0.3,
                "random_low": -0.4,
                "random_high": 0.4,
                "p": 0.001 if strong else 0.4,
                "p_adjusted": 0.002 if strong else 0.5,
                "n_permutations": 2000,
                "n_compared": 78,
                "p_least": 0.001,
                "finding": strong,
                "readout_r": 0.99,
            }
            if part == "head":
                row |= {
                    "image_share": 0.8 if strong else 0.4,
                    "image_low": 0.35,
                    "image_high": 0.85,
                    "image_even": 0.44,
                }
        rows.append(row)
    return rows


def _alike(parts: str, n: int, why: str) -> dict[str, Any]:
    row = {"parts": parts, "n_parts": n, "n_female": 40, "n_male": 38, "why": why}
    numbers = {"value": (0.8, 0.7, 0.9), "floor": (0.0, -0.2, 0.2), "ceiling": (0.85, 0.8, 0.9)}
    numbers["ratio"] = (0.94, 0.85, 1.02)
    if why:
        return row
    for name, (middle, low, high) in numbers.items():
        start = "" if name == "value" else f"{name}_"
        row |= {name: middle, f"{start}low": low, f"{start}high": high}
    return row


def _share(lang: str, sample: int) -> dict[str, Any]:
    gender = ("female", "male")[sample % 2]
    return {
        "lang": lang,
        "sample_id": sample,
        "gender": gender,
        "held_out": sample > 1,
        "pair": 0,
        "shares": [0.1] * 15,
    }


def _maps(lang: str, n_layers: int) -> Rows:
    return [
        {
            "lang": lang,
            "layer": n,
            "head": h,
            "sample_id": sample,
            "gender": gender,
            "word": {"en": "her", "ar": "امرأة"}[lang] if sample >= 0 else "",
            "patch_map": [0.8 / N_PATCHES * (1 + math.cos(p + sample)) for p in range(N_PATCHES)],
        }
        for n in range(n_layers)
        for h in range(N_HEADS)
        for sample, gender in ((-1, ""), (4, "female"), (9, "male"))
    ]


def _readings(lang: str, n_layers: int, layers: Sequence[int], sae_ids: dict[int, str]) -> Rows:
    found = []
    for n in range(n_layers):
        below, above = [x for x in layers if x < n], [x for x in layers if x >= n]
        if not below or not above:
            continue
        for head in range(N_HEADS):
            for view, cosine in (("image", 0.9), ("before", -0.2)):
                row = {
                    "lang": lang,
                    "head_layer": n,
                    "head": head,
                    "view": view,
                    "in_layer": below[-1],
                    "out_layer": above[0],
                    "sae_id": sae_ids[above[0]],
                    "gain": 0.4,
                    "random_gain": 0.1,
                    "features": [0, 3, 5],
                    "feature_cosines": [0.9, -0.4, 0.3],
                    "shuffled_cosine": 0.6,
                    "n_female": 40,
                    "n_male": 40,
                }
                row |= {"cosine_ratio": cosine, "cosine_ratio_low": cosine - 0.1, "cosine_ratio_high": cosine + 0.1}
                for name in ("cosine", "word_cosine"):
                    row |= {name: cosine, f"{name}_low": cosine - 0.05, f"{name}_high": cosine + 0.05}
                    row |= {
                        f"{name}_{null}_{end}": x
                        for null in ("shuffled", "random")
                        for end, x in (("low", -0.5), ("high", 0.6))
                    }
                found.append(row)
    return found


def _spectrum(layer: int, head: int, matrix: str) -> dict[str, Any]:
    values = [2.0 * 0.8**n for n in range(8)]
    return {
        "layer": layer,
        "head": head,
        "matrix": matrix,
        "rank": 8,
        "entropy": 1.8,
        "effective_rank": 6.0,
        "participation": 4.0,
        "norm": 3.1,
        "trace": -0.2,
        "copying": -0.3,
        "singular_values": values,
        "random_effective_rank": 7.2,
        "random_participation": 6.1,
    }


def _pairs(lang: str, layer: int, sae_id: str) -> Rows:
    rows = []
    for number, (a, b) in enumerate([(0, 1), (0, 2), (0, 3), (1, 2), (2, 3), (6, 7), (8, 9), (10, 11)]):
        control, ablated = number >= 5, number not in (3, 4)
        effect = 0.01 if control else 0.5
        row = {
            "lang": lang,
            "layer": layer,
            "sae_id": sae_id,
            "feature_a": a,
            "feature_b": b,
            "n_images": 40,
            "n_a": 20,
            "kind": "control" if control else "top",
            "n_b": 18,
            "n_both": 12,
            "pmi": 0.4,
            "pmi_low": -0.3,
            "pmi_high": 0.3,
            "p": 0.01,
            "q": 0.03,
            "b_given_a": 0.6,
            "a_given_b": 0.67,
            "pmi_within": 0.3 - 0.2 * (a == 1),
            "p_within": 0.01,
            "q_within": 0.02,
            "predicted_a": -effect if a % 2 else effect,
            "predicted_b": effect / 2,
            "n_ablated": 24 if ablated else 0,
        }
        if ablated:
            beyond = 0.1 * effect * (number == 0)
            row |= {
                "effect_a": effect,
                "effect_b": effect / 2,
                "effect_both": 1.5 * effect + beyond,
                "size": 0.01,
                "interaction": beyond,
                "low": beyond - 0.01,
                "high": beyond + 0.01,
                "p_interaction": 0.5 if control else 0.001,
                "relative": 0.002 if control else 0.05,
                "relative_low": 0.001 if control else 0.03,
                "relative_high": 0.004 if control else 0.09,
            }
        rows.append(row)
    return rows


def _patched(lang: str, layer: int, sae_id: str, rng: random.Random) -> tuple[Rows, Rows]:
    rows = []
    for f in range(16):
        true = rng.gauss(0, 0.5 if f < 8 else 0.05)
        rows.append(
            {
                "lang": lang,
                "layer": layer,
                "feature": f,
                "sae_id": sae_id,
                "n_images": 24,
                "n_fires": 12,
                "chosen": "strongest" if f < 8 else "random",
                "true": true,
                "low": true - 0.1,
                "high": true + 0.1,
                "gradient": true / 2,
                "integrated": true,
                "direct": rng.gauss(0, 0.3),
                "gradient_train": true / 2,
            }
        )
    checks = [
        {
            "lang": lang,
            "layer": layer,
            "method": m,
            "chosen": c,
            "r": r,
            "low": r - 0.1,
            "high": min(1.0, r + 0.02),
            "spearman": r,
            "slope": slope,
            "control_low": -0.5,
            "control_high": 0.5,
            "n": 16,
            "n_images": 24,
            "why": "",
        }
        for m, r, slope in (("gradient", 0.98, 2.0), ("integrated", 0.99, 1.0), ("direct", 0.2, 0.4))
        for c in ("all", "strongest", "random")
    ]
    return rows, checks

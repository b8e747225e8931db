"""Graphs of single words over captions: with and without gender in the picture, or in the features."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.scoreboard.worlds import Size, along, world

SIZES = along((8, 16, 50), at=Size(16, 0, 8))  # captions, half of them of women's images
NOISE = 3.0  # log-odds by which pictures differ for other reasons than gender


def graphs(
    rng: np.random.Generator, size: Size, gap: float, own: float, random: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """graphs and graph_layers of English: pictures of women add ``gap`` more; half of it leaves the image tokens at
    the middle layer; features bring about a share ``own`` of it, those of random dictionaries ``random``."""
    n, heavy = size.n, rng.standard_t(4, size.n)
    female = np.arange(n) % 2 == 0
    total = gap * (female - 0.5) - gap / 4 + NOISE * heavy
    made = pd.DataFrame({"lang": "en", "sample_id": np.arange(n), "total": total, "why": ""})
    made["gender"] = np.where(female, "female", "male")
    parts = []
    for layer in range(size.layers):
        left = 1 / (1 + np.exp(-2.5 * (layer - size.layers / 2 + 0.5)))  # of the picture's effect, for the words
        away = np.clip(left + 0.1 * rng.standard_normal(n), 0, 1)
        whole = total * (1 + 0.02 * rng.standard_normal(n))
        for name, share in (("own", own), ("random", random)):
            kept = total * (share + 0.2 * rng.standard_normal(n)) + 0.3 * rng.standard_normal(n)
            row = {"lang": "en", "sample_id": np.arange(n), "layer": layer, "dictionary": name, "whole": whole}
            row |= {"at_image": whole * (1 - away), "kept_measured": kept, "error": 0.1 * total}
            parts.append(pd.DataFrame(row))
    return made, pd.concat(parts, ignore_index=True)


@world("false", "pictures do not add gender to the words", "graph.crossing", sizes=SIZES)
def no_gender(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return graphs(rng, size, 0.0, 0.7, 0.1)


@world("true", "pictures of women add more to a woman's word", "graph.crossing", sizes=SIZES)
def gender(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return graphs(rng, size, 12.0, 0.7, 0.1)


@world("false", "features are no better than random directions", "graph.features", sizes=SIZES)
def no_features(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return graphs(rng, size, 12.0, 0.2, 0.2)


@world("true", "features bring about most of it", "graph.features", sizes=SIZES)
def features(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return graphs(rng, size, 12.0, 0.7, 0.1)

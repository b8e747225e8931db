"""Levels and coverage of the shares by group, where groups have few images and captions of one image are alike.

``python -m tests.bias.levels_table`` prints docs/measurements.md's table: 57 groups, or as many questions as the
controls ask, with beta-binomial captions.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from core.bias.shares import MARGIN, grouped
from core.intervals import q_values

N_GROUPS = 57
MIXED = "half .02, half .6"
ICC = (0.0, 0.05, 0.1, 0.3, 0.6, MIXED)


def drawn(rng: np.random.Generator, p: np.ndarray, icc: float | str, n_images: int, captions: int) -> pd.DataFrame:
    """One row an image (group, n, hits) of ``n_images`` images in each group of share ``p`` (n_groups,)."""
    group = np.repeat(np.arange(len(p)), n_images)
    half = np.where(group < len(p) // 2, 0.02, 0.6)
    alike = np.clip(half if icc == MIXED else float(icc), 1e-6, None)
    own = rng.beta(p[group] * (1 / alike - 1), (1 - p[group]) * (1 / alike - 1))
    n = np.full(len(group), captions)
    return pd.DataFrame({"group": group, "n": n, "hits": rng.binomial(n, own)})


def levels(icc: float | str, n_images: int, captions: int, n_worlds: int, seed: int = 0) -> dict[str, float]:
    """Rates over simulated worlds: each test at 5 %, worlds with any call after adjustment, coverage and width."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(n_worlds):
        row = {}
        for name, share in (("even", 0.5), ("beyond", 0.5 + MARGIN)):
            world = drawn(rng, np.full(N_GROUPS, share), icc, n_images, captions)
            p = grouped(world["hits"], world["n"], world["group"])[f"p_{name}"]
            row |= {f"{name} at 5 %": (p <= 0.05).mean(), f"any {name}": (q_values(p) <= 0.05).any()}
        p = rng.uniform(0.05, 0.95, N_GROUPS)
        world = drawn(rng, p, icc, n_images, captions)
        table = grouped(world["hits"], world["n"], world["group"])
        row["coverage"] = ((table["low"] <= p) & (p <= table["high"])).mean()
        row["width"] = (table["high"] - table["low"]).mean()
        found.append(row)
    return pd.DataFrame(found).mean().to_dict()


def main(n_worlds: int) -> None:
    """Print the table."""
    names = ("even at 5 %", "any even", "beyond at 5 %", "any beyond", "coverage", "width")
    print(f"| images x captions, intraclass correlation | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for n_images, captions in [(5, c) for c in (1, 2, 5, 16)] + [(2, 16), (10, 16)]:
        for icc in ICC:
            row = levels(icc, n_images, captions, n_worlds)
            print(
                f"| {n_images} x {captions}, {icc} | {' | '.join(f'{row[name]:.3f}' for name in names)} |", flush=True
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)

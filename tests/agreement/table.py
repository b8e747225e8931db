"""Prints what agreement says of one direction, two, and none: the ratio over the ceiling, its coverage, and claims.

python -m tests.agreement.table [WORLDS]
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from core.agreement import Kind, agreement
from core.answers import NEARLY_SAME
from core.answers.mechanisms import alike_sentence
from core.config import Config
from core.mech.part_agreement import rows
from tests.agreement.agreement_worlds import directions_world, effects_world, shares_world

DIRECTIONS = ((60, 192, 3.0), (140, 192, 2.5), (400, 640, 2.5), (1000, 2560, 4.0))


def main(n_worlds: int) -> None:
    print("world | true | value | ceiling | ratio | covers | called the same | called not the same | nothing said")
    for n, d, strength in DIRECTIONS:
        some = n_worlds if n < 400 else max(4, n_worlds // (n // 40))
        for cosine in (1.0, 0.5, 0.0):
            tell(f"cosine, n = {n}, d = {d}", cosine, "cosine", some, directions_world, n, d, cosine, strength)
    tell("cosine, n = 140, d = 192, no gender", np.nan, "cosine", n_worlds, directions_world, 140, 192, 1.0, 0.0)
    for n in (60, 140, 400):
        for alike in (1.0, 0.5, 0.0):
            tell(f"identity, n = {n}, 64 features", alike, "identity", n_worlds, effects_world, n, 64, alike)
    print("parts, n, strength, alike | the same | in part | not told from chance | nothing said")
    for n, strength, alike in ((60, 0.0, 1.0), (120, 0.0, 1.0), (120, 2.0, 1.0), (120, 2.0, 0.5), (120, 2.0, 0.0)):
        for shared in (0.0, 0.5):
            parts(n_worlds, n, strength, alike, shared)


def tell(name: str, true: float, kind: Kind, n_worlds: int, world, *given: float) -> None:
    found = []
    for seed in range(n_worlds):
        a, b, female = world(np.random.default_rng(seed), *given)
        found.append(agreement(a, b, female, kind, seed))
    table = pd.DataFrame(found)
    known = table.dropna(subset=["ratio_low"])
    covers = ((known["ratio_low"] <= true) & (true <= known["ratio_high"])).mean()
    means = " | ".join(f"{table[c].mean():.2f}" for c in ("value", "ceiling", "ratio"))
    same, not_same = (known["ratio_low"] > NEARLY_SAME).sum(), (known["ratio_high"] < NEARLY_SAME).sum()
    nothing = n_worlds - len(known)
    print(f"{name} | {true} | {means} | {covers:.2f} | {same} | {not_same} | {nothing} of {n_worlds}", flush=True)


def parts(n_worlds: int, n: int, strength: float, alike: float, shared: float) -> None:
    listed = [{"lang": "en", "part": "head", "why": ""}] * 272
    said = []
    for seed in range(n_worlds):
        world = shares_world(np.random.default_rng(seed), n, 272, alike, strength, shared)
        said.append(alike_sentence(pd.DataFrame(rows(listed, world, Config())))[1])
    starts = (" The same parts do", " In part", " How alike", " Whether")
    counts = " | ".join(str(sum(s.startswith(start) for s in said)) for start in starts)
    print(f"272 parts, {n}, {strength}, {alike}, shared noise {shared} | {counts} (of {n_worlds})", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)

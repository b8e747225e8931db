"""Prints how often a design is called a specific effect, by number of control sets, captions and what its target does.

Run: python -m tests.interventions.power_table [worlds]
"""

import sys

import numpy as np
import pandas as pd

from core.interventions.tables import verdicts_table
from core.scoreboard.worlds.interventions import LANGS, design, keyed

CONTROLS, CAPTIONS, TARGETS, CONTROL = (19, 25), (20, 50, 140), (0.2, 0.3, 0.4), 0.2


def share(n_controls: int, n: int, target: float, worlds: int) -> float:
    """Of the verdicts of both languages; the same worlds' seeds for every number of controls."""
    said = 0
    for number in range(worlds):
        rng = np.random.default_rng([n, round(100 * target), number])
        effects = pd.DataFrame(design(rng, n, target, CONTROL, keyed(0), controls=n_controls))
        said += int((verdicts_table(effects)["verdict"] == "specific effect").sum())
    return said / (worlds * len(LANGS))


def main() -> None:
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print("target\tcaptions\t" + "\t".join(f"{n} control sets" for n in CONTROLS))
    for target in TARGETS:
        for n in CAPTIONS:
            print(target, n, *(f"{share(c, n, target, worlds):.3f}" for c in CONTROLS), sep="\t", flush=True)


if __name__ == "__main__":
    main()

"""Prints what the README says of interventions and mechanisms, as a run has found it, and draws the README's figure.

Run: python -m tests.docs.interventions_figure cache/demo
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from core.answers import interventions as interventions_answers
from core.answers import mechanisms as mechanisms_answers
from core.config import PROJECT_ROOT
from core.figures import interventions, paper
from core.run import atomic_path
from core.run.reader import Catalog

FIGURE = PROJECT_ROOT / "docs" / "interventions.png"
SHOWN = ["method", "mode", "layer", "strength", "k", "lang", "target", "effect_low", "effect_high", "control"]


def main(run: Path) -> None:
    cat = Catalog(run)
    effects = cat.intervention_effects()
    arms = interventions_answers.ways_compared(effects)
    pairs = cat.intervention_pairs(*arms) if arms else pd.DataFrame()
    answers = (
        interventions_answers.main_answer(effects, cat.intervention_verdicts()),
        interventions_answers.ways_answer(effects, pairs),
        interventions_answers.transfer_answer(effects),
        mechanisms_answers.mechanisms_answer(cat.frame("head_effects"), cat.part_agreement()),
    )
    print("\n\n".join(answer.text for answer in answers), end="\n\n")
    print(interventions.curve_frame(effects, "layer", "clean")[["layer", *SHOWN[5:]]].round(3).to_string(index=False))
    ways = interventions.ways_frame(effects, "clean")
    print(ways[SHOWN].round(3).to_string(index=False))
    with atomic_path(FIGURE) as path:
        path.write_bytes(paper.render(paper.draw(interventions.ways(ways, "clean")), "png", 150))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

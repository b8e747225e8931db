"""Sentences about how well a run's SAEs fit it, and where they must not be read."""

from __future__ import annotations

import pandas as pd

from core.answers import Answer, says
from core.figures.sae_fit import BOTH, KINDS
from core.frames import tuples

ENOUGH = 0.5  # explained variance below which features leave out too much to be read
FEW = 10  # held-out images below which nothing is said
HERE = "trained here"


def origin(saes: pd.DataFrame) -> str:
    """Where the SAEs come from, in one sentence."""
    if (saes["source"] == HERE).all():
        return "The dictionaries were trained here, on what this model did at the words of these captions."
    models = sorted({model or "an unnamed model" for model in saes["trained_on"]})
    return f"The dictionaries were trained by others, on {' and '.join(models)}: {', '.join(saes['source'])}."


@says("sae_fit.fits")
def fit_answer(saes: pd.DataFrame, fit: pd.DataFrame) -> Answer:
    """How much they explain at each kind of position, in the layer where it is least.

    Supported where it is surely (lower end) at least ENOUGH everywhere.
    """
    known = fit[(fit["lang"] == BOTH) & fit["kind"].isin(list(KINDS))].dropna(subset=["explained_variance"])
    if known.empty or known["n_images"].min() < FEW:
        n = int(known["n_images"].min()) if len(known) else 0
        return Answer(f"There are {n} held-out images and {FEW} are needed: nothing is said.", "not enough data")
    parts = []
    for kind, name in KINDS.items():
        mine = known[known["kind"] == kind]
        if len(mine):
            worst = mine.iloc[int(mine["explained_variance"].argmin())]
            parts.append(
                f"{worst['explained_variance']:.2f} [{worst['explained_variance_low']:.2f}, "
                f"{worst['explained_variance_high']:.2f}] at {name} positions (layer {worst['layer']}; "
                f"untrained {worst['explained_variance_random']:.2f})"
            )
    n = int(known["n_images"].min())
    text = f"In the layer where it is least, explained variance is {'; '.join(parts)}; n = {n:,} held-out images."
    surely = bool((known["explained_variance_low"] >= ENOUGH).all())  # with 20 images .45 is found to be .5 and more
    return Answer(text, "supported" if surely and not cautions(fit) else "unclear")


def cautions(fit: pd.DataFrame) -> list[str]:
    """Where the SAEs must not be read, one sentence a kind of position; [] where they fit everywhere."""
    said = []
    for kind, name in KINDS.items():
        mine = fit[(fit["kind"] == kind) & (fit["lang"] == BOTH)].dropna(subset=["explained_variance"])
        bad = mine[mine["explained_variance"] < ENOUGH]
        if bad.empty:
            continue
        layers = ", ".join(str(layer) for layer in sorted(bad["layer"]))
        where = f"{name} positions of layer{'s' if len(bad) > 1 else ''} {layers}"
        value = float(bad["explained_variance"].min())
        share = f"less than half of the variance ({value:.0%})" if value > 0 else "less than the average alone does"
        chance = (bad["explained_variance_low"] <= bad["explained_variance_random"]).all()
        than = ", no more than an untrained dictionary" if chance else ""
        said.append(
            f"Do not rely on these features at {where}: they explain {share} there{than}, and what they leave "
            "out may hold what you look for."
        )
    return said + _ruled_by_few(fit)


def _ruled_by_few(fit: pd.DataFrame) -> list[str]:
    """Where explained variance is that of a few far tokens, and most tokens are told badly; [] where nowhere."""
    if "explained_variance_median" not in fit:  # of a run of an earlier version
        return []
    here = (fit["lang"] == BOTH) & fit["kind"].isin(list(KINDS))
    ruled = (fit["explained_variance"] >= ENOUGH) & (fit["explained_variance_median"] < ENOUGH)
    return [
        f"At {KINDS[row.kind]} positions of layer {row.layer} explained variance ({row.explained_variance:.0%}) is "
        f"that of a few far tokens: of half of all tokens less than {row.explained_variance_median:.0%} is explained."
        for row in tuples(fit.loc[here & ruled])
    ]

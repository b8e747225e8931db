"""Sentences that hold features against dictionaries that learned nothing, and against another training of their own."""

from __future__ import annotations

import pandas as pd

from core.answers import Answer, says
from core.config import LANGUAGE_NAME
from core.figures.gender import VIEW_NAMES, of_language
from core.frames import records
from core.intervals import told
from core.nulls.beside import BesideOthers, beside_others

TRAINED, RANDOM = "trained", "random"
RIVALS = {
    "random": "the first of a random dictionary",
    "axes": "a raw coordinate of the residual",
    "components": "a principal component",
    "frozen decoder": "an SAE whose directions stayed random",
    "random model": "an SAE of the model with random weights",
    "second seed": "the SAE trained again with another seed",
}
"""What the first feature of a kind is called within a sentence; in the order in which they are told."""
UNTRAINED = ("axes", "components")  # of which it is said where they do as well


@says("nulls.beyond random")
def null_answer(found: pd.DataFrame, probes: pd.DataFrame, layer: int, lang: str, view: str) -> Answer:
    """What of a layer's gender features is more than a random dictionary has; rows of null_findings and null_probes of
    one layer, language and view."""
    where = f"In layer {layer}, {VIEW_NAMES.get(view, view)}{of_language(lang)}"
    known = probes[(probes["k"] == 1) & probes["auc"].notna()].set_index("kind") if len(probes) else probes
    if not len(known) or not {TRAINED, RANDOM} <= set(known.index):
        why = next((w for w in found["why"] if w), "") if len(found) else ""
        return Answer(
            f"{where}, nothing can be compared with a random dictionary{why and f': {why}'}.", "not enough data"
        )
    own, random = (records(known.loc[[kind]])[0] for kind in (TRAINED, RANDOM))
    counts = {kind: found[found["kind"] == kind] for kind in (TRAINED, RANDOM)}
    count = f"{counts[TRAINED]['n_findings'].mean():,.0f} of its {counts[TRAINED]['n_features'].mean():,.0f} features"
    other = (
        f"{counts[RANDOM]['n_findings'].mean():,.0f} of {counts[RANDOM]['n_features'].mean():,.0f} random directions"
    )
    n = f"n = {own['n_female_test']} women and {own['n_male_test']} men held out"
    clear, worse = random["difference_low"] > 0, random["difference_high"] < 0
    told = "goes further" if clear else "goes less far" if worse else "cannot be told from one of a random dictionary"
    text = (
        f"{where}, the count is no evidence: {count} tell women from men, and so do {other}. The first feature of this "
        f"SAE, chosen on training images, {told}: held-out AUC {_auc(own)}, against {_auc(random)} "
        f"(mean of {random['n_draws']} random dictionaries); difference {_within(random, 'difference')} ({n})."
    )
    return Answer(text + _as_well(known), "supported" if clear else "unclear")


def _as_well(known: pd.DataFrame) -> str:
    """Which kinds without any training are not beyond reach: where they do as well, learning is no reason."""
    rows = {kind: records(known.loc[[kind]])[0] for kind in UNTRAINED if kind in known.index}
    same = {kind: row for kind, row in rows.items() if not row["difference_low"] > 0}
    if not same:
        return " No raw coordinate and no principal component of the residual does as well." if len(rows) == 2 else ""
    named = " and ".join(f"{RIVALS[kind]} ({_auc(row)})" for kind, row in same.items())
    return f" It is not told from {named}, which nothing was trained for."


def _auc(row: dict) -> str:
    return _within(row, "auc")


def _within(row: dict, name: str) -> str:
    null, form = (0.0, "+.2f") if name == "difference" else (0.5, ".2f")
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return told(value, low, high, null, form).replace("-", "−")


@says("nulls.recurs")
def recurrence_answer(rows: pd.DataFrame) -> Answer:
    """Whether a feature comes back with another seed; its rows of the table recurrence, one a training."""
    known = rows[rows["recurs"].notna()] if len(rows) else rows
    if known.empty:
        why = "it fires on too few held-out tokens" if len(rows) else "no other seed was trained at this layer"
        return Answer(f"Whether it recurs with another seed cannot be said: {why}.", "not enough data")
    n, hits = len(known), int(known["recurs"].astype(bool).sum())
    best = records(known.sort_values("correlation", ascending=False).head(1))[0]
    trainings = "the other training" if n == 1 else f"{hits} of {n} other trainings"
    verb = "Recurs" if hits else "Does not recur"
    start = f"{verb} in {trainings}" if n == 1 or hits else f"Recurs in none of {n} other trainings"
    if pd.isna(best["correlation"]):
        return Answer(f"{start}: it has no partner there (n = {best['n_fires']:,} firings).", "unclear")
    text = (
        f"{start} of this dictionary with another seed: its partner there, feature {int(best['partner'])}, fires "
        f"with it at r = {best['correlation']:.2f} (shuffled {best['correlation_floor']:.2f}) and points with a cosine "
        f"of {best['cosine']:.2f} (random {best['cosine_floor']:.2f}; n = {best['n_fires']:,} firings)."
    )
    return Answer(text, "supported" if hits == n else "unclear")


@says("nulls.beyond random weights")
def layers_answer(rows: pd.DataFrame, lang: str, view: str) -> Answer:
    """At how many layers gender is read off better than in a model with random weights; rows of null_layers."""
    here = rows[(rows["lang"] == lang) & (rows["view"] == view) & rows["difference"].notna()] if len(rows) else rows
    if here.empty:
        return Answer("A probe of the model with random weights was not made.", "not enough data")
    beyond = here[here["difference_low"] > 0]
    low, high = here["random_auc"].min(), here["random_auc"].max()
    row = records(here.head(1))[0]
    text = (
        f"With random weights a probe reads gender with an AUC of {low:.2f} to {high:.2f} over the layers "
        f"({LANGUAGE_NAME[lang]}, {VIEW_NAMES.get(view, view)}); the model is beyond that at {len(beyond)} of "
        f"{len(here)} layers (n = {row['n_female_test']} women and {row['n_male_test']} men held out)."
    )
    return Answer(text, "supported" if len(beyond) == len(here) else "unclear")


MORE, LESS = "nulls.gender aligns more", "nulls.gender aligns less"
WHAT = {"direction_cosine": "the direction", "clbas": "the effects on features (CLBAS)"}
BOTH_LEVEL = 1 - 0.05 / len(WHAT)  # either measure may be told


@says(MORE, LESS)
def others_answer(rows: pd.DataFrame, layer: int, view: str) -> Answer:
    """Whether gender is more alike in the two languages than other things that images show; rows of null_others."""
    here = rows[(rows["layer"] == layer) & (rows["view"] == view)] if len(rows) else rows
    said, claims, compared = [], [], 0
    for measure, what in WHAT.items():
        of = here[here["measure"] == measure] if len(here) else here
        gender = records(of[of["source"] == "gender"]) if len(of) else []
        others = records(of[of["source"] != "gender"]) if len(of) else []
        if not gender or pd.isna(gender[0]["ratio"]):
            continue
        found = beside_others(gender[0], others, BOTH_LEVEL)
        own = _over_ceiling(gender[0])
        if found is None:
            known = sum(pd.notna(row["ratio"]) for row in others)
            said.append(f"{what} of gender {own}; of {len(others)} other contrasts {known} can be told from noise")
            continue
        compared += 1
        claims += [MORE] if found.low > 0 else [LESS] if found.high < 0 else []
        said.append(f"{what} of gender {own}, {_how(found)}")
    if not said:
        return Answer("Whether gender is more alike than other things cannot be said.", "not enough data")
    text = f"At layer {layer}, {VIEW_NAMES.get(view, view)}, over what equal ones would show: {'; '.join(said)}."
    sure = "supported" if claims else "unclear" if compared else "not enough data"
    return Answer(text, sure, tuple(dict.fromkeys(claims)))


def _how(found: BesideOthers) -> str:
    than = "more alike than" if found.low > 0 else "less alike than" if found.high < 0 else "not told from"
    apart = told(found.difference, found.low, found.high, form="+.2f")
    numbers = f"{found.least:.2f} to {found.most:.2f}; gender less one more of them {apart}"
    return f"{than} {found.n} other contrasts of the same images ({numbers})".replace("-", "−")


def _over_ceiling(row: dict) -> str:
    return _within(row, "ratio")

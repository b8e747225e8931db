"""What an audit of captions, before and after something was done to a model, allows to conclude."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.answers import Answer, says
from core.intervals import MIN_VARIED

LEVEL = 0.025  # of the test, beside the 95 % interval: with 0.05 unchanged captions are called changed in just 5 %


@says("audit.changed")
def audit_answer(table: pd.DataFrame) -> Answer:
    """What may and may not be said of the words for women and men, from the ``terms`` of an audit."""
    total = table[table["kind"] == "total"].iloc[0]
    tokens = table[table["kind"] == "tokens"].iloc[0]
    n = int(total["n_images"])
    if total["why"]:
        return Answer(f"Not enough data: {total['why']}. Nothing may be concluded.", "not enough data")
    if not total["before"] and not total["after"]:
        return Answer(
            f"No word of the lexicon names a woman or a man in {n:,} images: there is nothing to compare.",
            "not enough data",
        )
    count, rate, length = (_sign(total, "change"), _sign(total, "rate"), _sign(tokens, "change"))
    counts = f"gendered words go from {total['before']:,} to {total['after']:,} ("
    counts += f"{_change(total, 'change', 'change', ',.0f')}; n = {n:,} images)"
    rates = f"per 1,000 words from {total['rate_before']:.1f} to {total['rate_after']:.1f} ("
    rates += f"{_change(total, 'rate_change', 'rate', '.1f')})"
    words = f"from {tokens['before']:,} to {tokens['after']:,} words"
    alone = "This file has no control: whether any other change of the model would do the same it cannot say."
    if length:
        alone = f"The captions also went {words}: a rate moves by itself where what is cut stood late. {alone}"
    if not count and not rate:
        said = f"No change can be shown: {counts}; {rates}. That is no proof that there is none."
        return Answer(said, "unclear")
    if not np.isfinite(total["rate_change"]):
        return Answer(f"The captions are empty on one side ({words}): no rate can be compared; {counts}.", "unclear")
    if rate == 0:
        why = {-1: "got shorter", 1: "got longer", 0: "changed in length"}[length]
        fell = "falls" if count < 0 else "rises"
        return Answer(
            f"The number {fell}, but the captions {why} ({words}): {counts}; {rates}, a change that cannot be told "
            "from none. It may not be concluded that words for women and men in particular were affected.",
            "unclear",
        )
    way = "rarer" if rate < 0 else "more frequent"
    test = f"{rates}; signed-rank test over images p = {total['rate_p']:.2g}"
    sure = "supported" if total["rate_p"] <= LEVEL else "unclear"
    if count == rate:
        return Answer(f"Gendered words became {way}, by number and by rate: {counts}; {test}. {alone}", sure)
    seen = "the number alone does not show it" if count == 0 else "the number moves the other way"
    return Answer(f"Among all words, gendered ones became {way}: {test}; {seen}: {counts}. {alone}", sure)


def _sign(row: pd.Series, name: str) -> int:
    """-1 or 1 where the interval of a change excludes 0, else 0."""
    return -1 if row[f"{name}_high"] < 0 else 1 if row[f"{name}_low"] > 0 else 0


def _change(row: pd.Series, name: str, ends: str, form: str) -> str:
    """A change with its interval, or why it has none."""
    low, high = row[f"{ends}_low"], row[f"{ends}_high"]
    if not np.isfinite(low):
        return f"{row[name]:+{form}}, no interval: fewer than {MIN_VARIED} images change"
    return f"{row[name]:+{form}}, interval {low:+{form}} to {high:+{form}}"

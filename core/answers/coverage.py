"""For what share of captions the pairs of spellings speak that lens, heads, attribution and meter compare."""

from __future__ import annotations

import pandas as pd

from core.answers import Answer, says
from core.config import LANGUAGE_NAME
from core.gender.coverage import coverage
from core.intervals import clopper_pearson

REASONS = 2  # named


def coverage_answer(contrasts: pd.DataFrame, n_captions: dict[str, int]) -> dict[str, Answer]:
    """By language of ``n_captions`` (captions of the run), from the rows of contrasts.parquet."""
    return {lang: _of(contrasts[contrasts["lang"] == lang], LANGUAGE_NAME[lang], n) for lang, n in n_captions.items()}


@says("coverage.share")
def _of(rows: pd.DataFrame, name: str, n_captions: int) -> Answer:
    found = coverage(({"why": why} for why in rows["why"]), n_captions)
    n = found.n_gendered
    if not n:
        return Answer(f"none of {n_captions:,} {name} captions names a gender", "not enough data")
    low, high = (float(end) for end in clopper_pearson(found.n_covered, n))
    text = f"{found.share:.0%} [{low:.0%}, {high:.0%}] of the {n:,} {name} captions that name a gender"
    reasons = list(found.reasons.items())[:REASONS]
    text += f" (not: {'; '.join(f'{why}, {times:,}' for why, times in reasons)})" if reasons else ""
    later = int(((rows["slot"] > rows["begins"]) & (rows["why"] == "")).sum())
    text += f", in {later / n:.0%} not at the word’s first token" if later else ""
    return Answer(text, "not enough data" if found.why else "supported")


def coverage_line(answers: dict[str, Answer]) -> str:
    """All languages in one sentence, for a line below a heading."""
    said = [a.text + ("" if a.sure == "supported" else " — not enough data") for a in answers.values()]
    return f"Compared are the two spellings of a caption’s first gendered word, where they part: in {'; '.join(said)}."

"""Sentences about the bias of captions, written from the tables, with n, interval and what chance alone would give."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.answers import Answer, says, within
from core.bias import MATCHED, MEANING, NOT_MATCHED, counted
from core.config import LANGUAGE_NAME
from core.figures.bias import DIFFERENCE, PANELS
from core.frames import records, tuples
from core.intervals import difference, hochberg, told, wilson

ALL = "all"
FEW = 20  # neutral images below which nothing is said
WHOSE = {
    "sampled": "captions sampled from the model",
    "greedy": "the model’s single best captions",
    "reference": "captions that people wrote",
}


def planted_attribute(roles: pd.DataFrame) -> str:
    """The attribute whose shares were planted, with the most groups; "" where nothing was planted."""
    known = roles.dropna(subset=["planted"])
    known = known[known["attribute"] != ALL]
    return "" if known.empty else str(known.groupby("attribute")["value"].nunique().idxmax())


def estimand(policy: str) -> str:
    """What every share of men is a share of, under a policy for the generic masculine."""
    return MEANING[counted(policy)]


def not_compared(policy: str, roles: pd.DataFrame, languages: tuple[str, ...]) -> str:
    """Why Arabic minus English is not shown; "" where it is, or where there are not both languages."""
    if len(languages) < 2 or roles.loc[roles["lang"] == DIFFERENCE, "p_male"].notna().any():
        return ""
    why = NOT_MATCHED
    if counted(policy) == MATCHED:
        why = "in one of the languages no caption says gender by a word that both genders must say alike"
    return f"Arabic minus English is not shown: {why}."


@says("bias.recovered")
def recovery_answer(metrics: pd.DataFrame, attribute: str, source: str, roles: pd.DataFrame) -> Answer:
    """How well what was planted is found again, by language and for the difference."""
    mine = metrics[(metrics["metric"] == "correlation") & (metrics["source"] == source)]
    mine = mine[mine["attribute"] == attribute]
    by = {row["lang"]: row for row in records(mine.dropna(subset=["value"]))}
    known = {lang: by[lang] for lang in PANELS if lang in by}
    if not known:
        why = next((str(w) for w in mine["why"] if w), "nothing was planted") if len(mine) else "no such captions"
        return Answer(f"What was planted cannot be compared with what the captions say: {why}.", "not enough data")
    counts = {int(row["n"]) for row in known.values()}
    said = ", ".join(
        f"{PANELS[lang]} r = {within(row)}" + (f" over {int(row['n'])} {attribute}s" if len(counts) > 1 else "")
        for lang, row in known.items()
    )
    untold = {PANELS[row["lang"]]: row["why"] for row in records(mine) if row["lang"] not in known and row["why"]}
    chance = max(float(row["control_high"]) for row in known.values())
    over = f", over {counts.pop()} {attribute}s" if len(counts) == 1 else ""
    shown = roles[(roles["attribute"] == ALL) & (roles["source"] == source) & (roles["lang"] != DIFFERENCE)]
    text = (
        f"This is the test of the instrument. A bias was planted in this world, and {WHOSE[source]} show it again: "
        f"{said}{over} ({int(shown['n_counted'].sum()):,} captions that say one gender, of "
        f"{int(shown['n_images'].max()) if len(shown) else 0} held-out images that show none); "
        f"by chance r stays below {chance:.2f}."
    )
    text += f" Not compared: {'; '.join(f'{name} ({why})' for name, why in untold.items())}." if untold else ""
    clear = all(row["low"] > row["control_high"] for row in known.values())
    text = text if clear else text.replace("show it again", "show this of it")
    return Answer(
        text + (_steeper(metrics, attribute) if source == "greedy" else ""), "supported" if clear else "unclear"
    )


def _steeper(metrics: pd.DataFrame, attribute: str) -> str:
    """What greedy captions do to the planted shares, by their slope."""
    rows = metrics[(metrics["metric"] == "slope") & (metrics["source"] == "greedy") & metrics["value"].notna()]
    rows = rows[(rows["attribute"] == attribute) & rows["lang"].isin(list(LANGUAGE_NAME))]
    if rows.empty:
        return ""
    said = ", ".join(f"{told(r.value, r.low, r.high, 1.0)} in {LANGUAGE_NAME[r.lang]}" for r in tuples(rows))
    rule = ": above 1, a preference has become a rule" if (rows["low"] > 1).all() else ""
    return f" They are no measure of the belief itself: slope {said}{rule}."


@says("bias.leaning")
def share_answer(roles: pd.DataFrame) -> Answer:
    """Which gender captions name on images that show none, where nothing is known to have been planted."""
    source = "sampled" if (roles["source"] == "sampled").any() else "greedy"
    mine = roles[(roles["attribute"] == ALL) & (roles["source"] == source)]
    by = {row["lang"]: row for row in records(mine.dropna(subset=["p_male"]))}
    known = {lang: by[lang] for lang in LANGUAGE_NAME if lang in by}
    n = min((int(row["n_images"]) for row in known.values()), default=0)
    if n < FEW:
        return Answer(
            f"There are {n} held-out images that show no gender and {FEW} are needed: nothing is said.",
            "not enough data",
        )
    parts = [
        f"{row['p_male']:.0%} [{100 * row['low']:.0f}–{100 * row['high']:.0f}] of those in {LANGUAGE_NAME[lang]} "
        f"(n = {int(row['n_counted']):,} captions)"
        for lang, row in known.items()
    ]
    text = (
        f"On {n:,} held-out images that show no gender, {WHOSE[source]} that say one gender say a man in "
        f"{' and '.join(parts)}; no leaning would be 50 %."
    )
    clear = bool((hochberg([row["p_even"] for row in known.values()]) <= 0.05).any())
    return Answer(text, "supported" if clear else "unclear")


@says("bias.amplified")
def amplification_answer(metrics: pd.DataFrame, attribute: str) -> Answer:
    """What greedy writing makes of the model's belief on neutral images, against what people wrote."""
    mine = metrics[(metrics["metric"] == "amplification_zhao") & (metrics["group"] == "neutral")]
    mine = mine[(mine["attribute"] == attribute) & mine["value"].notna()]
    if mine.empty:
        return Answer(
            "There are too few images with references that name a gender to measure amplification.", "not enough data"
        )
    parts = [
        f"{LANGUAGE_NAME[r.lang]} {r.source} {100 * r.value:+.0f} "
        + (f"[{100 * r.low:+.0f}, {100 * r.high:+.0f}]" if np.isfinite(r.low) else "(too few differ for an interval)")
        for r in tuples(mine.sort_values(["source", "lang"], ascending=False))
    ]
    greedy = mine[mine["source"] == "greedy"]
    clear = bool(len(greedy)) and bool(((greedy["low"] > 0) | (greedy["high"] < 0)).all())
    rise = greedy["value"].mean() > mine.loc[mine["source"] == "sampled", "value"].mean()
    rule = " Writing the single best caption turns a preference into a rule." if clear and rise else ""
    return Answer(
        f"By how many points the gender that people name most for each {attribute} gains in captions: "
        f"{'; '.join(parts)} (n = {int(mine['n'].min()):,} images).{rule}",
        "supported" if clear else "unclear",
    )


@says("bias.errors differ")
def errors_answer(metrics: pd.DataFrame) -> Answer:
    """How often captions name the other gender than the image shows, and whether women or men get it more."""
    mine = metrics[(metrics["metric"] == "error") & metrics["value"].notna()]
    if mine.empty:
        why = next((str(w) for w in metrics.loc[metrics["metric"] == "error", "why"] if w), "no image shows a gender")
        return Answer(f"Nothing is said of errors: {why}.", "not enough data")
    parts, apart = [], []
    for lang, rows in mine.groupby("lang", sort=False):
        by = {one["group"]: one for one in records(rows)}
        row = by["female-male"]
        apart.append({level: _apart(by["female"], by["male"], level) for level in (0.95, 0.975)})
        points = f"{100 * row['value']:+.1f} points [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        parts.append(
            f"{LANGUAGE_NAME[str(lang)]} ones on {by['female']['value']:.1%} of images of women and "
            f"{by['male']['value']:.1%} of men (difference {points})"
        )
    n = int(mine[mine["group"] == "female-male"]["n"].min())
    # in either language, of two: at half the error each, or in both (Hochberg 1988)
    clear = any(one[0.975] for one in apart) or all(one[0.95] for one in apart)
    return Answer(
        f"Captions name the other gender: {'; '.join(parts)}; n = {n:,} images.", "supported" if clear else "unclear"
    )


def _apart(women: dict, men: dict, level: float) -> bool:
    """Whether the interval of the difference of two shares leaves out 0."""
    a, b = ((one["value"], *wilson(one["value"] * one["n"], one["n"], level)) for one in (women, men))
    _, low, high = difference(a[0], a[1], a[2], b[0], b[1], b[2])
    return bool(low > 0 or high < 0)

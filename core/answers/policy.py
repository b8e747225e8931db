"""How far the policy for the generic masculine decides, in one line with its numbers; "" where it decides nothing."""

from __future__ import annotations

import pandas as pd

from core.bias import ESTIMANDS, MATCHED, UNMARKED
from core.config import LANGUAGE_NAME
from core.frames import records, tuples
from core.intervals import clopper_pearson

MEANS = {
    UNMARKED: "says nothing of gender",
    "male": "counts as a man",
    "left out": "is left out",
}
SAID = {
    MATCHED: "by words that both genders must say alike",
    "male": "with it counted as a man",
    "left out": "with it left out",
    "women": "of captions that name a person say a woman",
    UNMARKED: "say a gender by the generic masculine alone",
}
LABELS = {
    "image": "image labels differ",
    "caption_en": "of the model’s own English captions name something else",
    "caption_ar": "of the model’s own Arabic captions name something else",
}
COMMAND = "--set words.generic_masculine=male"
CHANGE = f"to run under another: {COMMAND}, or “left out”"


def labels_line(changes: pd.DataFrame, policy: str, languages: tuple[str, ...], of: str = "image") -> str:
    """How many labels differ under the other policies, and which, from label_policies.parquet; ``of`` is of LABELS."""
    if "ar" not in languages or changes.empty:
        return ""
    parts = []
    for other in (one for one in MEANS if one != policy):
        mine = changes[(changes["of"] == of) & (changes["policy"] == other)]
        moved = mine[mine["here"] != mine["there"]].sort_values("n", ascending=False, kind="stable")
        which = ", ".join(f"{row.here} to {row.there} {row.n:,}" for row in tuples(moved))
        n, total = int(moved["n"].sum()), int(mine["n"].sum())
        parts.append(f"if it {MEANS[other]}, {n:,} of {total:,} {LABELS[of]}" + (f" ({which})" if n else ""))
    return (
        f"The Arabic generic masculine (لاعب, أطفال of people of any gender) here {MEANS[policy]}; "
        f"{'; '.join(parts)}; {CHANGE}."
    )


def shares_line(policies: pd.DataFrame, languages: tuple[str, ...]) -> str:
    """The figures of bias under each policy on all neutral images, from bias_policies.parquet."""
    every = policies[policies["attribute"] == "all"]
    if "ar" not in languages or every.empty:
        return ""
    source = "sampled" if (every["source"] == "sampled").any() else "greedy"
    parts = []
    for lang in (one for one in LANGUAGE_NAME if one in languages):
        mine = every[(every["source"] == source) & (every["lang"] == lang)]
        by = {row["estimand"]: row for row in records(mine)}
        cells = [f"{_share(by[one])} {SAID[one]}" for one in ESTIMANDS if one in by]
        parts.append(f"{LANGUAGE_NAME[lang]}, men: {', '.join(cells[:3])}; and {', '.join(cells[3:])}")
    return f"How far the generic masculine decides ({source} captions). {'. '.join(parts)}."


def changes_line(captions: pd.DataFrame) -> str:
    """How far the clean changes of Arabic captions rest on those in the generic masculine, with these left out.

    ``captions``: lang, before_named (what the unedited caption names) and clean, of one change of the model.
    """
    asked = captions[(captions["lang"] == "ar") & captions["clean"].notna()]
    generic = asked["before_named"] == UNMARKED
    if not generic.any():
        return ""
    parts = []
    for name, mine in (("those in the generic masculine", asked[generic]), ("the others", asked[~generic])):
        n, n_clean = len(mine), int(mine["clean"].sum())
        low, high = (float(end) for end in clopper_pearson(n_clean, n)) if n else (0.0, 1.0)
        parts.append(f"of {name} {n_clean} of {n}" + (f" [{100 * low:.0f}–{100 * high:.0f} %]" if n else ""))
    return f"Here words count by their form. Arabic captions that change cleanly: {', '.join(parts)}."


def _share(row: dict) -> str:
    if pd.isna(row["share"]):
        return "not shown (no caption)"
    return f"{row['share']:.0%} [{100 * row['low']:.0f}–{100 * row['high']:.0f}] (n = {int(row['n']):,})"

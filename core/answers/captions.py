"""What the words of captions alone say of gender, before any analysis of a model has run.

Frames hold sample_id, gender of the image, and by language the one gender that the caption's words name, else "".
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from core.answers import Answer, says
from core.config import LANGUAGE_NAME
from core.intervals import clopper_pearson

FEW = 30  # below this many cases nothing is said
NOTHING = Answer("", "")


@says("captions.name gender")
def seen_answer(genders: pd.DataFrame) -> Answer:
    """How often the words of a caption name the gender that the image is labelled with, by language."""
    shown = genders[genders["gender"].isin(["male", "female"])] if len(genders) else genders
    if len(shown) < FEW:
        return NOTHING
    told = {lang: shown[lang] == shown["gender"] for lang in LANGUAGE_NAME if lang in shown}
    parts = [f"{LANGUAGE_NAME[lang]} {_rate(int(right.sum()), len(shown))}" for lang, right in told.items()]
    ((major, n_major),) = Counter(shown["gender"]).most_common(1)
    clear = all(_beyond(right, shown["gender"] == major) for right in told.values())
    text = (
        f"In its words: on images of a woman or a man, the caption names that gender in {' and '.join(parts)} "
        f"of {len(shown):,} images; always naming the commoner one would give {n_major / len(shown):.0%}."
    )
    return Answer(text, "supported" if clear else "unclear")


def _beyond(right: pd.Series, by_default: pd.Series) -> bool:
    """Whether more images are told right than by a rule, on the same images: McNemar's (1947) exact test, one-sided at
    2.5 %, of those that one of both tells right."""
    better, worse = int((right & ~by_default).sum()), int((by_default & ~right).sum())
    return bool(better + worse) and float(clopper_pearson(better, better + worse)[0]) > 0.5


@says("captions.agree")
def agreement_answer(genders: pd.DataFrame) -> Answer:
    """How often both captions of a neutral image name the same gender, against pairs of different images."""
    if genders.empty:
        return NOTHING
    pairs = genders[(genders["gender"] == "neutral") & (genders["en"] != "") & (genders["ar"] != "")]
    if len(pairs) < FEW:
        return NOTHING
    same, n = int((pairs["en"] == pairs["ar"]).sum()), len(pairs)
    chance = sum(float((pairs["en"] == g).mean() * (pairs["ar"] == g).mean()) for g in ("male", "female"))
    low, high = clopper_pearson(same, n)
    text = (
        f"On images that show no gender, both captions say the same one, by words that both genders must say alike, in "
        f"{_rate(same, n)} of {n:,} images in which both say one; captions of different images would agree in "
        f"{chance:.0%}."
    )
    return Answer(text, "supported" if not low <= chance <= high else "unclear")


def _rate(hits: int, n: int) -> str:
    """A share with its interval, as "71% [67–74]"."""
    low, high = clopper_pearson(hits, n)
    return f"{hits / n:.0%} [{low * 100:.0f}–{high * 100:.0f}]"

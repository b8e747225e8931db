"""What gender a caption names, and what gender an image has: as annotated, or as its reference captions agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from core.gender.words import Hit

ANNOTATED = ("male", "female", "neutral")
NO_ANNOTATION = ("", "unknown")


class ImageGender(NamedTuple):
    """Gender of an image (male, female, neutral, unknown) and where it comes from.

    ``source`` is "annotation", "references" or ""; ``share`` the share of the gendered references that agree (1.0
    annotated, NaN where no reference names a gender); ``why`` says how it was decided: annotation, agreement, neutral
    words, tie, conflict, no person, no reference.
    """

    gender: str
    source: str
    share: float
    n_references: int
    why: str


def decides(hit: Hit) -> bool:
    """Whether a word says the gender of a person: all classes do but agreement, which things have as well."""
    return hit.word_class != "agreement"


def caption_gender(hits: Iterable[Hit]) -> str:
    """Gender that a caption names: male, female, both, neutral (only words for persons of either) or none.

    Agreement does not decide: شخص يقف is a person of no stated gender, تقف سيارة a car.
    """
    found = {hit.gender for hit in hits if decides(hit)}
    if {"male", "female"} <= found:
        return "both"
    return next((gender for gender in ANNOTATED if gender in found), "none")


def image_gender(annotation: str, references: Sequence[str], consensus: float) -> ImageGender:
    """Gender of an image from its annotation, or else from the genders that its reference captions name.

    ``references`` are values of ``caption_gender``. Those that name a gender decide (captions that say person leave it
    open, as captioners do; so Zhao et al. 2017): at least the share ``consensus`` of them, and more than half, must
    name one gender and it alone, "both" speaking against either. Ties and conflicts are unknown. Where none names a
    gender, but some name a person, the image is neutral. Raises ValueError for an unknown annotation.
    """
    n = len(references)
    if annotation in ANNOTATED:
        return ImageGender(annotation, "annotation", 1.0, n, "annotation")
    if annotation not in NO_ANNOTATION:
        raise ValueError(f"{annotation!r} is no annotated gender")
    count = Counter(references)
    n_gendered = count["male"] + count["female"] + count["both"]
    if not n_gendered:
        if count["neutral"]:
            return ImageGender("neutral", "references", float("nan"), n, "neutral words")
        return ImageGender("unknown", "", float("nan"), n, "no person" if n else "no reference")
    gender = "male" if count["male"] > count["female"] else "female"
    share = count[gender] / n_gendered
    if count["male"] == count["female"]:
        return ImageGender("unknown", "", share, n, "tie")
    if share < consensus or share <= 0.5:
        return ImageGender("unknown", "", share, n, "conflict")
    return ImageGender(gender, "references", share, n, "agreement")

"""Sentences about a visitor's own picture beside a run's images: which of them are alike, and how alike is usual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.answers import Answer

if TYPE_CHECKING:
    from core.picture.alike import Usual


def alike_answer(likeness: Sequence[float], usual: Usual | None) -> Answer:
    """Whether the nearest images are alike to a picture: at least as much as the run's own images are to theirs.

    ``likeness`` is of the nearest images, the most alike first.
    """
    if usual is None or not len(likeness):
        return Answer("The run has too few images to say what is alike.", "not enough data")
    n, form = n_alike(likeness, usual), ".2f"
    if f"{likeness[0]:.2f}" == f"{usual.nearest:.2f}":  # then it must be seen which is more
        form = ".3f"
    known = (
        f"half of the run’s images have one at {usual.nearest:{form}} or more, nine in ten at {usual.low:.2f} to "
        f"{usual.high:.2f}; two of them are at {_zero(usual.pairs)} on average (n = {usual.n:,})"
    )
    if not n:
        none = "None of the run’s images is more alike to it than is usual"
        return Answer(f"{none}: the nearest is at {_zero(likeness[0], form)}; {known}.", "one example")
    which = "One image of the run is" if n == 1 else f"{n} images of the run are" if n < len(likeness) else "These are"
    return Answer(f"{which} alike: the nearest is at {likeness[0]:{form}}; {known}.", "one example")


def n_alike(likeness: Sequence[float], usual: Usual) -> int:
    """How many of the images may be called alike."""
    return sum(value >= usual.nearest and value > 0 for value in likeness)


def _zero(value: float, form: str = ".2f") -> str:
    shown = f"{value:{form}}"
    return (shown if float(shown) else shown.lstrip("-")).replace("-", "−")

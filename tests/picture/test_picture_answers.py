"""Images are called alike only where they are at least as alike as the run's own images usually are."""

from __future__ import annotations

import pytest

from core.answers.picture import alike_answer, n_alike
from core.picture.alike import Usual

USUAL = Usual(pairs=-0.001, nearest=0.62, low=0.5, high=0.81, n=250)


@pytest.mark.parametrize(
    ("likeness", "n"), [([0.9, 0.7, 0.61], 2), ([0.6199, 0.2], 0), ([0.62], 1), ([-0.1], 0), ([0.7, 0.65], 2)]
)
def test_alike_is_only_what_is_more_alike_than_usual(likeness: list[float], n: int) -> None:
    said = alike_answer(likeness, USUAL).text
    assert n_alike(likeness, USUAL) == n and ("None of the run’s images is more alike" in said) == (n == 0)
    assert "0.00 on average (n = 250)" in said


def test_where_all_images_are_the_same_none_is_alike() -> None:
    flat = Usual(pairs=0.0, nearest=0.0, low=0.0, high=0.0, n=5)
    assert n_alike([0.0, 0.0], flat) == 0


def test_a_nearest_that_is_just_below_the_usual_is_told_with_the_digits_that_show_it() -> None:
    assert "0.618" in alike_answer([0.618], USUAL).text and "0.620" in alike_answer([0.618], USUAL).text


def test_without_images_to_compare_nothing_is_said() -> None:
    assert alike_answer([], USUAL).sure == alike_answer([0.3], None).sure == "not enough data"

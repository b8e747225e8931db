"""The sentences about English and Arabic follow the data, whichever way it lies."""

import pandas as pd
import pytest

from core.answers.alignment import alignment_answer, control_rows, grammar_answer, sharing_answer


def curves(**values: tuple[float, float, float, float]) -> pd.DataFrame:
    """One layer; each measure by its value, half width, floor and ceiling."""
    return pd.DataFrame(
        [
            {
                "measure": m,
                "lang": "",
                "layer": 3,
                "value": v,
                "low": v - half,
                "high": v + half,
                "floor_high": floor,
                "floor_low": -floor,
                "ceiling": ceiling,
                "ratio": v / ceiling,
                "ratio_low": (v - half) / ceiling,
                "ratio_high": (v + half) / ceiling,
                "n": 140,
                "unit": "images",
            }
            for m, (v, half, floor, ceiling) in values.items()
        ]
    )


@pytest.mark.parametrize(("clbas", "how"), [(0.05, "no better than by chance"), (0.5, "in part"), (0.89, "as well as")])
def test_the_answer_places_clbas_between_floor_and_ceiling(clbas, how):
    frame = curves(cka=(0.7, 0.02, 0.01, 1.0), direction_cosine=(0.95, 0.02, 0.3, 0.98), clbas=(clbas, 0.04, 0.2, 0.9))
    answer = alignment_answer(frame, pd.DataFrame(), 3, "before")
    assert how in answer.text and "nearly the same direction" in answer.text and "n = 140 images" in answer.text
    assert answer.sure == ("unclear" if clbas < 0.2 else "supported")


@pytest.mark.parametrize(
    ("cosine", "ceiling", "said", "sure"),
    [
        (0.45, 0.44, "nearly the same direction", "supported"),  # what so many images can show of one direction
        (0.2, 0.44, "two directions", "supported"),
        (0.33, 0.44, "cannot be told", "unclear"),
    ],
)
def test_directions_are_judged_over_what_so_many_images_could_show(cosine, ceiling, said, sure):
    answer = alignment_answer(curves(direction_cosine=(cosine, 0.04, 0.1, ceiling)), pd.DataFrame(), 3, "before")
    assert said in answer.text and answer.sure == sure and f"over that {cosine / ceiling:.2f}" in answer.text


def test_nothing_measured_is_not_enough_data():
    assert alignment_answer(curves(cka=(0.7, 0, 0, 1)).iloc[:0], pd.DataFrame(), 3, "before").sure == "not enough data"
    assert sharing_answer(pd.DataFrame()).sure == "not enough data"
    assert grammar_answer(pd.DataFrame(), pd.DataFrame(), 3).sure == "not enough data"


@pytest.mark.parametrize(("shuffled", "told"), [(0.1, "yes"), (0.55, "no")])
def test_a_score_is_beyond_chance_only_if_no_empty_case_reaches_it(shuffled, told):
    cases = {"measured": 0.6, "same language twice": 0.9, "labels shuffled": shuffled, "effects at random": 0.0}
    rows = [{"score": "clbas", "case": c, "value": v, "low": v - 0.1, "high": v + 0.1} for c, v in cases.items()]
    table = control_rows(pd.DataFrame(rows))
    assert table["Beyond chance"].tolist() == [told] and table["Over its ceiling"].tolist() == ["–"]

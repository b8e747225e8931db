"""The figures of steering: Arabic from right to left, as it was beside as steered, and the same on paper."""

from __future__ import annotations

import pandas as pd
import pytest

from core.answers.steering import meter_answer
from core.figures.screen import draw
from core.figures.steering import MOST_TOKENS, meter_chart, meter_frame, strip_chart, strip_frame
from core.steering.request import Strip

STRIPS = {
    ("before", "en"): Strip(("A", " man"), (0.1, 0.2), (0.8, 0.7), (0, 0), (0, 0.01)),
    ("after", "en"): Strip(("A", " woman"), (0.9, 0.8), (0.0, 0.1), (0, 0), (0, 0)),
    ("before", "ar"): Strip(("رجل",), (0.1,), (0.9,), (0,), (0,)),
    ("after", "ar"): Strip(("امرأة", " هنا", ""), (0.9, 0, 0), (0.1, 0, 0), (0, 0, 0), (0, 0, 0)),
}


def rows() -> pd.DataFrame:
    return meter_frame(
        [
            {"measure": m, "layer": layer, "row": row, "lang": lang, "value": v}
            for m in ("probe", "lens")
            for layer in (1, 7)
            for lang in ("en", "ar")
            for row, v in (("before", 0.9), ("after", -1.25), ("control", 0.8))
        ]
    )


def test_a_strip_holds_both_captions_and_names_the_steered_words() -> None:
    frame = strip_frame(STRIPS)
    fig = draw(strip_chart(frame, "en"))
    assert list(fig.layout.xaxis.ticktext) == ["A", "woman"] and len(fig.data) == 4
    assert [t.name for t in fig.data if t.showlegend] == ["words for women", "words for men"]
    assert fig.layout.xaxis.range[0] < fig.layout.xaxis.range[1]


def test_an_arabic_strip_runs_from_right_to_left() -> None:
    fig = draw(strip_chart(strip_frame(STRIPS), "ar"))
    assert fig.layout.xaxis.range[0] > fig.layout.xaxis.range[1] and fig.layout.yaxis.side == "right"
    assert list(fig.layout.xaxis.ticktext) == ["امرأة", "هنا", "·"]


def test_a_caption_without_edits_stands_alone_and_an_endless_one_is_cut() -> None:
    long = Strip(("on",) * 40, *((p,) * 40 for p in (0.1, 0.2, 0.0, 0.0)))
    fig = draw(strip_chart(strip_frame({("before", "en"): long}), "en"))
    assert len(fig.data) == 2 and len(fig.data[0].x) == MOST_TOKENS
    assert all(len(trace.x) == 0 for trace in draw(strip_chart(strip_frame({}), "ar")).data)


def test_generic_masculines_are_drawn_where_there_are_some_and_the_table_says_what_is_left_out() -> None:
    generic = {("before", "ar"): Strip(("لاعب",), (0.1,), (0.2,), (0.6,), (0.05,))}
    assert [t.name for t in draw(strip_chart(strip_frame(generic), "ar")).data if t.showlegend] == [
        "words for women",
        "words for men",
        "generic masculines",
    ]
    assert strip_frame(generic).loc[0, ["unmarked", "left_out"]].tolist() == [0.6, 0.05]


@pytest.mark.parametrize("dark", [False, True])
def test_the_meter_shows_references_in_grey_and_says_how_far_gender_moved(dark: bool) -> None:
    fig = draw(meter_chart(rows(), "probe"), dark)
    assert len(fig.data) == 6 and len({t.line.color for t in fig.data}) == 3
    assert [t.name for t in fig.data if t.showlegend is not False].count("random control") == 1
    both = "in English from +0.9 to −1.2 and in Arabic from +0.9 to −1.2"
    assert meter_answer(rows()) == f"At layer 7 the probe goes, {both}."
    assert meter_answer(rows()[lambda d: d["row"] != "after"]) == ""
    lens = rows()[lambda d: d["measure"] == "lens"]
    assert meter_answer(lens).startswith("At layer 7 the lens goes")

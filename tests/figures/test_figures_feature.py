"""Figures of features say what their frames say, in both scripts, and their colours can be read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.figures import atlas, feature, palette
from core.figures.screen import draw


@pytest.fixture
def layer() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 60
    frame = pd.DataFrame(
        {
            "feature": np.arange(n),
            "umap_x": rng.normal(size=n),
            "umap_y": rng.normal(size=n),
            "density": rng.uniform(1e-4, 0.1, n),
            "explained_share": rng.uniform(0, 0.02, n),
            "density_caption_en": rng.uniform(0, 0.1, n),
            "density_caption_ar": rng.uniform(0, 0.1, n),
            "words": ["امرأة · woman"] * n,
        }
    )
    frame.loc[3, ["umap_x", "umap_y"]] = np.nan
    frame.loc[4, "density_caption_ar"] = 0.0
    frame["lean"] = feature.language_lean(frame["density_caption_en"], frame["density_caption_ar"])
    return frame


def test_histogram_keeps_every_token_and_its_edges() -> None:
    frame = feature.histogram_frame([5, 0, 3, 1], 2.0)
    assert frame["count"].sum() == 9
    assert frame["low"].tolist() == [0.0, 0.5, 1.0, 1.5]
    assert frame["high"].iloc[-1] == 2.0
    fig = draw(feature.activation_histogram(frame, p999=1.9))
    assert list(fig.data[0].y) == [5, 3, 1]
    assert fig.layout.yaxis.type == "log"
    assert fig.layout.shapes[0].x0 == 1.9


def test_histogram_of_a_dead_feature_is_drawn_empty() -> None:
    frame = feature.histogram_frame([0, 0], 0.0)
    assert len(draw(feature.activation_histogram(frame, p999=0.0)).data[0].y) == 0


def test_language_lean_is_at_its_ends_and_in_the_middle() -> None:
    lean = feature.language_lean(pd.Series([0.2, 0.0, 0.1, 0.0]), pd.Series([0.0, 0.3, 0.1, 0.0]))
    assert lean[:3].tolist() == [-1.0, 1.0, 0.0]
    assert np.isnan(lean[3])


@given(st.floats(1e-9, 1), st.floats(1e-9, 1))
def test_language_lean_changes_sign_when_languages_are_swapped(en: float, ar: float) -> None:
    one = feature.language_lean(pd.Series([en]), pd.Series([ar]))[0]
    other = feature.language_lean(pd.Series([ar]), pd.Series([en]))[0]
    assert one == pytest.approx(-other)
    assert -1 <= one <= 1


@pytest.mark.parametrize("share, text", [(0.0, "0"), (0.00001, "<0.01 %"), (0.012, "1.2 %"), (0.344, "34 %")])
def test_percent_rounds_to_what_a_share_supports(share: float, text: str) -> None:
    assert feature.percent(share) == text


def test_density_bars_wear_the_languages_colours() -> None:
    frame = feature.densities_frame({"density_image": 0.2, "density_caption_en": 0.1, "density_caption_ar": 0.0})
    assert frame["density"].tolist() == [0.2, 0.1, 0.0]
    colours = draw(feature.density_bars(frame)).data[0].marker.color
    assert list(colours[1:]) == [palette.LANGUAGE["en"], palette.LANGUAGE["ar"]]
    alone = feature.densities_frame({"density_image": 0.2, "density_caption_en": None, "density_caption_ar": 0.3})
    assert alone["where"].tolist() == ["image patches", "Arabic captions"]  # no bar at 0 for what the run lacks


def test_marks_of_two_languages_stand_beside_each_other_and_of_one_on_the_line() -> None:
    assert palette.beside(["ar", "en", "en"], 0.2) == {"en": -0.2, "ar": 0.2}
    assert palette.beside(["ar"], 0.2) == {"ar": 0.0} and palette.beside([], 0.2) == {}


def test_words_are_escaped_isolated_and_on_their_side() -> None:
    frame = feature.words_frame(["<b>x", "امرأة"], [2.0, 1.0], [" man"], [-1.5])
    fig = draw(feature.words_bars(frame))
    texts = [note.text for note in fig.layout.annotations]
    assert any("&lt;b&gt;x" in text for text in texts) and any("\u2068امرأة\u2069" in text for text in texts)
    assert [min(trace.x) >= 0 for trace in fig.data] == [False, True]


def test_a_map_keeps_dead_features_off_and_marks_the_chosen_one(layer: pd.DataFrame) -> None:
    fig = draw(atlas.feature_map(layer, "lean", chosen=7, kept={7, 8, 9}))
    faint, bright, ring = fig.data
    assert len(faint.x) + len(bright.x) == 59
    assert sorted(row[0] for row in bright.customdata) == [7, 8, 9]
    assert ring.text[0] == "7"
    assert len(draw(atlas.feature_map(layer, "density", chosen=3)).data) == 2  # dead: on no map, so no ring


def test_map_of_nothing_is_drawn(layer: pd.DataFrame) -> None:
    none = layer.iloc[:0]
    for colour in atlas.COLOURS:
        assert len(draw(atlas.feature_map(none, colour)).data) == 2


def test_language_scatter_opens_the_marks_of_features_of_one_language(layer: pd.DataFrame) -> None:
    fig = draw(atlas.language_scatter(layer))
    symbols = dict(zip([int(row[0]) for row in fig.data[1].customdata], fig.data[1].marker.symbol, strict=True))
    assert symbols[4] == "circle-open" and symbols[5] == "circle"


@pytest.mark.parametrize("inks", [palette.LIGHT, palette.DARK])
def test_text_meets_wcag_aa_and_marks_meet_three_to_one(inks: palette.Look) -> None:
    assert palette.contrast(inks.ink, inks.ground) >= 7
    assert palette.contrast(inks.muted, inks.ground) >= 4.5
    for colour in inks.languages.values():
        assert palette.contrast(colour, inks.ground) >= 3


def test_scales_hit_their_ends() -> None:
    assert palette.mix(palette.VIRIDIS, -1) == palette.VIRIDIS[0]
    assert palette.mix(palette.VIRIDIS, 2) == palette.VIRIDIS[-1]
    assert palette.contrast("#000000", "#FFFFFF") == pytest.approx(21)

"""Every figure type: drawn from one description on the screen and on paper, also of nothing, with what it must hold."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import core.figures
from core.answers.bias import ALL
from core.answers.graph import share_rows
from core.figures import (
    alignment,
    atlas,
    bias,
    caption_lens,
    feature,
    firing,
    gender,
    graph,
    hiding,
    interventions,
    layers,
    mechanisms,
    nulls,
    overlap,
    paper,
    sae_fit,
    screen,
    steering,
    vision,
)
from core.figures.marks import Band, Bars, Box, Cells, Chart, Note, Points, Rule
from core.figures.origin import Origin
from core.figures.palette import CONTROL
from core.run.reader import Catalog
from core.steering.request import Strip
from tests.toy_bias import add_toy_bias
from tests.toy_crosslingual import add_crosslingual_tables
from tests.toy_gender import add_gender_tables
from tests.toy_graph import add_graph_tables
from tests.toy_hiding import add_toy_hiding
from tests.toy_interventions import add_toy_interventions
from tests.toy_layers import add_layers_tables
from tests.toy_mechanisms import add_mechanisms_tables
from tests.toy_nulls import add_nulls_tables
from tests.toy_run import make_toy_run

Drawn = tuple[Callable[..., Chart], tuple[Any, ...]]
INTERVALS = {
    "shares",
    "null_figure",
    "random_weights_figure",
    "recovery_scatter",
    "groups_ranges",
    "beside_control",
    "ranking_forest",
    "rates_dots",
    "layers_figure",
    "vision_figure",
    "exchange_figure",
    "overlap_figure",
    "transfer_figure",
    "difference_figure",
    "curves",
    "modes",
    "ways",
    "patching_figure",
    "sharing_figure",
    "matches_figure",
    "curves_figure",
    "fit_figure",
}
CONTROLS = {
    "shares",
    "null_figure",
    "random_weights_figure",
    "recovery_scatter",
    "groups_ranges",
    "beside_control",
    "agreement_bars",
    "selection_scatter",
    "layers_figure",
    "vision_figure",
    "exchange_figure",
    "curves",
    "modes",
    "ways",
    "curves_figure",
    "matches_figure",
    "fit_figure",
    "selectivity",
    "spectrum_figure",
    "patching_figure",
}
COUNTED = {
    "shares",
    "null_figure",
    "random_weights_figure",
    "recovery_scatter",
    "groups_ranges",
    "beside_control",
    "rates_dots",
    "layers_figure",
    "vision_figure",
    "exchange_figure",
    "transfer_figure",
    "difference_figure",
    "curves",
    "modes",
    "ways",
    "patching_figure",
    "matches_figure",
    "curves_figure",
    "fit_figure",
    "agreement_bars",
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Drawn]:
    """Every figure type with data of a toy run."""
    run = make_toy_run(tmp_path_factory.mktemp("cache") / "demo", n_samples=32, d_sae=16)
    for add in (add_gender_tables, add_crosslingual_tables, add_layers_tables, add_mechanisms_tables, add_nulls_tables):
        add(run.dir)
    add_graph_tables(run.dir)
    add_toy_bias(run)
    add_toy_interventions(run)
    add_toy_hiding(run)
    return {function.__name__: (function, tuple(args)) for function, *args in _figures(Catalog(run.dir))}


def _figures(cat: Catalog) -> list[tuple[Any, ...]]:
    cell, one = cat.gender_features(1, "en", "before"), cat.gender_feature(1, 0)
    roles, metrics, effects = cat.frame("bias_roles"), cat.frame("bias_metrics"), cat.intervention_effects()
    errors = metrics[(metrics["metric"] == "error") & (metrics["group"] == "female")].assign(label="x")
    everywhere = {r.lang: r.p_male for r in roles[roles["attribute"] == ALL].itertuples()}
    checks, at = cat.patching_checks(), {"layer": 1, "lang": "en", "view": "before"}
    return [
        (feature.density_bars, feature.densities_frame(dict.fromkeys(feature.KINDS, 0.1))),
        (feature.activation_histogram, feature.histogram_frame([5, 0, 3, 1], 2.0), 1.9),
        (feature.words_bars, feature.words_frame(["امرأة", "$5 <b>"], [2.0, 1.0], ["man"], [-1.5])),
        (firing.caption_heat, _captions()),
        (atlas.feature_map, _map(), "density", 7, {7, 8}),
        (atlas.language_scatter, _map(), 7),
        (gender.selection_scatter, cell, 0.05, int(cell["feature"].iloc[0])),
        (gender.ranking_forest, gender.ranked(cell, "auc", 12, 0.05), "auc"),
        (gender.agreement_bars, gender.agreement_frame(cat.gender_rankings(1, "en", "before"))),
        (gender.rates_dots, gender.rates_frame(one)[lambda rows: rows["view"] == "before"]),
        (nulls.null_figure, nulls.null_frame(*(cat.frame(n, **at) for n in ("null_findings", "null_probes")))),
        (nulls.random_weights_figure, nulls.layers_frame(cat.frame("null_layers"), "before")),
        (bias.recovery_scatter, bias.recovery_frame(roles, "role", "sampled"), everywhere),
        (bias.groups_ranges, bias.groups_frame(roles, "role")),
        (bias.beside_control, errors, "share"),
        (sae_fit.fit_figure, sae_fit.fit_frame(cat.sae_fit())),
        (
            layers.layers_figure,
            layers.probe_curves(cat.probes(), "auc"),
            layers.lens_curves(cat.lens()),
            cat.emergence(),
            "auc",
            0.74,
        ),
        (vision.vision_figure, vision.vision_frame(cat.probes(), "auc"), "auc"),
        (vision.exchange_figure, cat.frame("image_exchange")),
        (layers.transfer_figure, layers.transfer_curves(cat.probes(), "auc"), "auc"),
        (layers.difference_figure, layers.difference_curves(cat.lens(), "word", "ar")),
        (
            caption_lens.caption_lens_figure,
            caption_lens.caption_frame(cat.caption_lens(3).query("lang == 'ar' and lens == 'logit'")),
            "ar",
            "gender",
        ),
        (caption_lens.lens_fit_figure, cat.lens_fit()),
        (
            alignment.curves_figure,
            alignment.curves(cat.alignment(), cat.frame("gender_directions"), cat.frame("clbas"), "caption"),
            3,
        ),
        (alignment.classes_figure, cat.language_classes()),
        (
            alignment.matches_figure,
            alignment.matches_frame(pd.concat([cat.alignment("activation"), cat.alignment("decoder")]), 3),
        ),
        (overlap.overlap_figure, cat.frame("feature_overlap", layer=1, view="before"), 5),
        (alignment.sharing_figure, cat.shared_gender(1, "before")),
        (alignment.grammar_figure, cat.grammatical_gender(1)),
        (hiding.shares, hiding.shares_frame(cat.frame("hiding"), "changed")),
        (interventions.curves, interventions.curve_frame(effects, "k", "clean"), "k", "clean"),
        (interventions.modes, interventions.modes_frame(effects, "clean"), "clean"),
        (interventions.ways, interventions.ways_frame(effects, "clean"), "clean"),
        (interventions.transfer_matrix, interventions.transfer_frame(effects, "clean"), "clean"),
        (interventions.selectivity, interventions.selectivity_frame(cat.intervention_arms())),
        (interventions.percent_bars, interventions.percent_frame(cat.intervention_terms(), "swap")),
        (interventions.terms_heat, interventions.terms_frame(cat.intervention_terms(), "swap")),
        (graph.graph_figure, cat.graph_nodes("en", 3), cat.graph_edges("en", 3), "her"),
        (graph.shares_figure, share_rows(cat.graphs(), cat.graph_layers(), "en")),
        (graph.checks_figure, cat.graph_edges()),
        (mechanisms.heads_figure, cat.head_effects(), "3.1"),
        (mechanisms.spectrum_figure, mechanisms.spectrum_curves(cat.weight_spectra(), 3, 1)),
        (mechanisms.network_figure, *mechanisms.network(cat.feature_pairs("en", 3))),
        (mechanisms.patching_figure, cat.patching("en", 1), checks[(checks["lang"] == "en") & (checks["layer"] == 1)]),
        (
            steering.strip_chart,
            steering.strip_frame(
                {
                    ("before", "ar"): Strip(("رجل",), (0.1,), (0.7,), (0.2,), (0.01,)),
                    ("after", "ar"): Strip(("امرأة", " هنا"), (0.9, 0), (0.1, 0), (0, 0), (0, 0)),
                    ("after", "en"): Strip(("A",), (0.9,), (0.0,), (0.0,), (0.0,)),
                }
            ),
            "en",
            "ar",
        ),
        (
            steering.meter_chart,
            steering.meter_frame(
                [
                    {"measure": m, "layer": layer, "row": row, "lang": "en", "value": 0.5}
                    for m in steering.MEASURES
                    for layer in (1, 3)
                    for row in steering.SHADES
                ]
            ),
            *steering.MEASURES,
        ),
    ]


def _map() -> pd.DataFrame:
    rng, n = np.random.default_rng(0), 40
    columns = ("umap_x", "umap_y", "density", "explained_share", "density_caption_en", "density_caption_ar", "lean")
    frame = pd.DataFrame({"feature": range(n)} | {name: rng.uniform(0, 0.1, n) for name in columns})
    frame.loc[3, ["umap_x", "umap_y"]] = np.nan
    return frame


def _captions() -> pd.DataFrame:
    """Two captions over the same features, of which one never fires."""
    fired = {"en": _Fired(["▁a", "▁$5 <b>"], [[0, 2, 0], [1, 0, 0]]), "ar": _Fired(["▁امرأة"], [[4, 0, 0]])}
    return firing.caption_frame(fired, [7, 3, 9], {7: 4.0, 3: 2.0, 9: 0.0}, {7: "امرأة", 3: "<i>"})


class _Fired:
    """A caption behind one image token; ``values`` (n_tokens, n_features)."""

    def __init__(self, pieces: list[str], values: list[list[float]]):
        slots = range(-1, len(pieces))
        kinds = ["image", *["caption"] * len(pieces)]
        self.tokens = pd.DataFrame({"kind": kinds, "slot": slots, "piece": ["", *pieces]})
        self.values = np.array([[9.0] * len(values[0]), *values], np.float32)

    def dense(self, features: list[int]) -> np.ndarray:
        return self.values[:, : len(features)]


def test_a_caption_is_drawn_token_by_token_on_each_features_own_scale() -> None:
    frame = _captions()
    english, arabic = firing.caption_heat(frame).panels
    (heat,), (other,) = english.marks, arabic.marks
    np.testing.assert_array_equal(heat.shades.values, [[np.nan, 1, np.nan], [0.25, np.nan, np.nan]])
    np.testing.assert_array_equal(other.shades.values, [[1, np.nan, np.nan]])
    assert list(english.x.labels) == list(arabic.x.labels) == ["7", "3", "9"]
    assert [firing.visible(label.strip("\u2068\u2069")) for label in arabic.y.labels] == ["امرأة"]
    assert len(frame) == 9 and frame["activation"].max() == 4.0  # the image token is no part of it


def _types() -> set[str]:
    """The functions of core.figures that return a chart."""
    found = set()
    for module in pkgutil.iter_modules(core.figures.__path__):
        members = vars(importlib.import_module(f"core.figures.{module.name}"))
        for name, member in members.items():
            if inspect.isfunction(member) and member.__annotations__.get("return") == "Chart":
                found.add(name)
    return found


TYPES = sorted(_types())


def test_no_figure_type_is_left_out_here(drawn: dict[str, Drawn]) -> None:
    assert set(drawn) == set(TYPES) and set(TYPES) >= INTERVALS | CONTROLS | COUNTED


@pytest.mark.parametrize("name", TYPES)
def test_it_is_drawn_on_the_screen_and_on_paper(drawn: dict[str, Drawn], name: str) -> None:
    function, args = drawn[name]
    chart = function(*args)
    light: Any = screen.draw(chart)
    dark: Any = screen.draw(chart, dark=True)
    marks = [m for p in chart.panels for m in p.marks]
    assert len(light.data) == len(dark.data) == sum(not isinstance(m, (Rule, Box, Note)) for m in marks)
    assert light.layout.font.color != dark.layout.font.color and light.layout.height == chart.height
    fig = paper.draw(chart)
    assert len([ax for ax in fig.axes if ax.get_label() != "<colorbar>"]) == len(chart.panels)
    points = sum(np.size(m.x) for m in marks if isinstance(m, Points) and len(m.symbol) and m.opacity != 0)
    assert points == sum(np.shape(c.get_offsets())[0] for ax in fig.axes for c in ax.collections if _is_marks(c))
    fig.set_layout_engine("none")  # where everything stands takes most of the time
    assert paper.render(fig, "svg", dpi=40).startswith(b"<?xml")


def _is_marks(collection: Any) -> bool:
    return type(collection).__name__ == "PathCollection"


@pytest.mark.parametrize("name", TYPES)
def test_of_nothing_it_is_drawn_empty(drawn: dict[str, Drawn], name: str) -> None:
    function, args = drawn[name]
    chart = function(*[arg.head(0) if isinstance(arg, pd.DataFrame) else arg for arg in args])
    drawn_empty: Any = screen.draw(chart)
    assert drawn_empty.layout.height > 0
    assert len(paper.draw(chart).axes) >= len(chart.panels)


@pytest.mark.parametrize("name", sorted(INTERVALS))
def test_an_estimate_has_its_interval_and_says_it(drawn: dict[str, Drawn], name: str) -> None:
    function, args = drawn[name]
    marks = [m for p in function(*args).panels for m in p.marks if isinstance(m, Points)]
    with_ends = [m for m in marks if m.x_ends is not None or m.y_ends is not None]
    assert with_ends
    for m in with_ends:
        for middle, ends in ((m.x, m.x_ends), (m.y, m.y_ends)):
            if ends is not None:
                low, high, middle = (np.asarray(v, float) for v in (*ends, middle))
                known = np.isfinite(low) & np.isfinite(high)
                assert (low <= middle + 1e-9)[known].all() and (middle <= high + 1e-9)[known].all()


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_a_control_stands_in_grey_beside_it(drawn: dict[str, Drawn], name: str) -> None:
    function, args = drawn[name]
    for panel in function(*args).panels:
        grey = [m for m in panel.marks if isinstance(m, (Band, Bars, Box, Points, Rule)) and m.colour == CONTROL]
        assert grey


@pytest.mark.parametrize("name", sorted(COUNTED))
def test_what_is_pointed_at_says_its_n(drawn: dict[str, Drawn], name: str) -> None:
    function, args = drawn[name]
    hovers = [
        " ".join([m.hover, *(str(row) for row in (m.data if m.hover == "%{customdata}" else ()))])
        for p in function(*args).panels
        for m in p.marks
        if isinstance(m, Points)
    ]
    assert any(word in hover for hover in hovers for word in ("n = ", "images", "captions", "features"))


def test_paper_can_be_searched_and_is_the_same_twice_in_every_format(drawn: dict[str, Drawn]) -> None:
    function, args = drawn["words_bars"]
    pdf = paper.render(paper.draw(function(*args)), "pdf")
    assert pdf.startswith(b"%PDF") and b"/FontFile2" in pdf  # TrueType: text can be searched
    assert b"IBMPlexSansArabic" in pdf.replace(b"-Regular", b"")
    assert paper.render(paper.draw(function(*args)), "png", dpi=40).startswith(b"\x89PNG")
    assert len({paper.render(paper.draw(function(*args)), "svg") for _ in range(2)}) == 1
    with pytest.raises(ValueError, match="jpeg"):
        paper.render(paper.draw(function(*args)), "jpeg")


def test_markup_of_the_screen_is_plain_on_paper() -> None:
    assert paper.plain("<b>\u2068a &lt;b&gt;\u2069</b><br>c") == "a <b>\nc"


def test_cells_of_a_heat_map_meet_halfway() -> None:
    heat = Cells([1, 3, 7], [0], atlas.Shades([[1, 2, 3]], 0, 3, ("#000000", "#FFFFFF")))
    assert paper._borders(heat.x).tolist() == [0, 2, 5, 9] and paper._borders(heat.y).tolist() == [-0.5, 0.5]


ORIGIN = Origin("CaptionScope 9", "demo", "layers", "5", 12, "abc123", "/layers?layer=5&run=demo")


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_a_file_says_where_it_comes_from_and_by_choice_in_a_line_below(drawn: dict[str, Drawn], kind: str) -> None:
    function, args = drawn["words_bars"]
    plain, told, signed = (
        paper.render(paper.draw(function(*args)), kind, dpi=40, **more)
        for more in ({}, {"origin": ORIGIN}, {"origin": ORIGIN, "signed": True})
    )
    if kind == "pdf":
        told_line = ORIGIN.line.replace("·", "\\267").encode("latin-1")
        assert b"settings abc123" in told or told_line in told or "settings abc123".encode("utf-16-be") in told
    else:
        words = told.decode("utf-8" if kind == "svg" else "latin-1")
        assert "settings abc123" in words and "run demo" in words and "12 rows" in words
    assert len({plain, told, signed}) == 3


def test_the_text_of_an_svg_is_text_in_its_own_fonts(drawn: dict[str, Drawn]) -> None:
    function, args = drawn["words_bars"]
    svg = paper.render(paper.draw(function(*args)), "svg").decode()
    assert "<text" in svg and svg.count("@font-face") == 2

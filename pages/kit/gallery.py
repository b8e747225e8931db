"""The images of one feature, by what is asked: the strongest, from weak to strong, or women beside men."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import pandas as pd
import streamlit as st

from core.figures.feature import percent
from core.run import Run
from core.run.reader import Catalog
from pages.kit import gender_panel, panels, pickers, states, text
from pages.kit.examples import example_items
from pages.kit.images import GridItem, grid
from pages.kit.links import PAGES

VIEWS = ("Strongest", "Weak to strong", "Women and men")
N_SHOWN = 12  # images before "Show all"


def preview(run: Run, cat: Catalog, row: pd.Series, layer: int) -> None:
    """One feature in short, beneath a table or a map: its strongest images, the ways to its page and to steering."""
    feature = int(row["feature"])
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        text.heading(
            f"Feature {feature}",
            f"fires on {percent(row['density'])} of all tokens" + (f" · {row['words']}" if row["words"] else ""),
        )
        st.page_link(
            PAGES["feature"],
            label="Open feature",
            icon=":material/open_in_full:",
            query_params={"run": run.name, "layer": str(layer), "feature": str(feature)},
        )
        st.page_link(
            PAGES["steering"],
            label="Steer with this",
            icon=":material/tune:",
            query_params={"run": run.name, "features": f"{layer}:{feature}"},
        )
    if not row["alive"]:
        states.empty(f"Feature {feature} never fired in this run.", "A dead feature has no examples.")
        return
    grid(run, example_items(cat.examples(layer, feature, "top", 6), float(row["max"]), both=False), columns=6)


@dataclass(frozen=True)
class Drawn:
    """How all heat maps of the page are drawn: one scale for the feature, what is hidden, and how dense they are."""

    run: Run
    top: float
    threshold: float
    opacity: float
    both: bool

    def tiles(self, examples: pd.DataFrame, columns: int, both: bool | None = None) -> None:
        items = example_items(examples, self.top, self.both if both is None else both)
        grid(self.run, items, columns, self.opacity, self.threshold * self.top)


def gallery(run: Run, cat: Catalog, layer: int, feature: int, top: float) -> None:
    """The grid of images with its pickers; `top` is the feature's strongest activation, where every scale ends."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        view = pickers.choice("Images", VIEWS, "view")
        with st.popover("Heat map", type="tertiary", icon=":material/gradient:"):
            threshold = (
                st.slider(
                    "Hide patches weaker than (share of the feature's maximum)",
                    0,
                    100,
                    0,
                    5,
                    "%d %%",
                    key="threshold",
                    bind="query-params",
                )
                / 100
            )
            opacity = st.slider("Opacity", 0, 100, 75, 5, "%d %%", key="opacity", bind="query-params") / 100
            both = len(cat.languages) == 1 or st.toggle(
                "Captions in both languages", value=True, key="both", bind="query-params"
            )
    drawn = Drawn(run, top, threshold, opacity, both)
    shown = cat.examples(layer, feature, "top", 1)
    if len(shown) and not len(shown["patch_map"].iloc[0]):
        text.html('<p class="cs-small">No heat maps: no position in this model belongs to a part of the image.</p>')
    panels.scale_bar(top)
    if view == "Weak to strong":
        bands(drawn, cat.examples(layer, feature, None))
    elif view == "Women and men" and cat.has("gender_pairs"):
        tiles = gender_panel.matched(cat, layer, feature, top, both)
        if tiles:
            pairs(drawn, tiles)
        else:
            women_and_men(drawn, cat.examples(layer, feature, "top"))
    elif view == "Women and men":
        women_and_men(drawn, cat.examples(layer, feature, "top"))
    else:
        strongest(drawn, cat.examples(layer, feature, "top"), (run.name, layer, feature))


def strongest(drawn: Drawn, examples: pd.DataFrame, which: tuple[str, int, int]) -> None:
    more = st.session_state.get("more") == which
    drawn.tiles(examples if more else examples.head(N_SHOWN), 3)
    if len(examples) > N_SHOWN and not more:
        st.button(
            f"Show all {len(examples)}",
            key="show-more",
            type="tertiary",
            on_click=lambda: st.session_state.update(more=which),
        )


def bands(drawn: Drawn, examples: pd.DataFrame) -> None:
    """One row of images a quantile band of the images' maxima, the weakest first."""
    for name, band in examples[examples["bin"] != "top"].groupby("bin", sort=True):
        low, high = band["band_low"].iloc[0], band["band_high"].iloc[0]
        text.html(f'<p class="cs-small">Band {escape(str(name)[1:])}: activation {low:.2f} to {high:.2f}</p>')
        drawn.tiles(band.head(6), 6, both=False)


def pairs(drawn: Drawn, tiles: dict[str, list[GridItem]]) -> None:
    """Images of women beside images of men that fire it as strongly, pair by pair."""
    for column, (gender, items) in zip(st.columns(2), tiles.items(), strict=True):
        with column:
            name = {"female": "Women", "male": "Men"}[gender]
            text.heading(name, f"n = {len(items)}; each image fires it as strongly as the one at its place opposite")
    women, men = tiles["female"], tiles["male"]
    side = 2 if len(women) > 1 else 1  # one grid, so that both sides keep step; an odd last pair is left out
    starts = range(0, len(women) - side + 1, side)
    mixed = [item for start in starts for part in (women, men) for item in part[start : start + side]]
    grid(drawn.run, mixed, 2 * side, drawn.opacity, drawn.threshold * drawn.top)


def women_and_men(drawn: Drawn, examples: pd.DataFrame) -> None:
    """The strongest images that are annotated as of women beside those of men."""
    known = examples["gender"].fillna("") if "gender" in examples else pd.Series("", index=examples.index)
    if not known.isin(["female", "male"]).any():
        states.empty("The images of this feature carry no annotation of gender.", "", "Choose another view.")
        return
    for column, gender, name in zip(st.columns(2), ("female", "male"), ("Women", "Men"), strict=True):
        part = examples[known == gender]
        with column:
            text.heading(f"{name} ({len(part)} of the strongest {len(examples)})")
            if part.empty:
                states.empty(f"None of its strongest images is of {name.lower()}.")
            drawn.tiles(part.head(8), 2)

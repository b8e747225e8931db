"""One feature: what fires it, how strongly, in which language, and which words it pushes."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from core.catalog import Catalog
from core.figures.answers import feature_answer
from core.runs import Run
from pages.kit import panels, pickers, runs, states, text
from pages.kit.examples import example_items, layer_features
from pages.kit.images import grid
from pages.kit.links import PAGES

VIEWS = ("Strongest", "Weak to strong", "Women and men")
N_SHOWN = 12  # images before "Show more"


def main() -> None:
    run = runs.current_run()
    runs.needs(run, "train", "features")
    cat = runs.catalog(run)
    head = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom", key="knobs"):
        with st.container(width=96):
            layer = pickers.layer_picker(cat)
        features = layer_features(run, layer)
        feature = picker(features)
    row = cat.feature(layer, feature) if feature < len(features) else None
    with head:
        title(layer, feature, row, len(features))
    if row is None or not row["alive"]:
        absent(layer, feature, features, row is not None)
        return
    left, right = st.columns([1.55, 1], gap="large")
    with left:
        pictures(run, cat, layer, feature, float(row["max"]))
    with right:
        panels.profile(row, layer, feature)
    panels.neighbours(cat, layer, feature)
    panels.statistics(row, layer, feature)
    text.method(METHOD)


def picker(features: pd.DataFrame) -> int:
    """The number box with its neighbours: the feature before and after that is alive, and the way to the laboratory."""
    alive = features.loc[features["alive"], "feature"].tolist()
    asked = st.query_params.get("feature")
    if asked is not None and not asked.isdecimal():
        st.toast(f"“{asked}” is no number of a feature.", icon=":material/info:")
    if "feature" not in st.session_state and (asked is None or not asked.isdecimal()):
        best = features.sort_values("explained_share", ascending=False, kind="stable")
        st.session_state["feature"] = int(best["feature"].iloc[0]) if len(alive) else 0
    # no default of its own: what equals the default is left out of the address, and every feature must have one
    feature = int(st.number_input("Feature", min_value=0, value=None, step=1, key="feature", bind="query-params",
                                  width=160, help=text.glossary("feature")) or 0)  # fmt: skip
    before = [f for f in alive if f < feature]
    after = [f for f in alive if f > feature]
    st.button("Previous", icon=":material/arrow_back:", key="previous", disabled=not before,
              on_click=go_to, args=(before[-1] if before else 0,))  # fmt: skip
    st.button("Next", icon=":material/arrow_forward:", key="next", disabled=not after,
              on_click=go_to, args=(after[0] if after else 0,))  # fmt: skip
    layer = str(features["layer"].iloc[0])
    run_name = {"run": runs.current_run().name}
    st.page_link(PAGES["steering"], label="Steer with this", icon=":material/tune:",
                 query_params={**run_name, "features": f"{layer}:{feature}"})  # fmt: skip
    st.page_link(PAGES["browser"], label="All features", icon=":material/scatter_plot:",
                 query_params={**run_name, "layer": layer, "feature": str(feature)})  # fmt: skip
    return feature


def go_to(feature: int) -> None:
    st.session_state["feature"] = feature


def title(layer: int, feature: int, row: dict[str, Any] | None, n_features: int) -> None:
    question = f"What does feature {feature} of layer {layer} notice?"
    if row is None:
        text.page_title(question, f"Layer {layer} has features 0 to {n_features - 1:,}.", "not enough data")
        return
    answer = feature_answer(row)
    text.page_title(question, answer.text, answer.sure)


def absent(layer: int, feature: int, features: pd.DataFrame, exists: bool) -> None:
    """The friendly state of a feature that is dead or not there, with the living one that is nearest."""
    alive = features.loc[features["alive"], "feature"]
    if exists:
        states.empty(f"Feature {feature} never fired in this run.", text.glossary("dead"),
                     "Use the arrows above to go to the next one that is alive.")  # fmt: skip
    else:
        states.empty(f"Layer {layer} has no feature {feature}.", f"Its features are 0 to {len(features) - 1:,}.",
                     "The address may belong to another run. Type another number, or open all features.")  # fmt: skip
    if len(alive):
        near = int(alive.iloc[(alive - feature).abs().argmin()])
        st.button(f"Go to feature {near}", key="nearest", on_click=go_to, args=(near,), type="primary")


def pictures(run: Run, cat: Catalog, layer: int, feature: int, top: float) -> None:
    """The grid of images, by what is asked, all heat maps on the feature's own scale."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        view = pickers.choice("Images", VIEWS, "view")
        with st.popover("Heat map", type="tertiary", icon=":material/gradient:"):
            threshold = st.slider("Hide patches weaker than (share of the feature's maximum)", 0, 100, 0, 5, "%d %%",
                                  key="threshold", bind="query-params") / 100  # fmt: skip
            opacity = st.slider("Opacity", 0, 100, 75, 5, "%d %%", key="opacity", bind="query-params") / 100
            both = st.toggle("Captions in both languages", value=True, key="both", bind="query-params")
    shown = partial(grid, run, opacity=opacity, threshold=threshold * top)
    tiles = partial(example_items, scale=top, both=both)
    panels.scale_bar(top)
    if view == "Weak to strong":
        bands(cat.examples(layer, feature, None), shown, partial(tiles, both=False))
        return
    strongest = cat.examples(layer, feature, "top")
    if view == "Women and men":
        women_and_men(strongest, shown, tiles)
        return
    more = st.session_state.get("more") == (layer, feature)
    shown(tiles(strongest if more else strongest.head(N_SHOWN)), columns=3)
    if len(strongest) > N_SHOWN and not more:
        st.button(f"Show all {len(strongest)}", key="show-more", type="tertiary",
                  on_click=lambda: st.session_state.update(more=(layer, feature)))  # fmt: skip


def bands(examples: pd.DataFrame, shown: partial[None], tiles: partial[list[Any]]) -> None:
    """One row of images a quantile band of the images' maxima, the weakest first."""
    for name, band in examples[examples["bin"] != "top"].groupby("bin", sort=True):
        low, high = band["band_low"].iloc[0], band["band_high"].iloc[0]
        text.html(f'<p class="cs-small">Band {escape(str(name)[1:])}: activation {low:.2f} to {high:.2f}</p>')
        shown(tiles(band.head(6)), columns=6)


def women_and_men(examples: pd.DataFrame, shown: partial[None], tiles: partial[list[Any]]) -> None:
    """The strongest images that are annotated as of women beside those of men."""
    known = examples["gender"].fillna("") if "gender" in examples else pd.Series("", index=examples.index)
    if not known.isin(["female", "male"]).any():
        states.empty("The images of this feature carry no annotation of gender.", "", "Choose another view.")
        return
    for column, gender, name in zip(st.columns(2), ("female", "male"), ("women", "men"), strict=True):
        part = examples[known == gender]
        with column:
            text.heading(f"{name.capitalize()} ({len(part)} of the strongest {len(examples)})")
            if part.empty:
                states.empty(f"None of its strongest images is of {name}.")
            shown(tiles(part.head(8)), columns=2)


METHOD = r"""
The feature is one direction $d_i$ of the layer's dictionary (a sparse autoencoder on the state $h$ after the layer's
block); its activation $z_i(h)$ is its part in the code of one token's state. Images are ranked by the largest $z_i$
anywhere in the image's two sequences (image, question and the model's own caption, in English and in Arabic); each
image counts once. Heat maps show $z_i$ at the image's own tokens, captions show it at their words, all on one scale
from 0 to the feature's maximum. Bands are equal shares of the images that fire it. *Words it answers to*: the
question and caption words with the largest mean $z_i$. *Words it pushes*: $W_U\,(g \odot d_i) / \mathrm{rms}$, what one
unit adds to the next word's logit if no later layer changed it (logit lens, nostalgebraist, 2020). *Explains*: the
share of the layer's variance that is lost when this feature alone is left out. Settings and versions stand on the page
Provenance.
"""

main()

"""Ways to features for the steering page: ready-made sets, own lists, a number, the browser, a few words."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from core.gender.sets import gender_sets
from core.run import Run, manifest_version
from pages.causes import steering_sliders as sliders
from pages.causes.steering_sliders import MOST, SteeredFeature
from pages.kit import notes, text
from pages.kit.examples import layer_features
from pages.kit.links import PAGES
from pages.kit.runs import catalog

if TYPE_CHECKING:
    from core.run.reader import Catalog

SEARCHED = 250  # features of a layer that are looked through for gendered words
SETS = {"female": "For women", "male": "For men"}


def chooser(run: Run, cat: Catalog, turned: list[SteeredFeature]) -> None:
    """Ready-made sets and lists where no feature is chosen, all else folded; everything folded where it is not."""
    place = st.popover("Other features", icon=":material/add:", type="tertiary") if turned else st.container()
    with place:
        layers = cat.layers()
        if cat.has("gender_features"):
            text.html(
                '<p class="cs-small">Ready-made sets: the features that tell images of women, or of men, most '
                "clearly</p>"
            )
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            layer = int(st.selectbox("Layer", layers, index=default_layer(run, layers), key="add-layer", width=72))
            any_sets = ready_made(run, layer)
        own_lists(run, cat)
        folded = any_sets and not turned
        with st.popover("A single feature", icon=":material/add:", type="tertiary") if folded else st.container():
            single(run, layer, turned)


def single(run: Run, layer: int, turned: list[SteeredFeature]) -> None:
    """One feature more: by its number, from the browser, or one of a few that answer to gendered words."""
    if len(turned) >= MOST:
        text.html(f'<p class="cs-small">{MOST} features at a time; take one off to try another.</p>')
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        number = st.number_input("Feature", min_value=0, step=1, key="add-feature", width=120)
        st.button("Take it", key="add", on_click=partial(sliders.take, layer, int(number)))
        st.page_link(
            PAGES["browser"],
            label="Browse",
            icon=":material/scatter_plot:",
            query_params={"run": run.name, "layer": str(layer)},
        )
    words(run, layer, turned)


def default_layer(run: Run, layers: list[int]) -> int:
    """The place of the layer whose sets turned most captions of the grid, else of the middle one."""
    best = _best_layer(str(run.dir), manifest_version(run))
    return layers.index(best) if best in layers else len(layers) // 2


@st.cache_data(max_entries=8, show_spinner=False)
def _best_layer(run_dir: str, version: str) -> int:
    cat = catalog(Run(run_dir))
    turns = cat.dose_turns() if cat.has("doses") else None
    return int(turns["layer"].iloc[int(turns["turned"].argmax())]) if turns is not None and len(turns) else -1


def ready_made(run: Run, layer: int) -> bool:
    """A button each for the features of a layer that tell women, and men, most clearly; whether there are any."""
    sets = ready_sets(run, layer)
    for gender, features in sets.items():
        chosen = [(layer, f) for f in features]
        st.button(
            SETS[gender],
            key=f"set-{gender}",
            on_click=partial(sliders.turn_on, chosen),
            disabled=not chosen,
            help="The features of this layer that tell such images most clearly on the training images: "
            + (", ".join(map(str, features)) or "none"),
        )
    return any(sets.values())


def ready_sets(run: Run, layer: int) -> dict[str, list[int]]:
    """By gender the features of the set; {} where the run has not asked its features about gender."""
    return _ready_sets(str(run.dir), manifest_version(run), layer)


@st.cache_data(max_entries=64, show_spinner=False)
def _ready_sets(run_dir: str, version: str, layer: int) -> dict[str, list[int]]:
    cat = catalog(Run(run_dir))
    return gender_sets(cat.gender_features(layer, view="before")) if cat.has("gender_features") else {}


def own_lists(run: Run, cat: Catalog) -> None:
    """The visitor's lists of features, as far as they belong to this run's dictionaries."""
    saes = dict(zip(cat.saes()["layer"].astype(int), cat.saes()["sae_id"], strict=True))
    lists: dict[str, list[tuple[int, int]]] = {}
    for entry in notes.readable(run):
        if not entry.of_another_sae(saes):
            for name in entry.lists:
                lists.setdefault(name, []).append((entry.layer, entry.feature))
    if lists:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            name = st.selectbox("Your lists", sorted(lists), key="own-list", width=200)
            st.button(
                "Take the list",
                key="add-list",
                on_click=partial(sliders.turn_on, lists[name][:MOST], 0.0),
                help=f"Its first {MOST} features, all at 0",
            )


def words(run: Run, layer: int, turned: list[SteeredFeature]) -> None:
    """Buttons of a few features that answer to a gendered word."""
    found = suggestions(run, layer, {(t.layer, t.feature) for t in turned})
    if found:
        text.html('<p class="cs-small">Or one that answers to a gendered word:</p>')
        with st.container(horizontal=True, gap="small"):
            for feature, said in found:
                st.button(
                    f"{said} · {feature}",
                    key=f"try-{layer}-{feature}",
                    on_click=partial(sliders.take, layer, feature),
                    help=f"Take feature {feature} of layer {layer}",
                )


def suggestions(run: Run, layer: int, taken: set[tuple[int, int]], n: int = 2) -> list[tuple[int, str]]:
    """(feature, words): of the features whose first words are of one gender alone, the n of each that explain most."""
    found = _gendered(str(run.dir), manifest_version(run), layer, n + MOST)
    return [pair for side in found for pair in [p for p in side if (layer, p[0]) not in taken][:n]]


@st.cache_data(max_entries=32, show_spinner=False)
def _gendered(run_dir: str, version: str, layer: int, n: int) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    from core.words import find

    alive = layer_features(Run(run_dir), layer).query("alive").sort_values("explained_share", ascending=False)
    found: dict[str, list[tuple[int, str]]] = {"female": [], "male": []}
    for feature, line in zip(alive["feature"].head(SEARCHED), alive["words"].head(SEARCHED), strict=True):
        words = " · ".join(line.split(" · ")[:3])
        hits = [hit for lang in ("en", "ar") for hit in find(words, lang) if hit.gender in found]
        if len({hit.gender for hit in hits}) == 1:
            named = dict.fromkeys(words[hit.start : hit.end] for hit in hits)
            found[hits[0].gender].append((int(feature), " · ".join(named)))
        if all(len(side) >= n for side in found.values()):
            break
    return found["female"][:n], found["male"][:n]

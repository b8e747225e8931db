"""The features that are turned on the steering page: sliders, kept in the address as layer:feature:strength."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from core.errors import UserError
from core.figures.words import is_word, visible
from core.runs import Run, manifest_version
from pages.kit import text
from pages.kit.examples import feature_link, layer_features
from pages.kit.links import PAGES

if TYPE_CHECKING:
    from core.catalog import Catalog

MOST = 4  # features at a time
REACH = 4.0  # of a slider, in units of p99.9
STEP = 0.1
ON_PAGE = "sample"  # the key of a widget that stands on the page in every state
LATE = 5.0  # seconds after which an old address is no longer one that was on its way
SEARCHED = 250  # features of a layer that are looked through for gendered words
PART = re.compile(r"(\d{1,3}):(\d{1,7})(?::(-?\d{1,3}(?:\.\d{1,6})?))?", re.ASCII)


@dataclass(frozen=True)
class Turned:
    """A feature on the laboratory's bench, and how far it is turned (units of its 99.9th percentile)."""

    layer: int
    feature: int
    strength: float
    p999: float = 0.0
    words: str = ""

    @property
    def key(self) -> str:
        return f"turn-{self.layer}-{self.feature}"


def parse(address: str) -> tuple[list[Turned], list[str]]:
    """The features that an address names ("3:17,5:40:-1.5"), and its parts that name none; strengths are clipped."""
    found: list[Turned] = []
    wrong: list[str] = []
    for part in filter(None, (p.strip() for p in address.split(","))):
        match = PART.fullmatch(part)
        if match is None or any((t.layer, t.feature) == (int(match[1]), int(match[2])) for t in found):
            wrong.append(part)
            continue
        strength = min(max(float(match[3] or 0.0), -REACH), REACH)
        found.append(Turned(int(match[1]), int(match[2]), round(strength / STEP) * STEP))
    return found[:MOST], wrong + [f"{t.layer}:{t.feature}" for t in found[MOST:]]


def address(turned: list[Turned]) -> str:
    """The text that `parse` reads."""
    return ",".join(f"{t.layer}:{t.feature}" + (f":{t.strength:g}" if t.strength else "") for t in turned)


def read_turned(cat: Catalog) -> list[Turned]:
    """The features on the bench, from the address or as the sliders left them; what cannot be turned is named."""
    asked = st.query_params.get("features", "")
    wrong: list[str] = []
    if _is_news(asked):
        turned, wrong = parse(asked)
        st.session_state["bench"] = {(t.layer, t.feature): t.strength for t in turned}
        st.session_state.update({t.key: t.strength for t in turned})
    known: list[Turned] = []
    for (layer, feature), strength in st.session_state["bench"].items():
        one = Turned(layer, feature, strength)
        try:
            row = cat.feature(layer, feature)
        except UserError:
            wrong.append(f"{layer}:{feature}")
            continue
        p999 = float(row["p999"] or 0.0)
        if not row["alive"] or not math.isfinite(p999) or p999 <= 0:
            wrong.append(f"{layer}:{feature} (dead)")
            continue
        st.session_state.setdefault(one.key, strength)
        words = " · ".join([visible(w) for w in row["top_tokens"] or [] if is_word(w)][:3])
        known.append(replace(one, strength=float(st.session_state[one.key]), p999=p999, words=words))
    if wrong:
        st.warning(f"Left out, because this run cannot turn it: {', '.join(wrong)}. Up to {MOST} living features, "
                   "written as layer:feature:strength, can be turned at a time.", icon=":material/info:")  # fmt: skip
    st.session_state["bench"] = {(t.layer, t.feature): t.strength for t in known}
    _write_address(known)
    return known


def _is_news(asked: str) -> bool:
    """Whether the address asks for something that this page has not itself written there.

    A browser may send a slider together with the address as it was a moment ago. Such an address is one of our own and
    is passed over, unless it comes so late that the visitor must have gone back to it.
    """
    if ON_PAGE not in st.session_state or "bench" not in st.session_state:  # the page has just been entered
        st.session_state["addresses"] = {}
        return True
    written: dict[str, float] = st.session_state["addresses"]
    last = next(reversed(written), "")
    return asked not in written or (asked != last and time.monotonic() - written[last] > LATE)


def _write_address(turned: list[Turned]) -> None:
    """Keep the address in step with the bench."""
    now = address(turned)
    written: dict[str, float] = st.session_state["addresses"]
    if next(reversed(written), None) != now:
        written.pop(now, None)
        written[now] = time.monotonic()
    if st.query_params.get("features", "") != now:
        if now:
            st.query_params["features"] = now
        else:
            st.query_params.pop("features", None)


def sliders(turned: list[Turned]) -> None:
    """One slider a feature with a number box beside it, and the way to take it off the bench."""
    for one in turned:
        link = feature_link(one.layer, one.feature, f"Layer {one.layer}, feature {one.feature}")
        text.html(f'<p style="margin:.5rem 0 0">{link} <bdi>{escape(one.words)}</bdi></p>')
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.slider(f"Layer {one.layer}, feature {one.feature}: strength in units of its p99.9", -REACH, REACH,
                      step=STEP, key=one.key, format="%+.1f", label_visibility="collapsed")  # fmt: skip
            box = f"box-{one.layer}-{one.feature}"
            st.session_state[box] = one.strength
            st.number_input(f"Strength of feature {one.feature} of layer {one.layer}", -REACH, REACH, step=STEP,
                            key=box, format="%.1f", label_visibility="collapsed", width=108,
                            on_change=partial(from_box, box, one.key))  # fmt: skip
            st.button("", icon=":material/close:", key=f"off-{one.layer}-{one.feature}", type="tertiary",
                      help=f"Take feature {one.feature} of layer {one.layer} off", on_click=partial(take_off, one))
    if turned:
        st.button("Reset all to 0", key="reset", type="tertiary", icon=":material/restart_alt:",
                  disabled=not any(t.strength for t in turned), on_click=partial(reset, turned))  # fmt: skip


def chooser(run: Run, cat: Catalog, turned: list[Turned]) -> None:
    """Take one more feature: by layer and number, from the browser, or one of a few that answer to gendered words."""
    if len(turned) >= MOST:
        text.html(f'<p class="cs-small">{MOST} features at a time; take one off to try another.</p>')
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        layers = cat.layers()
        layer = st.selectbox("Layer", layers, index=len(layers) // 2, key="add-layer", width=80)
        number = st.number_input("Feature", min_value=0, step=1, key="add-feature", width=120)
        st.button("Take it", key="add", on_click=partial(take, layer, int(number)))
        st.page_link(PAGES["browser"], label="Browse", icon=":material/scatter_plot:",
                     query_params={"run": run.name, "layer": str(layer)})  # fmt: skip
    found = suggestions(run, layer, {(t.layer, t.feature) for t in turned})
    if found:
        text.html('<p class="cs-small">Or one that answers to a gendered word:</p>')
        with st.container(horizontal=True, gap="small"):
            for feature, words in found:
                st.button(f"{words} · {feature}", key=f"try-{layer}-{feature}", on_click=partial(take, layer, feature),
                          help=f"Take feature {feature} of layer {layer}")  # fmt: skip


def suggestions(run: Run, layer: int, taken: set[tuple[int, int]], n: int = 2) -> list[tuple[int, str]]:
    """(feature, words): of the features whose first words are of one gender alone, the n of each that explain most."""
    found = _gendered(str(run.dir), manifest_version(run), layer, n + MOST)
    return [pair for side in found for pair in [p for p in side if (layer, p[0]) not in taken][:n]]


@st.cache_data(max_entries=32, show_spinner=False)
def _gendered(run_dir: str, version: str, layer: int, n: int) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    from core.gender import find

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


def take(layer: int, feature: int) -> None:
    st.session_state["bench"].setdefault((layer, feature), 0.0)


def take_off(one: Turned) -> None:
    st.session_state["bench"].pop((one.layer, one.feature), None)
    st.session_state.pop(one.key, None)


def reset(turned: list[Turned]) -> None:
    for one in turned:
        st.session_state[one.key] = 0.0


def from_box(box: str, key: str) -> None:
    st.session_state[key] = st.session_state[box]

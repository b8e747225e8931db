"""The sliders of the steering page, one a feature: how far each is turned and in what mode, kept in the address."""

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
from core.figures.feature import is_word, visible
from pages.kit import text
from pages.kit.examples import feature_link

if TYPE_CHECKING:
    from core.run import Run
    from core.run.reader import Catalog

MODES = {"Add": "add", "Hold at": "clamp", "Multiply": "scale", "Remove": "ablate"}
MOST = 4  # features at a time
REACH = 4.0  # of a slider, in units of p99.9
STEP = 0.1
ON_PAGE = "sample"  # the key of a widget that stands on the page in every state
LATE = 5.0  # seconds after which an old address is no longer one that was on its way
ALL = "turn-all"
PART = re.compile(r"(\d{1,3}):(\d{1,7})(?::(-?\d{1,3}(?:\.\d{1,6})?))?", re.ASCII)


@dataclass(frozen=True)
class SteeredFeature:
    """A feature with a slider, and how far it is turned (units of its 99.9th percentile of activation)."""

    layer: int
    feature: int
    strength: float
    p999: float = 0.0
    words: str = ""

    @property
    def key(self) -> str:
        return f"turn-{self.layer}-{self.feature}"


def parse(address: str) -> tuple[list[SteeredFeature], list[str]]:
    """The features that an address names ("3:17,5:40:-1.5"), and its parts that name none; strengths are clipped."""
    found: list[SteeredFeature] = []
    wrong: list[str] = []
    for part in filter(None, (p.strip() for p in address.split(","))):
        match = PART.fullmatch(part)
        if match is None or any((t.layer, t.feature) == (int(match[1]), int(match[2])) for t in found):
            wrong.append(part)
            continue
        strength = min(max(float(match[3] or 0.0), -REACH), REACH)
        found.append(SteeredFeature(int(match[1]), int(match[2]), round(strength / STEP) * STEP))
    return found[:MOST], wrong + [f"{t.layer}:{t.feature}" for t in found[MOST:]]


def address(turned: list[SteeredFeature]) -> str:
    """The text that `parse` reads."""
    return ",".join(f"{t.layer}:{t.feature}" + (f":{t.strength:g}" if t.strength else "") for t in turned)


def read_features(run: Run, cat: Catalog) -> list[SteeredFeature]:
    """The features that have sliders, from the address or as the sliders left them; what cannot be turned is named."""
    asked = st.query_params.get("features", "")
    wrong: list[str] = []
    if _is_news(asked):
        turned, wrong = parse(asked)
        st.session_state["sliders"] = {(t.layer, t.feature): t.strength for t in turned}
        st.session_state.update({t.key: t.strength for t in turned})
    elif st.session_state["sliders-of"] != run.name:  # the numbers of another run's features mean nothing here
        st.session_state["sliders"] = {}
    st.session_state["sliders-of"] = run.name
    known: list[SteeredFeature] = []
    for (layer, feature), strength in st.session_state["sliders"].items():
        one = SteeredFeature(layer, feature, strength)
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
        st.warning(
            f"Left out, because this run cannot turn it: {', '.join(wrong)}. Up to {MOST} living features, "
            "written as layer:feature:strength, can be turned at a time.",
            icon=":material/info:",
        )
    st.session_state["sliders"] = {(t.layer, t.feature): t.strength for t in known}
    _write_address(known)
    return known


def _is_news(asked: str) -> bool:
    """Whether the address asks for something that this page has not itself written there.

    A browser may send a slider together with the address as it was a moment ago. Such an address is one of our own and
    is passed over, unless it comes so late that the visitor must have gone back to it.
    """
    if ON_PAGE not in st.session_state or "sliders" not in st.session_state:  # the page has just been entered
        st.session_state["addresses"] = {}
        return True
    written: dict[str, float] = st.session_state["addresses"]
    last = next(reversed(written), "")
    return asked not in written or (asked != last and time.monotonic() - written[last] > LATE)


def _write_address(turned: list[SteeredFeature]) -> None:
    """Keep the address in step with the sliders."""
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


def sliders(turned: list[SteeredFeature], mode: str) -> None:
    """One slider a feature with a number box beside it, and the way to take it off; one slider for all."""
    asleep = mode == "ablate"  # what is removed is removed, however far it is turned
    if len(turned) > 1:
        together = {t.strength for t in turned}
        st.session_state[ALL] = together.pop() if len(together) == 1 else 0.0
        st.slider(
            "All together",
            -REACH,
            REACH,
            step=STEP,
            key=ALL,
            format="%+.1f",
            disabled=asleep,
            on_change=partial(all_together, turned),
        )
    for one in turned:
        link = feature_link(one.layer, one.feature, f"Layer {one.layer}, feature {one.feature}")
        text.html(f'<p style="margin:.3rem 0 0">{link} <bdi>{escape(one.words)}</bdi></p>')
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.slider(
                f"Layer {one.layer}, feature {one.feature}: strength in units of its p99.9",
                -REACH,
                REACH,
                step=STEP,
                key=one.key,
                format="%+.1f",
                label_visibility="collapsed",
                disabled=asleep,
            )
            box = f"box-{one.layer}-{one.feature}"
            st.session_state[box] = one.strength
            st.number_input(
                f"Strength of feature {one.feature} of layer {one.layer}",
                -REACH,
                REACH,
                step=STEP,
                key=box,
                format="%.1f",
                label_visibility="collapsed",
                width=92,
                disabled=asleep,
                on_change=partial(from_box, box, one.key),
            )
            st.button(
                "",
                icon=":material/close:",
                key=f"off-{one.layer}-{one.feature}",
                type="tertiary",
                help=f"Take feature {one.feature} of layer {one.layer} off",
                on_click=partial(take_off, one),
            )


def how(turned: list[SteeredFeature]) -> tuple[str, int | None]:
    """What the sliders do and how words are chosen, folded away beside the reset: mode, and the draw (None: greedy)."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Reset all to 0",
            key="reset",
            type="tertiary",
            icon=":material/restart_alt:",
            disabled=not any(t.strength for t in turned),
            on_click=partial(reset, turned),
        )
        with st.popover("How", type="tertiary", icon=":material/settings:", key="how"):
            named = st.segmented_control(
                "What a slider does", list(MODES), default="Add", key="mode", required=True, bind="query-params"
            )
            text.html(f'<p class="cs-small">{MODE_NOTES[named]}</p>')
            chance = st.toggle(
                "Draw words by chance",
                key="chance",
                bind="query-params",
                help="Else the likeliest word is always taken, and the same image gives the same words.",
            )
            draw = st.number_input(
                "Draw",
                min_value=0,
                step=1,
                key="draw",
                bind="query-params",
                disabled=not chance,
                help="The same number draws the same words.",
            )
    return MODES[named], int(draw) if chance else None


MODE_NOTES = {
    "Add": "Adds so many times the feature’s 99.9th percentile of activation, everywhere.",
    "Hold at": "Holds the feature at so many times its 99.9th percentile; at 0 it is left alone.",
    "Multiply": "Multiplies what is there by 1 + the slider: +1 doubles it, −1 takes it away, 0 leaves it.",
    "Remove": "Takes the features away wherever they fire; the sliders rest.",
}


def turn_on(features: list[tuple[int, int]], strength: float = 1.0) -> None:
    """Give these features sliders in the place of all others, turned up at once."""
    st.session_state["sliders"] = dict.fromkeys(features, strength)
    for layer, feature in features:
        st.session_state[SteeredFeature(layer, feature, strength).key] = strength


def take(layer: int, feature: int) -> None:
    st.session_state["sliders"].setdefault((layer, feature), 0.0)


def take_off(one: SteeredFeature) -> None:
    st.session_state["sliders"].pop((one.layer, one.feature), None)
    st.session_state.pop(one.key, None)


def all_together(turned: list[SteeredFeature]) -> None:
    for one in turned:
        st.session_state[one.key] = st.session_state[ALL]


def reset(turned: list[SteeredFeature]) -> None:
    for one in turned:
        st.session_state[one.key] = 0.0


def from_box(box: str, key: str) -> None:
    st.session_state[key] = st.session_state[box]

"""The pickers that several pages share; each keeps its state in the address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from core.config import LANGUAGE_NAME
from pages.kit.states import notice
from pages.kit.text import glossary

if TYPE_CHECKING:
    from core.run.reader import Catalog


def layer_picker(cat: Catalog, key: str = "layer") -> int:
    """The layer to look at, by its number; the deepest of the middle ones at first. One that is not there is said."""
    layers = cat.layers()
    asked, first = st.query_params.get(key, ""), layers[len(layers) // 2]
    if asked and asked not in map(str, layers):
        notice(f"This run has no layer {asked[:20]}: showing layer {first}. It has {', '.join(map(str, layers))}.")
    return st.selectbox("Layer", layers, index=len(layers) // 2, key=key, bind="query-params", help=glossary("layer"))


def language_picker(languages: Sequence[str], key: str = "lang", both: bool = True, label: str = "Language") -> str:
    """ "en", "ar" or, where `both`, "" for both; of a run in one language that one, without a picker."""
    if len(languages) == 1:
        return languages[0]
    names = {"Both": "", **{LANGUAGE_NAME[lang]: lang for lang in languages}}
    options = list(names) if both else list(names)[1:]
    shown = st.segmented_control(label, options, default=options[0], key=key, required=True, bind="query-params")
    return names[shown]


def choice(label: str, options: Sequence[str], key: str, help: str = "") -> str:
    """One of a few words, the first at first."""
    return st.segmented_control(
        label, list(options), default=options[0], key=key, required=True, bind="query-params", help=help or None
    )

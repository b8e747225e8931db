"""Pointing at a part of a picture or at a word of a caption, with mouse, finger or keyboard.

What is chosen is the page's to keep (in the address): these draw what they are given, and tell what was pointed at.
Click or tap chooses, once more takes it back; arrow keys move and choose where they come to rest, Enter chooses at
once, Escape takes back. An area is drawn by dragging, or with Shift and the arrow keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2 import component

from core.config import LANGUAGE_NAME
from pages.kit.images import heat_uri
from pages.kit.text import KINDS, weight_style, without_overrides

MAX_PATCHES = 4096  # cells of a grid that a browser draws at once
JS = (Path(__file__).parent / "pointing.js").read_text(encoding="utf-8")
Chosen = frozenset[int]


@dataclass(frozen=True)
class Piece:
    """A word or a part of one: ``token`` is what is told when it is chosen, ``strength`` (0..1) the colour behind it,
    ``mark`` its kind (a gender), ``joined`` whether it goes on the word before it, ``title`` what hovering says."""

    text: str
    token: int
    strength: float = 0.0
    mark: str = ""
    joined: bool = False
    title: str = ""


def picture(
    key: str,
    src: str,
    alt: str,
    grid: tuple[int, int],
    chosen: Chosen = frozenset(),
    *,
    area: bool = False,
    heat: Sequence[float] | None = None,
    heat_max: float | None = None,
    moved: Callable[[Chosen], None] | None = None,
    label: str = "Parts of the picture",
) -> Chosen:
    """The picture under its ``grid`` of (rows, columns) patches; returns the chosen ones, numbered row by row.

    ``src`` is an address of images.py, ``heat`` has an activation a patch, full at ``heat_max``. ``moved`` is called
    with what was pointed at before the page runs again. ValueError for a grid that no browser would draw.
    """
    n = grid[0] * grid[1]
    if not 0 < n <= MAX_PATCHES:
        raise ValueError(f"a grid of {grid[0]} x {grid[1]} patches; at most {MAX_PATCHES} are drawn")
    top = heat_max if heat_max else max((float(v) for v in heat), default=0.0) if heat is not None else 0.0
    given = {
        "kind": "picture",
        "src": src,
        "alt": alt,
        "grid": list(grid),
        "chosen": sorted(p for p in chosen if 0 <= p < n),
        "area": area,
        "heat": heat_uri(heat, top, shape=grid) if heat is not None and len(heat) else "",
        "label": label,
        "patch": "Patch",
    }
    return _pointed(key, given, chosen, range(n), moved)


def words(
    key: str,
    pieces: Sequence[Piece],
    lang: str,
    chosen: int | None = None,
    *,
    label: str = "",
    moved: Callable[[int | None], None] | None = None,
) -> int | None:
    """A caption word by word, in its own direction; returns the ``token`` of the chosen piece, or None."""
    given = {
        "kind": "words",
        "lang": lang,
        "direction": "rtl" if lang == "ar" else "ltr",
        "label": label or f"Words of the {LANGUAGE_NAME.get(lang, lang)} caption",
        "chosen": [] if chosen is None else [chosen],
        "pieces": [
            {
                "text": without_overrides(piece.text),
                "token": piece.token,
                "joined": piece.joined,
                "mark": piece.mark if piece.mark in KINDS else "",
                "style": weight_style(piece.strength) if piece.strength > 0 else "",
                "title": without_overrides(piece.title),
            }
            for piece in pieces
        ],
    }
    tell = None if moved is None else lambda found: moved(_first(found))
    return _first(_pointed(key, given, frozenset(given["chosen"]), [piece.token for piece in pieces], tell))


def _first(found: Chosen) -> int | None:
    return min(found, default=None)


def _pointed(
    key: str, given: dict[str, Any], chosen: Chosen, known: Sequence[int], moved: Callable[[Chosen], None] | None
) -> Chosen:
    """Draw it; what the browser sends counts only where it names places that are there."""
    there = frozenset(known)

    def told() -> Chosen | None:
        sent = st.session_state.get(key, {}).get("chosen")
        return None if not isinstance(sent, list) else there & {p for p in sent if isinstance(p, int)}

    def changed() -> None:
        if moved is not None and (found := told()) is not None:
            moved(found)

    draw = component("captionscope.pointing", js=JS, isolate_styles=False)
    draw(key=key, data=given, on_chosen_change=changed)
    found = told()
    return chosen if found is None else found

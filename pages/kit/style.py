"""The one place with CSS: `style.css` beside this file, and its colours, which are those of the figures.

`light-dark()` follows the theme that the visitor chose, because Streamlit sets `color-scheme` on the app.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core.figures.palette import DARK, GENDER, LIGHT, STEERED

VARIABLES = f"""
.stApp {{
  --cs-ink: light-dark({LIGHT.ink}, {DARK.ink}); --cs-muted: light-dark({LIGHT.muted}, {DARK.muted});
  --cs-rule: light-dark({LIGHT.rule}, {DARK.rule}); --cs-ground: light-dark({LIGHT.ground}, {DARK.ground});
  --cs-panel: light-dark(#F7F5F1, #201F1D); --cs-accent: light-dark(#1F4E79, #8FBDE6);
  --cs-en: light-dark({LIGHT.languages["en"]}, {DARK.languages["en"]});
  --cs-ar: light-dark({LIGHT.languages["ar"]}, {DARK.languages["ar"]});
  --cs-female: {GENDER["female"]}; --cs-male: {GENDER["male"]}; --cs-neutral: light-dark({GENDER["neutral"]}, #9A9A9A);
  --cs-steered: {STEERED}; --cs-good: light-dark(#1B6E4B, #6FCBA0); --cs-bad: light-dark(#A12A2A, #F09A94);
  --cs-unsure: light-dark(#7A5200, #E9C46A);
}}
"""

CSS = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
STATIC_DIR = Path(__file__).resolve().parents[2] / "static"


def apply() -> None:
    """Put the style sheet on the page; called once, by the frame."""
    st.html(f"<style>{VARIABLES}{CSS}</style>")


def is_dark() -> bool:
    """Whether the visitor sees the dark theme (light until the browser has said)."""
    return st.context.theme.type == "dark"


def logo_path() -> str:
    """The wordmark for the visitor's theme."""
    return str(STATIC_DIR / f"logo-{'dark' if is_dark() else 'light'}.svg")

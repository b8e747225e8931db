"""A page of one picture to point at, one to draw areas on, and a caption a language; it writes what it was told."""

import base64
import io

import streamlit as st
from PIL import Image

from pages.kit import pointing, style
from pages.kit.pointing import Piece


def picture(colour: str) -> str:
    out = io.BytesIO()
    Image.new("RGB", (96, 64), colour).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


style.apply()
state = st.session_state.setdefault("state", {"patch": frozenset(), "area": frozenset(), "en": None, "ar": None})
left, right = st.columns(2)
with left:
    state["patch"] = pointing.picture("one", picture("teal"), "teal", (4, 6), state["patch"])
with right:
    state["area"] = pointing.picture("many", picture("plum"), "plum", (4, 6), state["area"], area=True)
english = [Piece("A", 0), Piece("doc", 1), Piece("tor", 2, joined=True), Piece("<b>sings</b>", 3, mark="female")]
state["en"] = pointing.words("english", english, "en", state["en"])
arabic = [Piece("طبي", 0), Piece("بة", 1, joined=True), Piece("تغني", 2)]
state["ar"] = pointing.words("arabic", arabic, "ar", state["ar"])
st.text(f"told: {sorted(state['patch'])} {sorted(state['area'])} {state['en']} {state['ar']}")

"""A few scenes of the demo world with a caption in each language: what the first visitor sees before there is a run."""

from __future__ import annotations

import base64
import io
import random

import streamlit as st

from pages.kit import text

SEED, N = 3, 6


@st.cache_data(show_spinner=False)
def scenes(seed: int = SEED, n: int = N) -> list[tuple[str, str, str]]:
    """(image as a data: address, English caption, Arabic caption) of random scenes, as that world's people write."""
    from PIL import Image

    from core.demo import DemoWorld

    world, rng, found = DemoWorld(), random.Random(seed), []
    for _ in range(n):
        scene, out = world.scene(rng), io.BytesIO()
        Image.fromarray(world.render(scene)).save(out, "PNG")
        uri = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
        found.append((uri, world.references(scene, "en", rng)[0], world.references(scene, "ar", rng)[0]))
    return found


def show() -> None:
    """The scenes as a row of tiles, gendered words marked."""
    tiles = "".join(_tile(*scene) for scene in scenes())
    text.heading(
        "What it looks at",
        "Scenes of the demo world, with captions as people of that world write them. "
        "What does the model learn from them about women and men?",
    )
    text.html(f'<div class="cs-grid" style="grid-template-columns:repeat({N}, minmax(0, 1fr))">{tiles}</div>')


def _tile(uri: str, en: str, ar: str) -> str:
    said = (text.caption_html(words, lang, text.gender_marks(words, lang)) for lang, words in (("en", en), ("ar", ar)))
    image = f'<span class="cs-frame"><img src="{uri}" alt=""></span>'
    return f'<figure class="cs-tile">{image}<figcaption>{"".join(said)}</figcaption></figure>'

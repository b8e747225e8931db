"""What a visitor asks of a picture: the question in each language, and a text to be read in the place of a caption."""

from __future__ import annotations

from html import escape

import streamlit as st

from core.config import LANGUAGE_NAME
from core.picture.asking import MOST_CHARACTERS, Asked, cleaned
from core.run import Run
from core.run.reader import Catalog
from pages.causes.steering_image import SteeredImage
from pages.kit import text


def ask(run: Run, cat: Catalog, image: SteeredImage) -> Asked:
    """The fields, folded, and what they ask; the run's own question where a field is empty."""
    prompts = cat.prompts
    questions, texts = [], []
    with st.expander("Ask something else, or let it read your own caption", key="asking"):
        columns = st.columns(len(prompts), gap="medium")
        for column, (lang, own) in zip(columns, prompts.items(), strict=True):
            with column, st.container(key=f"ask-{lang}"):
                name = LANGUAGE_NAME[lang]
                question = st.text_input(
                    f"Question in {name}",
                    key=f"question-{lang}-{run.name}",
                    placeholder=own,
                    max_chars=MOST_CHARACTERS,
                    persist_state="session",
                )
                caption = st.text_area(
                    f"{name} caption to read in the place of the model’s",
                    key=f"caption-{lang}-{run.name}-{image.key}",
                    max_chars=MOST_CHARACTERS,
                    height=84,
                    persist_state="session",
                    help="The model does not write then: it reads your words, and you see what fires on them.",
                )
            question, caption = cleaned(question or ""), cleaned(caption or "")
            if question and question != own:
                questions.append((lang, question))
            if (caption or "").strip():
                texts.append((lang, caption))
        asked = " and ".join(f"“<bdi lang='{lang}'>{escape(prompt)}</bdi>”" for lang, prompt in prompts.items())
        text.html(
            f'<p class="cs-small">Empty fields mean the run’s own: it asked {asked}, and the model wrote. All figures '
            "of the run, and what is usual for a feature, are of that; what you ask here changes this page alone.</p>"
        )
    return Asked(tuple(questions), tuple(texts))


def changed(asked: Asked) -> str:
    """HTML: what was asked otherwise than the run asked, to stand beside the captions; "" for nothing."""
    said = [
        f"Asked in {LANGUAGE_NAME[lang]}: “<bdi lang='{lang}'>{escape(question)}</bdi>”"
        for lang, question in asked.questions
    ]
    if not said:
        return ""
    return f'<p class="cs-small">{"; ".join(said)}. The run’s figures are of its own question.</p>'

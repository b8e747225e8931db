"""A picture of one's own: what the model writes of it, what fires on it, and which of the run's images are alike."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.answers import Answer
from core.answers.firing import firing_answer, place_answer
from core.config import LANGUAGE_NAME
from core.errors import UserError
from core.picture.asking import Asked
from core.run import Run
from core.run.reader import Catalog
from pages.causes import steering_live as door
from pages.causes.steering_captions import FRAME, WRITING, waiting
from pages.causes.steering_image import (
    SteeredImage,
    forget,
    image_controls,
    image_name,
    picture_uri,
    test_images,
    uploader,
)
from pages.kit import firing, images, links, pickers, runs, states, text
from pages.look import sample
from pages.look.picture_alike import alike
from pages.look.picture_asking import ask, changed

if TYPE_CHECKING:
    from core.picture.telling import Told

QUESTION = "What do you see in my picture?"
LEAD = """Bring a picture: the model describes it in each language, and you see what it notices, part by part and word
by word."""
N_OFFERED = 6


def main() -> None:
    run = runs.current_run()
    runs.needs(run, "prepare", "train", "features", title=QUESTION)
    cat = runs.catalog(run)
    head = st.empty()
    with head.container():
        text.page_title(QUESTION, LEAD)
    image = image_controls(cat, None)
    if image is None:
        invite(run, cat)
        text.method(METHOD)
        return
    name = image_name(cat, image)
    asked = ask(run, cat, image)
    keep_place((run.name, image.key, asked))
    body = st.empty()
    try:
        told = heard(run, cat, image, name, asked, body)
    except UserError as error:
        with body.container():
            states.error_box(error)
            text.html(f'<img src="{picture_uri(run, image)}" alt="{escape(name)}" class="cs-image">')
        return
    with body.container():
        answer = fires(run, cat, image, name, asked, told)
    with head.container():
        text.page_title(QUESTION, answer.text, answer.sure, eyebrow=name)
    text.method(METHOD)


def invite(run: Run, cat: Catalog) -> None:
    """Where there is no picture yet: a place for one, and a few of the run's."""
    left, right = st.columns([1, 1.4], gap="large")
    with left:
        uploader()
    with right:
        text.html('<p class="cs-small">Or one of the run’s own:</p>')
        ids = test_images(cat)[:N_OFFERED]
        tiles = [images.GridItem(i, href=links.href("picture", sample=i), alt=f"Take image {i}") for i in ids]
        images.grid(run, tiles, N_OFFERED)


def keep_place(now: tuple[str, str, Asked]) -> None:
    """What was pointed at belongs to the picture, questions and texts that it was pointed at on, and goes with them."""
    if st.session_state.get("picture-now", now) != now:
        for name in ("at", "feature"):
            st.query_params.pop(name, None)
    st.session_state["picture-now"] = now


def heard(run: Run, cat: Catalog, image: SteeredImage, name: str, asked: Asked, body: Any) -> Told:
    """What the model says of the picture: kept, or written now, word by word, in the place of all that stood there."""
    with body.container():
        left, right = st.columns([1, 2.2], gap="large")
        with left:
            text.html(f'<img src="{picture_uri(run, image)}" alt="{escape(name)}" class="cs-image">')
        with right:
            frames = {lang: st.empty() for lang in cat.languages}
    model = door.live(run)
    if known := model.told(image, asked):
        return known
    drawn, told = 0.0, None
    draw(frames, dict(asked.texts), asked)
    with model.queue.turn(partial(waiting, frames)), closing(model.tell(image, asked)) as steps:
        for told in steps:
            if time.monotonic() - drawn > FRAME:
                draw(frames, told.texts, asked)
                drawn = time.monotonic()
    assert told is not None  # the last step is finished
    return told


def draw(frames: dict[str, Any], texts: Mapping[str, str], asked: Asked) -> None:
    """The captions as far as they are written."""
    for lang, frame in frames.items():
        given = lang in dict(asked.texts)
        label = text.language_label(lang, ", your own words" if given else "")
        label = label if given else label.replace("</p>", f" {WRITING}</p>")
        words = texts.get(lang, "") + ("" if given else " ▍")
        frame.html(f'<div class="cs cs-side" data-lang="{lang}">{label}{text.caption_html(words, lang)}</div>')


def fires(run: Run, cat: Catalog, image: SteeredImage, name: str, asked: Asked, told: Told) -> Answer:
    """What fires on the picture and its captions, or where the visitor points; the sentence for the top of the page."""
    left, right = st.columns([1, 2.2], gap="large")
    with right, st.container(horizontal=True, vertical_alignment="bottom", key="pickers"):
        with st.container(width=96):
            layer = pickers.layer_picker(cat)
        ways = [name for name, way in sample.BY.items() if way != "attention"]
        by = sample.BY[pickers.choice("First comes", ways, "by", sample.ORDER)]
        back = st.container(width="content")
    model = door.live(run)
    with right:
        line = {lang: st.empty() for lang in cat.languages}
        firings = model.fires(image, asked, told, layer, partial(waiting, line))
        for place_in_line in line.values():
            place_in_line.empty()
    src, thumb = picture_uri(run, image), picture_uri(run, image, small=True)
    side = model.grid[0] if model.grid else 0
    width, height = image.open(run).size
    seen = firing.Seen(src, thumb, name, side, told.texts, firings, width / height)
    place, wrong = firing.read_place(st.query_params.get("at", ""), seen)
    feature = sample.chosen_feature(cat, layer)
    top = float(cat.some_features(layer, [feature])["max"].iloc[0]) if feature is not None else 0.0
    key = f"picture-{abs(hash((run.name, image.key, asked)))}"
    with left:
        heat = None if feature is None or not seen.side else seen.heat([feature])[feature]
        firing.point_picture(seen, place, sample.moved, heat, top, key)
        firing.point_words(seen, place, sample.moved, feature, top, key)
        about(model, image, asked, told)
        if feature is not None:
            off = here(image, layer)
            off = f'<a href="{escape(off)}">Take it off</a>'
            text.html(f'<p class="cs-small">Coloured: where feature {feature} fires. {off}</p>')
    if place is not None:
        back.button(
            "Whole picture", key="whole", icon=":material/close:", type="tertiary", on_click=sample.moved, args=(None,)
        )
    usual, why = firing.usual_of(run, layer)
    by = "raw" if usual is None else by
    rows, n, where = sample.ranked(seen, place, usual, by, {})
    where = where.replace("on this image", "on this picture")
    with right:
        for said in filter(None, (wrong, why)):
            states.empty(said)
        text.heading(f"What fires {where}", f"layer {layer}, the first {len(rows)} of {n:,}; computed by the model now")
        text.html(
            firing.features_list(
                cat,
                layer,
                seen,
                rows,
                partial(sample.note, seen, by),
                partial(here, image, layer),
                feature,
                image.sample_id,
            )
        )
    alike(run, cat, layer, firings, image.sample_id)
    fold = st.expander("Word by word: these features along both captions", key="by-word", on_change="rerun")
    if fold.open:
        with fold:
            firing.captions_panel(cat, layer, seen, rows["feature"].tolist(), f"picture-layer-{layer}")
    first = firing.named(cat, layer, rows["feature"].tolist()[:3])
    return place_answer(n, first, by, where) if place else firing_answer(n, first, by, list(seen.firings))


def about(model: door.Live, image: SteeredImage, asked: Asked, told: Told) -> None:
    """What is to be known of the picture and the captions: how the model sees it, what was asked, what was odd."""
    width, height = image.open(model.run).size
    rows = f", {model.grid[0]} × {model.grid[1]} parts" if model.grid else ""
    squeezed = "squeezed to" if width != height else "at"
    lines = [
        sample.HINT,
        f"The picture has {width} × {height} pixels; the model is shown all of it, {squeezed} {model.side} × "
        f"{model.side}{rows}.",
    ]
    own = " and ".join(LANGUAGE_NAME[lang] for lang in told.given)
    if own:
        lines.append(f"The {own} words are yours; the model read them and wrote none.")
    lines += [f"{LANGUAGE_NAME[lang]}: {note}" for lang, notes in told.notes.items() for note in notes]
    if told.cut:
        cut = " and ".join(LANGUAGE_NAME[lang] for lang in told.cut)
        lines.append(f"Cut off: the model had not ended its {cut} caption when the limit of words was reached.")
    text.html("".join(f'<p class="cs-small">{escape(line)}</p>' for line in lines) + changed(asked))
    if image.sample_id is None:
        st.button("Take my picture away", key="own-back", type="tertiary", icon=":material/undo:", on_click=forget)


def here(image: SteeredImage, layer: int, feature: int | None = None) -> str:
    """The address of this page as it is, with a feature on the picture in full."""
    by, at = st.query_params.get("by"), st.query_params.get("at")
    return links.href("picture", sample=image.sample_id, layer=layer, by=by, at=at, feature=feature)


METHOD = r"""
The picture is read as the run’s own images are: with the question of each language, and then with the caption, the
model’s own or the words you gave it, every image token, question token and caption token has a state at each layer,
rounded as the run stores it, and the layer’s dictionary writes it as a few active features. What is unusual is set
beside the run’s images, which were asked the run’s own question. The picture stays in memory for this visit; nothing is
written down. Likeness of two images is the cosine of $\sqrt{a} - \overline{\sqrt{a}}$, with $a$ the mean activation of
each feature over the image tokens and the bar the mean over the run’s images (at most 4,000 of them): the root keeps a
few strong features from deciding alone, and taking off the mean keeps features that fire everywhere from making all
images alike. An image is called alike only where its likeness is at least what half of the run’s images have to the
image nearest to them. This is a description of one picture: it says nothing about others that show the same.
"""

main()

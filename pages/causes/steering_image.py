"""The image of the steering page, and the ways to another one: its number, chance, a list, or a visitor's own picture.

A visitor's own is bounded before it is decoded, upright, without its metadata, and in memory alone.
"""

from __future__ import annotations

import base64
import hashlib
import io
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape

import pandas as pd
import streamlit as st
from PIL import Image

from core.config import LANGUAGE_NAME
from core.errors import UserError
from core.run import Run
from core.run.reader import Catalog
from core.samples.checks import Dropped, decode_image
from pages.kit import states, text
from pages.kit.images import data_uri
from pages.kit.links import PAGES
from pages.kit.selection import clicked_row

THUMBS = 120  # images in the list
FORMATS = ("PNG", "JPEG", "WEBP")  # told by the content; a name says nothing
MOST_BYTES = 20_000_000
MOST_PIXELS = 32_000_000
LEAST_SIDE, MOST_SIDES = 16, 20  # pixels; how many times as long as wide
MODELS_SIDE = 896  # pixels; more than any model here looks at
SMALL_SIDE, MOST_PNG = 168, 200_000  # pixels of a small copy; bytes that a page shows of a picture as it is
DO = f"Choose a PNG, JPEG or WebP of at most {MOST_PIXELS // 1_000_000} megapixels and {MOST_BYTES // 1_000_000} MB."


@dataclass(frozen=True)
class SteeredImage:
    """The image that is captioned: one of the run's, or a visitor's own, which has no number.

    ``key`` is the one under which its captions are kept in memory.
    """

    key: str
    sample_id: int | None = None
    image: Image.Image | None = field(default=None, compare=False, repr=False)

    def open(self, run: Run) -> Image.Image:
        """The picture itself."""
        from core.samples.images import open_image

        if self.image is not None:
            return self.image
        if self.sample_id is None:
            raise ValueError("an image is one of the run's images or brings its own")
        return open_image(run, self.sample_id)


def choose_image(run: Run, cat: Catalog) -> SteeredImage:
    """The image, and the ways to another one: a number, chance, the list below, or the visitor's own."""
    image = image_controls(cat, test_images(cat)[0])
    assert image is not None  # there is a first one
    name = image_name(cat, image)
    text.html(f'<img src="{picture_uri(run, image)}" alt="{escape(name)}" class="cs-image">')
    with st.container(horizontal=True, gap="small"):
        if image.sample_id is None:
            back = "Back to the run’s images"
            st.button(back, key="own-back", type="tertiary", icon=":material/undo:", on_click=forget)
        here = {} if image.sample_id is None else {"sample": str(image.sample_id)}
        there = {"run": run.name, **here}
        st.page_link(PAGES["picture"], label="What fires here", icon=":material/grid_view:", query_params=there)
    return image


def test_images(cat: Catalog) -> list[int]:
    """Numbers of the test images, of all where there are none."""
    test = cat.samples("test", limit=100_000)["sample_id"].tolist()
    return test or cat.samples(limit=100_000)["sample_id"].tolist()


def image_controls(cat: Catalog, first: int | None) -> SteeredImage | None:
    """A number, chance, or the visitor's own; the image that is chosen, ``first`` where none is.

    None where there is no first: then the page has a place of its own for the visitor's picture.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        sample_id = st.number_input(
            "Image",
            min_value=0,
            value=first,
            step=1,
            key="sample",
            bind="query-params",
            label_visibility="collapsed",
            placeholder="number",
            width=72 if first is not None else 96,
            on_change=forget,
        )
        st.button(
            "Another" if first is not None else "One of the run’s images",
            icon=":material/shuffle:",
            key="shuffle",
            type="tertiary",
            on_click=partial(shuffle, test_images(cat)),
            help="One of the test images, by chance",
        )
        own: SteeredImage | None = st.session_state.get("own-picture")
        if own is not None or sample_id is not None:
            with st.popover("Your own", icon=":material/upload:", type="tertiary", key="own"):
                uploader()
    error = st.session_state.pop("own-error", None)
    if error is not None:
        states.error_box(error)
    sample_id = first if sample_id is None else sample_id  # the field may have been left empty, or on another page
    if own is not None or sample_id is None:
        return own
    return SteeredImage(str(int(sample_id)), int(sample_id))


def image_name(cat: Catalog, image: SteeredImage) -> str:
    """What the image is called, for whoever cannot see it; UserError for a number that the run does not have."""
    if image.sample_id is None:
        return "your own picture"
    sample = cat.sample(image.sample_id)
    return f"image {sample['image_id']} ({sample['split']})"


def picture_uri(run: Run, image: SteeredImage, small: bool = False) -> str:
    """The picture, or a small copy of it, as a data: address."""
    if image.sample_id is None:
        return own_uri(image, SMALL_SIDE if small else 0)
    return data_uri(run, image.sample_id, full=not small)


def uploader() -> None:
    """A place for the visitor's own picture; the file is let go as soon as it has been read."""
    n = st.session_state.setdefault("own-turn", 0)
    st.file_uploader(
        "A picture of a person (PNG, JPEG, WebP)",
        type=["png", "jpg", "jpeg", "webp"],
        key=f"own-file-{n}",
        max_upload_size=MOST_BYTES // 1_000_000,
        on_change=partial(bring, f"own-file-{n}"),
    )
    text.html(
        '<p class="cs-small">It stays in memory for this visit: it is not stored, and what the camera wrote '
        "into the file is dropped.</p>"
    )


def bring(key: str) -> None:
    """Read what was uploaded; what is no usable picture is said, and the page goes on with what it had."""
    file = st.session_state.get(key)
    if file is None:
        return
    try:
        st.session_state["own-picture"] = read_upload(file.getvalue())
    except UserError as error:
        st.session_state["own-error"] = error
    st.session_state["own-turn"] += 1  # a new, empty place for files: Streamlit drops the old one


def forget() -> None:
    st.session_state.pop("own-picture", None)


@st.cache_data(max_entries=32, show_spinner=False, hash_funcs={SteeredImage: lambda own: own.key})
def own_uri(own: SteeredImage, side: int) -> str:
    """A visitor's own picture as a data: address, at most ``side`` pixels a side (0: as it is)."""
    assert own.image is not None  # a visitor's own brings its picture
    image, out = own.image.copy(), io.BytesIO()
    if side:
        image.thumbnail((side, side))
    image.save(out, "PNG")
    kind = "png"
    if out.tell() > MOST_PNG:  # a photograph: it would travel with every answer of the page
        out, kind = io.BytesIO(), "jpeg"
        image.save(out, "JPEG", quality=90)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"


def choose_by_thumbnail(run: Run, cat: Catalog) -> None:
    """Thumbnails with the model's captions, folded, test images first; a click takes one."""
    fold = st.expander("Choose another image", key="choose", on_change="rerun")
    if fold.open:
        with fold:
            thumbnails(run, cat)


def thumbnails(run: Run, cat: Catalog) -> None:
    query = st.text_input("Find in captions", key="find", placeholder="doctor, طبيبة, …")
    rows = pd.concat([cat.samples(split, text=query, limit=THUMBS) for split in ("test", "train")]).head(THUMBS)
    ids = rows["sample_id"].tolist()
    own = cat.captions(ids).pivot(index="sample_id", columns="lang", values="text") if cat.has("captions") else None
    shown = pd.DataFrame({"image": [data_uri(run, i) for i in ids], "sample": ids})
    names = {lang: LANGUAGE_NAME[lang] for lang in cat.languages}
    for lang, name in names.items():
        shown[name] = [own[lang].get(i, "") for i in ids] if own is not None and lang in own else ""
    key = f"gallery-{run.name}-{query}"
    st.dataframe(
        shown,
        key=key,
        hide_index=True,
        row_height=64,
        height=340,
        on_select=partial(take_thumbnail, key, ids),
        selection_mode=["single-row", "single-cell"],
        column_order=["image", *names.values()],
        column_config={
            "image": st.column_config.ImageColumn("", width=72),
            **{name: st.column_config.TextColumn(width=700 // len(names)) for name in names.values()},
        },
    )


def take_thumbnail(key: str, ids: list[int]) -> None:
    row = clicked_row(key)
    if row is not None and row < len(ids):
        forget()
        st.session_state["sample"] = ids[row]


def shuffle(ids: Sequence[int]) -> None:
    forget()
    st.session_state["sample"] = random.choice([i for i in ids if i != st.session_state.get("sample")] or list(ids))


def read_upload(data: bytes) -> SteeredImage:
    """The picture in a file's bytes as upright RGB of at most MODELS_SIDE a side, with no metadata.

    Bytes and pixels are counted before anything is decoded. UserError for all that is no such picture.
    """
    if len(data) > MOST_BYTES:
        raise UserError("This file is too large.", f"It has {len(data) / 1e6:.0f} MB.", DO)
    _check_header(data)
    try:
        image = decode_image(data)
    except Dropped as e:
        raise UserError("This picture cannot be read.", f"The file is damaged or incomplete ({e.detail}).", DO) from e
    image.thumbnail((MODELS_SIDE, MODELS_SIDE))
    bare = Image.frombytes("RGB", image.size, image.tobytes())  # pixels alone: no EXIF, no profile, no text
    return SteeredImage(f"upload-{hashlib.sha256(bare.tobytes()).hexdigest()[:16]}", image=bare)


def _check_header(data: bytes) -> None:
    """Look at the format and the size that the file's head tells."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError as e:
        raise UserError("This picture is too large.", "Its head promises more pixels than any camera has.", DO) from e
    except Exception as e:  # decoders raise nearly everything on what is no picture
        raise UserError(
            "This is no picture that can be shown to the model.",
            "Its content, whatever its name says, is no PNG, JPEG or WebP.",
            DO,
        ) from e
    if width * height > MOST_PIXELS:
        raise UserError(
            "This picture is too large.", f"It has {width} x {height} = {width * height / 1e6:.0f} million pixels.", DO
        )
    if min(width, height) < LEAST_SIDE or max(width, height) > MOST_SIDES * min(width, height):
        why = f"It has {width} x {height} pixels; nothing could be seen on it."
        raise UserError("This picture is too small or too narrow.", why, DO)

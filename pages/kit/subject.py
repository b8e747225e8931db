"""The image on the laboratory's bench, and the ways to another one: its number, chance, or a list to choose from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from html import escape

import pandas as pd
import streamlit as st

from core.catalog import Catalog
from core.runs import Run
from pages.kit import text
from pages.kit.images import data_uri
from pages.kit.selection import clicked_row

THUMBS = 120  # images in the list


def picture(run: Run, cat: Catalog) -> int:
    """The image, and the ways to another one."""
    test = cat.samples("test", limit=100_000)["sample_id"].tolist() or cat.samples(limit=100_000)["sample_id"].tolist()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        sample_id = int(st.number_input("Image", min_value=0, value=test[0], step=1, key="sample", bind="query-params",
                                        label_visibility="collapsed", width=120))  # fmt: skip
        st.button("Another image", icon=":material/shuffle:", key="shuffle", type="tertiary",
                  on_click=partial(shuffle, test), help="One of the test images, by chance")  # fmt: skip
    sample = cat.sample(sample_id)
    name = f"image {sample['image_id']} ({sample['split']})"
    text.html(f'<img src="{data_uri(run, sample_id, full=True)}" alt="{escape(name)}" class="cs-subject">')
    return sample_id


def gallery(run: Run, cat: Catalog) -> None:
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
    for lang, name in (("en", "English"), ("ar", "Arabic")):
        shown[name] = [own[lang].get(i, "") for i in ids] if own is not None and lang in own else ""
    key = f"gallery-{query}"
    st.dataframe(shown, key=key, hide_index=True, row_height=64, height=340, on_select=partial(choose_image, key, ids),
                 selection_mode=["single-row", "single-cell"], column_order=["image", "English", "Arabic"],
                 column_config={"image": st.column_config.ImageColumn("", width=72),
                                "English": st.column_config.TextColumn(width=370),
                                "Arabic": st.column_config.TextColumn(width=330)})  # fmt: skip


def choose_image(key: str, ids: list[int]) -> None:
    row = clicked_row(key)
    if row is not None and row < len(ids):
        st.session_state["sample"] = ids[row]


def shuffle(ids: Sequence[int]) -> None:
    st.session_state["sample"] = random.choice([i for i in ids if i != st.session_state.get("sample")] or list(ids))

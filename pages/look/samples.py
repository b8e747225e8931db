"""The images, with what the model wrote and what people wrote about them, in the run's languages."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from core.config import LANGUAGE_NAME
from core.frames import records
from core.run import Run, manifest_version
from core.run.reader import Catalog
from pages.kit import export, links, pickers, policy, runs, states, text
from pages.kit.images import GridItem, tile_html
from pages.look.sample import LEGEND, NO_CAPTION, NOTHING, SHOWN, one, texts_html

PER_PAGE = 12
SPLITS = {"All": None, "Train": "train", "Test": "test"}
GENDERS = {"All": None, "Women": "female", "Men": "male", "Neutral": "neutral"}


@st.cache_data(max_entries=64, show_spinner=False)
def found(run_dir: str, version: str, split: str | None, gender: str | None, search: str) -> pd.DataFrame:
    """All samples that the filters leave, with a column `role` where the run knows it."""
    frame = runs.catalog(Run(run_dir)).samples(split, gender, search, limit=10_000_000)
    frame["role"] = [json.loads(a).get("role", "") if a else "" for a in frame["attributes"]]
    return frame


def row_html(
    run: Run,
    sample: dict[str, Any],
    own: pd.DataFrame,
    references: pd.DataFrame,
    opened: bool,
    languages: Sequence[str],
) -> str:
    """One sample: the image, then a column of the same width for each language."""
    sample_id = int(sample["sample_id"])
    item = GridItem(sample_id, href=links.href("samples", sample=sample_id), alt=f"image {sample['image_id']}")
    columns = ""
    for lang in languages:
        mine = texts_html(own[(own["sample_id"] == sample_id) & (own["lang"] == lang)])
        theirs = references[(references["sample_id"] == sample_id) & (references["lang"] == lang)]
        fold = ""
        if len(theirs):
            summary = f'<summary class="cs-small"><bdi>{len(theirs)} reference captions</bdi></summary>'
            fold = f"<details{' open' if opened else ''}>{summary}{texts_html(theirs)}</details>"
        columns += text.side(lang, (mine or NO_CAPTION) + fold)
    note = " · ".join(
        x for x in (SHOWN["gender"].get(sample["gender"], sample["gender"]), sample["role"], sample["split"]) if x
    )
    return (
        f'<article class="cs-sample"><div>{tile_html(run, item)}<p class="cs-small">{escape(note)}</p></div>'
        f"{columns}</article>"
    )


def browse(run: Run, cat: Catalog) -> None:
    head = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom", key="filters"):
        languages = " or ".join(LANGUAGE_NAME[lang] for lang in cat.languages)
        search = st.text_input("Search", key="q", bind="query-params", placeholder=languages, width=190)
        split = SPLITS[pickers.choice("Images", list(SPLITS), "split", text.glossary("split"))]
        gender = GENDERS[pickers.choice("Shown", list(GENDERS), "gender", "What the image itself shows, by its label.")]
        every = found(str(run.dir), manifest_version(run), split, gender, search)
        roles = sorted(set(found(str(run.dir), manifest_version(run), None, None, "")["role"]) - {""})
        role = st.selectbox("Role", ["All", *roles], key="role", bind="query-params", width=160) if roles else "All"
    frame = every if role == "All" else every[every["role"] == role]
    with head:
        total = cat.n_samples()
        n = f"{len(frame):,} of {total:,} images." if len(frame) < total else f"{total:,} images."
        text.page_title("What does the model write, and what did people write?", f"{n} Gendered words are underlined.")
        text.html(LEGEND)
        policy.show_labels_line(run, cat)
    if frame.empty:
        states.empty(
            "No image fits these filters.",
            "Each filter narrows what the others leave.",
            "Clear the search, or set the filters back to All.",
        )
        return
    n_pages = -(-len(frame) // PER_PAGE)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="pages"):
        page = st.pagination(n_pages, key="page", bind="query-params") if n_pages > 1 else 1
        opened = st.toggle("Show the references", key="refs", bind="query-params")
        export.downloads("captions", lambda: whole(cat, frame))
    shown = frame.iloc[(page - 1) * PER_PAGE : page * PER_PAGE]
    ids = shown["sample_id"].tolist()
    own = cat.captions(ids) if cat.has("captions") else NOTHING
    references = cat.references(ids) if cat.has("references") else NOTHING
    text.html("".join(row_html(run, s, own, references, opened, cat.languages) for s in records(shown)))


def whole(cat: Catalog, frame: pd.DataFrame) -> pd.DataFrame:
    """All captions of the filtered samples, one a row."""
    ids = frame["sample_id"].tolist()
    tables = [cat.captions(ids).assign(written_by="model")] if cat.has("captions") else []
    tables += [cat.references(ids).assign(written_by="reference")] if cat.has("references") else []
    texts = pd.concat([t[["sample_id", "lang", "written_by", "text"]] for t in tables]) if tables else NOTHING
    merged = frame[["sample_id", "image_id", "split", "gender", "role"]].merge(texts, on="sample_id")
    return merged.sort_values(["sample_id", "lang", "written_by"], ascending=[True, False, True])


def main() -> None:
    run = runs.current_run()
    runs.needs(run, "prepare", title="What does the model write, and what did people write?")
    asked = st.query_params.get("sample")
    if asked:
        text.html(f'<p><a href="{links.href("samples")}">All images</a></p>')
        one(run, runs.catalog(run), asked)
    else:
        browse(run, runs.catalog(run))


main()

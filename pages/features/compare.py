"""Search by example: the features that fire on these images and not on those, chosen one by one or by a word."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.answers import Answer
from core.answers.firing import compared_answer, groups_answer
from core.config import LANGUAGE_NAME
from core.features.firing import N_COMPARED, Firing, compare
from core.features.groups import MIN_IMAGES, group_contrast, says_word, view_means
from core.figures.feature import percent, visible
from core.frames import records
from core.run import Run, manifest_version
from core.run.reader import Catalog
from pages.kit import export, firing, links, pickers, runs, states, text
from pages.kit.images import GridItem, data_uri, grid_html, tile_html

QUESTION = "What fires on these images and not on those?"
HOW = ("Chosen images", "Men and women")
SIDES = {"Men’s, not women’s": ("male", "female"), "Women’s, not men’s": ("female", "male")}
NAMES = {"male": "images of men", "female": "images of women"}
LEVEL = 0.05  # adjusted over all features
N_ANYWAY = 3  # features that are shown even where none is beyond chance
N_FOUND = 8  # images that are offered
Note = Callable[[dict[str, Any]], str]


def main() -> None:
    run = runs.current_run()
    runs.needs(run, "train", "features", title=QUESTION)
    cat = runs.catalog(run)
    head = st.empty()
    with st.container(horizontal=True, vertical_alignment="bottom", key="pickers"):
        with st.container(width=96):
            layer = pickers.layer_picker(cat)
        how = pickers.choice("Compare", HOW, "how")
        views = {"Picture": "image", **{LANGUAGE_NAME[lang]: f"caption_{lang}" for lang in cat.languages}}
        view = views[pickers.choice("Where", list(views), "view", WHERE)]
    answer = (chosen if how == HOW[0] else of_word)(run, cat, layer, view)
    with head.container():
        text.page_title(QUESTION, answer.text, answer.sure)
    text.method(METHOD)


def chosen(run: Run, cat: Catalog, layer: int, view: str) -> Answer:
    """Up to four images on either side."""
    defaults = first_two(str(run.dir), manifest_version(run))
    left, right = st.columns(2, gap="large")
    sides, wrong = [], []
    for column, key, label, default in zip((left, right), ("these", "those"), SIDE_NAMES, defaults, strict=True):
        with column:
            asked = st.text_input(label, default, key=key, bind="query-params", help=NUMBERS)
            ids, why = read_numbers(asked, cat.n_samples())
            sides.append(ids)
            wrong += why
            text.html(strip_html(run, ids))
    finder(run, cat, *sides)
    both = sorted(set(sides[0]) & set(sides[1]))
    if both:
        wrong.append(f"Image {both[0]} is on both sides: no feature can fire on it and not on it.")
    if not sides[0] and not wrong:
        wrong.append("Choose at least one image on the left.")
    if wrong:
        states.empty(wrong[0], *wrong[1:3])
        return Answer("", "")
    usual, why = firing.usual_of(run, layer)
    if usual is None:
        states.empty(why)
        return Answer("", "")
    found = compare(run, layer, sides[0], sides[1], view, usual)
    rows = found.head(firing.N_LISTED)

    def note(row: dict[str, Any]) -> str:
        of = "" if not sides[1] else " and on none of those" if row["only"] else f" and on {row['n_against']} of those"
        return f"<b>{firing.strength(row['activation_for'])}</b> on average here{of}"

    show(run, cat, layer, view, rows, sides, note, f"layer {layer}, the first {len(rows)} of {len(found):,}")
    export.downloads(f"compare-layer-{layer}", found)
    first = firing.named(cat, layer, rows["feature"].tolist())
    return compared_answer(len(found), int(found["only"].sum()), first, len(sides[0]), len(sides[1]))


def of_word(run: Run, cat: Catalog, layer: int, view: str) -> Answer:
    """Men's and women's images whose captions have a word."""
    runs.needs(run, "pool", title=QUESTION)
    run_dir, version = str(run.dir), manifest_version(run)
    with st.container(horizontal=True, vertical_alignment="bottom", key="word-pickers"):
        said = st.text_input(
            "Word in a caption", common_role(run_dir, version), key="word", bind="query-params", width=220, help=WORD
        ).strip()
        names = SIDES[pickers.choice("Higher on", list(SIDES), "of")]
    if not said:
        states.empty("Write a word that captions have.", "", "For example doctor, or طبيبة.")
        return Answer("", "")
    images = with_word(run_dir, version, said)
    groups = [images.loc[images["gender"] == name, "sample_id"].tolist() for name in names]
    shown = NAMES[names[0]], NAMES[names[1]]
    n = len(groups[0]), len(groups[1])
    if min(n) < MIN_IMAGES:
        states.empty(
            f"{n[0]} {shown[0]} and {n[1]} {shown[1]} have this word in a caption.",
            f"At least {MIN_IMAGES} of each are compared.",
            "Try another word: that of an object, a place or a role.",
        )
        return groups_answer(0, [], shown, n, said, MIN_IMAGES)
    usual, _ = firing.usual_of(run, layer)
    codes = view_means(run, layer, [*groups[0], *groups[1]], view)
    spread = np.ones(codes.shape[1]) if usual is None else usual[f"spread_{view}"].to_numpy()
    contrast = group_contrast(codes, np.arange(sum(n)) < n[0], spread)
    found = contrast.features
    beyond = int((found["p"] <= LEVEL).sum())
    rows = found.head(min(firing.N_LISTED, max(beyond, N_ANYWAY)))

    def note(row: dict[str, Any]) -> str:
        p = f"p = {row['p']:.3f}" if row["p"] <= LEVEL else f"p = {row['p']:.2f}, as chance makes one"
        return (
            f"fires on <b>{percent(row['share_for'])}</b> of the {shown[0]}, {percent(row['share_against'])} of the "
            f"{shown[1]} <span class='cs-small'>(difference {100 * row['share_difference']:+.0f} points, "
            f"{100 * row['share_low']:+.0f} to {100 * row['share_high']:+.0f}; {p})</span>"
        )

    line = (
        f"layer {layer}; the first of all features differs by {found['difference'].max():.2f} spreads, in deals of the "
        f"same images by {np.median(contrast.chance):.2f} (in 95 % of them by less than "
        f"{np.quantile(contrast.chance, 0.95):.2f})"
    )
    show(run, cat, layer, view, rows, [ids[:3] for ids in groups], note, line)
    export.downloads(f"compare-{said}-layer-{layer}", found)
    first = firing.named(cat, layer, rows["feature"].tolist())
    return groups_answer(beyond, first, shown, n, said, MIN_IMAGES)


def read_numbers(asked: str, n: int) -> tuple[list[int], list[str]]:
    """The images that a text names by number, each once, and what is wrong with it."""
    parts = list(dict.fromkeys(filter(None, re.split(r"[\s,;،]+", asked))))
    bad = [p for p in parts if not (p.isascii() and p.isdecimal() and len(p) < 10)]
    ids = list(dict.fromkeys(int(p) for p in parts if p not in bad))
    wrong = [f"“{p[:20]}” is no number of an image." for p in bad[:1]]
    wrong += [f"Image number {i:,} is not in this run, which has 0 to {n - 1:,}." for i in ids if i >= n][:1]
    if len(ids) > N_COMPARED:
        wrong.append(f"{len(ids)} images are chosen on one side; at most {N_COMPARED} are compared.")
    return [i for i in ids if i < n][:N_COMPARED], wrong


@st.cache_data(max_entries=16, show_spinner=False)
def first_two(run_dir: str, version: str) -> tuple[str, str]:
    """The first images of a woman and of a man, or the first two."""
    cat = runs.catalog(Run(run_dir))
    found = [cat.samples(gender=gender, limit=1)["sample_id"].tolist() for gender in ("female", "male")]
    return (str(found[0][0]), str(found[1][0])) if all(found) else ("0", "1")


@st.cache_data(max_entries=16, show_spinner=False)
def common_role(run_dir: str, version: str) -> str:
    """A word to begin with: the role that most images of women and men show, "" where none is annotated."""
    frame = runs.catalog(Run(run_dir)).samples(limit=10_000_000)
    shown = frame[frame["gender"].isin(["female", "male"])]
    roles = pd.Series([json.loads(a).get("role", "") if a else "" for a in shown["attributes"]], dtype=str)
    counts = roles[roles != ""].value_counts()
    return str(counts.index[0]) if len(counts) else ""


@st.cache_data(max_entries=64, show_spinner=False)
def with_word(run_dir: str, version: str, said: str) -> pd.DataFrame:
    """sample_id and gender of the images of women and men of which a caption, the model's own or a reference, has the
    word; gender is what the stage words tells of the image, from annotation or references."""
    run, cat = Run(run_dir), runs.catalog(Run(run_dir))
    ids = cat.samples(text=said, limit=10_000_000)["sample_id"].tolist()
    tables = [getattr(cat, name)(ids)[["sample_id", "text"]] for name in ("captions", "references") if cat.has(name)]
    texts = pd.concat(tables).groupby("sample_id")["text"].agg(list)
    has = [int(i) for i, of_image in texts.items() if says_word(of_image, said)]  # pyright: ignore[reportArgumentType]
    known = run.images() if cat.has("genders") else cat.samples(limit=10_000_000)
    known = known[known["sample_id"].isin(has) & known["gender"].isin(["female", "male"])]
    return known[["sample_id", "gender"]].sort_values("sample_id", ignore_index=True)


def strip_html(run: Run, ids: Sequence[int]) -> str:
    """HTML: the chosen images of one side, each a link to its page."""
    tiles = [GridItem(i, f'<p class="cs-small">Image {i}</p>', href=links.href("samples", sample=i)) for i in ids]
    return grid_html(run, tiles, N_COMPARED) if tiles else '<p class="cs-small">None is chosen.</p>'


def finder(run: Run, cat: Catalog, these: list[int], those: list[int]) -> None:
    """Images by a word of their captions, folded, each with a button for either side."""
    fold = st.expander("Find images", key="finder", on_change="rerun")
    if not fold.open:
        return
    with fold:
        said = st.text_input("Find in captions", key="find", placeholder="doctor, طبيبة, …", width=260)
        ids = cat.samples(text=said, limit=N_FOUND)["sample_id"].tolist()
        if not ids:
            states.empty("No caption has this.")
        with st.container(horizontal=True, key="found"):
            for sample_id in ids:
                with st.container(width=112):
                    text.html(tile_html(run, GridItem(int(sample_id), f'<p class="cs-small">Image {sample_id}</p>')))
                    for key, ids_of, label in (("these", these, "on these"), ("those", those, "not those")):
                        full = len(ids_of) >= N_COMPARED or sample_id in (*these, *those)
                        st.button(
                            label,
                            key=f"{key}-{sample_id}",
                            disabled=full,
                            on_click=add,
                            args=(key, [*ids_of, int(sample_id)]),
                            width="stretch",
                        )


def add(key: str, ids: list[int]) -> None:
    st.session_state[key] = ", ".join(map(str, ids))


def show(
    run: Run,
    cat: Catalog,
    layer: int,
    view: str,
    rows: pd.DataFrame,
    sides: Sequence[Sequence[int]],
    note: Note,
    line: str,
) -> None:
    """The features as a list, each with its heat map, or its words, on the images of both sides."""
    if rows.empty:
        states.empty("No feature is higher on the one side.", line)
        return
    text.heading("What fires on the one side", line)
    known = firing.known_features(cat, layer, rows["feature"].tolist())
    lang = run.languages[0] if view == "image" else view.removeprefix("caption_")
    shown = {i: firing.firing_of(run, layer, i, lang) for ids in sides for i in ids}
    n = cat.patches_a_side**2
    pictures = "".join(f"--cs-seen-{i}:url({data_uri(run, i)});" for i in shown)
    items = []
    for row in records(rows):
        feature = int(row["feature"])
        about = known.loc[feature].to_dict()
        top = float(about.get("max") or 0)
        strips = ""
        for name, ids in zip(("these", "those"), sides, strict=True):
            tiles = "".join(on_image(shown[i], i, layer, feature, top, view, n) for i in ids)
            strips += f'<div class="cs-strip" data-side="{name}">{tiles}</div>'
        items.append(f"<li><div>{firing.about_html(layer, feature, about, note(row))}</div>{strips}</li>")
    text.html(f'<ol class="cs-compared" style="{pictures}">{"".join(items)}</ol>')


def on_image(fired: Firing, sample_id: int, layer: int, feature: int, top: float, view: str, n: int) -> str:
    """HTML: a feature on one image: its heat map, or where the caption is compared its strongest word."""
    tokens = fired.of_view(view)
    value = fired.dense([feature])[tokens, 0]
    best = int(value.argmax()) if len(value) and value.max() > 0 else None
    at = None
    if best is not None:
        token = fired.tokens.iloc[tokens[best]]
        at = f"image:{token['patch']}" if view == "image" else f"{fired.lang}:{token['slot']}"
    heat = fired.heat(feature, n) if view == "image" and n else None
    large = lambda f: links.href("samples", sample=sample_id, layer=layer, feature=f, at=at)  # noqa: E731
    shown = firing.tile(feature, heat, top, large, f"--cs-seen-{sample_id}", f"image {sample_id}")
    if view == "image":
        said = firing.strength(value.max(initial=0)) if best is not None else "–"
    else:
        piece = visible(str(fired.tokens["piece"].iloc[tokens[best]])) if best is not None else ""
        said = f"{firing.strength(value[best])} <bdi>{escape(piece)}</bdi>" if best is not None else "–"
    return f'<div>{shown}<p class="cs-small">{said}</p></div>'


SIDE_NAMES = ("These images", "Not on these")
NUMBERS = f"Up to {N_COMPARED} numbers of images, such as 12, 40. An image's number stands in the address of its page."
WHERE = "On the picture, or in the caption of one language."
WORD = "A whole word of any caption, the model's own or a reference, in English or Arabic."
METHOD = r"""
*Chosen images*: on each image a feature's activation is averaged over the image's patches, or over a caption's
tokens, silent ones included. A feature is listed where its average on every image of the left side is above that on
every image of the right side; first those that do not fire on the right at all, then by the distance between the lowest
of the one and the highest of the other, over the feature's spread over all images of the run. Where images are alike, a
feature's $n$ highest values are those of the left with probability $1/\binom{n+m}{n}$: with one image on either side
one half, so such a list shows where to look and is no finding. *Men and women*: the images of women and of
men of which a caption has the word; the difference of both means, over the same spread, and beside it the largest
difference of any feature in 199 deals of the same images to groups of the same sizes (max-T, Westfall and Young 1993).
What else differs between these women and men (objects, backgrounds) differs with them.
"""

main()

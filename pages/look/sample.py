"""One image: what the model wrote of it, and which features fire on it, on a part of it, or at a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from core.answers import Answer
from core.answers.firing import firing_answer, place_answer, word
from core.config import LANGUAGE_NAME
from core.errors import UserError
from core.features.firing import By, strongest, word_attention
from core.run import Run
from core.run.reader import Catalog
from pages.kit import firing, links, pickers, runs, states, text
from pages.kit.images import GridItem, tile_html

QUESTION = "What does the model write about this image, and what fires on it?"
BY: dict[str, By] = {"What is unusual": "unusual", "Activation": "raw", "Attention": "attention"}
SHOWN = {
    "gender": {"female": "a woman", "male": "a man", "neutral": "no gender shown", "": "not labelled"},
    "split": {"train": "train", "test": "test"},
}
NO_CAPTION = '<p class="cs-small">The model has not described this image yet.</p>'
LEGEND = """<p class="cs-small"><mark class="cs-mark female">words for women</mark> &ensp;
<mark class="cs-mark male">words for men</mark> &ensp; <mark class="cs-mark neutral">neutral words</mark> &ensp;
<mark class="cs-mark unmarked">generic masculine, of people of any gender</mark></p>"""
NOTHING = pd.DataFrame(columns=["sample_id", "lang", "text"])


def one(run: Run, cat: Catalog, asked: str) -> None:
    """One sample in full; UserError where the address names none."""
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 10):
        raise runs.missing(f"Image “{asked[:40]}”")
    sample_id, n = int(asked), cat.n_samples()
    if sample_id >= n:
        raise runs.missing(f"Image number {sample_id:,}")
    sample = cat.sample(sample_id)
    eyebrow = f"Image {sample['image_id']}"
    head = st.empty()
    moves(sample_id, n, cat.has("caption_lens") and sample_id in set(cat.shown_captions()["sample_id"]))
    own = cat.captions([sample_id]) if cat.has("captions") else NOTHING
    references = cat.references([sample_id]) if cat.has("references") else NOTHING
    lack = ("Which features fire on it", "The run has no dictionary of features yet.")
    answer = Answer("", "")
    if cat.layers() and run.is_done("features") and cat.has("captions"):
        answer = fires(run, cat, sample, own)
    else:
        plain(run, cat, sample, own)
        states.empty(f"{lack[0]} cannot be said yet.", lack[1], runs.command(run.manifest().preset, run.name))
    with head.container():
        text.page_title(QUESTION, answer.text, answer.sure, eyebrow=eyebrow)
    text.html(LEGEND + columns_html("References", references, cat.languages))
    text.html(known(sample, cat.languages))


def moves(sample_id: int, n: int, read: bool) -> None:
    """The ways to the images beside it, to steering and, where its captions were ``read`` token by token, to Layers."""
    steps = [("← Previous", sample_id - 1), ("Next →", sample_id + 1)]
    found = [f'<a href="{links.href("samples", sample=to)}">{label}</a>' for label, to in steps if 0 <= to < n]
    found.append(f'<a href="{links.href("steering", sample=sample_id)}">Steer the captions of this image</a>')
    found.append(f'<a href="{links.href("compare", these=sample_id)}">Compare it with another image</a>')
    if read:
        found.append(f'<a href="{links.href("layers", sample=sample_id)}">What each layer would say</a>')
    text.html(f'<nav class="cs-moves">{"".join(found)}</nav>')


def plain(run: Run, cat: Catalog, sample: dict[str, Any], own: pd.DataFrame) -> None:
    """The picture and the model's captions without features."""
    left, right = st.columns([1, 2.2], gap="large")
    with left:
        item = GridItem(int(sample["sample_id"]), alt=f"image {sample['image_id']}")
        text.html(tile_html(run, item, full=True))
    with right:
        title = "Read in the place of its own" if cat.captions_given else "The model’s own"
        text.html(columns_html(title, own, cat.languages))


def fires(run: Run, cat: Catalog, sample: dict[str, Any], own: pd.DataFrame) -> Answer:
    """What fires on the sample, as the address asks; the answer to be put on top."""
    sample_id = int(sample["sample_id"])
    left, right = st.columns([1, 2.2], gap="large")
    with right, st.container(horizontal=True, vertical_alignment="bottom", key="pickers"):
        with st.container(width=96):
            layer = pickers.layer_picker(cat)
        ways = [name for name, way in BY.items() if way != "attention" or cat.has("head_attention")]
        by = BY[pickers.choice("First comes", ways, "by", ORDER)]
        back = st.container(width="content")
    try:
        seen = firing.seen(run, cat, layer, sample_id, f"image {sample['image_id']}", own)
    except UserError as error:
        with right:
            states.error_box(error)
        with left:
            text.html(tile_html(run, GridItem(sample_id, alt=f"image {sample['image_id']}"), full=True))
            text.html("".join(text.side(lang, texts_html(own[own["lang"] == lang])) for lang in cat.languages))
        return Answer("", "")
    place, wrong = firing.read_place(st.query_params.get("at", ""), seen)
    feature = chosen_feature(cat, layer)
    top = float(cat.some_features(layer, [feature])["max"].iloc[0]) if feature is not None else 0.0
    with left:
        heat = None if feature is None or not seen.side else seen.heat([feature])[feature]
        firing.point_picture(seen, place, moved, heat, top)
        firing.point_words(seen, place, moved, feature, top)
        text.html(f'<p class="cs-small">{HINT}</p>')
        cut_off(own)
        if feature is not None:
            off = links.href("samples", sample=sample_id, layer=layer, at=st.query_params.get("at"))
            off = f'<a href="{escape(off)}">Take it off</a>'
            text.html(f'<p class="cs-small">Coloured: where feature {feature} fires. {off}</p>')
    if place is not None:
        back.button("Whole image", key="whole", icon=":material/close:", type="tertiary", on_click=moved, args=(None,))
    usual, why = firing.usual_of(run, layer)
    by = "raw" if usual is None else by
    looks = {}
    if by == "attention":
        by, looks, why = attention(run, cat, seen, place, why)
    rows, n, where = ranked(seen, place, usual, by, looks)
    with right:
        for line in filter(None, (wrong, why)):
            states.empty(line)
        where_html = f"What fires {where}" if place else "What fires on this image"
        text.heading(where_html, f"layer {layer}, the first {len(rows)} of {n:,}" + source(seen))
        text.html(
            firing.features_list(
                cat, layer, seen, rows, partial(note, seen, by), partial(large, sample_id, layer), feature, sample_id
            )
        )
    firing.captions_panel(cat, layer, seen, rows["feature"].tolist(), f"image-{sample_id}-layer-{layer}")
    text.method(METHOD)
    first = firing.named(cat, layer, rows["feature"].tolist())
    return place_answer(n, first, by, where) if place else firing_answer(n, first, by, list(seen.firings))


def moved(place: firing.Place | None) -> None:
    """Keep what was pointed at in the address."""
    if place is None:
        st.query_params.pop("at", None)
    else:
        st.query_params["at"] = str(place)


def chosen_feature(cat: Catalog, layer: int) -> int | None:
    """The feature that the address wants to see on the picture; None where it names none that the layer has."""
    asked = st.query_params.get("feature", "")
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 9):
        return None
    return int(asked) if len(cat.some_features(layer, [int(asked)])) else None


def ranked(
    seen: firing.Seen,
    place: firing.Place | None,
    usual: pd.DataFrame | None,
    by: By,
    looks: Mapping[str, NDArray[np.float64]],
) -> tuple[pd.DataFrame, int, str]:
    """The features to be listed, how many fire in all, and where."""
    known = pd.DataFrame() if usual is None else usual
    if place is None:
        n = len({int(f) for fired in seen.firings.values() for f in fired.feature})
        if by == "attention":
            return by_attention(seen, known, looks), n, "on this image"
        return strongest(list(seen.firings.values()), known, firing.N_LISTED, by), n, "on this image"
    lang, row = seen.token(place)
    fired = seen.firings[lang]
    n = int((fired.token == row).sum())
    if place.kind == "image":
        y, x = divmod(place.number, seen.side)
        where = f"at patch {y + 1}, {x + 1} of the picture"
    else:
        piece, whole = seen.piece(lang, row), seen.word(lang, row)
        of = f"{word(piece)} in {word(whole)}" if piece != whole else word(whole)
        where = f"at {of} of the {LANGUAGE_NAME[place.kind]} caption"
    return strongest(fired, known, firing.N_LISTED, by, tokens=[row]), n, where


def attention(
    run: Run, cat: Catalog, seen: firing.Seen, place: firing.Place | None, why: str
) -> tuple[By, dict[str, NDArray[np.float64]], str]:
    """How it is ranked, the attention of the gendered word by language, and what is to be said, where it was asked to
    rank by attention; the stage mechanisms keeps it of some images."""
    if place is not None:
        return "unusual", {}, f"At one place attention weighs nothing: ranked by what is unusual. {why}".strip()
    found = {lang: word_attention(run, fired) for lang, fired in seen.firings.items()}
    looks = {lang: one for lang, one in found.items() if one is not None}
    if looks and not why:
        return "attention", looks, ""
    known = cat.frame("head_attention")["sample_id"] if cat.has("head_attention") else pd.Series([], dtype=int)
    some = sorted({int(n) for n in known.tolist() if int(n) >= 0})
    kept = "The run keeps the attention of the gendered word of "
    lack = f"{kept}{len(some)} images ({', '.join(map(str, some))}), not of this one" if some else f"{kept}no image"
    return "unusual", {}, why or f"{lack}: ranked by what is unusual."


def by_attention(seen: firing.Seen, usual: pd.DataFrame, looks: Mapping[str, NDArray[np.float64]]) -> pd.DataFrame:
    """The ranking of each language whose attention is known, a feature where its score is largest."""
    every = [
        strongest(seen.firings[lang], usual, firing.N_LISTED, "attention", attention=one) for lang, one in looks.items()
    ]
    rows = pd.concat(every, ignore_index=True).sort_values(["score", "feature"], ascending=[False, True])
    return rows.drop_duplicates("feature").head(firing.N_LISTED).reset_index(drop=True)


def note(seen: firing.Seen, by: By, row: dict[str, Any]) -> str:
    """How strongly a listed feature fires, and where most."""
    fired = seen.firings[str(row["lang"])]
    token = fired.tokens.iloc[int(row["token"])]
    if token["kind"] == "caption":
        at = f"at <bdi lang='{row['lang']}'>{escape(seen.word(str(row['lang']), int(row['token'])))}</bdi>"
    else:
        at = "on the picture" if token["kind"] == "image" else "at the question"
    beyond = "" if by == "raw" else f' <span class="cs-small">{row["score"]:.1f} spreads above usual</span>'
    return f"<b>{firing.strength(row['peak'])}</b> {at}{beyond}"


def large(sample_id: int, layer: int, feature: int) -> str:
    """The address of this page with a feature on the picture in full."""
    return links.href("samples", sample=sample_id, layer=layer, at=st.query_params.get("at"), feature=feature)


def source(seen: firing.Seen) -> str:
    """Where the codes come from, said where they are not stored."""
    found = {fired.source for fired in seen.firings.values()} - {"stored codes"}
    return f"; computed from {' and '.join(sorted(found))}" if found else ""


def cut_off(own: pd.DataFrame) -> None:
    """Say which captions end because the limit was reached."""
    cut = [LANGUAGE_NAME[lang] for lang in own.loc[~own["finished"].astype(bool), "lang"]] if "finished" in own else []
    if cut:
        text.html(
            f'<p class="cs-small">Cut off: the model had not ended its {" and ".join(cut)} caption when the limit '
            "of words was reached.</p>"
        )


def texts_html(texts: pd.DataFrame) -> str:
    """Captions of one sample in one language."""
    return "".join(
        text.caption_html(t, lang, text.gender_marks(t, lang))
        for t, lang in zip(texts["text"], texts["lang"], strict=True)
    )


def columns_html(title: str, texts: pd.DataFrame, languages: Sequence[str]) -> str:
    """A heading over a column a language."""
    if texts.empty:
        return f'<h2 class="cs-h2">{title}</h2>{NO_CAPTION if title != "References" else ""}'
    columns = "".join(text.side(lang, texts_html(texts[texts["lang"] == lang])) for lang in languages)
    return f'<h2 class="cs-h2">{title}</h2><div class="cs-pair">{columns}</div>'


def known(sample: dict[str, Any], languages: Sequence[str]) -> str:
    """What the run knows of a sample; the planted probabilities are said to be planted."""
    pairs = [
        ("Shows", SHOWN["gender"].get(sample["gender"], sample["gender"])),
        ("Split", sample["split"]),
        ("Size", f"{sample['width']} × {sample['height']}"),
    ]
    planted = {f"p_male_{lang}": f"Planted p(male), {name}" for lang, name in LANGUAGE_NAME.items()}
    absent = {f"p_male_{lang}" for lang in LANGUAGE_NAME} - {f"p_male_{lang}" for lang in languages}
    names = {
        **planted,
        "generic": "Arabic masculine says no gender here",
        "held_out": "Role and object new to the model",
        "style": "Drawn in the style",
        "tone": "Skin tone (0 is yellow)",
    }
    for key, value in sample["attributes"].items():
        if key in absent:
            continue
        shown = {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
        pairs.append((names.get(key, key.replace("_", " ").capitalize()), shown))
    return text.facts(pairs)


HINT = "Point at a part of the picture or at a word: click, tap, or arrow keys."
ORDER = (
    "Unusual: how far a feature is above what it does on the run’s other images. Activation: how strongly it fires. "
    "Attention: unusual where the model looks while it chooses its first word for a woman or a man."
)
METHOD = r"""
Every place of the image and of its captions has one state in a layer, and the layer's dictionary writes it as a few
active features. Over a whole image a feature's activation is averaged over the image's patches, or over a caption's
tokens, silent ones included, and set beside the same average over all images of the run:
$(a - \bar a) / (s + s_0)$, with $s$ its standard deviation over images (over tokens, where one place is chosen), and
$s_0$ the median spread of the layer's features, without which the first places would go to features that have fired on
hardly anything (Tusher, Tibshirani and Chu 2001). A feature stands once, where its score is largest. Heat maps are
drawn on each feature's own scale, from 0 to its strongest activation in the run. This is a description of one image: a
feature that comes first here need not come first on others that show the same.
"""

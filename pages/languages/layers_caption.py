"""One caption layer by layer: what the model would say at each token or patch, and the story of its gendered word."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from core.answers import caption_lens as stories
from core.config import LANGUAGE_NAME
from core.figures import caption_lens as figure
from core.figures.screen import draw
from core.frames import records
from core.run import Run
from core.run.reader import Catalog
from pages.kit import export, links, panels, pickers, pointing, states, text
from pages.kit.images import GridItem, data_uri, tile_html
from pages.kit.style import is_dark

QUESTION = "What would the model say at each layer?"
NOTE = "if it ended there: the likeliest next word by the model’s own last norm and words; one example"
COLOURS = {"By rank": "rank", "By gender": "gender"}
LENSES = {"Logit": "logit", "Tuned": "tuned"}
LENS_HELP = (
    "Logit: the model’s own last norm and words, put on the layer as it is; it learns nothing. Tuned: behind a map of "
    "the layer that was fitted on training captions, so it knows what such captions are like."
)
COLOUR_HELP = (
    "By the rank of the word that was written among all words; or by how much likelier a word for a woman is than "
    "one for a man, where they are compared."
)
HINT = "Choose a word, or a part of the picture: the five likeliest words of every layer are listed below."
BEGUN = "-\u0640"  # behind a word that goes on
SHOWN = {"female": "a woman", "male": "a man", "neutral": "no gender shown", "": "not labelled"}


def caption(run: Run, cat: Catalog) -> None:
    """The chooser of the image, both captions, the place that was chosen, and the stories."""
    text.heading(QUESTION, NOTE)
    if not cat.has("caption_lens") or not len(known := cat.shown_captions()):
        states.empty(
            "No caption has been read token by token in this run.",
            "It was computed before that could be done, or layers.n_shown is 0.",
            f"python -m precompute run {run.manifest().preset or 'PRESET'} --until layers",
        )
        return
    sample, wrong = _sample(known)
    for line in filter(None, (wrong,)):
        states.empty(line)
    rows = cat.caption_lens(sample)
    known_lenses = [name for name, lens in LENSES.items() if lens in set(rows["lens"])]
    with st.container(horizontal=True, vertical_alignment="bottom", key="caption-pickers"):
        names = {int(r["sample_id"]): f"{r['image_id']}, {SHOWN.get(r['gender'], r['gender'])}" for r in records(known)}
        ids = list(names)
        st.selectbox(
            "Image",
            ids,
            index=ids.index(sample),
            format_func=lambda i: names[i],
            key=f"caption-image-{sample}",
            on_change=_choose,
            args=(f"caption-image-{sample}",),
            width=300,
        )
        lens = "logit"
        if len(known_lenses) > 1:
            lens = LENSES[pickers.choice("Lens", known_lenses, "through", LENS_HELP)]
        colour = COLOURS[pickers.choice("Colour", list(COLOURS), "colour", COLOUR_HELP)]
        export.downloads(f"caption-lens-{sample}", figure.caption_frame(rows), key=f"download-caption-lens-{sample}")
    rows = rows[rows["lens"] == lens]
    place, wrong = _place(st.query_params.get("at", ""), rows, cat)
    if wrong:
        states.empty(wrong)
    left, right = st.columns([1, 4], gap="large")
    with left:
        _picture(run, cat, sample, place, bool(known.set_index("sample_id").loc[sample, "patches"]))
        address = links.href("samples", sample=sample)
        text.html(
            f'<p class="cs-small">{HINT} <a href="{escape(address)}">What fires on this image</a></p>',
        )
    with right:
        for lang, side in _sides(rows):
            with side:
                _words(rows[rows["lang"] == lang], lang, place)
    text.html(f'<p class="cs-small">{figure.KEYS[colour]}</p>')
    for lang, side in _sides(rows):
        with side:
            _grid(rows[rows["lang"] == lang], lang, colour, sample)
    if place is not None:
        _listed(cat, sample, rows, place)
    _stories(cat, rows, sample)
    if cat.has("lens_fit") and len(fit := cat.lens_fit()):
        panels.panel(
            "How far each lens can be trusted",
            "held-out captions: how far what it says is from what the model says in the end; bars: 95 % intervals over "
            "images; dashed: the same fit without the layer",
            "caption-lens-fit",
            fit,
            figure.lens_fit_figure(fit),
            "KL to the model’s own output by layer and lens",
            key="caption-lens-fit",
        )


def asked() -> bool:
    """Whether the address asks for one caption."""
    return "sample" in st.query_params


def _sample(known: pd.DataFrame) -> tuple[int, str]:
    """The image that the address names, else the first, and why it is not the one that was asked for."""
    first = known["sample_id"].astype(int).tolist()
    given = st.query_params.get("sample", "")
    if not given:
        return first[0], ""
    if given.isascii() and given.isdecimal() and len(given) < 10 and int(given) in first:
        return int(given), ""
    return first[0], (
        f"Image {given[:20]} was not read token by token; {len(first)} held-out images were. Here is the first."
    )


def _choose(key: str) -> None:
    st.query_params["sample"] = str(st.session_state[key])
    st.query_params.pop("at", None)


Place = tuple[str, int]  # a language and a token of its caption, or "image" and a patch


def _place(given: str, rows: pd.DataFrame, cat: Catalog) -> tuple[Place | None, str]:
    """The token or patch that the address names, and why it is none."""
    kind, _, number = given.partition(":")
    if not given:
        return None, ""
    if kind not in (*LANGUAGE_NAME, "image") or not (number.isascii() and number.isdecimal() and len(number) < 7):
        return None, f"“{given[:40]}” names no part of a picture and no word of a caption."
    slot = int(number)
    if kind == "image":
        if slot < _side(cat) ** 2:
            return (kind, slot), ""
        return None, f"The picture has no patch {slot}."
    if slot not in set(rows.loc[rows["lang"] == kind, "slot"]):
        return None, f"The {LANGUAGE_NAME[kind]} caption has no word at place {slot}."
    return (kind, slot), ""


def _side(cat: Catalog) -> int:
    return cat.patches_a_side if cat.has("tokens") else 0


def _moved(place: Place | None) -> None:
    if place is None:
        st.query_params.pop("at", None)
    else:
        st.query_params["at"] = f"{place[0]}:{place[1]}"


def _sides(rows: pd.DataFrame) -> list[tuple[str, Any]]:
    """A column a language that has a caption here, side by side, below one another where the page is narrow."""
    langs = [lang for lang in LANGUAGE_NAME if lang in set(rows["lang"])]
    return list(zip(langs, st.columns(max(1, len(langs)), gap="medium"), strict=False))


def _picture(run: Run, cat: Catalog, sample: int, place: Place | None, patches: bool) -> None:
    side, alt = _side(cat), f"image {sample}"
    if not patches or not 0 < side**2 <= pointing.MAX_PATCHES:
        text.html(tile_html(run, GridItem(sample, alt=alt), full=True))
        why = "This image was not read patch by patch: layers.n_patches_shown says for how many images that is done."
        text.html(
            f'<p class="cs-small">{why if side else "No position of this model belongs to a part of a picture."}</p>'
        )
        return
    chosen = frozenset({place[1]} if place and place[0] == "image" else ())
    pointing.picture(
        "caption-picture",
        data_uri(run, sample, full=True),
        alt,
        (side, side),
        chosen,
        moved=lambda found: _moved(("image", min(found)) if found else None),
        label="Parts of the picture: arrow keys move, Escape takes back",
    )


def _words(rows: pd.DataFrame, lang: str, place: Place | None) -> None:
    """The caption word by word, to point at."""
    word = set(rows.loc[rows["compared"] == "spellings", "slot"])
    gender = "".join(sorted(set(rows["gender"]) - {""}))
    first = rows.drop_duplicates("slot").sort_values("slot")
    pieces = [
        pointing.Piece(
            _own(r["said"], before) if r["joined"] else r["said"].rstrip(BEGUN),
            int(r["slot"]),
            mark=gender if r["slot"] in word else "",
            joined=bool(r["joined"]),
        )
        for r, before in zip(records(first), ["", *first["said"]], strict=False)
    ]
    text.html(text.language_label(lang))
    pointing.words(
        f"caption-words-{lang}",
        pieces,
        lang,
        place[1] if place and place[0] == lang else None,
        moved=lambda slot: _moved(None if slot is None else (lang, slot)),
    )


def _grid(rows: pd.DataFrame, lang: str, colour: str, sample: int) -> None:
    """Layers by tokens; wider than its place where the caption is long, and moved sideways there."""
    frame = figure.caption_frame(rows)
    chart = figure.caption_lens_figure(frame, lang, colour)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        text.html(text.language_label(lang))
        export.downloads(f"caption-lens-{sample}-{lang}-{colour}", frame, chart)
    with st.container(key=f"wide-{lang}"):
        st.html(f"<style>.st-key-wide-{lang} > * {{ min-width: {figure.width(frame)}px; }}</style>")
        st.plotly_chart(
            draw(chart, is_dark()).update_layout(dragmode=False),
            theme=None,
            config=panels.PLAIN,
            alt=figure.alt(frame, lang),
            key=f"caption-lens-{lang}",
        )


def _own(said: str, before: str) -> str:
    """What a token adds to the word so far, for the line in which pieces stand beside each other."""
    said, before = said.rstrip(BEGUN), before.rstrip(BEGUN)
    return said[len(before) :] if before and said.startswith(before) and len(said) > len(before) else said


def _listed(cat: Catalog, sample: int, rows: pd.DataFrame, place: Place) -> None:
    """The five likeliest words of every layer at the chosen place, the last layer first."""
    kind, slot = place
    if kind == "image":
        here = cat.caption_lens(sample, "image", slot)
        here = here[here["lang"] == here["lang"].iloc[0]] if len(here) else here
        note = "what the model would write behind this part of the picture, by the logit lens"
        text.heading(f"At patch {slot}, layer by layer", note)
    else:
        here = rows[(rows["lang"] == kind) & (rows["slot"] == slot)]
        said = here["said"].iloc[0]
        text.heading(f"In the place of “{said}”, layer by layer", LANGUAGE_NAME[kind])
    if here.empty:
        states.empty(f"Patch {slot} was not read in this image.")
        return
    body = []
    for r in records(here.sort_values("layer", ascending=False)):
        likely = " &ensp; ".join(f"<bdi>{escape(w)}</bdi> {p:.0%}" for w, p in zip(r["top"], r["top_p"], strict=True))
        compared = f"{r['log_odds']:+.2f}" if r["compared"] and pd.notna(r["log_odds"]) else ""
        rank = f"{r['rank']:,}" if r["rank"] > 0 else ""
        body.append([str(r["layer"]), likely, rank, compared])
    head = ["Layer", "Likeliest words", "Rank of the word written", "Log-odds, women over men"]
    text.html(text.table(head, body, numeric=(0, 2, 3)))


def _stories(cat: Catalog, rows: pd.DataFrame, sample: int) -> None:
    text.heading(
        "The story of its first gendered word", "one example: what was measured on it, and on the run where it says so"
    )
    empty = pd.DataFrame()
    contrasts = (
        cat.frame("contrasts", sample_id=sample)
        if cat.has("contrasts")
        else pd.DataFrame({"lang": [], "sample_id": []})
    )
    shares = cat.frame("part_shares", sample_id=sample) if cat.has("part_shares") else empty
    patching = cat.patching() if cat.has("patching") else empty
    effects = cat.head_effects() if cat.has("head_effects") else pd.DataFrame({"lang": [], "part": []})
    sides = ""
    for lang in [lang for lang in LANGUAGE_NAME if lang in set(rows["lang"])]:
        own = rows[rows["lang"] == lang]
        steps = stories.story(own, cat.emergence(), effects, shares, patching, contrasts, tuple(cat.layers()))
        if steps:
            inner = "".join(_step(step) for step in steps)
            sides += text.side(lang, f'<ol class="cs-story">{inner}</ol>')
        else:
            why = stories.why_none(contrasts[contrasts["lang"] == lang])
            sides += text.side(lang, f'<p class="cs-small">{escape(why)}</p>')
    text.html(f'<div class="cs-pair">{sides}</div>')


def _step(step: stories.Step) -> str:
    shown = " ".join(
        f'<a href="{escape(links.href(page, **state))}">{escape(name)}</a>' for name, page, state in step.links
    )
    title = f"<b>{escape(step.title)}</b> <span class='cs-small'>({escape(step.of)})</span>"
    return f"<li>{title}<br>{escape(step.text)} {shown}</li>"

"""The captions of the steering page: kept, read from the precomputed grid, or written live, word by word, until Stop.

As it was, as steered, and the references; how they differ, as marks, a table and a figure.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from core.config import LANGUAGE_NAME, LANGUAGES
from core.figures.caption_diff import KINDS, Change, Difference, by_class, caption_difference
from core.figures.feature import percent
from core.frames import records
from core.gender.sets import edits_key
from core.run import Run, manifest_version
from core.run.reader import Catalog
from core.steering.request import NEUTRAL_PROMPTS, FeatureEdit, Request, Step, Strip
from core.words import find
from pages.causes import steering_live as door
from pages.causes.steering_image import SteeredImage
from pages.kit import text
from pages.kit.examples import feature_link

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRAME = 0.04  # seconds between two pictures of the stream
NAMES = {
    "before": "as it was",
    "after": "as steered",
    "control": "random control",
    "means": "difference of means",
    "prompt": "asked for neutral words",
}
SIZED = {"after": "steering", "control": "random control", "means": "difference of means"}
WRITING = '<span class="cs-sure yes">writing</span>'
SOURCES = {
    "live": ("yes", "The model has just written this."),
    "cached": ("few", "Written for exactly this setting when the run was computed."),
}
KIND_TITLES = {
    "added": "a new word",
    "removed": "a word that goes",
    "flipped": "the gender turns",
    "neutralised": "the gender goes, the person stays",
}
ABOUT = {"male": "for a man", "female": "for a woman", "neutral": "for any person", "unmarked": "for any person"}


def write(run: Run, cat: Catalog, image: SteeredImage, request: Request, frames: dict[str, Any], stop: Any) -> Step:
    """Let the model write and show it as it comes, with a button to stop it in the place `stop`.

    The last result is kept, so that nothing else on the page writes again. A setting that stands in the grid is
    answered from there, and only such a one: nothing is read off between two settings.
    """
    key = (str(run.dir), manifest_version(run), image.key, request)
    kept_key, kept = st.session_state.get("steered", (None, None))
    if kept_key == key and kept is not None:
        draw(kept, frames, request)
    elif st.session_state.get("halted") == key and st.session_state.get("partial", (None,))[0] == key:
        kept = st.session_state["partial"][1]
        draw(kept, frames, request, stopped=True)
        with stop.container(horizontal=True, vertical_alignment="center"):
            st.button("Go on", key="go-on", icon=":material/play_arrow:", on_click=go_on)
    else:
        kept = None if st.session_state.get("live") == key else from_grid(cat, image, request)
        if kept is None:
            kept = _live(run, cat, image, request, frames, stop, key)
        draw(kept, frames, request)
        st.session_state["steered"] = (key, kept)
    if kept.source == "cached" and request.edits:
        with stop.container():
            st.button(
                "Write it live",
                key="write-live",
                icon=":material/bolt:",
                type="tertiary",
                on_click=partial(again, key),
                help="This answer was written when the run was computed, for exactly this setting. Live it also "
                "shows what else moves.",
            )
    return kept


def _live(
    run: Run, cat: Catalog, image: SteeredImage, request: Request, frames: dict[str, Any], stop: Any, key: Any
) -> Step:
    known = own_captions(cat, image) if request.draw is None else {}
    st.session_state["partial"] = (key, Step(known))  # what a Stop before the first word leaves
    draw(Step(known), frames, request)
    stop.button("Stop", key="stop", icon=":material/stop:", on_click=halt, args=(key,))
    model = door.live(run)
    step, drawn = Step({}), 0.0
    with model.queue.turn(partial(waiting, frames)), closing(model.captions(image, request)) as steps:
        began, first = time.monotonic(), 0.0
        for step in steps:
            first = first or time.monotonic() - began
            shown = replace(step, texts=step.texts | known)
            st.session_state["partial"] = (key, shown)
            if time.monotonic() - drawn > FRAME and not step.finished:
                draw(shown, frames, request)
                drawn = time.monotonic()
        step = replace(step, seconds=(first, time.monotonic() - began))
    stop.empty()
    return step


def own_captions(cat: Catalog, image: SteeredImage) -> dict[tuple[str, str], str]:
    """What the model wrote of the image when the run was computed: shown while it writes again."""
    if image.sample_id is None or not cat.has("captions") or cat.captions_given:
        return {}
    rows = cat.captions([image.sample_id])
    return {("before", lang): words for lang, words in zip(rows["lang"], rows["text"], strict=True)}


def from_grid(cat: Catalog, image: SteeredImage, request: Request) -> Step | None:
    """The answer to exactly this setting where the grid holds it, with the captions as they were."""
    plain = request.edits and request.mode == "add" and request.draw is None and request.rows == ["after"]
    if not plain or image.sample_id is None or not cat.has("doses"):
        return None
    if "p_left_out" not in cat.columns("doses"):  # of a run whose grid knows first tokens, not words
        return None
    wanted = {"before": "", "after": edits_key((e.layer, e.feature, e.strength) for e in request.edits)}
    step = Step({}, True, source="cached")
    for row, edits in wanted.items():
        for one in records(cat.doses(image.sample_id, edits)):
            step.texts[row, one["lang"]] = one["text"]
            columns = ("pieces", "p_female", "p_male", "p_unmarked", "p_left_out")
            step.strips[row, one["lang"]] = Strip(*(tuple(one[name]) for name in columns))
    return step if len(step.texts) == len(wanted) * len(cat.languages) else None


def halt(key: Any) -> None:
    st.session_state["halted"] = key


def go_on() -> None:
    st.session_state.pop("halted", None)


def again(key: Any) -> None:
    st.session_state["live"] = key
    st.session_state.pop("steered", None)


def waiting(frames: Mapping[str, Any], place: int, seconds: float) -> None:
    """Somebody else has the model; said once a look, so that leaving the page ends the wait."""
    others = "one visitor is" if place == 2 else f"{place - 1} visitors are"
    said = f"You are number {place} in line: {others} before you ({seconds:.0f} s). Your captions come by themselves."
    for lang in languages_of(frames):
        frames[lang].html(f'<div class="cs"><p class="cs-small" role="status">{said}</p></div>')


def draw(step: Step, frames: Mapping[str, Any], request: Request, stopped: bool = False) -> None:
    """A column a language, as it was above as steered; and each reference column that is on, in its own frame."""
    writing = not step.finished and not stopped
    for lang in languages_of(frames):
        before, after = (step.texts.get((row, lang), "") for row in ("before", "after"))
        known = step.finished or bool(after)
        diff = difference(before, after, lang, step.finished) if request.edits and known else None
        parts = [block("before", before, lang, diff.before if diff else (), writing and not request.edits)]
        if request.edits:
            source = step.source if step.finished else ""
            parts.append(block("after", after, lang, diff.after if diff else (), writing, source))
        else:
            parts.append(
                '<p class="cs-small">Take a ready-made set or a feature under the image and move its slider: '
                "the changed caption will stand here.</p>"
            )
        frames[lang].html(f'<div class="cs cs-side cs-steered" data-lang="{lang}">{"".join(parts)}</div>')
    if "references" in frames:
        cards = references(step, request, writing, languages_of(frames))
        frames["references"].html(f'<div class="cs cs-refs">{cards}</div>')


def languages_of(frames: Mapping[str, Any]) -> list[str]:
    """The languages that have a column."""
    return [lang for lang in LANGUAGES if lang in frames]


def references(step: Step, request: Request, writing: bool, languages: Sequence[str] = LANGUAGES) -> str:
    """HTML: a card for each reference that is on, with what differs from the captions as they were, by language."""
    cards = []
    for row in (r for r in request.rows if r != "after"):
        blocks = []
        for lang in languages:
            before, now = (step.texts.get((name, lang), "") for name in ("before", row))
            diff = difference(before, now, lang, step.finished)
            blocks.append(f'<div class="cs-side" data-lang="{lang}">{block(row, now, lang, diff.after, writing)}</div>')
        cards.append(
            f"<div><h3>{escape(NAMES[row].capitalize())}</h3>"
            f'<p class="cs-small">{about(row, request, languages)}</p>{"".join(blocks)}</div>'
        )
    return "".join(cards)


def about(row: str, request: Request, languages: Sequence[str] = LANGUAGES) -> str:
    """One line of HTML on what a reference column is."""
    if row == "control":
        links = ", ".join(
            feature_link(e.layer, e.feature, f"layer {e.layer}, feature {e.feature}") for e in request.control
        )
        return f"{links}: alive, firing about as often and as strongly, together pushed as hard."
    if row == "means":
        return "No feature: straight from the average image of men to that of women, or back, by the same length."
    asks = " / ".join(f"<bdi>{escape(NEUTRAL_PROMPTS[lang])}</bdi>" for lang in languages)
    return f"Nothing is edited; the question goes on: {asks}"


def block(row: str, words: str, lang: str, changes: Sequence[Change], writing: bool = False, source: str = "") -> str:
    """One caption under its name; what the model writes at this moment is marked so, and where it came from."""
    label = text.language_label(lang, f", {NAMES[row]}" if row in ("before", "after") else "")
    if writing:
        label = label.replace("</p>", f" {WRITING}</p>")
    elif source:
        kind, title = SOURCES[source]
        label = label.replace("</p>", f' <span class="cs-sure {kind}" title="{title}">{source}</span></p>')
    return label + text.caption_html(words + (" ▍" if writing else ""), lang, [mark(c) for c in changes])


def mark(change: Change) -> text.Mark:
    """A change as it is shown: gendered words stand out, and their class is told on hover."""
    title = KIND_TITLES[change.kind]
    if change.gender:
        name = "word that agrees with one" if change.word_class == "agreement" else change.word_class or "word"
        title += f": a {name} {ABOUT[change.gender]}"
    plain = change.kind in ("added", "removed") and change.gender in ("male", "female")
    return text.Mark(change.start, change.end, f"{change.kind} person" if plain else change.kind, title)


def difference(before: str, after: str, lang: str, finished: bool) -> Difference:
    gendered = lambda words: [(h.start, h.end, h.gender, h.word_class) for h in find(words, lang)]  # noqa: E731
    return caption_difference(before, after, gendered, finished)


def compare(step: Step, row: str) -> dict[str, Difference]:
    """By language, how a kind of row differs from the captions as they were; empty where it was not written."""
    return {
        lang: difference(step.texts["before", lang], step.texts[row, lang], lang, True)
        for lang in LANGUAGES
        if (row, lang) in step.texts and ("before", lang) in step.texts
    }


def outcome(step: Step) -> None:
    """Which words for women and men changed, by class, and how far the model's states were really moved."""
    rows = []
    for lang, diff in compare(step, "after").items():
        classes = by_class(step.texts["before", lang], step.texts["after", lang], diff)
        for name, kinds in classes.items():
            cells = [went_and_came(*kinds[kind], lang) if kind in kinds else "" for kind in KINDS]
            rows.append([LANGUAGE_NAME[lang], escape(name), *cells])
    if rows:
        text.html(text.table(["Words for women and men", "Class", *(k.capitalize() for k in KINDS)], rows))

    def named(values: Mapping[str, float]) -> str:
        return "; ".join(f"{SIZED[row]} {percent(values[row])}" for row in SIZED if row in values)

    pairs = [
        (title, said)
        for title, said in (
            ("Change, in lengths of the model’s state", named(step.sizes)),
            ("Places where the cap held it back", named({row: share for row, share in step.capped.items() if share})),
            ("First word, last word", "{:.2f} s, {:.2f} s".format(*step.seconds) if step.seconds[1] > 0.005 else ""),
        )
        if said
    ]
    if pairs:
        text.html(text.facts(pairs))


def went_and_came(went: Sequence[str], came: Sequence[str], lang: str) -> str:
    """HTML of words that went and words that came in their place, read in the direction of the language."""
    sides = [" ".join(f"<bdi>{escape(word)}</bdi>" for word in side) for side in (went, came) if side]
    side, arrow = ("rtl", "←") if lang == "ar" else ("ltr", "→")
    return f'<span dir="{side}" lang="{lang}">{f" {arrow} ".join(sides)}</span>'


def captions_table(step: Step, image: SteeredImage, request: Request) -> pd.DataFrame:
    """What stands on the page as rows: image, row, language, mode and edits, caption, where it came from."""
    name = {"after": request.edits, "control": request.control}
    factor = {("control", layer): value for layer, value in step.scaled.items()}
    edits = {
        row: " ".join(f"{e.layer}:{e.feature}:{e.strength * factor.get((row, e.layer), 1.0):g}" for e in of_row)
        for row, of_row in name.items()
    }
    return pd.DataFrame(
        [
            {
                "image": image.key,
                "row": row,
                "lang": lang,
                "caption": words,
                "mode": request.mode if row in name else "",
                "edits": edits.get(row, ""),
                "draw": "greedy" if request.draw is None else str(request.draw),
                "source": step.source if step.finished else "stopped before its end",
            }
            for (row, lang), words in step.texts.items()
        ]
    )


def sheet(run: Run, step: Step, image: SteeredImage, request: Request) -> Figure:
    """What stands on the page as a figure: the image beside its captions, the edits named, the changes marked."""
    from core.figures.caption_sheet import caption_sheet

    edits = {"after": request.edits, "control": request.control}
    changes = {(row, lang): diff.after for row in request.rows for lang, diff in compare(step, row).items()}
    changes |= {("before", lang): diff.before for lang, diff in compare(step, "after").items()}
    rows = [
        {
            "name": named(row, edits.get(row, ())),
            "lang": lang,
            "caption": words,
            "changes": changes.get((row, lang), ()),
        }
        for row in NAMES
        for lang in LANGUAGES
        if (words := step.texts.get((row, lang))) is not None
    ]
    return caption_sheet(pd.DataFrame(rows), np.asarray(image.open(run)))


def named(row: str, edits: Sequence[FeatureEdit]) -> str:
    """A kind of row with its edits, as under a figure."""
    what = "; ".join(f"layer {e.layer}, feature {e.feature} at {e.strength:+.1f}" for e in edits)
    return f"{NAMES[row]} ({what})" if what else NAMES[row]

"""The captions of the steering page as they come: as it was, as steered, and the references, word by word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from core.figures.caption_diff import KINDS, Change, Difference, by_class, caption_difference
from core.figures.feature import percent
from core.runs import Run
from core.words import find
from pages.kit import text
from pages.kit.asked import LANGUAGES, NEUTRAL_PROMPTS, Asked, Knob, Step
from pages.kit.examples import feature_link

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pages.kit.subject import Subject

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
ABOUT = {"male": "for a man", "female": "for a woman", "neutral": "for any person"}


def waiting(frames: Mapping[str, Any], place: int, seconds: float) -> None:
    """Somebody else has the model; said once a look, so that leaving the page ends the wait."""
    others = "one visitor is" if place == 2 else f"{place - 1} visitors are"
    said = f"You are number {place} in line: {others} before you ({seconds:.0f} s). Your captions come by themselves."
    for lang in languages_of(frames):
        frames[lang].html(f'<div class="cs"><p class="cs-small" role="status">{said}</p></div>')


def draw(step: Step, frames: Mapping[str, Any], asked: Asked, stopped: bool = False) -> None:
    """A column a language, as it was above as steered; and each reference column that is on, in its own frame."""
    writing = not step.finished and not stopped
    for lang in languages_of(frames):
        before, after = (step.texts.get((row, lang), "") for row in ("before", "after"))
        known = step.finished or bool(after)
        diff = difference(before, after, lang, step.finished) if asked.pushed and known else None
        parts = [block("before", before, lang, diff.before if diff else (), writing and not asked.pushed)]
        if asked.pushed:
            source = step.source if step.finished else ""
            parts.append(block("after", after, lang, diff.after if diff else (), writing, source))
        else:
            parts.append(
                '<p class="cs-small">Take a ready-made set or a feature under the image and move its slider: '
                "the changed caption will stand here.</p>"
            )
        frames[lang].html(f'<div class="cs cs-side cs-bench" data-lang="{lang}">{"".join(parts)}</div>')
    if "references" in frames:
        cards = references(step, asked, writing, languages_of(frames))
        frames["references"].html(f'<div class="cs cs-refs">{cards}</div>')


def languages_of(frames: Mapping[str, Any]) -> list[str]:
    """The languages that have a column."""
    return [lang for lang in LANGUAGES if lang in frames]


def references(step: Step, asked: Asked, writing: bool, languages: Sequence[str] = LANGUAGES) -> str:
    """HTML: a card for each reference that is on, with what differs from the captions as they were, by language."""
    cards = []
    for row in (r for r in asked.rows if r != "after"):
        blocks = []
        for lang in languages:
            before, now = (step.texts.get((name, lang), "") for name in ("before", row))
            diff = difference(before, now, lang, step.finished)
            blocks.append(f'<div class="cs-side" data-lang="{lang}">{block(row, now, lang, diff.after, writing)}</div>')
        cards.append(
            f"<div><h3>{escape(NAMES[row].capitalize())}</h3>"
            f'<p class="cs-small">{about(row, asked, languages)}</p>{"".join(blocks)}</div>'
        )
    return "".join(cards)


def about(row: str, asked: Asked, languages: Sequence[str] = LANGUAGES) -> str:
    """One line of HTML on what a reference column is."""
    if row == "control":
        links = ", ".join(
            feature_link(k.layer, k.feature, f"layer {k.layer}, feature {k.feature}") for k in asked.control
        )
        return f"{links}: alive, firing about as often, together pushed as hard."
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
            rows.append([text.LANGUAGE_NAMES[lang], escape(name), *cells])
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


def captions_table(step: Step, subject: Subject, asked: Asked) -> pd.DataFrame:
    """What stands on the page as rows: image, row, language, mode and edits, caption, where it came from."""
    name = {"after": asked.pushed, "control": asked.control}
    factor = {("control", layer): value for layer, value in step.scaled.items()}
    edits = {
        row: " ".join(f"{k.layer}:{k.feature}:{k.strength * factor.get((row, k.layer), 1.0):g}" for k in knobs)
        for row, knobs in name.items()
    }
    return pd.DataFrame(
        [
            {
                "image": subject.key,
                "row": row,
                "lang": lang,
                "caption": words,
                "mode": asked.mode if row in name else "",
                "edits": edits.get(row, ""),
                "draw": "greedy" if asked.draw is None else str(asked.draw),
                "source": step.source if step.finished else "stopped before its end",
            }
            for (row, lang), words in step.texts.items()
        ]
    )


def sheet(run: Run, step: Step, subject: Subject, asked: Asked) -> Figure:
    """What stands on the page as a figure: the image beside its captions, the edits named, the changes marked."""
    from core.figures.caption_sheet import caption_sheet

    edits = {"after": asked.pushed, "control": asked.control}
    changes = {(row, lang): diff.after for row in asked.rows for lang, diff in compare(step, row).items()}
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
    return caption_sheet(pd.DataFrame(rows), np.asarray(subject.open(run)))


def named(row: str, edits: Sequence[Knob]) -> str:
    """A kind of row with its edits, as under a figure."""
    what = "; ".join(f"layer {k.layer}, feature {k.feature} at {k.strength:+.1f}" for k in edits)
    return f"{NAMES[row]} ({what})" if what else NAMES[row]

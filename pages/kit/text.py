"""Captions in both scripts, titles, terms and the folded method: all text that a page shows goes through here.

Captions are material from outside: every character of them is escaped, and each stands in an element of its own
direction, so that neither markup nor direction marks in them can touch the rest of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import streamlit as st

from core.answers import Answer
from core.config import LANGUAGE_NAME
from core.figures.palette import VIRIDIS, mix

KINDS = frozenset(
    {
        "female",
        "male",
        "neutral",
        "unmarked",
        "added",
        "removed",
        "flipped",
        "neutralised",
        "changed",
        "added person",
        "removed person",
    }
)
SURE = {"supported": "yes", "unclear": "unclear", "one example": "few", "not enough data": "few"}
GLOSSARY = {
    "activation": "How strongly a feature responds at one place of the image or the caption.",
    "caption": "The sentence that the model writes about an image.",
    "control": "The same measurement made where nothing should be found, to see how large chance alone can be.",
    "dead": "A feature that never responded on any image or caption of this run.",
    "density": "How often a feature responds: the share of all places (image parts and words) at which it is active.",
    "explained variance": "How much of what the layer says the features can say again: 1 is all of it, "
    "0 is no more than the average.",
    "feature": "Something the model has learned to notice.",
    "layer": "One of the steps by which the model goes from the image and the words so far to its next word.",
    "loss recovered": "How well the model still writes when a layer is replaced by what its features say of it: "
    "1 is as well as before, 0 is as badly as with the layer's average in its place.",
    "p99.9": "The strength that a feature exceeds at only one in a thousand of the places where it responds.",
    "planted": "Written into the demo world by hand, to check the instrument; no statistic of any society.",
    "reference": "A caption that came with the image, written by its authors and not by the model.",
    "sparse autoencoder": "A dictionary of features: it rewrites each state of a layer as a few active features.",
    "split": "Train images were used to find the features; test images only to check them.",
    "steering": "Making a feature stronger or weaker while the model writes.",
}


@dataclass(frozen=True)
class Mark:
    """Characters `start` to `end` of a text, shown as `kind` (a gender, added, removed, flipped); `title` explains."""

    start: int
    end: int
    kind: str
    title: str = ""


def caption_html(
    text: str, lang: str, marks: Sequence[Mark] = (), weights: Sequence[tuple[str, float, float]] | None = None
) -> str:
    """One caption as HTML: escaped, in its own direction, with marked words or with activations behind its pieces.

    `weights` are (piece, value, scale): the colour of a piece says value / scale, zero is transparent. They replace
    `text` and `marks`.
    """
    inner = _weighted(weights) if weights is not None else _marked(text, marks)
    side = "rtl" if lang == "ar" else "ltr"
    name = lang if lang in LANGUAGE_NAME else ""
    return (
        f'<p class="cs-caption" data-lang="{name}" lang="{name}" dir="{side}" style="unicode-bidi:isolate">{inner}</p>'
    )


def language_label(lang: str, after: str = "") -> str:
    """The small line above a caption that names its language, with the language's colour and shape."""
    return f'<p class="cs-lang" data-lang="{escape(lang)}">{LANGUAGE_NAME.get(lang, escape(lang))}{escape(after)}</p>'


def side(lang: str, inner: str) -> str:
    """One language's half of a pair: its label, then `inner` (HTML); Arabic stands to the right."""
    return f'<div class="cs-side" data-lang="{escape(lang)}">{language_label(lang)}{inner}</div>'


def gender_marks(text: str, lang: str) -> list[Mark]:
    """The gendered words of a caption, as marks."""
    from core.words import describe, find

    return [Mark(h.start, h.end, h.gender, describe(h)) for h in find(text, lang)]


def _marked(text: str, marks: Sequence[Mark]) -> str:
    out, at = [], 0
    for mark in sorted(marks, key=lambda m: (m.start, m.end)):
        if mark.start < at or mark.end > len(text):
            continue  # an overlapping mark: the first one stands
        kind = mark.kind if mark.kind in KINDS else "changed"
        title = f' title="{escape(mark.title)}"' if mark.title else ""
        out.append(
            f'{_plain(text[at : mark.start])}<mark class="cs-mark {kind}"{title}>'
            f"{_plain(text[mark.start : mark.end])}</mark>"
        )
        at = mark.end
    return "".join([*out, _plain(text[at:])])


def _weighted(weights: Sequence[tuple[str, float, float]]) -> str:
    return "".join(
        f'<span style="{weight_style(value / scale if scale > 0 else 0.0)}" title="{value:.2f}">{_plain(piece)}</span>'
        if value > 0
        else _plain(piece)
        for piece, value, scale in weights
    )


def weight_style(share: float) -> str:
    """Inline style of a text with activation `share` (0..1) behind it: viridis, readable on both themes."""
    share = min(max(share, 0.0), 1.0)
    colour = mix(VIRIDIS, share)
    if share > 0.6:
        return f"background:{colour};color:#111;border-radius:2px"
    strength = round(100 * (0.12 + 0.55 * share))
    return f"background:color-mix(in srgb, {colour} {strength}%, transparent);border-radius:2px"


def _plain(text: str) -> str:
    return escape(without_overrides(text))


def without_overrides(text: str) -> str:
    """The text without the marks that would turn the letters after them around."""
    return text.replace("\u202e", "").replace("\u202d", "")


def html(body: str, key: str | None = None) -> None:
    """Show HTML in the app's type; `body` must be escaped already."""
    if key:
        with st.container(key=key):
            st.html(f'<div class="cs">{body}</div>')
    else:
        st.html(f'<div class="cs">{body}</div>')


def page_title(question: str, answer: str = "", sure: str = "", eyebrow: str = "", note: str = "") -> None:
    """The page's question and the one sentence that answers it; `sure` is a mark of an `Answer`, or "" for none.
    `note`: how often such a sentence is wrong, below it."""
    if sure and sure not in SURE:
        raise ValueError(f"sure is {sure!r}; known are {', '.join(SURE)}")
    mark = sure_mark(sure) if sure else ""
    top = f'<p class="cs-eyebrow">{escape(eyebrow)}</p>' if eyebrow else ""
    below = f'<p class="cs-answer">{escape(answer)}{mark}</p>' if answer else ""
    below += f'<p class="cs-small cs-rate">{escape(note)}</p>' if note else ""
    html(f'<header class="cs-head">{top}<h1>{escape(question)}</h1>{below}</header>')


def sure_mark(sure: str) -> str:
    """HTML of the mark of how sure an answer is."""
    return f'<span class="cs-sure {SURE[sure]}">{sure}</span>'


def said(answer: Answer, kind: str = "") -> None:
    """An answer within a page: its sentence, its mark, and how often such a sentence is wrong; `kind` is the class of
    the paragraph."""
    note = f'<p class="cs-small cs-rate">{escape(answer.note)}</p>' if answer.note else ""
    html(f'<p class="{kind}">{escape(answer.text)} {sure_mark(answer.sure)}</p>{note}')


def heading(text: str, note: str = "") -> None:
    """A heading within a page, with a small line under it."""
    below = f'<p class="cs-small">{escape(note)}</p>' if note else ""
    html(f'<h2 class="cs-h2">{escape(text)}</h2>{below}')


def term(word: str, shown: str = "") -> str:
    """HTML of a word of the glossary that explains itself on hover and on focus; KeyError for one that is not there."""
    tip = GLOSSARY[word.lower()]
    return f'<span class="cs-term" tabindex="0" data-tip="{escape(tip)}">{escape(shown or word)}</span>'


def glossary(word: str) -> str:
    """The line of the glossary for a word, for `help=` of a widget."""
    return GLOSSARY[word.lower()]


def method(text: str) -> None:
    """The folded "How was this measured?" at the foot of a figure or page (Markdown, written by hand)."""
    with st.expander("How was this measured?"):
        st.markdown(text)


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A row of small labels over values; labels and values are escaped."""
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)
    return f'<dl class="cs-facts">{items}</dl>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """A plain table; cells are HTML already, heads are escaped; columns in `numeric` stand to the right."""

    def cell(tag: str, n: int, body: str) -> str:
        return f"<{tag}{' class=n' if n in numeric else ''}>{body}</{tag}>"

    top = "".join(cell("th", n, escape(h)) for n, h in enumerate(head))
    body = "".join(f"<tr>{''.join(cell('td', n, c) for n, c in enumerate(row))}</tr>" for row in rows)
    inner = f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="cs-scroll"><table class="cs-table">{inner}</table></div>'

"""The captions of the steering page as they come: as it was, as steered, and the control, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from core.figures.caption_diff import Change, Difference, caption_difference
from core.figures.densities import percent
from core.gender import find
from core.runs import Run
from pages.kit import text
from pages.kit.examples import feature_link
from pages.kit.live import LANGUAGES, Knob, Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = {"after": "steering", "control": "control"}
NAMES = {"before": "as it was", "after": "as steered", "control": "random control"}
WRITING = '<span class="cs-sure yes">writing</span>'
KIND_TITLES = {"added": "a new word", "removed": "a word that goes", "flipped": "the gender turns"}


def waiting(frames: dict[str, Any], seconds: float) -> None:
    """Somebody else has the model; said once a look, so that leaving the page ends the wait."""
    said = f"Another visitor is steering; you are next ({seconds:.0f} s)."
    for frame in frames.values():
        frame.html(f'<div class="cs"><p class="cs-small">{said}</p></div>')


def draw(step: Step, frames: dict[str, Any], pushed: bool, controls: Sequence[Knob]) -> None:
    """Both columns: as it was above as steered, and the control where there is one."""
    for lang, frame in frames.items():
        before = step.texts.get(("before", lang), "")
        after, control = (step.texts.get((row, lang)) for row in ("after", "control"))
        known = step.finished or bool(after)
        diff = difference(before, after or "", lang, step.finished) if pushed and known else None
        parts = [block("before", before, lang, diff.before if diff else (), not step.finished and not pushed)]
        if pushed:
            parts.append(block("after", after or "", lang, diff.after if diff else (), not step.finished))
        else:
            parts.append('<p class="cs-small">Take a feature under the image and move its slider: '
                         "the changed caption will stand here.</p>")  # fmt: skip
        if controls:
            other = difference(before, control or "", lang, step.finished)
            parts.append(block("control", control or "", lang, other.after, not step.finished))
        frame.html(f'<div class="cs cs-side cs-bench" data-lang="{lang}">{"".join(parts)}</div>')


def block(row: str, words: str, lang: str, changes: Sequence[Change], writing: bool = False) -> str:
    """One caption under its name; what the model writes at this moment is marked so."""
    marks = [text.Mark(c.start, c.end, c.kind, KIND_TITLES[c.kind]) for c in changes]
    label = text.language_label(lang, f", {NAMES[row]}")
    if writing:
        label = label.replace("</p>", f" {WRITING}</p>")
    return label + text.caption_html(words + (" ▍" if writing else ""), lang, marks)


def difference(before: str, after: str, lang: str, finished: bool) -> Difference:
    gendered = lambda words: [(hit.start, hit.end, hit.gender) for hit in find(words, lang)]  # noqa: E731
    return caption_difference(before, after, gendered, finished)


def compare(step: Step, row: str) -> dict[str, Difference]:
    """By language, how a kind of row differs from the captions as they were; empty where it was not written."""
    return {lang: difference(step.texts["before", lang], step.texts[row, lang], lang, True)
            for lang in LANGUAGES if (row, lang) in step.texts}  # fmt: skip


def outcome(step: Step, controls: Sequence[Knob]) -> None:
    """How far the model's states were really moved, and whether the cap held the edit back."""
    pairs = [(f"{ROWS[row].capitalize()} changes the model’s state by", f"{percent(step.sizes[row])} of its size")
             for row in ROWS if row in step.sizes]  # fmt: skip
    pairs += [("Held back by the cap", f"at {percent(share)} of places ({ROWS[row]})")
              for row, share in sorted(step.capped.items()) if share]  # fmt: skip
    links = ", ".join(feature_link(k.layer, k.feature, f"layer {k.layer}, feature {k.feature}") for k in controls)
    body = text.facts(pairs) if pairs else ""
    if links:
        body += f'<p class="cs-small">The control is {links}: alive, and firing about as often.</p>'
    if body:
        text.html(body)


def captions_table(step: Step, sample_id: int, pushed: Sequence[Knob], controls: Sequence[Knob]) -> pd.DataFrame:
    """What stands on the page as rows: sample, row, language, edits, caption."""
    name = {"after": pushed, "control": controls}
    return pd.DataFrame([
        {"sample_id": sample_id, "row": row, "lang": lang, "caption": words,
         "edits": " ".join(f"{k.layer}:{k.feature}:{k.strength:g}" for k in name.get(row, ()))}
        for (row, lang), words in step.texts.items()
    ])  # fmt: skip


def sheet(run: Run, step: Step, sample_id: int, pushed: Sequence[Knob], controls: Sequence[Knob]) -> Figure:
    """What stands on the page as a figure: the image beside its captions, the edits named, the changes marked."""
    from core.figures.caption_sheet import caption_sheet
    from core.samples.gather import open_image

    edits = {"after": pushed, "control": controls}
    changes = {(row, lang): diff.after for row in ROWS for lang, diff in compare(step, row).items()}
    changes |= {("before", lang): diff.before for lang, diff in compare(step, "after").items()}
    rows = [{"name": named(row, edits.get(row, ())), "lang": lang, "caption": words,
             "changes": changes.get((row, lang), ())}
            for row in NAMES for lang in LANGUAGES if (words := step.texts.get((row, lang))) is not None]  # fmt: skip
    return caption_sheet(pd.DataFrame(rows), np.asarray(open_image(run, sample_id)))


def named(row: str, edits: Sequence[Knob]) -> str:
    """A kind of row with its edits, as under a figure."""
    what = "; ".join(f"layer {k.layer}, feature {k.feature} at {k.strength:+.1f}" for k in edits)
    return f"{NAMES[row]} ({what})" if what else NAMES[row]

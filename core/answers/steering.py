"""Sentences about steering: what became of one image's captions, and how far gender moved inside the model."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from core.answers import Answer
from core.config import LANGUAGE_NAME
from core.figures.caption_diff import Difference


def steering_answer(after: Mapping[str, Difference], control: Mapping[str, Difference]) -> Answer:
    """What steering did to one image's captions, by language, beside what the control did."""
    if not after:
        return Answer("Nothing is turned yet: the captions are as the model writes them by itself.", "not enough data")
    one = "not enough data"  # one image shows that something can happen, not how often it does
    if not any(diff.changed for diff in after.values()):
        text = "The captions stay as they were, word for word"
    else:
        text = f"Steering: {_changes(after)}; {_turned(after) or 'no gendered word turns'}"
    broken = [LANGUAGE_NAME[lang] for lang, diff in after.items() if diff.broken]
    if broken:
        text += f". The {' and the '.join(broken)} caption breaks down into one word: push less hard"
    if control:
        also = _turned(control)
        text += f". A random feature pushed as hard: {_changes(control)}" + (f"; {also}" if also else "")
    return Answer(f"{text} (n = 1 image).", one)


def _turned(differences: Mapping[str, Difference]) -> str:
    names = [LANGUAGE_NAME[lang] for lang, diff in differences.items() if diff.flipped]
    return f"the gender turns in {' and in '.join(names)}" if names else ""


def _changes(differences: Mapping[str, Difference]) -> str:
    if not any(d.changed for d in differences.values()):
        return "no word changes"
    parts = [
        f"{len(d.before)} of {d.n_words} {LANGUAGE_NAME[lang]} words go and {len(d.after)} come"
        if d.changed
        else f"the {LANGUAGE_NAME[lang]} caption stays"
        for lang, d in differences.items()
    ]
    return ", ".join(parts)


def meter_answer(frame: pd.DataFrame) -> str:
    """One sentence on how far the edit moved gender at the last layer that is read, by language."""
    parts = []
    for lang, language in LANGUAGE_NAME.items():
        mine = frame[
            (frame["lang"] == lang) & (frame["measure"] == ("probe" if (frame["measure"] == "probe").any() else "lens"))
        ]
        last = mine[mine["layer"] == mine["layer"].max()].set_index("row")["value"]
        if {"before", "after"} <= set(last.index):
            parts.append(f"{language} from {last['before']:+.1f} to {last['after']:+.1f}".replace("-", "−"))
    if not parts:
        return ""
    words, last_layer = _words(frame), frame.loc[frame["measure"] != "words", "layer"].max()
    name = "probe" if (frame["measure"] == "probe").any() else "lens"
    return f"At layer {last_layer} the {name} goes, in {' and in '.join(parts)}.{words}"


def _words(frame: pd.DataFrame) -> str:
    """The log-odds of the whole word by language, where the caption as it was says a gender."""
    parts = []
    for lang, language in LANGUAGE_NAME.items():
        mine = frame[(frame["lang"] == lang) & (frame["measure"] == "words")].set_index("row")["value"]
        if {"before", "after"} <= set(mine.index):
            parts.append(f"{language} from {mine['before']:+.1f} to {mine['after']:+.1f}".replace("-", "−"))
    if not parts:
        return ""
    said = "At the caption’s own first gendered word the woman’s spelling over the man’s goes in log-odds"
    return f" {said}, in {' and in '.join(parts)}."

"""Who reads the gender of Arabic words how well on the gold set: python tests/bench/bench_arabic_analyzers.py

The counter, the rules and, where it is installed, farahidi (GPL-3, an optional extra). Of the words marked male or
female, how many does each call so; and of all words that are no persons and agree with none, how many does it give a
gender (for an analyser of grammar that is no mistake, and the reason why one cannot count persons with it).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.errors import UserError
from core.words import find, gender_analyzer
from core.words.lexicon import split_words
from tests.words.gold import Sentence, gold

Reader = Callable[[str], dict[tuple[int, int], str]]


def main() -> None:
    print(
        "| part | analyser | persons right | persons wrong | persons silent | agreement right "
        "| other words with a gender | ms a sentence |\n|---|---|---|---|---|---|---|---|"
    )
    for part in ("work", "held-out"):
        for name, read in readers().items():
            print(f"| {part} | {name} | {' | '.join(measured(gold('ar', part), read))} |")


def readers() -> dict[str, Reader]:
    """By name, what gives the gender of words of a text by their place."""

    def by_counter(text: str) -> dict[tuple[int, int], str]:
        return {(h.start, h.end): h.gender for h in find(text, "ar")}

    found: dict[str, Reader] = {"counter": by_counter}
    for name in ("rules", "farahidi"):
        try:
            analyzer = gender_analyzer(name)
        except UserError as error:
            print(error, file=sys.stderr)
            continue
        found[name] = lambda text, a=analyzer: {(r.start, r.end): r.grammatical for r in a.analyze_text(text)}
    return found


def measured(sentences: list[Sentence], read: Reader) -> list[str]:
    read(sentences[0].text)  # loads what it needs
    count = dict.fromkeys(("right", "wrong", "silent", "agreement", "agreements", "other", "others"), 0)
    started = time.perf_counter()
    readings = [read(s.text) for s in sentences]
    seconds = time.perf_counter() - started
    for sentence, found in zip(sentences, readings, strict=True):
        marked = {(w.start, w.end): w for w in sentence.wanted}
        for place, word in marked.items():
            said = found.get(place, "")
            if word.agreement and word.gender in ("male", "female"):
                count["agreements"] += 1
                count["agreement"] += said == word.gender
            elif word.gender in ("male", "female"):
                silent = said not in ("male", "female")
                count["silent" if silent else "right" if said == word.gender else "wrong"] += 1
        for place in plain_words(sentence) - set(marked):
            count["others"] += 1
            count["other"] += found.get(place, "") in ("male", "female")
    n = count["right"] + count["wrong"] + count["silent"]
    return [
        f"{count['right']} of {n}",
        str(count["wrong"]),
        str(count["silent"]),
        f"{count['agreement']} of {count['agreements']}",
        f"{count['other']} of {count['others']}",
        f"{1000 * seconds / len(sentences):.2f}",
    ]


def plain_words(sentence: Sentence) -> set[tuple[int, int]]:
    """Places of all words, without those inside a marked form of two words."""
    words = {(w.start, w.end) for w in split_words(sentence.text)}
    return {w for w in words if not any(m.start <= w[0] and w[1] <= m.end for m in sentence.wanted)}


if __name__ == "__main__":
    main()

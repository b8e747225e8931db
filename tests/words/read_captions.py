"""How the finder does on captions of a real data set that were read by hand: recall and precision with intervals.

    python -m tests.words.read_captions FOLDER

FOLDER holds the texts of Flickr8k as published: Flickr8k.token.txt (Hodosh, Young and Hockenmaier 2013) and
Flickr8k.arabic.full.txt (ElJundi et al. 2020), which are for research and no part of this project. ``read_LANG.tsv``
beside this file holds no text: for each caption (image.jpg#number) the places and genders of its words for persons,
one row a word, and one row without a place for a caption that has none.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.intervals import wilson
from core.words import Hit, find

HERE = Path(__file__).resolve().parent
FILES = {"en": "Flickr8k.token.txt", "ar": "Flickr8k.arabic.full.txt"}
MASCULINE = ("male", "unmarked")  # two readings of one form, which the policy of the generic masculine decides
CHILD = ("neutral", "unmarked")  # طفل, of which the same holds


class Place(NamedTuple):
    """A word for a person, read or found."""

    start: int
    end: int
    gender: str


def readings(lang: str) -> dict[str, list[Place]]:
    """The words of each caption that was read, by caption."""
    read: dict[str, list[Place]] = {}
    with open(HERE / f"read_{lang}.tsv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            words = read.setdefault(row["caption"], [])
            if row["start"]:
                words.append(Place(int(row["start"]), int(row["end"]), row["gender"]))
    return read


def captions(folder: Path, lang: str) -> dict[str, str]:
    """Caption by its number; UserError where the file is not there. A line without a number is no caption."""
    file = folder / FILES[lang]
    if not file.is_file():
        do = "Give the folder that holds the texts of Flickr8k as published."
        raise UserError(f"{file} is not there.", "The captions that were read are of Flickr8k.", do)
    lines = file.read_text(encoding="utf-8-sig").split("\n")
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def compare(read: list[Place], found: list[Hit]) -> Iterator[tuple[str, Place]]:
    """("right" | "missed" | "wrong", the word): of the words that were read and of those that were found."""
    persons = [Place(h.start, h.end, h.gender) for h in found if h.word_class != "agreement"]
    right = {place for place in read if any(_same(place, other) for other in persons)}
    yield from (("right" if place in right else "missed", place) for place in read)
    yield from (("wrong", place) for place in persons if not any(_same(other, place) for other in read))


def _same(read: Place, found: Place) -> bool:
    genders = {read.gender, found.gender}
    alike = len(genders) == 1 or genders <= set(MASCULINE) or genders <= set(CHILD)
    return (read.start, read.end) == (found.start, found.end) and alike


def main() -> None:
    """Print recall and precision by language, and with ``--show`` every word on which reader and finder differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--show", action="store_true", help="print where reader and finder differ")
    args = parser.parse_args()
    for lang in FILES:
        texts, read = captions(args.folder, lang), readings(lang)
        count = {"right": 0, "missed": 0, "wrong": 0}
        for caption, words in read.items():
            for what, place in compare(words, find(texts[caption], lang)):
                count[what] += 1
                if args.show and what != "right":
                    print(
                        lang, caption, what, place.gender, texts[caption][place.start : place.end], "|", texts[caption]
                    )
        right = count["right"]
        for name, other in (("recall", "missed"), ("precision", "wrong")):
            low, high = (float(x) for x in wilson(right, right + count[other]))
            n = right + count[other]
            print(
                f"{lang} {name} {right / n:.3f} ({low:.3f} to {high:.3f}), {right} of {n} words in {len(read)} captions"
            )


if __name__ == "__main__":
    main()

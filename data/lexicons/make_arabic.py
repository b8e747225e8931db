"""Writes the Arabic lexicon from its lemmas: duals, sound plurals, feminines and verb forms by rule, the rest as given.

    python data/lexicons/make_arabic.py [target.tsv]

``arabic_lemmas.tsv`` is what a linguist edits. Its columns: kind, lemma, gender, class, forms, only, note. Kinds:

- ``both``: a masculine noun and its feminine in ة, each with dual and plural; ``forms`` are broken plurals, or ``+``
  for the sound one.
- ``one``: a noun of the given gender with its dual, and ``forms`` as for ``both`` (ات where a feminine has ``+``).
- ``verb``: a verb in the present (يقف): masculine and feminine, singular, dual and plural; ``forms`` is the
  feminine plural of a hollow or doubled verb (يقود: يقدن).
- ``adjective``: masculine and feminine, singular, dual and plural, of the class agreement; ``forms`` as for ``both``.
- ``forms``: nothing by rule; every form is given.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "core" / "words" / "lexicons" / "ar.tsv"
COLUMNS: tuple[str, ...] = ("lemma", "form", "language", "gender", "class", "only", "number", "note")


def masculine(lemma: str, plurals: list[str]) -> Iterator[str]:
    """Singular, dual and plural of a masculine noun or adjective; the hamza of عداء changes its seat: عداؤون."""
    yield lemma
    yield from dual(lemma)
    for plural in plurals:
        if plural == "+" and lemma.endswith("اء"):
            yield from (lemma[:-1] + "ؤون", lemma[:-1] + "ئين")
        yield from ((lemma + "ون", lemma + "ين") if plural == "+" else (plural,))


def feminine(lemma: str, plurals: list[str]) -> Iterator[str]:
    """Singular, dual and plural of a feminine noun or adjective."""
    yield lemma
    yield from dual(lemma)
    for plural in plurals:
        yield lemma.removesuffix("ة") + "ات" if plural == "+" else plural


def dual(lemma: str) -> tuple[str, str]:
    """Nominative and oblique; the ة of the singular is ت, the ى ي."""
    stem = lemma[:-1] + "ت" if lemma.endswith("ة") else lemma[:-1] + "ي" if lemma.endswith("ى") else lemma
    return stem + "ان", stem + "ين"


def number(form: str, lemma: str, forms: list[str]) -> str:
    """singular, dual, plural, or "dual plural" for what both are written like (لاعبين), of a noun or adjective."""
    form, forms = form.split()[0], [f.split()[0] for f in forms]
    stem, nominative = form[:-2], form[:-2] + "ون"
    if lemma.endswith(form) or form in (lemma + "ي", lemma + "و", lemma + "ا"):
        return "singular"
    if form.endswith(("ان", "ين")) and stem in (dual(lemma)[0][:-2], lemma, lemma + "ي"):
        return "dual plural" if form.endswith("ين") and nominative in forms else "dual"
    return "plural"


def verb(lemma: str, plural: str) -> Iterator[tuple[str, str]]:
    """Forms of the present with their gender; a verb in ي or و loses it before the plural.

    ``plural`` is the feminine plural where it is not simply with ن (يقود: يقدن); that of a verb in ن is written like
    its singular.
    """
    for form, gender in ((lemma, "male"), ("ت" + lemma[1:], "female")):
        yield form, gender
        yield (form[:-1] + "آن" if form.endswith("أ") else form + "ان"), gender
    yield (lemma[:-1] if lemma[-1] in "يو" else lemma) + "ون", "male"
    if not lemma.endswith("ن"):
        yield plural or lemma + "ن", "female"


def rows(lemmas: Path = HERE / "arabic_lemmas.tsv") -> Iterator[dict[str, str]]:
    """The rows of the lexicon, in the order of the lemmas; a form stands once, where it comes first.

    An exception goes before what a rule makes: مهرجان is a festival, and not two clowns.
    """
    seen: set[str] = set()
    with open(lemmas, encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
        exceptions = {form for row in table if row["gender"] == "none" for form, *_ in expand(row)}
        for lemma in table:
            expanded = list(expand(lemma))
            for form, gender, name in expanded:
                if form not in seen and (gender == "none" or form not in exceptions):
                    seen.add(form)
                    kind = lemma["class"] or "agreement"
                    noun = (
                        gender != "none" and kind != "pronoun" and (kind != "agreement" or lemma["kind"] == "adjective")
                    )
                    said = number(form, name, [f for f, *_ in expanded]) if noun else ""
                    values = (name, form, "ar", gender, kind, lemma["only"], said, lemma["note"])
                    yield dict(zip(COLUMNS, values, strict=True))


def expand(row: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """(form, gender, lemma) of one row of the lemma table; ValueError for an unknown kind."""
    kind, lemma, gender = row["kind"], row["lemma"], row["gender"]
    given = [form.strip() for form in row["forms"].split("،") if form.strip()]
    if kind in ("both", "adjective"):
        women = lemma + "ة"
        yield from ((form, "male", lemma) for form in masculine(lemma, given))
        yield from ((form, "female", women) for form in feminine(women, ["+"]))
    elif kind == "one":
        inflect = feminine if gender == "female" else masculine
        yield from ((form, gender, lemma) for form in inflect(lemma, given))
    elif kind == "verb":
        yield from ((form, g, lemma) for form, g in verb(lemma, *given, *[""][len(given) :]))
    elif kind == "forms":
        yield from ((form, gender, lemma) for form in given)
    else:
        raise ValueError(f"unknown kind {kind!r} of {lemma}")


def main() -> None:
    """Write the lexicon."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    temporary = target.with_name(f".tmp-{target.name}")
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows())
    temporary.replace(target)


if __name__ == "__main__":
    main()

"""The source ``flickr8k``: Flickr8k with its five English captions an image and the three published Arabic ones.

English captions come as Flickr8k.token.txt ("image#n", tab, caption) or captions.txt ("image,caption"), Arabic ones
(ElJundi et al. 2020) as Flickr8k.arabic.full.txt in the first form. Nothing is fetched.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from core.config import SamplesConfig
from core.errors import UserError
from core.samples.checks import MEND_GARBLED, clean_caption, script
from core.samples.encodings import garbling
from core.samples.pictures import picture_name, pictures_at, place
from core.samples.rows import OddRow
from core.samples.sources import Entry, TableSource, languages_of_files
from core.samples.tables import read_text

N_IMAGES = 8092  # in Flickr8k.token.txt; one of them names an image that is not there
FETCH = {
    "images": "Flickr8k_Dataset.zip (it may stay packed)",
    "captions": "Flickr8k_text.zip with Flickr8k.token.txt, or captions.txt",
    "captions_ar": "Flickr8k.arabic.full.txt of github.com/ObeidaElJundi/Arabic-Image-Captioning (data/Flickr8k_text)",
}
TOKEN = re.compile(r"([^\t#]+)#\w+\t(.*)")
SENTENCE_END = re.compile(r"[.!?؟…]\W*$")


def flickr8k_source(config: SamplesConfig) -> TableSource:
    """All that is there, checked; UserError names everything that is missing and where it is to be had."""
    languages = languages_of_files(config)
    by_lang = dict(zip(languages, ("captions", "captions_ar"), strict=False))
    needed = ["images", *by_lang.values()]
    places = {name: place(getattr(config, name)) for name in needed}
    missing = [name for name in needed if not places[name].exists()]
    if missing:
        raise UserError(
            f"Flickr8k is not complete: {', '.join(f'samples.{name}' for name in missing)} not found.",
            f"Looked for {', '.join(str(places[name]) for name in missing)}.",
            f"Fetch {'; '.join(FETCH[name] for name in missing)}.",
        )
    odd: list[OddRow] = []
    read = {lang: _read(places[name], lang, odd) for lang, name in by_lang.items()}
    rows = [Entry(name, {lang: texts}) for lang, named in read.items() for name, texts in named.items()]
    files = tuple(places[name] for name in needed if name != "images")
    return TableSource(pictures_at(config.images), lambda: rows, files, notes=_notes(read), odd=[odd])


def _notes(read: dict[str, dict[str, list[str]]]) -> list[str]:
    """How the files differ from what was published."""
    notes = []
    for lang, usual in (("en", 5), ("ar", 3)):
        if lang in read and len(read[lang]) < N_IMAGES - 1:
            notes.append(f"Flickr8k has captions of {N_IMAGES:,} images; the file in {lang} names {len(read[lang]):,}")
        odd = sum(len(texts) != usual for texts in read.get(lang, {}).values())
        if odd:
            notes.append(f"Flickr8k has {usual} captions an image in {lang}; {odd:,} images have another number")
    if len(read) > 1 and (lone := len(read["en"].keys() ^ read["ar"].keys())):
        notes.append(f"{lone:,} images have captions in one of the two files only")
    return notes


def _read(path: Path, lang: str, odd: list[OddRow]) -> dict[str, list[str]]:
    """Captions by image name, in the order of the file; lines of another form, and what they break, go to ``odd``."""
    text, _ = read_text(path)
    found: dict[str, list[str]] = {}
    for name, caption in _pairs(path, text, odd):
        found.setdefault(picture_name(name), []).append(caption)
    some = [clean_caption(texts[0]) for texts in list(found.values())[:300]]
    if some and sum(script(t) == lang for t in some) < len(some) / 2:
        how = Counter(filter(None, map(garbling, some))).most_common(1)
        other = {"en": "Arabic", "ar": "English"}[lang]
        raise UserError(
            f"{path.name} is not in {'English' if lang == 'en' else 'Arabic'}.",
            f"Its captions are garbled ({how[0][0]})."
            if how
            else f"Most of its captions are in {other} or another script.",
            MEND_GARBLED if how else "Mend samples.captions (English) and samples.captions_ar (Arabic).",
        )
    return found


def _pairs(path: Path, text: str, odd: list[OddRow]) -> list[tuple[str, str]]:
    """Image and caption of each line; UserError that shows the first line of another form where most are so.

    A line without an image goes on with the caption before it, unless that ends as a sentence does. Whether it was
    broken in a word cannot be told (one of the published Arabic file is): the caption is left out.
    """
    lines = [
        (number, line) for number, line in enumerate(re.split(r"\r*\n|\r", text), start=1) if line.strip("\ufeff \t")
    ]
    form = _token
    if lines and re.match(r"\W*image\w*\s*,", lines[0][1]):
        form, lines = _with_comma, lines[1:]
    found: list[tuple[str, str]] = []
    other: list[OddRow] = []
    cut = None  # the caption whose lines are being passed over
    for number, line in lines:
        if pair := form(line.lstrip("\ufeff")):
            found.append(pair)
            cut = None
        elif cut is None and found and "#" not in line and not SENTENCE_END.search(found[-1][1]):
            cut = found.pop()
            other.append(OddRow.of(path.name, number, "broken", f"{cut[0]}: {cut[1]} / {line}"))
        elif cut is None:
            other.append(OddRow.of(path.name, number, "form", line))
    if 2 * len(other) > len(lines):
        do = 'Lines are "image#n", a tab and a caption, or "image,caption" below a line that says so.'
        first = other[0]
        raise UserError(
            f"{path.name} is not a file of Flickr8k, line {first.line}.", f"It reads: {first.text[:70]}", do
        )
    odd += other
    return found


def _token(line: str) -> tuple[str, str] | None:
    match = TOKEN.fullmatch(line)
    return (match[1], match[2]) if match else None


def _with_comma(line: str) -> tuple[str, str] | None:
    name, comma, caption = line.partition(",")
    if not comma or not re.search(r"\.\w{2,4}(\.\d+)?\"?$", name.strip()):
        return None
    caption = caption.strip()
    quoted = caption.startswith('"') and caption.endswith('"') and len(caption) > 1
    return name.strip(' "'), caption[1:-1].replace('""', '"') if quoted else caption

"""The source ``flickr8k``: Flickr8k with its five English captions an image and the three published Arabic ones.

English captions come as Flickr8k.token.txt ("image#n", tab, caption) or captions.txt ("image,caption"), Arabic ones
(ElJundi et al. 2020) as Flickr8k.arabic.full.txt in the first form. Nothing is fetched.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from core.config import SamplesConfig
from core.errors import UserError
from core.samples.checks import clean_caption, script
from core.samples.pictures import picture_name, pictures_at, place
from core.samples.sources import Entry, TableSource, languages_of_files
from core.samples.tables import read_text

N_IMAGES = 8092  # in Flickr8k.token.txt; one of them names an image that is not there
FETCH = {
    "images": "Flickr8k_Dataset.zip (it may stay packed)",
    "captions": "Flickr8k_text.zip with Flickr8k.token.txt, or captions.txt",
    "captions_ar": "Flickr8k.arabic.full.txt of github.com/ObeidaElJundi/Arabic-Image-Captioning (data/Flickr8k_text)",
}
TOKEN = re.compile(r"([^\t#]+)#\w+\t(.*)")


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
    read = {lang: _read(places[name], lang) for lang, name in by_lang.items()}
    rows = [Entry(name, {lang: texts}) for lang, named in read.items() for name, texts in named.items()]
    files = tuple(places[name] for name in needed if name != "images")
    return TableSource(pictures_at(config.images), lambda: rows, files, notes=_notes(read))


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


def _read(path: Path, lang: str) -> dict[str, list[str]]:
    """Captions by image name, in the order of the file."""
    text, _ = read_text(path)
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    found: dict[str, list[str]] = {}
    for name, caption in _pairs(path, lines):
        found.setdefault(picture_name(name), []).append(caption)
    some = [clean_caption(texts[0]) for texts in list(found.values())[:300]]
    if some and sum(script(t) == lang for t in some) < len(some) / 2:
        other = {"en": "Arabic", "ar": "English"}[lang]
        raise UserError(
            f"{path.name} is not in {'English' if lang == 'en' else 'Arabic'}.",
            f"Most of its captions are in {other} or another script.",
            "Mend samples.captions (English) and samples.captions_ar (Arabic).",
        )
    return found


def _pairs(path: Path, lines: list[str]) -> Iterator[tuple[str, str]]:
    """Image and caption of each line; UserError that shows the first line of another form."""
    first = lines[0] if lines else ""
    if re.match(r"image\w*\s*,", first):
        for line in lines[1:]:
            name, _, caption = line.partition(",")
            quoted = caption.startswith('"') and caption.endswith('"') and len(caption) > 1
            yield name, next(csv.reader([caption]))[0] if quoted else caption
        return
    for number, line in enumerate(lines, start=1):
        match = TOKEN.fullmatch(line)
        if match is None:
            do = 'Lines are "image#n", a tab and a caption, or "image,caption" below a line that says so.'
            raise UserError(f"{path.name} is not a file of Flickr8k, line {number}.", f"It reads: {line[:70]}", do)
        yield match[1], match[2]

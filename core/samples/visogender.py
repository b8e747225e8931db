"""The source ``visogender``: photos of people at work, with occupation and perceived gender (Hall et al. 2023).

Its tables name addresses, not files: whoever fetches the images saves each under its IDX (OO_1.jpg, OP_1.jpg). There
are no captions; references are made from the set's own template, "The teacher and her board". Nothing is fetched here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.config import SamplesConfig
from core.errors import UserError
from core.samples.checks import is_placeholder
from core.samples.folder import entries as table_entries
from core.samples.folder import table_place
from core.samples.names import match_names
from core.samples.pictures import pictures_at, place
from core.samples.rows import Cell, Row
from core.samples.sources import GENDER_WORDS, Entry, TableSource, languages_of_files
from core.samples.tables import Table, read_table

COLUMNS = ("IDX", "Sector", "Specialisation", "Occupation")
GENDERS = ("Occupation_perceived_gender", "Occupation_Gender")  # in the present tables, and in those of 2023
PARTICIPANT_GENDERS = ("Participant_perceived_gender", "Participant_Gender")
N_IMAGES = {"OO": 230, "OP": 460}
FETCH = "Fetch data/visogender_data of github.com/oxai/visogender, and the image of each row's URL as IDX.jpg."
PRONOUNS = {"male": "his", "female": "her", "neutral": "their"}


def visogender_source(config: SamplesConfig) -> TableSource:
    """The tables OO (a person and an object) and OP (two persons) that are there, with their images.

    ``samples.captions`` is one table or a folder that holds both; a table of ``captions_ar`` (with the IDX or the file
    name in image_column) adds Arabic references. UserError names what is missing or of another form.
    """
    tables = [_table(path) for path in _files(place(config.captions))]
    pictures = pictures_at(config.images)
    rows = [row for table in tables for row in _whole_rows(table)]
    named = {
        idx: match.file or idx for idx, match in match_names((_text(row["IDX"]) for row in rows), pictures).items()
    }
    absent = [name for name in named.values() if not pictures.has(name)]
    if len(absent) == len(named):
        raise UserError(
            "VisoGender is not complete: none of its images is there.",
            f"Looked in {place(config.images)} for {', '.join(absent[:2])} and so on.",
            FETCH,
        )
    found = list(_entries(rows, named))
    files, odd = list(_files(place(config.captions))), [table.odd for table in tables]
    if "ar" in languages_of_files(config):
        second = table_place("captions_ar", config.captions_ar)
        arabic = read_table(second, [config.image_column, config.ar_column])
        arabic.require([config.image_column, config.ar_column])
        for entry in table_entries(arabic, config, {"ar": config.ar_column}, annotated=False):
            found.append(Entry(named.get(Path(entry.name).stem, entry.name), entry.captions))
        files.append(second)
        odd.append(arabic.odd)
    origin = {"tables": ", ".join(table.name for table in tables)}
    return TableSource(pictures, lambda: found, tuple(files), notes=_notes(rows, absent), origin=origin, odd=odd)


def _files(path: Path) -> list[Path]:
    """The table itself, or the latest table of each kind in a folder; names end in the date, DDMMYYYY."""
    if path.is_file():
        return [path]
    found: dict[str, Path] = {}
    for file in sorted(path.rglob("O[OP]_*.tsv"), key=lambda p: (_date(p.stem), p)):
        found[file.name[:2]] = file
    if not found:
        raise UserError(
            "VisoGender is not complete: there is no table OO_*.tsv or OP_*.tsv.",
            f"Looked in {path}, the setting samples.captions.",
            FETCH,
        )
    return [found[kind] for kind in sorted(found)]


def _date(stem: str) -> str:
    """YYYYMMDD of a name that ends in DDMMYYYY."""
    found = re.search(r"(\d\d)(\d\d)(\d{4})$", stem)
    return f"{found[3]}{found[2]}{found[1]}" if found else ""


def _table(path: Path) -> Table:
    table = read_table(path, COLUMNS)
    table.require(COLUMNS, "Give a table of VisoGender: OO_Visogender_*.tsv or OP_Visogender_*.tsv.")
    if not any(name in table.columns for name in GENDERS):
        table.require([GENDERS[0]], "Give a table of VisoGender: OO_Visogender_*.tsv or OP_Visogender_*.tsv.")
    return table


def _whole_rows(table: Table) -> Iterator[Row]:
    """The rows that name an image and an occupation; the others are left out."""
    for row in table.rows:
        if not set(COLUMNS) <= row.keys():
            table.leave_out(row, "too_few_cells")
        elif is_placeholder(_text(row["IDX"])) or is_placeholder(_text(row["Occupation"])):
            table.leave_out(row, "no_image" if is_placeholder(_text(row["IDX"])) else "no_caption")
        else:
            yield row


def _notes(rows: Sequence[Row], absent: Sequence[str]) -> list[str]:
    notes = []
    for kind, usual in N_IMAGES.items():
        n = sum(_text(row["IDX"]).startswith(kind) for row in rows)
        if n != usual:
            notes.append(f"VisoGender has {usual} images of the kind {kind}; the tables here name {n}")
    if absent:
        notes.append(f"{len(absent)} of {len(rows)} images are not there (addresses die). {FETCH}")
    return notes


def _entries(rows: Sequence[Row], named: dict[str, str]) -> Iterator[Entry]:
    """Gender is that of the person with the occupation, about whom the template speaks; roles are the occupations."""
    for row in rows:
        idx, occupation = _text(row["IDX"]), _text(row["Occupation"])
        beside = "participant" if "Participant" in row else "object"
        other = _text(row.get(beside.title(), ""))
        gender = _gender(row, GENDERS)
        caption = f"The {occupation} and {PRONOUNS.get(gender, 'their')} {other}." if other else f"The {occupation}."
        attributes = {
            "role": occupation,
            "sector": _text(row["Sector"]),
            "specialisation": _text(row["Specialisation"]),
            beside: other,
            "participant_gender": _gender(row, PARTICIPANT_GENDERS),
        }
        yield Entry(named[idx], {"en": [caption]}, gender, attributes)


def _gender(row: Row, columns: Sequence[str]) -> str:
    written = next((_text(row[c]) for c in columns if c in row), "")
    return GENDER_WORDS.get(written.lower(), "")


def _text(cell: Cell) -> str:
    return cell.strip() if isinstance(cell, str) else ""

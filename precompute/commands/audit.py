"""``audit``: gendered words of captions before and after, from a table of captions of any model."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.answers.audit import audit_answer
from core.errors import UserError
from core.run import atomic_path, write_json, write_table
from core.samples.encodings import decode_table
from core.words.audit import Audit, audit
from core.words.generic import UNMARKED

NEEDED = ("image_id", "before", "after")
LANGUAGES = ("en", "ar")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
N_WORDS = 15  # single words shown on the screen; all are in the files
DO = f"Name its columns {', '.join(NEEDED)} and, where there are two languages, lang (en or ar)."


def command(args: argparse.Namespace) -> int:
    """What ``run_audit`` does."""
    terms = list(dict.fromkeys(t.strip() for t in args.terms.replace("،", ",").split(",") if t.strip()))
    run_audit(Path(args.file), args.lexicon, terms, args.out, args.lang, policy=args.generic_masculine)
    return 0


def run_audit(
    file: Path,
    lexicon: str = "",
    terms: Sequence[str] = (),
    out: str = "",
    lang: str = "",
    console: Console | None = None,
    policy: str = UNMARKED,
) -> list[Audit]:
    """Read, compare, print, and write audit.json, audit.csv and audit.parquet; UserError for what cannot be used.

    ``policy`` is what the generic masculine counts as (``core.words.generic.POLICIES``).
    """
    console = Console(highlight=False) if console is None else console
    if lexicon and not Path(lexicon).is_file():
        raise UserError(f"There is no lexicon {lexicon}.", "", "Give the path of a TSV, or leave --lexicon out.")
    if lang and lang not in LANGUAGES:
        raise UserError(f"There is no language {lang!r}.", "", f"Languages: {', '.join(LANGUAGES)}.")
    frame = read_captions(file, lang)
    asked = [lang] if lang else sorted(set(frame["lang"]), key=LANGUAGES.index)
    results = [audit(frame.loc[frame["lang"] == one], one, lexicon, terms, policy=policy) for one in asked]
    for result in results:
        _show(console, result, bool(terms))
    absent = [one for one in LANGUAGES if one not in asked] if frame.attrs["has_lang"] and not lang else []
    for one in absent:
        console.print(f"\n[bold]{one}[/bold]: not enough data (no caption of that language in {escape(file.name)})")
    folder = Path(out) if out else file.with_name(f"{file.stem}-audit")
    _write(folder, file, results, absent, policy)
    console.print(f"\nWritten: {folder}/audit.json, audit.csv, audit.parquet", soft_wrap=True, markup=False)
    return results


def read_captions(file: Path, lang: str = "") -> pd.DataFrame:
    """Columns image_id, before, after, lang, all text; ``lang`` keeps one language, and is that of a file without one.

    UserError for a file that is missing, empty, unreadable, in an unknown encoding or without a needed column.
    """
    if not file.is_file():
        raise UserError(f"There is no file {file}.", "", "Give the path of a CSV, JSONL or Parquet file.")
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(f"{file.name} is of no known kind.", f"Known are {', '.join(SUFFIXES)}.", "Rename the file.")
    rows = _rows(file)
    if not rows:
        raise UserError(f"{file.name} holds no captions.", "It has no rows.", DO)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lacking = [name for name in NEEDED if name not in columns]
    if lacking:
        raise UserError(f"{file.name} has no column {', '.join(lacking)}.", f"Its columns: {', '.join(columns)}.", DO)
    mistakes = []
    for number, row in enumerate(rows, start=1):
        bad = [name for name in NEEDED if not _is_text(row.get(name), name)]
        mistakes += [f"row {number}: {', '.join(bad)}"] if bad else []
    if mistakes:
        more = f" and {len(mistakes) - 3} more" if len(mistakes) > 3 else ""
        raise UserError(
            f"{file.name} has cells without text.",
            "; ".join(mistakes[:3]) + more,
            "Leave out rows without a caption on one side; an empty caption is an empty text.",
        )
    has_lang = "lang" in columns
    langs = [str(row.get("lang") or "").strip().lower() for row in rows] if has_lang else [lang or "en"] * len(rows)
    unknown = sorted(set(langs) - set(LANGUAGES))
    if unknown:
        raise UserError(
            f"{file.name} has captions in {', '.join(repr(u) for u in unknown[:5])}.",
            f"Languages are {' and '.join(LANGUAGES)}.",
            "Mend the column lang.",
        )
    frame = pd.DataFrame({name: [str(row[name]) for row in rows] for name in NEEDED}).assign(lang=langs)
    if lang:
        frame = frame.loc[frame["lang"] == lang].reset_index(drop=True)
        if frame.empty:
            raise UserError(
                f"{file.name} has no caption of the language {lang}.",
                f"It has {', '.join(sorted(set(langs)))}.",
                "Leave --lang out.",
            )
    frame.attrs["has_lang"] = has_lang
    return frame


def _is_text(value: Any, name: str) -> bool:
    if name == "image_id":
        return value is not None and not isinstance(value, (list, dict)) and str(value).strip() not in ("", "nan")
    return isinstance(value, str)


def _rows(file: Path) -> list[dict[str, Any]]:
    if file.suffix.lower() == ".parquet":
        return _parquet_rows(file)
    data = file.read_bytes()
    text = decode_table(data, file.name)
    if file.suffix.lower() in (".csv", ".tsv"):
        return _csv_rows(text, file)
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as e:
            do = "Write one JSON object a line."
            raise UserError(f"{file.name}, line {number}, is no JSON.", str(e), do) from e
        if not isinstance(row, dict):
            raise UserError(f"{file.name}, line {number}, is no JSON object.", line[:60], DO)
        rows.append(row)
    return rows


def _csv_rows(text: str, file: Path) -> list[dict[str, Any]]:
    """Columns are parted by comma, semicolon or tab, whichever finds most of the needed columns."""
    header = text.split("\n", 1)[0]
    found = {d: sum(n.strip().strip('"') in NEEDED for n in header.split(d)) for d in ",;\t"}
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(found, key=lambda d: found[d]))
    reader.fieldnames = [(n or "").strip() for n in reader.fieldnames or []]
    try:
        rows = list(reader)
    except csv.Error as e:
        raise UserError(f"{file.name} is not a CSV that can be read.", str(e), "Save it again as CSV UTF-8.") from e
    wide = next((i for i, row in enumerate(rows, start=1) if None in row), 0)
    if wide:
        why = f"Row {wide} has more cells than the first line has names: a caption with a comma needs quotes."
        raise UserError(f"{file.name} is not a CSV that can be read.", why, "Save it again as CSV UTF-8.")
    return [row for row in rows if any(value for value in row.values())]


def _parquet_rows(file: Path) -> list[dict[str, Any]]:
    try:
        names = pq.read_schema(file).names
        return pq.read_table(file, columns=[n for n in (*NEEDED, "lang") if n in names] or names).to_pylist()
    except (pa.ArrowException, OSError) as e:
        why = str(e).strip().splitlines()[0]
        raise UserError(f"{file.name} is no Parquet file that can be read.", why, "Write it again.") from e


def _show(console: Console, result: Audit, terms: bool) -> None:
    names = {"en": "English", "ar": "Arabic"}
    console.print(f"\n[bold]{names[result.lang]}[/bold]: {result.n_images:,} images, {result.n_captions:,} captions")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name in ("before", "after", "change", "per 1,000 before", "after", "change", "p count", "p rate", "pairs ≠ 0"):
        table.add_column(name, justify="right")
    every = result.terms
    words = every[every["kind"] == "word"].assign(size=lambda t: t["before"] + t["after"])
    rows = every.loc[every["kind"].isin(["tokens", "total", "gender", "agreement", "term"])].to_dict("records")
    if not terms:
        rows += words.sort_values("size", ascending=False, kind="stable").head(N_WORDS).to_dict("records")
    for row in rows:
        name = escape(row["term"]) if row["kind"] == "total" else f"  {escape(row['term'])}"
        table.add_row(
            name,
            f"{row['before']:,}",
            f"{row['after']:,}",
            _with(row, "change", "change", ",.0f"),
            _number(row["rate_before"], ".1f"),
            _number(row["rate_after"], ".1f"),
            _with(row, "rate_change", "rate", ".1f"),
            _number(row["q"], ".2g"),
            _number(row["rate_q"], ".2g"),
            f"{row['n_nonzero']:,}",
        )
    console.print(table)
    if not terms and len(words):
        console.print("The p of single words is adjusted for their number (Benjamini and Hochberg).", style="dim")
    hidden = 0 if terms else len(words) - min(len(words), N_WORDS)
    if hidden:
        console.print(f"{hidden} more words are in the files.", style="dim")
    turned = [row for row in result.flips.to_dict("records") if row["before"] != row["after"]]
    flips = ", ".join(f"{row['before']} to {row['after']} {row['n']:,}" for row in turned) or "none"
    console.print(
        f"Captions whose gender turned: {sum(row['n'] for row in turned):,} of {result.n_captions:,} ({flips})"
    )
    answer = audit_answer(result.terms)
    console.print(f"{answer.text} [{answer.sure}]", markup=False, style="bold", soft_wrap=True)
    if answer.note:
        console.print(answer.note, markup=False, style="dim", soft_wrap=True)
    if result.sensitivity:
        console.print(result.sensitivity, markup=False, soft_wrap=True)


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else ""


def _with(row: dict[str, Any], name: str, side: str, form: str) -> str:
    """A change with its interval."""
    if not math.isfinite(row[name]):
        return ""
    low, high = row[f"{side}_low"], row[f"{side}_high"]
    interval = f" [{low:+{form}}, {high:+{form}}]" if math.isfinite(low) else ""
    return f"{row[name]:+{form}}{interval}"


def _write(folder: Path, file: Path, results: Sequence[Audit], absent: Sequence[str], policy: str) -> None:
    terms = pd.concat([r.terms for r in results], ignore_index=True)
    tree = {
        "file": file.name,
        "generic_masculine": policy,
        "languages": {
            r.lang: {
                "n_images": r.n_images,
                "n_captions": r.n_captions,
                "conclusion": (answer := audit_answer(r.terms)).text,
                "sure": answer.sure,
                "note": answer.note,
                "flips": r.flips.to_dict("records"),
                "terms": [_plain(row) for row in r.terms.to_dict("records")],
                "policies": [_plain(row) for row in r.policies.to_dict("records")],
                "sensitivity": r.sensitivity,
            }
            for r in results
        },
        "not_enough_data": list(absent),
        "units": "images; rates are per 1,000 words; intervals are of 95 %, over images; p are two-sided "
        "Wilcoxon tests, q of single words adjusted after Benjamini and Hochberg",
    }
    write_json(folder / "audit.json", tree)
    write_table(folder / "audit.parquet", pa.Table.from_pandas(terms, preserve_index=False))
    with atomic_path(folder / "audit.csv") as temporary:
        terms.to_csv(temporary, index=False, encoding="utf-8-sig")  # without the mark, spreadsheets garble Arabic


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(k): None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}

"""``python -m precompute audit``: the same answer from every kind of file, and three lines for what cannot be used."""

import json

import pandas as pd
import pytest

from core.figures.origin import Origin
from pages.kit.export import csv
from precompute.__main__ import main

N = 24


@pytest.fixture
def frame():
    texts = {"before": "A man, with “his” car.", "after": "A person with a car.", "lang": "en"}
    en = pd.DataFrame({"image_id": [f"i{n}" for n in range(N)], **texts})
    ar = en.assign(before="رجل مع سيارة.", after="امرأة مع سيارة.", lang="ar")
    return pd.concat([en, ar], ignore_index=True)


def write(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_every_kind_of_file_gives_the_same(frame, tmp_path, capsys, name):
    assert main(["audit", str(write(frame, tmp_path / name))]) == 0
    out = capsys.readouterr().out
    assert "English: 24 images" in out and "Arabic: 24 images" in out and "male to female 24" in out
    written = json.loads((tmp_path / "a-audit" / "audit.json").read_text(encoding="utf-8"))
    totals = {lang: written["languages"][lang]["terms"][0] for lang in ("en", "ar")}
    assert (totals["en"]["before"], totals["en"]["after"]) == (2 * N, 0)
    assert written["languages"]["ar"]["flips"] == [{"before": "male", "after": "female", "n": N}]
    table = pd.read_csv(tmp_path / "a-audit" / "audit.csv")
    assert list(table.columns) == list(pd.read_parquet(tmp_path / "a-audit" / "audit.parquet").columns)


def test_a_table_that_was_downloaded_from_the_app_is_read_below_the_line_of_its_origin(frame, tmp_path, capsys):
    origin = Origin("CaptionScope 9", "demo", "steering", "5", len(frame), "abc123", "/steering?run=demo")
    (tmp_path / "a.csv").write_bytes(csv(frame, origin))
    assert main(["audit", str(tmp_path / "a.csv")]) == 0
    assert "English: 24 images" in capsys.readouterr().out


def test_terms_language_and_place_can_be_given(frame, tmp_path, capsys):
    file = write(frame, tmp_path / "a.csv")
    assert main(["audit", str(file), "--terms", "car, with,car", "--lang", "en", "--out", str(tmp_path / "o")]) == 0
    table = pd.read_parquet(tmp_path / "o" / "audit.parquet")
    assert list(table.query("kind == 'term'")["term"]) == ["car", "with"] and set(table["lang"]) == {"en"}
    assert "Arabic" not in capsys.readouterr().out


def test_an_own_lexicon_takes_the_place_of_the_projects(frame, tmp_path, capsys):
    lexicon = tmp_path / "l.tsv"
    lexicon.write_text("lemma\tform\tlanguage\tgender\tclass\ncar\tcar\ten\tfemale\tnoun\n", encoding="utf-8")
    file = write(frame[frame["lang"] == "en"], tmp_path / "a.csv")
    assert main(["audit", str(file), "--lexicon", str(lexicon)]) == 0
    table = pd.read_parquet(tmp_path / "a-audit" / "audit.parquet").set_index("term")
    assert table.loc["female", "before"] == N and table.loc["male", "before"] == 0


def test_a_language_that_is_absent_is_said_to_be_so(frame, tmp_path, capsys):
    assert main(["audit", str(write(frame[frame["lang"] == "en"], tmp_path / "a.csv"))]) == 0
    assert "ar: not enough data" in capsys.readouterr().out
    assert json.loads((tmp_path / "a-audit" / "audit.json").read_text())["not_enough_data"] == ["ar"]


def test_without_a_language_column_it_is_english(frame, tmp_path, capsys):
    assert main(["audit", str(write(frame[frame["lang"] == "en"].drop(columns="lang"), tmp_path / "a.csv"))]) == 0
    assert "not enough data (no caption" not in capsys.readouterr().out


def three_lines(capsys, *arguments):
    assert main(["audit", *map(str, arguments)]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert 2 <= len(said) <= 3 and "Traceback" not in "".join(said)
    return "\n".join(said)


@pytest.mark.parametrize(
    "data, said",
    [
        (b"", "holds no captions"),
        (b"image_id,before,after\n", "holds no captions"),
        (b"image_id,before\n1,a\n", "no column after"),
        (b"image_id,before,after\n1,a,b,c\n", "more cells"),
        (b"image_id,before,after\n1,a\n", "without text"),
        (b"image_id,before,after\n,a,b\n", "without text"),
        (b"image_id,before,after,lang\n1,a,b,fr\n", "'fr'"),
        (b"image_id,before,after\n1,caf\xc7 \xe3an,b\n", "encoding"),
        (b"\xff\xfei\0m\0x", "UTF-16"),
    ],
)
def test_bad_tables_end_in_three_lines(tmp_path, capsys, data, said):
    file = tmp_path / "a.csv"
    file.write_bytes(data)
    assert said in three_lines(capsys, file)


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("a.jsonl", b'{"image_id": 1, "before": "a"', "no JSON"),
        ("a.jsonl", b"[1]\n", "no JSON object"),
        ("a.jsonl", b'{"image_id": 1, "before": "a", "after": null}', "without text"),
        ("a.parquet", b"PAR1 nothing", "no Parquet"),
        ("a.xlsx", b"PK", "no known kind"),
    ],
)
def test_other_bad_files_end_in_three_lines(tmp_path, capsys, name, data, said):
    (tmp_path / name).write_bytes(data)
    assert said in three_lines(capsys, tmp_path / name)


def test_what_is_not_there_is_said(frame, tmp_path, capsys):
    file = write(frame[frame["lang"] == "en"], tmp_path / "a.csv")
    assert "no file" in three_lines(capsys, tmp_path / "none.csv")
    assert "no caption of the language ar" in three_lines(capsys, file, "--lang", "ar")
    assert "no language" in three_lines(capsys, file, "--lang", "de")
    assert "no lexicon" in three_lines(capsys, file, "--lexicon", tmp_path / "l.tsv")


def test_a_lexicon_with_a_word_of_both_genders_is_refused(frame, tmp_path, capsys):
    lexicon = tmp_path / "l.tsv"
    rows = ["lemma\tform\tlanguage\tgender\tclass", "car\tcar\ten\tfemale\tnoun", "car\tcar\ten\tmale\tnoun"]
    lexicon.write_text("\n".join(rows), encoding="utf-8")
    file = write(frame[frame["lang"] == "en"], tmp_path / "a.csv")
    assert main(["audit", str(file), "--lexicon", str(lexicon)]) == 1
    assert "breaks its rules" in capsys.readouterr().err


def test_captions_with_markup_stay_text(tmp_path, capsys):
    frame = pd.DataFrame({"image_id": range(3), "before": "[red]a man[/nothing]", "after": "a [bold]woman"})
    assert main(["audit", str(write(frame, tmp_path / "a.csv")), "--terms", "[red]"]) == 0
    assert "male to female 3" in capsys.readouterr().out

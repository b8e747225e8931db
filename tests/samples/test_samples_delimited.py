"""Tables of text as they are met: whatever is wrong with a row costs that row, and is counted under its line."""

import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.samples.delimited import Delimited, read_delimited
from core.samples.rows import MAX_CELL
from core.samples.tables import read_table


def read(text: str, *wanted: str) -> Delimited:
    return read_delimited("t.csv", text, lambda columns: bool(wanted) and set(wanted) <= set(columns))


def cells(found: Delimited) -> list[tuple]:
    return [tuple(row.values()) for row in found.rows]


def odd(found: Delimited) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in found.odd]


ROWS = [("1.jpg", "A man, old", "x"), ("2.jpg", "A dog", "y"), ("3.jpg", "A cat", "z")]


@pytest.mark.parametrize("first", ["sep={}", '"sep={}"', "SEP={}", "sep={}{}{}", "\nsep={}"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|", "^", "~"])
def test_the_line_sep_gives_the_delimiter(first, delimiter):
    body = "\n".join(delimiter.join(f'"{c}"' if delimiter in c else c for c in row) for row in [("i", "e", "a"), *ROWS])
    assert cells(read(first.replace("{}", delimiter) + "\n" + body)) == ROWS


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_delimiters_are_told_by_the_rows_whatever_ends_them(delimiter, end):
    rows = [("image, id", "caption, en", "caption, ar"), *ROWS]
    assert cells(read(end.join(delimiter.join(row) for row in rows) + end)) == ROWS


def test_names_and_cells_may_have_blanks_around_them():
    found = read('image_name| comment_number| comment\n1.jpg| 0| A man " with a dog .\n1.jpg| 1   Two dogs .\n')
    assert found.columns == ["image_name", "comment_number", "comment"]
    assert cells(found)[0] == ("1.jpg", "0", 'A man " with a dog .')
    assert found.rows[1].get("comment") is None, "a pipe is missing: the reader of the columns leaves the row out"
    assert cells(read('a, "b" , c\n1 , "x, y" , 2\n')) == [("1", "x, y", "2")]


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
@pytest.mark.parametrize(
    "caption", ['"Two men carry a sofa', 'Two men" carry a sofa', 'A 5" pipe', '"Stop" says a man', 'A sign "stop"']
)
def test_a_lone_quotation_mark_costs_no_row_that_follows(delimiter, caption):
    captions = ["A woman repairs", caption, "A girl", "A boy", "A man"]
    lines = [delimiter.join((f"{i}.jpg", c, f"ar{i}")) for i, c in enumerate(captions)]
    found = read("\n".join([delimiter.join(("image", "en", "ar")), *lines]))
    assert cells(found) == [(f"{i}.jpg", c, f"ar{i}") for i, c in enumerate(captions)]
    assert {line for line, _ in odd(found)} <= {3}


def test_two_lone_quotation_marks_do_not_swallow_the_rows_between_them():
    found = read('image,en,ar\n1.jpg,"A man,a\n2.jpg,A dog,b\n3.jpg,A cat",c\n4.jpg,A hen,d\n')
    assert [row["image"] for row in found.rows] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    found = read('id,en,ar\n1,"A man,a\n2,A dog,b\n3,A cat",c\n4,A hen,d\n')
    assert [row["id"] for row in found.rows] == ["1", "2", "3", "4"], "rows are known by their cells, not by endings"


def test_a_quotation_mark_that_cannot_be_made_sense_of_costs_its_row():
    found = read('image,en,ar\n1.jpg,"A man, old, tall,a\n2.jpg,"A dog, big",b\n3.jpg,A cat,c\n')
    assert [row["image"] for row in found.rows] == ["2.jpg", "3.jpg"] and odd(found) == [(2, "quote")]


def test_tables_written_with_quotation_marks_are_read_so():
    text = 'image\ten\tar\n1.jpg\t"A man\twith a ""dog"", old"\tx\n2.jpg\t"A\nman"\ty\n3.jpg\tA dog\tz\n'
    assert cells(read(text)) == [
        ("1.jpg", 'A man\twith a "dog", old', "x"),
        ("2.jpg", "A\nman", "y"),
        ("3.jpg", "A dog", "z"),
    ]
    assert cells(read('a,b\n1,"He said \\"hi\\", then left"\n')) == [("1", 'He said "hi", then left')]
    assert cells(read('a,b\n1,"Two men "carry" a sofa"\n')) == [("1", 'Two men "carry" a sofa')]


def test_ragged_rows_cost_themselves_and_keep_their_line_numbers():
    text = 'image,en,ar\n\n1.jpg,A man,a\n2.jpg,A man, old,b\n3.jpg,"A\nman",c\n'
    text += "4.jpg,A dog\nimage,en,ar\n,,\n5.jpg,A cat,e,,\n"
    found = read(text)
    assert [row.line for row in found.rows] == [3, 5, 7, 10]
    assert odd(found) == [(4, "too_many_cells"), (8, "header")] and "ar" not in found.rows[2]
    assert found.odd[0].text == "2.jpg,A man, old,b" and found.odd[0].file == "t.csv"


def test_cells_without_bound_cost_their_row():
    found = read(f'image,en\n1.jpg,{"x" * (MAX_CELL + 1)}\n2.jpg,"{"x" * (MAX_CELL + 1)}"\n3.jpg,A dog\n')
    assert cells(found) == [("3.jpg", "A dog")] and odd(found) == [(2, "too_long"), (3, "too_long")]


def test_columns_of_one_name_are_read_together_and_those_without_a_name_are_not():
    found = read(",image,caption,caption\n0,1.jpg,A man,He\n1,2.jpg,A dog,\n")
    assert found.columns == ["image", "caption"]
    assert [row["caption"] for row in found.rows] == [["A man", "He"], ["A dog"]]


def test_a_table_without_names_of_columns_is_refused():
    with pytest.raises(UserError, match="does not name its columns"):
        read("1.jpg,A man,a\n2.jpg,A dog,b\n")


def test_the_wanted_columns_decide_where_delimiters_are_in_doubt():
    assert read("image;a,b;c\n1;2,3;4\n", "image", "a,b").columns == ["image", "a,b", "c"]


def test_nothing_and_names_alone_are_no_rows():
    assert cells(read("")) == [] == cells(read("\n\n")) == cells(read("image,en\n"))


CELLS = st.text(st.sampled_from('ab,;" 😀ا'), max_size=8) | st.text(st.sampled_from('ab"\n ا'), max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8))
def test_what_is_written_by_the_standard_is_read_as_it_was(rows):
    """RFC 4180 with every cell in quotation marks; a cell with lines that look like rows is not told from rows."""
    text = "id,en,ar\n" + "".join(
        ",".join(f'"{c}"' for c in (c.replace('"', '""') for c in row)) + "\n" for row in rows
    )
    expected = [tuple(c.strip() for c in row) for row in rows if any(c.strip() for c in row)]
    assert cells(read(text, "id", "en", "ar")) == expected


@given(st.text(st.sampled_from('ab,"\n\r\t|;\0 '), max_size=60))
def test_whatever_is_written_every_row_is_read_or_counted(text):
    found = read("image,en\n" + text + "\nlast,A dog\n")
    assert len(found.rows) + len(found.odd) >= 1 and found.columns


def test_forty_thousand_rows_with_faults_among_them_are_read_in_seconds(tmp_path):
    rng = random.Random(0)
    words = ["a", "man", "woman", "dog", "reads", "carries", "sofa", "up", "the", "stairs", "quickly"]
    lines = ["image,en_caption,ar_caption"]
    for i in range(40_000):
        text = " ".join(rng.choices(words, k=10))
        lines.append(f'{i}.jpg,"{text}, {text}",{text}' + (", x" if i % 1000 == 0 else '"' if i % 1000 == 1 else ""))
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    start = time.process_time()
    table = read_table(tmp_path / "t.csv")
    assert time.process_time() - start < 20, "2 s on an idle core"
    assert len(list(table.rows)) == 39_960 and Counter(r.reason for r in table.odd) == {"too_many_cells": 40}

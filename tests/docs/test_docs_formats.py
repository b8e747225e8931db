"""docs/formats.md says what the pipeline writes, column by column."""

import re

import pyarrow.parquet as pq
import pytest

from tests.small_run import ROOT

PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
TABLES = dict(re.findall(r"^## (\S+\.parquet)\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S))


@pytest.mark.parametrize("name", TABLES)
def test_the_page_lists_the_columns_and_types_that_are_written(small_run, name):
    written = {field.name: str(field.type) for field in pq.read_schema(small_run / name)}
    told = dict(re.findall(r"^\| (\w+) \| (.+?) \|", TABLES[name], flags=re.M))
    told.pop("column")
    assert told == written


def test_every_table_that_is_written_has_its_page(small_run):
    written = {str(p.relative_to(small_run)) for p in small_run.rglob("*.parquet")}
    assert written == set(TABLES)

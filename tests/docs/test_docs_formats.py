"""docs/formats.md says what the pipeline writes, column by column."""

import pyarrow.parquet as pq

from core.run.formats import PAGE, page
from core.run.tables import TABLES


def test_the_page_is_what_the_schemas_make_of_it():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text)
    assert text == page(text.partition("<!-- From here")[0])


def test_the_pipeline_writes_these_tables_and_no_others(small_run):
    written = {str(p.relative_to(small_run)): pq.read_schema(p) for p in small_run.rglob("*.parquet")}
    assert {table.file: table.arrow for table in TABLES.values()} == written


def test_every_table_is_in_the_list_of_files():
    files = PAGE.read_text(encoding="utf-8").partition("\n## ")[0]
    assert all(f"`{table.file}`" in files for table in TABLES.values())

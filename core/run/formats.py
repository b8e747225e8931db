"""docs/formats.md: what is written there by hand, and below it every table of a run, made from the schemas.

``python -m core.run.formats`` writes the page anew.
"""

from __future__ import annotations

from pathlib import Path

from core.config import PROJECT_ROOT
from core.run.schema import Table
from core.run.tables import TABLES

PAGE = PROJECT_ROOT / "docs" / "formats.md"
MARK = "<!-- From here on the page is made from core/run/schema: python -m core.run.formats -->\n"


def page(text: str) -> str:
    """The page with its tables made anew; of ``text``, the page as it is, what stands before the mark is kept."""
    return text.partition(MARK)[0] + MARK + "".join(_section(table) for table in TABLES.values())


def _section(table: Table) -> str:
    rows = "".join(f"| {c.name} | {c.type} | {c.unit} | {c.meaning} |\n" for c in table.columns)
    head = f"\n## {table.file}\n\nStage {table.stage}. One row: {table.row}.\n"
    return f"{head}\n| column | type | unit | meaning |\n|---|---|---|---|\n{rows}"


def main(path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

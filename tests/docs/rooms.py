"""Prints the rooms of the house for docs/architecture.md: each folder of code with the first sentence of its docstring.

Run: python -m tests.docs.rooms            # python -m tests.docs.rooms --write puts it into the page
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
PLACE = re.compile(r"(?<=<!-- rooms -->\n).*?(?=\n<!-- /rooms -->)", re.S)


def first_sentence(path: Path) -> str:
    """Of a module's docstring; a folder of code without one is an error."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.is_file() else None
    if not text:
        raise SystemExit(f"{path.relative_to(ROOT)} says nothing: begin it with one sentence on what the room is.")
    return re.split(r"(?<=[.:;?])\s", " ".join(text.split("\n\n")[0].split()))[0].rstrip(".:;")


def rooms() -> str:
    """A Markdown table: room, files, what it is."""
    rows = ["| room | files | what it is |", "|---|---|---|"]
    for top in ("core", "precompute", "pages"):
        folders = sorted({p.parent for p in (ROOT / top).rglob("*.py")})
        for folder in folders:
            modules = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
            name = folder.relative_to(ROOT).as_posix()
            rows.append(f"| `{name}/` | {len(modules)} | {first_sentence(folder / '__init__.py')} |")
    return "\n".join(rows)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(PLACE.sub(lambda _: rooms(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(rooms())

"""Prints the rooms of the house for docs/architecture.md: folders of code with the first sentence of their docstrings,
and the single files beside them.

Run: python -m tests.docs.rooms            # python -m tests.docs.rooms --write puts it into the page
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
PLACE = re.compile(r"(?<=<!-- rooms -->\n).*?(?=<!-- /rooms -->)", re.S)


def first_sentence(path: Path) -> str:
    """Of a module's docstring; a room without one is an error."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.is_file() else None
    if not text:
        raise SystemExit(f"{path.relative_to(ROOT)} says nothing: begin it with one sentence on what the room is.")
    paragraph = " ".join(text.split("\n\n")[0].split()).replace("``", "`")
    return re.split(r"(?<=[.?])\s(?=[A-Z])", paragraph)[0].rstrip(".")


def rooms() -> str:
    """A Markdown table: room, what it is."""
    rows = ["| room | what it is |", "|---|---|"]
    for top in ("core", "precompute", "pages"):
        for folder in sorted({p.parent for p in (ROOT / top).rglob("*.py")}):
            name = folder.relative_to(ROOT).as_posix()
            rows.append(f"| `{name}/` | {first_sentence(folder / '__init__.py')} |")
            if name == top:
                files = sorted(p for p in folder.glob("*.py") if not p.name.startswith("_"))
                rows += [f"| `{name}/{p.name}` | {first_sentence(p)} |" for p in files]
    return "\n".join(rows)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(PLACE.sub(lambda _: f"{rooms()}\n", PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(rooms())

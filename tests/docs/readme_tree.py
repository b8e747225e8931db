"""Prints the README's tree, one line a file, from the first line of each module's docstring.

Run: python -m tests.docs.readme_tree
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "pages": "one screen each, and kit/, the only shared UI",
    "core": "the library: no Streamlit, no command line",
    "precompute": "the command line and its stages",
}
OTHERS = {
    "tests/": "mirrors core; also pipeline, pages, browser, docs, architecture; bench/ is run by hand",
    "data/": "the demo captioner, its control twin, and what the demo world is made from",
    "cache/": "run folders (not tracked)",
    "static/": "typefaces, served by the app itself",
    "docs/": "methods, formats, decisions, and a log of what went otherwise",
}


def first_line(path: Path) -> str:
    text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return " ".join(text.split()).split(". ")[0].rstrip(".")


def tree() -> str:
    """The whole tree as text: files below their folders, every line with what the file is."""
    rows = [("app.py", first_line(ROOT / "app.py"))]
    for top, what in FOLDERS.items():
        rows.append((f"{top}/", what))
        for path in sorted((ROOT / top).rglob("*.py"), key=lambda p: (str(p.parent), p.name)):
            if path.name != "__init__.py" or first_line(path):
                rows.append((f"  {path.relative_to(ROOT / top)}", first_line(path)))
    rows += list(OTHERS.items())
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:{width}}{what}" for name, what in rows)


if __name__ == "__main__":
    print(tree())

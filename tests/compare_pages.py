"""Draws the pages over a run, figures as data, and holds two such drawings against each other.

Run: python tests/compare_pages.py draw cache/demo before.json       # from the root of any checkout
     python tests/compare_pages.py compare before.json after.json    # exits with 1 where they differ

Each Plotly figure counts by its traces and layout, every other block by what it says; styles and measured seconds do
not count.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Any

import numpy as np

ADDRESSES: tuple[tuple[str, dict[str, str]], ...] = (
    ("overview", {}),
    ("samples", {}),
    ("samples", {"sample": "7"}),
    ("samples", {"q": "doctor"}),
    ("bias", {}),
    ("browser", {}),
    ("browser", {"layer": "5", "colour": "lean"}),
    ("browser", {"layer": "5", "map": "Languages"}),
    ("feature", {"layer": "5", "feature": "1340"}),
    ("feature", {"layer": "7", "feature": "1421"}),
    ("gender", {}),
    ("gender", {"layer": "7", "lang": "Arabic"}),
    ("alignment", {}),
    ("alignment", {"layer": "7"}),
    ("layers", {}),
    ("steering", {"sample": "7", "features": "5:375:1,5:922:1,5:1340:1"}),
    ("steering", {"sample": "12", "features": "5:1340:2", "means": "true"}),
    ("interventions", {}),
    ("mechanisms", {}),
    ("mechanisms", {"layer": "5"}),
    ("status", {}),
    ("provenance", {}),
)
SPOKEN = ("markdown", "button", "alert", "caption", "exception", "code")
PASSING = re.compile(r"<style>.*?</style>|\d+\.\d\d s", re.S)


def draw(run: Path, out: Path) -> None:
    """Write what each address shows over the run, with the pages of the checkout that is the working directory."""
    root = Path.cwd()
    sys.path.insert(0, str(root))
    os.environ["CAPTIONSCOPE_CACHE"] = str(run.resolve().parent)
    from streamlit.testing.v1 import AppTest

    from pages.kit.links import PAGES

    shown = {}
    for page, state in ADDRESSES:
        at = AppTest.from_file(str(root / "app.py"), default_timeout=300)
        for name, value in {"run": run.name, **state}.items():
            at.query_params[name] = value
        at.switch_page(PAGES[page]).run()
        if at.exception:
            raise SystemExit(f"{page} {state}: {[e.message for e in at.exception]}")
        blocks = [told for part in at._tree.children.values() for leaf in leaves(part) for told in block(leaf)]
        name = f"{page} {state or ''}".strip()
        shown[name] = {kind: [what for k, what in blocks if k == kind] for kind in ("figures", "texts")}
        print(f"{name}: {len(shown[name]['figures'])} figures, {len(shown[name]['texts'])} texts", flush=True)
    out.write_text(json.dumps(shown, ensure_ascii=False), encoding="utf-8")


def leaves(node: Any) -> Iterator[Any]:
    """The elements below a block of a page, in their order."""
    children = getattr(node, "children", None)
    if not children:
        yield node
    for child in (children or {}).values():
        yield from leaves(child)


def block(element: Any) -> Iterator[tuple[str, Any]]:
    """What an element shows: a figure as its data, a text or a table as text; nothing of what has neither."""
    kind = getattr(element, "type", "")
    if kind == "plotly_chart":
        yield "figures", json.loads(element.proto.spec)
    elif kind == "html":
        yield "texts", element.proto.body
    elif kind == "arrow_data_frame":
        yield "texts", element.value.to_csv()
    elif kind in SPOKEN:
        yield "texts", str(element.proto)


def plain(value: Any) -> Any:
    """A figure's data without the forms in which it travels: arrays as lists, numbers to ten digits, no template."""
    if isinstance(value, dict) and "bdata" in value:
        array = np.frombuffer(base64.b64decode(value["bdata"]), dtype=value["dtype"])
        shape = [int(n) for n in str(value.get("shape", -1)).split(",")]
        return plain(array.reshape(shape).tolist())
    if isinstance(value, dict):
        return {k: plain(v) for k, v in sorted(value.items()) if v is not None and k != "template"}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return float(f"{value:.10g}") if isinstance(value, int | float) and not isinstance(value, bool) else value


def differences(before: Any, after: Any, place: str) -> Iterator[str]:
    """Where two figures' data differ, with both values; NaN equals NaN."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), f"{place}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for n, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{place}[{n}]")
    elif before != after and str(before) != str(after):
        yield f"{place}: {str(before)[:160]} -> {str(after)[:160]}"


def compare(before: Path, after: Path) -> int:
    """Print what differs between two drawings; how many differences there are."""
    one, other = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    if one.keys() != other.keys():
        raise SystemExit(f"The drawings are of different pages: {sorted(one.keys() ^ other.keys())}.")
    total = 0
    for name in one:
        found = list(differences(plain(one[name]["figures"]), plain(other[name]["figures"]), "figure"))
        texts = ([PASSING.sub("", text) for text in shown[name]["texts"]] for shown in (one, other))
        found += [line for line in unified_diff(*texts, n=0, lineterm="") if not line.startswith(("---", "+++", "@@"))]
        print(f"{name}: {len(one[name]['figures'])} figures, {len(found)} differences")
        print(*(f"    {line[:400]}" for line in found), sep="\n", end="\n" if found else "")
        total += len(found)
    print(f"{total} differences in all")
    return total


if __name__ == "__main__":
    if sys.argv[1] == "draw":
        draw(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(bool(compare(Path(sys.argv[2]), Path(sys.argv[3]))))

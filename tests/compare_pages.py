"""Draws the pages over a run, figures as data, and holds two such drawings against each other.

Run: python tests/compare_pages.py draw cache/demo before.json       # from the root of any checkout
     python tests/compare_pages.py compare before.json after.json    # exits with 1 where they differ

Of a Plotly figure its data count: every trace with its places, values, intervals, names, colours and hover texts, in
any order, and the axes' titles and ranges. Every other block counts by what it says; styles and measured seconds do not
count.
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
TRACE = ("type", "x", "y", "z", "base", "text", "name", "customdata", "hovertemplate", "orientation", "xaxis", "yaxis")
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


def data_of(figure: dict[str, Any]) -> tuple[list[str], list[str]]:
    """A figure's traces and axes, each as a line of what it shows; traces in the order of their lines."""
    traces = []
    for trace in figure["data"]:
        marker = trace.get("marker", {})
        shown = {name: trace.get(name) for name in TRACE}
        shown |= {
            n: trace[n].get("array")
            for n in ("error_x", "error_y")
            if trace.get(n, {}).get("visible", True)
            if n in trace
        }
        if trace["type"] == "bar" or "markers" in trace.get("mode", ""):
            shown["color"] = marker.get("color") or trace.get("line", {}).get("color")
        traces.append(json.dumps({k: v for k, v in shown.items() if v}, ensure_ascii=False, sort_keys=True))
    layout = figure["layout"]
    axes = [
        f"{name}: {axis.get('title', {}).get('text') or ''} {axis.get('range')} {axis.get('ticktext')}"
        for name, axis in sorted(layout.items())
        if name.startswith(("xaxis", "yaxis"))
    ]
    words = sorted(str(note.get("text")) for note in layout.get("annotations", []))
    return sorted(traces), [*axes, *words]


def differences(before: list[Any], after: list[Any]) -> Iterator[str]:
    """What one list of figures shows and the other does not."""
    if len(before) != len(after):
        yield f"{len(before)} figures -> {len(after)}"
        return
    for n, figures in enumerate(zip(before, after, strict=True)):
        for one, other in zip(*(data_of(plain(figure)) for figure in figures), strict=True):
            for line in unified_diff(one, other, n=0, lineterm=""):
                if not line.startswith(("---", "+++", "@@")):
                    yield f"figure {n} {line}"


def compare(before: Path, after: Path) -> int:
    """Print what differs between two drawings; how many differences there are."""
    one, other = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    if one.keys() != other.keys():
        raise SystemExit(f"The drawings are of different pages: {sorted(one.keys() ^ other.keys())}.")
    total = 0
    for name in one:
        found = list(differences(one[name]["figures"], other[name]["figures"]))
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

"""Makes docs/api.md from the door's signatures and docstrings and the examples beside this file.

Run: python -m tests.docs.api_page
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import core
from core.notebook import OpenRun
from tests.docs.api_examples import EXAMPLES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
WIDTH = 110
HEAD = """# The library from a program

This page is made by `python -m tests.docs.api_page` from signatures and docstrings; a test holds it to them and runs
its examples. Every name comes from `core`, is loaded when it is first asked for, and refuses wrong use with a
`UserError` of three parts: what, why, and what to do. Opening a run, its tables and figures need no torch.
"""


def page() -> str:
    """The whole page as text."""
    return "\n".join([HEAD, *(line for name in core.DOOR for line in section(name))]).rstrip() + "\n"


def section(name: str) -> Iterator[str]:
    """One name: where it comes from, its signature and docstring, its methods, and the example."""
    value = getattr(core, name)
    yield f"## {name}\n"
    yield f"```python\n{signature(name, value)}\n```\n"
    yield prose(inspect.getdoc(value) or "") + "\n"
    members = OpenRun if name == "open_run" else value if inspect.isclass(value) else None
    lines = list(methods(members)) if members else []
    if lines:
        yield "The run that it gives has:\n" if name == "open_run" else "It has:\n"
        yield "\n".join(lines) + "\n"
    yield f"```pycon\n{EXAMPLES[name].strip()}\n```\n"


def signature(name: str, value: Any) -> str:
    """The call with its parameters, on one line or on one a parameter."""
    found = inspect.signature(value)
    parts = [_parameter(p) for p in found.parameters.values()]
    returns = "" if inspect.isclass(value) else f" -> {found.return_annotation}"
    line = f"{name}({', '.join(parts)}){returns}"
    return line if len(line) <= WIDTH else "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){returns}"])


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    kind = parameter.annotation
    kind = kind if isinstance(kind, str) else kind.__forward_arg__  # of a NamedTuple
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{stars}{parameter.name}: {kind}{default}"


def methods(of: type) -> Iterator[str]:
    """A line for each public method and property that has a docstring, with its first sentence."""
    owners = [c for c in of.__mro__ if c.__module__.startswith("core.")]
    named = {name: member for owner in reversed(owners) for name, member in vars(owner).items()}
    for name, member in sorted(named.items()):
        function = getattr(member, "func", None) or getattr(member, "fget", None) or getattr(member, "__func__", member)
        text = inspect.getdoc(function) if inspect.isfunction(function) else ""
        if name.startswith("_") or not text:
            continue
        call = f"{name}({', '.join(list(inspect.signature(function).parameters)[1:])})"
        first = re.split(r"(?<=\.)\s(?=[A-Z])", " ".join(text.split("\n\n")[0].split()))[0]
        shown = call if inspect.isfunction(member) or isinstance(member, classmethod) else name
        yield textwrap.fill(f"- `{shown}`: {prose(first)}", WIDTH, subsequent_indent="  ", break_long_words=False)


def prose(text: str) -> str:
    """A docstring as Markdown."""
    return text.replace("``", "`").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

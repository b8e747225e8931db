"""Holds arrays to their shapes: in tests, every function of core checks those arguments and results that carry one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import install_import_hook

from tests.small_run import ROOT

SHAPED = re.compile(r"\b(Float|Int|UInt|Bool|Num|Shaped|Real|Inexact)\d*\[")


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """beartype over the hints that are shapes (jaxtyping calls this with a stand-in of each function's signature).

    What else is annotated is the type checker's business; names that only it imports would raise here.
    """
    function.__annotations__ = {n: hint for n, hint in function.__annotations__.items() if SHAPED.search(str(hint))}
    return beartype(function) if function.__annotations__ else function


def hold() -> None:
    """Hold the modules of core that speak of shapes to them; call it before they are imported."""
    files = [p for p in (ROOT / "core").rglob("*.py") if "jaxtyping import" in p.read_text(encoding="utf-8")]
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files]
    install_import_hook(modules, "tests.shapes.check")

"""The library's front door: the names that a notebook needs, each loaded from its room when it is first asked for.

``import core`` itself loads nothing, so it is instant and works without torch; docs/api.md shows every name.
"""

from importlib import import_module
from typing import Any

DOOR = {
    "ActivationCache": "core.vlm.hookpoints",
    "ContrastiveLanguageAnalyzer": "core.crosslingual",
    "CrossLingualFeatureAligner": "core.crosslingual",
    "Dictionary": "core.crosslingual",
    "Direction": "core.steering",
    "Edit": "core.steering",
    "FactoredMatrix": "core.mech.factored",
    "HookPoint": "core.vlm.hookpoints",
    "InteractionPatternAnalyzer": "core.mech.interactions",
    "LanguageFeatureProfile": "core.crosslingual",
    "LanguageSpecificFeatureIdentifier": "core.crosslingual",
    "LogitLens": "core.layers",
    "MorphologicalGenderAnalyzer": "core.gender",
    "SemanticGenderAnalyzer": "core.gender",
    "TransformerProbeAnalyzer": "core.layers",
    "UserError": "core.errors",
    "encode": "core.notebook",
    "figure": "core.notebook",
    "list_runs": "core.notebook",
    "load_model": "core.notebook",
    "load_sae": "core.notebook",
    "open_run": "core.notebook",
    "steer": "core.notebook",
}
"""Name -> the module that it is loaded from."""

__all__ = list(DOOR)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(DOOR[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *DOOR})

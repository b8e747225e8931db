"""The library's front door: the names that a notebook needs, each loaded from its room when it is first asked for.

``import core`` itself loads nothing, so it is instant and works without torch; docs/api.md shows every name.
"""

from importlib import import_module
from typing import Any

DOOR = {
    # a run, its dictionaries and its model
    "list_runs": "core.notebook",
    "open_run": "core.notebook",
    "load_sae": "core.notebook",
    "encode": "core.notebook",
    "load_model": "core.notebook",
    "steer": "core.notebook",
    "figure": "core.notebook",
    "Edit": "core.steering",
    "Direction": "core.steering",
    "UserError": "core.errors",
    # what passes through a model
    "HookPoint": "core.vlm.hookpoints",
    "ActivationCache": "core.vlm.hookpoints",
    "FactoredMatrix": "core.mech.factored",
    "LogitLens": "core.layers",
    "TransformerProbeAnalyzer": "core.layers",
    "InteractionPatternAnalyzer": "core.mech.interactions",
    # gender in words
    "MorphologicalGenderAnalyzer": "core.words",
    "SemanticGenderAnalyzer": "core.words",
    # two languages
    "Dictionary": "core.crosslingual",
    "CrossLingualFeatureAligner": "core.crosslingual",
    "ContrastiveLanguageAnalyzer": "core.crosslingual",
    "LanguageSpecificFeatureIdentifier": "core.crosslingual",
    "LanguageFeatureProfile": "core.crosslingual",
}
"""Name -> the module that it is loaded from."""

__all__ = list(DOOR)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(DOOR[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *DOOR})

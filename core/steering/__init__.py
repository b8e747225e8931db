"""Edits of SAE features and directions while the model runs, with the SAE's error kept; captions steered by them."""

from importlib import import_module
from typing import Any

# Loaded when first asked for: a request can be made and read where torch is not installed.
DOOR = {
    "Direction": "core.steering.edits",
    "Edit": "core.steering.edits",
    "EditRecord": "core.steering.record",
    "FeatureEdit": "core.steering.request",
    "Request": "core.steering.request",
    "SteeredModel": "core.steering.captions",
    "edit_hooks": "core.steering.apply",
    "steer": "core.steering.captions",
}
__all__ = list(DOOR)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(DOOR[name]), name)

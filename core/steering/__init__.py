"""Edits of SAE features and directions while the model runs, with the SAE's error kept; captions steered by them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.steering.apply import edit_hooks
    from core.steering.captions import SteeredModel, steer
    from core.steering.edits import Direction, Edit
    from core.steering.record import EditRecord
    from core.steering.request import FeatureEdit, Request

__all__ = ["Direction", "Edit", "EditRecord", "FeatureEdit", "Request", "SteeredModel", "edit_hooks", "steer"]

# Loaded when first asked for: a request can be made and read where torch is not installed.
_MODULES = {"edit_hooks": "apply", "Direction": "edits", "Edit": "edits", "EditRecord": "record"}
_MODULES |= {"FeatureEdit": "request", "Request": "request", "SteeredModel": "captions", "steer": "captions"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

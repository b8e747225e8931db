"""Vision-language models: one adapter protocol, hooks, one small file per model family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.config import ModelConfig
    from core.run import Run
    from core.vlm.adapter import VLM


def load_vlm(name: str, dtype: str = "float32", device: str = "cpu", revision: str = "", **options: Any) -> VLM:
    """Load a model by hub id or directory; see :func:`core.vlm.loading.load_vlm` (torch is imported only here)."""
    from core.vlm import loading

    return loading.load_vlm(name, dtype, device, revision, **options)


def load_captioner(run: Run, settings: ModelConfig, device: str) -> VLM:
    """Load the model of a run; see :func:`core.vlm.loading.load_captioner`."""
    from core.vlm import loading

    return loading.load_captioner(run, settings, device)

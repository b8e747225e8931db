"""The tokenizer of a run's model, without its weights and whatever its family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.vlm.identity import base_of, locate, pinned

if TYPE_CHECKING:
    from core.config import ModelConfig
    from core.run import Run


def load_tokenizer(run: Run, settings: ModelConfig) -> Any:
    """As transformers loads it; UserError where it cannot be."""
    from transformers import AutoTokenizer

    base = base_of(settings.name)
    directory, revision = locate(base), settings.revision or pinned(run, settings.name)
    options: dict[str, Any] = {"local_files_only": True} if directory else {"revision": revision or "main"}
    try:
        return AutoTokenizer.from_pretrained(str(directory or base), **options)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f"The tokenizer of the model {settings.name} could not be loaded.",
            str(error).strip().splitlines()[0],
            "Ask check-model what the checkpoint lacks.",
        ) from error

"""Loads a model with the adapter of its family."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch

from core.errors import UserError
from core.first_calls import make_first_calls
from core.vlm.identity import locate

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

FAMILIES = {"gemma3": "core.vlm.gemma3:Gemma3VLM"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_vlm(name: str, dtype: str = "float32", device: str = "cpu", revision: str = "") -> VLM:
    """Load a model and its processor from a directory (never the network) or by hub id.

    ``device`` "auto" takes CUDA, then MPS, then the CPU. Raises UserError when the model is not there, is of a family
    without an adapter, or ``dtype`` is unfit (Gemma residuals overflow float16).
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging

    if dtype not in DTYPES:
        known = " or ".join(DTYPES)
        why = "Gemma's residuals overflow float16." if dtype == "float16" else ""
        raise UserError(f"The model cannot run in {dtype}.", why, f"Set model.dtype to {known}.")
    make_first_calls()
    directory = locate(name)
    source = str(directory or name)
    options = {"local_files_only": True} if directory else {"revision": revision or "main"}
    logging.disable_progress_bar()  # progress goes through the caller's report
    try:
        config = AutoConfig.from_pretrained(source, **options)
        if config.model_type not in FAMILIES:
            raise UserError(
                f"There is no adapter for models of type {config.model_type}.",
                f"{name} is one; known are {', '.join(FAMILIES)}.",
                "Choose another model, or write an adapter beside core/vlm/gemma3.py.",
            )
        # The PIL backend needs no torchvision and gives the same pixels on every machine.
        processor = AutoProcessor.from_pretrained(source, backend="pil", **options)
        model: Any = AutoModelForImageTextToText.from_pretrained(source, dtype=DTYPES[dtype], **options)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The model {name} could not be loaded.",
            str(error).strip().splitlines()[0],
            "Check model.name; a gated hub model needs an accepted licence and `hf auth login`.",
        ) from error
    module, _, family = FAMILIES[config.model_type].partition(":")
    return getattr(importlib.import_module(module), family)(name, model.to(pick_device(device)).eval(), processor)


def pick_device(device: str) -> str:
    """ "auto" resolved to what this machine has."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"

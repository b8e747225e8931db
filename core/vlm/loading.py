"""Loads a model with the adapter of its family, and its own processor without torchvision.

Images are read by PIL, and there is no part for videos.
"""

from __future__ import annotations

import importlib
import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from core.errors import UserError
from core.first_calls import make_first_calls
from core.run import write_json
from core.vlm.families import adapter_of
from core.vlm.identity import locate

if TYPE_CHECKING:
    from core.config import ModelConfig
    from core.run import Run
    from core.vlm.adapter import VLM


SMOLVLM_TOKENS = {
    "fake_image_token": "<fake_token_around_image>",
    "image_token": "<image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
    "video_token": "<video>",
}
IMPORTED_BY_NAME = "core.vlm.families:imported"  # which of the adapters a run imports
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
QUANTIZED = {"8bit": {"load_in_8bit": True}, "4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}}
PIN_FILE = "model.json"  # of a run: the commit of a hub model that its first stage loaded, which all later ones take


def load_processor(source: str, config: Any, **options: Any) -> Any:
    """The processor of the checkpoint ``source``; its pixels are the same on every machine.

    ``config`` is the model's, ``options`` those of ``from_pretrained``. Raises what transformers raises: OSError or
    ValueError for missing files, ImportError for a processor that needs a package that is not there.
    """
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    family: Any = PROCESSOR_MAPPING.get(type(config), None)
    if family is None or "video_processor" not in family.get_attributes():
        return AutoProcessor.from_pretrained(source, backend="pil", **options)
    return images_only(family).from_pretrained(source, backend="pil", **options)


def images_only(family: Any) -> Any:
    """A processor class that takes no videos, so that it needs nothing that its videos would need."""
    from transformers import ProcessorMixin

    def init(self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        family.__init__(self, image_processor, tokenizer, None, chat_template=chat_template)

    def init_smolvlm(
        self: Any,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_seq_len: int = 169,
        chat_template: Any = None,
    ) -> None:
        self.image_seq_len = image_seq_len
        for name, token in SMOLVLM_TOKENS.items():
            setattr(self, name, getattr(tokenizer, name, token))
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    parts: dict[str, Any] = {"__init__": init, "__module__": family.__module__}
    if family.__name__ == "SmolVLMProcessor":  # its own ask for a package that spells out numbers, and about videos
        parts |= {"__init__": init_smolvlm, "apply_chat_template": ProcessorMixin.apply_chat_template}
    return type(family.__name__, (family,), parts)


def load_captioner(run: Run, settings: ModelConfig, device: str) -> VLM:
    """The model of a run: of a hub model without a revision, the same commit in every stage.

    The commit that was loaded first is kept in the run's model.json.
    """
    revision = settings.revision or pinned(run, settings.name)
    vlm = load_vlm(
        settings.name, settings.dtype, device, revision, settings.quantize, settings.device_map, settings.image_side
    )
    if vlm.commit:
        write_json(run.path(PIN_FILE), {"name": settings.name, "commit": vlm.commit})
    return vlm


def load_tokenizer(run: Run, settings: ModelConfig) -> Any:
    """The tokenizer of a run's model, without its weights; UserError where it cannot be loaded."""
    from transformers import AutoConfig

    directory = locate(settings.name)
    revision = settings.revision or pinned(run, settings.name)
    source, options = str(directory or settings.name), {"local_files_only": True}
    if directory is None:
        options = {"revision": revision or "main"}
    try:
        return load_processor(source, AutoConfig.from_pretrained(source, **options), **options).tokenizer
    except (OSError, ValueError, ImportError) as error:
        raise _not_loaded(settings.name, error) from error


def _not_loaded(name: str, error: Exception) -> UserError:
    return UserError(
        f"The model {name} could not be loaded.",
        str(error).strip().splitlines()[0],
        "Check model.name; a gated hub model needs an accepted licence and `hf auth login`.",
    )


def pinned(run: Run, name: str) -> str:
    """The commit of the hub model ``name`` that this run has loaded before, or ""."""
    path = run.path(PIN_FILE)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known["commit"] if known.get("name") == name else ""


def load_vlm(
    name: str,
    dtype: str = "float32",
    device: str = "cpu",
    revision: str = "",
    quantize: str = "",
    device_map: str = "",
    image_side: int = 0,
) -> VLM:
    """Load a model and its processor from a directory (never the network) or by hub id.

    ``device`` "auto" takes CUDA, then MPS, then the CPU; ``device_map`` "auto" spreads the layers over all GPUs
    instead (accelerate); ``quantize`` "8bit" or "4bit" loads linear layers by bitsandbytes. Raises UserError when the
    model is not there, is of a family that no adapter fits, or ``dtype`` is unfit (Gemma residuals overflow float16).
    """
    from transformers import AutoConfig, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    from transformers.utils import logging

    from core.vlm.family import unknown_family

    if dtype not in DTYPES:
        known = " or ".join(DTYPES)
        why = "Gemma's residuals overflow float16." if dtype == "float16" else ""
        raise UserError(f"The model cannot run in {dtype}.", why, f"Set model.dtype to {known}.")
    make_first_calls()
    directory = locate(name)
    source = str(directory or name)
    options = {"local_files_only": True} if directory else {"revision": revision or "main"}
    logging.disable_progress_bar()  # progress goes through the caller's report
    placement = _placement(pick_device(device), dtype, quantize, device_map)
    try:
        config = AutoConfig.from_pretrained(source, **options)
        if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            raise unknown_family(config.model_type, "It is none that takes an image and writes text.")
        processor = load_processor(source, config, **options)
        model: Any = AutoModelForImageTextToText.from_pretrained(source, dtype=DTYPES[dtype], **placement, **options)
    except (OSError, ValueError, ImportError) as error:
        raise _not_loaded(name, error) from error
    module, family = adapter_of(config.model_type)
    if "device_map" not in placement:
        model = model.to(pick_device(device))
    vlm = getattr(importlib.import_module(module), family)(name, model.eval(), processor, image_side)
    vlm.commit = "" if directory else getattr(config, "_commit_hash", None) or ""
    return vlm


def _placement(device: str, dtype: str, quantize: str, device_map: str) -> dict[str, Any]:
    """What from_pretrained is told of devices and quantised weights; {} for a plain model on one device."""
    if not quantize:
        return {"device_map": device_map} if device_map else {}
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"Weights of {quantize} need the package bitsandbytes.",
            "It is an optional extra, tested with CUDA devices.",
            "Install it: pip install bitsandbytes==0.50.2; or leave model.quantize empty.",
        )
    from transformers import BitsAndBytesConfig

    wanted = BitsAndBytesConfig(**QUANTIZED[quantize], bnb_4bit_compute_dtype=DTYPES[dtype])
    return {"quantization_config": wanted, "device_map": device_map or {"": device}}


def pick_device(device: str) -> str:
    """ "auto" resolved to what this machine has."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"

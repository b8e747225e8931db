"""Loads a model with the adapter of its family, and its own processor without torchvision.

Images are read by PIL, and there is no part for videos.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from core.errors import UserError
from core.first_calls import make_first_calls
from core.run import write_json
from core.vlm.checkpoint import check_folder, check_json, check_loaded, named, quantised
from core.vlm.families import adapter_of
from core.vlm.halving import is_out_of_memory
from core.vlm.identity import PIN_FILE, base_of, locate, pinned
from core.vlm.lora import apply_lora, lora_in, without_lora

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


def load_processor(source: str, config: Any, **options: Any) -> Any:
    """The processor of the checkpoint ``source``; its pixels are the same on every machine.

    ``config`` is the model's, ``options`` those of ``from_pretrained``. Raises what transformers raises: OSError or
    ValueError for missing files, ImportError for a processor that needs a package that is not there.
    """
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    family: Any = PROCESSOR_MAPPING.get(type(config), None)
    takes_videos = family is not None and "video_processor" in family.get_attributes()
    made = (images_only(family) if takes_videos else AutoProcessor).from_pretrained(source, backend="pil", **options)
    if getattr(made, "chat_template", None) is None:  # older checkpoints have it in tokenizer_config.json alone
        made.chat_template = getattr(getattr(made, "tokenizer", None), "chat_template", None)
    return made


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
    instead (accelerate); ``quantize`` "8bit" or "4bit" loads linear layers by bitsandbytes. A LoRA in the directory is
    worked into the weights. Raises UserError when the model is not there, not whole, of a family that no adapter fits,
    or ``dtype`` is unfit (Gemma residuals overflow float16).
    """
    from transformers import AutoConfig, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    from core.vlm.family import unknown_family

    if dtype not in DTYPES:
        known = " or ".join(DTYPES)
        why = "Gemma's residuals overflow float16." if dtype == "float16" else ""
        raise UserError(f"The model cannot run in {dtype}.", why, f"Set model.dtype to {known}.")
    make_first_calls()
    base = base_of(name)
    directory = locate(base)
    lora = lora_in(locate(name), quantize)
    source = str(directory or base)
    options = {"local_files_only": True} if directory else {"revision": revision or "main"}
    placement = _placement(pick_device(device), dtype, quantize, device_map)
    with _quiet(), _understood(name, directory):
        config = AutoConfig.from_pretrained(source, **options)
        if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            raise unknown_family(config.model_type, "It is none that takes an image and writes text.")
        if directory:
            check_folder(directory)
        else:
            _check_hub_model(base, config, options)
        processor = load_processor(source, config, **options)
        with without_lora(directory) if directory and lora == directory else nullcontext(source) as weights:
            loaded: Any = AutoModelForImageTextToText.from_pretrained(
                str(weights),
                dtype=DTYPES[dtype],
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told by check_loaded, all together
                **placement,
                **options,
            )
    model, info = loaded
    check_loaded(name, info, lambda key: _in_file(model, key))
    if lora:
        model = apply_lora(model, lora)
    check_finite(name, model)
    module, family = adapter_of(config.model_type)
    if "device_map" not in placement:
        model = model.to(pick_device(device))
    check_embeddings(name, model, processor)
    vlm = getattr(importlib.import_module(module), family)(name, model.eval(), processor, image_side)
    vlm.commit = "" if directory else getattr(config, "_commit_hash", None) or ""
    return vlm


@contextmanager
def _quiet() -> Iterator[None]:
    """Progress goes through the caller's report, and what transformers would warn of is refused or said here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextmanager
def _understood(name: str, directory: Path | None) -> Iterator[None]:
    """What transformers says of files that are not what they should be, as a UserError."""
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        if directory:  # what it stumbled over is told by name
            check_folder(directory)
            check_json(directory)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"The model {name} could not be loaded.",
            lines[0],
            "Check model.name; a gated hub model needs an accepted licence and `hf auth login`.",
        ) from error


def _check_hub_model(name: str, config: Any, options: dict[str, Any]) -> None:
    """UserError for what a folder would be refused for, as far as it can be known without the weights."""
    from transformers.utils.peft_utils import find_adapter_config_file

    if find_adapter_config_file(name, **options):
        raise UserError(
            f"The hub model {name} has a LoRA beside its weights.",
            "Which of the two is meant cannot be told by its name.",
            f"Download it (hf download {name} --local-dir FOLDER) and set model.name to the folder.",
        )
    if stored := getattr(config, "quantization_config", None):
        method = stored.get("quant_method", "") if isinstance(stored, dict) else stored.quant_method
        raise quantised(name, str(getattr(method, "value", method)))


def _in_file(model: Any, key: str) -> str:
    """What a tensor of the model is called in its files: names have changed since the families were published."""
    from transformers.core_model_loading import revert_weight_conversion

    return next(iter(revert_weight_conversion(model, {key: torch.empty(0)})), key)


def check_finite(name: str, model: Any) -> None:
    """UserError, by name, for weights with numbers that are not finite."""
    bad = [
        key
        for key, tensor in model.named_parameters()
        if tensor.is_floating_point() and tensor.numel() and not bool(torch.stack(tensor.aminmax()).isfinite().all())
    ]
    if bad:
        raise UserError(
            f"The weights of {name} have numbers that are not finite.",
            f"They are in {named(bad)}.",
            "Download the model again; weights that were saved in float16 may have overflowed.",
        )


def check_embeddings(name: str, model: Any, processor: Any) -> None:
    """UserError where the tokenizer writes tokens for which the model has no embedding: they are of two models."""
    n_rows = model.get_input_embeddings().weight.shape[0]
    image = model.config.image_token_id if hasattr(model.config, "image_token_id") else -1
    beyond = sorted((i, token) for token, i in processor.tokenizer.get_vocab().items() if i >= n_rows and i != image)
    if beyond:
        raise UserError(
            f"The tokenizer of {name} has tokens that the model does not know.",
            f"{len(beyond)} of them are beyond the {n_rows:,} rows of its embedding: {named([t for _, t in beyond])}.",
            "Take tokenizer and weights of the same model.",
        )


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

"""A LoRA (Hu et al. 2022) that lies in a model's folder, or in a folder of its own, worked into the weights by peft.

Afterwards the model is of its family's own class, so that residuals, edits and heads are those of the tuned model.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from core.errors import UserError
from core.vlm.checkpoint import LORA_WEIGHTS, OF_LORA, check_tensors, named, tensor_headers
from core.vlm.identity import LORA_CONFIG, read_json

PEFT = "peft==0.21.2"
MERGE_FIRST = "Merge it into the weights where it was trained (merge_and_unload, save_pretrained) and take that model."


def lora_in(directory: Path | None, quantize: str = "") -> Path | None:
    """The folder whose LoRA changes the model, None where there is none.

    Raises UserError for an adapter of another kind, one that is not whole, and where peft is not installed: without it
    transformers would load the model as if there were none.
    """
    if directory is None or not (directory / LORA_CONFIG).is_file():
        return None
    told = read_json(directory / LORA_CONFIG)
    kind = told.get("peft_type")
    if kind != "LORA":
        raise _refused(directory, f"Its peft_type is {kind!r}; only LORA can be worked into the weights here.")
    if not (directory / LORA_WEIGHTS).is_file():
        pickled = (directory / "adapter_model.bin").is_file()
        why = "adapter_model.bin is a pickle, which can run code." if pickled else f"{LORA_WEIGHTS} is missing."
        raise _refused(directory, why)
    check_tensors(directory / LORA_WEIGHTS)
    _check_pairs(directory)
    if quantize:
        raise _refused(directory, f"It cannot be worked into weights of {quantize} without rounding them.")
    if find_spec("peft") is None:
        raise UserError(
            f"The LoRA in {directory} ({LORA_WEIGHTS}) needs the package peft.",
            "Without it the model would be loaded as if the LoRA were not there.",
            f"Install it: pip install {PEFT}; or move {LORA_CONFIG} and {LORA_WEIGHTS} out of the folder.",
        )
    return directory


@contextlib.contextmanager
def without_lora(directory: Path) -> Iterator[Path]:
    """A folder of links to all of a model's files but those of its LoRA.

    Where peft is installed transformers would itself put the LoRA beside the weights, as modules of their own.
    """
    with tempfile.TemporaryDirectory(prefix="weights-") as folder:
        for path in directory.iterdir():
            if path.is_file() and path.name not in (LORA_CONFIG, LORA_WEIGHTS):
                (Path(folder) / path.name).symlink_to(path.resolve())
        yield Path(folder)


def apply_lora(model: Any, directory: Path) -> Any:
    """The model with the LoRA of ``directory`` added to its weights: W + scale B A for each pair.

    Raises UserError, by name, where a tensor of the LoRA has no place in the model.
    """
    from peft import (  # pyright: ignore[reportMissingImports] an extra
        PeftConfig,
        get_peft_model,
        load_peft_weights,
        set_peft_model_state_dict,
    )

    try:
        told = PeftConfig.from_pretrained(str(directory))
        told.base_model_name_or_path = model.name_or_path  # it may lie elsewhere than where the LoRA was trained
        with torch.random.fork_rng(devices=[]):  # A is drawn at random before it is read
            changed = get_peft_model(model, told)
        found = set_peft_model_state_dict(changed, load_peft_weights(str(directory), device="cpu"))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:  # no such layers; of another shape
        raise _refused(directory, str(error).strip().splitlines()[0]) from error
    if found.unexpected_keys:
        raise _refused(directory, f"The model has no place for {named(sorted(found.unexpected_keys))}.")
    return changed.merge_and_unload(safe_merge=True)


def _check_pairs(directory: Path) -> None:
    """UserError where one half of a pair A, B is not there: the other would change nothing."""
    names = set(tensor_headers(directory / LORA_WEIGHTS))
    pairs = {name for name in names if OF_LORA.search(name)}
    if not pairs:
        raise _refused(directory, f"{LORA_WEIGHTS} has no tensor of a LoRA.")
    swap = {"lora_A": "lora_B", "lora_B": "lora_A", "lora_embedding_A": "lora_embedding_B"}
    swap |= {"lora_embedding_B": "lora_embedding_A"}
    halves = re.compile("|".join(sorted(swap, key=len, reverse=True)))
    missing = {other for name in pairs if (other := halves.sub(lambda m: swap[m[0]], name)) not in names}
    if missing:
        raise _refused(directory, f"{LORA_WEIGHTS} is not whole: {named(sorted(missing))} is not in it.")


def _refused(directory: Path, why: str) -> UserError:
    return UserError(f"The adapter in {directory} is not applied.", why, MERGE_FIRST)

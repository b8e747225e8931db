"""``check-model``: does the adapter compute what a user's own checkpoint computes? One line a check."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from core.config import LANGUAGE_NAME

PROMPTS = ("Describe the image.", "صف الصورة.")
TASKS = ("caption en", "caption ar")  # of PaliGemma, which is not chatted with


def command(args: argparse.Namespace) -> int:
    """1 where a check is not passed."""
    return 0 if run_check(args.model, args.dtype, args.device, args.image_side) else 1


def run_check(
    name: str,
    dtype: str = "float32",
    device: str = "auto",
    image_side: int = 0,
    say: Callable[[str], None] = print,
) -> bool:
    """Load a model, print what it is and one line a check; whether all passed. UserError where it cannot be used."""
    from core.gender.tokenized_forms import forms, says
    from core.vlm import load_vlm
    from core.vlm.conformance import check_model
    from core.vlm.loading import pick_device

    started = time.monotonic()
    vlm = load_vlm(name, dtype, pick_device(device), image_side=image_side)
    family = vlm.model.config.model_type
    grid = vlm.patch_grid
    shown = f"a map of {grid[0]} x {grid[1]}" if grid else "no map of the image"
    say(
        f"{name}: {family}, {vlm.n_layers} layers, d_model {vlm.d_model}, {dtype} on {vlm.device}; "
        f"{vlm.n_image_tokens} image tokens, {shown}; loaded in {time.monotonic() - started:.0f} s"
    )
    say(f"      weights                  {_weights(name)}")
    passed = True
    for check in check_model(vlm, TASKS if family == "paligemma" else PROMPTS):
        say(
            f"{'pass' if check.passed else 'FAIL'}  {check.name:<24} {check.measured:.2g} (at most {check.bound:g}): "
            f"{check.says}"
        )
        passed &= check.passed
    for lang, name in LANGUAGE_NAME.items():
        say(f"{name}: {says(forms(vlm.tokenizer, lang))}")
    say("The adapter fits this model." if passed else "The adapter does not fit this model: results would be wrong.")
    return passed


def _weights(name: str) -> str:
    """What the model was loaded from: loading has held it against the files, and refuses what does not agree."""
    from core.vlm.checkpoint import tensor_headers, weight_files
    from core.vlm.identity import LORA_CONFIG, base_of, locate

    directory, own = locate(base_of(name)), locate(name)
    if directory is None:
        return f"of the hub model {base_of(name)}: none missing, none left over, all finite"
    files = weight_files(directory)
    n = sum(len(tensor_headers(path)) for path in files)
    lora = f", with the LoRA in {own}" if own and (own / LORA_CONFIG).is_file() else ""
    said = f"{n} tensors of {len(files)} file{'s' * (len(files) > 1)}: none missing, none left over, all finite"
    return said + lora

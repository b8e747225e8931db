"""Gemma 3 4B at its full size with random weights, through the preset gemma-3-4b: python -m tests.bench.bench_gemma_4b

Writes a checkpoint with the architecture of google/gemma-3-4b-it (the sizes of its config, weights drawn at random, and
the demo's tokenizer) to a folder of 8.7 GB, and a few scenes as a set of photographs. Then ``precompute run
gemma-3-4b`` computes two layers of it, up to and with ``--until``, and the table says what each stage took. At the end
the model writes the same captions with and without an edit of 25 features, in turn: the ratio is what an edit costs at
this size. ``--tiny`` does all of it with a model of the same shape and toy sizes.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    GenerationConfig,
    SiglipVisionConfig,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from core.demo.captioner import CHAT_TEMPLATE, SPECIAL, build_tokenizer
from core.demo.world import LANGUAGES, DemoWorld

ROOT = Path(__file__).resolve().parents[2]
LAYERS = (14, 18)
TEXT = {
    "vocab_size": 262_208,
    "hidden_size": 2560,
    "intermediate_size": 10_240,
    "num_hidden_layers": 34,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 1024,
    "max_position_embeddings": 131_072,
}
VISION = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 896,
    "patch_size": 14,
}
TINY = (
    {"vocab_size": 2048, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 20, "head_dim": 16},
    {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 224},
)
N_IMAGE_TOKENS = 256
REPEATS, NEW_TOKENS = 5, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--until", default="features", help="the last stage; default: features")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--dir", type=Path, help="where to put everything, and to keep it; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.dir or Path(temporary)
        if not (folder / "model" / "config.json").exists():
            build(folder / "model", given.tiny)
        table = photographs(folder, given.samples)
        run = compute(folder, table, given.until, given.tiny)
        report(run)
        if (run / "saes.parquet").exists():
            cost_of_an_edit(run, folder / "model")


def build(folder: Path, tiny: bool) -> None:
    """A checkpoint of the full size, in bfloat16; unused rows of the embedding are zero, so that none is written."""
    began = time.perf_counter()
    text, vision = ({**a, **b} if tiny else a for a, b in zip((TEXT, VISION), TINY, strict=True))
    tokenizer = build_tokenizer()
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    ends = [ids["<eos>"], ids["<end_of_turn>"]]
    special = {"pad_token_id": ids["<pad>"], "bos_token_id": ids["<bos>"], "eos_token_id": ends}
    config = Gemma3Config(
        text_config=Gemma3TextConfig(**text, **special),
        vision_config=SiglipVisionConfig(**vision, vision_use_head=False),
        mm_tokens_per_image=N_IMAGE_TOKENS,
        boi_token_index=ids["<start_of_image>"],
        tie_word_embeddings=True,
        eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
        **special,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        model = Gemma3ForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model = drawn(model.to_empty(device="cpu"), config, len(tokenizer))
    model.generation_config = GenerationConfig(do_sample=False, **special)
    model.save_pretrained(folder)
    side = config.vision_config.image_size
    pixels = Gemma3ImageProcessorPil(
        size={"height": side, "width": side}, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_pan_and_scan=None
    )
    tokenizer.chat_template = None
    Gemma3Processor(
        image_processor=pixels, tokenizer=tokenizer, chat_template=CHAT_TEMPLATE, image_seq_length=N_IMAGE_TOKENS
    ).save_pretrained(folder)
    n = sum(p.numel() for p in model.parameters())
    print(f"checkpoint: {n / 1e9:.2f} billion parameters, {time.perf_counter() - began:.0f} s", flush=True)


@torch.no_grad()
def drawn(model: Gemma3ForConditionalGeneration, config: Gemma3Config, n_tokens: int) -> Gemma3ForConditionalGeneration:
    """The model with weights drawn at random, at scales that keep residuals finite."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, parameter.shape[-1] ** -0.5)
        else:  # Gemma's norms have the gain 1 + weight, SigLIP's are plain; biases are zero
            parameter.fill_(float("vision" in name and "norm" in name and name.endswith("weight")))
    model.get_input_embeddings().weight[n_tokens:] = 0
    rotary = [module for module in model.modules() if hasattr(module, "inv_freq") or hasattr(module, "rope_type")]
    for module in rotary:  # buffers that a device without data has not kept
        module.__init__(config.text_config)
    for module in model.modules():
        if hasattr(module, "position_ids"):
            module.position_ids = torch.arange(module.num_positions).expand((1, -1))
        if hasattr(module, "embed_scale"):
            module.embed_scale.fill_(module.scalar_embed_scale)
    model.tie_weights()
    return model


def photographs(folder: Path, n: int) -> Path:
    """Scenes of the demo world as a folder of images and a CSV."""
    world, rng = DemoWorld(), random.Random(0)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    table = folder / "captions.csv"
    with open(table, "w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["image", "en_caption", "ar_caption"])
        for i in range(n):
            scene = world.scene(rng)
            image = Image.fromarray(np.asarray(world.render(scene))).resize((896, 896))
            image.save(folder / "images" / f"{i}.png")
            lines.writerow([f"{i}.png", *(world.references(scene, lang, rng)[0] for lang in LANGUAGES)])
    return table


def compute(folder: Path, table: Path, until: str, tiny: bool) -> Path:
    """The preset with these settings changed; a run that is there goes on."""
    changed = {
        "model.name": folder / "model",
        "model.device": "cpu",
        "samples.n": 0,
        "samples.images": folder / "images",
        "samples.captions": table,
        "samples.test_share": 0.34,
        "activations.layers": ",".join(map(str, LAYERS)),
        "caption.max_new_tokens": NEW_TOKENS,
        "caption.batch_size": 4,
        "activations.batch_tokens": 1024,
        "train.steps": 40,
        "train.batch_tokens": 256,
        "train.n_spliced": 1,
        "interventions.layers": LAYERS[0],
        "crosslingual.layers": LAYERS[0],
    }
    if tiny:
        changed |= {"train.d_sae": 512, "train.k": 8, "train.auxk": 32}
    options = [part for key, value in changed.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "precompute", "run", "gemma-3-4b", "--run", "full-size", "--until", until]
    environment = {**os.environ, "CAPTIONSCOPE_CACHE": str(folder / "cache")}
    subprocess.run([*command, *options], cwd=ROOT, check=True, env=environment)
    return folder / "cache" / "full-size"


def report(run: Path) -> None:
    """Seconds and memory of each stage."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    print(
        f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"commit {commit.stdout.strip()}, {time.strftime('%Y-%m-%d')}"
    )
    print("\n| stage | seconds | peak memory | rows |\n|---|---|---|---|")
    records = json.loads((run / "manifest.json").read_text())["stages"]
    for name, record in records.items():
        print(f"| {name} | {record['seconds']:.0f} | {record['peak_memory'] / 1e9:.1f} GB | {record['rows']:,} |")
    most = max(record["peak_memory"] for record in records.values())
    print(f"| all | {sum(r['seconds'] for r in records.values()):.0f} | {most / 1e9:.1f} GB | |", flush=True)


def cost_of_an_edit(run: Path, model: Path) -> None:
    """Seconds of the same captions with an edit over seconds without, paired within a round."""
    from core.sae.files import load_sae, sae_id
    from core.steering import Edit, edit_hooks
    from core.vlm import load_vlm

    vlm, sae = load_vlm(str(model), "bfloat16"), load_sae(run / "saes" / f"layer_{LAYERS[0]:02d}")
    image = Image.open(sorted((run / "images").iterdir())[0])
    rows = [vlm.prompt_ids("Describe the image.")] * 2
    features = vlm.encode_images([image]).expand(2, -1, -1)
    name = sae_id(sae)
    edits = [[Edit(LAYERS[0], f, name, "scale", 1 + 1e-6, "raw") for f in range(25)]] * 2
    ratios = []
    for repeat in range(REPEATS + 1):
        seconds = []
        for hooks in (None, edit_hooks(edits, {LAYERS[0]: sae}, {})):
            began = time.perf_counter()
            vlm.generate(rows, features, NEW_TOKENS, hooks)
            seconds.append(time.perf_counter() - began)
        if repeat:  # the first warms up
            ratios.append(seconds[1] / seconds[0])
    print(
        f"\nwith an edit of 25 features (d_sae {sae.cfg.d_sae:,}) over without: {np.median(ratios):.3f} x "
        f"[{min(ratios):.3f}, {max(ratios):.3f}] over {REPEATS} pairs"
    )


if __name__ == "__main__":
    main()

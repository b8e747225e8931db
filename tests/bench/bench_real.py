"""SAEs on residuals of a real model, ours against sae-lens' defaults: python -m tests.bench.bench_real MODEL

MODEL is a checkpoint that takes images (default: the environment variable CAPTIONSCOPE_REAL_MODEL). It carries on each
sentence of the gold sets by itself, in both languages, and what it computes while it reads all of that is trained on:
image, prompt and caption tokens, without BOS. A line a layer and trainer says how much of held-out tokens is left
unexplained (FVU), with and without BOS and the marks of turns, of the caption token in the middle, and how many
features are dead. Both trainers see the same batches.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from typing import Any

import torch

from core.config import TrainConfig
from core.vlm import load_vlm
from core.vlm.batch import BOS
from core.vlm.conformance import pictures
from core.vlm.sampling import sample_captions, uniforms
from tests.real.residuals import FAR, PROMPTS, Fit, Residuals, batches, fit_of, residuals, trained
from tests.words.gold import gold

TOGETHER = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=os.environ.get("CAPTIONSCOPE_REAL_MODEL", ""))
    parser.add_argument("--layers", default="4,9,14")
    parser.add_argument("--steps", default="300", help="one or several numbers, such as 300,2000")
    parser.add_argument("--lr", default="0", help="one or several; 0 = as chosen by default")
    parser.add_argument("--batch", type=int, default=128, help="tokens a step")
    parser.add_argument("--width", type=int, default=2048, help="features")
    parser.add_argument("-k", type=int, default=32)
    parser.add_argument("--sentences", type=int, default=200, help="a language")
    parser.add_argument("--new-tokens", type=int, default=24, help="by which the model carries on a sentence")
    parser.add_argument("--ours-alone", action="store_true")
    given = parser.parse_args()
    if not given.model:
        parser.error("give a checkpoint, or set CAPTIONSCOPE_REAL_MODEL")
    layers = [int(n) for n in given.layers.split(",")]
    began = time.perf_counter()
    vlm = load_vlm(given.model)
    data = residuals(vlm, texts(vlm, given.sentences, given.new_tokens), layers)
    print(
        f"{len(data.kind):,} tokens, {int(data.is_test.sum()):,} held out, {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    for layer in layers:
        print(lengths(data, layer), flush=True)
    print(
        "\n| layer | steps | trainer | FVU without BOS | with BOS | without BOS and marks | captions "
        "| their middle token | dead |\n|---|---|---|---|---|---|---|---|---|"
    )
    for layer, steps in itertools.product(layers, map(int, given.steps.split(","))):
        for lr in map(float, given.lr.split(",")):
            config = TrainConfig(
                d_sae=given.width, k=given.k, steps=steps, batch_tokens=given.batch, lr=lr, auxk=vlm.d_model // 2
            )
            sae = trained(data, layer, config)
            say(layer, steps, f"ours, lr {lr:g}" if lr else "ours", fit_of(data, layer, sae.encode, sae.decode))
        if not given.ours_alone:
            for normalised in ("none", "expected_average_only_in"):
                name = "sae-lens" if normalised == "none" else "sae-lens, normalised"
                say(layer, steps, name, by_sae_lens(data, layer, config, normalised))


def texts(vlm: Any, n: int, new_tokens: int) -> dict[str, list[str]]:
    """Sentences of the gold sets by language, each carried on by the model (temperature 1, the same each time)."""
    found: dict[str, list[str]] = {}
    features = vlm.encode_images(pictures())[:1]
    for number, lang in enumerate(PROMPTS):
        sentences = [s.text for s in gold(lang)][:n]
        found[lang] = []
        for start in range(0, len(sentences) if new_tokens else 0, TOGETHER):
            part = sentences[start : start + TOGETHER]
            rows = [vlm.prompt_ids(PROMPTS[lang]) + vlm.caption_ids(f"{text} ") for text in part]
            drawn = uniforms([(0, number, start + i) for i in range(len(part))], new_tokens)[:, None]
            ids, _ = sample_captions(vlm, rows, features.expand(len(part), -1, -1), drawn)
            found[lang] += [f"{text} {vlm.decode(new)}" for text, (new,) in zip(part, ids, strict=True)]
        found[lang] = found[lang] or sentences
    return found


def lengths(data: Residuals, layer: int) -> str:
    """The lengths of a layer's residuals, in a line."""
    length = data.of[layer].norm(dim=1)
    bos = torch.from_numpy(data.kind == BOS)
    others = length[~bos]
    x = data.of[layer][~bos]
    variance = (x - x.mean(0)).square().mean(0)
    away = (x - x.mean(0)).square().sum(1)
    far = away.topk(len(away) // 100).values.sum() / away.sum()
    return (
        f"layer {layer}: median length {float(others.median()):,.0f}, BOS {float(length[bos].median()):,.0f}, largest "
        f"other {float(others.max()):,.0f}; {int((others > FAR * others.median()).sum())} tokens beyond {FAR:g} "
        f"medians; of the variance {float(far):.0%} in the farthest 1 %, "
        f"{float(variance.max() / variance.sum()):.0%} in one dimension"
    )


def say(layer: int, steps: int, name: str, fit: Fit) -> None:
    shares = (fit.fvu, fit.with_bos, fit.plain, fit.captions, fit.captions_median)
    print(f"| {layer} | {steps:,} | {name} | {' | '.join(f'{s:.3f}' for s in shares)} | {fit.dead:.0%} |", flush=True)


def by_sae_lens(data: Residuals, layer: int, config: TrainConfig, normalised: str) -> Fit:
    """The same with sae-lens' TopK trainer at its defaults."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(0)
    d_model = data.of[layer].shape[1]
    sae = TopKTrainingSAE(
        TopKTrainingSAEConfig(d_in=d_model, d_sae=config.d_sae, k=config.k, normalize_activations=normalised)
    )
    settings = SAETrainerConfig(config.steps * config.batch_tokens, config.batch_tokens, n_batches_for_norm_estimate=20)
    settings.lr_end = settings.lr / 10  # as its runner sets it; the default schedule is constant
    trainer = SAETrainer(settings, sae, batches(data, layer, config.batch_tokens))
    done = trainer.fit()
    done.eval()
    return fit_of(data, layer, done.encode, done.decode)


if __name__ == "__main__":
    main()

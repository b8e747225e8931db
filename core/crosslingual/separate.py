"""SAEs of one language each: trained on that language's caption tokens, and their codes averaged over each caption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array, csc_array

from core.activations.store import ActivationReader
from core.config import Config
from core.features.tokens import CAPTION, LANGUAGES, TokenIndex
from core.sae.files import load_sae, save_sae
from core.sae.modules import SAE, SAEConfig
from core.sae.trainer import TokenBatches, Trainer, explained_variance, train_sae

SEEDS = (0, 1)
BATCH_ROWS = 8192


def language_rows(reader: ActivationReader, lang: str, split: str) -> np.ndarray:
    """Activation rows of the caption tokens of a language on one side of the split."""
    index = reader.index
    chosen = (index["kind"] == "caption") & (index["lang"] == lang) & (index["split"] == split)
    return np.flatnonzero(chosen.to_numpy())


def train_language_sae(
    config: Config,
    reader: ActivationReader,
    lang: str,
    seed: int,
    folder: Path,
    device: str,
    report: Callable[[int], None],
) -> None:
    """Leave the SAE of a language and seed in ``folder``; goes on from a checkpoint, does nothing where it is done."""
    if (folder / "cfg.json").exists():
        return
    ours = config.crosslingual
    settings = replace(
        config.train,
        architecture="topk",
        d_sae=ours.d_sae,
        k=ours.k,
        steps=ours.steps,
        batch_tokens=ours.batch_tokens,
        auxk=min(config.train.auxk, ours.d_sae // 8),
        tokens=("caption",),
        dead_after_tokens=min(config.train.dead_after_tokens, ours.steps * ours.batch_tokens // 10 + 1),
    )
    stream = config.seed + 1000 * (1 + len(SEEDS) * LANGUAGES.index(lang) + seed)  # its own weights and token order
    batches = TokenBatches(reader, language_rows(reader, lang, "train"), settings.batch_tokens, stream)
    name = f"{Path(config.model.name).name}, {lang} captions, seed {seed}"
    place = SAEConfig(
        "topk",
        reader.d_model,
        ours.d_sae,
        ours.k,
        reader.layer,
        hook_name=f"blocks.{reader.layer}.hook_resid_post",
        model_name=name,
    )
    trainer = Trainer(settings, batches, place, stream, device)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "state.safetensors"
    train_sae(trainer, checkpoint, lambda step, steps, losses: report(step))
    save_sae(trainer.finished_sae(), folder)  # cfg.json comes last
    checkpoint.unlink()


def caption_means(sae: SAE, reader: ActivationReader, tokens: TokenIndex, lang: str, images: np.ndarray) -> csc_array:
    """Mean activation of each feature over the captions of these images, (n_images, d_sae)."""
    place = np.full(tokens.n_samples, -1)
    place[images] = np.arange(len(images))
    rows = np.flatnonzero((tokens.group == CAPTION + LANGUAGES.index(lang)) & (place[tokens.sample_id] >= 0))
    parts = []
    for first in range(0, len(rows), BATCH_ROWS):
        some = rows[first : first + BATCH_ROWS]
        code = sae.sparse_code(reader.read(some))
        image = place[tokens.sample_id[some]][code.row.numpy()]
        parts.append((code.value.numpy(), image, code.feature.numpy()))
    value, image, feature = (np.concatenate(part) for part in zip(*parts, strict=True))
    sums = coo_array((value, (image, feature)), shape=(len(images), sae.cfg.d_sae)).tocsc()
    sums.sort_indices()
    length = np.bincount(place[tokens.sample_id[rows]], minlength=len(images))
    sums.data = (sums.data / length[sums.indices]).astype(np.float32)
    return sums


def held_out_fit(folder: Path, reader: ActivationReader, lang: str) -> float:
    """Explained variance of a saved SAE on the held-out caption tokens of its language."""
    return float(explained_variance(reader, language_rows(reader, lang, "test"), load_sae(folder)))

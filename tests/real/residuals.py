"""Residuals of a real model over open captions, in memory, and how well an SAE trained on them fits held-out ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.activations.store import ActivationReader
from core.config import TrainConfig
from core.sae.fit import median_share
from core.sae.modules import SAE, SAEConfig
from core.sae.trainer import TokenBatches, Trainer, train_sae
from core.vlm.batch import BOS, CAPTION, SPECIAL
from core.vlm.conformance import pictures

PROMPTS = {"en": "Describe the image.", "ar": "صف الصورة."}
HELD_OUT = 5  # every so manieth text
TOGETHER = 16  # rows of one pass
FAR = 2.0  # times the median length from which on a token that is no BOS is called far


@dataclass(frozen=True)
class Residuals:
    """resid_post of all tokens by layer (n_tokens, d_model), the kind of each, and whether its text is held out."""

    of: dict[int, Tensor]
    kind: np.ndarray
    is_test: np.ndarray

    def reader(self, layer: int) -> ActivationReader:
        """The rows of a layer, as the trainer reads them."""
        return ActivationReader(Path(), layer, [InMemory(self.of[layer])])

    def test(self, chosen: np.ndarray, layer: int) -> Tensor:
        """Held-out tokens (n, d_model) among ``chosen`` (n_tokens, bool)."""
        return self.of[layer][torch.from_numpy(np.flatnonzero(self.is_test & chosen))]


class InMemory:
    """Rows that are no file."""

    def __init__(self, rows: Tensor):
        self.rows, self.torch_dtype = rows, rows.dtype
        self.n_rows, self.d_model = rows.shape

    def take(self, local: np.ndarray) -> Tensor:
        return self.rows[torch.from_numpy(np.asarray(local))]


def residuals(vlm: Any, texts: Mapping[str, Sequence[str]], layers: Sequence[int]) -> Residuals:
    """One pass over image, prompt and each text; the images are noise, for the texts are given."""
    features = vlm.encode_images(pictures())
    rows = [
        (vlm.prompt_ids(PROMPTS[lang]) + vlm.caption_ids(text), number)
        for lang, some in texts.items()
        for number, text in enumerate(some)
    ]
    rows.sort(key=lambda row: len(row[0]))
    found: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    kinds, is_test = [], []
    for start in range(0, len(rows), TOGETHER):
        part = rows[start : start + TOGETHER]
        captured = vlm.forward([ids for ids, _ in part], features[[n % len(features) for _, n in part]], layers)
        for layer in layers:
            found[layer].append(captured.resid[layer][captured.mask])
        kinds.append(captured.kinds[captured.mask].numpy())
        is_test += [n % HELD_OUT == 0 for ids, n in part for _ in ids]
    return Residuals({n: torch.cat(parts) for n, parts in found.items()}, np.concatenate(kinds), np.array(is_test))


def trained(data: Residuals, layer: int, config: TrainConfig) -> SAE:
    """An SAE on all tokens but BOS, as the stage train makes it."""
    reader = data.reader(layer)
    rows = np.flatnonzero(~data.is_test & (data.kind != BOS))
    place = SAEConfig(config.architecture, reader.d_model, config.d_sae, config.k, layer)
    trainer = Trainer(config, TokenBatches(reader, rows, config.batch_tokens, 0), place, 0)
    train_sae(trainer)
    return trainer.finished_sae()


@dataclass(frozen=True)
class Fit:
    """Shares of variance unexplained (FVU) on held-out tokens, and of features that fire on none of them."""

    fvu: float  # of all but BOS
    with_bos: float
    plain: float  # without BOS and the marks of turns
    captions: float
    captions_median: float  # of the caption token in the middle
    dead: float


@torch.no_grad()
def fit_of(data: Residuals, layer: int, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]) -> Fit:
    """How well codes (n, d_sae) of a layer's held-out tokens tell them."""
    kind = data.kind
    groups = {
        "fvu": kind != BOS,
        "with_bos": kind >= 0,
        "plain": (kind != BOS) & (kind != SPECIAL),
        "captions": kind == CAPTION,
    }
    shares: dict[str, float] = {}
    for name, chosen in groups.items():
        x = data.test(chosen, layer)
        error = torch.cat([(b - decode(encode(b))).double().square().sum(1) for b in x.split(2048)]).numpy()
        spread = (x.double() - x.double().mean(0)).square().sum(1).numpy()
        shares[name] = float(error.sum() / spread.sum())
        if name == "captions":
            shares["captions_median"] = 1.0 - median_share(error, spread)
    fires = torch.stack([(encode(b) > 0).any(0) for b in data.test(kind != BOS, layer).split(2048)]).any(0)
    return Fit(**shares, dead=1.0 - float(fires.float().mean()))


def batches(data: Residuals, layer: int, n_tokens: int) -> Iterator[Tensor]:
    """The same batches that ``trained`` sees, for another trainer."""
    rows = np.flatnonzero(~data.is_test & (data.kind != BOS))
    return data.reader(layer).batches(rows, n_tokens, 0)

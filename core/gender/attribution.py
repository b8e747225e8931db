"""What features do to the next gendered word: gradient times activation of its log-odds against its counterpart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, vstack
from torch import Tensor

from core.gender.contrast import Contrast, LogOdds
from core.gender.word_ends import word_ends
from core.intervals import mean_interval
from core.vlm.batch import BOS, PAD
from core.vlm.gradients import resid_gradients

if TYPE_CHECKING:
    from core.sae.modules import SAE
    from core.vlm.adapter import VLM

CHUNK_ELEMENTS = 1 << 24  # numbers gathered at once
CAPTIONS_AT_ONCE = 16  # in one pass forward and back
AT_ONCE = 4096  # features whose effects are dense at a time


class Target(NamedTuple):
    """The own caption of an image up to where its first gendered word says the gender, and what is compared there."""

    sample_id: int
    token_ids: list[int]
    contrast: Contrast


def targets_of(
    captions: Iterable[Mapping[str, Any]], contrasts: Iterable[Mapping[str, Any]], lang: str
) -> dict[int, Target]:
    """Targets by sample_id, from rows of captions and contrasts; captions without a contrast have none."""
    known = {row["sample_id"]: row for row in contrasts if row["lang"] == lang and row["female"] is not None}
    found = {}
    for caption in captions:
        if caption["lang"] == lang and (row := known.get(caption["sample_id"])) is not None:
            contrast = Contrast(*(row[name] for name in Contrast._fields))
            ids = list(caption["token_ids"])[: contrast.slot]
            found[caption["sample_id"]] = Target(caption["sample_id"], ids, contrast)
    return found


def balanced(
    targets: Mapping[int, Target], gender: np.ndarray, is_train: np.ndarray, n: int, seed: list[int]
) -> dict[str, list[Target]]:
    """Up to ``n`` targets, half of train and half of test images, in each as many women as men, drawn at random.

    ``gender`` and ``is_train`` are by sample.
    """
    found = {}
    for number, split in enumerate(("train", "test")):
        ids = {
            g: [s for s in sorted(targets) if gender[s] == g and is_train[s] == (split == "train")]
            for g in ("female", "male")
        }
        n_each = min(n // 4, *(len(of_gender) for of_gender in ids.values()))
        rng = np.random.default_rng([*seed, number])
        chosen = sorted(int(s) for g in ids for s in rng.permutation(ids[g])[:n_each])
        found[split] = [targets[s] for s in chosen]
    return found


def attribute(
    vlm: VLM,
    saes: Mapping[int, SAE],
    rows: Sequence[Sequence[int]],
    features: Tensor,
    score: LogOdds,
) -> dict[int, csr_array]:
    """Of each row and feature, the sum over positions of z (W_dec[f] . gradient): (n_rows, d_sae) float64 by layer.

    To first order what ``score`` of the logits after the row's last token would lose without the feature, at all
    positions but BOS (attribution patching: Nanda 2023; Syed et al. 2023, arXiv 2310.10348; sparse features: Marks et
    al. 2024, arXiv 2403.19647, eq. 3, towards zero).
    """
    found = resid_gradients(vlm, rows, features, sorted(saes), score)
    member = (found.kinds != PAD) & (found.kinds != BOS)
    row = member.nonzero()[:, 0]
    effects = {}
    for layer, sae in saes.items():
        gradient = found.gradient[layer][member].float()
        code = sae.sparse_code(found.resid[layer][member].float())
        pushes, step = [], max(1, CHUNK_ELEMENTS // gradient.shape[1])
        for start in range(0, len(code.row), step):
            part = slice(start, start + step)
            pushes.append((gradient[code.row[part]] * sae.W_dec.detach()[code.feature[part]]).sum(1))
        value = (code.value * torch.cat(pushes)).double() if pushes else torch.zeros(0)
        places = row[code.row].cpu().numpy(), code.feature.cpu().numpy()
        effects[layer] = coo_array((value.cpu().numpy(), places), shape=(len(rows), sae.cfg.d_sae)).tocsr()
    return effects


def attributed(
    vlm: VLM,
    saes: Mapping[int, SAE],
    prompt: Sequence[int],
    targets: Sequence[Target],
    encode: Callable[[Sequence[int]], Tensor],
    tick: Callable[[int, int], None] = lambda *_: None,
) -> dict[int, csr_array]:
    """``attribute`` of each target (n_targets, d_sae) by layer, so many captions at once.

    ``encode`` gives what the model sees of images (n, tokens, d_model) by their sample_id.
    """
    parts: dict[int, list] = {layer: [csr_array((0, saes[layer].cfg.d_sae))] for layer in saes}
    for start in range(0, len(targets), CAPTIONS_AT_ONCE):
        batch = targets[start : start + CAPTIONS_AT_ONCE]
        rows = [[*prompt, *target.token_ids] for target in batch]
        score = LogOdds([target.contrast for target in batch], word_ends(vlm))
        for layer, effects in attribute(vlm, saes, rows, encode([t.sample_id for t in batch]), score).items():
            parts[layer].append(effects)
        tick(start + len(batch), len(targets))
    return {layer: vstack(of_layer, format="csr") for layer, of_layer in parts.items()}


def effect_columns(effects: Mapping[str, csr_array], min_images: int) -> dict[str, NDArray[np.float64]]:
    """Columns effect_* and n_effect_* (d_sae,) of one layer and language, from effects (n_rows, d_sae) by split.

    Mean over captions, one an image, with its interval over images (core.intervals.mean_interval, which has none where
    only a handful of captions fires the feature); NaN where there are fewer than ``min_images``.
    """
    columns: dict[str, np.ndarray] = {}
    for split, x in effects.items():
        n, d_sae = x.shape
        known = n >= min_images
        columns[f"n_effect_{split}"] = np.full(d_sae, n, np.int32)
        columns[f"effect_{split}"] = np.asarray(x.sum(0)) / n if known else np.full(d_sae, np.nan)
        if split == "test":
            ends = np.full((2, d_sae), np.nan)
            for start in range(0, d_sae if known else 0, AT_ONCE):
                part = slice(start, start + AT_ONCE)
                ends[:, part] = mean_interval(x[:, part].toarray())[1:]
            columns["effect_low_test"], columns["effect_high_test"] = ends
    return columns

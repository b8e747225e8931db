"""How well an SAE fits a run's held-out tokens: at image, prompt and caption positions, in each language.

Two measures, each with an interval over images. Explained variance: 0 is the mean of the same tokens, 1 is perfect;
where a few tokens lie far from all others it is theirs, so that the median over tokens stands beside it. Loss
recovered, with the reconstruction put at positions of one kind alone: 0 is their mean in its place, 1 is the model left
as it is. Both have the same control, since a model may write well on poor reconstructions: an untrained dictionary of
the same size that keeps as many features a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from core.activations.store import ActivationReader
from core.intervals import percentile_interval, resampled_counts
from core.sae.modules import SAE, SAEConfig
from core.sae.splicing import CaptionLosses, loss_recovered, mean_ablation, splice
from core.sae.trainer import BATCH_ROWS, ENCODER_SHARE
from core.vlm.hooks import EditFn

KINDS = ("all", "image", "prompt", "caption")
BOTH = "both"  # languages together
N_BOOTSTRAP = 500
CONTROL_STREAM = 0xF17


@dataclass(frozen=True)
class Tokens:
    """Rows of a layer's activations, and of each its image, language and kind."""

    rows: np.ndarray
    sample_id: np.ndarray
    lang: np.ndarray
    kind: np.ndarray

    def groups(self, overall: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
        """Which tokens count for a kind and language; "all" are the kinds in ``overall``, "both" both languages."""
        found = sorted(set(self.lang.tolist()))
        langs = (BOTH, *found) if len(found) > 1 else (BOTH,)
        of_kind = {kind: np.isin(self.kind, overall if kind == "all" else (kind,)) for kind in KINDS}
        chosen = {(k, lang): of_kind[k] & ((self.lang == lang) | (lang == BOTH)) for k in KINDS for lang in langs}
        return {group: of for group, of in chosen.items() if of.any()}


@torch.no_grad()
def token_fit(
    sae: SAE,
    control: SAE,
    reader: ActivationReader,
    tokens: Tokens,
    overall: Sequence[str],
    seed: int,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """A row for each kind and language: explained variance (with interval and control), L0, dead share and cosine.

    Every group is measured against its own mean, which is stricter than against the mean of all tokens.
    """
    groups = tokens.groups(overall)
    means = _group_means(reader, tokens, groups)
    sae, control = sae.to(device), control.to(device)
    n = len(tokens.rows)
    error, error_control, n_active, cosine = (np.zeros(n) for _ in range(4))
    spread = {group: np.zeros(n) for group in groups}
    fired = {group: torch.zeros(sae.cfg.d_sae, dtype=torch.bool, device=device) for group in groups}
    for start in range(0, n, BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        x = reader.read(tokens.rows[part]).to(device)
        code = sae.sparse_code(x)
        rebuilt = sae.decode_sparse(code, len(x))
        error[part] = _squares(x - rebuilt)
        error_control[part] = _squares(x - control(x))
        n_active[part] = torch.bincount(code.row, minlength=len(x)).cpu().numpy()
        cosine[part] = cosine_similarity(x, rebuilt, dim=1).double().cpu().numpy()
        for group, of in groups.items():
            inside = torch.from_numpy(of[part]).to(device)
            spread[group][part] = np.where(of[part], _squares(x.double() - means[group].to(device)), 0.0)
            fired[group][code.feature[inside[code.row]]] = True
    sae.to("cpu")
    control.to("cpu")
    return [
        {
            "kind": kind,
            "lang": lang,
            **_shares(error, error_control, spread[kind, lang], of, tokens.sample_id, seed),
            "l0": float(n_active[of].mean()),
            "dead_share": 1.0 - float(fired[kind, lang].float().mean()),
            "cosine": float(cosine[of].mean()),
        }
        for (kind, lang), of in groups.items()
    ]


@torch.no_grad()
def untrained_control(sae: SAE, x: Float[Tensor, "n d_model"], seed: int) -> SAE:
    """Directions at random, as many as the SAE has, as they stand before training; ``x`` (n, d_model) are tokens.

    Of these a token keeps the largest k, k being how many features the SAE has on average on x.
    """
    cfg, random = sae.cfg, np.random.default_rng([seed, CONTROL_STREAM, max(sae.cfg.layer, 0)])
    k = round(len(sae.sparse_code(x).row) / len(x))
    rows = torch.from_numpy(random.standard_normal((cfg.d_sae, cfg.d_model), dtype=np.float32))
    rows /= rows.norm(dim=1, keepdim=True)
    place = SAEConfig("topk", cfg.d_model, cfg.d_sae, min(max(k, 1), cfg.d_sae), cfg.layer)
    return SAE(
        place,
        {
            "W_enc": ENCODER_SHARE * rows.t().contiguous(),
            "W_dec": rows,
            "b_enc": torch.zeros(cfg.d_sae),
            "b_dec": x.mean(0),
        },
    )


def spliced_variants(sae: SAE, control: SAE, layer: int, means: Mapping[str, Tensor]) -> dict[str, dict[int, EditFn]]:
    """The edits under which captions are scored: none, and of each kind the reconstruction, the control's, the mean."""
    variants: dict[str, dict[int, EditFn]] = {"clean": {}}
    for kind, mean in means.items():
        variants[f"spliced {kind}"] = {layer: splice(sae, kind)}
        variants[f"random {kind}"] = {layer: splice(control, kind)}
        variants[f"ablated {kind}"] = {layer: mean_ablation(mean, kind)}
    return variants


def loss_fit(losses: CaptionLosses, kinds: Iterable[str], seed: int) -> list[dict[str, Any]]:
    """A row for each kind and language: cross-entropies in nats a caption token, and the loss recovered."""
    found = sorted(set(losses.lang.tolist()))
    rows = []
    for kind in kinds:
        for lang in (BOTH, *found) if len(found) > 1 else (BOTH,):
            of = (losses.lang == lang) | (lang == BOTH)
            images, place = np.unique(losses.sample_id[of], return_inverse=True)
            sums = [
                _by_image(losses.nats[name][of], place, len(images))
                for name in ("clean", f"spliced {kind}", f"ablated {kind}", f"random {kind}")
            ]
            n_tokens = int(losses.n_tokens[of].sum())
            if not n_tokens:
                continue
            clean, spliced, ablated, random = (float(s.sum()) / n_tokens for s in sums)
            counts = resampled_counts(len(images), N_BOOTSTRAP, [seed, len(images)])
            drawn = [counts @ s for s in sums]
            harm = drawn[2] - drawn[0]
            with np.errstate(divide="ignore", invalid="ignore"):
                low, high = _interval(np.where(harm > 0, (drawn[2] - drawn[1]) / harm, np.nan))
            rows.append(
                {
                    "kind": kind,
                    "lang": lang,
                    "n_scored_images": len(images),
                    "n_scored_tokens": n_tokens,
                    "ce_clean": clean,
                    "ce_spliced": spliced,
                    "ce_ablated": ablated,
                    "ce_random": random,
                    "loss_recovered": loss_recovered(clean, spliced, ablated),
                    "loss_recovered_low": low,
                    "loss_recovered_high": high,
                    "loss_recovered_random": loss_recovered(clean, random, ablated),
                }
            )
    return rows


def kind_means(reader: ActivationReader, rows: Mapping[str, np.ndarray], n_at_most: int) -> dict[str, Tensor]:
    """The mean (d_model) of the rows of each kind that has any, over ``n_at_most`` of them at even distances."""
    found = {}
    for kind, numbers in rows.items():
        if len(numbers):
            chosen = np.unique(np.linspace(0, len(numbers) - 1, min(len(numbers), n_at_most)).astype(np.int64))
            found[kind] = reader.read(numbers[chosen]).mean(0, dtype=torch.float64).float()
    return found


def joined(fit: list[dict[str, Any]], losses: list[dict[str, Any]], layer: int, sae_id: str) -> list[dict[str, Any]]:
    """Rows of sae_fit.parquet: both measures of each kind and language side by side; NaN becomes null."""
    by_group = {(row["kind"], row["lang"]): row for row in losses}
    rows = [{"layer": layer, "sae_id": sae_id, **row, **by_group.get((row["kind"], row["lang"]), {})} for row in fit]
    return [{k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()} for row in rows]


def _group_means(
    reader: ActivationReader, tokens: Tokens, groups: Mapping[tuple[str, str], np.ndarray]
) -> dict[tuple[str, str], Tensor]:
    sums = {group: torch.zeros(reader.d_model, dtype=torch.float64) for group in groups}
    for start in range(0, len(tokens.rows), BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        x = reader.read(tokens.rows[part]).double()
        for group, of in groups.items():
            sums[group] += x[torch.from_numpy(of[part])].sum(0)
    return {group: total / int(groups[group].sum()) for group, total in sums.items()}


def _squares(difference: Tensor) -> np.ndarray:
    return difference.double().square().sum(1).cpu().numpy()


def _shares(
    error: np.ndarray, error_control: np.ndarray, spread: np.ndarray, of: np.ndarray, sample_id: np.ndarray, seed: int
) -> dict[str, Any]:
    """Explained variance of the tokens ``of``; images are drawn for the interval, the mean staying where it is."""
    images, place = np.unique(sample_id[of], return_inverse=True)
    e, s = (_by_image(values[of], place, len(images)) for values in (error, spread))
    total = float(s.sum())
    counts = resampled_counts(len(images), N_BOOTSTRAP, [seed, len(images)])
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = _interval(1.0 - (counts @ e) / (counts @ s)) if total > 0 else (float("nan"),) * 2
    return {
        "n_images": len(images),
        "n_tokens": int(of.sum()),
        "explained_variance": 1.0 - float(e.sum()) / total if total > 0 else float("nan"),
        "explained_variance_low": low,
        "explained_variance_high": high,
        "explained_variance_random": 1.0 - float(error_control[of].sum()) / total if total > 0 else float("nan"),
        "explained_variance_median": median_share(error[of], spread[of]),
        "explained_variance_median_random": median_share(error_control[of], spread[of]),
    }


def median_share(error: Float[np.ndarray, " n"], spread: Float[np.ndarray, " n"]) -> float:
    """Median over tokens of 1 - |x - x_hat|^2 / |x - mean|^2, from both squares; NaN where all are the mean itself."""
    away = spread > 0
    return 1.0 - float(np.median(error[away] / spread[away])) if away.any() else float("nan")


def _by_image(values: np.ndarray, place: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(place, weights=values, minlength=n)


def _interval(draws: np.ndarray) -> tuple[float, float]:
    draws = draws[np.isfinite(draws)]
    if len(draws) < 2:
        return float("nan"), float("nan")
    low, high = percentile_interval(draws)
    return float(low), float(high)

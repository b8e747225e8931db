"""The logit lens: the model's own final norm and unembedding, put on the residuals of a layer that is not the last.

It answers which word the model would write if the layers above did nothing (nostalgebraist 2020). Unlike a probe it
learns nothing, so it cannot learn gender from the images it is scored on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata
from torch import Tensor

from core.config import LayersConfig
from core.errors import UserError
from core.intervals import (
    clopper_pearson,
    influence_interval,
    percentile_interval,
    resampled_counts,
    shuffled_within,
)
from core.layers.measures import auc, auc_ends

CHUNK_ELEMENTS = 1 << 24  # positions x vocabulary at once (64 MiB in float32)
N_SHUFFLED = 500
NUMBERS = (
    "auc",
    "low",
    "high",
    "p",
    "shuffled_low",
    "shuffled_high",
    "random",
    "random_high",
    "effect",
    "effect_low",
    "effect_high",
    "offset",
    "rank_median",
    "first",
    "first_low",
    "first_high",
    "entropy",
    "entropy_low",
    "entropy_high",
    *(f"difference_{g}{end}" for g in ("female", "male", "neutral") for end in ("", "_low", "_high")),
)


class Unembedding(Protocol):
    """The part of core.vlm's VLM that is used here."""

    def logits(self, resid: Tensor) -> Tensor: ...

    def token_strings(self, ids: Sequence[int]) -> list[str]: ...


class Score(Protocol):
    """Log-odds of a word for a woman, by row of logits; a part of the rows is taken as of a list.

    Satisfied by ``core.gender.contrast.LogOdds`` (each row its own pair of spellings) and by
    ``core.gender.logit_words.WordSets`` (the same words in all rows).
    """

    def __call__(self, logits: Tensor) -> Tensor: ...

    def __getitem__(self, rows: slice) -> Score: ...


@dataclass(frozen=True)
class LensScores:
    """What the lens reads at n positions: difference (n,) log-odds of a word for a woman, rank (n,) of the token that
    was written (1 = first), entropy (n,) in bits, random (n_controls, n) differences of other words, and pair (n,) the
    number of the pair of words that is compared there."""

    difference: NDArray[np.float64]
    rank: NDArray[np.int64]
    entropy: NDArray[np.float64]
    random: NDArray[np.float64]
    pair: NDArray[np.int64]
    offset: float  # the difference at the mean of all residuals


class LogitLens:
    """Reads single residuals of any layer as if they were the last's, and says how far they tell women from men."""

    def __init__(self, vlm: Unembedding, config: LayersConfig | None = None, seed: int = 0):
        if not hasattr(vlm, "logits"):
            what, why = (
                f"A {type(vlm).__name__} has no logits to read.",
                "The lens needs a captioner's last norm and words.",
            )
            raise UserError(what, why, "Load one: load_model(run).")
        self.vlm, self.config, self.seed = vlm, config or LayersConfig(), seed

    @torch.no_grad()
    def read(
        self,
        resid: Tensor,
        said: ArrayLike,
        score: Score | None = None,
        controls: Sequence[Score] = (),
        pair: ArrayLike | None = None,
    ) -> LensScores:
        """Scores of residuals (n, d_model) at whose positions the tokens ``said`` (n,) were written next.

        ``score`` gives the log-odds of the words that are compared (without one they are NaN), ``controls`` those of
        other words in their place; ``pair`` (n,) numbers the pairs of words, where positions have pairs of their own.
        UserError where the numbers differ or residuals are of another width than the model's.
        """
        written, parts = torch.as_tensor(np.asarray(said, np.int64)), []
        self._check(resid)
        if len(written) != len(resid):
            why = "Each residual is read beside the token that was written next."
            raise UserError(f"There are {len(resid)} residuals and {len(written)} tokens.", why, "Give one token each.")
        pairs = np.zeros(len(resid), np.int64) if pair is None else np.asarray(pair, np.int64)
        if not len(resid):
            empty = np.zeros(0)
            return LensScores(empty, empty.astype(np.int64), empty, np.zeros((len(controls), 0)), pairs, float("nan"))
        with _one_thread():
            mean = self.vlm.logits(resid.float().mean(0, keepdim=True)).float()
            chunk, offsets = max(1, CHUNK_ELEMENTS // mean.shape[-1]), []
            for start in range(0, len(resid), chunk):
                rows = slice(start, min(start + chunk, len(resid)))
                logits = self.vlm.logits(resid[rows]).float()
                here = [control[rows] for control in controls]
                compared = score[rows] if score is not None else _nothing
                parts.append(_read(logits, written[rows].to(logits.device), compared, here))
                offsets.append(compared(mean.expand(len(logits), -1)).cpu())
        columns = [np.concatenate(column, axis=-1) for column in zip(*parts, strict=True)]
        return LensScores(*columns, pair=pairs, offset=float(torch.cat(offsets).mean()))

    @torch.no_grad()
    def top_words(self, resid: Mapping[int, Tensor | NDArray[np.floating]], k: int = 5) -> list[dict[str, Any]]:
        """The ``k`` tokens that each layer would write next, the likeliest first: rows to make a frame of.

        ``resid`` maps layers to residuals (n, d_model). One row a layer, position (number of the residual) and rank
        (1 = first): token_id, word (its text) and probability. UserError for residuals of another width.
        """
        if not isinstance(resid, Mapping):
            why = "The lens reads layer by layer."
            raise UserError(
                "The residuals are not given by layer.", why, "Give {layer: residuals}, such as {5: resid}."
            )
        rows = []
        for layer, given in resid.items():
            x = torch.as_tensor(given).float()
            self._check(x)
            for position, one in enumerate(x):
                chances = self.vlm.logits(one[None]).float().softmax(-1)[0]
                if not 0 < k <= len(chances):
                    why = f"The model has {len(chances)} tokens."
                    raise UserError(f"There are no {k} top words.", why, f"Give k from 1 to {len(chances)}.")
                for rank, (chance, token) in enumerate(zip(*(t.tolist() for t in chances.topk(k)), strict=True), 1):
                    (word,) = self.vlm.token_strings([token])
                    rows.append(
                        {
                            "layer": layer,
                            "position": position,
                            "rank": rank,
                            "token_id": token,
                            "word": word,
                            "probability": chance,
                        }
                    )
        return rows

    def _check(self, resid: Tensor) -> None:
        width = getattr(self.vlm, "d_model", None)
        if resid.dim() != 2 or (width is not None and resid.shape[1] != width):
            what = f"Residuals of shape {tuple(resid.shape)} cannot be read."
            why = f"They must be (n, {width or 'd_model'}): a row a position, as wide as the model's residual stream."
            raise UserError(what, why, "Take them from the run or the model that the lens was made with.")

    def summarise(
        self, scores: LensScores, gender: ArrayLike, group: ArrayLike | None = None, why: str = ""
    ) -> dict[str, Any]:
        """One row on positions of images of ``gender`` (n,): "female", "male" or "neutral"; ``group`` (n,) their image.

        auc: how often the difference is larger at an image of a woman than at one of a man, with its interval over
        images. Its null: image labels shuffled among positions at which the same two words are compared, so that what
        the choice of words tells of the image stays; their central 95 % and p (two-sided, by their mean and standard
        deviation). The 95th percentile of what other words give (AUC or its complement, whichever is larger). effect:
        the mean difference at women less that at men. first: share of positions whose written token ranks first. NaN
        with the reason in ``why`` where one is given, and below ``config.min_images`` images of a gender.
        """
        gender = np.asarray(gender)
        group = np.unique(np.arange(len(gender)) if group is None else np.asarray(group), return_inverse=True)[1]
        row: dict[str, Any] = {f"n_{g}": int((gender == g).sum()) for g in ("female", "male", "neutral")}
        row |= {"n_pairs": len(np.unique(scores.pair))}
        row |= dict.fromkeys(NUMBERS, float("nan")) | {"why": why or self._too_few(gender, group)}
        if row["why"]:
            return row
        counts = resampled_counts(group.max() + 1, self.config.n_bootstrap, [self.seed, 4])
        weights = np.vstack([np.ones(len(group)), counts[:, group].astype(float)])
        sides = {g: _parts(scores.difference, gender == g, group) for g in ("female", "male", "neutral")}
        for g, (mean, parts) in sides.items():
            _put(row, f"difference_{g}", mean, parts)
        women, men = sides["female"], sides["male"]
        _put(row, "effect", women[0] - men[0], women[1], -men[1])
        _put(row, "entropy", *_parts(scores.entropy, np.ones(len(group), bool), group))
        row["rank_median"], row["offset"] = float(np.median(scores.rank)), scores.offset
        n_first = int((scores.rank == 1).sum())
        row["first"] = n_first / len(group)
        row["first_low"], row["first_high"] = (float(end) for end in clopper_pearson(n_first, len(group)))
        gendered = np.isin(gender, ("female", "male"))
        labels, fold = gender[gendered] == "female", np.zeros(gendered.sum(), int)
        difference = scores.difference[gendered]
        draws = auc(difference, labels, fold, weights[:, gendered])
        row["auc"], (row["low"], row["high"]) = float(draws[0]), auc_ends(draws, labels, fold)
        row |= self._shuffled(difference, labels, scores.pair[gendered], row["auc"])
        if len(scores.random):
            flat = np.ones((1, gendered.sum()))
            random = np.array([auc(r[gendered], labels, fold, flat)[0] for r in scores.random])
            random = np.maximum(random, 1 - random)
            row["random"], row["random_high"] = float(random.mean()), float(np.quantile(random, 0.95))
        return row

    def _shuffled(
        self, difference: NDArray, labels: NDArray[np.bool_], pair: NDArray[np.int64], found: float
    ) -> dict[str, float]:
        rng, ranks = np.random.default_rng([self.seed, 5]), rankdata(difference)
        n, n_pairs = int(labels.sum()), int(labels.sum() * (~labels).sum())
        sums = np.array([ranks[shuffled_within(labels, pair, rng)].sum() for _ in range(N_SHUFFLED)])
        null = (sums - n * (n + 1) / 2) / n_pairs
        low, high = percentile_interval(null)
        spread = float(null.std(ddof=1))
        p = float(2 * norm.sf(abs(found - null.mean()) / spread)) if spread > 0 else 1.0
        return {"shuffled_low": float(low), "shuffled_high": float(high), "p": p}

    def _too_few(self, gender: NDArray, group: NDArray[np.int_]) -> str:
        for g, name in (("female", "women"), ("male", "men")):
            n = len(np.unique(group[gender == g]))
            if n < self.config.min_images:
                return f"{n} held-out images of {name}; at least {self.config.min_images} are needed"
        return ""


def _nothing(logits: Tensor) -> Tensor:
    return torch.full(logits.shape[:1], float("nan"), device=logits.device)


def _read(
    logits: Tensor, said: Tensor, score: Callable[[Tensor], Tensor], controls: Sequence[Score]
) -> tuple[NDArray, ...]:
    rank = 1 + (logits > logits.gather(1, said[:, None])).sum(1)
    log_p = logits.log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(1) / np.log(2)
    random = torch.stack([control(logits) for control in controls]) if controls else logits.new_zeros(0, len(logits))
    found = (score(logits), rank, entropy, random)
    return tuple(part.cpu().double().numpy() for part in found)


def _parts(values: NDArray, chosen: NDArray[np.bool_], group: NDArray[np.int_]) -> tuple[float, NDArray[np.float64]]:
    """Mean of the chosen positions, NaN where there are none, and what each image that has one adds to it."""
    n = np.bincount(group[chosen])
    sums = np.bincount(group[chosen], values[chosen])[n > 0]
    n = n[n > 0]
    mean = float(sums.sum() / n.sum()) if len(n) else float("nan")
    return mean, (sums - mean * n) / max(n.sum(), 1)


def _put(row: dict[str, Any], name: str, value: float, *parts: NDArray) -> None:
    """The value with its interval over images, of one group or of two that have no image in common."""
    if np.isfinite(value):
        n = sum(map(len, parts))
        each = [one * np.sqrt(len(one) / max(len(one) - 1, 1) * (n - 1) / n) for one in parts]
        low, high = influence_interval(value, np.concatenate(each), n)
        row[name], row[f"{name}_low"], row[f"{name}_high"] = value, float(low), float(high)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in another order give other last digits, and so other files."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

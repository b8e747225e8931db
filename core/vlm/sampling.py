"""Captions drawn at random from the model's own probabilities; a draw depends on its own numbers and on no other row.

Draws of one image that have begun alike are one row of the batch until they part, so that many draws cost little more
than the different captions among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from core.vlm.batch import Decoding, Features

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

Captions = list[list[list[int]]]


def uniforms(keys: Sequence[Sequence[int]], max_new_tokens: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), (n_keys, max_new_tokens): row i is a function of ``keys[i]`` alone (whole numbers >= 0)."""
    return np.stack([np.random.default_rng(list(key)).random(max_new_tokens) for key in keys])


def choose(scores: Float[Tensor, "*n vocab"], u: Float[Tensor, "*n"], temperature: float) -> Int[Tensor, "*n"]:
    """The token whose span of the cumulative probability at ``temperature`` holds u, in float64 (inverse transform)."""
    spans = (scores.double() / temperature).softmax(-1).cumsum(-1)
    # Rounding may leave the last span a little below 1: u is taken as a share of it.
    return torch.searchsorted(spans, u.to(spans)[:, None] * spans[:, -1:], right=True)[:, 0]


@torch.inference_mode()
def sample_captions(
    vlm: VLM, rows: Sequence[Sequence[int]], features: Features, numbers: NDArray[np.float64], temperature: float = 1.0
) -> tuple[Captions, list[list[bool]]]:
    """Captions (ids without the end token) drawn of each row, and whether each met its end token in time.

    ``numbers`` (n_rows, n_draws, max_new_tokens) are the draws' own (``uniforms``); ``features`` as in ``VLM.forward``.
    Both results are lists by row, then by draw.
    """

    def work(start: int, stop: int) -> tuple[Captions, list[list[bool]]]:
        return _sampled(vlm, rows[start:stop], features[start:stop], numbers[start:stop], temperature)

    parts = vlm.halving("sampled captions", work, len(rows))
    return [c for captions, _ in parts for c in captions], [e for _, ends in parts for e in ends]


def _sampled(
    vlm: VLM, rows: Sequence[Sequence[int]], features: Features, numbers: NDArray[np.float64], temperature: float
) -> tuple[Captions, list[list[bool]]]:
    n_rows, n_draws, max_new_tokens = numbers.shape
    captions: list[list[int]] = [[] for _ in range(n_rows * n_draws)]
    finished = [False] * len(captions)
    u = torch.from_numpy(numbers.reshape(len(captions), max_new_tokens)).to(vlm.device)
    ends = torch.tensor(vlm.eos_ids, device=vlm.device)
    draws = torch.arange(len(captions), device=vlm.device)  # those that have not ended,
    place = draws // max(1, n_draws)  # and the row of the batch that holds what each has written so far
    state = None
    for step in range(max_new_tokens if captions else 0):
        if state is None:
            state = vlm._prefill(rows, features, max_new_tokens, {})
        else:
            vlm._step(state)
        tokens = _choose_all(state.scores, place, u[draws, step], temperature)
        at_end = torch.isin(tokens, ends)
        for draw, token, end in zip(draws.tolist(), tokens.tolist(), at_end.tolist(), strict=True):
            if end:
                finished[draw] = True
            else:
                captions[draw].append(token)
        if at_end.all():
            break
        draws, n_tokens = draws[~at_end], state.scores.shape[1]
        parted, place = torch.unique(place[~at_end] * n_tokens + tokens[~at_end], return_inverse=True)
        _become(state, parted // n_tokens, parted % n_tokens)
    starts = range(0, len(captions), max(1, n_draws))
    return [captions[i : i + n_draws] for i in starts], [finished[i : i + n_draws] for i in starts]


def _choose_all(scores: Tensor, place: Tensor, u: Tensor, temperature: float, chunk: int = 256) -> Tensor:
    """``choose`` for each draw from the scores of its row, some at a time, for the probabilities are wide."""
    parts = zip(place.split(chunk), u.split(chunk), strict=True)
    return torch.cat([choose(scores[at], numbers, temperature) for at, numbers in parts])


def _become(state: Decoding, parents: Tensor, tokens: Tensor) -> None:
    """Each row of the batch goes on with its tokens: doubled where its draws part, dropped where all have ended."""
    same = len(parents) == len(state.next_ids) and bool((parents == torch.arange(len(parents)).to(parents)).all())
    if not same:
        state.cache.batch_select_indices(parents)
        state.mask, state.position = state.mask[parents], state.position[parents]
    state.next_ids = tokens

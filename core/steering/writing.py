"""Captions written a token at a time, with the probability of words for women and for men at every token."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.vlm.hooks import EditFn
from core.vlm.sampling import choose

if TYPE_CHECKING:
    from core.gender.logit_words import WordSets
    from core.vlm.adapter import VLM


@dataclass
class Writing:
    """What one row has written so far; its end token is left out.

    ``female`` and ``male`` hold, for each token, the total probability that the model gave to the tokens that begin a
    word for a woman, or for a man, when that token was chosen (temperature 1, after the edits).
    """

    ids: list[int]
    female: list[float]
    male: list[float]
    finished: bool = False


def write(
    vlm: VLM,
    rows: Sequence[Sequence[int]],
    features: Tensor,
    max_new_tokens: int,
    edits: Mapping[int, EditFn] | None = None,
    words: Sequence[WordSets] = (),
    stop: threading.Event | None = None,
    numbers: NDArray[np.float64] | None = None,
    temperature: float = 1.0,
) -> Iterator[list[Writing]]:
    """All rows together, one token a step: greedy, or drawn with ``numbers`` (n_rows, max_new_tokens) in [0, 1).

    ``words`` are the sets of each row's language; without them no probability is kept. The same list is given again
    after every step. Ends when all rows have met an end token, after ``max_new_tokens`` steps, or when ``stop`` is set.
    Edits act on the prompt and on every token; their hooks are installed only while a step runs.
    """
    found = [Writing([], [], []) for _ in rows]
    sides = [(s.female.to(vlm.device), s.male.to(vlm.device)) for s in words]
    state = None
    for step in range(max_new_tokens if rows else 0):
        if stop is not None and stop.is_set():
            return
        if state is None:
            state = vlm._prefill(rows, features, max_new_tokens, edits or {})
        else:
            vlm._step(state)
        if numbers is not None:
            u = torch.from_numpy(np.ascontiguousarray(numbers[:, step])).to(state.scores.device)
            state.next_ids = choose(state.scores, u, temperature)
        chances = _chances(state.scores, sides)
        for row, token in enumerate(state.next_ids.tolist()):
            one = found[row]
            one.finished = one.finished or token in vlm.eos_ids
            if not one.finished:
                one.ids.append(token)
                if chances:
                    one.female.append(chances[row][0])
                    one.male.append(chances[row][1])
        yield found
        if all(one.finished for one in found):
            return


@torch.inference_mode()
def _chances(scores: Tensor, sides: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[float, float]]:
    """Total probability of the tokens of both sets of each row, from logits (n_rows, vocab)."""
    if not sides:
        return []
    p = scores.softmax(-1)
    both = [torch.stack([p[row, female].sum(), p[row, male].sum()]) for row, (female, male) in enumerate(sides)]
    return [(float(f), float(m)) for f, m in torch.stack(both).tolist()]

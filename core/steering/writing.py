"""Captions written a token at a time, with the probability of words for women and for men at every token."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.gender.word_ends import word_ends
from core.gender.word_mass import Mass, MassMeter, WordTrie
from core.vlm.hooks import EditFn
from core.vlm.sampling import choose

if TYPE_CHECKING:
    from core.vlm.adapter import VLM


@dataclass
class Writing:
    """What one row has written so far; its end token is left out.

    ``masses`` hold, for each token, the total probability that the model gave to words for women, words for men and
    generic masculines, whole, when that token was chosen (temperature 1, after the edits). The last ones are known when
    the words that they speak of have been written: until then what is not known stands in ``left_out``.
    """

    ids: list[int] = field(default_factory=list)
    masses: list[Mass] = field(default_factory=list)
    finished: bool = False

    def of(self, kind: str) -> tuple[float, ...]:
        """A field of the masses, by token."""
        return tuple(getattr(mass, kind) for mass in self.masses)


def write(
    vlm: VLM,
    rows: Sequence[Sequence[int]],
    features: Tensor,
    max_new_tokens: int,
    edits: Mapping[int, EditFn] | None = None,
    words: Sequence[WordTrie] = (),
    stop: threading.Event | None = None,
    numbers: NDArray[np.float64] | None = None,
    temperature: float = 1.0,
) -> Iterator[list[Writing]]:
    """All rows together, one token a step: greedy, or drawn with ``numbers`` (n_rows, max_new_tokens) in [0, 1).

    ``words`` are the tries of each row's language; without them no mass is kept, with them the captions are the same.
    The same list is given again after every step. Ends when all rows have met an end token, after ``max_new_tokens``
    steps, or when ``stop`` is set. Edits act on the prompt and on every token, tried ones among them; their hooks are
    installed only while a step runs.
    """
    found = [Writing() for _ in rows]
    meter = MassMeter(vlm, words, word_ends(vlm)) if words else None
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
        tokens = state.next_ids.tolist()
        for one, token in zip(found, tokens, strict=True):
            one.finished = one.finished or token in vlm.eos_ids
        if meter is not None:
            before = [None if one.finished else _end(vlm, one.ids) for one in found]
            masses = meter.look(state, before, last=step == max_new_tokens - 1)
            for one, mass in zip(found, masses, strict=True):
                one.masses += [] if mass is None else [mass]
        for one, token in zip(found, tokens, strict=True):
            one.ids += [] if one.finished else [token]
        yield found
        if all(one.finished for one in found):
            return


def _end(vlm: VLM, ids: Sequence[int]) -> str:
    """The last piece of what has been written."""
    return next((piece for piece in reversed(vlm.token_strings(ids[-4:])) if piece), "")

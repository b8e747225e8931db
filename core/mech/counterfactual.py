"""One caption under its own picture and under the mean picture: what the picture changes, and where that change sits.

The row of tokens is the same, so every position of every layer has two states: with the picture, and without it (the
image tokens are the mean over other images, place by place). What the log-odds of the word gain between the two is the
*total*. It can be followed through the layers: nothing of the picture comes in later, so at each layer the total is
what the change of that layer's states makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import UserError
from core.vlm.batch import BOS, CAPTION, IMAGE, PAD
from core.vlm.gradients import INPUT, Score, path_gradients

if TYPE_CHECKING:
    from core.vlm.adapter import VLM
    from core.vlm.prefix import Prefix

PLACES = ("image", "question", "words", "here")
"""Kinds of positions: image tokens, the question, the caption so far, and the last, from which the word is chosen."""
NOWHERE = -1  # BOS: no feature is read there

NO_GRADIENT = ("require grad", "require gradients", "derivative", "not implemented")
"""What torch says where a part of a model, such as a quantised matrix, has no way back."""


class Counterfactual:
    """States of ``layers`` with the ``picture`` and with the ``mean`` picture (*feature_shape), for one row.

    ``score`` reads one row's logits. States are float32; layer INPUT is the picture itself. UserError where layers look
    at the image from outside the row, for then their states are not all that the picture does.
    """

    @torch.no_grad()
    def __init__(
        self,
        vlm: VLM,
        row: Sequence[int],
        picture: Tensor,
        mean: Tensor,
        score: Callable[[Tensor], Tensor] | Score,
        layers: Sequence[int],
        n_steps: int = 8,
        at_once: int = 16,
    ):
        if any(hasattr(layer, "cross_attn") for layer in vlm.decoder_layers):
            raise UserError(
                "The way of the picture through this model cannot be followed.",
                "Its layers look at the image from outside the row of tokens, so that the states of a layer do not "
                "hold all that the picture does.",
                "Use a model whose image tokens stand in the row, such as Gemma 3.",
            )
        self.vlm, self.row, self.score, self.layers = vlm, list(row), score, sorted(layers)
        self.n_steps, self.at_once = n_steps, at_once
        self._prefixes: dict[int, Prefix] = {}
        last = vlm.n_layers - 1
        pictures = torch.stack([picture, mean])
        seen = vlm.forward([self.row] * 2, pictures, [*self.layers, last])
        self._states = {INPUT: pictures.float(), **{layer: seen.resid[layer].float() for layer in self.layers}}
        odds = torch.cat([score(vlm.logits(seen.resid[last][i : i + 1, -1])) for i in range(2)]).double()
        self.with_picture, self.without = (float(x) for x in odds)
        self.places = places(seen.kinds[0])

    @property
    def total(self) -> float:
        """What the picture, rather than the mean picture, adds to the log-odds of the word."""
        return self.with_picture - self.without

    @property
    def picture(self) -> Tensor:
        """The picture (*feature_shape) as it enters the language model."""
        return self._states[INPUT][0]

    def state(self, layer: int) -> Tensor:
        """The states with the picture (positions, d_model); at INPUT (*feature_shape)."""
        return self._states[layer][0]

    def base(self, layer: int) -> Tensor:
        """The states with the mean picture."""
        return self._states[layer][1]

    def change(self, layer: int) -> Tensor:
        """What the picture changes there."""
        return self.state(layer) - self.base(layer)

    def _prefix(self, layer: int) -> Prefix | None:
        if layer == INPUT:
            return None
        if layer not in self._prefixes:
            self._prefixes[layer] = self.vlm.prefix([self.row], self._states[INPUT][:1], layer, decoding=False)
        return self._prefixes[layer]

    def gradient(self, layer: int, read: Callable[[Tensor], Tensor] | None = None, upper: int | None = None) -> Tensor:
        """Mean gradient (n_values, *state) on the straight way from ``base`` to ``state``: see ``path_gradients``.

        Without ``read``, of the log-odds. UserError where the model lets no gradient through.
        """
        to_word = lambda logits: torch.cat([self.score(one[None]) for one in logits])[:, None]  # noqa: E731
        try:
            return path_gradients(
                self.vlm,
                self.row,
                self._states[INPUT][0],
                layer,
                self.base(layer),
                self.state(layer),
                read or to_word,
                upper,
                self.n_steps,
                self.at_once,
                self._prefix(layer),
            )
        except RuntimeError as error:
            if not any(words in str(error) for words in NO_GRADIENT):
                raise  # such as a lack of memory, which is not of the model's kind
            raise UserError(
                "No gradient goes back through this model.",
                str(error).strip().splitlines()[0] if str(error) else error.__class__.__name__,
                "Load it unquantised (model.quantize), or use a family of docs/models.md.",
            ) from error

    @torch.no_grad()
    def scores(self, layer: int, changes: Tensor) -> NDArray[np.float64]:
        """Log-odds (n,) where ``changes`` (n, *state) are added to the states with the picture."""
        last = self.vlm.n_layers - 1
        resid = self.behind(layer, changes, last)[:, -1]
        odds = [self.score(self.vlm.logits(one[None])) for one in resid]
        return torch.cat(odds).double().cpu().numpy() if odds else np.zeros(0)

    def behind(self, layer: int, changes: Tensor, upper: int) -> Tensor:
        """resid_post (n, positions, d_model) of ``upper`` where ``changes`` (n, *state) are added at ``layer``."""
        found = []
        for some in changes.split(self.at_once):
            n, pictures = len(some), self._states[INPUT][:1].expand(len(some), *self._states[INPUT].shape[1:])
            if layer == INPUT:
                seen = self.vlm.forward([self.row] * n, pictures + some, [upper])
            else:
                prefix = self._prefix(layer)
                assert prefix is not None
                add = {layer: _Add(some)}
                seen = self.vlm.forward([self.row] * n, pictures, [upper], edits=add, prefix=prefix.take([0] * n))
            found.append(seen.resid[upper].float())
        shape = (0, len(self.row), self.vlm.d_model)
        return torch.cat(found) if found else torch.zeros(shape, device=self.vlm.device)


class _Add:
    """An edit: something is added to each row's states."""

    def __init__(self, change: Tensor):
        self.change = change

    def __call__(self, h: Tensor, _kinds: Tensor) -> Tensor:
        return (h.float() + self.change.to(h.device)).to(h.dtype)

    def of_rows(self, start: int, stop: int) -> _Add:
        return _Add(self.change[start:stop])


def places(kinds: Tensor) -> Tensor:
    """Numbers of PLACES (positions,) of one row's kinds; NOWHERE for BOS. Special tokens belong to the question."""
    found = torch.ones_like(kinds, dtype=torch.int64)
    found[kinds == IMAGE] = PLACES.index("image")
    found[kinds == CAPTION] = PLACES.index("words")
    found[-1] = PLACES.index("here")
    found[(kinds == BOS) | (kinds == PAD)] = NOWHERE
    return found

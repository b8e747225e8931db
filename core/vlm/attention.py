"""Attention patterns of a running model, computed from the queries and keys that its own attention is handed.

The model's attention function runs as it always does and its result is passed on untouched; beside it the weights are
computed from the same rotated, normalised queries and keys and the same mask. So nothing has to be switched to the
eager implementation, and families differ in nothing here.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

NAME = "captionscope_observed"
Keep = Callable[[Tensor, Tensor, Callable[[Tensor], Tensor]], None]
"""(query (batch, heads, q, d_head), key (batch, kv_heads, k, d_head), pattern_of) -> None; ``pattern_of`` takes (n,)
query positions to their weights (batch, heads, n, k)."""
_observed: WeakKeyDictionary[nn.Module, tuple[Callable[..., Any], Keep]] = WeakKeyDictionary()


@contextmanager
def observing(modules: Mapping[nn.Module, Keep]) -> Iterator[None]:
    """Call ``keep`` in every pass of these attention modules; their configs are as before when the block ends.

    Raises ValueError for a module that does not take its attention function by name from its config.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, _run)
    configs: dict[nn.Module, Any] = {}
    try:
        for module, keep in modules.items():
            config: Any = getattr(module, "config", None)
            name = getattr(config, "_attn_implementation", None)
            if name is None or (name != "eager" and name not in ALL_ATTENTION_FUNCTIONS):
                raise ValueError(f"{type(module).__name__} names no attention function in its config.")
            default: Any = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
            _observed[module] = (ALL_ATTENTION_FUNCTIONS.get_interface(name, default), keep)
            configs[module], module.config = config, copy.copy(config)
            module.config._attn_implementation_internal = NAME
        yield
    finally:
        for module, config in configs.items():
            module.config = config
            del _observed[module]


def _run(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any):
    function, keep = _observed[module]

    def pattern_of(positions: Tensor) -> Tensor:
        return attention_weights(query, key, attention_mask, positions, options.get("scaling"), options.get("softcap"))

    keep(query, key, pattern_of)
    return function(module, query, key, value, attention_mask, **options)


@torch.no_grad()
def attention_weights(
    query: Float[Tensor, "rows heads q d_head"],
    key: Float[Tensor, "rows kv_heads k d_head"],
    mask: Tensor | None,
    positions: Int[Tensor, " n"],
    scaling: float | None = None,
    softcap: float | None = None,
) -> Float[Tensor, "rows heads n k"]:
    """Softmax over keys (batch, heads, n, k) float32 of the chosen queries; each key head serves a group of heads.

    ``mask`` (batch, 1 or heads, q, k): bool, True where attended, or added to the scores; None is causal for several
    queries and open for one, as torch's scaled_dot_product_attention is called.
    """
    n_queries = query.shape[2]
    keys = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1).float()
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query[:, :, positions].float() @ keys.transpose(2, 3) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is None and n_queries > 1:
        mask = torch.ones(n_queries, keys.shape[2], dtype=torch.bool, device=scores.device).tril()[None, None]
    if mask is not None:
        here = mask[:, :, positions, : keys.shape[2]]
        scores = scores.masked_fill(~here, float("-inf")) if here.dtype == torch.bool else scores + here
    # Queries of padding may attend to nothing at all.
    return scores.softmax(-1).nan_to_num(0.0)

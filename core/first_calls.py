"""Makes the first call of each vector function on one thread, so that runs end in the same bytes.

oneMKL (2024.2, in the torch wheels for Intel and AMD processors) chooses the kernel of a function at its first call.
When several threads make that call together, one may get the low-accuracy kernel for its part: once, in the first
tensor of a process, silently (pytorch/pytorch issue 188792). We met it as rotary embeddings that differed by one bit
of bfloat16 in 2 of 25 processes on a busy machine.
"""

from __future__ import annotations

import functools

FUNCTIONS = (
    "acos",
    "asin",
    "atan",
    "cos",
    "cosh",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "expm1",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
)


@functools.cache
def make_first_calls() -> None:
    """Call each function on one number, in both precisions; to be called before any work with torch."""
    import torch

    for dtype in (torch.float32, torch.float64):
        for name in FUNCTIONS:
            getattr(torch, name)(torch.full((1,), 0.5, dtype=dtype))

"""The model's own weights as factored matrices: what a head reads and writes (OV), what it looks for (QK), and MLPs.

Norm gains are folded in, so that a matrix acts on the residual stream as it stands but for the scale that a norm takes
from the whole vector: OV[h] = diag(g_in) W_V' W_O'[h] diag(g_out), QK[h] = diag(g_in) W_Q' diag(g_q g_k) W_K diag(g_in)
at relative distance 0 (the rotary angles left out). Query heads of a group share W_K and W_V.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core.mech.factored import FactoredMatrix
from core.vlm.blocks import Block

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

MATRICES = ("OV", "QK", "MLP")


def ov(vlm: VLM, layer: int, head: int) -> FactoredMatrix:
    """What a head writes for what stands at the position it attends to, (d_model, d_model) of rank d_head."""
    block = _inside(vlm, layer)
    read = _rows(_weight(block, "v"), block.kv_head(head), block.d_head).mT
    write = _weight(block, "o")[:, head * block.d_head : (head + 1) * block.d_head].mT
    return FactoredMatrix(_scaled(block.gain("attn_in_norm"), read), _scaled(block.gain("attn_out_norm"), write.mT).mT)


def qk(vlm: VLM, layer: int, head: int) -> FactoredMatrix:
    """What a head looks for: x QK y' is the score of a query at x for a key at y, up to norms' scales and distance."""
    block = _inside(vlm, layer)
    gain = block.gain("attn_in_norm")
    query = _scaled(block.gain("q_norm"), _rows(_weight(block, "q"), head, block.d_head)).mT
    key = _scaled(block.gain("k_norm"), _rows(_weight(block, "k"), block.kv_head(head), block.d_head)).mT
    return FactoredMatrix(_scaled(gain, query), _scaled(gain, key).mT)


def mlp(vlm: VLM, layer: int) -> FactoredMatrix:
    """W_in W_out of an MLP, (d_model, d_model) through all its neurons, as if each let through what it gets."""
    block = Block(vlm, layer)
    read, write = _weight(block, "up").mT, _weight(block, "down").mT
    out = _scaled(block.gain("mlp_out_norm"), write.mT).mT * torch.as_tensor(block.gate("mlp")).cpu()
    return FactoredMatrix(_scaled(block.gain("mlp_in_norm"), read), out)


def spectra(vlm: VLM, layer: int, seed: int) -> list[dict[str, Any]]:
    """One row a matrix of the layer: its spectrum, trace and eigenvalues, and what a random product of its shape has.

    Of a cross-attention layer the MLP alone: its heads read the image's states, not the residual stream.

    ``random_*`` are of Gaussian factors with the same shapes: what a matrix has that has learned nothing. Worked out in
    double precision and rounded to single, so that the order of sums on a machine does not show.
    """
    block = Block(vlm, layer)
    heads = range(0 if block.looks_outside else block.n_heads)
    found = [("OV", head, ov(vlm, layer, head)) for head in heads]
    found += [("QK", head, qk(vlm, layer, head)) for head in heads]
    found.append(("MLP", -1, mlp(vlm, layer)))
    chance: dict[tuple[int, ...], tuple[float, float]] = {}
    rows = []
    for name, head, exact in found:
        matrix = FactoredMatrix(exact.A.double(), exact.B.double())
        shape = (*matrix.A.shape, matrix.B.shape[1])
        if shape not in chance:
            chance[shape] = _random(shape, seed)
        spectrum, values = matrix.spectrum(), matrix.singular_values.tolist()
        figures = {
            **spectrum._asdict(),
            "trace": float(matrix.trace()),
            "copying": matrix.copying(),
            "random_effective_rank": chance[shape][0],
            "random_participation": chance[shape][1],
        }
        rows.append(
            {
                "layer": layer,
                "head": head,
                "matrix": name,
                "rank": len(values),
                "singular_values": [_single(v) for v in values],
                **{key: _single(v) for key, v in figures.items()},
            }
        )
    return rows


def _single(value: float) -> float:
    return float(np.float32(value))


def _random(shape: tuple[int, ...], seed: int) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(seed)
    m, r, n = shape
    A, B = torch.randn(m, r, generator=generator).double(), torch.randn(r, n, generator=generator).double()
    one = FactoredMatrix(A, B).spectrum()
    return one.effective_rank, one.participation


def _inside(vlm: VLM, layer: int) -> Block:
    block = Block(vlm, layer)
    if block.looks_outside:
        raise ValueError(f"Heads of layer {layer} read the image's states: no matrix on the residual stream is theirs.")
    return block


def _weight(block: Block, name: str) -> Tensor:
    return block.weight(name).cpu()


def _rows(weight: Tensor, head: int, d_head: int) -> Tensor:
    return weight[head * d_head : (head + 1) * d_head]


def _scaled(gain: Tensor | float, columns: Tensor) -> Tensor:
    """diag(gain) times columns (d, k)."""
    return gain.cpu()[:, None] * columns if isinstance(gain, Tensor) else gain * columns

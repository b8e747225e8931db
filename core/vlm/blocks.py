"""What a decoder layer is made of, by family: the one place that knows the names of its modules and their norms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import UserError

if TYPE_CHECKING:
    from core.vlm.adapter import VLM


@dataclass(frozen=True)
class BlockNames:
    """Paths of modules from a decoder layer; "" where a family has none. ``norm_offset`` + weight is a norm's gain.

    Where there are gates, tanh of their one number multiplies what a half of the layer adds.
    """

    attention: str
    q: str
    k: str
    v: str
    o: str
    up: str
    down: str
    mlp: str
    attn_in_norm: str  # before attention
    attn_out_norm: str  # between attention and the residual stream
    mlp_in_norm: str
    mlp_out_norm: str
    q_norm: str
    k_norm: str
    norm_offset: float
    attn_gate: str = ""
    mlp_gate: str = ""


GEMMA_2 = BlockNames(
    "self_attn",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.up_proj",
    "mlp.down_proj",
    "mlp",
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
    "",
    "",
    1.0,
)
LLAMA = replace(GEMMA_2, attn_out_norm="", mlp_in_norm="post_attention_layernorm", mlp_out_norm="", norm_offset=0.0)
NORMED_HEADS = {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}
BLOCKS = {
    "gemma": replace(LLAMA, norm_offset=1.0),
    "gemma2": GEMMA_2,
    "gemma3_text": replace(GEMMA_2, **NORMED_HEADS),
    "llama": LLAMA,
    "mistral": LLAMA,
    "mllama_text_model": LLAMA,
    "qwen2": LLAMA,
    "qwen2_5_vl_text": LLAMA,
    "qwen2_vl_text": LLAMA,
    "qwen3_vl_text": replace(LLAMA, **NORMED_HEADS),
}
"""By transformers' model_type of the text model."""
CROSS = BlockNames(
    "cross_attn",
    "cross_attn.q_proj",
    "cross_attn.k_proj",
    "cross_attn.v_proj",
    "cross_attn.o_proj",
    "mlp.up_proj",
    "mlp.down_proj",
    "mlp",
    "input_layernorm",
    "",
    "post_attention_layernorm",
    "",
    "cross_attn.q_norm",
    "cross_attn.k_norm",
    0.0,
    "cross_attn_attn_gate",
    "cross_attn_mlp_gate",
)
"""A layer of mllama that looks at the image's states instead of the row's own positions."""


class Block:
    """One decoder layer of a model: its modules under names that all families share, its heads, its norms' gains."""

    def __init__(self, vlm: VLM, layer: int):
        text = vlm.model.config.get_text_config()
        family = text.model_type
        if family not in BLOCKS:
            raise UserError(
                f"The parts of a decoder layer of {family} are not known.",
                f"Known are those of {', '.join(BLOCKS)}.",
                "Add the names of its modules to BLOCKS in core/vlm/blocks.py.",
            )
        if not 0 <= layer < vlm.n_layers:
            raise ValueError(f"The model has layers 0 to {vlm.n_layers - 1}, not {layer}.")
        self.layer, self.module = layer, vlm.decoder_layers[layer]
        self.looks_outside: bool = hasattr(self.module, CROSS.attention)  # its keys are no positions of the row
        self.names = CROSS if self.looks_outside else BLOCKS[family]
        self.n_heads: int = text.num_attention_heads
        self.n_kv_heads: int = text.num_key_value_heads
        self._dtype: torch.dtype = vlm.dtype
        self.d_head: int = self.part("o").in_features // self.n_heads

    def part(self, name: str) -> Any:
        """The module of that field of BlockNames; KeyError where the family has none."""
        path = getattr(self.names, name)
        if not path:
            raise KeyError(name)
        return self.module.get_submodule(path)

    def weight(self, name: str) -> Float[Tensor, "d_out d_in"]:
        """The matrix (d_out, d_in) float32 of a linear part, also of one whose weights are kept in 8 or 4 bits."""
        linear = self.part(name)
        if linear.weight.is_floating_point():
            return linear.weight.detach().float()
        # What packed weights mean is the package's own affair, and changes with the device: asked of the layer itself.
        with torch.no_grad():
            unit = torch.eye(linear.in_features, dtype=self._dtype, device=linear.weight.device)
            found = linear(unit).float() - (0 if linear.bias is None else linear.bias.float())
        return found.T.contiguous()

    def writer(self, sublayer: str) -> Any:
        """The module whose output "attn" or "mlp" adds to the residual stream: the norm behind it, if there is one."""
        behind = f"{sublayer}_out_norm"
        return self.part(behind if getattr(self.names, behind) else {"attn": "attention", "mlp": "mlp"}[sublayer])

    def gate(self, sublayer: str) -> Tensor | float:
        """What multiplies the output of "attn" or "mlp" (float32); 1 where there is no gate."""
        name = getattr(self.names, f"{sublayer}_gate")
        return getattr(self.module, name).detach().float().tanh() if name else 1.0

    def gain(self, norm: str) -> Float[Tensor, " d"] | float:
        """What a norm multiplies each of its entries with (float32), its scale left out; 1 where there is no norm."""
        if not getattr(self.names, norm):
            return 1.0
        return norm_gain(self.part(norm), self.names.norm_offset)

    def final_gain(self, vlm: VLM) -> Float[Tensor, " d_model"]:
        """The gain (d_model,) of the model's last norm."""
        return norm_gain(vlm.final_norm, self.names.norm_offset)

    def kv_head(self, head: int) -> int:
        """The key and value head that a query head shares with its group."""
        return head // (self.n_heads // self.n_kv_heads)


def norm_gain(norm: Any, offset: float) -> Float[Tensor, " d"]:
    """The gain (d,) float32 of an RMS norm."""
    return norm.weight.detach().float() + offset


def norm_scale(norm: Any, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n 1"]:
    """What an RMS norm multiplies each vector of ``x`` (.., d) with before its gain, (.., 1): 1 / root mean square."""
    eps = next(getattr(norm, name) for name in ("eps", "variance_epsilon") if hasattr(norm, name))
    return torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)

"""Sparse autoencoders that read one layer's residuals: six architectures, one class, sparse wherever it pays.

Every architecture ends, once trained, in one of four rules for turning pre-activations into features:
topk keeps the k largest; standard keeps the positive ones; jumprelu (and batchtopk and matryoshka, which become
jumprelu when they are saved) keeps those above a threshold per feature; gated decides with one bias and measures with
another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from core.errors import UserError

ARCHITECTURES = ("topk", "batchtopk", "jumprelu", "matryoshka", "gated", "standard")
THRESHOLDED = ("batchtopk", "jumprelu", "matryoshka")  # all three are jumprelu at inference
EQUAL = 1e-6  # of the last of the k: what is worked out in another way may differ in its last bits
CHUNK_ELEMENTS = 1 << 24  # a dense block of pre-activations holds at most so many numbers (64 MiB in float32)


@dataclass(frozen=True)
class SAEConfig:
    """What an SAE is and where it belongs: sizes, architecture as trained, layer and hook."""

    architecture: str
    d_model: int
    d_sae: int
    k: int = 0
    layer: int = -1
    hook_name: str = ""
    model_name: str = ""
    apply_b_dec_to_input: bool = True

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise UserError(
                f"There is no SAE architecture {self.architecture!r}.",
                f"Known are: {', '.join(ARCHITECTURES)}.",
                "Choose one of them (train.architecture).",
            )
        if self.architecture == "topk" and not 0 < self.k <= self.d_sae:
            raise UserError(
                f"A topk SAE cannot keep {self.k} of {self.d_sae} features.",
                "k must lie between 1 and d_sae.",
                "Change train.k or train.d_sae.",
            )

    @property
    def saved_architecture(self) -> str:
        """The architecture's name in the sae-lens format."""
        return "jumprelu" if self.architecture in THRESHOLDED else self.architecture


class SparseCode(NamedTuple):
    """Active features as triplets, sorted by row and then feature; value > 0."""

    row: Int64[Tensor, " n_active"]
    feature: Int64[Tensor, " n_active"]
    value: Float[Tensor, " n_active"]


class SAE(nn.Module):
    """A sparse autoencoder on raw residuals: x_hat = z W_dec + b_dec, z = rule((x - b_dec) W_enc + b_enc).

    Parameters: W_enc (d_model, d_sae), W_dec (d_sae, d_model), b_dec (d_model); b_enc (d_sae) in all but gated;
    threshold (d_sae) in jumprelu, batchtopk, matryoshka; r_mag, b_mag, b_gate (d_sae) in gated.
    """

    W_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter
    b_enc: nn.Parameter
    threshold: nn.Parameter
    b_gate: nn.Parameter
    b_mag: nn.Parameter
    r_mag: nn.Parameter

    def __init__(self, cfg: SAEConfig, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.cfg = cfg
        shapes = tensor_shapes(cfg)
        for name, shape in shapes.items():
            if name not in tensors or tuple(tensors[name].shape) != shape:
                found = tuple(tensors[name].shape) if name in tensors else "nothing"
                raise UserError(
                    f"The SAE's tensor {name} does not fit its configuration.",
                    f"A {cfg.architecture} SAE with d_model {cfg.d_model} and d_sae {cfg.d_sae} "
                    f"needs {name} of shape {shape}; found {found}.",
                    "Train the SAE again, or take cfg.json and weights from the same place.",
                )
            # frozen: training works on its own tensors, and nothing that uses a finished SAE may change it
            self.register_parameter(name, nn.Parameter(tensors[name].detach(), requires_grad=False))
        extra = sorted(set(tensors) - set(shapes))
        if extra:
            raise UserError(f"A {cfg.architecture} SAE has no tensor {', '.join(extra)}.")

    def pre_activations(self, x: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_sae"]:
        """(x - b_dec) W_enc plus the bias that decides (b_enc, or b_gate if gated); UserError if d_model is another."""
        self.check_input(x)
        centred = x.to(self.W_enc.dtype)
        if self.cfg.apply_b_dec_to_input:
            centred = centred - self.b_dec
        bias = self.b_gate if self.cfg.architecture == "gated" else self.b_enc
        return centred @ self.W_enc + bias

    def encode(self, x: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_sae"]:
        """Feature activations, dense; for many tokens at once use sparse_code, which holds no dense table."""
        pre = self.pre_activations(x)
        match self.cfg.architecture:
            case "topk":
                values, features = pre.topk(self.cfg.k, dim=-1, sorted=False)
                return torch.zeros_like(pre).scatter_(-1, features, values.relu())
            case "standard":
                return pre.relu()
            case "gated":
                # pre = h + b_gate with h = (x - b_dec) W_enc; the magnitude path shares W_enc, scaled by exp(r_mag)
                magnitude = ((pre - self.b_gate) * self.r_mag.exp() + self.b_mag).relu()
                return magnitude * (pre > 0)
            case _:
                return pre.relu() * (pre > self.threshold)

    def encode_some(self, x: Float[Tensor, "n d_model"], features: Int64[Tensor, " m"]) -> Float[Tensor, "n m"]:
        """Activations of some features, without a dense table of all; what ties for the last place of k all counts."""
        if self.cfg.architecture != "topk":
            return self.encode(x)[:, features]
        self.check_input(x)
        x = x.to(self.W_enc.dtype)
        centred = x - self.b_dec if self.cfg.apply_b_dec_to_input else x
        some = centred @ self.W_enc[:, features] + self.b_enc[features]
        (row,) = (some > 0).any(-1).nonzero(as_tuple=True)  # elsewhere none of them fires, whatever the others do
        if len(row):
            least = self.pre_activations(x[row]).topk(self.cfg.k, dim=-1, sorted=False).values.amin(-1, keepdim=True)
            some[row] = torch.where(some[row] >= least * (1 - EQUAL), some[row], 0.0)
        return some.relu()

    def encode_sparse(self, x: Float[Tensor, "n d_model"]) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
        """The k kept activations of each token and which features they are (topk only; a value may be 0)."""
        if self.cfg.architecture != "topk":
            raise ValueError(f"only topk SAEs have k values a token; use sparse_code for {self.cfg.architecture}")
        blocks = [self.pre_activations(b).topk(self.cfg.k, dim=-1, sorted=False) for b in self._blocks(x)]
        return torch.cat([b.values.relu() for b in blocks]), torch.cat([b.indices for b in blocks])

    def sparse_code(self, x: Float[Tensor, "n d_model"]) -> SparseCode:
        """The active features of each token as (row, feature, value) triplets; works for every architecture."""
        codes = []
        start = 0
        for block in self._blocks(x):
            if self.cfg.architecture == "topk":
                values, features = self.pre_activations(block).topk(self.cfg.k, dim=-1, sorted=False)
                features, order = features.sort(dim=-1)
                values = values.gather(-1, order)
                row, slot = (values > 0).nonzero(as_tuple=True)
                codes.append((row + start, features[row, slot], values[row, slot]))
            else:
                z = self.encode(block)
                row, feature = z.nonzero(as_tuple=True)
                codes.append((row + start, feature, z[row, feature]))
            start += len(block)
        return SparseCode(*(torch.cat(parts) for parts in zip(*codes, strict=True)))

    def decode(self, z: Float[Tensor, "*n d_sae"]) -> Float[Tensor, "*n d_model"]:
        """Residuals from dense activations."""
        return z @ self.W_dec + self.b_dec

    def decode_sparse(self, code: SparseCode, n_rows: int) -> Float[Tensor, "n_rows d_model"]:
        """Residuals from triplets, without a dense table; a row with no active feature becomes b_dec."""
        first = torch.searchsorted(code.row, torch.arange(n_rows, device=code.row.device))
        return embedding_bag(code.feature, self.W_dec, first, per_sample_weights=code.value, mode="sum") + self.b_dec

    def forward(self, x: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_model"]:
        """The reconstruction x_hat of residuals x, in x's dtype."""
        self.check_input(x)
        rows = x.reshape(-1, x.shape[-1])
        if self.cfg.architecture == "topk":
            values, features = self.encode_sparse(rows)
            out = embedding_bag(features, self.W_dec, per_sample_weights=values, mode="sum") + self.b_dec
        else:
            out = self.decode_sparse(self.sparse_code(rows), len(rows))
        return out.to(x.dtype).view(x.shape)

    def check_input(self, x: Tensor) -> None:
        """UserError unless x's last dimension is d_model."""
        if x.shape[-1] != self.cfg.d_model:
            raise UserError(
                f"This SAE reads residuals of width {self.cfg.d_model}, but was given width {x.shape[-1]}.",
                "It was trained on another model.",
                "Use the SAEs of the run whose model you have loaded.",
            )

    def _blocks(self, x: Tensor) -> tuple[Tensor, ...]:
        """Rows in blocks whose dense pre-activations stay within CHUNK_ELEMENTS."""
        return x.split(max(1, CHUNK_ELEMENTS // self.cfg.d_sae))


def tensor_shapes(cfg: SAEConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that an SAE of this configuration has."""
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (cfg.d_model, cfg.d_sae),
        "W_dec": (cfg.d_sae, cfg.d_model),
        "b_dec": (cfg.d_model,),
    }
    per_feature = {"gated": ("b_gate", "b_mag", "r_mag"), "jumprelu": ("b_enc", "threshold")}
    for name in per_feature.get(cfg.saved_architecture, ("b_enc",)):
        shapes[name] = (cfg.d_sae,)
    return shapes

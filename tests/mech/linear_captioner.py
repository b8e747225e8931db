"""A captioner whose layers are linear maps of all positions: gradients are exact and every effect is a dot product."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from core.sae.modules import SAE, SAEConfig
from core.vlm.adapter import VLM
from core.vlm.halving import Halving

D, N_LAYERS, N_PATCHES, IMAGE_ID = 6, 4, 4, 9
ROW = [2, *[IMAGE_ID] * N_PATCHES, 3, 4, 5]  # BOS, image, question, and a caption of one token


class Mixed(nn.Module):
    """h + A h B: positions mix causally, and widths do."""

    def __init__(self, n: int, generator: torch.Generator):
        super().__init__()
        self.across = nn.Parameter(torch.randn(n, n, generator=generator).tril() * 0.4)
        self.along = nn.Parameter(torch.randn(D, D, generator=generator) * 0.4)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.across @ h @ self.along


class LinearCaptioner(VLM):
    """Eight positions, four layers, no norm; its logits are the residual itself."""

    def __init__(self, bend: float = 0.0):
        g = torch.Generator().manual_seed(0)
        self.model = nn.Module()
        self.decoder_layers = self.model.layers = nn.ModuleList(Mixed(len(ROW), g) for _ in range(N_LAYERS))
        self.table = torch.randn(12, D, generator=g)
        self.n_layers, self.d_model, self.n_image_tokens = N_LAYERS, D, N_PATCHES
        self.device, self.dtype, self.halving = torch.device("cpu"), torch.float32, Halving()
        self.image_token_id, self.bos_id, self.pad_id, self.kinds = IMAGE_ID, 2, 0, None
        self._is_special = torch.zeros(12, dtype=torch.bool)
        self.final_norm, self.bend = nn.Identity(), bend
        self.tokenizer = SimpleNamespace()

    def n_prompt(self, row) -> int:
        return N_PATCHES + 3

    def embed(self, ids, is_image, features):
        return self.table[ids].masked_scatter(is_image[..., None].expand(*ids.shape, D), features)

    def run_decoder(self, embeds, mask, position, batch, cache):
        h = embeds
        for layer in self.decoder_layers:
            h = layer(h)
        return h

    def head(self, hidden, capped=True):
        return hidden + self.bend * hidden**2

    def render(self, *_, **__):
        raise NotImplementedError

    def image_features(self, images):
        raise NotImplementedError


def linear_sae(layer: int, d_sae: int = 2) -> SAE:
    """Orthogonal directions that always fire, fewer than there are: z is linear in the residual and leaves a rest."""
    g = torch.Generator().manual_seed(10 + layer)
    directions = torch.linalg.qr(torch.randn(D, D, generator=g)).Q[:d_sae]
    tensors = {"W_enc": directions.T.contiguous(), "W_dec": directions, "b_enc": torch.full((d_sae,), 100.0)}
    tensors["b_dec"] = -100.0 * directions.sum(0)
    cfg = SAEConfig("standard", D, d_sae, layer=layer, apply_b_dec_to_input=False)
    return SAE(cfg, tensors)

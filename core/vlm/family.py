"""What a family of models says of itself, with what most families have in common; ``core.vlm.adapter`` runs it."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import DynamicCache

from core.errors import UserError
from core.vlm.batch import Batch, Features, Hidden, Ids
from core.vlm.halving import Halving
from core.vlm.prompts import Prompts
from core.vlm.vision import tower_layers

if TYPE_CHECKING:
    from PIL.Image import Image

UNUSED = re.compile(r"unused|reserved|multimodal|image|vision|video|audio")  # in the names of added tokens
IMAGE_CHUNK_PIXELS = 16 * 896 * 896  # bounds the vision tower's memory


class Family(Prompts, ABC):
    """A model with its processor, as its family uses them.

    ``image_side`` is the side in pixels of the square that every image is brought to, 0 for the family's own.
    """

    softcap: float | None = None  # of the logits

    def __init__(self, name: str, model: Any, processor: Any, image_side: int = 0):
        self.name, self.model, self.processor = name, model, processor
        self.tokenizer = processor.tokenizer
        text = model.config.get_text_config()
        self.d_model: int = text.hidden_size
        self.n_layers: int = text.num_hidden_layers
        self.device = torch.device(model.device)
        self.dtype: torch.dtype = model.dtype
        ends = model.generation_config.eos_token_id
        ends = ends if ends is not None else text.eos_token_id
        self.eos_ids: tuple[int, ...] = tuple(ends) if isinstance(ends, list | tuple) else (ends,)
        self.bos_id: int = -1 if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id
        self.pad_id: int = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.eos_ids[0]
        self.kinds: Tensor | None = None
        self.watched = False  # whether somebody counts on every pass to have all rows of the batch
        self.halving = Halving()
        self.commit = ""  # of a hub model; loading knows it
        added = {i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        unwritten = range(text.vocab_size, len(self.tokenizer))  # tokens of the prompt alone
        known = {*added, *self.tokenizer.all_special_ids, *self.eos_ids, *unwritten}
        self.special_ids: frozenset[int] = frozenset(known)
        special = torch.zeros(model.get_input_embeddings().weight.shape[0] + 1, dtype=torch.bool)
        special[[i for i in self.special_ids if i < len(special)]] = True
        self._is_special = special.to(self.device)
        decoder = model.get_decoder()
        self.decoder_layers: nn.ModuleList = decoder.layers
        self.final_norm: nn.Module = decoder.norm
        self.image_token_id: int = model.config.image_token_id
        self.set_side(image_side)
        self.n_image_tokens: int = self._asked[0].count(self.image_token_id)
        closing = self._answer_ids[0]  # of a turn: what the user's ends with may end the answer, too
        if closing in self.special_ids - {*self.eos_ids, self.bos_id, self.image_token_id}:
            self.eos_ids += (closing,)  # generation_config.json, which names it, may be missing
        self.never_written: Bool[Tensor, " vocab"] = self._never_written()

    def _never_written(self) -> Tensor:
        """Which rows of W_U no caption may hold: image and turn marks, BOS, padding, placeholders, rows of no token.

        Some models write them, and the model's own pass cannot read a caption with an image token in it.
        """
        n = self.model.get_output_embeddings().weight.shape[0]
        placeholders = {i for i, token in self.tokenizer.added_tokens_decoder.items() if UNUSED.search(str(token))}
        ids = (self.special_ids | placeholders | {self.image_token_id, self.bos_id, self.pad_id}) - {*self.eos_ids}
        found = torch.zeros(n, dtype=torch.bool)
        found[[i for i in ids if 0 <= i < n]] = True
        found[len(self.tokenizer) :] = True
        return found.to(self.device)

    def writable(self, scores: Float[Tensor, "*n vocab"]) -> Float[Tensor, "*n vocab"]:
        """Logits of the next token, -inf at what is never written: greedy and drawn captions choose among the rest."""
        return scores.masked_fill(self.never_written.to(scores.device), -torch.inf)

    def set_side(self, image_side: int) -> None:
        """Settle ``side`` and ``n_pixels``; UserError where the family cannot take ``image_side``."""
        own = self.model.config.vision_config.image_size
        if image_side not in (0, own):
            raise unfit_side(image_side, f"It takes squares of {own} pixels only.", str(own))
        self.side, self.n_pixels = own, own * own

    # What a family says, beside ``render``

    @abstractmethod
    def image_features(self, images: list[Image]) -> Features:
        """What the vision tower and projector make of images, (n, *feature_shape)."""

    @property
    def feature_shape(self) -> tuple[int, int]:
        """Shape of one image's features: one row an image token, but where a family says otherwise."""
        return self.n_image_tokens, self.d_model

    @property
    def patch_grid(self) -> tuple[int, int] | None:
        """Rows and columns of the image tokens that lie over the whole image, row-major; None where there are none."""
        side = math.isqrt(self.n_image_tokens)
        return side, side

    first_patch: int = 0  # which of the image tokens is the grid's first

    @property
    def patches(self) -> range:
        """Which of a row's image tokens, counted from 0, are the grid; empty where there is none."""
        rows, columns = self.patch_grid or (0, 0)
        return range(self.first_patch, self.first_patch + rows * columns)

    @property
    def vision_layers(self) -> list[nn.Module]:
        """Layers of the vision tower that the projector builds on, in their order; [] where none is known."""
        return tower_layers(self.model)

    def image_tokens(self, features: Features) -> Float[Tensor, "rows tokens d_model"]:
        """Of each image's features those that stand for it at the decoder's entrance."""
        return features

    def shown(self, states: Float[Tensor, "images tokens width"]) -> Float[Tensor, "images shown width"]:
        """Of a tower layer's states those of the image itself, without padding."""
        return states

    def embed(self, ids: Ids, is_image: Tensor, features: Features) -> Hidden:
        """Input embeddings (batch, positions, d_model) of whole rows, the images' features in their places."""
        # The image token's id may lie beyond the embedding, and its embedding is replaced anyway.
        embeds = self.model.get_input_embeddings()(ids.masked_fill(is_image, self.pad_id))
        return embeds.masked_scatter(is_image[..., None].expand_as(embeds), features)

    def extra_inputs(self, batch: Batch | None) -> dict[str, Any]:
        """What else the family's decoder takes; ``batch`` are the whole rows, or None behind them."""
        return {}

    def position_ids(self, position: Ids, batch: Batch | None) -> Int[Tensor, "*axes rows positions"]:
        """The family's positions of ``position`` (batch, positions), which counts each row's tokens from 0."""
        return position

    def run_decoder(self, embeds: Hidden, mask: Tensor, position: Ids, batch: Batch | None, cache: Any) -> Hidden:
        """Hidden states (batch, positions, d_model) after the final norm."""
        return self.model.model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=self.position_ids(position, batch),
            past_key_values=cache,
            use_cache=cache is not None,
            **self.extra_inputs(batch),
        ).last_hidden_state

    def new_cache(self) -> Any:
        """An empty key-value cache."""
        return DynamicCache(config=self.model.config.get_text_config(decoder=True))

    # Images and logits

    @torch.inference_mode()
    def encode_images(self, images: list[Image]) -> Features:
        """Features of images (n, *feature_shape), to be computed once per image and used for every prompt."""
        if not images:
            return torch.empty(0, *self.feature_shape, device=self.device, dtype=self.dtype)

        def work(start: int, stop: int) -> Tensor:
            return torch.cat([self.image_features(chunk) for chunk in self.chunks(images[start:stop])])

        return torch.cat(self.halving("images", work, len(images)))

    def chunks(self, images: list[Image]) -> Iterator[list[Image]]:
        """Images, squared, in parts as large as the vision tower takes at once."""
        size = max(1, IMAGE_CHUNK_PIXELS // self.n_pixels)
        return (self.squared(images[i : i + size]) for i in range(0, len(images), size))

    def image_inputs(self, images: list[Any]) -> dict[str, Tensor]:
        """The image processor's tensors on the model's device, pixels in the model's precision."""
        found = self.processor.image_processor(images=images, return_tensors="pt")
        tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
        return {k: v.to(self.device, self.dtype if v.is_floating_point() else v.dtype) for k, v in tensors.items()}

    def unembed(self) -> Float[Tensor, "vocab d_model"]:
        """W_U (vocab, d_model)."""
        return self.model.get_output_embeddings().weight

    def logits(self, resid: Float[Tensor, "*n d_model"], capped: bool = True) -> Float[Tensor, "*n vocab"]:
        """Next-token logits (.., vocab) of resid_post of the last layer (.., d_model): final norm and unembedding."""
        return self.head(self.final_norm(resid.to(self.device, self.dtype)), capped)

    def head(self, hidden: Float[Tensor, "*n d_model"], capped: bool = True) -> Float[Tensor, "*n vocab"]:
        """Logits of what has gone through the final norm, softly capped where the family does so."""
        logits = self.model.get_output_embeddings()(hidden)
        return torch.tanh(logits / self.softcap) * self.softcap if self.softcap and capped else logits


def unfit_side(image_side: int, why: str, fit: str) -> UserError:
    """What to say where a family cannot take the chosen square."""
    what = f"This model cannot take images of {image_side} pixels."
    return UserError(what, why, f"Set model.image_side to 0 or {fit}.")


def unknown_family(model_type: str, why: str) -> UserError:
    """What to say of a model that no adapter fits."""
    return UserError(
        f"There is no adapter for models of type {model_type}.",
        why,
        "Choose a family of docs/models.md, or write an adapter beside core/vlm/gemma3.py.",
    )

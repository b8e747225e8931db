"""Captions of a picture of which a part is hidden: the states of chosen patches give way to others, and it is written.

What stands in the place of a hidden patch is the mean of that place over images, or zero. It is put in where image
tokens enter the decoder (the projector output), so that nothing of the patch is left but what the vision tower has
carried into others; or at resid_post of a layer, where what lower layers have read of it is left as well. Painted over
in the picture itself (``painted``) nothing is left of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from core.errors import UserError
from core.interventions.areas import Area
from core.vlm.adapter import VLM
from core.vlm.batch import IMAGE, Features
from core.vlm.prefix import Prefix

INPUT = -1  # in the place of a layer's number: where image tokens enter the decoder
MEAN, ZERO, PIXELS = "mean", "zero", "pixels"


@dataclass(frozen=True)
class Filling:
    """What stands in the place of what is hidden, by place: rows of features, or states of image tokens at a layer."""

    layer: int
    states: Float[Tensor, "tokens width"]


@dataclass(frozen=True)
class Hidden:
    """A caption to be written: which image, in which language, and what of it is hidden, () for nothing."""

    image: int
    lang: str
    area: Area = ()


def check_hiding(vlm: VLM, layer: int = INPUT) -> None:
    """UserError where parts of a picture cannot be hidden from a model, or not at this layer."""
    if not vlm.patches:
        raise UserError(
            "Nothing can be hidden from this model.",
            "It has no map of patches: none of the states that it reads belongs to a place of the picture.",
            "Choose a run of another model; docs/models.md says which have a map.",
        )
    if vlm.n_image_tokens > vlm.patches.stop:
        raise UserError(
            "Nothing can be hidden from this model.",
            "Beside the map of patches it reads the picture in tiles, which would still show what is hidden.",
            "Choose a run of another model.",
        )
    if 0 <= layer < getattr(vlm, "n_deep", 0):
        raise UserError(
            f"Nothing can be hidden at layer {layer} of this model.",
            f"Features of the picture are added again after each of the first {getattr(vlm, 'n_deep', 0)} layers.",
            "Hide at the input, or at a higher layer.",
        )
    if not INPUT <= layer < vlm.n_layers:
        raise UserError(f"There is no layer {layer}.", f"The model has layers 0 to {vlm.n_layers - 1}.")


def mean_filling(
    vlm: VLM, features: Features, layer: int = INPUT, prompt: Sequence[int] = (), batch_size: int = 32
) -> Filling:
    """The mean over images of what stands at each place; at a layer while the model reads ``prompt``."""
    if layer == INPUT:
        return Filling(layer, features.float().mean(0).to(features.dtype))
    total = torch.zeros(vlm.n_image_tokens, vlm.d_model, dtype=torch.float64, device=vlm.device)
    for start in range(0, len(features), batch_size):
        some = features[start : start + batch_size]
        seen = vlm.forward([list(prompt)] * len(some), some, [layer])
        states = seen.resid[layer][seen.kinds == IMAGE].reshape(len(some), vlm.n_image_tokens, vlm.d_model)
        total += states.double().sum(0)
    return Filling(layer, (total / len(features)).to(vlm.dtype))


def zero_filling(vlm: VLM, layer: int = INPUT) -> Filling:
    """Nothing in the place of what is hidden."""
    shape = vlm.feature_shape if layer == INPUT else (vlm.n_image_tokens, vlm.d_model)
    return Filling(layer, torch.zeros(shape, dtype=vlm.dtype, device=vlm.device))


def tokens_of(vlm: VLM, area: Collection[int]) -> list[int]:
    """Which of a row's image tokens are hidden with an area, from 0. With all patches all that stands for the whole
    image goes too (LLaVA's class token); UserError for patches that are not on the map."""
    if beyond := [patch for patch in area if not 0 <= patch < len(vlm.patches)]:
        rows, columns = vlm.patch_grid or (0, 0)
        raise UserError(f"There is no patch {beyond[0]}.", f"The map has {rows} x {columns} patches, counted from 0.")
    if len(set(area)) == len(vlm.patches):
        return list(range(vlm.n_image_tokens))
    return sorted({vlm.first_patch + patch for patch in area})


def picture_side(vlm: VLM) -> int:
    """Pixels of the side of the square that the model sees."""
    return vlm.side or math.isqrt(vlm.n_pixels)


def mean_picture(vlm: VLM, images: Sequence[Image.Image]) -> Float[Tensor, "side side 3"]:
    """The mean of pictures, each made square."""
    side = picture_side(vlm)
    total = np.zeros((side, side, 3))
    for image in images:
        total += np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC), float)
    return torch.from_numpy(total / max(1, len(images))).float()


def painted(vlm: VLM, image: Image.Image, area: Collection[int], mean: Tensor) -> Image.Image:
    """A picture in its own size with the pixels of an area as in the ``mean_picture``; itself for no area."""
    found, (rows, columns) = image.convert("RGB").copy(), vlm.patch_grid or (1, 1)
    if not area:
        return found
    over = Image.fromarray(mean.round().numpy().astype(np.uint8)).resize(found.size, Image.Resampling.BICUBIC)
    x, y = (
        np.linspace(0, side, n + 1).round().astype(int) for side, n in zip(found.size, (columns, rows), strict=True)
    )
    for patch in area:
        row, column = divmod(patch, columns)
        box = int(x[column]), int(y[row]), int(x[column + 1]), int(y[row + 1])
        found.paste(over.crop(box), box)
    return found


class Hide:
    """The hook of a layer: image tokens of each row that are hidden are replaced, in the pass that reads the prompt."""

    def __init__(self, hidden: Tensor, states: Tensor):
        self.hidden, self.states = hidden, states  # (rows, image tokens) bool; (image tokens, d_model)

    def of_rows(self, start: int, stop: int) -> Hide:
        """The same for a part of the batch's rows."""
        return Hide(self.hidden[start:stop], self.states)

    def at_rows(self, rows: Tensor) -> Hide:
        """The same for rows of the batch by their numbers (n,)."""
        return Hide(self.hidden[rows.to(self.hidden.device)], self.states)

    def __call__(self, h: Tensor, kinds: Tensor) -> Tensor:
        is_image = kinds == IMAGE
        number = (is_image.cumsum(1) - 1).clamp_min(0)
        at = is_image & self.hidden.gather(1, number)
        if not bool(at.any()):
            return h
        new = h.clone()
        new[at] = self.states[number[at]].to(h.dtype)
        return new


def hidden_captions(
    vlm: VLM,
    prompts: Mapping[str, Sequence[int]],
    features: Features,
    asked: Sequence[Hidden],
    filling: Filling,
    max_new_tokens: int,
    batch_size: int,
) -> list[tuple[list[int], bool]]:
    """Greedy captions (ids, whether they ended) of pictures (rows of ``features``) of which areas are hidden.

    ``prompts`` by language. UserError where the model has no map of patches (``check_hiding``).
    """
    check_hiding(vlm, filling.layer)
    found: list[tuple[list[int], bool]] = []
    for start in range(0, len(asked), batch_size):
        part = asked[start : start + batch_size]
        rows = [list(prompts[one.lang]) for one in part]
        own = features[[one.image for one in part]]
        hidden = torch.zeros(len(part), vlm.n_image_tokens, dtype=torch.bool, device=vlm.device)
        for row, one in enumerate(part):
            hidden[row, tokens_of(vlm, one.area)] = True
        edits, prefix = {}, None
        if filling.layer == INPUT:
            own = torch.where(hidden[..., None].to(own.device), filling.states.to(own.device, own.dtype), own)
        else:
            edits = {filling.layer: Hide(hidden, filling.states.to(vlm.device))}
            prefix = _prefix(vlm, prompts, features, part, filling.layer)
        captions, ends = vlm.generate(rows, own, max_new_tokens, edits=edits, prefix=prefix)
        found += zip(captions, ends, strict=True)
    return found


def _prefix(
    vlm: VLM, prompts: Mapping[str, Sequence[int]], features: Features, part: Sequence[Hidden], layer: int
) -> Prefix:
    """What lies below the layer, computed once for all areas of an image and language."""
    rows = list(dict.fromkeys((one.image, one.lang) for one in part))
    made = vlm.prefix([list(prompts[lang]) for _, lang in rows], features[[image for image, _ in rows]], layer)
    return made.take([rows.index((one.image, one.lang)) for one in part])

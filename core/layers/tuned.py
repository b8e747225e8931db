"""A tuned lens by least squares: an affine map from a layer's state to the last state, off which words are read.

Belrose et al. (2023, arXiv 2303.08112) train such maps by KL; Din et al. (2023, arXiv 2303.09435) fit them by least
squares, which has a closed form and one solution. States enter at root mean square 1 and the target is the last state
behind the model's own last norm, so large and small states weigh alike. A map that has seen text of the same kind
guesses well from little: the same fit from the *current token alone* (its embedding), and the mean of all last states
(the prior) say how much of a layer's guess that would be (docs/log/0004-tuned-lens-again.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.gender.contrast import Contrast, LogOdds
from core.intervals import auc_interval, clopper_pearson, mean_interval
from core.layers.lens import CHUNK_ELEMENTS
from core.run import atomic_path

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean square of a layer's dimensions
HELD = 4  # of the training images one in so many chooses the penalty
TOKEN, PRIOR = -1, -2  # in the place of a layer: the current token alone, and no state at all
LENSES = {TOKEN: "token", PRIOR: "prior"}
NAN = float("nan")


class Heading(Protocol):
    """The part of core.vlm's VLM that is used here."""

    device: torch.device
    dtype: torch.dtype

    def head(self, hidden: Tensor) -> Tensor: ...

    def logits(self, resid: Tensor) -> Tensor: ...


def unit(x: Tensor) -> Tensor:
    """Rows (n, d) at a root mean square of 1; a row of zeros stays."""
    return x.float() / x.float().square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)


@dataclass(frozen=True)
class Affine:
    """``unit(x) @ weight + bias``, (n, d) -> (n, d): what the last state behind the last norm would be."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return unit(x) @ self.weight.to(x.device) + self.bias.to(x.device)


def fit(x: Tensor, last: Tensor, image: NDArray[np.int_]) -> Affine:
    """The map of states ``x`` (n, d) to ``last`` (n, d) of images (n,); the ridge penalty is chosen on one in HELD of
    the images, and the map then fitted on all. ValueError below HELD images."""
    ids = np.unique(image)
    if len(ids) < HELD:
        raise ValueError(f"{len(ids)} images; a tuned lens needs {HELD}")
    held, x, y = torch.from_numpy(np.isin(image, ids[::HELD])), unit(x), last.float()
    left = [_solve(x[~held], y[~held], penalty) for penalty in PENALTIES]
    lost = [float((one(x[held]) - y[held]).square().mean()) for one in left]
    return _solve(x, y, PENALTIES[int(np.argmin(lost))])


def _solve(x: Tensor, y: Tensor, penalty: float) -> Affine:
    """Ridge of rows that have a root mean square of 1 already."""
    mean, to = x.mean(0), y.mean(0)
    centred = (x - mean).double()
    gram = centred.T @ centred / len(x)
    gram += penalty * gram.diagonal().mean().clamp_min(1e-12) * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram, centred.T @ (y - to).double() / len(x)).float()
    return Affine(weight, to - mean @ weight)


def through(vlm: Heading, one: Affine, x: Tensor) -> Tensor:
    """Scores (n, vocab) of states (n, d) through a map."""
    return vlm.head(one(x).to(vlm.device, vlm.dtype))


def write(path: Path, maps: Mapping[int, Affine]) -> None:
    """Maps by layer into one safetensors file."""
    tensors = {f"{name}.{layer}": getattr(one, name) for layer, one in maps.items() for name in ("weight", "bias")}
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)


def read(path: Path) -> dict[int, Affine]:
    """What ``write`` has written."""
    tensors = load_file(path)
    layers = sorted(int(name.partition(".")[2]) for name in tensors if name.startswith("weight."))
    return {n: Affine(tensors[f"weight.{n}"], tensors[f"bias.{n}"]) for n in layers}


@dataclass(frozen=True)
class HeldOut:
    """Places of held-out captions of one language: states by layer and of the current token (TOKEN), each (n, d), the
    image (n,) of each place, and which places decide a gender: ``decides`` their numbers, with contrast and the image's
    gender."""

    states: Mapping[int, Tensor]
    image: NDArray[np.int_]
    decides: Sequence[int]
    contrasts: Sequence[Contrast]
    genders: Sequence[str]


def quality(
    vlm: Heading, maps: Mapping[int, Affine], held: HeldOut, ends: Tensor, min_images: int
) -> list[dict[str, Any]]:
    """Rows of the table ``lens_fit``: how near each layer's guess is to the model's own output, through each lens.

    ``maps`` hold the prior as a map of nothing. The model's own output is that of the highest layer of ``held.states``.
    """
    last = max(held.states)
    rest = np.setdiff1d(np.arange(len(held.image)), held.decides)
    own = (
        torch.cat([s.log_softmax(-1).half() for s in read_logits(vlm, held.states[last][rest])]) if len(rest) else None
    )
    if own is None:
        return []
    rows, least = [], None
    for lens, layer in ((LENSES[n], n) for n in (PRIOR, TOKEN) if n in maps):
        rows.append(_one(vlm, lens, layer, maps[layer], held, rest, own, ends, min_images, None))
    least = next((row.pop("_kl") for row in rows if row["lens"] == "token"), None)
    for layer in sorted(n for n in held.states if n >= 0):
        for lens, one in (("logit", None), ("tuned", maps.get(layer))):
            if lens == "logit" or one is not None:
                rows.append(_one(vlm, lens, layer, one, held, rest, own, ends, min_images, least))
    return [{name: value for name, value in row.items() if name != "_kl"} for row in rows]


def _one(
    vlm: Heading,
    lens: str,
    layer: int,
    map_: Affine | None,
    held: HeldOut,
    rest: NDArray[np.int_],
    own: Tensor,
    ends: Tensor,
    min_images: int,
    least: NDArray[np.float64] | None,
) -> dict[str, Any]:
    x = held.states[layer if layer >= 0 else TOKEN]
    kl, first, start = [], [], 0
    for scores in read_logits(vlm, x[rest], map_):
        p, q = own[start : start + len(scores)].float(), scores.log_softmax(-1)
        kl.append((p.exp() * (p - q)).nan_to_num(0.0).sum(-1).cpu().double().numpy())
        first.append((p.argmax(-1) == q.argmax(-1)).cpu().numpy())
        start += len(scores)
    hits, image = np.concatenate(first), held.image[rest]
    by_image = _means(np.concatenate(kl), image)
    mean, low, high = (float(v) for v in mean_interval(by_image))
    share = [float(v) for v in clopper_pearson(hits.sum(), len(hits))]
    row: dict[str, Any] = {"lens": lens, "layer": max(layer, -1), "kl": mean, "kl_low": low, "kl_high": high}
    row |= {"first": float(hits.mean()), "first_low": share[0], "first_high": share[1], "_kl": by_image}
    row |= dict.fromkeys(("gained", "gained_low", "gained_high"), NAN)
    if least is not None:
        row |= zip(("gained", "gained_low", "gained_high"), map(float, mean_interval(least - by_image)), strict=True)
    row |= {"n_images": len(by_image), "n_tokens": len(rest)}
    return row | _auc(vlm, x, map_, held, ends, min_images)


def _auc(vlm: Heading, x: Tensor, map_: Affine | None, held: HeldOut, ends: Tensor, min_images: int) -> dict[str, Any]:
    genders = np.asarray(held.genders)
    n = {g: int((genders == g).sum()) for g in ("female", "male")}
    row: dict[str, Any] = {"auc": NAN, "auc_low": NAN, "auc_high": NAN, "n_female": n["female"], "n_male": n["male"]}
    if min(n.values()) < min_images:
        return row
    parts, start = [], 0
    for scores in read_logits(vlm, x[list(held.decides)], map_):
        parts.append(LogOdds(held.contrasts[start : start + len(scores)], ends)(scores).cpu().double().numpy())
        start += len(scores)
    read_ = np.concatenate(parts)
    women, men = read_[genders == "female"], read_[genders == "male"]
    auc = float(((women[:, None] > men) + 0.5 * (women[:, None] == men)).mean())
    low, high = (float(v) for v in auc_interval(auc, len(women), len(men)))
    return row | {"auc": auc, "auc_low": low, "auc_high": high}


def read_logits(vlm: Heading, x: Tensor, map_: Affine | None = None) -> Iterator[Tensor]:
    """Scores (some, vocab) of states, a few rows at a time."""
    read_ = vlm.logits if map_ is None else (lambda some: through(vlm, map_, some))
    with torch.no_grad():
        if not len(x):
            return
        size = max(1, CHUNK_ELEMENTS // read_(x[:1].float()).shape[-1])
        for start in range(0, len(x), size):
            yield read_(x[start : start + size].float()).float()


def _means(values: NDArray[np.float64], image: NDArray[np.int_]) -> NDArray[np.float64]:
    ids, at = np.unique(image, return_inverse=True)
    return np.bincount(at, values, len(ids)) / np.bincount(at, minlength=len(ids))

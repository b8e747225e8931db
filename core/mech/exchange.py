"""What the image tokens carry of a word's gender: they are exchanged for those of an image of the other gender.

The model reads the own caption of an image up to its gendered word, with the image tokens of a partner: an image of the
other gender that is most alike else. What the log-odds of the word lose is the whole effect of the image. How much of
it one change carries is a share of that:

- *direction*: each image token's component along the gender direction (difference of means of training images) is put
  in the place of its own, all else is kept (an interchange intervention: Geiger et al. 2021, arXiv 2106.02997);
- *shuffled direction*: the same with directions of training images whose genders are dealt out anew;
- *all*: at a decoder layer, all of the image tokens; what of the effect still goes through them from there on.

At the projector all image tokens together are the whole effect: nothing else of the image enters the language model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor

from core.config import LANGUAGES
from core.features.pooled import Pooled
from core.gender.attribution import Target
from core.gender.contrast import LogOdds
from core.intervals import mean_interval, ratio_interval
from core.mech.inputs import Inputs
from core.samples.images import open_image
from core.vlm.batch import IMAGE
from core.vlm.vision import PROJECTOR, vision_states

if TYPE_CHECKING:
    from core.vlm.adapter import VLM
    from core.vlm.hooks import EditFn

Floats = NDArray[np.float64]
Rows = list[dict[str, Any]]
N_SHUFFLED = 8
NUMBERS = (
    "effect",
    "effect_low",
    "effect_high",
    "share",
    "low",
    "high",
    "control",
    "beyond",
    "beyond_low",
    "beyond_high",
)
NAN = float("nan")


@dataclass(frozen=True)
class Exchange:
    """An edit: image tokens become the partners' (n, n_tokens, d_model), along ``direction`` (d_model,) alone."""

    partner: Tensor
    direction: Tensor | None = None

    def __call__(self, h: Tensor, kinds: Tensor) -> Tensor:
        member = kinds == IMAGE
        own = h[member]
        there = self.partner.to(h.device, h.dtype).reshape(own.shape)
        moved = h.clone()
        moved[member] = there if self.direction is None else moved_along(own, there, self.direction)
        return moved

    def of_rows(self, start: int, stop: int) -> EditFn:
        return Exchange(self.partner[start:stop], self.direction)


def moved_along(own: Tensor, there: Tensor, direction: Tensor) -> Tensor:
    """``own`` with the component along a unit vector that ``there`` has; both (..., width)."""
    u = torch.nn.functional.pad(direction, (0, own.shape[-1] - len(direction))).to(own.device, torch.float32)
    gap = (there.float() - own.float()) @ u
    return (own.float() + gap[..., None] * u).to(own.dtype)


def direction_of(states: NDArray, female: NDArray[np.bool_]) -> Tensor:
    """The unit vector from the mean of images of men to that of women, of states (n, d_model)."""
    found = states[female].mean(0) - states[~female].mean(0)
    return torch.as_tensor(found / np.linalg.norm(found), dtype=torch.float32)


def partners(states: NDArray, female: NDArray[np.bool_], direction: NDArray) -> NDArray[np.int_]:
    """Of each image that of the other gender whose states (n, d_model), without the direction, are most alike.

    Cosine about the mean of all; an image may be the partner of several.
    """
    x = states - states.mean(0)
    x = x - np.outer(x @ direction, direction)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    alike = np.where(female[:, None] != female[None], x @ x.T, -np.inf)
    return alike.argmax(1)


def share_row(whole: Floats, effect: Floats, controls: Floats | None = None) -> dict[str, float]:
    """Share of the images' ``whole`` effects (n,) that ``effect`` (n,) carries, with intervals over images.

    ``controls`` (n_draws, n): what other directions carry; ``beyond`` is the share less their mean, whose interval
    holds images and draws (Student's t with the draws' degrees of freedom).
    """
    numbers: dict[str, float] = dict.fromkeys(NUMBERS, NAN)
    numbers |= dict(zip(("effect", "effect_low", "effect_high"), map(float, mean_interval(effect)), strict=True))
    numbers |= dict(zip(("share", "low", "high"), map(float, ratio_interval(effect, whole)), strict=True))
    if controls is None:
        return numbers
    shares = controls.sum(1) / whole.sum()
    gap, low, high = map(float, ratio_interval(effect - controls.mean(0), whole))
    n = len(shares)
    error = (high - low) / (2 * student.ppf(0.975, len(whole) - 1))
    half = student.ppf(0.975, n - 1) * np.sqrt(error**2 + shares.var(ddof=1) * (1 + 1 / n))
    numbers |= {
        "control": float(shares.mean()),
        "beyond": gap,
        "beyond_low": float(gap - half),
        "beyond_high": float(gap + half),
    }
    return numbers


def exchanges(inputs: Inputs, tick: Callable[[str], None] = lambda _: None) -> Rows:
    """Rows of image_exchange in every language."""
    if not inputs.settings.n_exchanged:
        return []
    training, directions = _directions(inputs)
    rows: Rows = []
    for lang in inputs.config.samples.languages:
        targets = inputs.targets(lang, 2 * inputs.settings.n_exchanged)["test"]
        why = inputs.coverage(lang).why or _too_few(inputs, targets, training)
        if why:
            row = {"lang": lang, "site": "projector", "layer": -1, "change": "direction", "n_images": len(targets)}
            rows.append({**row, **dict.fromkeys(NUMBERS, NAN), "why": why})
            continue
        rows += _Work(inputs, lang, targets, directions).rows(tick)
    return rows


def _too_few(inputs: Inputs, targets: Sequence[Target], training: NDArray) -> str:
    n = inputs.settings.min_images
    if len(targets) < 2 * n:
        return f"{len(targets)} held-out captions with a gendered word; at least {2 * n} are needed"
    if len(training) < 2 * n:
        return f"{len(training)} training images of women and men; at least {2 * n} are needed"
    return ""


def _directions(inputs: Inputs) -> tuple[NDArray, dict[int, list[Tensor]]]:
    """Training images, as many of women as of men, and by layer (PROJECTOR, then decoder layers that hold image
    tokens) the gender direction with, at the projector, those of shuffled genders behind it."""
    rng, per = np.random.default_rng([inputs.seed, 31]), inputs.settings.n_images // 2
    pools = [rng.permutation(np.flatnonzero((inputs.gender == g) & inputs.is_train)) for g in ("female", "male")]
    n = min(per, *map(len, pools))
    chosen = np.sort(np.concatenate([pool[:n] for pool in pools]))
    if n < inputs.settings.min_images:
        return chosen, {}
    female = inputs.gender[chosen] == "female"
    states = _projected(inputs, chosen)
    dealt = [female[rng.permutation(len(female))] for _ in range(N_SHUFFLED)]
    found = {PROJECTOR: [direction_of(states, labels) for labels in (female, *dealt)]}
    held = inputs.vlm.feature_shape[0] == inputs.vlm.n_image_tokens  # else the decoder looks at them from outside
    for layer in [n for n in inputs.layers if held and n < inputs.vlm.n_layers - 1]:  # nothing reads the last one's
        pooled = Pooled(inputs.run.dir, layer).resid("image")
        at = len(LANGUAGES) * chosen + LANGUAGES.index(inputs.config.samples.languages[0])
        here = (at < len(pooled)) & np.isfinite(pooled[np.minimum(at, len(pooled) - 1)]).all(1)
        if min(here[female].sum(), here[~female].sum()) >= inputs.settings.min_images:
            found[layer] = [direction_of(pooled[at[here]].astype(np.float64), female[here])]
    return chosen, found


def _projected(inputs: Inputs, sample_ids: Sequence[int] | NDArray) -> NDArray:
    """Means of the image tokens as they enter the decoder (n, d_model)."""
    size, found = 4 * inputs.settings.batch_size, []
    for start in range(0, len(sample_ids), size):
        images = [open_image(inputs.run, int(i)) for i in sample_ids[start : start + size]]
        found.append(vision_states(inputs.vlm, images, ())[PROJECTOR].double().numpy())
    return np.concatenate(found)


class _Work:
    """The captions of one language, each beside its partner's image."""

    def __init__(self, inputs: Inputs, lang: str, targets: list[Target], directions: dict[int, list[Tensor]]):
        self.inputs, self.lang, self.targets, self.directions = inputs, lang, targets, directions
        self.vlm: VLM = inputs.vlm
        self.female = np.array([inputs.gender[t.sample_id] == "female" for t in targets])
        states = _projected(inputs, [t.sample_id for t in targets])
        self.partner = partners(states, self.female, directions[PROJECTOR][0].double().numpy())
        self.layers = [layer for layer in directions if layer != PROJECTOR]

    def rows(self, tick: Callable[[str], None]) -> Rows:
        size, parts = self.inputs.settings.batch_size, []
        for start in range(0, len(self.targets), size):
            parts.append(dict(self._effects(range(start, min(start + size, len(self.targets))))))
            tick(f"image tokens exchanged, {start + len(next(iter(parts[-1].values())))} captions, {self.lang}")
        effects = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        whole = effects[PROJECTOR, "all", 0]
        key = {"lang": self.lang, "n_images": len(self.targets)}
        low = float(mean_interval(whole)[1])
        why = "" if low > 0 else "an image of the other gender does not change the word"
        found: Rows = []
        for layer in (PROJECTOR, *self.layers):
            site = {"site": "projector" if layer == PROJECTOR else "decoder", "layer": layer}
            draws = [effects[k] for k in effects if k[:2] == (layer, "shuffled")]
            for change in ("direction", "all"):
                controls = np.stack(draws) if draws and change == "direction" else None
                row = share_row(whole, effects[layer, change, 0], controls)
                if why:
                    row |= dict.fromkeys(
                        ("share", "low", "high", "control", "beyond", "beyond_low", "beyond_high"), NAN
                    )
                found.append({**key, **site, "change": change, **row, "why": why})
        return found

    def _effects(self, which: range) -> Iterator[tuple[tuple[int, str, int], Floats]]:
        """By layer, change and draw, what each caption's log-odds of the own gender's word lose."""
        targets = [self.targets[i] for i in which]
        others = [self.targets[self.partner[i]] for i in which]
        rows, own = self.inputs.rows_of(self.lang, targets)
        images = [open_image(self.inputs.run, t.sample_id) for t in others]
        there = self.vlm.encode_images(images)
        score = self.inputs.log_odds(targets)
        side = np.where(self.female[which.start : which.stop], 1.0, -1.0)
        base = self._read(rows, own, score)

        def lost(features: Tensor, edits: dict[int, EditFn] | None = None) -> Floats:
            return side * (base - self._read(rows, features, score, edits))

        yield (PROJECTOR, "all", 0), lost(there)
        for draw, direction in enumerate(self.directions[PROJECTOR]):
            kind = "shuffled" if draw else "direction"
            yield (PROJECTOR, kind, draw), lost(moved_along(own, there, direction))
        if not self.layers:
            return
        captured = self.vlm.forward(rows, there, self.layers)
        for layer in self.layers:
            states = captured.resid[layer][captured.kinds == IMAGE].reshape(len(rows), -1, self.vlm.d_model)
            yield (layer, "all", 0), lost(own, {layer: Exchange(states)})
            yield (layer, "direction", 0), lost(own, {layer: Exchange(states, self.directions[layer][0])})

    @torch.no_grad()
    def _read(
        self, rows: list[list[int]], features: Tensor, score: LogOdds, edits: dict[int, EditFn] | None = None
    ) -> Floats:
        last = self.vlm.n_layers - 1
        resid = self.vlm.forward(rows, features, [last], edits=edits).resid[last]
        return score(self.vlm.logits(resid[:, -1])).double().cpu().numpy()

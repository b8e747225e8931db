"""Directions that features are compared with: difference of means, a probe's, LEACE, and random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from core.config import LANGUAGES
from core.errors import TooLittleData, UserError
from core.interventions.designs import LEACE, MEANS, PROBE, RANDOM, Arm
from core.steering.edits import Direction, Edit

if TYPE_CHECKING:
    from core.features.pooled import Pooled

PLACES = {"image": ("image",), "before": ("prompt", "caption")}  # view that a direction is taken from -> where it acts
MIN_IMAGES = 10  # of each gender
L2 = 100.0  # of the probe, on residuals in units of their spread


@dataclass(frozen=True)
class Labelled:
    """Mean residuals (n, d_model) of the training captions of one language whose images show a woman or a man."""

    resid: NDArray[np.float32]
    is_female: NDArray[np.bool_]

    @property
    def means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of women and of men."""
        x = self.resid.astype(np.float64)
        return x[self.is_female].mean(0), x[~self.is_female].mean(0)

    @property
    def enough(self) -> bool:
        return min(self.is_female.sum(), (~self.is_female).sum()) >= MIN_IMAGES


def labelled(pooled: Pooled, view: str, lang: str, gender: np.ndarray, is_train: np.ndarray) -> Labelled:
    """Training captions of ``lang`` at the positions of ``view``; ``gender`` and ``is_train`` by sample_id."""
    resid = pooled.resid(view)[LANGUAGES.index(lang) :: 2][: len(gender)]
    chosen = is_train & np.isin(gender, ["female", "male"]) & np.isfinite(resid).all(1)
    return Labelled(resid[chosen], gender[chosen] == "female")


def has_leace() -> bool:
    """Whether the optional package concept-erasure is installed."""
    try:
        import concept_erasure  # noqa: F401  # pyright: ignore[reportMissingImports] an extra
    except ImportError:
        return False
    return True


def means_direction(data: Labelled) -> Direction:
    """From men to women: a unit vector, centred between the means; its scale is their distance (2 = women - men)."""
    women, men = data.means
    return _between(women - men, women, men)


def probe_direction(data: Labelled) -> Direction:
    """The normal of a logistic probe on standardised residuals, as a unit vector of the residual stream."""
    from sklearn.linear_model import LogisticRegression

    x = data.resid.astype(np.float64)
    spread = np.maximum(x.std(0), 1e-6)
    probe = LogisticRegression(C=1 / L2, max_iter=2000).fit((x - x.mean(0)) / spread, data.is_female)
    return _between(probe.coef_[0] / spread, *data.means)


def leace_direction(data: Labelled) -> Direction:
    """LEACE (Belrose et al. 2023, arXiv 2306.03819) as a direction to be ablated: h' = h - write (read . (h - center)).

    Raises UserError where the package concept-erasure is not installed.
    """
    try:
        from concept_erasure import LeaceEraser  # pyright: ignore[reportMissingImports] an extra
    except ImportError as error:
        raise UserError(
            "LEACE cannot be fitted.",
            "The optional package concept-erasure is not installed.",
            "pip install concept-erasure, or leave LEACE out of interventions.directions.",
        ) from error
    labels = torch.from_numpy(data.is_female.astype(np.float64))
    eraser = LeaceEraser.fit(torch.from_numpy(data.resid.astype(np.float64)), labels)
    write, read = eraser.proj_left[:, 0].float(), eraser.proj_right[0].float()
    center = torch.zeros_like(write) if eraser.bias is None else eraser.bias.float()
    women, men = (torch.from_numpy(mean).float() for mean in data.means)
    return Direction(write, read, center, abs(float(read @ (women - men))))


def random_direction(like: Direction, seed: list[int]) -> Direction:
    """A direction drawn from all alike, with the centre and the scale of another."""
    vector = np.random.default_rng(seed).standard_normal(len(like.write))
    unit = torch.from_numpy(vector / np.linalg.norm(vector)).float()
    return Direction(unit, center=like.center, scale=like.scale)


def _between(vector: NDArray[np.float64], women: NDArray[np.float64], men: NDArray[np.float64]) -> Direction:
    """The direction of ``vector``, with z = 0 between the means and ``scale`` their distance along it."""
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        raise TooLittleData("Women and men have the same mean residual: there is no direction between them.")
    unit = vector / length
    center = torch.from_numpy((women + men) / 2).float()
    return Direction(torch.from_numpy(unit).float(), center=center, scale=abs(float(unit @ (women - men))))


MAKERS = {MEANS: means_direction, PROBE: probe_direction, LEACE: leace_direction}


def name_of(arm: Arm, view: str, lang: str) -> str:
    """The name that an arm's direction goes by in edits."""
    return f"{arm.method} {arm.draw} {view} {lang}" if arm.method == RANDOM else f"{arm.method} {view} {lang}"


def direction_edits(arm: Arm, lang: str, toward: int) -> list[Edit]:
    """The edits of a row whose caption is written in ``lang``; ``toward`` +1 women, -1 men (swap alone asks)."""
    mode, strength = ("clamp", 0.5 * toward * arm.strength) if arm.mode == "swap" else ("ablate", 0.0)
    return [
        Edit(arm.layer, direction=name_of(arm, view, lang), mode=mode, strength=strength, where=where)
        for view, where in PLACES.items()
    ]


def vectors_of(arm: Arm, data: Mapping[tuple[str, str], Labelled], seed: int) -> dict[tuple[int, str], Direction]:
    """The directions of an arm by (layer, name); ``data`` by (view, lang)."""
    found = {}
    for number, ((view, lang), mine) in enumerate(sorted(data.items())):
        if arm.method == RANDOM:
            made = random_direction(means_direction(mine), [seed, arm.layer, number, arm.draw])
        else:
            made = MAKERS[arm.method](mine)
        found[arm.layer, name_of(arm, view, lang)] = made
    return found

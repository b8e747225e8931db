"""What an edit is: one feature of one SAE, or one direction, and what its activation is turned into."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import UserError

# z' - z from the activation z and the amount (strength in raw units; for scale, the factor). Written as differences, so
# that an edit that changes nothing gives exactly 0. project_out works on all vectors of a row together: see table.py.
MODES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda z, amount: amount,
    "scale": lambda z, amount: z * (amount - 1),
    "clamp": lambda z, amount: amount - z,
    "floor": lambda z, amount: (amount - z).clamp_min(0),
    "ablate": lambda z, amount: -z,
    "project_out": lambda z, amount: torch.zeros_like(z),
}
READS_Z = frozenset(MODES) - {"add", "project_out"}  # the modes for which the activation has to be known
WITHOUT_STRENGTH = frozenset({"ablate", "project_out"})
UNITS = ("max_act", "raw", "resid")
PLACES = ("image", "prompt", "caption")
CONDITIONS = ("always", "fires")


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction of the residual stream (d_model,): z = read . (h - center), and the change is (z' - z) write.

    ``read`` is write / |write|^2 unless given, so that z counts lengths of ``write``; ``center`` is 0 unless given;
    ``scale`` is the z that strength 1 in max_act means. An affine eraser of one concept (LEACE, Belrose et al. 2023,
    arXiv 2306.03819) is a direction with its own ``read``, ``write`` and ``center``, ablated.
    Raises UserError for vectors of other lengths, not finite, or zero.
    """

    write: Tensor
    read: Tensor | None = None
    center: Tensor | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("write", "read", "center"):
            vector = getattr(self, name)
            if vector is None:
                continue
            if vector.shape != self.write.shape or vector.dim() != 1 or not bool(torch.isfinite(vector).all()):
                raise UserError(f"A direction's {name} must be a vector of finite numbers as long as the residual.")
            if name != "center" and not bool(vector.any()):
                raise UserError(f"A direction's {name} is zero everywhere.", "It points nowhere.")
        if not math.isfinite(self.scale):
            raise UserError(f"The scale of a direction cannot be {self.scale}.", "", "Use a finite number.")

    @property
    def reading(self) -> Tensor:
        """The vector that z is read with."""
        return self.write / self.write.square().sum() if self.read is None else self.read


@dataclass(frozen=True)
class Edit:
    """Change one feature, or one direction, at the output of one layer.

    A feature is named by its number and by the ``sae_id`` of its SAE, a direction by the name under which it is given
    to ``edit_hooks``. ``unit`` max_act counts ``strength`` in the feature's 99.9th percentile of activation (a
    direction's ``scale``), raw in activation itself, resid in lengths of the residual at that position; scale takes it
    as a factor, ablate and project_out ignore it. ``where`` are the kinds of tokens that are touched; special tokens
    and BOS never are. With ``condition`` fires, a feature is changed only where it fires.
    Raises UserError for values out of range.
    """

    layer: int
    feature: int = -1
    sae_id: str = ""
    mode: str = "add"
    strength: float = 0.0
    unit: str = "max_act"
    where: tuple[str, ...] = PLACES
    condition: str = "always"
    direction: str = ""

    def __post_init__(self) -> None:
        known = {"mode": tuple(MODES), "unit": UNITS, "condition": CONDITIONS}
        for name, values in known.items():
            if getattr(self, name) not in values:
                what = f"An edit cannot have {name} {getattr(self, name)!r}."
                raise UserError(what, "", f"Use one of {', '.join(values)}.")
        if not math.isfinite(self.strength):
            raise UserError(f"The strength of an edit cannot be {self.strength}.", "", "Use a finite number.")
        object.__setattr__(self, "where", tuple(self.where))
        if unknown := [place for place in self.where if place not in PLACES]:
            raise UserError(
                f"An edit cannot act on {', '.join(map(repr, unknown))}.",
                "BOS and special tokens are never edited.",
                f"Use some of {', '.join(PLACES)}.",
            )
        if bool(self.direction) == (self.feature >= 0 or bool(self.sae_id)):
            why = "It names both." if self.direction else "It names neither."
            raise UserError("An edit cannot be of anything but one feature or one direction.", why)
        if self.condition == "fires" and (self.direction or self.mode == "project_out"):
            raise UserError("An edit cannot wait for firing here.", "Only a feature fires, and a projection has no z.")

    @property
    def target(self) -> int | str:
        """The feature's number, or the direction's name."""
        return self.direction or self.feature

    @property
    def does_nothing(self) -> bool:
        """Whether the result is bit-identical to no edit whatever the model computes."""
        return not self.where or (self.mode, self.strength) in (("add", 0.0), ("scale", 1.0))

    def amount(self, max_act: float | None) -> float:
        """The strength in raw units, or in |h| for unit resid; ``max_act`` is what strength 1 in max_act means.

        Raises UserError when that is needed and not known.
        """
        if self.mode in WITHOUT_STRENGTH or self.mode == "scale" or self.unit != "max_act":
            return self.strength
        if max_act is None or not math.isfinite(max_act):
            raise UserError(
                f"The largest activation of feature {self.target} in layer {self.layer} is not known.",
                "A strength in max_act is counted in it.",
                "Run the stage features, or give the strength in raw units.",
            )
        return self.strength * max_act

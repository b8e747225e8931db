"""What an edit is: one feature of one SAE, and what its activation is turned into."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from core.errors import UserError

# z' - z from the activation z and the amount (strength in raw units; for scale, the factor). Written as differences, so
# that an edit that changes nothing gives exactly 0.
MODES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda z, amount: amount,
    "scale": lambda z, amount: z * (amount - 1),
    "clamp": lambda z, amount: amount - z,
    "ablate": lambda z, amount: -z,
}
READS_Z = frozenset(MODES) - {"add"}  # the modes for which the SAE has to encode
UNITS = ("max_act", "raw")
PLACES = ("image", "prompt", "caption")


@dataclass(frozen=True)
class Edit:
    """Change one feature at the output of one layer.

    ``sae_id`` names the SAE whose feature is meant. ``unit`` max_act counts ``strength`` in the feature's 99.9th
    percentile of activation, raw in activation itself; scale takes it as a factor and ablate ignores it. ``where`` are
    the kinds of tokens that are touched; special tokens and BOS never are. Raises UserError for values out of range.
    """

    layer: int
    feature: int
    sae_id: str
    mode: str = "add"
    strength: float = 0.0
    unit: str = "max_act"
    where: tuple[str, ...] = PLACES

    def __post_init__(self) -> None:
        for name, value, known in (("mode", self.mode, tuple(MODES)), ("unit", self.unit, UNITS)):
            if value not in known:
                raise UserError(f"An edit cannot have {name} {value!r}.", "", f"Use one of {', '.join(known)}.")
        if not math.isfinite(self.strength):
            raise UserError(f"The strength of an edit cannot be {self.strength}.", "", "Use a finite number.")
        object.__setattr__(self, "where", tuple(self.where))
        if unknown := [place for place in self.where if place not in PLACES]:
            raise UserError(
                f"An edit cannot act on {', '.join(map(repr, unknown))}.",
                "BOS and special tokens are never edited.",
                f"Use some of {', '.join(PLACES)}.",
            )

    @property
    def does_nothing(self) -> bool:
        """Whether the result is bit-identical to no edit whatever the model computes."""
        return not self.where or (self.mode, self.strength) in (("add", 0.0), ("scale", 1.0))

    def amount(self, p999: float | None) -> float:
        """The strength in raw units; UserError when max_act is asked for a feature whose ``p999`` is not known."""
        if self.mode == "ablate" or self.mode == "scale" or self.unit == "raw":
            return self.strength
        if p999 is None or not math.isfinite(p999):
            raise UserError(
                f"The largest activation of feature {self.feature} in layer {self.layer} is not known.",
                "A strength in max_act is counted in it.",
                "Run the stage features, or give the strength in raw units.",
            )
        return self.strength * p999

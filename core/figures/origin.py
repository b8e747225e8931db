"""Where a figure or table comes from: what every file that leaves the app says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Where a figure or a table comes from; ``n`` is the number of rows of its data, ``settings`` a hash of the run's,
    ``address`` the page of the app in the state that showed it."""

    program: str
    run: str
    page: str
    layer: str
    n: int | None
    settings: str
    address: str

    @property
    def line(self) -> str:
        """All of it in one line."""
        layer, n = f"layer {self.layer}" if self.layer else "", "" if self.n is None else f"{self.n:,} rows"
        parts = (self.program, f"run {self.run}", self.page, layer, n, f"settings {self.settings}", self.address)
        return " · ".join(part for part in parts if part)

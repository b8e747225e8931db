"""The SAEs of a run's layers, loaded as they are asked for: no more of them are held at once than fit into a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from core.sae.files import load_sae
from core.sae.modules import SAE

HELD_BYTES = 4 * 2**30


class SAEs(Mapping[int, SAE]):
    """layer -> SAE of ``<run>/saes/``; those asked for last are kept on ``device``, up to ``max_bytes`` or one."""

    def __init__(self, run_dir: Path, layers: Sequence[int], device: str, max_bytes: int = HELD_BYTES):
        self.run_dir, self.layers, self.device, self.max_bytes = Path(run_dir), tuple(layers), device, max_bytes
        self._held: OrderedDict[int, SAE] = OrderedDict()

    def __getitem__(self, layer: int) -> SAE:
        if layer not in self.layers:
            raise KeyError(layer)
        if layer not in self._held:
            while self._held and self.held_bytes * (1 + 1 / len(self._held)) > self.max_bytes:  # all are of one size
                self._held.popitem(last=False)
            self._held[layer] = load_sae(self.run_dir / "saes" / f"layer_{layer:02d}", self.device)
        self._held.move_to_end(layer)
        return self._held[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def held_bytes(self) -> int:
        """Bytes of the SAEs that are held now."""
        return sum(p.numel() * p.element_size() for sae in self._held.values() for p in sae.parameters())

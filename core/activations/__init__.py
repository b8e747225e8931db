"""Token activations of a run: their layout on disk, a writer that survives being killed, a reader bounded in memory."""

from core.activations.store import ActivationReader
from core.activations.writer import ActivationWriter

__all__ = ["ActivationReader", "ActivationWriter"]

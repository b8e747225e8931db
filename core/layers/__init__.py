"""At which layer a model tells women from men: probes of its residuals, and its own next-word scores read off early."""

from core.layers.lens import LogitLens
from core.layers.probes import TransformerProbeAnalyzer

__all__ = ["LogitLens", "TransformerProbeAnalyzer"]

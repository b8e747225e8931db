"""How the model does it: weights and direct effects of heads, pairs of features, and gradients put to the test."""

from core.mech.factored import FactoredMatrix
from core.mech.interactions import InteractionPatternAnalyzer

__all__ = ["FactoredMatrix", "InteractionPatternAnalyzer"]

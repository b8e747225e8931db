"""Gender effects of features: effects with intervals, rankings, findings, pairs of images, and words at the output."""

from core.words import find

__all__ = ["find"]

"""The reader of a run, under its name of core.run.reader."""

from core.run.reader import FEATURE_SORTS, Catalog

__all__ = ["FEATURE_SORTS", "Catalog"]

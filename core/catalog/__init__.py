"""Queries over a run folder: what pages read; the only room that knows DuckDB."""

from core.catalog.catalog import Catalog
from core.catalog.features import FEATURE_SORTS

__all__ = ["FEATURE_SORTS", "Catalog"]

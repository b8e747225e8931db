"""The reader of one run for pages and programs: its tables and what is asked of them, as frames.

A run may be half computed: a table that is not there is normal (``has``), and asking for it is a UserError that says
how to get it. Values always travel as parameters, column names only from lists written in this room.
"""

from __future__ import annotations

from core.run.reader.causes import ExplainQueries, InterventionQueries, MechanismQueries
from core.run.reader.features import FEATURE_SORTS, FeatureQueries, GenderQueries, SampleQueries
from core.run.reader.languages import CrosslingualQueries, LayerQueries
from core.run.reader.search import SearchQueries

__all__ = ["FEATURE_SORTS", "Catalog"]


class Catalog(
    SampleQueries,
    FeatureQueries,
    SearchQueries,
    GenderQueries,
    LayerQueries,
    CrosslingualQueries,
    ExplainQueries,
    InterventionQueries,
    MechanismQueries,
):
    """The run in ``Catalog(dir)``, its tables read as they are now; make a new one when the manifest has changed.

    Safe to share between threads. A table that names another SAE than saes.parquet does for that layer is refused when
    it is first used: a feature number means nothing in another dictionary.
    """

"""The catalogue of one run: samples, captions, SAEs, features and examples, as frames.

A run may be half computed: a table that is not there is normal (``has``), and asking for it is a UserError that says
how to get it. Values always travel as parameters, column names only from lists written in this room.
"""

from __future__ import annotations

from core.catalog.crosslingual import CrosslingualQueries
from core.catalog.explain import ExplainQueries
from core.catalog.features import FeatureQueries
from core.catalog.gender import GenderQueries
from core.catalog.interventions import InterventionQueries
from core.catalog.layers import LayerQueries
from core.catalog.mechanisms import MechanismQueries
from core.catalog.samples import SampleQueries


class Catalog(
    SampleQueries,
    FeatureQueries,
    GenderQueries,
    LayerQueries,
    CrosslingualQueries,
    ExplainQueries,
    InterventionQueries,
    MechanismQueries,
):
    """Reads the tables of ``Catalog(run_dir)`` as they are now; make a new one when the manifest has changed.

    Safe to share between threads. A table that names another SAE than saes.parquet does for that layer is refused when
    it is first used: a feature number means nothing in another dictionary.
    """

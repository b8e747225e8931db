"""Every table that a run can have, by name."""

from __future__ import annotations

from core.run.schema import (
    Table,
    activations,
    bias,
    captions,
    crosslingual,
    features,
    gender,
    graph,
    hiding,
    interventions,
    layers,
    mechanisms,
    nulls,
    saes,
    samples,
    steering,
)

TOPICS = (
    samples,
    captions,
    activations,
    saes,
    features,
    gender,
    crosslingual,
    layers,
    bias,
    steering,
    interventions,
    hiding,
    mechanisms,
    graph,
    nulls,
)
TABLES: dict[str, Table] = {one.name: one for topic in TOPICS for one in vars(topic).values() if isinstance(one, Table)}

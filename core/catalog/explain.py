"""Queries about what the model says a feature is, and about the grid of steered captions."""

from __future__ import annotations

import pandas as pd

from core.catalog.base import Tables


class ExplainQueries(Tables):
    """Explanations of features, and captions of the dose grid."""

    def explanations(self, layer: int | None = None, feature: int | None = None, chosen: bool = False) -> pd.DataFrame:
        """Rows of explanations by layer, feature, language (English first) and strength; None means all.

        ``chosen`` keeps the one strength of each feature and language that was chosen on the training images.
        """
        self.columns("explanations")
        wanted = {"layer": layer, "feature": feature}
        parameters = {name: int(value) for name, value in wanted.items() if value is not None}
        where = " AND ".join([*(f"{name} = ${name}" for name in parameters), *(["chosen"] if chosen else [])]) or "true"
        order = "layer, feature, lang DESC, strength"
        return self._query(f"SELECT * FROM explanations WHERE {where} ORDER BY {order}", parameters)

    def doses(self, sample_id: int, edits: str) -> pd.DataFrame:
        """The captions of an image under exactly these edits ("" for none), English first; empty where not in the grid.

        ``edits`` is written as by ``core.gender.sets.edits_key``.
        """
        self.columns("doses")
        return self._query(
            "SELECT * FROM doses WHERE sample_id = $sample_id AND edits = $edits ORDER BY lang DESC",
            {"sample_id": int(sample_id), "edits": edits},
        )

    def dose_turns(self) -> pd.DataFrame:
        """By layer, the share of steered captions of the grid that name the other gender than the unsteered one."""
        self.columns("doses")
        return self._query(
            """SELECT d.layer, avg(CAST(d.finished AND d.named IN ('male', 'female') AND b.named IN ('male', 'female')
                AND d.named <> b.named AS DOUBLE)) AS turned, count(*) AS n
                FROM doses d JOIN doses b ON b.sample_id = d.sample_id AND b.lang = d.lang AND b.edits = ''
                WHERE d.edits <> '' GROUP BY d.layer ORDER BY d.layer"""
        )

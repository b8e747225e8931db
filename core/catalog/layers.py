"""Queries about layers: probes of image gender, the logit lens, and where gender first appears."""

from __future__ import annotations

import pandas as pd

from core.catalog.base import Tables

VIEW_ORDER = "CASE view WHEN 'pixels' THEN 0 WHEN 'image' THEN 1 WHEN 'prompt' THEN 2 WHEN 'before' THEN 3 ELSE 4 END"


class LayerQueries(Tables):
    """What can be read of the image's gender at which layer."""

    def probes(self, measure: str | None = None, transfer: bool | None = None) -> pd.DataFrame:
        """Rows of probes.parquet by view (nearest the image first), language and layer; None means all.

        ``transfer``: only probes that were trained on the other language, or only those that were not.
        """
        self.columns("probes")
        where, parameters = "true", {}
        if measure is not None:
            where, parameters = "measure = $measure", {"measure": measure}
        if transfer is not None:
            where += f" AND lang {'<>' if transfer else '='} trained_on"
        order = f"{VIEW_ORDER}, lang DESC, trained_on DESC, measure, layer"
        return self._query(f"SELECT * FROM probes WHERE {where} ORDER BY {order}", parameters)

    def lens(self, position: str | None = None, lang: str | None = None) -> pd.DataFrame:
        """Rows of lens.parquet by position ("prompt" first), language (English first) and layer; None means all."""
        self.columns("lens")
        chosen = {name: value for name, value in (("position", position), ("lang", lang)) if value is not None}
        where = " AND ".join(f"{name} = ${name}" for name in chosen) or "true"
        return self._query(f"SELECT * FROM lens WHERE {where} ORDER BY position, lang DESC, layer", chosen)

    def emergence(self) -> pd.DataFrame:
        """Rows of emergence.parquet: probes first, then by place and language."""
        self.columns("emergence")
        order = f"method DESC, {VIEW_ORDER.replace('view', 'position')}, lang DESC"
        return self._query(f"SELECT * FROM emergence ORDER BY {order}")

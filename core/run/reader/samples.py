"""Queries about images and their texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from core.errors import UserError
from core.run.reader.views import Tables


class SampleQueries(Tables):
    """Samples, captions and references."""

    def samples(
        self, split: str | None = None, gender: str | None = None, text: str = "", limit: int = 60, offset: int = 0
    ) -> pd.DataFrame:
        """Samples by sample_id; ``text`` is looked for in the model's captions, the references and the image's name.

        The search ignores case and takes the text as it is written, with no pattern characters.
        """
        where, parameters = self._sample_filter(split, gender, text)
        parameters |= {"limit": limit, "offset": offset}
        return self._query(
            f"SELECT * FROM samples WHERE {where} ORDER BY sample_id LIMIT $limit OFFSET $offset", parameters
        )

    def n_samples(self, split: str | None = None, gender: str | None = None, text: str = "") -> int:
        """How many samples the same filters leave."""
        where, parameters = self._sample_filter(split, gender, text)
        return int(self._query(f"SELECT count(*) AS n FROM samples WHERE {where}", parameters)["n"].iloc[0])

    def _sample_filter(self, split: str | None, gender: str | None, text: str) -> tuple[str, dict[str, Any]]:
        self.columns("samples")
        where, parameters = ["true"], {}
        for name, value in (("split", split), ("gender", gender)):
            if value is not None:
                where.append(f"{name} = ${name}")
                parameters[name] = value
        if text.strip():
            places = ["contains(lower(image_id), lower($text))"]
            for table in ("captions", "references"):
                if self.has(table):
                    self.columns(table)
                    found = f'SELECT sample_id FROM "{table}" WHERE contains(lower(text), lower($text))'
                    places.append(f"sample_id IN ({found})")
            where.append(f"({' OR '.join(places)})")
            parameters["text"] = text.strip()
        return " AND ".join(where), parameters

    def sample(self, sample_id: int) -> dict[str, Any]:
        """One sample; ``attributes`` as a dict ({} where nothing is known). UserError where there is none."""
        self.columns("samples")
        rows = self._query("SELECT * FROM samples WHERE sample_id = $id", {"id": int(sample_id)}).to_dict("records")
        if not rows:
            raise UserError(f"The run {self.name} has no sample {sample_id}.", "", "Choose one from the list.")
        return {**rows[0], "attributes": json.loads(rows[0]["attributes"] or "{}")}

    def captions(self, sample_ids: Sequence[int]) -> pd.DataFrame:
        """The model's own captions of these samples, by sample_id, English first."""
        return self._texts("captions", sample_ids, "sample_id, lang DESC")

    def references(self, sample_ids: Sequence[int]) -> pd.DataFrame:
        """The reference captions of these samples, by sample_id, English first, in their order."""
        return self._texts("references", sample_ids, "sample_id, lang DESC, n")

    def _texts(self, table: str, sample_ids: Sequence[int], order: str) -> pd.DataFrame:
        self.columns(table)
        ids = [int(i) for i in sample_ids]
        chosen = "sample_id IN (SELECT unnest($ids::INTEGER[]))"
        return self._query(f'SELECT * FROM "{table}" WHERE {chosen} ORDER BY {order}', {"ids": ids})

"""Queries about where in the model gender is: probes and logit lens by layer, heads, weights, pairs of features."""

from __future__ import annotations

import pandas as pd

from core.run.reader.views import Tables, equal

VIEW_ORDER = "CASE view WHEN 'pixels' THEN 0 WHEN 'image' THEN 1 WHEN 'prompt' THEN 2 WHEN 'before' THEN 3 ELSE 4 END"


class LayerQueries(Tables):
    """What can be read of the image's gender at which layer."""

    def probes(self, measure: str | None = None, transfer: bool | None = None) -> pd.DataFrame:
        """Rows of probes.parquet by view (nearest the image first), language and layer; None means all.

        ``transfer``: only probes that were trained on the other language, or only those that were not.
        """
        self.columns("probes")
        where, parameters = equal(measure=measure)
        if transfer is not None:
            where += f" AND lang {'<>' if transfer else '='} trained_on"
        order = f"{VIEW_ORDER}, lang DESC, trained_on DESC, measure, layer"
        return self._query(f"SELECT * FROM probes WHERE {where} ORDER BY {order}", parameters)

    def lens(self, position: str | None = None, lang: str | None = None) -> pd.DataFrame:
        """Rows of lens.parquet by position ("prompt" first), language (English first) and layer; None means all."""
        self.columns("lens")
        where, parameters = equal(position=position, lang=lang)
        return self._query(f"SELECT * FROM lens WHERE {where} ORDER BY position, lang DESC, layer", parameters)

    def emergence(self) -> pd.DataFrame:
        """Rows of emergence.parquet: probes first, then by place and language."""
        self.columns("emergence")
        order = f"method DESC, {VIEW_ORDER.replace('view', 'position')}, lang DESC"
        return self._query(f"SELECT * FROM emergence ORDER BY {order}")


class MechanismQueries(Tables):
    """Which parts of the model do what to the gendered words."""

    def head_effects(self, lang: str | None = None) -> pd.DataFrame:
        """Rows of head_effects, English first, by layer; heads before the MLP, the sum of all at the end."""
        self.columns("head_effects")
        where, parameters = equal(lang=lang)
        return self._query(
            f"SELECT * FROM head_effects WHERE {where} ORDER BY lang DESC, part = 'all', layer, part = 'mlp', head",
            parameters,
        )

    def head_maps(self, lang: str, layer: int, head: int) -> pd.DataFrame:
        """Attention of one head to the image tokens by image, sample -1 (the mean) first, then women, then men."""
        self.columns("head_attention")
        return self._query(
            "SELECT sample_id, gender, word, patch_map FROM head_attention WHERE lang = $lang AND layer = $layer "
            "AND head = $head ORDER BY sample_id >= 0, gender, sample_id",
            {"lang": lang, "layer": int(layer), "head": int(head)},
        )

    def weight_spectra(self, matrix: str | None = None) -> pd.DataFrame:
        """Rows of weight_spectra by layer and head; ``matrix`` is OV, QK or MLP."""
        self.columns("weight_spectra")
        where, parameters = equal(matrix=matrix)
        return self._query(f"SELECT * FROM weight_spectra WHERE {where} ORDER BY matrix, layer, head", parameters)

    def head_readings(self, lang: str | None = None, view: str | None = None) -> pd.DataFrame:
        """Rows of head_readings by layer and head; None means all."""
        self.columns("head_readings")
        where, parameters = equal(lang=lang, view=view)
        return self._query(
            f"SELECT * FROM head_readings WHERE {where} ORDER BY lang DESC, view DESC, head_layer, head", parameters
        )

    def feature_pairs(self, lang: str | None = None, layer: int | None = None) -> pd.DataFrame:
        """Rows of feature_pairs, those that were ablated together first; ``label_a`` and ``label_b`` where there are
        labels of that language, else empty."""
        self.columns("feature_pairs")
        where, parameters = equal(lang=lang, layer=layer)
        shown, joins = "'' AS label_a, '' AS label_b", ""
        if self.has("labels"):
            self.columns("labels")
            shown = ", ".join(f"coalesce(l_{s}.label, '') AS label_{s}" for s in "ab")
            on = "l_{0}.layer = p.layer AND l_{0}.feature = p.feature_{0} AND l_{0}.lang = p.lang"
            joins = " ".join(f"LEFT JOIN labels l_{s} ON {on.format(s)}" for s in "ab")
        chosen = f"SELECT * FROM feature_pairs WHERE {where}"
        return self._query(
            f"SELECT p.*, {shown} FROM ({chosen}) p {joins} ORDER BY p.lang DESC, p.layer, p.n_ablated = 0, "
            "p.kind DESC, p.feature_a, p.feature_b",
            parameters,
        )

    def patching(self, lang: str | None = None, layer: int | None = None) -> pd.DataFrame:
        """Rows of patching, strongest true effect first; None means all."""
        self.columns("patching")
        where, parameters = equal(lang=lang, layer=layer)
        return self._query(
            f'SELECT * FROM patching WHERE {where} ORDER BY abs("true") DESC, layer, feature', parameters
        )

    def patching_checks(self, chosen: str | None = None) -> pd.DataFrame:
        """Rows of patching_checks, English first, by layer; ``chosen`` is all, strongest or random."""
        self.columns("patching_checks")
        where, parameters = equal(chosen=chosen)
        return self._query(
            f"SELECT * FROM patching_checks WHERE {where} ORDER BY lang DESC, layer, chosen, "
            "CASE method WHEN 'gradient' THEN 0 WHEN 'integrated' THEN 1 ELSE 2 END",
            parameters,
        )

"""Queries about edited models: explanations, the grid of steered captions, interventions, and parts of the model."""

from __future__ import annotations

import pandas as pd

from core.run.reader.views import Tables, equal

ARM_COLUMNS = ("method", "mode", "layer", "strength", "sets", "ranking", "k", "draw")


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


class InterventionQueries(Tables):
    """Tables of the stage interventions."""

    def intervention_effects(self, outcome: str | None = None, part: str | None = None) -> pd.DataFrame:
        """Rows of intervention_effects by design and language; None means all outcomes, or all parts but the grid."""
        self.columns("intervention_effects")
        where, parameters = "part <> 'grid'" if part is None else "part = $part", {}
        if part is not None:
            parameters["part"] = part
        if outcome is not None:
            where += " AND outcome = $outcome"
            parameters["outcome"] = outcome
        sql = f"SELECT * FROM intervention_effects WHERE {where} ORDER BY design, lang DESC, arm, outcome"
        return self._query(sql, parameters)

    def intervention_verdicts(self) -> pd.DataFrame:
        """Rows of intervention_verdicts by design, English first."""
        self.columns("intervention_verdicts")
        return self._query("SELECT * FROM intervention_verdicts ORDER BY design, lang DESC")

    def intervention_comparisons(self) -> pd.DataFrame:
        """Rows of intervention_comparisons by comparison and outcome, English first."""
        self.columns("intervention_comparisons")
        return self._query("SELECT * FROM intervention_comparisons ORDER BY comparison, outcome, lang DESC")

    def intervention_arms(self, lang: str | None = None) -> pd.DataFrame:
        """Every arm of the confirming images by language: what it is, and its share of clean and of damaged captions.

        Columns: arm, those of ARM_COLUMNS, moved_ratio, lang, clean, changed, damaged, n_images.
        """
        for table in ("intervention_arms", "intervention_captions"):
            self.columns(table)
        arm = ", ".join(f"a.{name}" for name in ARM_COLUMNS)
        where = "a.phase = 'confirmation'" + (" AND c.lang = $lang" if lang else "")
        return self._query(
            f"SELECT a.arm, {arm}, a.moved_ratio, c.lang, avg(c.clean::INT) AS clean, avg(c.changed::INT) AS changed,"
            " avg(c.damaged::INT) AS damaged, count(c.clean) AS n_images"
            " FROM intervention_arms a JOIN intervention_captions c USING (arm)"
            f" WHERE {where} GROUP BY ALL ORDER BY a.arm, c.lang DESC",
            {"lang": lang} if lang else {},
        )

    def intervention_pairs(self, arm: int, other: int) -> pd.DataFrame:
        """By language, in how many of the same images two arms change a caption cleanly: ``n`` asked of both, ``both``,
        ``only_first``, ``only_second``."""
        self.columns("intervention_captions")
        return self._query(
            """SELECT a.lang, count(*)::INTEGER AS n, count(*) FILTER (a.clean AND b.clean)::INTEGER AS both,
                count(*) FILTER (a.clean AND NOT b.clean)::INTEGER AS only_first,
                count(*) FILTER (b.clean AND NOT a.clean)::INTEGER AS only_second
                FROM intervention_captions a JOIN intervention_captions b USING (phase, image, lang)
                WHERE a.arm = $arm AND b.arm = $other AND a.clean IS NOT NULL AND b.clean IS NOT NULL
                GROUP BY a.lang ORDER BY a.lang DESC""",
            {"arm": int(arm), "other": int(other)},
        )

    def intervention_terms(self, part: str = "sets") -> pd.DataFrame:
        """Rows of intervention_terms of one part, by design, language, gender and word."""
        self.columns("intervention_terms")
        sql = "SELECT * FROM intervention_terms WHERE part = $part ORDER BY design, lang DESC, gender, lemma"
        return self._query(sql, {"part": part})

    def intervention_captions(self, arm: int) -> pd.DataFrame:
        """Captions of one arm beside the unedited ones (``before``), with their images, by image and language."""
        for table in ("intervention_arms", "intervention_captions", "intervention_images"):
            self.columns(table)
        return self._query(
            "SELECT c.image, c.lang, c.text, b.text AS before, b.named AS before_named, c.clean, c.changed, c.damaged,"
            " i.gender, i.sample_id, i.image_file FROM intervention_captions c"
            " JOIN intervention_arms a ON a.method = 'none' AND a.phase = c.phase"
            " JOIN intervention_captions b ON b.arm = a.arm AND b.image = c.image AND b.lang = c.lang"
            " JOIN intervention_images i ON i.image = c.image AND i.phase = c.phase"
            " WHERE c.arm = $arm ORDER BY c.image, c.lang DESC",
            {"arm": int(arm)},
        )


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

    def part_agreement(self) -> pd.DataFrame:
        """Rows of part_agreement: all parts first, then heads, then MLPs."""
        self.columns("part_agreement")
        return self._query("SELECT * FROM part_agreement ORDER BY parts", {})

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

    def graphs(self) -> pd.DataFrame:
        """Rows of graphs, English first, women's images first."""
        self.columns("graphs")
        return self._query("SELECT * FROM graphs ORDER BY lang DESC, gender, sample_id", {})

    def graph_layers(self) -> pd.DataFrame:
        """Rows of graph_layers by language, image, layer and dictionary."""
        self.columns("graph_layers")
        return self._query("SELECT * FROM graph_layers ORDER BY lang DESC, sample_id, layer, dictionary", {})

    def graph_nodes(self, lang: str, sample_id: int) -> pd.DataFrame:
        """Nodes of one graph from patches to the word, with ``label`` where there are labels of that language."""
        self.columns("graph_nodes")
        shown, join = "'' AS label", ""
        if self.has("labels"):
            self.columns("labels")
            shown = "coalesce(l.label, '') AS label"
            join = "LEFT JOIN labels l ON l.layer = n.layer AND l.feature = n.feature AND l.lang = n.lang"
        return self._query(
            f"SELECT n.*, {shown} FROM graph_nodes n {join} WHERE n.lang = $lang AND n.sample_id = $sample_id "
            "ORDER BY n.layer, n.kind = 'error', abs(n.effect) DESC, n.node",
            {"lang": lang, "sample_id": int(sample_id)},
        )

    def graph_edges(self, lang: str | None = None, sample_id: int | None = None) -> pd.DataFrame:
        """Edges of one graph, or of all, the strongest first."""
        self.columns("graph_edges")
        where, parameters = equal(lang=lang, sample_id=sample_id)
        return self._query(
            f"SELECT * FROM graph_edges WHERE {where} ORDER BY lang DESC, sample_id, abs(effect) DESC, source, target",
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

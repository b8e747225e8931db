"""Queries about edited models: what features say when turned up, the grid of steered captions, interventions."""

from __future__ import annotations

import pandas as pd

from core.run.reader.views import Tables

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
            "SELECT c.image, c.lang, c.text, b.text AS before, c.clean, c.changed, c.damaged, i.gender, i.sample_id,"
            " i.image_file FROM intervention_captions c"
            " JOIN intervention_arms a ON a.method = 'none' AND a.phase = c.phase"
            " JOIN intervention_captions b ON b.arm = a.arm AND b.image = c.image AND b.lang = c.lang"
            " JOIN intervention_images i ON i.image = c.image AND i.phase = c.phase"
            " WHERE c.arm = $arm ORDER BY c.image, c.lang DESC",
            {"arm": int(arm)},
        )

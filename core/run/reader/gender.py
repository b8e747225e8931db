"""Queries about features and gender, and about the labels of features."""

from __future__ import annotations

from typing import Any

import pandas as pd

from core.errors import UserError
from core.run.reader.views import Tables, equal

GENDER_SORTS = ("rank_auc", "rank_d", "rank_difference", "rank_effect", "feature", "q_train", "auc_test", "p_train")


class GenderQueries(Tables):
    """Effects of gender on features, agreement of rankings, balanced pairs of images, automatic labels."""

    def gender_features(
        self,
        layer: int | None = None,
        lang: str | None = None,
        view: str | None = None,
        findings_only: bool = False,
        sort: str = "rank_auc",
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> pd.DataFrame:
        """Rows of gender_features, ``label_en`` and ``label_ar`` beside them where the run has labels; None means all.

        ``sort`` is one of GENDER_SORTS, empty values last and ties by layer and feature; UserError for any other.
        """
        if sort not in GENDER_SORTS:
            raise UserError(f"Features cannot be sorted by {sort}.", "", f"Sort by one of: {', '.join(GENDER_SORTS)}.")
        self.columns("gender_features")
        where, parameters = equal(layer=layer, lang=lang, view=view)
        where += " AND finding" if findings_only else ""
        direction, page = "DESC" if descending else "ASC", ""
        if limit is not None:
            page, parameters = " LIMIT $limit OFFSET $offset", {**parameters, "limit": limit, "offset": offset}
        order = f'"{sort}" {direction} NULLS LAST, layer, feature, view, lang'
        chosen = f"SELECT * FROM gender_features WHERE {where} ORDER BY {order}{page}"
        extra, joins = self._label_joins()
        order = f'g."{sort}" {direction} NULLS LAST, g.layer, g.feature, g.view, g.lang'
        return self._query(
            f"SELECT {', '.join(['g.*', *extra])} FROM ({chosen}) g {joins} ORDER BY {order}", parameters
        )

    def gender_feature(self, layer: int, feature: int) -> pd.DataFrame:
        """All views and languages of one feature; empty where it never fires."""
        return self.frame("gender_features", layer=int(layer), feature=int(feature))

    def gender_counts(self) -> pd.DataFrame:
        """By layer, view and language: features ``n_tested``, findings ``n_female`` and ``n_male``, images a gender."""
        self.columns("gender_features")
        images = ", ".join(f"max(n_{g}_{s}) AS n_{g}_{s}" for s in ("train", "test") for g in ("female", "male"))
        return self._query(
            f"""SELECT layer, view, lang, count(p_train)::INTEGER AS n_tested,
                count(*) FILTER (finding AND direction = 'female')::INTEGER AS n_female,
                count(*) FILTER (finding AND direction = 'male')::INTEGER AS n_male, {images}
                FROM gender_features GROUP BY ALL ORDER BY layer, view, lang"""
        )

    def gender_rankings(
        self, layer: int | None = None, lang: str | None = None, view: str | None = None
    ) -> pd.DataFrame:
        """How far the rankings of features agree; None means all."""
        self.columns("gender_rankings")
        where, parameters = equal(layer=layer, lang=lang, view=view)
        return self._query(f"SELECT * FROM gender_rankings WHERE {where}", parameters)

    def gender_pairs(self, layer: int, feature: int) -> pd.DataFrame:
        """Pairs of images of like activation, strongest first: for each gender sample, activation and what is known.

        Columns: pair, sample_female, activation_female, thumb_female, image_female, split_female, caption_en_female,
        caption_ar_female, and the same with male. Empty where there is no pair.
        """
        self.columns("gender_pairs")
        lists = [f"{what}_{gender}" for gender in ("female", "male") for what in ("sample", "activation")]
        pairs = (
            f"SELECT unnest(range(n_pairs))::INTEGER AS pair, {', '.join(f'unnest({c}) AS {c}' for c in lists)} "
            "FROM gender_pairs WHERE layer = $layer AND feature = $feature"
        )
        shown, joins = ["p.*"], []
        for gender in ("female", "male"):
            if self.has("samples"):
                self.columns("samples")
                joins.append(f"LEFT JOIN samples s_{gender} ON s_{gender}.sample_id = p.sample_{gender}")
                names = {"thumb_file": "thumb", "image_file": "image", "split": "split"}
                shown += [f"s_{gender}.{c} AS {name}_{gender}" for c, name in names.items()]
            for lang in ("en", "ar") if self.has("captions") else ():
                self.columns("captions")
                name = f"{lang}_{gender}"
                joins.append(
                    f"LEFT JOIN captions {name} ON {name}.sample_id = p.sample_{gender} AND {name}.lang = '{lang}'"
                )
                shown.append(f"{name}.text AS caption_{name}")
        return self._query(
            f"SELECT {', '.join(shown)} FROM ({pairs}) p {' '.join(joins)} ORDER BY p.pair",
            {"layer": int(layer), "feature": int(feature)},
        )

    def gender_lift(self, layer: int, feature: int) -> dict[str, Any] | None:
        """How women and men are shared among the images that fire a feature most; None where it never fires."""
        self.columns("gender_pairs")
        lifts = ", ".join(f"lift_{gender}{part}" for gender in ("female", "male") for part in ("", "_low", "_high"))
        rows = self._query(
            f"SELECT n_pairs, n_top, n_top_female, n_female, n_male, {lifts}, why FROM gender_pairs "
            "WHERE layer = $layer AND feature = $feature",
            {"layer": int(layer), "feature": int(feature)},
        ).to_dict("records")
        return {k: None if pd.isna(v) else v for k, v in rows[0].items()} if rows else None

    def labels(
        self, layer: int | None = None, lang: str | None = None, text: str = "", named: bool = False
    ) -> pd.DataFrame:
        """Rows of labels by layer, feature and language (English first); ``text`` is looked for in the labels.

        ``named`` leaves out features without a label. None means all.
        """
        self.columns("labels")
        where, parameters = equal(layer=layer, lang=lang)
        where += " AND label <> ''" if named or text.strip() else ""
        if text.strip():
            where += " AND contains(lower(label), lower($text))"
            parameters["text"] = text.strip()
        return self._query(f"SELECT * FROM labels WHERE {where} ORDER BY layer, feature, lang DESC", parameters)

    def _label_joins(self) -> tuple[list[str], str]:
        if not self.has("labels"):
            return ["'' AS label_en", "'' AS label_ar"], ""
        self.columns("labels")
        on = "l_{0}.layer = g.layer AND l_{0}.feature = g.feature AND l_{0}.lang = '{0}'"
        joins = " ".join(f"LEFT JOIN labels l_{lang} ON {on.format(lang)}" for lang in ("en", "ar"))
        return [f"coalesce(l_{lang}.label, '') AS label_{lang}" for lang in ("en", "ar")], joins

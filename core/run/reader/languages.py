"""Queries about English and Arabic, and about the layers at which gender can be read."""

from __future__ import annotations

import pandas as pd

from core.errors import UserError
from core.run.reader.views import Tables, equal

TOKENS_SHOWN = 5
SHARED_SORTS = ("size", "effect_en", "effect_ar", "feature")
VIEWS = ("pixels", "tower", "projector", "image", "prompt", "before", "caption")
_PLACES = " ".join(f"WHEN '{view}' THEN {i}" for i, view in enumerate(VIEWS))
VIEW_ORDER = f"CASE view {_PLACES} END"


class CrosslingualQueries(Tables):
    """Tables of the stage crosslingual; feature lists carry the words and labels that the run knows."""

    def language_classes(self) -> pd.DataFrame:
        """How many features are in each class, by layer, with what chance would give."""
        return self.frame("language_classes")

    def alignment(self, matched_by: str = "") -> pd.DataFrame:
        """Comparisons of residuals (``matched_by`` ""), or of dictionaries trained apart ("activation", "decoder")."""
        return self.frame("alignment", matched_by=matched_by)

    def language_feature(self, layer: int, feature: int) -> dict[str, object]:
        """What the two languages do with one feature; {} where the run has nothing about it."""
        if not self.has("language_features"):
            return {}
        rows = self.frame("language_features", layer=int(layer), feature=int(feature)).to_dict("records")
        return {str(name): value for name, value in rows[0].items()} if rows else {}

    def classes_of_layer(self, layer: int) -> pd.Series:
        """Whose each feature of a layer is (language_class, one of those that language_classes counts), by feature."""
        rows = self.frame("language_features", layer=int(layer))
        return rows.set_index("feature")["language_class"]

    def shared_gender(self, layer: int, view: str, sort: str = "size", limit: int | None = None) -> pd.DataFrame:
        """Gender features of a layer and view with their language class and words; largest effect first.

        ``sort`` is one of SHARED_SORTS; UserError for any other.
        """
        if sort not in SHARED_SORTS:
            raise UserError(
                f"Gender features cannot be sorted by {sort}.", "", f"By one of: {', '.join(SHARED_SORTS)}."
            )
        self.columns("shared_gender")
        order = {"size": "greatest(abs(s.effect_en), abs(s.effect_ar)) DESC", "feature": "s.feature"}
        order |= {f"effect_{lang}": f"s.effect_{lang} DESC" for lang in ("en", "ar")}
        extra, joins = self._beside("s", "language_features", ("language_class", "language_index"))
        page = "" if limit is None else f" LIMIT {int(limit)}"
        return self._query(
            f"SELECT {', '.join(['s.*', *extra])} FROM shared_gender s {joins} "
            f"WHERE s.layer = $layer AND s.view = $view ORDER BY {order[sort]}, s.feature{page}",
            {"layer": int(layer), "view": view},
        )

    def grammatical_gender(self, layer: int, limit: int | None = None) -> pd.DataFrame:
        """Features of a layer by how clearly they tell feminine from masculine words, with their own words."""
        self.columns("grammatical_gender")
        extra, joins = self._beside("g", "", ())
        page = "" if limit is None else f" LIMIT {int(limit)}"
        return self._query(
            f"SELECT {', '.join(['g.*', *extra])} FROM grammatical_gender g {joins} WHERE g.layer = $layer "
            f"ORDER BY g.p_word_adjusted NULLS LAST, g.size_word DESC NULLS LAST, g.feature{page}",
            {"layer": int(layer)},
        )

    def grammatical_counts(self) -> pd.DataFrame:
        """By layer and what is followed: how many features."""
        self.columns("grammatical_gender")
        return self._query(
            "SELECT layer, follows, count(*)::INTEGER AS n FROM grammatical_gender GROUP BY ALL ORDER BY layer, follows"
        )

    def _beside(self, table: str, other: str, columns: tuple[str, ...]) -> tuple[list[str], str]:
        """Columns and joins that put another table's columns, words and labels beside features."""
        extra, joins = [], ""
        if other and self.has(other):
            self.columns(other)
            extra += [f"o.{name}" for name in columns]
            joins += f' LEFT JOIN "{other}" o ON o.layer = {table}.layer AND o.feature = {table}.feature'
        if self.has("features") and "top_tokens" in self.columns("features"):
            extra.append(f"coalesce(array_to_string(f.top_tokens[1:{TOKENS_SHOWN}], ' · '), '') AS tokens")
            joins += f" LEFT JOIN features f ON f.layer = {table}.layer AND f.feature = {table}.feature"
        if self.has("labels"):
            self.columns("labels")
            for lang in ("en", "ar"):
                extra.append(f"coalesce(l_{lang}.label, '') AS label_{lang}")
                joins += (
                    f" LEFT JOIN labels l_{lang} ON l_{lang}.layer = {table}.layer AND "
                    f"l_{lang}.feature = {table}.feature AND l_{lang}.lang = '{lang}'"
                )
        return extra, joins


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

    def shown_captions(self) -> pd.DataFrame:
        """Images whose captions were read token by token: sample_id, image_id, gender, patches (whether these were)."""
        for table in ("samples", "caption_lens"):
            self.columns(table)
        return self._query(
            "SELECT s.sample_id, s.image_id, s.gender, bool_or(c.kind = 'image') AS patches FROM caption_lens c "
            "JOIN samples s USING (sample_id) GROUP BY ALL ORDER BY s.sample_id"
        )

    def caption_lens(self, sample_id: int, kind: str = "caption", slot: int | None = None) -> pd.DataFrame:
        """Rows of caption_lens of one image, English first, by layer and place; ``kind`` is caption or image."""
        self.columns("caption_lens")
        where, parameters = equal(sample_id=int(sample_id), kind=kind, slot=slot)
        return self._query(
            f"SELECT * FROM caption_lens WHERE {where} ORDER BY lang DESC, lens, layer, slot", parameters
        )

    def lens_fit(self, lang: str | None = None) -> pd.DataFrame:
        """Rows of lens_fit, English first, by lens and layer; None means both languages."""
        self.columns("lens_fit")
        where, parameters = equal(lang=lang)
        return self._query(f"SELECT * FROM lens_fit WHERE {where} ORDER BY lang DESC, lens, layer", parameters)

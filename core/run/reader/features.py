"""Queries about images and their texts, features with their examples, and what features have to do with gender."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from core.errors import UserError
from core.run.reader.views import Tables, equal

FEATURE_SORTS = (
    "feature",
    "n_active",
    "density",
    "density_image",
    "density_prompt",
    "density_caption_en",
    "density_caption_ar",
    "lang_en",
    "lang_ar",
    "mean",
    "std",
    "max",
    "p999",
    "explained_share",
    "umap_x",
    "umap_y",
)
TOKEN_COLUMNS = ("top_tokens", "logits_up_tokens", "logits_down_tokens")
SHOWN_TOKENS = 5
GENDER_SORTS = ("rank_auc", "rank_d", "rank_difference", "rank_effect", "feature", "q_train", "auc_test", "p_train")


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

    @functools.cached_property
    def patches_a_side(self) -> int:
        """Parts of the picture in a row of the model's map of it; 0 where none of its positions belongs to a part."""
        self.columns("tokens")
        rows = self._query("SELECT max(patch) AS last FROM tokens")
        last = rows["last"].iloc[0]
        noted = pq.read_schema(self._files["tokens"]).metadata or {}
        n = int(noted.get(b"n_patches", -1 if pd.isna(last) else int(last) + 1))
        return math.isqrt(n) if n > 0 and math.isqrt(n) ** 2 == n else 0

    def _texts(self, table: str, sample_ids: Sequence[int], order: str) -> pd.DataFrame:
        self.columns(table)
        ids = [int(i) for i in sample_ids]
        chosen = "sample_id IN (SELECT unnest($ids::INTEGER[]))"
        return self._query(f'SELECT * FROM "{table}" WHERE {chosen} ORDER BY {order}', {"ids": ids})


class FeatureQueries(Tables):
    """SAEs, features, examples and neighbours."""

    def __init__(self, dir: str | Path):
        super().__init__(dir)
        self._scalars: list[str] | None = None

    def layers(self) -> list[int]:
        """Layers with an SAE, rising; empty where none is trained yet."""
        if not self.has("saes"):
            return []
        self.columns("saes")
        return self._query("SELECT DISTINCT layer FROM saes ORDER BY layer")["layer"].astype(int).tolist()

    def saes(self) -> pd.DataFrame:
        """One row an SAE with its metrics, by layer."""
        self.columns("saes")
        return self._query("SELECT * FROM saes ORDER BY layer")

    def sae_fit(self) -> pd.DataFrame:
        """Rows of sae_fit.parquet by layer, kind of position and language."""
        self.columns("sae_fit")
        return self._query("SELECT * FROM sae_fit ORDER BY layer, kind, lang")

    def features(
        self,
        layer: int | None = None,
        alive: bool = True,
        min_density: float | None = None,
        max_density: float | None = None,
        text: str = "",
        sort: str = "feature",
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> pd.DataFrame:
        """Features without their list columns, ``tokens`` and ``up_tokens`` being the first few of each, joined.

        ``layer`` None means all; ``alive`` leaves out features that never fire; densities are inclusive; ``text`` is
        looked for in the top tokens and the words pushed up or down. ``sort`` is one of FEATURE_SORTS, empty values
        last and ties by layer and feature; UserError for any other.
        """
        if sort not in FEATURE_SORTS:
            raise UserError(f"Features cannot be sorted by {sort}.", "", f"Sort by one of: {', '.join(FEATURE_SORTS)}.")
        where, parameters = self._feature_filter(layer, alive, min_density, max_density, text)
        shown = ", ".join(f'"{name}"' for name in self._scalars or ())
        direction = "DESC" if descending else "ASC"
        page = "" if limit is None else " LIMIT $limit OFFSET $offset"
        parameters |= {} if limit is None else {"limit": limit, "offset": offset}
        order = f'"{sort}" {direction} NULLS LAST, layer, feature'
        return self._query(f"SELECT {shown} FROM features_table WHERE {where} ORDER BY {order}{page}", parameters)

    def n_features(
        self,
        layer: int | None = None,
        alive: bool = True,
        min_density: float | None = None,
        max_density: float | None = None,
        text: str = "",
    ) -> int:
        """How many features the same filters leave."""
        where, parameters = self._feature_filter(layer, alive, min_density, max_density, text)
        return int(self._query(f"SELECT count(*) AS n FROM features_table WHERE {where}", parameters)["n"].iloc[0])

    def _feature_filter(
        self, layer: int | None, alive: bool, min_density: float | None, max_density: float | None, text: str
    ) -> tuple[str, dict[str, Any]]:
        self._load_features()
        where, parameters = ["alive"] if alive else ["true"], {}
        for clause, name, value in (
            ("layer = $layer", "layer", layer),
            ("density >= $low", "low", min_density),
            ("density <= $high", "high", max_density),
            ("contains(words, lower($text))", "text", text.strip() or None),
        ):
            if value is not None:
                where.append(clause)
                parameters[name] = value
        return " AND ".join(where), parameters

    def _load_features(self) -> None:
        """The scalar columns as an in-memory table: several times as fast as the file, and small."""
        with self._lock:
            columns = self._open("features")
            if self._scalars is not None:
                return
            kinds = dict(self._con.execute("SELECT column_name, column_type FROM (DESCRIBE features)").fetchall())
            scalars = [name for name in columns if not kinds[name].endswith("[]")]
            chosen = [f'"{name}"' for name in scalars]
            words = [f"coalesce(array_to_string({c}, chr(10)), '')" for c in TOKEN_COLUMNS if c in columns]
            chosen.append(f"lower(concat_ws(chr(10), {', '.join(words)})) AS words" if words else "'' AS words")
            for column, name in (("top_tokens", "tokens"), ("logits_up_tokens", "up_tokens")):
                if column in columns:
                    trimmed = f"list_transform({column}[1:{SHOWN_TOKENS}], lambda t: trim(replace(t, chr(10), '⏎')))"
                    chosen.append(f"coalesce(array_to_string({trimmed}, ' · '), '') AS {name}")
                    scalars.append(name)
            self._con.execute(f"CREATE OR REPLACE TABLE features_table AS SELECT {', '.join(chosen)} FROM features")
            self._scalars = scalars

    def some_features(self, layer: int, features: Sequence[int]) -> pd.DataFrame:
        """A few features of a layer in the order given, for lists of what fires: feature, max, density, tokens.

        Where the run has them also label (of all languages), language_class, and ``gender``: the gender of a finding
        before the first gendered word, "" for none. Features that the layer lacks are left out.
        """
        self._load_features()
        given = pd.DataFrame({"feature": [int(f) for f in features]}, dtype="int64")
        at = {"layer": int(layer), "ids": given["feature"].tolist()}
        within = "layer = $layer AND feature IN (SELECT unnest($ids::INTEGER[]))"
        scalars = [c for c in ("max", "density", "tokens") if c in (self._scalars or ())]
        found = self._query(f"SELECT feature, {', '.join(scalars)} FROM features_table WHERE {within}", at)
        for table, sql in (
            ("labels", "SELECT feature, string_agg(DISTINCT label, ' · ' ORDER BY label) AS label {} AND label <> ''"),
            ("language_features", "SELECT feature, any_value(language_class) AS language_class {}"),
            (
                "gender_features",
                "SELECT feature, any_value(direction) AS gender {} AND finding AND view = 'before'",
            ),
        ):
            if self.has(table):
                self.columns(table)
                rows = self._query(f"{sql.format(f'FROM {table} WHERE {within}')} GROUP BY feature", at)
                found = found.merge(rows, on="feature", how="left")
        found = found.reindex(columns=list(dict.fromkeys([*found.columns, "label", "language_class", "gender"])))
        texts = ["label", "language_class", "gender", *(["tokens"] if "tokens" in found else [])]
        found[texts] = found[texts].astype(object).where(found[texts].notna(), "")
        return given.merge(found, on="feature", how="inner")

    def feature(self, layer: int, feature: int) -> dict[str, Any]:
        """All that is known of one feature, lists as Python lists, missing as None; UserError where there is none."""
        self.columns("features")
        cursor = self._con.cursor()
        try:
            found = cursor.execute(
                "SELECT * FROM features WHERE layer = $layer AND feature = $feature",
                {"layer": int(layer), "feature": int(feature)},
            )
            names = [d[0] for d in found.description]
            row = found.fetchone()
        finally:
            cursor.close()
        if row is None:
            do = f"Layers with features: {', '.join(map(str, self.layers())) or 'none'}."
            raise UserError(f"There is no feature {feature} in layer {layer} of the run {self.name}.", "", do)
        return dict(zip(names, row, strict=True))

    def examples(self, layer: int, feature: int, bin: str | None = "top", limit: int | None = None) -> pd.DataFrame:
        """Examples of a feature with their sample and texts; ``bin`` None gives all bins. Empty where it never fires.

        Besides the columns of examples.parquet: image_id, split, gender, thumb_file, image_file; ``caption`` (the
        model's, in the language of the example), ``caption_en``, ``caption_ar``; ``pieces`` are the tokens of
        ``caption`` as text, one for each of ``token_values``.
        """
        self.columns("examples")
        where = "layer = $layer AND feature = $feature"
        parameters: dict[str, Any] = {"layer": int(layer), "feature": int(feature)}
        if bin is not None:
            where, parameters["bin"] = f"{where} AND bin = $bin", bin
        chosen = f"SELECT * FROM examples WHERE {where} ORDER BY bin, rank"
        if limit is not None:
            chosen, parameters["limit"] = f"{chosen} LIMIT $limit", limit
        extra, joins = self._example_joins()
        columns = ", ".join(["e.*", *extra])
        return self._query(f"SELECT {columns} FROM ({chosen}) e {' '.join(joins)} ORDER BY e.bin, e.rank", parameters)

    def _example_joins(self) -> tuple[list[str], list[str]]:
        """Columns and joins that put an example's sample and captions beside it, as far as the run has them."""
        extra, joins = [], []
        if self.has("samples"):
            self.columns("samples")
            extra += ["s.image_id", "s.split", "s.gender", "s.thumb_file", "s.image_file"]
            joins.append("LEFT JOIN samples s ON s.sample_id = e.sample_id")
        if self.has("captions"):
            names = {"text": "caption"}
            if "pieces" in self.columns("captions") and "pieces" not in self.columns("examples"):
                names["pieces"] = "pieces"
            extra += [f"CASE e.lang WHEN 'en' THEN en.{c} ELSE ar.{c} END AS {name}" for c, name in names.items()]
            extra += ["en.text AS caption_en", "ar.text AS caption_ar"]
            for lang in ("en", "ar"):
                joins.append(f"LEFT JOIN captions {lang} ON {lang}.sample_id = e.sample_id AND {lang}.lang = '{lang}'")
        return extra, joins

    def neighbours(self, layer: int, feature: int) -> pd.DataFrame:
        """Nearest features of the layer by decoder cosine, nearest first: feature, cosine, their scalar columns."""
        self._load_features()
        shown = ", ".join(f't."{name}"' for name in self._scalars or () if name not in ("layer", "feature"))
        return self._query(
            f"""SELECT near.feature, near.cosine, {shown} FROM (
                SELECT unnest(neighbours) AS feature, unnest(neighbour_cosines) AS cosine,
                       unnest(range(len(neighbours))) AS place
                FROM features WHERE layer = $layer AND feature = $feature) near
                JOIN features_table t ON t.layer = $layer AND t.feature = near.feature ORDER BY near.place""",
            {"layer": int(layer), "feature": int(feature)},
        )


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

    def gender_counts(self, fdr: float = 0.05) -> pd.DataFrame:
        """By layer, view and language: features ``n_tested``, those that training images select (``n_selected``, q
        within ``fdr``), findings ``n_female`` and ``n_male``, images a gender."""
        self.columns("gender_features")
        images = ", ".join(f"max(n_{g}_{s}) AS n_{g}_{s}" for s in ("train", "test") for g in ("female", "male"))
        return self._query(
            f"""SELECT layer, view, lang, count(p_train)::INTEGER AS n_tested,
                count(*) FILTER (q_train <= $fdr)::INTEGER AS n_selected,
                count(*) FILTER (finding AND direction = 'female')::INTEGER AS n_female,
                count(*) FILTER (finding AND direction = 'male')::INTEGER AS n_male, {images}
                FROM gender_features GROUP BY ALL ORDER BY layer, view, lang""",
            {"fdr": float(fdr)},
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

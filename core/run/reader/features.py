"""Queries about features and their examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import UserError
from core.run.reader.views import Tables

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

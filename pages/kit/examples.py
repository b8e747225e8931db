"""A layer's features as a table, and a feature's examples as tiles: what the pages about features share."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.figures.feature import is_word, language_lean, visible
from core.frames import records
from core.run import Run, manifest_version
from pages.kit import text
from pages.kit.images import GridItem
from pages.kit.links import href
from pages.kit.runs import catalog

RARE = 0.01  # a feature that fires on at most this share of all tokens fires rarely


def layer_features(run: Run, layer: int) -> pd.DataFrame:
    """All features of a layer by number: the scalar columns of features.parquet and `words`; `lean` where the run has
    two languages, and `language_class` where they were compared. Where the run has them, for each of its languages: the
    automatic labels `label_en`, `label_ar` with `label_auc` (training images), what the model says of them (`said_en`,
    `said_ar`, "" where it was not asked), and of gender the held-out `auc_en` and `auc_ar` before the first gendered
    word, those of the training images, by which features are put in order (`chosen_en`, `chosen_ar`), and whether one
    of them is a `finding`; `recurs`, the share of trainings with another seed in which it recurs (NaN where it was not
    asked); `on_person`, the ratio of its activation on the person to the person's area, where that is known."""
    return _layer_features(str(run.dir), manifest_version(run), layer)


@st.cache_data(max_entries=32, show_spinner=False)
def _layer_features(run_dir: str, version: str, layer: int) -> pd.DataFrame:
    cat = catalog(Run(run_dir))
    frame = cat.features(layer, alive=False)
    if len(cat.languages) > 1:
        frame["lean"] = language_lean(frame["density_caption_en"], frame["density_caption_ar"])
    if len(cat.languages) > 1 and cat.has("language_features"):
        frame["language_class"] = frame["feature"].map(cat.classes_of_layer(layer))
    words = frame["tokens"] if "tokens" in frame else pd.Series("", index=frame.index)
    frame["words"] = [" · ".join(visible(w) for w in line.split(" · ") if is_word(w)) for line in words.fillna("")]
    if cat.has("labels"):
        named = cat.labels(layer, named=True)
        frame["label_auc"] = frame["feature"].map(named.groupby("feature")["auc_train"].max())
        for lang in cat.languages:
            by_feature = named[named["lang"] == lang].set_index("feature")["label"]
            frame[f"label_{lang}"] = frame["feature"].map(by_feature).fillna("")
        labels = [frame[f"label_{lang}"] for lang in cat.languages]
        frame["label"] = [" · ".join(dict.fromkeys(filter(None, both))) for both in zip(*labels, strict=True)]
    if cat.has("explanations"):
        said = cat.explanations(layer, chosen=True)
        for lang in cat.languages:
            by_feature = said[said["lang"] == lang].set_index("feature")["text"]
            frame[f"said_{lang}"] = frame["feature"].map(by_feature).fillna("")
    if cat.has("gender_features"):
        rows = cat.gender_features(layer, view="before")
        for lang in cat.languages:
            by_feature = rows[rows["lang"] == lang].set_index("feature")
            for name, column in (("auc", "auc_test"), ("chosen", "auc_train")):
                frame[f"{name}_{lang}"] = frame["feature"].map(by_feature[column]).astype(float)
        frame["finding"] = frame["feature"].isin(rows.loc[rows["finding"], "feature"])
    if cat.has("recurrence") and len(told := cat.frame("recurrence", layer=layer).dropna(subset=["recurs"])):
        by_feature = told["recurs"].astype(float).groupby(told["feature"]).mean()
        frame["recurs"] = frame["feature"].map(by_feature)
    if cat.has("feature_areas"):
        on = cat.frame("feature_areas", layer=layer, kind="person").set_index("feature")["ratio"]
        if on.notna().any():
            frame["on_person"] = frame["feature"].map(on).astype(float)
    return frame


def default_feature(features: pd.DataFrame) -> int:
    """The feature of a layer that is shown first: the clearest finding about gender; without one, the one whose label
    fits best; without labels, of those that fire rarely the one that explains most, because what fires everywhere
    explains much and shows little. 0 where none is alive."""
    alive = features[features["alive"]]
    if "finding" in alive and alive["finding"].any():
        found = alive[alive["finding"]]
        aucs = found[[c for c in ("chosen_en", "chosen_ar") if c in found]]
        return int(found["feature"].iloc[int((aucs - 0.5).abs().max(axis=1).argmax())])
    if "label_auc" in alive and alive["label_auc"].notna().any():
        return int(alive["feature"].iloc[int(alive["label_auc"].argmax())])
    rare = alive[alive["density"] <= RARE]
    best = (alive if rare.empty else rare).sort_values("explained_share", ascending=False, kind="stable")
    return int(best["feature"].iloc[0]) if len(best) else 0


def example_items(examples: pd.DataFrame, scale: float, both: bool = True) -> list[GridItem]:
    """Tiles of examples: image with heat map on the feature's own `scale`, the caption that was read with its tokens
    lit up, and with `both` the caption of the other language, plain."""
    items = []
    for row in records(examples):
        lang = str(row["lang"])
        lit = {lang: _weights(row, scale)}
        shown = "".join(
            text.caption_html(str(row.get(f"caption_{one}") or ""), one, weights=lit.get(one))
            for one in ("en", "ar")
            if one == lang or (both and isinstance(row.get(f"caption_{one}"), str))
        )
        said = row.get(f"caption_{lang}")
        name = f"image {row.get('image_id') or row['sample_id']}, activation {row['activation']:.2f}"
        name = f"{said} ({name})" if isinstance(said, str) and said else name
        items.append(
            GridItem(
                int(row["sample_id"]),
                shown,
                list(row["patch_map"]),
                scale,
                f"{row['activation']:.1f}",
                href("samples", sample=int(row["sample_id"]), **_where(row)),
                name,
            )
        )
    return items


def _where(row: dict[str, Any]) -> dict[str, Any]:
    """Of the address of an example's image: the layer, the feature, and where on the image it fires most."""
    patches = np.nan_to_num(np.asarray(row["patch_map"], float))
    values = row.get("token_values")
    words = np.asarray(values if values is not None and not isinstance(values, float) else [], float)
    best = max(patches.max(initial=0.0), words.max(initial=0.0))
    found = {"layer": row.get("layer"), "feature": row.get("feature")}
    if best > 0:
        on_words = words.max(initial=0.0) >= best
        found["at"] = f"{row['lang']}:{words.argmax()}" if on_words else f"image:{patches.argmax()}"
    return found


def _weights(row: dict[str, Any], scale: float) -> list[tuple[str, float, float]] | None:
    """(piece, value, scale) of each caption token; None where the run has no token texts or their number differs."""
    pieces, values = row.get("pieces"), row.get("token_values")
    if pieces is None or isinstance(pieces, float) or values is None or len(pieces) != len(values):
        return None  # a missing list is None or NaN
    return [(str(p).replace("▁", " "), float(v), scale) for p, v in zip(pieces, values, strict=True)]


def feature_link(layer: int, feature: int, shown: str = "") -> str:
    """HTML: a link to a feature's page."""
    return f'<a href="{escape(href("feature", layer=layer, feature=feature))}">{escape(shown or str(feature))}</a>'

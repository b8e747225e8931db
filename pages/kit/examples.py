"""A layer's features as a table, and a feature's examples as tiles: what the pages about features share."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd
import streamlit as st

from core.figures.densities import language_lean
from core.figures.words import is_word, visible
from core.runs import Run, manifest_version
from pages.kit import text
from pages.kit.images import GridItem
from pages.kit.links import href
from pages.kit.runs import catalog


def layer_features(run: Run, layer: int) -> pd.DataFrame:
    """All features of a layer by number: the scalar columns of features.parquet, `lean`, `words`, and gender columns
    from any table of the run whose name begins with "gender" and that names features."""
    return _layer_features(str(run.dir), manifest_version(run), layer)


@st.cache_data(max_entries=32, show_spinner=False)
def _layer_features(run_dir: str, version: str, layer: int) -> pd.DataFrame:
    cat = catalog(Run(run_dir))
    frame = cat.features(layer, alive=False)
    frame["lean"] = language_lean(frame["density_caption_en"], frame["density_caption_ar"])
    words = frame["tokens"] if "tokens" in frame else pd.Series("", index=frame.index)
    frame["words"] = [" · ".join(visible(w) for w in line.split(" · ") if is_word(w)) for line in words.fillna("")]
    for table in cat.tables():
        if table.startswith("gender") and {"layer", "feature"} <= set(cat.columns(table)):
            more = cat.frame(table, layer=layer)
            new = [c for c in more.columns if c not in frame.columns]
            frame = frame.merge(more[["feature", *new]], on="feature", how="left")
    return frame


def example_items(examples: pd.DataFrame, scale: float, both: bool = True) -> list[GridItem]:
    """Tiles of examples: image with heat map on the feature's own `scale`, the caption that was read with its tokens
    lit up, and with `both` the caption of the other language, plain."""
    items = []
    for row in examples.to_dict("records"):
        lang = str(row["lang"])
        lit = {lang: _weights(row, scale)}
        shown = "".join(text.caption_html(str(row.get(f"caption_{one}") or ""), one, weights=lit.get(one))
                        for one in ("en", "ar") if both or one == lang)  # fmt: skip
        name = f"{row.get('image_id') or row['sample_id']}, activation {row['activation']:.2f}"
        items.append(GridItem(int(row["sample_id"]), shown, list(row["patch_map"]), scale, f"{row['activation']:.1f}",
                              href("samples", sample=int(row["sample_id"])), name))  # fmt: skip
    return items


def _weights(row: dict[str, object], scale: float) -> list[tuple[str, float, float]] | None:
    """(piece, value, scale) of each caption token; None where the run has no token texts or their number differs."""
    pieces, values = row.get("pieces"), row.get("token_values")
    if not isinstance(pieces, Sequence) and not hasattr(pieces, "__len__"):
        return None
    pieces, values = list(pieces), [] if values is None else list(values)  # type: ignore[call-overload, arg-type]
    if len(pieces) != len(values):
        return None
    return [(str(p).replace("▁", " "), float(v), scale) for p, v in zip(pieces, values, strict=True)]


def feature_link(layer: int, feature: int, shown: str = "") -> str:
    """HTML: a link to a feature's page."""
    return f'<a href="{escape(href("feature", layer=layer, feature=feature))}">{escape(shown or str(feature))}</a>'

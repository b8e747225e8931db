"""Sentences about one feature and about the features of a layer, with their n."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from core.answers import Answer, says
from core.config import LANGUAGE_NAME
from core.figures.feature import KINDS, is_word, percent, visible
from core.frames import records
from core.intervals import told

FEW_TOKENS = 30  # below this many firings nothing is said about what a feature prefers


@says("feature.kind")
def feature_answer(feature: Mapping[str, Any], label: str = "") -> Answer:
    """What one feature fires on, from its row of features.parquet (densities are shares of tokens), and its label."""
    n = int(feature["n_active"] or 0)
    if not feature["alive"] or n == 0:
        return Answer("This feature never fired on the captions and images of this run (n = 0).", "not enough data")
    density = float(feature["density"])
    named = f"Labelled “\u2068{label}\u2069”. " if label else ""
    start = f"{named}Fires on {percent(density)} of all tokens (n = {n:,})"
    if n < FEW_TOKENS:
        return Answer(f"{start}, too seldom to say what it prefers.", "not enough data")
    kinds = {name: float(feature.get(kind) or 0.0) for kind, name in KINDS.items()}
    ranked = sorted(kinds.items(), key=lambda item: -item[1])
    (first, most), (second, next_most) = ranked[0], ranked[1]
    if most >= 2 * next_most:
        where, sure = f", above all on {first} ({percent(most)} of them)", "supported"
    else:
        where, sure = f", most often on {first} ({percent(most)}) and {second} ({percent(next_most)})", "unclear"
    return Answer(f"{start}{where}{_strongest(feature.get('top_tokens'))}.", sure)


@says("feature.one language")
def layer_answer(features: pd.DataFrame) -> Answer:
    """What a layer has learned to notice: living features, and how many belong to one language's captions.

    ``features``: rows of features.parquet with the language_class that the stage crosslingual gives them, which the
    page English and Arabic counts as well; without that column, or in a run of one language, nothing is said of it.
    """
    alive = features[features["alive"]]
    dead = len(features) - len(alive)
    if alive.empty:
        return Answer(f"None of the {len(features):,} features of this layer ever fires.", "not enough data")
    gone = f"; {dead:,} more never fire" if dead else ""
    text = f"{len(alive):,} things{gone}."
    read = [lang for lang in LANGUAGE_NAME if alive[f"density_caption_{lang}"].notna().any()]
    fires = alive[[f"density_caption_{lang}" for lang in read]].gt(0).any(axis=1)
    if len(read) == 1:
        text += f" {int(fires.sum()):,} of them fire on captions, which are all {LANGUAGE_NAME[read[0]]}."
        return Answer(text, "not enough data")
    text += f" {int(fires.sum()):,} of them fire on captions"
    if "language_class" not in alive or alive["language_class"].isna().all():
        return Answer(f"{text}; whether any keeps to one language needs the stage crosslingual.", "not enough data")
    n = alive["language_class"].value_counts()
    tested = int(n.drop("not enough data", errors="ignore").sum())
    en, ar, shared = (int(n.get(name, 0)) for name in ("english", "arabic", "shared"))
    text += (
        f". Of the {tested:,} that fire on enough captions to tell, {en:,} keep to English, {ar:,} to Arabic, "
        f"{shared:,} do the same in both, and {tested - en - ar - shared:,} lie between or cannot be told."
    )
    return Answer(text, "supported" if en + ar else "unclear")


AREA_NAMES = {"person": "the person", "object": "the object", "background": "the background"}


def areas_answer(rows: pd.DataFrame, has_map: bool) -> Answer:
    """How much of one feature's activation lies on the person, from its rows of feature_areas.parquet; a description.

    ``has_map``: whether the model has a square map of patches. Where no person is known, the first kind that is.
    """
    if not has_map:
        return Answer("Not told: the model has no square map of patches.", "not enough data")
    if rows.empty:
        why = "nobody has said where on the images the person and the object are (samples.areas_column)"
        return Answer(f"Not told: {why}.", "not enough data")
    of_person = rows[rows["kind"] == "person"]
    row = records(of_person if len(of_person) else rows)[0]
    if row["why"]:
        return Answer(f"Not told: {row['why']}.", "not enough data")
    on = AREA_NAMES[row["kind"]]
    text = (
        f"{row['share']:.0%} of its activation on patches lies on {on}, {row['area']:.0%} of the picture: "
        f"{ratio_told(row)} times as much as spread evenly. With other images' areas its maps would have "
        f"{row['null_share']:.0%} there; the difference is "
        f"{told(row['difference'], row['difference_low'], row['difference_high'], form='+.2f')} "
        f"(n = {int(row['n_fires']):,} images that fire it, of {int(row['n']):,})."
    )
    return Answer(text, "one example")


def ratio_told(row: Mapping[Any, Any]) -> str:
    """The ratio of a row of feature_areas.parquet with its interval, which too few images on the kind do not have."""
    if pd.isna(row["ratio"]):
        return "–"
    if pd.isna(row["low"]):
        return f"{row['ratio']:.2f} (no interval)"
    return told(row["ratio"], row["low"], row["high"], 1.0)


def _strongest(tokens: Iterable[str] | None) -> str:
    known = () if tokens is None else tokens
    named = list(dict.fromkeys(visible(token) for token in known if is_word(token)))[:2]
    quoted = " and ".join(f"“\u2068{word}\u2069”" for word in named)
    return f"; the words it answers to most are {quoted}" if named else ""

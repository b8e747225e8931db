"""The knobs of the list of features: search by word or meaning, language, how often, order; and what they leave."""

from __future__ import annotations

import unicodedata

import pandas as pd
import streamlit as st

from core.answers.feature import ONE_LANGUAGE
from core.runs import Run
from pages.kit import runs, text

SORTS = {
    "Explained share": "explained_share",
    "How often it fires": "density",
    "Strongest": "max",
    "Leans to Arabic": "lean",
    "Number": "feature",
}
GENDER_SORTS = {"Women or men, English": "auc_en", "Women or men, Arabic": "auc_ar"}
LEANS = ("All", "English", "Arabic", "Both")
EDGES = (0.0, 0.0001, 0.001, 0.01, 0.1, 1.0)
EDGE_NAMES = ("0", "0.01 %", "0.1 %", "1 %", "10 %", "100 %")
EVERY = "All features"
MEANINGS = ("label_en", "label_ar", "said_en", "said_ar", "own", "note")


def filtered(run: Run, features: pd.DataFrame) -> pd.DataFrame:
    """Show the knobs; the living features of the layer that they leave, in order."""
    query = st.text_input(
        "Find a meaning",
        key="q",
        bind="query-params",
        placeholder="woman, امرأة, …",
        width=150,
        help="In labels, what the model says of it, words it answers to or pushes.",
    )
    lean = "All"
    if "lean" in features:
        lean = st.segmented_control(
            "Fires on captions in", LEANS, default="All", key="lean", required=True, bind="query-params"
        )
    low, high = st.select_slider(
        "Fires on",
        EDGE_NAMES,
        value=(EDGE_NAMES[0], EDGE_NAMES[-1]),
        key="density",
        bind="query-params",
        width=150,
        help=text.glossary("density"),
    )
    sorts = {name: column for name, column in {**SORTS, **GENDER_SORTS}.items() if column in features}
    order = st.selectbox("Order", list(sorts), key="sort", bind="query-params", width=150)
    left = features[features["alive"]]
    lists = sorted({name for names in left.get("lists", []) for name in names})
    if lists:
        chosen = st.selectbox("List", [EVERY, *lists], key="list", bind="query-params", width=150)
        left = left[[chosen in names for names in left["lists"]]] if chosen != EVERY else left
    if query.strip() and len(features):
        found = runs.catalog(run).features(int(features["layer"].iloc[0]), text=query)["feature"]
        left = left[left["feature"].isin(found) | means(left, query)]
    if lean == "Both":
        left = left[left["lean"].abs() < ONE_LANGUAGE]
    elif lean != "All":
        left = left[left["lean"] * (1 if lean == "Arabic" else -1) >= ONE_LANGUAGE]
    left = left[left["density"].between(EDGES[EDGE_NAMES.index(low)], EDGES[EDGE_NAMES.index(high)])]
    by = left[sorts[order]]
    by = (by - 0.5).abs() if order in GENDER_SORTS else by
    return left.loc[by.sort_values(ascending=order == "Number", kind="stable", na_position="last").index]


def means(features: pd.DataFrame, query: str) -> pd.Series:
    """Which features have the query in a label, automatic or the users' own, in what the model says, or in a note."""
    wanted, found = fold(query), pd.Series(False, index=features.index)
    for column in MEANINGS:
        if column in features:
            found |= features[column].map(lambda said: wanted in fold(said)).astype(bool)
    return found


def fold(said: str) -> str:
    """Letters as a search compares them: no case, no vowel signs or tatweel, أ إ آ as ا."""
    apart = unicodedata.normalize("NFKD", said.strip().casefold().replace("\u0640", ""))
    return "".join(c for c in apart if not unicodedata.combining(c))

"""Prints the README's tables of the planted bias, as a run has found it again.

Run: python -m tests.docs.bias_table cache/demo
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

LANGUAGES = {"en": "English", "ar": "Arabic", "ar-en": "Arabic minus English"}
SOURCES = {"sampled": "sampled at temperature 1: what the model believes", "greedy": "greedy: what it then says"}
SHOWN = {"correlation": "r", "slope": "slope", "calibration_error": "mean distance"}


def interval(row: pd.Series, value: str) -> str:
    if pd.isna(row[value]):
        return "too few"
    if pd.isna(row["low"]):  # a group of one image has a share and no interval
        return f"{row[value]:.2f}"
    return f"{row[value]:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def summary(metrics: pd.DataFrame) -> str:
    """One row a language and way of captioning, over roles; chance is what shuffled roles give."""
    lines = ["| captions | language | r | chance | slope | mean distance | roles |", "|---|---|---|---|---|---|---|"]
    for source, told in SOURCES.items():
        for lang, name in LANGUAGES.items():
            rows = metrics[(metrics["source"] == source) & (metrics["lang"] == lang) & (metrics["attribute"] == "role")]
            found = {r["metric"]: r for _, r in rows.iterrows()}
            low, high = (found["correlation"][f"control_{end}"] for end in ("low", "high"))
            chance = "–" if pd.isna(low) else f"{low:.2f} to {high:.2f}"
            r, slope, distance = (interval(found[metric], "value") for metric in SHOWN)
            n = int(found["correlation"]["n"])
            lines.append(f"| {told} | {name} | {r} | {chance} | {slope} | {distance} | {n} |")
    return "\n".join(lines)


def by_role(roles: pd.DataFrame) -> str:
    """One row a role: planted p(male) and what sampled captions give, with 95 % intervals over images.

    Of a generic role nothing is planted in Arabic.
    """
    rows = roles[(roles["attribute"] == "role") & (roles["source"] == "sampled")]
    lines = ["| role | images | English: planted | found | Arabic: planted | found |", "|---|---|---|---|---|---|"]
    tables = {lang: rows[rows["lang"] == lang].set_index("value") for lang in ("en", "ar")}
    for role in tables["en"].sort_values("planted").index:
        mine = [table.loc[role] for table in tables.values()]
        cells = [
            "generic | –" if pd.isna(r["planted"]) else f"{r['planted']:.1f} | {interval(r, 'p_male')}" for r in mine
        ]
        lines.append(f"| {role} | {int(tables['en'].loc[role, 'n_images'])} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run = Path(sys.argv[1])
    print(summary(pd.read_parquet(run / "bias_metrics.parquet")), end="\n\n")
    print(by_role(pd.read_parquet(run / "bias_roles.parquet")))

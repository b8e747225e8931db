"""How often and how strongly one feature fires on images of women, of men and of neither, by language and split."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from core.figures.gender import SYMBOLS
from core.figures.palette import GENDER, LANGUAGE_NAME, dress, look
from core.intervals import wilson

WHO = {"female": "women", "male": "men", "neutral": "neither"}
SPLITS = {"test": "held out", "train": "train"}


def rates_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a view, language, gender and split of one feature's gender_features: n images, rate with Wilson's
    interval, mean activation; groups of no image are left out."""
    found = []
    for row in rows.sort_values("lang", ascending=False, kind="stable").to_dict("records"):
        for gender in WHO:
            for split in SPLITS:
                n, rate = row[f"n_{gender}_{split}"], row[f"rate_{gender}_{split}"]
                if not n or pd.isna(rate):
                    continue
                low, high = (float(end) for end in wilson(rate * n, n))
                found.append(
                    (
                        row["view"],
                        row["lang"],
                        gender,
                        split,
                        int(n),
                        float(rate),
                        max(low, 0.0),
                        min(high, 1.0),
                        float(row[f"mean_{gender}_{split}"]),
                    )
                )
    return pd.DataFrame(found, columns=["view", "lang", "gender", "split", "n", "rate", "low", "high", "mean"])


def rates_dots(frame: pd.DataFrame, dark: bool = False, row_height: int = 26) -> go.Figure:
    """`rates_frame` of one view: a row a language and gender; held-out images filled with interval, train open."""
    inks, groups = look(dark), rows_of(frame)
    fig = go.Figure()
    for gender in WHO:
        colour = GENDER[gender] if gender != "neutral" else inks.muted
        for split in ("train", "test"):
            part = frame[(frame["gender"] == gender) & (frame["split"] == split)]
            held = split == "test"
            symbol = SYMBOLS.get(gender, "square") + ("" if held else "-open")
            marker = {"size": 10 if held else 8, "color": colour, "symbol": symbol, "line": {"width": 1.4 * (not held)}}
            fig.add_scatter(
                x=part["rate"],
                y=[groups[key] for key in zip(part["lang"], part["gender"], strict=True)],
                mode="markers",
                name=f"{WHO[gender]}, {SPLITS[split]}",
                marker=marker,
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": part["high"] - part["rate"],
                    "visible": held,
                    "arrayminus": part["rate"] - part["low"],
                    "thickness": 2,
                    "width": 0,
                    "color": colour,
                },
                customdata=part[["n", "low", "high", "mean"]],
                hovertemplate=f"{WHO[gender]}, {SPLITS[split]}: "
                "fires on %{x:.1%} [%{customdata[1]:.1%}, "
                "%{customdata[2]:.1%}] of %{customdata[0]} images, mean %{customdata[3]:.3g}<extra></extra>",
            )
    dress(fig, dark, 58 + row_height * max(len(groups), 1), margin=(8, 12, 46, 6))
    fig.update_yaxes(
        tickvals=list(groups.values()),
        ticktext=[row_name(*key) for key in groups],
        showgrid=False,
        range=[len(groups) - 0.4, -0.6],
        tickfont={"size": 14, "color": inks.ink},
    )
    fig.update_xaxes(
        title_text="share of images on which it fires", tickformat=".0%", rangemode="tozero", nticks=5, tickangle=0
    )
    return fig


def rows_of(frame: pd.DataFrame) -> dict[tuple[str, str], int]:
    """The rows of the figure by (lang, gender), from the top, English first."""
    langs = [lang for lang in ("", "en", "ar") if (frame["lang"] == lang).any()]
    keys = [(lang, g) for lang in langs for g in WHO if ((frame["lang"] == lang) & (frame["gender"] == g)).any()]
    return {key: n for n, key in enumerate(keys)}


def row_name(lang: str, gender: str) -> str:
    """What stands before a row: "English: women"."""
    return f"{LANGUAGE_NAME[lang]}: {WHO[gender]}" if lang in LANGUAGE_NAME else WHO[gender].capitalize()


def scores_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a view and language: n images, AUC, d and difference on train and held-out images, q, finding."""
    kept = [
        "view",
        "lang",
        "n_female_train",
        "n_male_train",
        "n_female_test",
        "n_male_test",
        "auc_train",
        "auc_test",
        "auc_low_test",
        "auc_high_test",
        "d_train",
        "d_test",
        "d_low_test",
        "d_high_test",
        "difference_train",
        "difference_test",
        "difference_low_test",
        "difference_high_test",
        "effect_test",
        "effect_low_test",
        "effect_high_test",
        "q_train",
        "finding",
        "why",
    ]
    order = {"before": 0, "caption": 1, "image": 2}
    shown = rows[kept].assign(at=rows["view"].map(order).fillna(3), flip=np.where(rows["lang"] == "en", 0, 1))
    return shown.sort_values(["at", "flip"], kind="stable").drop(columns=["at", "flip"]).reset_index(drop=True)

"""Features and gender: what was selected on some images and scored on others, rankings, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.stats import norm

from core.figures.palette import CONTROL, GENDER, LANGUAGE_NAME, dress, look
from core.figures.points import MANY

VIEW_NAMES = {
    "before": "before the first gendered word",
    "caption": "over the whole caption",
    "image": "at the image",
    "prompt": "at the end of the question",
}
SYMBOLS = {"female": "circle", "male": "diamond"}
MORE = {
    "female": "more for women",
    "male": "more for men",
    "selected": "selected, does not hold",
    "none": "not selected",
}


@dataclass(frozen=True)
class Score:
    """A way to rank features by gender: its name, what its axis says, the value where there is nothing, its digits."""

    name: str
    axis: str
    nothing: float
    digits: int = 2

    def _digits(self, value: float) -> int:
        """One more where an AUC is so close to 0 or 1 that two digits would say so."""
        return self.digits + (self.nothing > 0 and not 0.01 <= value <= 0.99)

    def _text(self, value: float, digits: int) -> str:
        if pd.isna(value):
            return "–"
        return f"{value:.{digits}f}" if self.nothing else f"{value:+.{digits}f}".replace("-", "−")

    def show(self, value: float) -> str:
        return self._text(value, self._digits(value))

    def within(self, row: Mapping[str, Any], column: str) -> str:
        """A held-out value of a row of gender_features with its interval, or a dash."""
        value, low, high = (row[f"{column}_{part}"] for part in ("test", "low_test", "high_test"))
        if pd.isna(value):
            return "–"
        one, two, three = (self._text(number, self._digits(value)) for number in (value, low, high))
        return f"{one} [{two}, {three}]"


SCORES = {
    "auc": Score("AUC", "AUC (0.5: chance; 1: always more for women)", 0.5),
    "d": Score("d", "Cohen’s d, women minus men", 0.0),
    "difference": Score("difference", "mean activation of women minus men", 0.0),
    "effect": Score("effect on the output", "effect on the log-odds of female words", 0.0, 3),
}


def null_band(n_female: int, n_male: int, level: float = 0.95) -> tuple[float, float]:
    """Where the held-out AUC of a feature that knows no gender falls (Mann-Whitney, normal, no ties); NaN for none."""
    if min(n_female, n_male) < 1:
        return float("nan"), float("nan")
    half = float(norm.ppf(0.5 + level / 2)) * np.sqrt((n_female + n_male + 1) / (12 * n_female * n_male))
    return 0.5 - half, 0.5 + half


def n_images(cell: pd.DataFrame, split: str = "test") -> tuple[int, int]:
    """Images of women and of men that a cell of gender_features (one layer, language and view) rests on."""
    return tuple(int(cell[f"n_{g}_{split}"].max()) if len(cell) else 0 for g in ("female", "male"))  # type: ignore[return-value]


def named(cell: pd.DataFrame, lang: str = "") -> pd.Series:
    """What to call each feature: the user's label, else the automatic one in the language or in the other, else ""."""
    first, second = ("label_ar", "label_en") if lang == "ar" else ("label_en", "label_ar")
    empty = pd.Series("", index=cell.index)
    one, two = (cell[c].fillna("") if c in cell else empty for c in (first, second))
    own = cell.get("own", empty)
    return own.where(own != "", one.where(one != "", two))


def ranked(cell: pd.DataFrame, ranking: str, n: int, fdr: float, lang: str = "") -> pd.DataFrame:
    """The n first features by a ranking (made on the training images): rank, feature, name, train, test, low, high,
    q_train, auc_test, finding, direction and `state_of`."""
    best = cell.dropna(subset=[f"rank_{ranking}"]).sort_values(f"rank_{ranking}", kind="stable").head(n)
    return pd.DataFrame(
        {
            "rank": best[f"rank_{ranking}"].astype(int),
            "feature": best["feature"].astype(int),
            "name": named(best, lang),
            "train": best[f"{ranking}_train"],
            "test": best[f"{ranking}_test"],
            "low": best[f"{ranking}_low_test"],
            "high": best[f"{ranking}_high_test"],
            "q_train": best["q_train"],
            "auc_test": best["auc_test"],
            "finding": best["finding"].astype(bool),
            "direction": best["direction"],
            "state": state_of(best, fdr),
        }
    )


def state_of(cell: pd.DataFrame, fdr: float) -> pd.Series:
    """female or male for a finding, "selected" where the held-out images do not bear it out, else "none"."""
    selected = (cell["q_train"] <= fdr).map({True: "selected", False: "none"})
    return selected.where(~cell["finding"].astype(bool), cell["direction"])


def selection_scatter(
    cell: pd.DataFrame, fdr: float, chosen: int | None = None, lang: str = "", dark: bool = False, height: int = 460
) -> go.Figure:
    """Every feature by its AUC on the images that selected it (x) and on held-out ones (y), with the band of chance."""
    inks = look(dark)
    tested = cell.dropna(subset=["auc_train", "auc_test"]).copy()
    tested["name"], tested["state"] = named(tested, lang), state_of(tested, fdr)
    low, high = null_band(*n_images(cell))
    fig = go.Figure()
    fig.add_hrect(y0=low, y1=high, fillcolor=CONTROL, opacity=0.25, line_width=0, layer="below")
    fig.add_shape(
        type="line", x0=0, y0=0, x1=1, y1=1, layer="below", line={"color": inks.muted, "width": 1, "dash": "dot"}
    )
    trace = go.Scattergl if len(tested) > MANY else go.Scatter
    for state, style in _styles(dark).items():
        part = tested[tested["state"] == state]
        fig.add_trace(
            trace(
                x=part["auc_train"],
                y=part["auc_test"],
                mode="markers",
                name=MORE[state],
                marker=style,
                customdata=_card(part),
                showlegend=True,
                hovertemplate="<b>feature %{customdata[0]}</b> %{customdata[1]}<br>"
                "selected on %{x:.2f}, held out %{y:.2f} %{customdata[2]}<extra></extra>",
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 0.5}},
            )
        )
    mark = tested[tested["feature"] == chosen]
    if len(mark):
        fig.add_trace(
            go.Scatter(
                x=mark["auc_train"],
                y=mark["auc_test"],
                mode="markers+text",
                text=[str(chosen)],
                hoverinfo="skip",
                textposition="top center",
                textfont={"size": 15, "color": inks.ink},
                name="chosen",
                showlegend=False,
                marker={"size": 17, "color": "rgba(0,0,0,0)", "line": {"width": 2, "color": inks.ink}},
            )
        )
    dress(fig, dark, height, margin=(58, 12, 50, 12))
    fig.update_layout(
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.01,
            "yanchor": "bottom",
            "traceorder": "reversed",
            "font": {"size": 13},
        },
    )
    fig.add_annotation(
        x=0.01,
        y=high,
        text="chance",
        showarrow=False,
        xanchor="left",
        yanchor="bottom",
        font={"size": 13, "color": inks.muted},
    )
    fig.update_xaxes(range=[-0.02, 1.02], title_text="AUC on the images that selected it", tickformat=".1f", dtick=0.25)
    fig.update_yaxes(range=[-0.02, 1.02], title_text="AUC on held-out images", tickformat=".1f", dtick=0.25)
    return fig


def _styles(dark: bool) -> dict[str, dict[str, object]]:
    inks = look(dark)
    found = {
        gender: {
            "size": 9,
            "color": GENDER[gender],
            "symbol": SYMBOLS[gender],
            "line": {"width": 0.6, "color": inks.ground},
        }
        for gender in SYMBOLS
    }
    selected = {"size": 8, "color": inks.muted, "symbol": "circle-open", "line": {"width": 1.3}}
    return {"none": {"size": 5, "color": inks.muted, "opacity": 0.35}, "selected": selected, **found}


def _card(frame: pd.DataFrame) -> np.ndarray:
    ends = zip(frame["auc_low_test"], frame["auc_high_test"], strict=True)
    within = [f"[{low:.2f}, {high:.2f}]" for low, high in ends]
    names = [isolated(name) for name in frame["name"]]
    return np.array(list(zip(frame["feature"], names, within, strict=True)), dtype=object).reshape(-1, 3)


def ranking_forest(best: pd.DataFrame, ranking: str, dark: bool = False, row_height: int = 30) -> go.Figure:
    """`ranked` features from the first down: held-out score with its interval, and open the score that ranked them."""
    inks, score = look(dark), SCORES[ranking]
    fig = go.Figure()
    fig.add_vline(x=score.nothing, line={"color": inks.muted, "width": 1, "dash": "dash"})
    rows = np.arange(len(best))
    bar = {"size": 9, "symbol": "line-ns-open", "color": inks.muted, "line": {"width": 2}}
    fig.add_scatter(x=best["train"], y=rows, mode="markers", name="train", hoverinfo="skip", marker=bar)
    for state, colour in (("female", GENDER["female"]), ("male", GENDER["male"]), ("", inks.muted)):
        inside = (best["direction"].where(best["finding"], "") == state).to_numpy()
        part = best[inside]
        fig.add_scatter(
            x=part["test"],
            y=rows[inside],
            mode="markers",
            name=state or "does not hold",
            marker={"size": 10, "color": colour, "symbol": SYMBOLS.get(state, "circle-open")},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": part["high"] - part["test"],
                "arrayminus": part["test"] - part["low"],
                "color": colour,
                "thickness": 2,
                "width": 0,
            },
            customdata=part[["feature", "low", "high"]],
            hovertemplate="feature %{customdata[0]}: held out %{x:.3g} [%{customdata[1]:.3g}, %{customdata[2]:.3g}]"
            "<extra></extra>",
        )
    dress(fig, dark, 70 + row_height * max(len(best), 1), margin=(8, 14, 50, 8))
    names = [tick(feature, name) for feature, name in zip(best["feature"], best["name"], strict=True)]
    fig.update_yaxes(
        tickvals=rows,
        ticktext=names,
        range=[len(best) - 0.4, -0.6],
        showgrid=False,
        tickfont={"size": 14, "color": inks.ink},
    )
    fig.update_xaxes(title_text=score.axis, zeroline=False)
    if ranking == "auc":
        fig.update_xaxes(range=[-0.03, 1.03], dtick=0.25)
    return fig


def tick(feature: int, name: str) -> str:
    """A feature's number and its name, each in its own direction."""
    return f"{isolated(name)}  {feature}" if name else str(feature)


def isolated(text: str) -> str:
    """HTML-safe text in Unicode isolates, so that Arabic beside a number leaves the number in its place."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"\u2068{safe}\u2069" if safe else ""


def agreement_frame(rankings: pd.DataFrame) -> pd.DataFrame:
    """Rows of gender_rankings of one cell, the pairs first and each ranking with itself (train, test) last."""
    known = rankings.dropna(subset=["spearman"]).copy()
    known["itself"] = known["ranking_a"] == known["ranking_b"]
    known["pair"] = [
        f"{SCORES[a].name}, again held out" if a == b else f"{SCORES[a].name} and {SCORES[b].name}"
        for a, b in zip(known["ranking_a"], known["ranking_b"], strict=True)
    ]
    return known.sort_values(["itself", "spearman"], ascending=[True, False], kind="stable").reset_index(drop=True)


def agreement_bars(frame: pd.DataFrame, dark: bool = False, row_height: int = 28) -> go.Figure:
    """Spearman's correlation of each pair of `agreement_frame`, over the grey range that shuffled image labels give."""
    inks, rows = look(dark), np.arange(len(frame))
    fig = go.Figure(
        go.Bar(
            x=frame["spearman_shuffled_high"] - frame["spearman_shuffled_low"],
            base=frame["spearman_shuffled_low"],
            y=rows,
            orientation="h",
            marker={"color": CONTROL, "opacity": 0.4},
            name="shuffled labels",
            width=0.7,
            customdata=frame[["spearman_shuffled_low", "spearman_shuffled_high"]],
            hovertemplate="with shuffled labels %{customdata[0]:.2f} to %{customdata[1]:.2f}<extra></extra>",
        )
    )
    symbols = ["diamond-open" if itself else "circle" for itself in frame["itself"]]
    fig.add_scatter(
        x=frame["spearman"],
        y=rows,
        mode="markers",
        name="observed",
        marker={"size": 10, "color": inks.single, "symbol": symbols},
        customdata=frame[["n_features", "overlap", "k", "overlap_chance"]],
        hovertemplate="%{x:.2f} over %{customdata[0]:,} features; %{customdata[1]} of the first %{customdata[2]} "
        "shared, by chance %{customdata[3]:.1f}<extra></extra>",
    )
    dress(fig, dark, 66 + row_height * max(len(frame), 1), margin=(8, 14, 50, 8))
    fig.update_yaxes(
        tickvals=rows,
        ticktext=frame["pair"],
        range=[len(frame) - 0.4, -0.6],
        showgrid=False,
        tickfont={"size": 14, "color": inks.ink},
    )
    low = min(-0.1, float(frame[["spearman", "spearman_shuffled_low"]].min().min()) - 0.05) if len(frame) else -0.1
    fig.update_xaxes(range=[low, 1.03], title_text="rank correlation of the features' sizes (Spearman)")
    return fig


def of_language(lang: str) -> str:
    """ " of English captions", or "" where a view is of no language."""
    return f" of {LANGUAGE_NAME[lang]} captions" if lang in LANGUAGE_NAME else ""

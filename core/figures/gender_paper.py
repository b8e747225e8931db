"""The figures about features and gender, drawn for paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from core.figures.gender import SCORES, n_images, named, null_band, state_of
from core.figures.gender_rates import WHO, row_name, rows_of
from core.figures.palette import CONTROL, GENDER, LIGHT
from core.figures.paper import sheet

MARKERS = {"female": "o", "male": "D", "neutral": "s"}
N_NAMED = 6  # findings that are named beside their mark


def selection_scatter(cell: pd.DataFrame, fdr: float, lang: str = "") -> Figure:
    """`core.figures.gender.selection_scatter` on paper."""
    with sheet(4.4) as (fig, ax):
        tested = cell.dropna(subset=["auc_train", "auc_test"])
        states, names = state_of(tested, fdr), named(tested, lang)
        low, high = null_band(*n_images(cell))
        if low == low:
            ax.axhspan(low, high, color=CONTROL, alpha=0.25, linewidth=0, label="chance, held out")
        ax.axline((0, 0), slope=1, color=LIGHT.muted, linewidth=0.7, linestyle=":")
        for state, name in (
            ("none", "not selected"),
            ("selected", "selected, does not hold"),
            ("female", "more for women"),
            ("male", "more for men"),
        ):
            part = tested[states == state]
            style = {"marker": MARKERS.get(state, "o"), "color": GENDER.get(state, LIGHT.muted), "linewidths": 0.5}
            if state == "selected":
                style |= {"facecolors": "none", "edgecolors": LIGHT.muted}
                style.pop("color")
            ax.scatter(part["auc_train"], part["auc_test"], s=5 if state == "none" else 16, label=name, **style)
        clear = tested[states.isin(MARKERS)]
        clear = clear.assign(far=(clear["auc_test"] - 0.5).abs()).nlargest(N_NAMED, "far")
        for index, row in clear.iterrows():
            ax.annotate(
                f"{names[index]} {row['feature']}".strip(),
                (row["auc_train"], row["auc_test"]),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=7,
            )
        ax.set(
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            xlabel="AUC on the images that selected it",
            ylabel="AUC on held-out images",
        )
        ax.legend(loc="lower right", fontsize=7, frameon=False)
        return fig


def ranking_forest(best: pd.DataFrame, ranking: str) -> Figure:
    """`core.figures.gender.ranking_forest` on paper."""
    score = SCORES[ranking]
    with sheet(0.7 + 0.24 * max(len(best), 1)) as (fig, ax):
        ax.axvline(score.nothing, color=LIGHT.muted, linewidth=0.7, linestyle="--")
        rows = np.arange(len(best))
        ax.scatter(best["train"], rows, marker="|", color=LIGHT.muted, s=40, label="on the training images")
        states = best["direction"].where(best["finding"], "").to_numpy()
        for row, (_, one) in enumerate(best.iterrows()):
            colour = GENDER.get(states[row], LIGHT.muted)
            ax.plot([one["low"], one["high"]], [row, row], color=colour, linewidth=1.4)
            ax.scatter(
                one["test"],
                row,
                marker=MARKERS.get(states[row], "o"),
                s=24,
                zorder=3,
                edgecolors=colour,
                facecolors=colour if states[row] else "white",
            )
        ax.set_yticks(rows, [f"{name}  {f}".strip() for f, name in zip(best["feature"], best["name"], strict=True)])
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.set_xlabel(score.axis)
        return fig


def agreement_bars(frame: pd.DataFrame) -> Figure:
    """`core.figures.gender.agreement_bars` on paper."""
    with sheet(0.7 + 0.24 * max(len(frame), 1)) as (fig, ax):
        rows = np.arange(len(frame))
        ax.barh(
            rows,
            frame["spearman_shuffled_high"] - frame["spearman_shuffled_low"],
            color=CONTROL,
            alpha=0.4,
            left=frame["spearman_shuffled_low"],
            height=0.7,
        )
        for row, (value, itself) in enumerate(zip(frame["spearman"], frame["itself"], strict=True)):
            ax.scatter(
                value,
                row,
                marker="D" if itself else "o",
                s=24,
                zorder=3,
                edgecolors=LIGHT.single,
                facecolors="white" if itself else LIGHT.single,
            )
        ax.set_yticks(rows, frame["pair"])
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.set_xlabel("rank correlation (Spearman); grey: shuffled image labels")
        return fig


def rates_dots(frame: pd.DataFrame) -> Figure:
    """`core.figures.gender_rates.rates_dots` on paper."""
    groups = rows_of(frame)
    with sheet(0.7 + 0.24 * max(len(groups), 1)) as (fig, ax):
        for one in frame.to_dict("records"):
            row, held = groups[one["lang"], one["gender"]], one["split"] == "test"
            colour = GENDER[one["gender"]]
            if held:
                ax.plot([one["low"], one["high"]], [row, row], color=colour, linewidth=1.4)
            ax.scatter(
                one["rate"],
                row,
                marker=MARKERS[one["gender"]],
                s=24 if held else 18,
                zorder=3,
                edgecolors=colour,
                facecolors=colour if held else "none",
            )
        ax.set_yticks(list(groups.values()), [row_name(*key) for key in groups])
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.set_xlim(left=0)
        ax.set_xlabel(f"share of images of {', '.join(WHO.values())} on which it fires; open: training images")
        return fig

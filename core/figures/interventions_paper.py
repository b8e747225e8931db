"""The figures about interventions, drawn for paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from core.figures.interventions import AXES, KIND_SYMBOLS, LANGS, OUTCOMES, SHARES, shown
from core.figures.palette import CONTROL, LANGUAGE, LANGUAGE_NAME, LIGHT, PUOR, VIRIDIS, beside
from core.figures.paper import sheet

MARKERS = {"en": "o", "ar": "D"}
KIND_MARKERS = dict(zip(KIND_SYMBOLS, ("o", "x", "^", "s", "*"), strict=True))


def curves(frame: pd.DataFrame, along: str, outcome: str) -> Figure:
    """`core.figures.interventions.curves` on paper."""
    langs, values = [lang for lang in LANGS if (frame["lang"] == lang).any()], sorted(frame[along].unique())
    with sheet(2.7, 6.6) as (fig, first):
        first.remove()
        for column, lang in enumerate(langs, start=1):
            ax, part = fig.add_subplot(1, len(langs), column), frame[frame["lang"] == lang]
            x = np.array([values.index(v) for v in part[along]])
            ax.bar(
                x,
                part["control_high"] - part["control_low"],
                bottom=part["control_low"],
                width=0.34,
                color=CONTROL,
                alpha=0.4,
            )
            ax.scatter(x, part["control"], marker="_", s=120, color=CONTROL)
            sides = [part["effect"] - part["effect_low"], part["effect_high"] - part["effect"]]
            ax.errorbar(
                x,
                part["target"],
                sides,
                fmt=f"-{MARKERS[lang]}",
                color=LANGUAGE[lang],
                markersize=4,
                linewidth=1.2,
                elinewidth=0.9,
            )
            ax.plot(x, part["baseline"], color=LIGHT.muted, linewidth=0.7, linestyle=":")
            ax.set_xticks(range(len(values)), [f"{v:g}" for v in values])
            ax.set(xlabel=AXES[along], ylabel=OUTCOMES[outcome] if column == 1 else "")
            ax.set_title(f"{LANGUAGE_NAME[lang]} captions", fontsize=9)
            ax.grid(axis="y")
            if outcome in SHARES:
                ax.set_ylim(-0.04, 1.06)
                ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
        return fig


def ways(frame: pd.DataFrame, outcome: str) -> Figure:
    """`core.figures.interventions.ways` on paper."""
    names = list(dict.fromkeys(frame["way"]))
    with sheet(0.9 + 0.3 * max(1, len(names)), 6.6) as (fig, ax):
        for lang, shift in beside(frame["lang"], 0.17).items():
            part = frame[frame["lang"] == lang]
            y = np.array([names.index(w) for w in part["way"]]) + shift
            width = (part["control_high"] - part["control_low"]).fillna(0) + 1e-3
            ax.barh(y, width, left=part["control_low"].fillna(0), color=CONTROL, alpha=0.4, height=0.28)
            sides = [part["effect"] - part["effect_low"], part["effect_high"] - part["effect"]]
            ax.errorbar(
                part["target"],
                y,
                xerr=sides,
                fmt=MARKERS[lang],
                color=LANGUAGE[lang],
                markersize=4,
                elinewidth=0.9,
                label=LANGUAGE_NAME[lang],
            )
        ax.set_yticks(range(len(names)), names)
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.set_xlabel(OUTCOMES[outcome])
        if outcome in SHARES:
            ax.xaxis.set_major_formatter(PercentFormatter(1, 0))
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8, frameon=False)
        return fig


def transfer_matrix(frame: pd.DataFrame, outcome: str) -> Figure:
    """`core.figures.interventions.transfer_matrix` on paper."""
    colours = LinearSegmentedColormap.from_list("viridis-like", list(VIRIDIS))
    with sheet(2.8, 3.8) as (fig, ax):
        cells = frame.set_index(["ranked_on", "lang"])
        grid = [[cells["specific"].get((row, lang), np.nan) for lang in LANGS] for row in LANGS]
        ax.imshow(grid, cmap=colours, vmin=0, vmax=1, aspect="auto")
        for i, row in enumerate(LANGS):
            for j, lang in enumerate(LANGS):
                if (row, lang) in cells.index:
                    c = cells.loc[(row, lang)]
                    said = (
                        f"{shown(c['target'], outcome)}\ncontrols {shown(c['control'], outcome)}\n"
                        f"[{shown(c['specific_low'], outcome)}, {shown(c['specific_high'], outcome)}]"
                    )
                    ax.annotate(
                        said,
                        (j, i),
                        ha="center",
                        va="center",
                        fontsize=8,
                        color="#111111" if grid[i][j] > 0.6 else "#FFFFFF",
                    )
        ax.set_xticks([0, 1], [f"{LANGUAGE_NAME[lang]} captions" for lang in LANGS])
        ax.set_yticks([0, 1], [f"ranked on {LANGUAGE_NAME[lang]}" for lang in LANGS])
        ax.xaxis.tick_top()
        return fig


def selectivity(frame: pd.DataFrame) -> Figure:
    """`core.figures.interventions.selectivity` on paper."""
    langs = [lang for lang in LANGS if (frame["lang"] == lang).any()]
    with sheet(3.0, 6.6) as (fig, first):
        first.remove()
        for column, lang in enumerate(langs, start=1):
            ax = fig.add_subplot(1, len(langs), column)
            for kind, marker in KIND_MARKERS.items():
                part = frame[(frame["lang"] == lang) & (frame["kind"] == kind)]
                colour = CONTROL if kind in ("control", "identity") else LANGUAGE[lang]
                ax.scatter(
                    part["damaged"],
                    part["clean"],
                    marker=marker,
                    s=12 if kind == "control" else 32,
                    color=colour,
                    alpha=0.5 if kind == "control" else 1,
                    linewidths=0.6,
                    label=kind,
                )
            ax.set(
                xlim=(-0.04, 1.04),
                ylim=(-0.04, 1.06),
                xlabel="the rest lost",
                ylabel="gender changed, the rest kept" if column == 1 else "",
            )
            ax.set_title(f"{LANGUAGE_NAME[lang]} captions", fontsize=9)
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_formatter(PercentFormatter(1, 0))
            if column == 1:
                ax.legend(fontsize=7, frameon=False)
        return fig


def terms_heat(frame: pd.DataFrame) -> Figure:
    """`core.figures.interventions.terms_heat` on paper."""
    langs, ks = [lang for lang in LANGS if (frame["lang"] == lang).any()], sorted(frame["k"].unique())
    tall = int(frame.groupby("lang")[["gender", "lemma"]].apply(lambda f: len(f.drop_duplicates())).max())
    colours = LinearSegmentedColormap.from_list("puor", list(PUOR))
    with sheet(0.9 + 0.2 * tall, 6.6) as (fig, first):
        first.remove()
        for column, lang in enumerate(langs, start=1):
            ax, part = fig.add_subplot(1, len(langs), column), frame[frame["lang"] == lang]
            rows = list(
                dict.fromkeys(
                    zip(*(part.sort_values(["gender", "lemma"])[c] for c in ("gender", "lemma")), strict=True)
                )
            )
            cells = part.set_index(["gender", "lemma", "k"])["change"]
            grid = [[100 * float(cells.get((*row, k), np.nan)) for k in ks] for row in rows]
            shade = ax.imshow(grid, cmap=colours, vmin=-60, vmax=60, aspect="auto")
            ax.set_yticks(range(len(rows)), [f"{lemma} ({gender[0]})" for gender, lemma in rows])
            ax.set_xticks(range(len(ks)), [str(k) for k in ks])
            ax.set_xlabel(AXES["k"])
            ax.set_title(LANGUAGE_NAME[lang], fontsize=9)
            if column == len(langs):
                fig.colorbar(shade, ax=ax, label="percentage points beyond controls")
        return fig

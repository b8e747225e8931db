"""The figures about the bias of captions, drawn for paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from core.figures.bias import DIFFERENCE, PANELS, RANGE, SOURCES
from core.figures.palette import CONTROL, LANGUAGE, LANGUAGE_NAME, LIGHT, beside
from core.figures.paper import sheet

MARKERS = {"en": "o", "ar": "D", DIFFERENCE: "s"}


def recovery_scatter(frame: pd.DataFrame, everywhere: dict[str, float]) -> Figure:
    """`core.figures.bias.recovery_scatter` on paper."""
    langs = [lang for lang in PANELS if (frame["lang"] == lang).any()]
    with sheet(2.6, 7.2) as (fig, first):
        first.remove()
        for column, lang in enumerate(langs, start=1):
            ax, part, colour = fig.add_subplot(1, len(langs), column), frame[frame["lang"] == lang], _colour(lang)
            ax.axline((0, 0), slope=1, color=LIGHT.muted, linewidth=0.7, linestyle=":")
            if np.isfinite(everywhere.get(lang, np.nan)):
                ax.axhline(everywhere[lang], color=CONTROL, linewidth=3, alpha=0.45)
            ax.errorbar(
                part["planted"],
                part["p_male"],
                [part["p_male"] - part["low"], part["high"] - part["p_male"]],
                fmt=MARKERS[lang],
                color=colour,
                markersize=3.5,
                elinewidth=0.7,
            )
            kind = "difference" if lang == DIFFERENCE else "p(male)"
            ax.set(xlim=RANGE[lang], ylim=RANGE[lang], xlabel=f"planted {kind}", ylabel="" if column > 1 else "found")
            ax.set_title(PANELS[lang], fontsize=9)
        return fig


def groups_ranges(frame: pd.DataFrame) -> Figure:
    """`core.figures.bias.groups_ranges` on paper."""
    names = frame.drop_duplicates("place").sort_values("place")["value"].tolist()
    with sheet(0.9 + 0.19 * max(len(names), 1)) as (fig, ax):
        ax.axvline(0.5, color=CONTROL, linewidth=3, alpha=0.45)
        for lang, shift in beside(frame["lang"], -0.16).items():
            for source in ("reference", "greedy", "sampled"):
                part = frame[(frame["lang"] == lang) & (frame["source"] == source)]
                y, name = part["place"] + shift, f"{LANGUAGE_NAME[lang]}, {SOURCES[source]}"
                if source == "sampled":
                    sides = [part["p_male"] - part["low"], part["high"] - part["p_male"]]
                    ax.errorbar(
                        part["p_male"],
                        y,
                        xerr=sides,
                        fmt=MARKERS[lang],
                        color=_colour(lang),
                        markersize=3,
                        elinewidth=0.8,
                        label=name,
                    )
                elif source == "greedy":
                    ax.scatter(part["p_male"], y, marker="|", s=34, color=_colour(lang), label=name)
                else:
                    ax.scatter(
                        part["p_male"],
                        y,
                        marker=MARKERS[lang],
                        s=22,
                        facecolors="none",
                        alpha=0.6,
                        edgecolors=_colour(lang),
                        linewidths=0.7,
                        label=name,
                    )
        ax.set_yticks(range(len(names)), names)
        ax.tick_params(axis="y", length=0)
        ax.set(
            xlim=(-0.03, 1.03),
            ylim=(-0.7, len(names) - 0.3),
            xlabel="share of captions that name a man, among those that name one gender",
        )
        ax.grid(axis="y")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=7, frameon=False)
        return fig


def beside_control(frame: pd.DataFrame, axis: str) -> Figure:
    """`core.figures.bias.beside_control` on paper."""
    with sheet(0.7 + 0.26 * max(len(frame), 1)) as (fig, ax):
        rows = np.arange(len(frame))
        width = (frame["control_high"] - frame["control_low"]).fillna(0) + 1e-3
        ax.barh(rows, width, left=frame["control_low"].fillna(0), color=CONTROL, alpha=0.4, height=0.62)
        for row, one in zip(rows, frame.to_dict("records"), strict=True):
            ax.plot([one["low"], one["high"]], [row, row], color=_colour(one["lang"]), linewidth=1.2)
            ax.scatter(one["value"], row, marker=MARKERS[one["lang"]], s=20, color=_colour(one["lang"]), zorder=3)
        ax.axvline(0, color=LIGHT.muted, linewidth=0.7)
        ax.set_yticks(rows, frame["label"])
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.set_xlabel(axis)
        return fig


def _colour(lang: str) -> str:
    return LANGUAGE.get(lang, LIGHT.single)

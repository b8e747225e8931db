"""The figures of the steering page, drawn for paper."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from core.figures.palette import GENDER, LANGUAGE, LANGUAGE_NAME, LIGHT
from core.figures.paper import sheet
from core.figures.steering import MEASURES, MOST_TOKENS, SHADES, WHO

WIDTH = 7.2  # inches: a page
DASHES = {"before": ":", "after": "-", "control": "--", "means": "-."}
MARKS = {"female": "o", "male": "D", "en": "o", "ar": "D"}


def strips(frame: pd.DataFrame) -> Figure:
    """`core.figures.steering.strip_chart` of every language on paper."""
    langs = [lang for lang in LANGUAGE_NAME if (frame["lang"] == lang).any()]
    with sheet(2.3, WIDTH) as (fig, whole):
        whole.remove()
        for ax, lang in zip(fig.subplots(1, max(1, len(langs)), sharey=True, squeeze=False)[0], langs, strict=False):
            mine = frame[(frame["lang"] == lang) & (frame["step"] < MOST_TOKENS)]
            rows = [row for row in ("before", "after") if (mine["row"] == row).any()]
            for row in rows:
                part = mine[mine["row"] == row]
                for gender, words in WHO.items():
                    last = row == rows[-1]
                    ax.plot(
                        part["step"],
                        part[gender],
                        DASHES[row if len(rows) > 1 else "after"],
                        color=GENDER[gender],
                        marker=MARKS[gender],
                        markersize=4 if last else 2.5,
                        linewidth=1.4 if last else 0.9,
                        label=f"{words}, {SHADES[row][0]}",
                    )
            ticks = mine[mine["row"] == rows[-1]] if rows else mine
            ax.set_xticks(ticks["step"], ticks["piece"].replace("", "·"), rotation=45, fontsize=7, ha="right")
            ax.set(ylim=(-0.04, 1.04))
            ax.set_title(LANGUAGE_NAME[lang], fontsize=8, loc="left")
            if lang == "ar":
                ax.invert_xaxis()
            if lang == langs[0]:
                ax.set_ylabel("probability of the next word")
                ax.legend(fontsize=6.5, frameon=False)
        return fig


def meter(frame: pd.DataFrame) -> Figure:
    """`core.figures.steering.meter_chart` of every measure on paper."""
    measures = [m for m in MEASURES if (frame["measure"] == m).any()]
    with sheet(2.5, WIDTH) as (fig, whole):
        whole.remove()
        for ax, measure in zip(fig.subplots(1, max(1, len(measures)), squeeze=False)[0], measures, strict=True):
            ax.axhline(0, color=LIGHT.muted, linewidth=0.7, linestyle=":")
            mine = frame[frame["measure"] == measure]
            for (row, lang), part in mine.groupby(["row", "lang"], sort=False):
                colour = LANGUAGE[str(lang)] if row in ("before", "after") else LIGHT.muted
                line = part.sort_values("layer")
                ax.plot(
                    line["layer"],
                    line["value"],
                    DASHES[str(row)],
                    color=colour,
                    marker=MARKS[str(lang)],
                    markersize=4,
                    linewidth=1.4 if row == "after" else 0.9,
                    label=f"{LANGUAGE_NAME[str(lang)]}, {SHADES[str(row)][0]}",
                )
            ax.set(xlabel="layer", ylabel=MEASURES[measure])
            ax.set_xticks(sorted(set(mine["layer"])))
            ax.legend(fontsize=6.5, frameon=False)
        return fig

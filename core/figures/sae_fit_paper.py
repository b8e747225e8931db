"""How well SAEs fit, drawn for paper."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from core.figures.palette import CONTROL, LANGUAGE, LANGUAGE_NAME, LIGHT
from core.figures.paper import sheet
from core.figures.sae_fit import BOTH, FLOOR, MEASURES, places, row_name, rows_of

MARKERS = {"en": "o", "ar": "D", BOTH: "s"}
WIDTH = 7.2  # inches: a page


def fit_figure(frame: pd.DataFrame) -> Figure:
    """`core.figures.sae_fit.fit_figure` on paper."""
    rows = rows_of(frame)
    with sheet(1.0 + 0.19 * (max(rows.values(), default=0) + 1), WIDTH) as (fig, whole):
        whole.remove()
        axes = fig.subplots(1, 2, sharey=True)
        for ax, (measure, title) in zip(axes, MEASURES.items(), strict=True):
            ax.axvline(0, color=LIGHT.muted, linewidth=0.7, linestyle=":")
            for lang in sorted(set(frame["lang"]), reverse=True):
                part = frame[(frame["measure"] == measure) & (frame["lang"] == lang)]
                y, colour = places(frame, lang)[part.index], LANGUAGE.get(lang, LIGHT.single)
                ax.scatter(part["control"].clip(FLOOR), y, marker="|", color=CONTROL, s=36)
                ax.hlines(y, part["low"].clip(FLOOR), part["high"].clip(FLOOR), color=colour, linewidth=1)
                ax.scatter(
                    part["value"].clip(FLOOR),
                    y,
                    marker=MARKERS[lang],
                    color=colour,
                    s=12,
                    label=LANGUAGE_NAME.get(lang, "all captions"),
                )
            ax.set(xlabel=title, xlim=(None, 1.04))
        axes[0].set_yticks(list(rows.values()), [row_name(*key) for key in rows])
        axes[0].set_ylim(max(rows.values(), default=0) + 0.7, -0.7)
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=7, frameon=False)
        return fig

"""The figures about layers, drawn for paper."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.figures.layers import BOTH, LENS_PLACES, MEASURES, PLACES, first_layers
from core.figures.layers_lens import MARKERS as WHO_MARKERS
from core.figures.layers_lens import WHO
from core.figures.palette import CONTROL, GENDER, LANGUAGE, LANGUAGE_NAME, LIGHT
from core.figures.paper import sheet

MARKERS = {"en": "o", "ar": "D", BOTH: "s"}
WIDTH = 7.2  # inches: a page
WHO_MARKS = {"circle": "o", "diamond": "D", "square": "s"}


def layers_figure(curves: pd.DataFrame, lens: pd.DataFrame, emergence: pd.DataFrame, measure: str) -> Figure:
    """`core.figures.layers.layers_figure` on paper."""
    places = [(p, n, curves, "probe") for p, n in PLACES.items() if p in set(curves["place"])]
    places += [(p, n, lens, "lens") for p, n in LENS_PLACES.items() if p in set(lens["place"])]
    n_rows = max(1, (len(places) + 1) // 2)
    with sheet(1.9 * n_rows, WIDTH) as (fig, whole):
        whole.remove()
        axes = fig.subplots(n_rows, 2, squeeze=False).ravel()
        for ax, (place, name, frame, method) in zip(axes, places, strict=False):
            marks = first_layers(emergence, method)
            part = frame[frame["place"] == place]
            band = part.groupby("layer").agg(low=("control_low", "min"), high=("control_high", "max"))
            ax.fill_between(band.index, band["low"], band["high"], color=CONTROL, alpha=0.3, linewidth=0)
            ax.axhline(float(part["chance"].max()), color=LIGHT.muted, linewidth=0.7, linestyle=":")
            for lang, line in part.groupby("lang", sort=False):
                _line(ax, line, str(lang), LANGUAGE_NAME.get(str(lang), "both languages"))
                first = line[line["layer"] == marks.get((place, "en" if lang == BOTH else str(lang)))]
                ax.scatter(first["layer"], first["value"], s=70, facecolors="none", edgecolors=LIGHT.ink, linewidths=1)
            ax.set_title(name, fontsize=8, loc="left")
            name = MEASURES[measure] if method == "probe" else "logit lens AUC"
            ax.set(ylabel=name, xlabel="layer", ylim=(None, 1.03))
            ax.set_xticks(sorted(set(part["layer"])))
            ax.legend(fontsize=7, frameon=False, loc="lower right")
        for ax in axes[len(places) :]:
            ax.set_axis_off()
        return fig


def transfer_figure(curves: pd.DataFrame, measure: str) -> Figure:
    """`core.figures.layers.transfer_figure` on paper."""
    places = [p for p in PLACES if p in set(curves["place"])]
    with sheet(2.4, WIDTH) as (fig, whole):
        whole.remove()
        axes = fig.subplots(1, max(1, len(places)), sharey=True, squeeze=False).ravel()
        for ax, place in zip(axes, places, strict=False):
            ax.axhline(0.5, color=LIGHT.muted, linewidth=0.7, linestyle=":")
            for (lang, source), line in curves[curves["place"] == place].groupby(["lang", "trained_on"], sort=False):
                own = lang == source
                name = LANGUAGE_NAME[lang] if own else f"{LANGUAGE_NAME[source]} probe on {LANGUAGE_NAME[lang]}"
                _line(ax, line, str(lang), name, "-" if own else ":")
            ax.set_title(PLACES[place], fontsize=8, loc="left")
            ax.set_xlabel("layer")
            ax.set_xticks(sorted(set(curves["layer"])))
        axes[0].set_ylabel(MEASURES[measure])
        axes[-1].legend(fontsize=7, frameon=False)
        return fig


def difference_figure(curves: pd.DataFrame) -> Figure:
    """`core.figures.layers_lens.difference_figure` on paper."""
    with sheet(2.6) as (fig, ax):
        ax.axhline(0, color=LIGHT.muted, linewidth=0.7, linestyle=":")
        for gender, name in WHO.items():
            line = curves[curves["gender"] == gender]
            ends = [line["value"] - line["low"], line["high"] - line["value"]]
            ax.errorbar(
                line["layer"],
                line["value"],
                yerr=ends,
                color=GENDER[gender],
                label=name,
                markersize=4,
                marker=WHO_MARKS[WHO_MARKERS[gender]],
                linewidth=1.3,
            )
        offset = curves.drop_duplicates("layer")
        ax.plot(offset["layer"], offset["offset"], color=LIGHT.muted, linestyle="--", label="the average of all")
        ax.set(xlabel="layer", ylabel="log-odds, women over men")
        ax.set_xticks(sorted(set(curves["layer"])))
        ax.legend(fontsize=7, frameon=False)
        return fig


def _line(ax: Axes, line: pd.DataFrame, lang: str, name: str, style: str = "-") -> None:
    colour = LANGUAGE.get(lang, LIGHT.single)
    ends = [line["value"] - line["low"], line["high"] - line["value"]]
    ax.errorbar(
        line["layer"],
        line["value"],
        yerr=ends,
        color=colour,
        label=name,
        marker=MARKERS[lang],
        markersize=4,
        linewidth=1.3,
        linestyle=style,
    )

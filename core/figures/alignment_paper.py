"""The figures about English and Arabic, drawn for paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.figures import paper
from core.figures.alignment import CLASSES, PANELS, SHARING, class_colours
from core.figures.palette import CONTROL, LANGUAGE, LANGUAGE_NAME, LIGHT

MARKS = {"shared": "o", "english": "s", "arabic": "D", "opposed": "x", "unclear": "o"}


def curves(frame: pd.DataFrame) -> Figure:
    """`core.figures.alignment.curves_figure` on paper."""
    with paper.sheet(4.2, 7.2) as (fig, alone):
        alone.remove()
        axes = fig.subplots(2, 3, sharey=True, sharex=True).ravel()
        for ax, (measure, title) in zip(axes, PANELS.items(), strict=True):
            _panel(ax, frame[(frame["measure"] == measure) & frame["value"].notna()])
            ax.set_title(title, fontsize=8)
        axes[0].set_ylim(-0.05, 1.05)
        for ax in axes[3:]:
            ax.set(xlabel="layer", xticks=sorted(frame["layer"].unique()))
        return fig


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    for lang, line in part.groupby("lang", sort=False):
        colour = LANGUAGE.get(str(lang), LIGHT.single)
        ax.fill_between(line["layer"], line["floor_low"], line["floor_high"], color=CONTROL, alpha=0.3, linewidth=0.8)
        ax.plot(line["layer"], line["ceiling"], color=colour, linewidth=0.8, linestyle=":")
        error = np.maximum([line["value"] - line["low"], line["high"] - line["value"]], 0)
        ax.errorbar(
            line["layer"],
            line["value"],
            error,
            color=colour,
            linewidth=1.3,
            markersize=4,
            marker="D" if lang == "ar" else "o",
            linestyle="--" if lang == "ar" else "-",
            label=LANGUAGE_NAME.get(str(lang), "both"),
        )
    if part["lang"].nunique() > 1:
        ax.legend(fontsize=7, frameon=False)


def classes(frame: pd.DataFrame) -> Figure:
    """`core.figures.alignment.classes_figure` on paper."""
    layers = sorted(frame["layer"].unique())
    colours = class_colours(LIGHT)
    with paper.sheet(1.1 + 0.3 * len(layers)) as (fig, ax):
        left = np.zeros(len(layers))
        for kind, name in CLASSES.items():
            n = frame[frame["language_class"] == kind].set_index("layer")["n"].reindex(layers).fillna(0).to_numpy()
            ax.barh(
                range(len(layers)),
                n,
                left=left,
                color=colours[kind],
                label=name,
                edgecolor="white",
                linewidth=0.4,
                hatch="////" if "leaning" in kind else "",
            )
            left += n
        ax.set_yticks(range(len(layers)), [f"layer {layer}" for layer in layers])
        ax.invert_yaxis()
        ax.set_xlabel("features")
        fig.legend(loc="outside lower center", ncols=4, fontsize=7, frameon=False)
        return fig


def matches(frame: pd.DataFrame) -> Figure:
    """`core.figures.alignment.matches_figure` on paper."""
    with paper.sheet(0.8 + 0.34 * max(1, len(frame)), 6.4) as (fig, ax):
        rows = np.arange(len(frame))
        ax.hlines(rows, frame["floor"], frame["ceiling"], color=LIGHT.rule, linewidth=2.5)
        ax.scatter(frame["floor"], rows, marker="|", s=70, color=CONTROL, label="pairs shuffled", linewidths=2)
        ax.scatter(
            frame["ceiling"], rows, s=30, facecolors="white", edgecolors=LIGHT.ink, label="same language, another seed"
        )
        error = np.maximum([frame["value"] - frame["low"], frame["high"] - frame["value"]], 0)
        ax.errorbar(
            frame["value"], rows, xerr=error, fmt="o", color=LIGHT.single, markersize=5, label="English and Arabic"
        )
        ax.set_yticks(rows, [name.replace("<br>", "\n") for name in frame["name"]])
        ax.tick_params(axis="y", length=0, labelsize=7)
        ax.invert_yaxis()
        ax.set_xlim(-0.08, 1.02)
        fig.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)
        return fig


def sharing(frame: pd.DataFrame) -> Figure:
    """`core.figures.alignment.sharing_figure` on paper."""
    colours = {"shared": LIGHT.ink, "english": LANGUAGE["en"], "arabic": LANGUAGE["ar"]}
    with paper.sheet(4.2, 4.6) as (fig, ax):
        for kind, name in SHARING.items():
            part, colour = frame[frame["sharing"] == kind], colours.get(kind, CONTROL)
            if part.empty:
                continue
            error = {
                axis: np.maximum(
                    [part[f"effect_{lang}"] - part[f"low_{lang}"], part[f"high_{lang}"] - part[f"effect_{lang}"]], 0
                )
                for axis, lang in (("xerr", "en"), ("yerr", "ar"))
            }
            face = "none" if kind == "unclear" else colour
            ax.errorbar(
                part["effect_en"],
                part["effect_ar"],
                **error,
                fmt=MARKS[kind],
                color=colour,
                markersize=4,
                elinewidth=0.4,
                markerfacecolor=face,
                label=name,
            )
        ax.axline((0, 0), slope=1, color=LIGHT.muted, linewidth=0.7, linestyle=":")
        ax.axhline(0, color=LIGHT.rule, linewidth=0.7)
        ax.axvline(0, color=LIGHT.rule, linewidth=0.7)
        ax.set(xlabel="effect in English (women − men, sd)", ylabel="effect in Arabic (women − men, sd)")
        ax.legend(fontsize=7, frameon=False)
        return fig


def grammar(frame: pd.DataFrame) -> Figure:
    """`core.figures.alignment.grammar_figure` on paper."""
    part = frame[frame["follows"] != "not enough data"]
    with paper.sheet(3.6, 4.6) as (fig, ax):
        for kinds, name, colour, mark in (
            (["neither"], "neither", CONTROL, "o"),
            (["person"], "the person", LIGHT.single, "o"),
            (["word", "both"], "the word", LANGUAGE["ar"], "D"),
        ):
            some = part[part["follows"].isin(kinds)]
            ax.scatter(
                some["auc_word_ar"], some["auc_person"], s=6, color=colour, marker=mark, label=f"{name} ({len(some):,})"
            )
        ax.axhline(0.5, color=LIGHT.muted, linewidth=0.7, linestyle=":")
        ax.axvline(0.5, color=LIGHT.muted, linewidth=0.7, linestyle=":")
        ax.set(
            xlim=(-0.03, 1.03),
            ylim=(-0.03, 1.03),
            xlabel="feminine over masculine words for things (AUC)",
            ylabel="women over men (AUC)",
        )
        ax.legend(fontsize=7, frameon=False, title="follow", title_fontsize=7)
        return fig

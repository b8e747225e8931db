"""The figures about mechanisms, drawn for paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from core.figures.mechanisms import MLP, effect_grid
from core.figures.mechanisms_features import METHODS
from core.figures.palette import CONTROL, GENDER, LANGUAGE_NAME, LIGHT, PUOR, STEERED
from core.figures.paper import sheet

WIDTH = 7.2  # inches: a page


def heads_figure(effects: pd.DataFrame) -> Figure:
    """`core.figures.mechanisms.heads_figure` on paper; dots are findings."""
    langs = [lang for lang in LANGUAGE_NAME if lang in set(effects["lang"])]
    top = float(effects[effects["part"].isin(("head", "mlp"))]["effect"].abs().max())
    with sheet(3.0, WIDTH) as (fig, whole):
        whole.remove()
        axes = fig.subplots(1, max(1, len(langs)), sharey=True, squeeze=False).ravel()
        shown = None
        for ax, lang in zip(axes, langs, strict=False):
            grid = effect_grid(effects, lang)
            order = [str(n) for n in range(int(grid["head"].max()) + 1)] + [MLP]
            wide = grid.pivot(index="layer", columns="column", values="effect").reindex(columns=order)
            shown = ax.imshow(
                wide.to_numpy(float),
                origin="lower",
                vmin=-top,
                vmax=top,
                aspect="auto",
                cmap=LinearSegmentedColormap.from_list("puor", list(PUOR)),
            )
            found = grid[grid["finding"].astype(bool)]
            ax.scatter([order.index(c) for c in found["column"]], found["layer"], s=6, color=LIGHT.ink)
            ax.set_xticks(range(len(order)), order)
            ax.set_title(LANGUAGE_NAME[lang], fontsize=9, loc="left")
            ax.set_xlabel("head")
        axes[0].set_ylabel("layer")
        if shown is not None:
            fig.colorbar(shown, ax=list(axes), label="log-odds", shrink=0.8)
        return fig


def spectrum_figure(curves: pd.DataFrame) -> Figure:
    """`core.figures.mechanisms.spectrum_figure` on paper."""
    with sheet(2.4) as (fig, ax):
        band = curves[curves["matrix"] == "OV"].groupby("number")["value"].agg(["min", "max"])
        ax.fill_between(
            band.index, band["min"], band["max"], color=CONTROL, alpha=0.3, linewidth=0, label="OV of all heads"
        )
        for matrix, style in (("OV", "-"), ("QK", "--")):
            mine = curves[curves["this"] & (curves["matrix"] == matrix)]
            ax.plot(mine["number"], mine["value"], style, color=LIGHT.single, label=f"{matrix} of this head")
        ax.set(xlabel="singular value, by size", ylabel="of the largest", ylim=(0, 1.03))
        ax.legend(fontsize=7, frameon=False)
        return fig


def network_figure(nodes: pd.DataFrame, edges: pd.DataFrame) -> Figure:
    """`core.figures.mechanisms_features.network_figure` on paper."""
    place = {r["feature"]: (r["x"], r["y"]) for r in nodes.to_dict("records")}
    with sheet(5.0, WIDTH) as (fig, ax):
        for r in edges.sort_values("beyond").to_dict("records"):
            x, y = zip(place[r["feature_a"]], place[r["feature_b"]], strict=True)
            if r["n_ablated"] and r["beyond"]:
                ax.plot(x, y, color=STEERED, linewidth=2.2, zorder=1)
            elif r["firm"]:
                ax.plot(x, y, color=LIGHT.muted, linewidth=0.5, linestyle="-" if r["pmi_within"] > 0 else ":", zorder=0)
        biggest = float(nodes["push"].abs().max()) if len(nodes) else 1.0
        for r in nodes.to_dict("records"):
            size = 30 + 170 * abs(r["push"]) / (biggest or 1.0)
            ax.scatter(r["x"], r["y"], s=size, color=GENDER["female" if r["push"] > 0 else "male"], zorder=2)
            ax.annotate(
                f"{r['feature']} {r['label']}".strip(),
                (1.12 * r["x"], 1.12 * r["y"]),
                va="center",
                fontsize=7,
                ha="left" if r["x"] >= -1e-9 else "right",
            )
        ax.set(xlim=(-2.4, 2.4), ylim=(-1.25, 1.25), aspect="equal")
        ax.set_axis_off()
        return fig


def patching_figure(patched: pd.DataFrame, checks: pd.DataFrame) -> Figure:
    """`core.figures.mechanisms_features.patching_figure` on paper."""
    methods = [m for m in METHODS if m in patched and patched[m].notna().any()]
    with sheet(2.6, WIDTH) as (fig, whole):
        whole.remove()
        axes = fig.subplots(1, max(1, len(methods)), sharey=True, squeeze=False).ravel()
        for ax, method in zip(axes, methods, strict=False):
            wide = 1.1 * float(np.nanmax([0.01, patched[method].abs().max(), patched["true"].abs().max()]))
            ax.plot([-wide, wide], [-wide, wide], color=CONTROL, linewidth=0.8, linestyle="--")
            for chosen, filled in (("strongest", LIGHT.single), ("random", "none")):
                part = patched[patched["chosen"] == chosen]
                ends = [part["true"] - part["low"], part["high"] - part["true"]]
                ax.errorbar(part[method], part["true"], yerr=ends, fmt="none", ecolor=LIGHT.single, elinewidth=0.6)
                ax.scatter(part[method], part["true"], s=16, facecolors=filled, edgecolors=LIGHT.single)
            row = checks[(checks["method"] == method) & (checks["chosen"] == "all")].dropna(subset=["r"])
            said = f"\nr = {row['r'].iloc[0]:.2f}, slope {row['slope'].iloc[0]:.2f}" if len(row) else ""
            ax.set_title(METHODS[method] + said, fontsize=8, loc="left")
            ax.set_xlabel("predicted")
        axes[0].set_ylabel("true change of the log-odds")
        return fig

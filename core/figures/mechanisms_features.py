"""What features do alone and in pairs: those that fire together as a network, and predicted effects against true."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.figures.palette import CONTROL, GENDER, LANGUAGE_NAME, STEERED, dress, look

METHODS = {
    "gradient": "gradient × activation",
    "integrated": "integrated gradients",
    "direct": "the feature’s own words",
}
CHOSEN = {"strongest": ("strongest on training captions", "circle"), "random": ("drawn at random", "circle-open")}
FDR, N_EDGES = 0.05, 24


def network(pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nodes (feature, label, push, x, y on a circle in the order of their push) and edges of one layer and language.

    ``push``: what the feature is predicted to add to a word for a woman over one for a man. Edges: the N_EDGES
    pairs that most clearly fire together more (or less) often than dealt out within the images' genders, and those
    that were ablated together.
    """
    top = pairs[pairs["kind"] == "top"]
    nodes: dict[int, dict[str, object]] = {}
    for side in "ab":
        for r in top.to_dict("records"):
            nodes[r[f"feature_{side}"]] = {
                "feature": r[f"feature_{side}"],
                "label": r.get(f"label_{side}", ""),
                "push": -r[f"predicted_{side}"],
            }
    found = pd.DataFrame(list(nodes.values()), columns=["feature", "label", "push"]).sort_values(
        "push", ascending=False
    )
    angle = np.pi / 2 - 2 * np.pi * np.arange(len(found)) / max(1, len(found))
    found["x"], found["y"] = np.cos(angle), np.sin(angle)
    firm = (top["q_within"] <= FDR) & np.isfinite(top["pmi_within"].astype(float))
    edges = top[firm | (top["n_ablated"] > 0)].copy()
    edges["beyond"] = (edges["low"] > 0) | (edges["high"] < 0)
    clear = edges.loc[firm[edges.index], "pmi_within"].abs().nlargest(N_EDGES).index
    edges["firm"] = edges.index.isin(clear)
    edges = edges[edges["firm"] | (edges["n_ablated"] > 0)]
    return found.reset_index(drop=True), edges.reset_index(drop=True)


def network_figure(nodes: pd.DataFrame, edges: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Colour: for which gender's words; size: how hard. Lines: together more often than chance (dashed: less often);
    orange: what the two do together is not the sum of what each does."""
    inks, fig = look(dark), go.Figure()
    place = nodes.set_index("feature")[["x", "y"]]
    strong = edges["pmi_within"].abs().replace(np.inf, np.nan).max() if len(edges) else 1.0
    for r in edges.sort_values("beyond").to_dict("records"):
        (x0, y0), (x1, y1) = place.loc[r["feature_a"]], place.loc[r["feature_b"]]
        if r["n_ablated"] and r["beyond"]:
            line = {"color": STEERED, "width": 4}
        elif r["firm"]:
            share = min(1.0, abs(r["pmi_within"]) / strong) if strong else 0.0
            line = {"color": inks.muted, "width": 0.6 + 2.4 * share, "dash": "solid" if r["pmi_within"] > 0 else "dot"}
        else:
            continue
        fig.add_trace(
            go.Scatter(
                x=[x0, x1], y=[y0, y1], mode="lines", line=line, hoverinfo="skip", opacity=0.9 if r["beyond"] else 0.45
            )
        )
        said = f"{r['feature_a']} and {r['feature_b']}: on {r['n_both']:,} images both, PMI {r['pmi']:+.2f} bits"
        if r["n_ablated"]:
            within = f"{r['interaction']:+.3f} [{r['low']:.3f}, {r['high']:.3f}]"
            said += f"<br>both {r['effect_both']:+.2f}, beyond the sum {within}"
        fig.add_trace(
            go.Scatter(
                x=[(x0 + x1) / 2],
                y=[(y0 + y1) / 2],
                mode="markers",
                hovertemplate=f"{said}<extra></extra>",
                marker={"size": 12, "opacity": 0},
            )
        )
    biggest = float(nodes["push"].abs().max()) if len(nodes) else 1.0
    colours = [GENDER["female" if push > 0 else "male"] for push in nodes["push"]]
    for side in (1, -1):
        part = nodes[np.sign(nodes["x"].where(nodes["x"].abs() > 1e-9, 1)) == side]
        fig.add_trace(
            go.Scatter(
                x=part["x"] * 1.1,
                y=part["y"] * 1.1,
                mode="text",
                hoverinfo="skip",
                text=[_label(r) for r in part.to_dict("records")],
                textfont={"size": 13, "color": inks.ink},
                textposition="middle right" if side > 0 else "middle left",
            )
        )
    fig.add_trace(
        go.Scatter(
            x=nodes["x"],
            y=nodes["y"],
            mode="markers",
            customdata=nodes[["feature", "push"]].to_numpy(),
            marker={
                "color": colours,
                "size": 10 + 22 * np.sqrt(nodes["push"].abs() / (biggest or 1)),
                "opacity": 1,
                "line": {"width": 1, "color": inks.ground},
            },
            hovertemplate="feature %{customdata[0]}: %{customdata[1]:+.2f} log-odds<extra></extra>",
        )
    )
    dress(fig, dark, 560, margin=(8, 8, 8, 8))
    fig.update_xaxes(visible=False, range=[-2.4, 2.4])
    fig.update_yaxes(visible=False, range=[-1.2, 1.2], scaleanchor="x")
    return fig


def _label(row: dict[str, object]) -> str:
    label = str(row["label"] or "")
    short = label if len(label) <= 22 else label[:21] + "…"
    return f"{row['feature']} “{short}”" if short else str(row["feature"])


def patching_figure(patched: pd.DataFrame, checks: pd.DataFrame, dark: bool = False) -> go.Figure:
    """True effect of ablation against the predicted one, a panel a method; on the line: predicted as it is."""
    inks = look(dark)
    methods = [m for m in METHODS if m in patched and patched[m].notna().any()]
    fig = make_subplots(
        1,
        max(1, len(methods)),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[METHODS[m] for m in methods],
    )
    reach = 1.1 * float(np.nanmax([0.01, patched["true"].abs().max()]))
    for column, method in enumerate(methods, start=1):
        at = {"row": 1, "col": column}
        wide = max(reach, 1.1 * float(patched[method].abs().max()))
        fig.add_trace(
            go.Scatter(
                x=[-wide, wide],
                y=[-wide, wide],
                mode="lines",
                name="as predicted",
                hoverinfo="skip",
                line={"color": CONTROL, "width": 1, "dash": "dash"},
                showlegend=column == 1,
            ),
            **at,
        )
        for chosen, (name, symbol) in CHOSEN.items():
            part = patched[patched["chosen"] == chosen]
            error = {
                "type": "data",
                "symmetric": False,
                "array": part["high"] - part["true"],
                "width": 0,
                "arrayminus": part["true"] - part["low"],
                "thickness": 1,
                "color": inks.single,
            }
            fig.add_trace(
                go.Scatter(
                    x=part[method],
                    y=part["true"],
                    mode="markers",
                    name=name,
                    error_y=error,
                    showlegend=column == 1,
                    customdata=part[["feature", "n_fires", "low", "high"]].to_numpy(),
                    marker={"size": 8, "symbol": symbol, "color": inks.single},
                    hovertemplate="feature %{customdata[0]}: predicted %{x:+.3f}, true %{y:+.3f} "
                    "[%{customdata[2]:.3f}, %{customdata[3]:.3f}]<br>fires on %{customdata[1]} captions<extra></extra>",
                ),
                **at,
            )
        row = checks[(checks["method"] == method) & (checks["chosen"] == "all")].dropna(subset=["r"])
        if len(row):
            r = row.iloc[0]
            fig.add_annotation(
                text=f"r = {r['r']:.2f} [{r['low']:.2f}, {r['high']:.2f}], slope {r['slope']:.2f}",
                x=0.03,
                y=0.97,
                xref=f"x{'' if column == 1 else column} domain",
                yref="y domain",
                showarrow=False,
                xanchor="left",
                yanchor="top",
                font={"size": 13, "color": inks.ink},
            )
        fig.update_xaxes(title_text="predicted", range=[-wide, wide], **at)
    dress(fig, dark, 380, margin=(60, 10, 84, 34))
    fig.update_yaxes(range=[-reach, reach])
    fig.update_yaxes(title_text="true change of the log-odds", col=1)
    fig.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top"})
    fig.update_annotations(font={"size": 13, "color": inks.ink})
    return fig


def by_layer(checks: pd.DataFrame) -> pd.DataFrame:
    """Correlation and slope of all features by language, layer and method, those not known left out."""
    known = checks[checks["chosen"] == "all"].dropna(subset=["r"]).copy()
    known["language"] = known["lang"].map(LANGUAGE_NAME)
    return known.reset_index(drop=True)

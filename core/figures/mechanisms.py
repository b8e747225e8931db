"""What heads, MLPs, weights and pairs of features add to gendered words, and predicted effects against true ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from core.config import LANGUAGE_NAME
from core.figures.marks import Axis, Band, Cells, Chart, ColourBar, Legend, Mark, Note, Panel, Points, Shades, line
from core.figures.palette import CONTROL, GENDER, LIGHT, PUOR, STEERED
from core.frames import records
from core.intervals import told

MLP, INK = "MLP", LIGHT.ink  # the ink of marks on cells, which are light in both themes
METHODS = {
    "gradient": "gradient × activation",
    "integrated": "integrated gradients",
    "direct": "the feature’s own words",
}
CHOSEN = {"strongest": ("strongest on training captions", "circle"), "random": ("drawn at random", "circle-open")}
FDR, N_EDGES = 0.05, 24


def effect_grid(effects: pd.DataFrame, lang: str) -> pd.DataFrame:
    """Heads and MLPs of one language with ``column`` ("0", "1", .., "MLP") and ``name`` ("5.3", "MLP 5")."""
    rows = effects[(effects["lang"] == lang) & effects["part"].isin(("head", "mlp"))].copy()
    is_head = rows["part"] == "head"
    rows["column"] = rows["head"].astype(str).where(is_head, MLP)
    rows["name"] = [part_name(r) for r in records(rows)]
    return rows.reset_index(drop=True)


def part_name(row: dict[str, Any]) -> str:
    """ "5.3" is head 3 of layer 5, "MLP 5" the layer's MLP."""
    return f"{row['layer']}.{row['head']}" if row["part"] == "head" else f"MLP {row['layer']}"


def heads_figure(effects: pd.DataFrame, chosen: str = "") -> Chart:
    """Layers upward, heads to the right, the MLP at the end: colour is the effect, a dot a finding beyond both nulls.

    ``chosen`` names the ringed head. The data of each mark begin with the part's name.
    """
    langs = [lang for lang in LANGUAGE_NAME if lang in set(effects["lang"])]
    parts = effects[effects["part"].isin(("head", "mlp"))]
    top = float(parts["effect"].abs().max()) if parts["effect"].notna().any() else 1.0
    n_heads = int(effects["head"].max()) + 1 if len(effects) else 0
    layers, dense, panels = sorted(set(parts["layer"])), n_heads > 12, []
    order = [str(n) for n in range(n_heads)] + [MLP]
    for column, lang in enumerate(langs, start=1):
        grid = effect_grid(effects, lang)
        wide, names = (
            grid.pivot(index="layer", columns="column", values=values).reindex(columns=order)
            for values in ("effect", "name")
        )
        bar = ColourBar("log-odds") if column == len(langs) else None
        mine, found = (grid["name"] == chosen).to_numpy(), grid["finding"].astype(bool)
        small = np.where(found, 4 if dense else 7, 0.1)
        marks = [
            Cells(order, wide.index, Shades(wide.to_numpy(), -top, top, PUOR, bar), text=names.to_numpy()),
            Points(
                grid["column"],
                grid["layer"],
                colour=INK,
                symbol=np.where(mine, "square-open", "circle").tolist(),
                size=np.where(mine, 12 if dense else 22, small),
                edge=([2.5 if one else 0 for one in mine], INK),
                opacity=1,
                data=grid[["name", "low", "high", "random_low", "random_high", "p_adjusted", "effect"]].to_numpy(),
                hover="%{customdata[0]}: %{customdata[6]:+.2f} [%{customdata[1]:.2f}, %{customdata[2]:.2f}]<br>"
                "random words %{customdata[3]:.2f} to %{customdata[4]:.2f}, adjusted p = %{customdata[5]:.4f}",
            ),
        ]
        y = Axis("layer" if column == 1 else "", step=1 if len(layers) <= 16 else 4, grid=False)
        x = Axis("head", category=True, grid=False)
        panels.append(Panel(marks, x, y, LANGUAGE_NAME[lang], column=column))
    height = 120 + (16 if dense else 34) * max(4, len(layers))
    return Chart(panels, height, (52, 10, 50, 34), share_y=True, gaps=(0.04, None), titles=(14, "center"), inches=7.2)


def spectrum_curves(spectra: pd.DataFrame, layer: int, head: int) -> pd.DataFrame:
    """Singular values over the largest of OV and QK of one head, and of all others: matrix, number, value, this."""
    rows = [
        {
            "matrix": r["matrix"],
            "layer": r["layer"],
            "head": r["head"],
            "number": n + 1,
            "value": v / r["singular_values"][0],
            "this": (r["layer"], r["head"]) == (layer, head),
        }
        for r in records(spectra[spectra["matrix"].isin(("OV", "QK"))])
        for n, v in enumerate(r["singular_values"])
    ]
    return pd.DataFrame(rows, columns=["matrix", "layer", "head", "number", "value", "this"])


def spectrum_figure(curves: pd.DataFrame) -> Chart:
    """The chosen head's curves over the band of all heads; solid OV (what it moves), dashed QK (what it looks for)."""
    band = curves[curves["matrix"] == "OV"].groupby("number")["value"].agg(["min", "max"])
    marks: list[Mark] = (
        [Band(band.index, band["min"], band["max"], CONTROL, name="OV of all heads")] if len(band) else []
    )
    for matrix, dash in (("OV", "solid"), ("QK", "dash")):
        mine = curves[(curves["matrix"] == matrix) & curves["this"].astype(bool)]
        hover = "%{x}: %{y:.2f}<extra>%{fullData.name}</extra>"
        marks.append(line(mine["number"], mine["value"], "single", f"{matrix} of this head", dash, 2, hover=hover))
    panel = Panel(marks, Axis("singular value, by size", grid=False), Axis("of the largest", range=(0, 1.03)))
    return Chart([panel], 280, (52, 10, 104, 8), Legend(-0.3))


def network(pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nodes (feature, label, push, x, y on a circle in the order of their push) and edges of one layer and language.

    ``push``: what the feature is predicted to add to a word for a woman over one for a man. Edges: the N_EDGES
    pairs that most clearly fire together more (or less) often than dealt out within the images' genders, and those
    that were ablated together.
    """
    top = pairs[pairs["kind"] == "top"]
    nodes: dict[int, dict[str, object]] = {}
    for side in "ab":
        for r in records(top):
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


def network_figure(nodes: pd.DataFrame, edges: pd.DataFrame) -> Chart:
    """Colour: for which gender's words; size: how hard. Lines: together more often than chance (dotted: less often);
    orange: what the two do together is not the sum of what each does."""
    place, marks = nodes.set_index("feature")[["x", "y"]], []
    strong = edges["pmi_within"].abs().replace(np.inf, np.nan).max() if len(edges) else 1.0
    for r in records(edges.sort_values("beyond")):
        (x0, y0), (x1, y1) = place.loc[r["feature_a"]], place.loc[r["feature_b"]]
        if r["n_ablated"] and r["beyond"]:
            colour, width, dash = STEERED, 4, "solid"
        elif r["firm"]:
            share = min(1.0, abs(r["pmi_within"]) / strong) if strong else 0.0
            colour, width, dash = "muted", 0.6 + 2.4 * share, "solid" if r["pmi_within"] > 0 else "dot"
        else:
            continue
        said = f"{r['feature_a']} and {r['feature_b']}: on {r['n_both']:,} images both, PMI {r['pmi']:+.2f} bits"
        if r["n_ablated"]:
            within = told(r["interaction"], r["low"], r["high"], form="+.3f")
            said += f"<br>both {r['effect_both']:+.2f}, beyond the sum {within}"
        marks += [
            line([x0, x1], [y0, y1], colour, "", dash, width, 0.9 if r["beyond"] else 0.45),
            Points([(x0 + x1) / 2], [(y0 + y1) / 2], size=12, opacity=0, hover=said),  # an unseen place to point at
        ]
    for side, at in ((1, "middle right"), (-1, "middle left")):
        part = nodes[np.sign(nodes["x"].where(nodes["x"].abs() > 1e-9, 1)) == side]
        labels = [_label(r) for r in records(part)]
        marks.append(Points(part["x"] * 1.1, part["y"] * 1.1, symbol="", text=labels, text_at=at))
    biggest = float(nodes["push"].abs().max()) if len(nodes) else 1.0
    marks.append(
        Points(
            nodes["x"],
            nodes["y"],
            colour=[GENDER["female" if push > 0 else "male"] for push in nodes["push"]],
            size=10 + 22 * np.sqrt(nodes["push"].abs() / (biggest or 1)),
            opacity=1,
            edge=(1, "ground"),
            data=nodes[["feature", "push"]].to_numpy(),
            hover="feature %{customdata[0]}: %{customdata[1]:+.2f} log-odds",
        )
    )
    x = Axis(shown=False, range=(-2.4, 2.4))
    panel = Panel(marks, x, Axis(shown=False, range=(-1.2, 1.2), equal=True))
    return Chart([panel], 560, (8, 8, 8, 8), inches=7.2)


def _label(row: dict[str, object]) -> str:
    label = str(row["label"] or "")
    short = label if len(label) <= 22 else label[:21] + "…"
    return f"{row['feature']} “{short}”" if short else str(row["feature"])


def patching_figure(patched: pd.DataFrame, checks: pd.DataFrame) -> Chart:
    """True effect of ablation against the predicted one, a panel a method; on the line: predicted as it is."""
    methods = [m for m in METHODS if m in patched and patched[m].notna().any()]
    reach, panels = 1.1 * float(np.nanmax([0.01, patched["true"].abs().max()])), []
    for column, method in enumerate(methods, start=1):
        wide, first = max(reach, 1.1 * float(patched[method].abs().max())), column == 1
        marks: list[Mark] = [line([-wide, wide], [-wide, wide], CONTROL, "as predicted", "dash", legend=first)]
        for chosen, (name, symbol) in CHOSEN.items():
            part = patched[patched["chosen"] == chosen]
            marks.append(
                Points(
                    part[method],
                    part["true"],
                    name,
                    symbol=symbol,
                    size=8,
                    y_ends=(part["low"], part["high"]),
                    bar=1,
                    data=part.assign(ends=_ends(part))[["feature", "n_fires", "ends"]].to_numpy(),
                    hover="feature %{customdata[0]}: predicted %{x:+.3f}, true %{y:+.3f} "
                    "%{customdata[2]}<br>fires on %{customdata[1]} captions",
                    legend=first,
                )
            )
        row = checks[(checks["method"] == method) & (checks["chosen"] == "all")].dropna(subset=["r"])
        for r in records(row.head(1)):
            said = f"r = {told(r['r'], r['low'], r['high'])}, slope {r['slope']:.2f}"
            marks.append(Note(0.03, 0.97, said, "left", "top", x_in="panel", y_in="panel"))
        y = Axis("true change of the log-odds" if column == 1 else "", range=(-reach, reach))
        panels.append(Panel(marks, Axis("predicted", range=(-wide, wide)), y, METHODS[method], column=column))
    return Chart(
        panels,
        380,
        (60, 10, 84, 34),
        Legend(-0.24),
        share_y=True,
        gaps=(0.04, None),
        titles=(13, "center"),
        inches=7.2,
    )


def _ends(part: pd.DataFrame) -> list[str]:
    """Intervals as text; what changes few captions has none."""
    pairs = zip(part["low"], part["high"], strict=True)
    return [f"[{low:.3f}, {high:.3f}]" if np.isfinite(low) else "(no interval)" for low, high in pairs]


def by_layer(checks: pd.DataFrame) -> pd.DataFrame:
    """Correlation and slope of all features by language, layer and method, those not known left out."""
    known = checks[checks["chosen"] == "all"].dropna(subset=["r"]).copy()
    known["language"] = known["lang"].map(LANGUAGE_NAME)
    return known.reset_index(drop=True)

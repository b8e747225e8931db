"""What dictionaries that learned nothing give: findings and how far their first features go, kind by kind."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.config import LANGUAGE_NAME
from core.figures.marks import Axis, Bars, Chart, Legend, Panel, Points, Rule, rows
from core.figures.palette import CONTROL
from core.frames import records

KINDS = {
    "trained": "this SAE",
    "second seed": "another seed",
    "frozen decoder": "frozen decoder",
    "random model": "random model’s SAE",
    "random": "random directions",
    "components": "principal components",
    "axes": "raw coordinates",
    "shuffled labels": "labels shuffled",
}
"""Names of the kinds of dictionaries, in the order in which they are drawn."""
DRAWN = (1, 5)  # features whose probes are drawn, where the run has them
SYMBOLS = ("circle", "diamond-open")


def null_frame(found: pd.DataFrame, probes: pd.DataFrame) -> pd.DataFrame:
    """One row a kind and k of one layer, language and view: name, findings, features (means over draws), auc, low,
    high, share, difference with its ends, n_draws, n_images; kinds without numbers are left out."""
    means = found.groupby("kind")[["n_findings", "n_features"]].mean() if len(found) else pd.DataFrame()
    counts = means.to_dict("index")
    told = []
    for row in records(probes[probes["auc"].notna()]) if len(probes) else []:
        kind = row["kind"]
        if kind in KINDS:
            told.append(
                {
                    "kind": kind,
                    "name": KINDS[kind],
                    "k": int(row["k"]),
                    "n_findings": counts[kind]["n_findings"],
                    "n_features": counts[kind]["n_features"],
                    **{name: row[name] for name in ("auc", "auc_low", "auc_high", "share", "n_draws")},
                    **{f"difference{end}": row[f"difference{end}"] for end in ("", "_low", "_high")},
                    "n_images": int(row["n_female_test"] + row["n_male_test"]),
                }
            )
    frame = pd.DataFrame(told)
    if frame.empty:
        return frame
    order = list(KINDS)
    return frame.sort_values(["kind", "k"], key=lambda c: c.map(order.index) if c.name == "kind" else c, kind="stable")


def null_figure(frame: pd.DataFrame) -> Chart:
    """`null_frame` as bars of findings on the left, and on the right the AUC of the first features, with intervals."""
    kinds = frame.drop_duplicates("kind")
    names, place = kinds["name"].tolist(), {kind: n for n, kind in enumerate(kinds["kind"])}
    drawn = [k for k in DRAWN if (frame["k"] == k).any()] or sorted(set(frame["k"]))[:1]
    counts: list[Bars] = []
    marks: list[Points | Rule] = [Rule(x=0.5, dash="dot")]
    for own, ink in ((True, "single"), (False, CONTROL)):
        part = kinds[(kinds["kind"] == "trained") == own]
        counts.append(
            Bars(
                [place[kind] for kind in part["kind"]],
                part["n_findings"],
                colour=ink,
                width=0.6,
                data=part[["n_findings", "n_features"]],
                hover="%{customdata[0]:,.0f} of %{customdata[1]:,.0f} features",
            )
        )
        for number, k in enumerate(drawn):
            part = frame[(frame["k"] == k) & ((frame["kind"] == "trained") == own)]
            heights = np.array([place[kind] for kind in part["kind"]], float)
            marks.append(
                Points(
                    part["auc"],
                    heights + 0.26 * (number - (len(drawn) - 1) / 2),
                    "the first feature" if k == 1 else f"the first {k}",
                    ink,
                    SYMBOLS[number],
                    x_ends=(part["auc_low"], part["auc_high"]),
                    legend=own,
                    data=part[["auc", "auc_low", "auc_high", "n_draws", "n_images"]],
                    hover="%{customdata[0]:.3f} [%{customdata[1]:.3f}, %{customdata[2]:.3f}], "
                    "mean of %{customdata[3]}, n = %{customdata[4]} images",
                )
            )
    y = rows(names)
    panels = [
        Panel(counts, Axis("features that tell women from men", to_zero=True, n_ticks=5), y),
        Panel(marks, Axis("held-out AUC (0.5: chance)", range=(0.4, 1.02), n_ticks=6), y, column=2),
    ]
    return Chart(
        panels, 110 + 34 * len(names), (150, 12, 52, 36), Legend(1.02), share_y=True, gaps=(0.05, None), inches=7.2
    )


def layers_frame(null_layers: pd.DataFrame, view: str) -> pd.DataFrame:
    """Rows of null_layers of a view that have numbers, by language and layer."""
    here = null_layers[(null_layers["view"] == view) & null_layers["auc"].notna()]
    return here.sort_values(["lang", "layer"], kind="stable", ignore_index=True)


def random_weights_figure(frame: pd.DataFrame) -> Chart:
    """`layers_frame`: a probe of each layer of the model, and of the model with random weights in grey."""
    marks: list[Points | Rule] = [Rule(y=0.5, dash="dot")]
    for lang, part in frame.groupby("lang", sort=False):
        named = LANGUAGE_NAME[str(lang)]
        for prefix, colour, name, dash in (
            ("random_auc", CONTROL, f"{named}, random weights", "dot"),
            ("auc", str(lang), named, "solid"),
        ):
            marks.append(
                Points(
                    part["layer"],
                    part[prefix],
                    name,
                    colour,
                    "circle" if lang == "en" else "diamond",
                    dash=dash,
                    y_ends=(part[f"{prefix}_low"], part[f"{prefix}_high"]),
                    data=part[[prefix, f"{prefix}_low", f"{prefix}_high", "n_female_test", "n_male_test"]],
                    hover="%{customdata[0]:.2f} [%{customdata[1]:.2f}, %{customdata[2]:.2f}], "
                    "n = %{customdata[3]} + %{customdata[4]}",
                )
            )
    ticks = sorted(set(frame["layer"]))
    x = Axis("layer", ticks=ticks, labels=[str(t) for t in ticks])
    return Chart([Panel(marks, x, Axis("held-out AUC", range=(0.4, 1.02)))], 300, legend=Legend(1.02))

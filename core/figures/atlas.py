"""All features of a layer as points: by the words they write (UMAP), and by how they share English and Arabic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from core.figures.marks import Axis, Chart, ColourBar, Panel, Points, Rule, Shades
from core.figures.palette import CONTROL, GENDER, PUOR, STEERED, VIRIDIS

COLOURS = {"density": "How often it fires", "lean": "English or Arabic", "explained_share": "Explained share"}
BY_GENDER = {"auc_en": "Women or men, English", "auc_ar": "Women or men, Arabic"}  # where the run has it
NAMES = {**COLOURS, **BY_GENDER}
SIDES = (GENDER["male"], CONTROL, GENDER["female"])  # of a held-out AUC, around 0.5
RARE = 0.02  # below this quantile of shares the scale has no colour of its own
MANY = 6000  # above this WebGL draws; below it SVG does, which needs no graphics card


def feature_map(
    frame: pd.DataFrame,
    colour: str = "density",
    chosen: int | None = None,
    kept: set[int] | None = None,
    height: int = 520,
) -> Chart:
    """Points at (umap_x, umap_y), one a living feature; `kept` features in colour, the rest faint, `chosen` ringed."""
    placed = frame.dropna(subset=["umap_x", "umap_y"])
    marks = _features(placed, "umap_x", "umap_y", colour, chosen, kept)
    return Chart([Panel(marks, Axis(shown=False), Axis(shown=False, equal=True))], height, (8, 8, 8, 8))


def language_scatter(
    frame: pd.DataFrame, chosen: int | None = None, kept: set[int] | None = None, height: int = 520
) -> Chart:
    """Every feature by its density on English (x) and on Arabic (y) captions, logarithmic, with the line of equality.

    A feature that never fires in one language sits on that axis's lower border, drawn as an open mark.
    """
    both = frame[(frame["density_caption_en"] > 0) | (frame["density_caption_ar"] > 0)].copy()
    seen = pd.concat([both["density_caption_en"], both["density_caption_ar"]])
    floor = float(seen[seen > 0].min()) / 2 if (seen > 0).any() else 1e-6
    both["x"] = both["density_caption_en"].clip(lower=floor)
    both["y"] = both["density_caption_ar"].clip(lower=floor)
    both["open"] = (both["density_caption_en"] <= 0) | (both["density_caption_ar"] <= 0)
    top = max(float(both[["x", "y"]].to_numpy().max()) if len(both) else 1.0, floor * 10)
    equal = Rule((floor, top), (floor, top), dash="dot", below=True)
    x, y = (
        Axis(f"share of {name} caption tokens", (floor * 0.8, top * 1.3), log=True, format=".1~%", step=1)
        for name in ("English", "Arabic")
    )
    marks = [*_features(both, "x", "y", "lean", chosen, kept), equal]
    return Chart([Panel(marks, x, y)], height, (60, 12, 52, 12))


def ring(frame: pd.DataFrame, x: str, y: str, chosen: int | None, edge: tuple[float, str]) -> list[Points]:
    """The chosen feature with its number; nothing where the frame has it not."""
    mark = frame[frame["feature"] == chosen]
    if mark.empty:
        return []
    named = [str(chosen)]
    return [Points(mark[x], mark[y], "chosen", "clear", size=17, edge=edge, text=named, text_size=15, legend=False)]


def _features(
    frame: pd.DataFrame, x: str, y: str, colour: str, chosen: int | None, kept: set[int] | None
) -> list[Points]:
    """The marks of a map: the data of each begins with its feature, so that a selection can be read back."""
    inside = frame["feature"].isin(kept) if kept is not None else pd.Series(True, index=frame.index)
    rest, part, webgl = frame[~inside], frame[inside], len(frame) > MANY
    size = 9.0 if len(part) < 300 else 7.0 if len(part) < 3000 else 4.0
    return [
        Points(
            rest[x],
            rest[y],
            "filtered out",
            "rule",
            size=5,
            opacity=0.9,
            hover="feature %{customdata[0]}",
            data=rest[["feature"]],
            webgl=webgl,
        ),
        Points(
            part[x],
            part[y],
            "features",
            symbol=["circle-open" if o else "circle" for o in part["open"]] if "open" in part else "circle",
            size=size,
            edge=(0.5, "muted"),
            shades=shading(part, colour),
            hover="<b>feature %{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}",
            data=_card(part),
            dim=0.25,
            webgl=webgl,
        ),
        *ring(frame, x, y, chosen, (3, STEERED)),
    ]


def shading(frame: pd.DataFrame, colour: str) -> Shades:
    """Values, their range, the colour scale and its key: diverging for lean and gender, log viridis for shares."""
    key: dict[str, Any] = {"title": NAMES.get(colour, colour), "across": True}
    if colour == "lean":
        bar = ColourBar(ticks=[-1, 0, 1], labels=["English", "both", "Arabic"], **key)
        return Shades(frame["lean"].fillna(0.0), -1.0, 1.0, PUOR, bar)
    if colour.startswith("auc"):
        bar = ColourBar(ticks=[0, 0.5, 1], labels=["men", "neither", "women"], **key)
        return Shades(frame[colour].fillna(0.5), 0.0, 1.0, SIDES, bar)
    shares = frame[colour].astype(float)
    seen = pd.Series(np.log10(shares[shares > 0])) if (shares > 0).any() else pd.Series([-6.0, 0.0])
    low, high = float(seen.quantile(RARE)), float(seen.max())
    high = max(high, low + 0.5)
    ticks = [float(m) for m in range(int(np.ceil(low)), int(np.floor(high)) + 1)]
    ticks = ticks[:: 2 if len(ticks) > 4 else 1] if len(ticks) > 1 else [low, high]
    bar = ColourBar(ticks=ticks, labels=[_tick(m) for m in ticks], **key)
    return Shades(np.log10(shares.clip(lower=10**low)), low, high, VIRIDIS, bar)


def _tick(exponent: float) -> str:
    return f"{float(f'{100 * 10.0**exponent:.2g}'):.10f}".rstrip("0").rstrip(".") + " %"


def _card(frame: pd.DataFrame) -> np.ndarray:
    words = frame["words"] if "words" in frame else pd.Series("", index=frame.index)
    density = [f"fires on {value:.2%} of tokens" for value in frame["density"]]
    return np.array(list(zip(frame["feature"], words, density, strict=True)), dtype=object).reshape(-1, 3)

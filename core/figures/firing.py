"""What fires along a caption: its tokens by features, both languages one below the other over the same features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.config import LANGUAGE_NAME
from core.figures.feature import isolated, visible
from core.figures.marks import Axis, Cells, Chart, ColourBar, Mark, Note, Panel, Shades
from core.figures.palette import VIRIDIS
from core.frames import records

COLUMNS = ["lang", "slot", "piece", "feature", "label", "activation", "share"]
ROW, FOOT, HEAD = 25, 96, 30  # pixels of a token, of the features' numbers below, of a language's name above


class Fired(Protocol):
    """What of a core.features.firing.Firing is drawn here."""

    @property
    def tokens(self) -> pd.DataFrame: ...

    def dense(self, features: Sequence[int]) -> NDArray[np.float32]: ...


def caption_frame(
    firings: Mapping[str, Fired], features: Sequence[int], tops: Mapping[int, float], labels: Mapping[int, str]
) -> pd.DataFrame:
    """One row a caption token and feature: lang, slot, piece, feature, label, its activation there, and the share of
    the strongest that it ever reaches in the run (``tops``)."""
    parts = []
    top = np.array([tops.get(f) or np.nan for f in features])
    for lang, fired in firings.items():
        caption = np.flatnonzero((fired.tokens["kind"] == "caption").to_numpy())
        value = fired.dense(features)[caption]
        tokens = fired.tokens.iloc[caption]
        n, m = value.shape
        parts.append(
            pd.DataFrame(
                {
                    "lang": lang,
                    "slot": np.repeat(tokens["slot"].to_numpy(), m),
                    "piece": np.repeat(tokens["piece"].to_numpy(object), m),
                    "feature": np.tile(np.asarray(features, np.int64), n),
                    "label": np.tile(np.array([labels.get(f, "") for f in features], object), n),
                    "activation": value.ravel(),
                    "share": (value / top).ravel(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def caption_heat(frame: pd.DataFrame) -> Chart:
    """``caption_frame`` as one heat map a language, a row a token in the order in which it is read, a column a feature;
    the colour is the share of the feature's own strongest activation, and where it does not fire there is none."""
    features = list(dict.fromkeys(frame["feature"]))
    langs = [lang for lang in LANGUAGE_NAME if lang in set(frame["lang"])] or ["en"]
    sizes, panels = [], []
    for row, lang in enumerate(langs, start=1):
        part = frame[frame["lang"] == lang]
        last = row == len(langs)
        sizes.append(part["slot"].nunique())
        panels.append(_panel(part, features, lang, row, last))
    tokens = max(sizes) * len(langs)  # rows of subplots are of one height
    gap = HEAD / max(1, ROW * tokens)
    height = HEAD + FOOT + ROW * max(tokens, 2) + HEAD * (len(langs) - 1)
    return Chart(panels, height, (8, 8, FOOT, HEAD), gaps=(None, min(gap, 0.3)), titles=(14, "left"), inches=5.6)


def _panel(part: pd.DataFrame, features: list[int], lang: str, row: int, last: bool) -> Panel:
    slots = sorted(set(part["slot"]))
    pieces = part.drop_duplicates("slot").set_index("slot")["piece"]
    wide = part.pivot(index="slot", columns="feature", values="share").reindex(index=slots, columns=features)
    share = wide.to_numpy(float)
    data: list[list[str]] = [["" for _ in features] for _ in slots]
    at, column = {slot: n for n, slot in enumerate(slots)}, {f: n for n, f in enumerate(features)}
    for one in records(part[part["activation"] > 0]):
        named = f" {isolated(one['label'])}" if one["label"] else ""
        data[at[one["slot"]]][column[one["feature"]]] = (
            f"{isolated(visible(one['piece']))}<br>feature {one['feature']}{named}<br>"
            f"{one['activation']:.2f}, {one['share']:.0%} of its strongest"
        )
    bar = ColourBar("share of its strongest", [0, 1], ["0", "1"]) if row == 1 else None
    shades = Shades(np.where(share > 0, share, np.nan), 0, 1, VIRIDIS, bar)
    marks: list[Mark] = [
        Cells(list(range(len(features))), list(range(len(slots))), shades, 1, None, "%{customdata}", data)
    ]
    if not slots:
        marks = [Note(0.5, 0.5, "no caption", x_in="panel", y_in="panel")]
    x = Axis(
        "feature" if last else "",
        ticks=range(len(features)),
        labels=[str(f) for f in features],
        range=(-0.5, max(len(features), 1) - 0.5),
        grid=False,
        angle=-90,
        numbers=last,
    )
    y = Axis(
        ticks=range(len(slots)),
        labels=[isolated(visible(str(pieces[slot]))) for slot in slots],
        range=(max(len(slots), 1) - 0.5, -0.5),
        names=True,
    )
    return Panel(marks, x, y, LANGUAGE_NAME[lang], row)

"""Where on an image something is known to be: boxes around the person and the object, checked and never guessed.

Boxes are [left, top, right, bottom] in pixels of the upright image; in the table ``areas`` they are shares of its width
and height, which hold for any size that it is stored or seen at: models with a map of patches see the whole image, made
square, so that a share of the width is the same share of the map's columns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("person", "object")
BACKGROUND = "background"  # what lies in no box
MOST_BOXES = 100  # of one kind on an image
SLACK = 1.0  # pixels that a box may reach over the edge, by rounding
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Areas:
    """Boxes in pixels by kind, and the row of a table that they stand in ("" where they are in none)."""

    boxes: Mapping[str, tuple[Box, ...]]
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)


class Unusable(ValueError):
    """Areas that cannot be taken as they are written; ``reason`` is a key of core.samples.rows.KEPT."""

    def __init__(self, reason: str):
        self.reason = reason
        super().__init__(reason)


def read_areas(text: str, file: str = "", line: int = 0) -> Areas:
    """Areas of a cell, as {"person": [[10, 20, 110, 220]], "object": []}; raises Unusable."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise Unusable("areas_json") from e
    if not isinstance(tree, dict) or not tree:
        raise Unusable("areas_json")
    if not set(tree) <= set(KINDS):
        raise Unusable("areas_name")
    return Areas({kind: _boxes(tree[kind]) for kind in KINDS if tree.get(kind) != [] and kind in tree}, file, line)


def _boxes(value: Any) -> tuple[Box, ...]:
    if not isinstance(value, list) or len(value) > MOST_BOXES:
        raise Unusable("areas_json")
    return tuple(_box(one) for one in value)


def _box(value: Any) -> Box:
    if not isinstance(value, list) or len(value) != 4:
        raise Unusable("areas_json")
    if any(isinstance(v, str) and "%" in v for v in value):
        raise Unusable("areas_share")
    if any(isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) for v in value):
        raise Unusable("areas_json")
    left, top, right, bottom = map(float, value)
    if right <= left or bottom <= top:
        raise Unusable("areas_order")
    if min(value) >= 0 and max(value) <= 1:
        raise Unusable("areas_share")
    return left, top, right, bottom


def shares(areas: Areas, width: int, height: int) -> list[dict[str, Any]]:
    """Rows (kind, n, left, top, right, bottom) as shares of an image of this size; raises Unusable for boxes outside.

    What reaches over the edge by no more than SLACK is cut there.
    """
    rows = []
    for kind, boxes in areas.boxes.items():
        for n, (left, top, right, bottom) in enumerate(boxes):
            if min(left, top) < -SLACK or right > width + SLACK or bottom > height + SLACK:
                raise Unusable("areas_outside")
            cut = np.clip([left / width, top / height, right / width, bottom / height], 0.0, 1.0).tolist()
            if cut[2] <= cut[0] or cut[3] <= cut[1]:
                raise Unusable("areas_outside")
            rows.append({"kind": kind, "n": n, **dict(zip(("left", "top", "right", "bottom"), cut, strict=True))})
    return rows


def covered(boxes: Sequence[Box] | NDArray[np.float64], grid: tuple[int, int]) -> NDArray[np.float64]:
    """Share of each patch (rows * columns,), row-major, that lies in any of the boxes, which are shares of the image.

    Exact: edges of boxes and patches cut the image into cells, each wholly in a patch and wholly in or out of a box.
    """
    rows, columns = grid
    found = np.zeros(grid)
    if not len(boxes):
        return found.ravel()
    box = np.asarray(boxes, float).reshape(-1, 4)
    x = np.unique(np.concatenate([np.linspace(0, 1, columns + 1), box[:, [0, 2]].ravel().clip(0, 1)]))
    y = np.unique(np.concatenate([np.linspace(0, 1, rows + 1), box[:, [1, 3]].ravel().clip(0, 1)]))
    at_x, at_y = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
    in_x = (at_x >= box[:, :1]) & (at_x < box[:, 2:3])
    in_y = (at_y >= box[:, 1:2]) & (at_y < box[:, 3:])
    inside = (in_y[:, :, None] & in_x[:, None, :]).any(0)
    size = np.outer(np.diff(y), np.diff(x)) * rows * columns
    np.add.at(found, ((at_y * rows).astype(int)[:, None], (at_x * columns).astype(int)[None]), inside * size)
    return found.ravel().clip(0.0, 1.0)


def by_kind(rows: Sequence[Mapping[str, Any]], grid: tuple[int, int]) -> dict[str, NDArray[np.float64]]:
    """Share of each patch (n_patches,) that is person, object and background, from an image's rows of ``areas``.

    They sum to 1 on every patch: where boxes of both lie over each other it is the person's. A kind without a box is
    not in it, for nobody has said where it is, and without the person's nobody knows the background either.
    """
    boxes = {kind: [_edges(row) for row in rows if row["kind"] == kind] for kind in KINDS}
    found = {}
    if boxes["person"]:
        found["person"] = covered(boxes["person"], grid)
        either = covered(boxes["person"] + boxes["object"], grid)
        if boxes["object"]:
            found["object"] = either - found["person"]
        found[BACKGROUND] = 1.0 - either
    elif boxes["object"]:
        found["object"] = covered(boxes["object"], grid)
    return found


def _edges(row: Mapping[str, Any]) -> Box:
    return float(row["left"]), float(row["top"]), float(row["right"]), float(row["bottom"])

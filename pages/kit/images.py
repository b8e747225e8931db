"""Images of a run as one block of HTML, with patch heat maps that step aside on hover and on focus."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

from core.errors import UserError
from core.figures.palette import VIRIDIS, mix
from core.run import Run
from pages.kit import text

STEPS = 64  # of the colour scale of a heat map
HATCH = np.where(np.add.outer(range(8), range(8))[..., None] % 8 < 2, (255, 255, 255, 190), (96, 96, 96, 110))
"""An image token that the run does not keep: pixels (8, 8, rgba) of white stripes on a grey veil."""


@dataclass(frozen=True)
class GridItem:
    """One image of a grid; `caption_html` is HTML already, `badge` and `alt` are plain text.

    `heat` holds one activation an image token, row by row; `heat_max` is what counts as full.
    """

    sample_id: int
    caption_html: str = ""
    heat: Sequence[float] | None = None
    heat_max: float | None = None
    badge: str = ""
    href: str = ""
    alt: str = ""


def data_uri(run: Run, sample_id: int, full: bool = False) -> str:
    """A sample's thumbnail (or its image in full) as a data: address; UserError where the file is missing."""
    if full:
        found = sorted(run.path("images").glob(f"{int(sample_id):06d}.*"))
        path = found[0] if found else run.path("images", f"{int(sample_id):06d}")
    else:
        path = run.path("thumbs", f"{int(sample_id):06d}.jpg")
    try:
        return _data_uri(str(path), path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise UserError(
            f"The image of sample {sample_id} is missing.",
            f"There is no {path}.",
            "Prepare the run again: python -m precompute run with its preset.",
        ) from None


def file_uri(path: Path) -> str:
    """An image file of a run as a data: address."""
    return _data_uri(str(path), path.stat().st_mtime_ns)


@st.cache_data(max_entries=4000, show_spinner=False)
def _data_uri(path: str, version: int) -> str:
    with open(path, "rb") as file:
        kind = "png" if path.endswith(".png") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(file.read()).decode()}"


def heat_uri(values: Sequence[float], top: float, threshold: float = 0.0, shape: tuple[int, int] | None = None) -> str:
    """A heat map as a PNG of one pixel an image token: viridis, clear where the value is at or below `threshold`.

    With a NaN, which is where the run keeps no activation, 8 x 8 pixels a token, those hatched.

    `top` is the value of the last colour. `shape` is (rows, columns), by default square; ValueError where it does not
    fit the number of values.
    """
    given = np.asarray(values, dtype=float)
    array = np.nan_to_num(given)
    rows, columns = shape or (math.isqrt(array.size),) * 2
    if rows * columns != array.size:
        raise ValueError(f"{array.size} values do not fill {rows} x {columns} image tokens")
    share = np.clip(array / top, 0, 1) if top > 0 else np.zeros(array.size)
    colours = np.array(
        [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (mix(VIRIDIS, n / (STEPS - 1)) for n in range(STEPS))],
        np.uint8,
    )
    rgba = np.zeros((array.size, 4), np.uint8)
    rgba[:, :3] = colours[(share * (STEPS - 1)).round().astype(int)]
    rgba[:, 3] = np.where(array > threshold, 60 + 195 * np.sqrt(share), 0).astype(np.uint8)
    rgba[array <= 0, 3] = 0
    rgba = rgba.reshape(rows, columns, 4)
    if (unkept := np.isnan(given)).any():
        rgba = rgba.repeat(len(HATCH), 0).repeat(len(HATCH), 1)
        cells = unkept.reshape(rows, columns).repeat(len(HATCH), 0).repeat(len(HATCH), 1)
        rgba[cells] = np.tile(HATCH, (rows, columns, 1))[cells]
    out = io.BytesIO()
    Image.fromarray(rgba).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def tile_html(
    run: Run, item: GridItem, threshold: float = 0.0, shape: tuple[int, int] | None = None, full: bool = False
) -> str:
    """One image with its heat map, badge and caption as a figure; reachable by Tab where there is a heat map."""
    alt = escape(item.alt or f"sample {item.sample_id}")
    inner = f'<img src="{data_uri(run, item.sample_id, full)}" alt="{alt}" loading="lazy">'
    if item.heat is not None and len(item.heat):
        top = item.heat_max if item.heat_max else float(np.nanmax(item.heat))
        inner += f'<img class="cs-heat" src="{heat_uri(item.heat, top, threshold, shape)}" alt="">'
    if item.badge:
        inner += f'<span class="cs-badge">{escape(item.badge)}</span>'
    if item.href:
        frame = f'<a class="cs-frame" href="{escape(item.href)}" aria-label="{alt}">{inner}</a>'
    else:
        focus = ' tabindex="0"' if item.heat is not None else ""
        frame = f'<span class="cs-frame"{focus}>{inner}</span>'
    below = f"<figcaption>{item.caption_html}</figcaption>" if item.caption_html else ""
    return f'<figure class="cs-tile">{frame}{below}</figure>'


def grid_html(
    run: Run,
    items: Sequence[GridItem],
    columns: int = 6,
    opacity: float = 0.75,
    threshold: float = 0.0,
    shape: tuple[int, int] | None = None,
    full: bool = False,
) -> str:
    """A grid of images as HTML; `opacity` (0..1) and `threshold` (activation) are those of the heat maps."""
    tiles = "".join(tile_html(run, item, threshold, shape, full) for item in items)
    return (
        f'<div class="cs-grid" style="--cs-columns:{int(columns)};'
        f'--cs-heat-opacity:{min(max(opacity, 0), 1):.2f}">{tiles}</div>{_not_stored(items)}'
    )


def _not_stored(items: Sequence[GridItem]) -> str:
    """A line of HTML that says what the hatching in heat maps means; "" where all image tokens are there."""
    heats = [np.asarray(item.heat, dtype=float) for item in items if item.heat is not None and len(item.heat)]
    kept = next(((int((~np.isnan(h)).sum()), h.size) for h in heats if np.isnan(h).any()), None)
    if kept is None:
        return ""
    return (
        f'<p class="cs-small">Hatched: not stored. This run keeps {kept[0]} of the {kept[1]} tokens of an image, '
        "drawn at random (<code>activations.image_tokens</code>); nothing is said of the others.</p>"
    )


def grid(
    run: Run,
    items: Sequence[GridItem],
    columns: int = 6,
    opacity: float = 0.75,
    threshold: float = 0.0,
    shape: tuple[int, int] | None = None,
    full: bool = False,
) -> None:
    """Show a grid of images; `full` takes the images themselves instead of their thumbnails."""
    text.html(grid_html(run, items, columns, opacity, threshold, shape, full))

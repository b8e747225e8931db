"""Downloads of a figure and its data; a file is made when its button is pressed, not before, and says where it is from.

Figures hold their origin in their metadata and, by choice, in a line below; tables begin with a line of it, which is
passed over with ``pandas.read_csv(file, comment="#")`` or ``skiprows=1``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from core.figures.marks import Chart
from core.figures.origin import Origin
from pages.kit.origin import origin

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def downloads(
    name: str,
    frame: pd.DataFrame | Callable[[], pd.DataFrame],
    figure: Chart | Callable[[], Figure] | None = None,
    key: str = "",
) -> None:
    """A small "Download" menu: SVG, PDF and PNG of a chart or of what `figure()` gives, CSV of `frame`.

    `name` becomes the file name and, unless `key` is given, the key of the buttons; it must be unique on the page.
    """
    key, made = key or f"download-{name}", origin()  # of the page as it is now, not when the button is pressed
    with st.popover("Download", key=key, type="tertiary", icon=":material/download:"):
        if figure is not None:
            signed = st.checkbox("A line with run and address", key=f"{key}-signed", help=SIGNED)
            for kind in ("svg", "pdf", "png"):
                st.download_button(
                    kind.upper(),
                    _drawn(figure, kind, made, signed),
                    f"{name}.{kind}",
                    MIME[kind],
                    key=f"{key}-{kind}",
                    on_click="ignore",
                    width="stretch",
                )
        st.download_button(
            "CSV (the data)",
            lambda: _written(frame, made),
            f"{name}.csv",
            "text/csv",
            key=f"{key}-csv",
            on_click="ignore",
            width="stretch",
        )


SIGNED = "Below the figure; its metadata hold the same in any case."
FORMULA = "=+-@"
MIME = {"svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png"}


def _drawn(figure: Chart | Callable[[], Figure], kind: str, made: Origin, signed: bool) -> Callable[[], bytes]:
    def make() -> bytes:
        from core.figures import paper

        drawn = paper.draw(figure) if isinstance(figure, Chart) else figure()
        return paper.render(drawn, kind, origin=made, signed=signed)

    return make


def _written(frame: pd.DataFrame | Callable[[], pd.DataFrame], made: Origin) -> bytes:
    data = frame() if callable(frame) else frame
    return csv(data, replace(made, n=len(data)))


def csv(frame: pd.DataFrame, origin: Origin | None = None) -> bytes:
    """A frame as CSV with a byte order mark, without which spreadsheets garble Arabic; ``origin`` is a line above it.

    A cell that a spreadsheet would take for a formula (it begins with = + - @) is kept as text by a leading quote.
    """
    safe = frame.copy()
    for column in safe.columns:
        if safe[column].dtype == object or pd.api.types.is_string_dtype(safe[column]):
            safe[column] = [
                f"'{v}" if isinstance(v, str) and len(v) > 1 and v[0] in FORMULA else v for v in safe[column]
            ]
    above = "" if origin is None else f"# {' '.join(origin.line.split())}\n"
    return (above + safe.to_csv(index=False)).encode("utf-8-sig")

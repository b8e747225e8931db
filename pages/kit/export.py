"""Downloads of a figure and its data; a file is made when its button is pressed, not before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from core.figures.marks import Chart

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
    key = key or f"download-{name}"
    with st.popover("Download", key=key, type="tertiary", icon=":material/download:"):
        if figure is not None:
            for kind in ("svg", "pdf", "png"):
                st.download_button(
                    kind.upper(),
                    _drawn(figure, kind),
                    f"{name}.{kind}",
                    MIME[kind],
                    key=f"{key}-{kind}",
                    on_click="ignore",
                    width="stretch",
                )
        st.download_button(
            "CSV (the data)",
            lambda: csv(frame() if callable(frame) else frame),
            f"{name}.csv",
            "text/csv",
            key=f"{key}-csv",
            on_click="ignore",
            width="stretch",
        )


FORMULA = "=+-@"
MIME = {"svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png"}


def _drawn(figure: Chart | Callable[[], Figure], kind: str) -> Callable[[], bytes]:
    def make() -> bytes:
        from core.figures import paper

        return paper.render(paper.draw(figure) if isinstance(figure, Chart) else figure(), kind)

    return make


def csv(frame: pd.DataFrame) -> bytes:
    """A frame as CSV with a byte order mark, without which spreadsheets garble Arabic.

    A cell that a spreadsheet would take for a formula (it begins with = + - @) is kept as text by a leading quote.
    """
    safe = frame.copy()
    for column in safe.columns:
        if safe[column].dtype == object or pd.api.types.is_string_dtype(safe[column]):
            safe[column] = [
                f"'{v}" if isinstance(v, str) and len(v) > 1 and v[0] in FORMULA else v for v in safe[column]
            ]
    return safe.to_csv(index=False).encode("utf-8-sig")

"""The line that says for how many captions a figure's pairs of spellings speak."""

from __future__ import annotations

from html import escape

from core.answers.coverage import coverage_answer, coverage_line
from core.run.reader import Catalog
from pages.kit import text


def line(cat: Catalog) -> None:
    """Coverage by language; of a run without it, what to do."""
    if not cat.has("contrasts"):
        said = "For how many captions this speaks was not measured: compute the stage words of this run again."
    else:
        said = coverage_line(coverage_answer(*cat.coverage()))
    text.html(f'<p class="cs-small">{escape(said)}</p>')

"""The line that says how far the policy for the generic masculine decides, on every page that rests on labels."""

from html import escape

from core.answers.policy import COMMAND, labels_line
from core.run import Run
from core.run.reader import Catalog
from pages.kit import text


def show_labels_line(run: Run, cat: Catalog, of: str = "image") -> None:
    """How many labels of images (or of own captions) differ under the other policies; nothing in a run without them."""
    if cat.has("label_policies"):
        show_line(labels_line(cat.frame("label_policies"), run.config().words.generic_masculine, cat.languages, of))


def show_line(line: str) -> None:
    """One small line, or none where it is empty."""
    if line:
        shown = escape(line).replace(COMMAND, f'<code style="white-space:nowrap">{COMMAND}</code>')
        text.html(f'<p class="cs-small"><bdi>{shown}</bdi></p>')

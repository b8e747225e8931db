"""What the model itself says a feature is: its captions of an empty image with the feature turned up."""

from __future__ import annotations

from core.answers.explain import fits_answer
from core.catalog import Catalog
from pages.kit import export, gender_panel, text

WHAT = "its caption of an empty grey image with this feature turned up; bold: what fits training images best"


def panel(cat: Catalog, layer: int, feature: int) -> None:
    """The texts in both languages at every strength, and how well the chosen ones fit the images that fire it."""
    if not cat.has("explanations"):
        return
    text.heading("What the model says it is", WHAT)
    rows = cat.explanations(layer, feature)
    if rows.empty:
        text.html(
            '<p class="cs-small">The model has not been asked about this feature: the run asks about those that '
            'tell most about gender first <span class="cs-sure few">not enough data</span></p>'
        )
        return
    body = []
    for lang, of_lang in rows.groupby("lang", sort=False):
        lines = []
        for row in of_lang.to_dict("records"):
            said = text.caption_html(row["text"], str(lang))
            same = "" if row["changed"] else ", as without it"
            weight = "font-weight:600" if row["chosen"] else ""
            lines.append(
                f'<div style="{weight}"><p class="cs-small" style="margin:0">turned up {row["strength"]:g} × '
                f"p99.9{same}</p>{said}</div>"
            )
        body.append(text.side(str(lang), "".join(lines)))
    text.html("".join(body))
    gender_panel.said(fits_answer(rows[rows["chosen"]]))
    export.downloads(f"layer-{layer}-feature-{feature}-said", rows)

"""How well the run's SAEs fit it, at image, question and caption positions, and where not to read them."""

from __future__ import annotations

from html import escape

from core.answers import sae_fit as sae_fit_answers
from core.figures import sae_fit
from core.runs import Run
from pages.kit import panels, runs, states, text

METHOD = """
On held-out images, at each kind of position apart. **Explained variance**: 1 − Σ|x − x′|² / Σ|x − mean|², the mean
being that of the same tokens; 0 is the mean itself. **Loss recovered**: the dictionary’s x′ is put in the place of x at
positions of one kind alone, and the model scores the caption that it wrote; 1 is the model left as it is, 0 is the mean
in its place. **Control** (grey): an untrained dictionary of as many features, as many of them active a token. Later
layers read directions more than lengths, so that loss recovered may be high even for it: what counts is the distance.
Intervals: 95 %, bootstrap over images. See docs/saes.md and docs/methods.md; data: sae_fit.parquet.
"""


def show(run: Run) -> None:
    """The panel, where the run's SAEs have been measured."""
    cat = runs.catalog(run)
    if not cat.has("sae_fit"):
        return
    saes, fit = cat.saes(), cat.sae_fit()
    answer, frame = sae_fit_answers.fit_answer(saes, fit), sae_fit.fit_frame(fit)
    note = f"{sae_fit_answers.origin(saes)} {answer.text} Grey: untrained."
    panels.panel(
        "How well do these SAEs fit this data?",
        note,
        f"{run.name}-sae-fit",
        frame,
        sae_fit.fit_figure(frame),
        answer.text,
        shown=len(frame) > 0,
        key="figure-sae-fit",
    )
    warned = sae_fit_answers.cautions(fit)
    if warned:
        states.box(warned)
    rows = [
        [
            str(r["layer"]),
            escape(r["source"]),
            escape(r["trained_on"] or ""),
            escape(r["architecture"]),
            f"{r['d_sae']:,}",
            f"{r['l0']:.1f}",
            f"{r['dead_share']:.0%}",
        ]
        for r in saes.to_dict("records")
    ]
    head = ["Layer", "From", "Trained on", "Kind", "Features", "Active a token", "Never active"]
    text.html(text.table(head, rows, numeric=(0, 4, 5, 6)))
    text.method(METHOD)

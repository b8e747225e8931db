"""What this run is, in plain words, and what it answers so far."""

import math
from html import escape

import pandas as pd
import streamlit as st

from core.config import LANGUAGE_NAME
from core.frames import tuples
from core.run import Manifest, Run
from core.run.reader import Catalog
from core.samples.sources import knowledge
from pages.kit import links, nulls, pipeline, policy, runs, text
from pages.kit.images import GridItem, grid
from pages.look.overview_questions import Question, listed, questions

N_STRIP = 6


def what(manifest: Manifest, cat: Catalog, n_samples: int) -> str:
    """The run in two sentences, from its manifest and tables."""
    config = manifest.config
    model = str(config["model"]["name"]).rstrip("/").rsplit("/", 1)[-1]
    tongues = listed([f"in {LANGUAGE_NAME[lang]}" for lang in cat.languages])
    if not n_samples:
        does = "read descriptions of" if cat.captions_given else "describe"
        return f"The model {model} is going to {does} images {tongues}; nothing is computed yet."
    verbs = ("described", "is going to describe")
    if cat.captions_given:
        verbs = ("read descriptions of", "is going to read descriptions of")
    verb = verbs[0] if cat.has("captions") else verbs[1]
    world = knowledge(cat.config().samples).world_name
    world = f" of {world}" if world else ""
    said = f"The model {model} {verb} {n_samples:,} images{world} {tongues}."
    layers = cat.layers()
    if layers:
        sizes = sorted({int(d) for d in cat.saes()["d_sae"]})
        each = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        names = f"layer{'s' if len(layers) > 1 else ''} {listed([str(n) for n in layers])}"
        does = "read" if cat.captions_given else "wrote"
        said += (
            f" While it {does}, its {names} were recorded, and a dictionary of {each} features was learned for each."
        )
    return said


def strip(run: Run, cat: Catalog) -> None:
    """A few images, of different genders where that is known, with both captions."""
    frame = cat.samples(limit=400)
    frame["turn"] = frame.groupby("gender").cumcount()
    frame = frame.sort_values(["turn", "gender"]).head(N_STRIP)
    own = cat.captions(frame["sample_id"].tolist()) if cat.has("captions") else pd.DataFrame(columns=["sample_id"])
    items = []
    for sample_id in frame["sample_id"].astype(int):
        lines = own[own["sample_id"] == sample_id]
        caption = "".join(
            text.caption_html(t, lang, text.gender_marks(t, lang))
            for t, lang in zip(lines.get("text", []), lines.get("lang", []), strict=True)
        )
        items.append(GridItem(sample_id, caption, href=links.href("samples", sample=sample_id)))
    grid(run, items, N_STRIP)
    if items and cat.layers():
        text.html(
            '<p class="cs-small">Open an image and point at a part of it or at a word of its captions: the page names '
            f'the features that fire there. <a href="{escape(items[0].href)}">See what fires on the first image</a></p>'
        )


def card(q: Question) -> str:
    """One question with its answer or the way to it."""
    answer = ""
    if q.answer:
        sure = f" {text.sure_mark(q.sure)}" if q.sure else ""
        note = f'<p class="cs-small cs-rate">{escape(q.note)}</p>' if q.note else ""
        answer = f"<p>{escape(q.answer)}{sure}</p>{note}"
    return (
        f'<section class="cs-card{"" if q.answer else " waiting"}"><h3>{escape(q.title)}</h3>{answer}'
        f'<p class="cs-small">{escape(q.missing)}</p>'
        f'<a href="{escape(links.href(q.page, **q.state))}">{escape(q.link)}</a></section>'
    )


def share(value: float) -> str:
    """A share in percent; a dash where it could not be measured."""
    return f"{value:.1%}" if value == value else "–"


def quality(saes: pd.DataFrame, untrained: dict[int, float]) -> str:
    """One line a layer: how well the features stand for it, each figure beside its control; ``untrained``: the loss
    that a dictionary recovers which has not been trained."""
    rows = [
        [
            f"{int(s.layer)}",
            share(s.explained_variance),
            share(getattr(s, "explained_variance_median", math.nan)),
            share(getattr(s, "explained_variance_random", math.nan)),
            share(s.loss_recovered),
            share(untrained.get(int(s.layer), math.nan)),
            f"{s.ce_clean:.2f} → {s.ce_spliced:.2f}",
            f"{s.ce_ablated:.2f}",
            share(s.dead_share),
            f"{s.l0:.0f} of {int(s.d_sae):,}",
            f"{int(s.n_test_tokens):,}",
        ]
        for s in tuples(saes)
    ]
    head = [
        "Layer",
        "Explained variance",
        "Middle token",
        "Untrained",
        "Loss recovered",
        "Untrained",
        "Loss → rebuilt",
        "Its average",
        "Dead",
        "Active at once",
        "Test tokens",
    ]
    return text.table(head, rows, numeric=range(11))


def trust_note() -> str:
    """What the columns of the quality table mean, each with its zero."""
    variance, loss = text.term("Explained variance"), text.term("Loss recovered")
    return (
        f'<p class="cs-small">On images that were not used for learning. {variance}: 0% is no more than the '
        "average; beside both what a dictionary reaches that has not been trained. "
        f"{loss}: 100% is as well as the model itself, 0% as badly as with the layer’s average in its place. "
        f"{text.term('Dead', 'Dead features')} never respond.</p>"
    )


def main() -> None:
    run = runs.current_run()
    manifest, cat = run.manifest(), runs.catalog(run)
    n_samples = cat.n_samples() if cat.has("samples") else 0
    text.page_title(
        "What goes on in a model while it writes “he” or “she”?",
        what(manifest, cat, n_samples),
        eyebrow=f"Run {run.name}",
    )
    progress = run.progress()
    if progress and progress["state"] == "running":
        text.html(
            f'<p><b>Still being computed.</b> <a href="{links.href("status")}">See how far it is</a></p>'
            + pipeline.steps_html(progress["stages"])
        )
    if n_samples:
        strip(run, cat)
        source = knowledge(cat.config().samples)
        if source.planted is not None:
            kind = "was" if source.planted else "was not"
            text.html(
                f'<p class="cs-small">{source.looks_like} On images that show no gender, a bias {kind} '
                f"{text.term('planted')}. Underlined: <mark class='cs-mark female'>words for women</mark>, "
                "<mark class='cs-mark male'>for men</mark>, <mark class='cs-mark neutral'>neutral</mark>, "
                "<mark class='cs-mark unmarked'>generic masculine</mark>.</p>"
            )
    text.heading("Five questions, and what this run says")
    text.html(f'<div class="cs-cards">{"".join(card(q) for q in questions(run))}</div>')
    policy.show_labels_line(run, cat)
    if cat.has("saes"):
        text.heading("How far the features can be trusted")
        fit = cat.sae_fit() if cat.has("sae_fit") else pd.DataFrame(columns=["layer", "kind", "lang"])
        fit = fit[(fit["kind"] == "all") & (fit["lang"] == "both")]
        untrained = {} if fit.empty else dict(zip(fit["layer"], fit["loss_recovered_random"], strict=True))
        text.html(quality(cat.saes(), untrained))
        text.html(trust_note())
        if cat.has("sae_quality"):
            with st.expander("What are they worth beyond that, beside a random dictionary?"):
                nulls.quality(cat)
        text.method(METHOD)


METHOD = """
- The model first writes its own captions, greedily. One further pass over image, prompt and caption records the layers.
- One sparse autoencoder per layer (its kind and size stand under Provenance) is trained on the places of all
  captions together, so that with two languages a feature means the same in English and in Arabic.
- Explained variance is $1 - \\lVert x - \\hat x \\rVert^2 / \\lVert x - \\bar x \\rVert^2$ over test places.
- Loss recovered is $(L_{average} - L_{rebuilt}) / (L_{average} - L_{model})$, where $L$ is the loss on the model's own
  captions, and average puts the mean of the training places in the place of the layer.
- A caption names a gender if all its gendered words, whole words of the lexicons in `core/words`, are of that gender.
  Intervals are Clopper and Pearson's 95% over images. Chance for agreement pairs the captions of different images.
- Everything is split by image. Settings, versions and files: see Provenance.
"""

main()

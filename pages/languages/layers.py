"""At which layer gender can be read, in English and in Arabic, and whether what is read in one holds in the other."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from core.answers import layers as layers_answers
from core.answers.nulls import layers_answer
from core.config import LANGUAGE_NAME, only_language
from core.figures import layers, nulls, vision
from core.frames import records
from core.run.reader import Catalog
from pages.kit import coverage, export, panels, pickers, policy, runs, states, text
from pages.languages import layers_caption

QUESTION = "Where does gender appear?"
WHERE = {
    "Everywhere": "",
    "Image": "image",
    "Question’s end": "prompt",
    "Before the word": "before",
    "Caption": "caption",
}
MEASURES = {"AUC": "auc", "Balanced accuracy": "balanced_accuracy"}
LENS_WHERE = {"Where the gender is written": "word", "Just before the caption": "prompt"}
METHODS = {"probe": "probe", "lens": "next word"}


def main() -> None:
    run = runs.current_run()
    cat = runs.catalog(run)
    if not cat.has("emergence"):
        text.page_title(QUESTION)
        runs.needs(run, "layers")
    probes, lens, emergence = cat.probes(), cat.lens(), cat.emergence()
    answer = layers_answers.layers_answer(probes, emergence)
    text.page_title(QUESTION, answer.text, answer.sure, note=answer.note)
    if one := layers_caption.asked():
        layers_caption.caption(run, cat)
    with st.container(horizontal=True, vertical_alignment="bottom", key="pickers"):
        place = WHERE[pickers.choice("Read", list(WHERE), "where", "At which positions the probe reads the model.")]
        lang = pickers.language_picker(cat.languages)
        measure = MEASURES[pickers.choice("Measure", list(MEASURES), "measure", MEASURE_HELP)]
    by_layer(probes, lens, emergence, place, lang, measure)
    if not one:
        layers_caption.caption(run, cat)
    before_the_language_model(probes, measure)
    exchanged(cat)
    beside_random(cat, "caption" if place == "caption" else "before")
    first(emergence)
    transfer(cat, probes, measure)
    next_word(cat, emergence)
    policy.show_labels_line(run, cat)
    text.method(METHOD)


def by_layer(
    probes: pd.DataFrame, lens: pd.DataFrame, emergence: pd.DataFrame, place: str, lang: str, measure: str
) -> None:
    """Probes above, the logit lens below, each with its control."""
    langs = (lang,) if lang else ("en", "ar")
    curves, below = layers.probe_curves(probes, measure, langs), layers.lens_curves(lens, langs)
    curves = curves[curves["place"] == place] if place else curves
    bare = probes[(probes["view"] == "pixels") & (probes["measure"] == measure)]["value"].dropna()
    pixels = float(bare.iloc[0]) if len(bare) else None
    data = pd.concat([curves.assign(method="probe", measure=measure), below.assign(method="lens", measure="auc")])
    panels.panel(
        "Layer by layer",
        "bars: 95 % intervals over images; grey: the control; ring: the first layer whose interval leaves it",
        f"layers-{measure}",
        data,
        layers.layers_figure(curves, below, emergence, measure, pixels),
        f"Probe {layers.MEASURES[measure]} and logit lens AUC by layer",
        shown=len(curves) > 0,
        key="layers",
    )
    if curves.empty:
        why = next((w for w in probes["why"] if w), "The probes have nothing here.")
        states.empty(
            "There is not enough data for this figure.",
            f"{why[:1].upper()}{why[1:]}.",
            "Take a run with more images of women and of men.",
        )


def before_the_language_model(probes: pd.DataFrame, measure: str) -> None:
    """The same probe in the vision tower and in the image tokens as they enter the decoder."""
    frame, answer = vision.vision_frame(probes, measure), layers_answers.vision_answer(probes)
    panels.panel(
        "Before the language model begins",
        "the same probe, images and control in the vision tower, behind the projector, and at the image tokens",
        f"layers-vision-{measure}",
        frame,
        vision.vision_figure(frame, measure),
        answer.text,
        shown=bool(frame["view"].isin(("tower", "projector")).any()),
        key="vision",
    )
    text.said(answer, "cs-small")


def exchanged(cat: Catalog) -> None:
    """What becomes of the gendered word when image tokens are exchanged, whole or along one direction."""
    rows = cat.frame("image_exchange") if cat.has("image_exchange") else pd.DataFrame()
    if rows.empty:
        return
    answer = layers_answers.exchange_answer(rows)
    known = rows.dropna(subset=["share"])
    panels.panel(
        "Does the word come from there?",
        "image tokens exchanged for those of an image of the other gender that is most alike else",
        "layers-exchange",
        rows,
        vision.exchange_figure(known),
        answer.text,
        shown=len(known) > 0,
        key="exchange",
    )
    text.said(answer, "cs-small")


def beside_random(cat: Catalog, view: str) -> None:
    """The same probe on the model with weights drawn at random: what of gender passes through any network."""
    if not cat.has("null_layers") or not len(rows := nulls.layers_frame(cat.frame("null_layers"), view)):
        text.heading("Is it more than random weights give?")
        states.empty(
            "The model with random weights has not been read in this run.",
            "What images and words say of gender passes through any network.",
            "It is part of the stage nulls: python -m precompute run PRESET --until nulls",
        )
        return
    answers = [layers_answer(rows, lang, view) for lang in dict.fromkeys(rows["lang"])]
    panels.panel(
        "Is it more than random weights give?",
        "grey: the same probe, images and words in the model with every matrix drawn at random",
        f"layers-random-{view}",
        rows,
        nulls.random_weights_figure(rows),
        answers[0].text,
        key="random",
    )
    for answer in answers:
        text.said(answer, "cs-small")


def first(emergence: pd.DataFrame) -> None:
    """The first layers as a table."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(width="stretch"):
            text.heading(
                "The first layer",
                "whose held-out AUC leaves chance and its control, with its interval and "
                "at a false discovery rate of 5 % over all layers, places and languages",
            )
        export.downloads("layers-emergence", emergence)
    rows, reasons = [], []
    for row in layers_answers.emergence_rows(emergence):
        where = (layers.PLACES if row["method"] == "probe" else layers.LENS_PLACES)[row["position"]]
        asked = [METHODS[row["method"]], where.removeprefix("next word, "), LANGUAGE_NAME[row["lang"]]]
        seen = f"n = {row['n_images']:,}"
        if not row["first"]:
            reasons.append(f"{', '.join(asked)}: {row['why']}")
        cells = [
            *asked,
            row["first"] or "not enough data",
            row["shown"],
            row["against"],
            row["held"],
            seen,
        ]
        rows.append([escape(cell) for cell in cells])
    head = ["Read by", "Where", "Language", "First layer", "AUC there", "Control", "Layers above that hold", "Images"]
    text.html(text.table(head, rows, numeric=(3, 4, 5, 6, 7)))
    why = f" Not enough data: {escape('; '.join(reasons))}." if reasons else ""
    text.html(
        '<p class="cs-small">≤: it is the lowest layer that was recorded; gender may have been there before. '
        f"* Over the whole caption the probe reads the gendered words themselves, so it says little.{why}</p>"
    )


def transfer(cat: Catalog, probes: pd.DataFrame, measure: str) -> None:
    """Probes trained in one language and tested in the other, on images that neither saw."""
    if only_language(cat.languages):
        text.heading("From one language to the other")
        states.one_language(cat.languages, "A probe cannot be carried from one language to another.")
        return
    curves, answer = layers.transfer_curves(probes, measure), layers_answers.transfer_answer(probes)
    panels.panel(
        "From one language to the other",
        answer.text,
        f"layers-transfer-{measure}",
        curves,
        layers.transfer_figure(curves, measure),
        answer.text,
        shown=len(curves) > 0,
        key="transfer",
    )
    if probes["shared"].astype(bool).any():
        text.html(
            '<p class="cs-small">At the image there is nothing to transfer: the question comes after it, so '
            "the model’s states there are the same in both languages.</p>"
        )


def next_word(cat: Catalog, emergence: pd.DataFrame) -> None:
    """What the layer would write next: log-odds by what the image shows, and how near the word that was written is."""
    text.heading("If the model spoke at this layer", layers_answers.lens_answer(emergence).text)
    coverage.line(cat)
    left, right = st.columns([1.25, 1], gap="large")
    with left:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            position = LENS_WHERE[pickers.choice("Next word", list(LENS_WHERE), "position")]
            lang = pickers.language_picker(cat.languages, "in", both=False, label="In")
        lens = cat.lens(position, lang)
        curves, name = layers.difference_curves(lens, position, lang), f"layers-lens-{position}-{lang}"
        panels.panel(
            "A word for a woman, or for a man",
            "how much likelier the one is than the other, by what the image shows",
            name,
            curves,
            layers.difference_figure(curves),
            "Log-odds of a word for a woman over one for a man, by layer",
            shown=len(curves) > 0,
            key="lens",
        )
        if curves.empty:
            why = next((w for w in lens["why"] if w), "it was not measured")
            states.empty("There is not enough data for this figure.", f"{why[:1].upper()}{why[1:]}.")
    with right:
        words(lens, name)


def words(lens: pd.DataFrame, name: str) -> None:
    known = lens.dropna(subset=["first"])
    if known.empty:
        return
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(width="stretch"):
            n = int(known[["n_female", "n_male", "n_neutral"]].iloc[0].sum())
            text.heading("How near the written word is", f"its rank at each layer; n = {n} held-out captions")
        export.downloads(f"{name}-words", lens)
    rows = [
        [
            f"{r['layer']}{'' if r['recorded'] else ' (model’s output)'}",
            f"{r['first']:.0%} [{r['first_low']:.0%}, {r['first_high']:.0%}]",
            f"{r['rank_median']:,.0f}",
            f"{r['entropy']:.2f} [{r['entropy_low']:.2f}, {r['entropy_high']:.2f}]",
        ]
        for r in records(known)
    ]
    head = ["Layer", "Ranks first", "Median rank", "Entropy, bits"]
    text.html(text.table(head, rows, numeric=(0, 1, 2, 3)))
    one = known.iloc[0]
    text.html(
        f'<p class="cs-small">Compared are {one["n_pairs"]} different pairs of words; '
        f"they speak for {one['covered']:.0%} of the captions that name a gender.</p>"
    )


MEASURE_HELP = "AUC: how often an image of a woman scores higher than one of a man; 0.5 is chance, 1 is always."
METHOD = """
**Probe.** A logistic regression on one layer's mean residual over the named positions tells images of women from
those of men: standardised, L2, five folds by image; no image is scored by a probe that saw it in either language.
**Control task** (Hewitt and Liang 2019, arXiv 1909.03368): the same probe on arbitrary labels, one for each type of
image, the same in training and held-out images, so that it can be learned by heart. A type is what is annotated
(object × background in the demo), else the rarest word of people’s captions that at least five images share.
**Selectivity**: the probe’s AUC less the control’s. A control near 1 says that the layer holds the types so plainly
that a probe can read any labels of them. Grey: its 95 % interval over images and draws.
**Before the language model**: the mean over the image's tokens of what layers of the vision tower give, and of the
image tokens as the projector hands them over; once an image, for no question has come in yet.
**Logit lens** (nostalgebraist 2020): the model's own final norm and unembedding on single residuals of held-out
images, log-odds = logit of the woman's spelling − logit of the man's, at the token at which the first gendered word
and its counterpart part; where one of them ends there, all tokens that end a word are summed. Before the caption,
where no word has been begun: the words that the vocabulary holds whole. It learns nothing. Grey: what other words of
the same captions give in 95 of 100 draws, or what the choice of words tells by itself, whichever is more. **First
layer**: the interval lies above chance and control, and Benjamini and Hochberg's q ≤ 0.05. A probe shows what can be
read, not what the model uses: steering tests that. **One caption**: the same lens at every layer of the model and every
token, before which it is read; ranked are the tokens that a caption may hold. A word counts as preferred from the first
layer on from which, up to the last, it leads its counterpart and does so by more than at 95 % of the held-out captions
that say the other gender, read where they say it. At patches the words are those behind
the patch. Settings and versions: page Provenance.
"""

main()

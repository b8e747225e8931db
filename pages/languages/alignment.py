"""Do English and Arabic share what they know? Features, directions and gender effects, between chance and ceiling."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from core.answers import alignment as alignment_answers
from core.config import LANGUAGE_NAME, only_language
from core.figures import alignment, overlap
from core.figures.alignment import CLASSES, SHARING
from core.figures.feature import is_word, visible
from core.frames import records
from core.intervals import told
from core.run import Run
from core.run.reader import Catalog
from pages.kit import export, nulls, panels, pickers, policy, runs, states, text
from pages.kit.examples import feature_link, layer_features
from pages.kit.gallery import preview

QUESTION = "Do English and Arabic share what they know?"
READ = {"Before the first gendered word": "before", "Whole caption": "caption"}
N_LISTED = 12


def main() -> None:
    run = runs.current_run()
    if only_language(run.languages):
        text.page_title(QUESTION, "English and Arabic cannot be compared in this run.", "not enough data")
        states.one_language(
            run.languages,
            "What the two share, and which features are of one alone, takes captions of the same images in both.",
        )
        return
    runs.needs(run, "train", title=QUESTION)
    cat = runs.catalog(run)
    if not cat.has("alignment"):
        text.page_title(QUESTION)
        runs.needs(run, "crosslingual")
    residuals = cat.alignment()
    why = alignment_answers.missing_words(residuals)
    if why:
        text.page_title(QUESTION, "English and Arabic cannot be compared in this run.", "not enough data")
        states.empty(
            "This run has hardly any image with a caption of the model in both languages.",
            f"{why}.",
            "Compute a run with captions in both languages.",
        )
        return
    head = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom", key="pickers"):
        with st.container(width=96):
            layer = pickers.layer_picker(cat)
        view = READ[pickers.choice("Read", list(READ), "when", "Which words of the caption are averaged over.")]
    scores, classes = cat.frame("clbas"), cat.language_classes()
    curves = alignment.curves(residuals, cat.frame("gender_directions"), scores, view)
    with head:
        answer = alignment_answers.alignment_answer(curves, classes, layer, view)
        text.page_title(QUESTION, answer.text, answer.sure, note=answer.note)
    panels.panel(
        "Between chance and ceiling",
        "grey: where nothing is to be found; dotted: what one language reaches "
        "with itself; blue: English, orange: Arabic, by way of the other",
        f"alignment-{view}",
        curves,
        alignment.curves_figure(curves, layer),
        "Six measures of what the languages share, by layer",
        key="curves",
    )
    nulls.others(cat, layer, view)
    panels.panel(
        "One dictionary for both languages: whose are its features?",
        alignment_answers.classes_note(classes),
        "language-classes",
        classes,
        alignment.classes_figure(classes),
        "Features by language class and layer",
        key="classes",
    )
    gender_features(run, cat, layer, view)
    strongest(cat, layer, view)
    score_card(scores, layer, view)
    earlier(cat, layer, view)
    nulls.alignment_line(cat, layer, view)
    apart(cat, scores, layer)
    grammar(cat, layer)
    policy.show_labels_line(run, cat)
    text.method(METHOD)


def gender_features(run: Run, cat: Catalog, layer: int, view: str) -> None:
    """Gender features by effect in either language, and the list of them with links."""
    frame = cat.shared_gender(layer, view)
    answer = alignment_answers.sharing_answer(frame)
    text.heading("Which gender features are shared?", answer.text)
    if frame.empty:
        return
    left, right = st.columns([1, 1.7], gap="medium")
    with left:
        chart = alignment.sharing_figure(frame)
        panels.figure(chart, answer.text, key="sharing")
        export.downloads(f"shared-gender-{layer}-{view}", frame, chart)
    with right:
        kind = pickers.choice("Show", ["All", "Shared", "One language"], "kind")
        wanted = {"All": list(SHARING), "Shared": ["shared"], "One language": ["english", "arabic"]}[kind]
        listed = frame[frame["sharing"].isin(wanted)].head(N_LISTED)
        if listed.empty:
            states.empty("There is none at this layer.", "The figure beside shows what was tested.")
            return
        rows = [
            [
                feature_link(layer, int(f["feature"])),
                named(f),
                f"{effect(f, 'en')}<br>{effect(f, 'ar')}",
                f"{SHARING[f['sharing']]}<br>fires: {CLASSES.get(str(f.get('language_class')), 'unknown')}",
            ]
            for f in records(listed)
        ]
        head = ["Feature", "Words", "Effect, women − men", "Tells women from men"]
        text.html(text.table(head, rows, numeric=(0,)))
    shown = layer_features(run, layer)
    for title, kinds in (("Shared", ("shared",)), ("One language only", ("english", "arabic"))):
        strongest = frame.loc[frame["sharing"].isin(kinds), "feature"]
        text.html(f'<p class="cs-small">{title}, the clearest of this layer{"" if len(strongest) else ": none"}</p>')
        if len(strongest):
            preview(run, cat, shown[shown["feature"] == int(strongest.iloc[0])].iloc[0], layer)


def strongest(cat: Catalog, layer: int, view: str) -> None:
    """Of the k features that tell gender best, how many are the same in both languages; k is chosen."""
    rows = cat.frame("feature_overlap", layer=layer, view=view) if cat.has("feature_overlap") else pd.DataFrame()
    if rows.empty:
        return
    ks = sorted(int(k) for k in rows["k"])
    at = 25 if 25 in ks else ks[-1]
    k = int(st.select_slider("Features of each language, k", ks, value=at, key="k", bind="query-params", width=320))
    answer = alignment_answers.overlap_answer(rows, k)
    panels.panel(
        "Are the features that tell gender best the same?",
        "each language ranks them on other images; grey: labels shuffled, dotted: one language with itself",
        f"feature-overlap-{layer}-{view}",
        rows,
        overlap.overlap_figure(rows, k),
        answer.text,
        key="overlap",
    )
    text.said(answer, "cs-small")


def earlier(cat: Catalog, layer: int, view: str) -> None:
    """The earlier study's formulas, folded, each beside what it gives where there is nothing and where all is one."""
    rows = cat.frame("earlier_scores", layer=layer, view=view) if cat.has("earlier_scores") else pd.DataFrame()
    if rows.empty:
        return
    with st.expander("Formulas of the earlier study"):
        head = ["Formula", *alignment_answers.EARLIER_CASES.values(), "What it shows"]
        lines = [[escape(cell) for cell in line] for line in alignment_answers.earlier_table(rows)]
        text.html(text.table(head, lines))
        export.downloads(f"earlier-scores-{layer}-{view}", rows)


def score_card(scores: pd.DataFrame, layer: int, view: str) -> None:
    """CLBAS beside other scores of that name, with what each gives when there is nothing to find."""
    here = scores[(scores["layer"] == layer) & (scores["view"] == view)]
    table = alignment_answers.control_rows(here[here["dictionary"] == "shared"])
    text.heading(
        "One number for it: CLBAS, and what such numbers say when there is nothing to find",
        "0: effects unrelated or mere noise; over its ceiling 1: equal. Where the last column says no, shuffled labels "
        "or effects at random reach what this run has",
    )
    if table.empty:
        states.empty("There is not enough data for a score.", str(here["why"].iloc[0]) if len(here) else "")
        return
    head = [name for name in table.columns if name != "score"]
    rows = [[escape(str(row[name])) for name in head] for row in records(table)]
    text.html(text.table(head, rows))
    export.downloads(f"clbas-{layer}-{view}", here)


def apart(cat: Catalog, scores: pd.DataFrame, layer: int) -> None:
    """Dictionaries trained on one language each, matched."""
    frame = pd.concat([cat.alignment("activation"), cat.alignment("decoder")], ignore_index=True)
    layers = sorted(frame["layer"].unique())
    shown = layer if layer in layers else (layers[0] if layers else None)
    if shown is None:
        return
    frame = alignment.matches_frame(frame, shown)
    fit = cat.frame("language_saes", layer=int(shown))
    score = scores[(scores["layer"] == shown) & (scores["dictionary"] == "separate")]
    note = alignment_answers.apart_note(fit, score, int(shown))
    panels.panel(
        "Dictionaries trained apart: do they find the same features?",
        note,
        f"matches-{shown}",
        frame,
        alignment.matches_figure(frame),
        note,
        key="matches",
    )


def grammar(cat: Catalog, layer: int) -> None:
    """Grammatical gender of words for things against the gender of the person."""
    frame = cat.grammatical_gender(layer)
    answer = alignment_answers.grammar_answer(cat.grammatical_counts(), frame, layer)
    panels.panel(
        "Arabic gives things a gender: do features follow the word or the person?",
        answer.text,
        f"grammatical-gender-{layer}",
        frame,
        alignment.grammar_figure(frame),
        answer.text,
        shown=len(frame) > 0,
        key="grammar",
    )


def named(feature: dict[str, Any]) -> str:
    """The feature's labels, or the words it answers to, in either script."""
    labels = [str(feature.get(f"label_{lang}") or "") for lang in ("en", "ar")]
    tokens = [visible(word) for word in str(feature.get("tokens") or "").split(" · ") if is_word(word)][:3]
    return " · ".join(f"<bdi>{escape(word)}</bdi>" for word in dict.fromkeys(filter(None, labels)) or tokens)


def effect(feature: dict[str, Any], lang: str) -> str:
    """The effect in one language with its interval, on one line."""
    value, low, high = (float(feature[f"{name}_{lang}"]) for name in ("effect", "low", "high"))
    said = "hardly fires" if low == value == high == 0 else told(value, low, high, form="+.2f").replace("-", "−")
    return f'<span style="white-space:nowrap">{LANGUAGE_NAME[lang]} {said}</span>'


METHOD = r"""
The same images, captioned by the model in both languages. *CKA*: debiased linear CKA of the caption-mean states
(Kornblith et al. 2019; Song et al. 2012); chance: pairs shuffled. *Variance in the other's directions*: held-out
variance of one language within the $d/8$ leading directions of the other, $\|XP\|^2/\|X\|^2$; ceiling: its own
directions. *Predicted*: held-out $R^2$ of a ridge regression from the other language. *Gender directions*: difference
of means, women $-$ men; the cosine is that of different images alone, for both languages see the same images and an
accident in them would pass for agreement; ceiling: what one direction would show with so many images; *over its
ceiling* their ratio, 1 for one direction, with Fieller's (1954) interval; chance: labels shuffled.
*Gender read across*: AUC on held-out images of the direction learned in the other language. *CLBAS*: with $e_\ell(f)$
the gender effect of feature $f$ in standard deviations on held-out images,
$\max\bigl(0,\ \tfrac{2\langle e_{en}, e_{ar}\rangle}{|e_{en}|^2 + |e_{ar}|^2}\bigr)$, the product again of different
images alone, over the 64 features of the largest effect on the training images.
*Features that tell gender best*: English ranks them on one half of the images, Arabic on the other, both ways round
over many halves; in common are those of one sign; over the ceiling: $(v - f)/(c - f)$ with $f$ from shuffled labels and
$c$ one language on both halves. A feature is *English only* (*Arabic
only*) when nine tenths of its activation lie there, interval included, and swapping languages within images hardly
ever gives as much; *shared* when it is at most twice as strong in one language and high on the same images in both.
*Follows the word*: AUC of feminine over masculine words, words being the units, against relabelled words and against
English captions of the same images.
q values: Benjamini and Hochberg over all features and layers. More: docs/methods.md; settings: the page Provenance.
"""

main()

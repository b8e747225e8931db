"""Which features tell images of women from those of men: selected on some images, scored on others."""

from __future__ import annotations

from functools import partial
from html import escape

import pandas as pd
import streamlit as st

from core.answers import gender as gender_answers
from core.config import LANGUAGE_NAME, GenderConfig
from core.figures import gender
from core.frames import records
from core.run import Run
from core.run.reader import Catalog
from pages.features import gender_nulls
from pages.kit import coverage, export, notes, panels, pickers, policy, runs, selection, states, text
from pages.kit.examples import feature_link, layer_features
from pages.kit.gallery import preview
from pages.kit.gender_panel import READ, WHEN, q

QUESTION = "Which features know a woman from a man?"
RANKINGS = {"AUC": "auc", "Cohen’s d": "d", "Difference": "difference", "Effect on the output": "effect"}
N_DRAWN, N_LISTED = 12, 15


def main() -> None:
    run = runs.current_run()
    runs.needs(run, "train", "features", title=QUESTION)
    cat = runs.catalog(run)
    if not cat.has("gender_features"):
        text.page_title(QUESTION)
        runs.needs(run, "gender")
    head = st.container()
    layer, lang, view, ranking = choices(cat)
    cell = notes.with_notes(run, cat.gender_features(layer, lang, view))
    fdr = float(run.manifest().config.get("gender", {}).get("fdr", GenderConfig().fdr))
    with head:
        answer = gender_answers.gender_answer(cell, fdr, layer, lang, view)
        found, probes = gender_nulls.of_cell(cat, layer, lang, view)
        if gender_nulls.answer_head(QUESTION, found, probes, layer, lang, view):
            text.said(answer)
        else:
            text.page_title(QUESTION, answer.text, answer.sure, note=answer.note)
    best = gender.ranked(cell, ranking, N_DRAWN, fdr, lang)
    left, right = st.columns([1, 1.1], gap="large")
    with left:
        scatter(cell, fdr, layer, lang, view)
    with right:
        forest(best, ranking, f"{layer}-{view}-{lang}")
    if ranking == "effect":
        coverage.line(cat)
    chosen = selection.read_chosen(cell)
    if chosen is None and len(best):
        chosen = int(best["feature"].iloc[0])
    if chosen is not None:
        features = layer_features(run, layer)
        preview(run, cat, features[features["feature"] == chosen].iloc[0], layer)
    gender_nulls.panel(cat, run, found, probes, f"{layer}-{view}-{lang}", view)
    listing(cat, cell, fdr, ranking, layer, lang, view)
    agreement(cat, layer, lang, view)
    by_layer(cat, run, view)
    policy.show_labels_line(run, cat)
    text.method(METHOD)


def choices(cat: Catalog) -> tuple[int, str, str, str]:
    """Layer, language ("" where the view has none), view and ranking."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="pickers"):
        with st.container(width=96):
            layer = pickers.layer_picker(cat)
        view = READ[pickers.choice("Read", list(READ), "when", WHEN)]
        lang = pickers.language_picker(cat.languages, both=False) if view != "image" else ""
        ranking = RANKINGS[pickers.choice("Rank by", list(RANKINGS), "rank", RANK)]
    return layer, lang, view, ranking


def scatter(cell: pd.DataFrame, fdr: float, layer: int, lang: str, view: str) -> None:
    name, tested = f"gender-layer-{layer}-{view}-{lang}".rstrip("-"), bool(cell["auc_test"].notna().any())
    chart = gender.selection_scatter(cell, fdr, selection.read_chosen(cell), lang)
    key = f"scatter-{name}"
    panels.panel(
        "Selected, then tested",
        "each point is a feature; far from the grey band, "
        "and on the line: as clear on new images as on those that selected it",
        name,
        cell,
        chart,
        "Each feature's AUC, train and held out",
        shown=tested,
        key=key,
        on_select=partial(choose_point, key),
        selection_mode="points",
    )
    if not tested:
        women, men = gender.n_images(cell)
        states.empty(
            "There is not enough data for this view.",
            f"Held out: {women} images of women and {men} of men that have positions here.",
            "Choose another view, or a run with more images.",
        )


def choose_point(key: str) -> None:
    points = [p for p in st.session_state[key]["selection"]["points"] if p.get("customdata")]
    if points:
        selection.choose(int(points[0]["customdata"][0]))


def forest(best: pd.DataFrame, ranking: str, where: str) -> None:
    panels.panel(
        f"The first {len(best) or N_DRAWN} by {gender.SCORES[ranking].name}",
        "mark: on held-out images, with its 95 % interval; bar: on the images that ranked them",
        f"gender-first-{ranking}-{where}",
        best,
        gender.ranking_forest(best, ranking),
        "The first features: " + ", ".join(map(str, best["feature"])),
        shown=len(best) > 0,
        key="forest",
    )
    if best.empty:
        states.empty(
            "This ranking has nothing here.",
            "It was not taken in this view, or no feature fires in it.",
            "Choose another ranking or view.",
        )


def listing(cat: Catalog, cell: pd.DataFrame, fdr: float, ranking: str, layer: int, lang: str, view: str) -> None:
    """The head of the ranking as a table; beside it what the other language says of the same feature."""
    best, score = gender.ranked(cell, ranking, N_LISTED, fdr, lang), gender.SCORES[ranking]
    if best.empty:
        return
    other = next((one for one in cat.languages if lang and one != lang), "")
    beside = cat.gender_features(layer, other, view).set_index("feature") if other else pd.DataFrame()
    text.heading(
        "The ranking",
        f"the first {len(best)} of {cell[f'rank_{ranking}'].notna().sum():,} features; q after "
        "Benjamini and Hochberg over all layers, features and languages",
    )
    rows = []
    for one in records(best):
        within = f"{score.show(one['test'])} [{score.show(one['low'])}, {score.show(one['high'])}]"
        rows.append(
            [
                str(one["rank"]),
                feature_link(layer, one["feature"]),
                f"<bdi>{escape(one['name'])}</bdi>",
                score.show(one["train"]),
                within,
                q(one["q_train"]),
                gender.MORE[one["state"]],
            ]
        )
        if other:
            rows[-1].append(in_other(beside, one["feature"]))
    head = ["Rank", "Feature", "Label", f"{score.name}, train", f"{score.name}, held out", "q, train", "Held out"]
    text.html(text.table([*head, *([f"AUC in {LANGUAGE_NAME[other]}"] if other else [])], rows, numeric=(0, 1, 3, 5)))


def in_other(beside: pd.DataFrame, feature: int) -> str:
    return gender.SCORES["auc"].within(records(beside.loc[[feature]])[0], "auc") if feature in beside.index else "–"


def agreement(cat: Catalog, layer: int, lang: str, view: str) -> None:
    """Whether the four rankings name the same features, over what shuffled labels give."""
    if not cat.has("gender_rankings"):
        return
    frame = gender.agreement_frame(cat.gender_rankings(layer, lang, view))
    answer = gender_answers.agreement_answer(frame)
    panels.panel(
        "Do the rankings agree?",
        answer.text,
        f"gender-rankings-{layer}-{view}-{lang}",
        frame,
        gender.agreement_bars(frame),
        answer.text,
        shown=len(frame) > 0,
        key="agreement",
    )


def by_layer(cat: Catalog, run: Run, view: str) -> None:
    """How many findings each layer has in this view, by language."""
    counts = cat.gender_counts()
    counts = counts[counts["view"] == view]
    text.heading("All layers", "findings in this view; other layers by the knob above")
    only = cat.languages[0] if len(cat.languages) == 1 else ""
    rows = [
        [
            str(c["layer"]),
            LANGUAGE_NAME.get(c["lang"] or only, "both"),
            f"{c['n_tested']:,}",
            str(c["n_female"]),
            str(c["n_male"]),
        ]
        for c in records(counts)
    ]
    head = ["Layer", "Captions", "Features tested", "More for women", "More for men"]
    text.html(text.table(head, rows, numeric=(0, 2, 3, 4)))
    export.downloads(f"gender-by-layer-{view}", counts)


RANK = "What the order goes by; it is made on the training images and scored on the held-out ones."
METHOD = r"""
An image counts as of a woman or a man by its annotation or its reference captions, never by what the model wrote. A
feature's value for an image is its mean activation $z$ over the positions of the view. On the training images each
feature is tested by Mann and Whitney's $U$ (1947), with Benjamini and Hochberg's (1995) correction over all features,
layers and languages of the view: that *selects*. On the held-out images, which had no say in it, it is *scored*:
$\mathrm{AUC} = P(z_{w} > z_{m}) + \tfrac12 P(z_{w} = z_{m})$ with Newcombe's interval (2006), $d$ and the difference of
means with bootstrap intervals over images. A *finding* is selected, has the same sign again, and its held-out interval
leaves 0.5 out. How many would hold by chance is counted in 20 shuffles of the held-out images' genders, of all features
together. Grey band: where 95 % of held-out AUCs fall without any gender; for
a feature that fires rarely the band is narrower, so that a finding may lie within the grey. *Effect on the output*:
activation times the gradient of the log-odds of female against male words, where the model is about to say one.
Agreement is Spearman's over the sizes, one ranking made on training and the other on held-out images; its grey
range comes from 20 shuffles of the image labels. Settings and versions
stand on the page Provenance. *More than a random dictionary*: the same question put to random directions of which
each token keeps as many as the SAE does, to raw coordinates and principal components of the residual and, at one layer,
to an SAE whose directions stayed random (2602.14111), to one of the same model with random weights (2501.17727) and to
the SAE trained with another seed. Each one's first features are chosen on training images and scored on held-out
ones; *of what a probe tells* is $(\mathrm{AUC} - \tfrac12)$ over that of a probe of the whole residual.
"""

main()

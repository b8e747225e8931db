"""One feature: what fires it, how strongly, in which language, and which words it pushes."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.answers.explain import fits_answer
from core.answers.feature import feature_answer
from core.answers.nulls import recurrence_answer
from core.frames import records
from core.run.reader import Catalog
from pages.kit import export, gallery, gender_panel, notes, nulls, panels, pickers, runs, states, text
from pages.kit.examples import default_feature, layer_features
from pages.kit.links import PAGES


def main() -> None:
    run = runs.current_run()
    runs.needs(run, "train", "features", title="What does this feature notice?")
    cat = runs.catalog(run)
    head = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom", key="pickers"):
        with st.container(width=96):
            layer = pickers.layer_picker(cat)
        features = notes.with_notes(run, layer_features(run, layer))
        feature = picker(features)
    row = cat.feature(layer, feature) if feature < len(features) else None
    with head:
        label = str(features.loc[features["feature"] == feature, "label"].iloc[0]) if row is not None else ""
        title(layer, feature, row, len(features), label)
    if row is None or not row["alive"]:
        absent(layer, feature, features, row is not None)
        return
    name = f"layer-{layer}-feature-{feature}"
    left, right = st.columns([1.55, 1], gap="large")
    with left:
        gallery.gallery(run, cat, layer, feature, float(row["max"]))
    with right:
        gender_panel.label(cat, layer, feature)
        notes.editor(run, cat, layer, feature, str(row["sae_id"]))
        explanation(cat, layer, feature)
        recurs(cat, layer, feature)
        panels.words(row)
        gender_panel.rates(cat, layer, feature)
        panels.places(row, name)
        if cat.has("feature_areas"):
            rows = cat.frame("feature_areas", layer=layer, feature=feature)
            panels.areas(rows, cat.patches_a_side > 0, name)
    # where gender stands beside the images, the other two figures go below them
    one, two = st.columns(2, gap="large") if cat.has("gender_features") else (right, right)
    with one:
        panels.strengths(row, name)
    with two:
        panels.pushes(row, name)
    panels.neighbours(cat, layer, feature)
    nulls.neighbours_line(cat, layer, feature)
    gender_panel.numbers(cat, layer, feature)
    nulls.detectors(cat, layer, feature)
    panels.statistics(row, layer, feature)
    text.method(METHOD)


def picker(features: pd.DataFrame) -> int:
    """The number box with its neighbours: the feature before and after that is alive, and the way to steering."""
    alive = features.loc[features["alive"], "feature"].tolist()
    asked = st.query_params.get("feature")
    if asked is not None and not asked.isdecimal():
        st.toast(f"“{asked}” is no number of a feature.", icon=":material/info:")
    if "feature" not in st.session_state and (asked is None or not asked.isdecimal()):
        st.session_state["feature"] = default_feature(features)
    # no default of its own: what equals the default is left out of the address, and every feature must have one
    feature = int(
        st.number_input(
            "Feature",
            min_value=0,
            value=None,
            step=1,
            key="feature",
            bind="query-params",
            width=160,
            help=text.glossary("feature"),
        )
        or 0
    )
    before = [f for f in alive if f < feature]
    after = [f for f in alive if f > feature]
    st.button(
        "Previous",
        icon=":material/arrow_back:",
        key="previous",
        disabled=not before,
        on_click=go_to,
        args=(before[-1] if before else 0,),
    )
    st.button(
        "Next",
        icon=":material/arrow_forward:",
        key="next",
        disabled=not after,
        on_click=go_to,
        args=(after[0] if after else 0,),
    )
    layer = str(features["layer"].iloc[0])
    run_name = {"run": runs.current_run().name}
    st.page_link(
        PAGES["steering"],
        label="Steer with this",
        icon=":material/tune:",
        query_params={**run_name, "features": f"{layer}:{feature}"},
    )
    st.page_link(
        PAGES["browser"],
        label="All features",
        icon=":material/scatter_plot:",
        query_params={**run_name, "layer": layer, "feature": str(feature)},
    )
    return feature


def go_to(feature: int) -> None:
    st.session_state["feature"] = feature


def title(layer: int, feature: int, row: dict[str, Any] | None, n_features: int, label: str) -> None:
    question = f"What does feature {feature} of layer {layer} notice?"
    if row is None:
        text.page_title(question, f"Layer {layer} has features 0 to {n_features - 1:,}.", "not enough data")
        return
    answer = feature_answer(row, label)
    text.page_title(question, answer.text, answer.sure, note=answer.note)


def absent(layer: int, feature: int, features: pd.DataFrame, exists: bool) -> None:
    """The friendly state of a feature that is dead or not there, with the living one that is nearest."""
    alive = features.loc[features["alive"], "feature"]
    if exists:
        states.empty(
            f"Feature {feature} never fired in this run.",
            text.glossary("dead"),
            "Use the arrows above to go to the next one that is alive.",
        )
    else:
        states.empty(
            f"Layer {layer} has no feature {feature}.",
            f"Its features are 0 to {len(features) - 1:,}.",
            "The address may belong to another run. Type another number, or open all features.",
        )
    if len(alive):
        near = int(alive.iloc[(alive - feature).abs().argmin()])
        st.button(f"Go to feature {near}", key="nearest", on_click=go_to, args=(near,), type="primary")


def explanation(cat: Catalog, layer: int, feature: int) -> None:
    """The texts in both languages at every strength, and how well the chosen ones fit the images that fire it."""
    if not cat.has("explanations"):
        return
    text.heading("What the model says it is", EXPLANATION)
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
        for row in records(of_lang):
            said = text.caption_html(row["text"], str(lang))
            same = "" if row["changed"] else ", as without it"
            weight = "font-weight:600" if row["chosen"] else ""
            lines.append(
                f'<div style="{weight}"><p class="cs-small" style="margin:0">turned up {row["strength"]:g} × '
                f"p99.9{same}</p>{said}</div>"
            )
        body.append(text.side(str(lang), "".join(lines)))
    text.html("".join(body))
    text.said(fits_answer(rows[rows["chosen"]]), "cs-small")
    export.downloads(f"layer-{layer}-feature-{feature}-said", rows)


def recurs(cat: Catalog, layer: int, feature: int) -> None:
    """Whether another training of the dictionary has found it too."""
    if not cat.has("recurrence"):
        return
    text.heading("Does it come back?", "the dictionary trained again with another seed: is there a feature like it?")
    text.said(recurrence_answer(cat.frame("recurrence", layer=layer, feature=feature)), "cs-small")


EXPLANATION = "its caption of an empty grey image with this feature turned up; bold: what fits training images best"
METHOD = r"""
The feature is one direction $d_i$ of the layer's dictionary (a sparse autoencoder on the state $h$ after the layer's
block); its activation $z_i(h)$ is its part in the code of one token's state. Images are ranked by the largest $z_i$
anywhere in the image's two sequences (image, question and the model's own caption, in English and in Arabic); each
image counts once. Heat maps show $z_i$ at the image's own tokens, captions show it at their words, all on one scale
from 0 to the feature's maximum. Bands are equal shares of the images that fire it. *Words it answers to*: the
question and caption words with the largest mean $z_i$. *Words it pushes*: $W_U\,(g \odot d_i) / \mathrm{rms}$, what one
unit adds to the next word's logit if no later layer changed it (logit lens, nostalgebraist, 2020). *Where on the
picture*: of the activation $v_i$ of image $i$ the part on patches of a kind (those partly of it in part),
$\sum_i v_i \cdot a_i / \sum_i M_i$ with $M_i$ its sum; *Area*: the same with each image's activation spread evenly;
*Ratio*: one over the other, interval over images; *On other images' areas*: the mean over all other images' areas in
the place of its own, high where a feature merely fires where people usually stand. One interval a feature: among many
some miss by chance, and none are counted. *Explains*: the share of the layer's variance that is lost when this feature
alone is left out. *What the model says it is*: its caption
of a uniform grey image with the feature pushed by so many times its 99.9th percentile (Ferrando et al., 2026); the AUC
says how often a held-out image that fires it has more of the text's words (weighted by rarity, without those said of
the grey image anyway) in people's captions than one that does not. *Does it come back*: partners are paired one
to one by the correlation of their activations over held-out tokens; a feature recurs where its partner has $r \ge 0.5$
and a cosine of 0.7 or more, both above what shuffled tokens and random directions give (after Paulo and Belrose,
2025). Settings and versions stand on the page Provenance.
"""

main()

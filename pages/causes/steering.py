"""Turn features up or down and read what the model then writes, in each language, as it writes it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from core.answers import Answer
from core.answers.steering import steering_answer
from core.run import Run
from core.steering.request import FeatureEdit, Request, Step
from pages.causes import steering_captions as captions
from pages.causes import steering_features, steering_live, steering_meter, steering_sliders
from pages.causes.steering_image import SteeredImage, choose_by_thumbnail, choose_image
from pages.kit import export, runs, text
from pages.kit.examples import layer_features

QUESTION = "What happens to the captions when a feature is turned up or down?"


def main() -> None:
    run = runs.current_run()
    runs.needs(run, "prepare", "train", "features", title=QUESTION)
    cat = runs.catalog(run)
    head = st.empty()
    with head.container():
        text.page_title(QUESTION)
    turned = steering_sliders.read_features(run, cat)
    sides = {"en": 1.0, "image": 1.15, "ar": 1.0}  # English to the left of the image, Arabic to the right
    sides = {name: width for name, width in sides.items() if name in ("image", *cat.languages)}
    columns = dict(zip(sides, st.columns(list(sides.values()), gap="medium"), strict=True))
    frames = {lang: columns[lang].empty() for lang in cat.languages}
    with columns["image"]:
        image = choose_image(run, cat)
        place = st.container()
        mode, draw = steering_sliders.how(turned) if turned else ("add", None)
        with place:
            steering_sliders.sliders(turned, mode)
        stop = st.empty()
        steering_features.chooser(run, cat, turned)
    edits = tuple(FeatureEdit(t.layer, t.feature, t.strength, t.p999) for t in turned if t.strength or mode == "ablate")
    request = Request(edits, mode=mode, draw=draw)
    if turned:
        request = references(run, request)
        frames["references"] = st.empty()
    step = captions.write(run, cat, image, request, frames, stop)
    answer = answered(step, request)
    with head.container():
        text.page_title(QUESTION, answer.text, answer.sure if edits else "")
    captions.outcome(step)
    with st.container(horizontal=True, vertical_alignment="center"):
        export.downloads(
            f"steering-{image.key}",
            captions.captions_table(step, image, request),
            partial(captions.sheet, run, step, image, request),
        )
        share(image)
    steering_meter.strips(step)
    steering_meter.off_target(run, step)
    choose_by_thumbnail(run, cat)
    text.method(METHOD)


def answered(step: Step, request: Request) -> Answer:
    """The sentence under the question, once the captions are finished."""
    if not step.finished and request.edits:
        return Answer("Stopped before the end.", "not enough data")
    return steering_answer(captions.compare(step, "after"), captions.compare(step, "control"))


def references(run: Run, request: Request) -> Request:
    """Switches for what the steered captions are to be compared with."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="references"):
        text.html('<p class="cs-small" style="margin:0">Compare with</p>')
        control = st.toggle("a random feature", key="control", bind="query-params", help=CONTROL)
        means = st.toggle(
            "difference of means", key="means", bind="query-params", help=MEANS, disabled=not run.is_done("pool")
        )
        prompt = st.toggle("a neutral prompt", key="prompt", bind="query-params", help=PROMPT)
        if control:
            seed = st.number_input(
                "Draw of the random feature",
                min_value=0,
                step=1,
                key="seed",
                bind="query-params",
                width=110,
                label_visibility="collapsed",
                help="Which of the random features: another number draws another",
            )
    controls = ()
    if control and request.edits:
        features = pd.concat([layer_features(run, layer) for layer in sorted({e.layer for e in request.edits})])
        controls = steering_live.controls(run, features, request.edits, int(seed), request.mode)
    return replace(request, control=controls, means=bool(means), prompt=bool(prompt))


def share(image: SteeredImage) -> None:
    """The address of this state, to be copied."""
    with st.popover("Share", type="tertiary", icon=":material/link:"):
        st.code(f"{st.context.url}?{urlencode(st.query_params.to_dict())}", language=None, wrap_lines=True)
        if image.sample_id is None:
            text.html('<p class="cs-small">Your own picture is not part of it: it has not been stored.</p>')


CONTROL = """A living feature of the same layer that fires about as often and about as strongly, drawn by chance and
pushed by the same amount. If it changes the captions as much, the effect does not belong to the feature you chose."""
MEANS = """No dictionary at all: a push from the average state for images of men towards that for images of women, or
back, in the layers you edit, by the same length."""
PROMPT = """Nothing is edited; the question asks for gender-neutral words. A model that was never taught to follow such
a wish may ignore it, or stumble over it."""
METHOD = r"""
While the model writes, the state $h$ at every image patch, question and caption token of a layer becomes
$h' = h + \min(1, c\,\|h\| / \|\delta\|)\,\delta$ with $\delta = \sum_i (z'_i - z_i)\, d_i$: $z_i$ is the feature's
activation, $d_i$ its decoder direction, and $c = 1$ caps an edit at the length of the state itself. *Add*:
$z' = z + s\,p$ with $p$ the feature's 99.9th percentile and $s$ the slider; *Hold at*: $z' = s\,p$; *Multiply*:
$z' = (1 + s)\,z$; *Remove*: $z' = 0$. Nothing is reconstructed: what the dictionary does not explain stays as it is,
and special tokens are never touched (activation addition, Turner et al., 2023). All rows are written in one batch.
*References*: random features matched on firing rate, mean activation and length of $d_i$ together get the same
$\|\delta\|$ (in the other modes the same value or factor); so does the difference of means of the training images of
women and of men before the first gendered word (Marks and Tegmark, 2023), towards the side to which $\delta$ leans.
*While it writes*: the model's probability, summed over the tokens that begin words for women, or for men, and no
other word. *Probe*: position along the difference of means, +1 at the mean of women and −1 at that of men. *Lens*:
log-odds of such words read off each layer (nostalgebraist, 2020). A caption marked *cached* was written when the run
was computed, for exactly this setting; nothing is read off between settings. One image shows what can happen, not how
often.
"""

main()

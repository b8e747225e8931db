"""What is said of how well SAEs fit follows the table: bad ones are named with where, good ones are not."""

from __future__ import annotations

import pandas as pd

from core.answers import sae_fit as sae_fit_answers
from core.figures import sae_fit
from core.figures.screen import draw
from tests.toy_run import toy_fit

ROW = {
    "layer": 17,
    "sae_id": "a",
    "explained_variance": 0.8,
    "explained_variance_image": 0.9,
    "explained_variance_prompt": 0.9,
    "explained_variance_caption": 0.9,
}
OURS = pd.DataFrame([{"source": "trained here", "trained_on": "demo-captioner"}])
SCOPE = pd.DataFrame([{"source": "gemma-scope-2-4b-it-res/layer_17", "trained_on": "google/gemma-3-4b-it"}])


def fit_of(**changes: float) -> pd.DataFrame:
    return pd.DataFrame([*toy_fit(ROW, **changes), *toy_fit(ROW | {"layer": 22})])


def test_where_all_is_well_nothing_is_warned_of() -> None:
    answer = sae_fit_answers.fit_answer(OURS, fit_of())
    assert answer.sure == "supported" and sae_fit_answers.cautions(fit_of()) == []
    assert "0.90 [0.88, 0.92] at image positions (layer 17; untrained 0.30)" in answer.text
    assert "n = 30 held-out images" in answer.text
    assert sae_fit_answers.origin(OURS).startswith("The dictionaries were trained here")


def test_an_sae_over_text_that_does_badly_on_images_is_said_plainly() -> None:
    fit = fit_of(image=0.12)
    answer, (caution,) = sae_fit_answers.fit_answer(SCOPE, fit), sae_fit_answers.cautions(fit)
    assert answer.sure == "unclear" and "0.12 [0.10, 0.14] at image positions (layer 17" in answer.text
    assert "at image positions of layer 17: they explain less than half of the variance (12%) there" in caution
    assert "no more than an untrained dictionary" in caution  # which explains .3
    assert "no more than" not in sae_fit_answers.cautions(fit_of(image=0.45))[0]
    assert "less than the average alone does" in sae_fit_answers.cautions(fit_of(image=-0.3))[0]
    origin = sae_fit_answers.origin(SCOPE)
    assert "trained by others, on google/gemma-3-4b-it: gemma-scope-2-4b-it-res/layer_17" in origin


def test_explained_variance_that_few_tokens_hold_is_said_to_be_theirs() -> None:
    fit = fit_of()
    of_captions = (fit["kind"] == "caption") & (fit["layer"] == 17)
    (caution,) = sae_fit_answers.cautions(
        fit.assign(explained_variance_median=fit["explained_variance_median"].mask(of_captions, 0.31))
    )
    assert "At caption positions of layer 17 explained variance (90%)" in caution and "less than 31%" in caution
    assert sae_fit_answers.cautions(fit.drop(columns="explained_variance_median")) == []  # of an earlier version


def test_of_few_images_nothing_is_said() -> None:
    answer = sae_fit_answers.fit_answer(OURS, fit_of().assign(n_images=4))
    assert answer.sure == "not enough data" and "4 held-out images" in answer.text
    assert sae_fit_answers.fit_answer(OURS, fit_of().head(0)).sure == "not enough data"


def test_the_figure_has_a_mark_for_each_kind_language_and_measure_with_its_control() -> None:
    frame = sae_fit.fit_frame(fit_of(image=-2.0))
    assert len(frame) == 2 * 3 * 2 * 2 and set(frame["lang"]) == {"en", "ar"}
    fig = draw(sae_fit.fit_figure(frame))
    marks = [t for t in fig.data if t.name in ("English", "Arabic")]
    assert sum(len(t.x) for t in marks) == len(frame) == sum(len(t.x) for t in fig.data if t.name == "untrained")
    assert min(min(t.x) for t in marks) == sae_fit.FLOOR  # what lies lower is drawn at the edge, and hover says it
    assert any("triangle-left" in t.marker.symbol for t in marks)
    assert any(row[0] == -2.0 for t in marks for row in t.customdata)


def test_a_run_in_one_language_and_values_that_could_not_be_taken_are_drawn() -> None:
    one = fit_of().query("lang == 'both'").assign(loss_recovered=None)
    frame = sae_fit.fit_frame(one)
    assert set(frame["lang"]) == {"both"} and set(frame["measure"]) == {"explained_variance"}
    marks = draw(sae_fit.fit_figure(frame)).data
    assert sum(len(trace.x) for trace in marks) == 2 * len(frame)

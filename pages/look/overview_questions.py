"""The five questions of the study, each with the answer that a run's data gives by now, or how to get one.

Each answer is the sentence of the page that goes deeper; where its analysis has not run, what the captions alone say.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd
import streamlit as st

from core.answers import Answer
from core.answers import alignment as alignment_answers
from core.answers import captions as captions_answers
from core.answers import gender as gender_answers
from core.answers import interventions as interventions_answers
from core.answers import layers as layers_answers
from core.answers.captions import NOTHING
from core.config import only_language
from core.figures import alignment
from core.run import Run, manifest_version
from core.run.reader import Catalog
from core.words import caption_gender, find, matched_gender
from core.words.generic import UNMARKED
from pages.kit import nulls
from pages.kit.runs import catalog

VIEW = "before"  # the positions that the gendered word cannot have written


@dataclass(frozen=True)
class Question:
    """A card: the question, the answer so far ("" where there is none), how sure it is, and what comes next.

    `sure` is "supported", "unclear", "not enough data" or "". `page` is where to look, `link` what it is called.
    `note`: how often such an answer is wrong where there is nothing. `state`: the page's that says
    just this.
    """

    title: str
    answer: str
    sure: str
    missing: str
    page: str
    link: str
    note: str = ""
    state: Mapping[str, object] = field(default_factory=dict)


def questions(run: Run) -> list[Question]:
    """The five cards of a run."""
    return _questions(str(run.dir), manifest_version(run))


@st.cache_data(max_entries=8, show_spinner="Reading the answers …")
def _questions(run_dir: str, version: str) -> list[Question]:
    run = Run(run_dir)
    cat = catalog(run)
    policy = run.config().words.generic_masculine
    genders = functools.cache(lambda: caption_genders(cat, policy))  # counted only where an analysis has not run
    matched = functools.cache(lambda: caption_genders(cat, ""))
    gender = gender_features(cat, run.config().gender.fdr) or captions_answers.seen_answer(genders())
    layer = chosen_layer(cat, run.config().gender.fdr)
    beside = nulls.findings_note(cat, layer, cat.languages[0], VIEW) if layer is not None else ""
    if only := only_language(cat.languages):
        agree = apart = Answer(f"{only[:1].upper()}{only[1:]}.", "not enough data")
    else:
        agree, apart = compared(cat) or captions_answers.agreement_answer(matched()), language_specific(cat)
    done = bool(only) or cat.has("alignment")
    return [
        _card(
            "How is gender encoded?",
            gender,
            cat.has("gender_features"),
            "gender",
            "gender",
            "See the features that know a woman from a man",
            beside,
            {"layer": layer},
        ),
        _card(
            "Do English and Arabic agree?",
            agree,
            done,
            "crosslingual",
            "alignment",
            "See what is missing" if only else "Compare the two languages",
            "" if only or not cat.has("alignment") else nulls.others_note(cat, middle_layer(cat), VIEW),
            {"layer": middle_layer(cat)} if done else {},
        ),
        _card(
            "Which layers and features?",
            emergence(cat),
            cat.has("emergence"),
            "layers",
            "layers",
            "Follow gender through the layers",
        ),
        steered(cat),
        _card(
            "What is language-specific?",
            apart,
            done,
            "crosslingual",
            "alignment",
            "See what is missing" if only else "See whose the gender features are",
            state={"layer": middle_layer(cat)} if done else {},
        ),
    ]


def steered(cat: Catalog) -> Question:
    """What changing the gender features did to captions; before that is measured, the way to try it by hand."""
    title = "Can it be steered?"
    if cat.has("intervention_effects"):
        answer = interventions_answers.main_answer(cat.intervention_effects(), cat.intervention_verdicts())
        return Question(
            title, answer.text, answer.sure, "", "interventions", "See what it does, beside its controls", answer.note
        )
    needs = "Needs the features: the stage features."
    if cat.has("features"):
        needs = (
            "Not measured over many images in this run yet. You can try it by hand: choose an image, turn a feature "
            "up, and read both captions."
        )
    return Question(title, "", "", needs, "steering", "Go to the steering laboratory")


def _card(
    title: str,
    answer: Answer,
    done: bool,
    stage: str,
    page: str,
    link: str,
    beside: str = "",
    state: Mapping[str, object] | None = None,
) -> Question:
    """A card whose answer is whole once its stage is done, and says until then which one is waited for; ``beside`` is
    what the same gives where there is nothing, ``state`` that of the page which says it."""
    after = " This is what the captions say; what goes on inside needs" if answer.text else "Needs"
    missing = beside if done else f"{after} the stage {stage}."
    return Question(title, answer.text, answer.sure, missing, page, link, answer.note, state or {})


def chosen_layer(cat: Catalog, fdr: float) -> int | None:
    """The layer in which training images select most, before the first gendered word, in the first language."""
    if not cat.has("gender_features"):
        return None
    counts = cat.gender_counts(fdr)
    counts = counts[(counts["view"] == VIEW) & (counts["lang"] == cat.languages[0])]
    if counts.empty:
        return None
    return int(counts["layer"].iloc[int(counts["n_selected"].argmax())])  # held-out images are to tell, not to choose


def gender_features(cat: Catalog, fdr: float) -> Answer | None:
    """What the gender features of that layer are."""
    layer, lang = chosen_layer(cat, fdr), cat.languages[0]
    if layer is None:
        return None
    return gender_answers.gender_answer(cat.gender_features(layer, lang, VIEW), fdr, layer, lang, VIEW)


def compared(cat: Catalog) -> Answer | None:
    """How alike the two languages are at the middle layer."""
    if not cat.has("alignment"):
        return None
    why = alignment_answers.missing_words(cat.alignment())
    if why:
        return Answer(f"They cannot be compared: {why}.", "not enough data")
    curves = alignment.curves(cat.alignment(), cat.frame("gender_directions"), cat.frame("clbas"), VIEW)
    return alignment_answers.alignment_answer(curves, cat.language_classes(), middle_layer(cat), VIEW)


def emergence(cat: Catalog) -> Answer:
    """From which layer on gender can be read."""
    if not cat.has("emergence"):
        return NOTHING
    return layers_answers.layers_answer(cat.probes(), cat.emergence())


def language_specific(cat: Catalog) -> Answer:
    """Whose the gender features of the middle layer are."""
    if not cat.has("alignment"):
        return NOTHING
    layer = middle_layer(cat)
    answer = alignment_answers.sharing_answer(cat.shared_gender(layer, VIEW))
    return replace(answer, text=f"At layer {layer}: {answer.text}")


def middle_layer(cat: Catalog) -> int:
    """The layer that pages begin with."""
    return cat.layers()[len(cat.layers()) // 2]


def caption_genders(cat: Catalog, policy: str = UNMARKED) -> pd.DataFrame:
    """sample_id, gender of the image, and by language the one gender that the caption's words name, else "".

    ``policy`` is what the generic masculine counts as; without one only words that both genders must say alike count.
    """
    if not cat.has("captions"):
        return pd.DataFrame()
    samples = cat.samples(limit=10_000_000)
    own = cat.captions(samples["sample_id"].tolist())
    own["named"] = [named_gender(text, lang, policy) for text, lang in zip(own["text"], own["lang"], strict=True)]
    named = own.pivot(index="sample_id", columns="lang", values="named").reindex(columns=list(cat.languages)).fillna("")
    return samples[["sample_id", "gender"]].merge(named, left_on="sample_id", right_index=True)


def named_gender(text: str, lang: str, policy: str = UNMARKED) -> str:
    """ "male" or "female" where all the words for persons in a caption say so, else ""."""
    hits = find(text, lang)
    named = caption_gender(hits, policy) if policy else matched_gender(hits)
    return named if named in ("male", "female") else ""


def listed(parts: list[str]) -> str:
    """a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

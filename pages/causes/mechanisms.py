"""Which heads, MLPs and features carry gender from the image into the words, in English and in Arabic"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.answers import mechanisms as mechanisms_answers
from core.figures import mechanisms
from core.frames import records
from pages.causes import mechanisms_circuits, mechanisms_graph, mechanisms_heads
from pages.kit import coverage, panels, pickers, policy, runs, states, text

QUESTION = "Which parts of the model carry gender into the words?"


def main() -> None:
    run = runs.current_run()
    cat = runs.catalog(run)
    if not cat.has("head_effects"):
        text.page_title(QUESTION)
        runs.needs(run, "mechanisms")
    effects = cat.head_effects()
    answer = mechanisms_answers.mechanisms_answer(effects, cat.part_agreement())
    text.page_title(QUESTION, answer.text, answer.sure, note=answer.note)
    known = effects[effects["why"] == ""]
    if known.empty:
        states.empty("There is not enough data for this page.", f"{answer.text}", "Take a run with more images.")
    else:
        with st.container(horizontal=True, vertical_alignment="bottom", key="pickers"):
            lang = pickers.language_picker(cat.languages, both=False)
            head = head_picker(known, lang)
            with st.container(width=96):
                layer = pickers.layer_picker(cat)
        heads(effects, head)
        coverage.line(cat)
        states.one_language(cat.languages, "Whether the same parts do it in the other language is not known.")
        rows = mechanisms.effect_grid(known, lang)
        mine = records(rows[rows["name"] == head])
        if mine:
            mechanisms_heads.show(run, cat, lang, mine[0])
        mechanisms_graph.show(run, cat, lang)
        mechanisms_circuits.pairs(cat, lang, layer)
        mechanisms_circuits.patching(cat, lang, layer)
    policy.show_labels_line(run, cat)
    text.method(METHOD)


def head_picker(known: pd.DataFrame, lang: str) -> str:
    """The name of a head such as "5.3"; first the one that adds most on the images that do not judge it."""
    rows = mechanisms.effect_grid(known[known["part"] == "head"], lang)
    ranked = rows.reindex(rows["effect_train"].abs().sort_values(ascending=False).index)
    names = sorted(ranked["name"], key=lambda n: tuple(map(int, n.split("."))))
    first = names.index(ranked["name"].iloc[0]) if len(ranked) else 0
    return (
        st.selectbox(
            "Head",
            names,
            index=first,
            key="head",
            bind="query-params",
            width=140,
            help="Layer and number. A head looks back at the image and the words so far and carries "
            "something of what it sees to the place where the next word is chosen.",
        )
        or ""
    )


def heads(effects: pd.DataFrame, head: str) -> None:
    panels.panel(
        "What each part adds",
        "directly to the log-odds of a word for a woman, where the image shows a woman rather than "
        "a man; dot: beyond shuffled images and random words",
        "mechanisms-heads",
        effects,
        mechanisms.heads_figure(effects, head),
        "Direct effect of heads and MLPs by layer, English and Arabic",
        key="heads",
        on_select=choose_head,
        selection_mode="points",
    )


def choose_head() -> None:
    points = [p for p in st.session_state["heads"]["selection"]["points"] if p.get("customdata")]
    if points and "." in str(points[0]["customdata"][0]):
        st.session_state["head"] = str(points[0]["customdata"][0])


METHOD = """
**Direct effects.** The residual at the place where the first gendered word is chosen is the sum of what the
embedding, heads and MLPs have added; with the last norm's scale held, each part's share of (the woman's spelling −
the man's) is a dot product, and the shares add up (Elhage et al. 2021; Wang et al. 2022, arXiv 2211.00593). Compared
are the tokens at which the first gendered word and its counterpart in the other gender part; where one of them ends
there, all tokens that end a word, as likely as they are. A head counts behind the norm after attention. *Effect*:
mean at images of women less that at images of men, held-out images, 95 % over images. *Controls*: image
genders dealt out anew among captions that compare the same two words (p adjusted over all parts and both languages,
step-down max-T: Westfall and Young 1993); two other tokens in the place of each pair. What a part does through later
layers is not in it. **Attention** is computed from the queries and keys of the model's own pass. **Weights**: OV
and QK with the norms' gains, never multiplied out; effective rank is the exponential of the entropy of the singular
values (Roy and Vetterli 2007); copying is the sum of OV's eigenvalues over the sum of their sizes, 1 where all are
positive. **Gender direction**: difference of the mean residuals of women's and men's training images; its
null deals the genders out anew on both sides, which keeps the stream's few strong directions. **Pairs**: PMI
= log2 n·n_ab / (n_a n_b); its null is the hypergeometric law of a shuffle over images, within the images'
genders. *Beyond the sum*: effect of ablating both less the sum of each. **Predicted effect**: −Σ z (W_dec ·
gradient), the gradient at the residual as it is (Nanda 2023; Syed et al. 2023, arXiv 2310.10348) or its mean
on the way to none of the layer's features (Marks et al. 2024, arXiv 2403.19647); *own words*: through the
last norm and unembedding alone. In the last layer gradient and own words are the same by construction.
**How one word was written**: at every layer the change of the states, from the mean picture to this one, times the
mean gradient on the way adds up to what the picture does to the word (integrated gradients); features, and what the
SAE leaves out, are its parts (Marks et al. 2024). *Taken back*: what the word loses when a node (of an edge: what it
gives to the upper one) is as with the mean picture; *alone*: what it gains when that alone is as with this picture;
*by running*: the mean of both; *borne out*: the same sign as by gradients, and sizes within a factor of two.
Settings and versions: page Provenance.
"""

main()

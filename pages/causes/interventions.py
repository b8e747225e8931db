"""What happens to captions when gender features are changed, beside matched controls, directions and a prompt."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from core.answers import interventions as interventions_answers
from core.answers.policy import changes_line
from core.config import LANGUAGE_NAME, only_language
from core.figures import interventions
from core.figures.interventions import way_name
from core.frames import records, tuples
from core.run import Run
from core.run.reader import Catalog
from pages.kit import images, panels, pickers, policy, runs, states, text

QUESTION = "Do gender features cause the gender in captions?"
N_READ = 6  # images whose captions are shown
SHOWN = {
    "Gender changed, rest kept": "clean",
    "Gender changed": "changed",
    "No gender named": "unnamed",
    "Rest lost": "damaged",
    "Gendered words": "gendered_per_100",
    "Length": "length",
    "Surprise": "nats_per_token",
    "Role right": "right_role",
    "Object right": "right_object",
    "Words of content kept": "content_kept",
    "Gender right": "right_gender",
}
CLASS = {
    "specific effect": "yes",
    "effect, not specific": "unclear",
    "non-specific damage": "unclear",
    "nothing": "few",
    "not enough data": "few",
}


def main() -> None:
    run = runs.current_run()
    cat = runs.catalog(run)
    if not cat.has("intervention_effects"):
        text.page_title(QUESTION)
        runs.needs(run, "interventions")
    runs.enough(run, "interventions", QUESTION)
    effects, verdicts = cat.intervention_effects(), cat.intervention_verdicts()
    answer = interventions_answers.main_answer(effects, verdicts)
    text.page_title(QUESTION, f"{answer.text[:1].upper()}{answer.text[1:]}", answer.sure, note=answer.note)
    known = {name: o for name, o in SHOWN.items() if effects.loc[effects["outcome"] == o, "target"].notna().any()}
    with st.container(horizontal=True, vertical_alignment="bottom", key="pickers"):
        along = interventions.ALONG[pickers.choice("Along", list(interventions.ALONG), "along", ALONG_HELP)]
        outcome = known[
            st.selectbox("Shown", list(known), key="shown", bind="query-params", help=SHOWN_HELP, width=300)
        ]
    curves(effects, along, outcome)
    if line := interventions_answers.least_layer_line(effects, verdicts):
        text.html(f'<p class="cs-small">{escape(line)}</p>')
    untrained(cat, effects, verdicts)
    modes(effects, outcome)
    ratios(effects)
    arms = interventions_answers.ways_compared(effects)
    ways(effects, outcome, cat.intervention_pairs(*arms) if arms else pd.DataFrame())
    if cat.has("intervention_comparisons"):
        text.said(interventions_answers.pair_answer(cat.intervention_comparisons()))
    left, right = st.columns([2, 3], gap="large")
    with left:
        transfer(cat, effects)
    with right:
        selectivity(cat)
    words(cat, effects)
    judged(verdicts)
    captions(run, cat, verdicts)
    chosen(cat)
    policy.show_labels_line(run, cat, of="caption_ar")
    if len(head := interventions_answers.headline(verdicts)):
        policy.show_line(changes_line(cat.intervention_captions(int(head.iloc[0]["arm"]))))
    text.method(METHOD)


def captions(run: Run, cat: Catalog, verdicts: pd.DataFrame) -> None:
    """Some captions of a design that the visitor picks, unedited above edited."""
    text.heading("Read them", "captions of the same images without and with the change; underlined: words of gender")
    first = verdicts.sort_values("note", key=lambda note: note != "headline", kind="stable")
    ways = {
        f"{way_name(r)} · layer {r.layer}, strength {r.strength:g}" if r.layer >= 0 else way_name(r): int(r.arm)
        for r in tuples(first.drop_duplicates("arm"))
    }
    if not ways:
        states.empty("There are no captions to read.")
        return
    way = st.selectbox("What is changed", list(ways), key="way", bind="query-params")
    frame = cat.intervention_captions(ways[way])
    shown = list(dict.fromkeys(frame["image"]))[:N_READ]
    blocks = []
    for image in shown:
        mine = frame[frame["image"] == image]
        sides = "".join(text.side(r.lang, _pair(r.before, r.text, r.lang)) for r in tuples(mine))
        columns = f"7rem{' 1fr' * len(mine)}"
        blocks.append(
            f'<div style="display:grid;grid-template-columns:{columns};gap:1.2rem;align-items:start;'
            f'margin-bottom:1.1rem">{_image(run, mine.iloc[0])}{sides}</div>'
        )
    text.html("".join(blocks))


def _pair(before: str, after: str, lang: str) -> str:
    """The unedited caption, small, above the edited one."""
    same = '<p class="cs-small">the same, word for word</p>'
    old = text.caption_html(before, lang, text.gender_marks(before, lang))
    new = text.caption_html(after, lang, text.gender_marks(after, lang)) if after != before else same
    return f'<div style="opacity:.75">{old}</div>{new}'


def _image(run: Run, row: pd.Series) -> str:
    path = run.path(str(row["image_file"]))
    if not path.is_file():
        return "<span></span>"
    shown = images.file_uri(path)
    return f'<img src="{shown}" alt="{escape(str(row["gender"]))}" style="width:100%;border-radius:6px">'


def curves(effects: pd.DataFrame, along: str, outcome: str) -> None:
    """The target beside the band of its controls."""
    frame = interventions.curve_frame(effects, along, outcome)
    panels.panel(
        "Beside matched controls",
        "line: the gender features, 95 % intervals over images; grey: each set of "
        "other features that fire as often and write as strongly; ringed: what was fixed beforehand; dotted: "
        "unedited",
        f"interventions-{along}-{outcome}",
        frame,
        interventions.curves(frame, along, outcome),
        f"{interventions.OUTCOMES[outcome]} by {interventions.AXES[along]}",
        shown=len(frame) > 0,
        key="curves",
    )
    if frame.empty:
        states.empty("There is no such curve in this run.", "Its designs leave this out.")


def untrained(cat: Catalog, effects: pd.DataFrame, verdicts: pd.DataFrame) -> None:
    """What the same question gives with the features of random dictionaries."""
    if not cat.has("intervention_comparisons"):  # a run of a version that did not ask
        return
    text.heading("Where nothing was learned", "the same question put to features of random directions, as sparse")
    text.said(interventions_answers.untrained_answer(effects, verdicts, cat.intervention_comparisons()))


def modes(effects: pd.DataFrame, outcome: str) -> None:
    """Every mode along k: what is asked for, and beside it whether the task is still done."""
    known = effects.loc[effects["target"].notna(), "outcome"]
    task = next(name for name in ("right_object", "content_kept") if name == "content_kept" or (known == name).any())
    said = "lines: the gender features, 95 % intervals over images; grey: the mean of their controls; dotted: unedited"
    said += f"; n = {int(effects['n_images'].max())} images" if effects["n_images"].notna().any() else ""
    columns = st.columns(2, gap="large")
    for column, name, title in zip(columns, (outcome, task), ("By what is done to them", "The task"), strict=True):
        frame = interventions.modes_frame(effects, name)
        with column:
            panels.panel(
                title,
                said if name == outcome else f"{interventions.OUTCOMES[name]}, along the number of features",
                f"interventions-modes-{title.split()[-1]}-{name}",
                frame,
                interventions.modes(frame, name),
                f"{interventions.OUTCOMES[name]} by number of features and mode",
                shown=len(frame) > 0,
                key=f"modes-{title}",
            )


def ratios(effects: pd.DataFrame) -> None:
    """How many times the controls' effect the target's is, by the way the controls are drawn and the hook."""
    head = [
        "Hook",
        "Controls",
        "Captions",
        "Figure",
        "Target",
        "Controls’ effect",
        "Difference",
        "Ratio",
        "Sets",
        "Images",
    ]
    rows = []
    for name in ("clean", "changed"):
        for r in tuples(interventions.ratios_frame(effects, name)):
            ends = _ends(r.specific_low, r.specific_high)
            times = (
                f"{r.ratio:.1f} [{r.ratio_low:.1f}, {r.ratio_high:.1f}]" if r.ratio == r.ratio else "controls may be 0"
            )
            change = r.control - r.baseline
            rows.append(
                [
                    r.hook,
                    r.drawn,
                    LANGUAGE_NAME[r.lang],
                    escape(interventions.OUTCOMES[name]),
                    f"{interventions.shown(r.effect, name)} {_ends(r.effect_low, r.effect_high)}",
                    interventions.shown(change, name),
                    f"{interventions.shown(r.specific, name)} {ends}",
                    times,
                    str(r.n_controls),
                    str(r.n_images),
                ]
            )
    with st.expander("How large a ratio is depends on controls and hook"):
        if not rows:
            states.empty("This run has no other controls.", "Taking features out is not among interventions.modes.")
            return
        told = interventions_answers.ratios_line(interventions.ratios_frame(effects, "changed"))
        text.html(f'<p class="cs-small">{escape(told)}</p>')
        text.html(text.table(head, rows, numeric=range(4, 10)))


def _ends(low: float, high: float) -> str:
    return f"[{100 * low:.0f}, {100 * high:.0f}]" if low == low else ""


def ways(effects: pd.DataFrame, outcome: str, pairs: pd.DataFrame) -> None:
    """Features, directions, the prompt and identity controls."""
    frame = interventions.ways_frame(effects, outcome)
    panels.panel(
        "Beside other ways",
        "grey: the controls of each way: other features, random directions, another "
        "prompt; at the foot what must do nothing",
        f"interventions-ways-{outcome}",
        frame,
        interventions.ways(frame, outcome),
        f"{interventions.OUTCOMES[outcome]} by what is changed",
        shown=len(frame) > 0,
        key="ways",
    )
    text.said(interventions_answers.ways_answer(effects, pairs))
    if not (effects["method"] == "LEACE").any():
        text.html(
            '<p class="cs-small">LEACE is not among the directions: the optional package concept-erasure was not '
            "installed where this run was computed.</p>"
        )


def transfer(cat: Catalog, effects: pd.DataFrame) -> None:
    """The four cells of ranking language and caption language."""
    if only_language(cat.languages):
        text.heading("From one language to the other")
        states.one_language(cat.languages, "No feature of another language can be tried on its captions.")
        return
    frame = interventions.transfer_frame(effects, "clean")
    panels.panel(
        "From one language to the other",
        "rows: whose captions ranked the features; columns: whose captions are written",
        "interventions-transfer",
        frame,
        interventions.transfer_matrix(frame, "clean"),
        "Clean changes by language of ranking and of caption",
        shown=len(frame) > 0,
        key="transfer",
    )
    text.said(interventions_answers.transfer_answer(effects))


def selectivity(cat: Catalog) -> None:
    """Clean changes against damage, every arm a mark."""
    frame = interventions.selectivity_frame(cat.intervention_arms())
    panels.panel(
        "Selective or destructive?",
        "each mark one change of the model; top left: the gender changes and nothing else does",
        "interventions-selectivity",
        frame,
        interventions.selectivity(frame),
        "Clean changes against damage",
        shown=len(frame) > 0,
        key="selectivity",
    )


def words(cat: Catalog, effects: pd.DataFrame) -> None:
    """Which gendered words come and go, and by how many percent."""
    head, terms = interventions_answers.headline(effects), cat.intervention_terms()
    if head.empty:
        states.empty("No gendered word stands in enough captions.", "At least 3 % of them, edited or not.")
        return
    asked = effects.loc[effects["note"] == "headline", "mode"]
    modes = {interventions.MODE_NAMES[mode]: mode for mode in dict.fromkeys(asked)}
    mode = modes[st.selectbox("What is done to the features", list(modes), key="words-mode", width=300)]
    if "percent" in terms:  # a run of a version that did not count
        percents(interventions.percent_frame(terms, mode))
    frame = interventions.terms_frame(terms, mode)
    panels.panel(
        "Which words come and go",
        "captions in which the word comes or goes, in points beyond the controls; "
        "f: of a woman, m: of a man, u: generic masculine, n: of anyone",
        "interventions-words",
        frame,
        interventions.terms_heat(frame),
        "Change of each gendered word",
        shown=len(frame) > 0,
        key="words",
    )
    if frame.empty:
        states.empty("No gendered word stands in enough captions.", "At least 3 % of them, edited or not.")


def percents(frame: pd.DataFrame) -> None:
    """Signed change of each word in percent, both languages side by side, and the words that are too rare."""
    shown = bool(frame["percent"].notna().any())
    panels.panel(
        "By how many percent",
        "captions that hold the word unedited → edited, change with 95 % intervals paired by image; grey: the controls",
        "interventions-percent",
        frame,
        interventions.percent_bars(frame),
        "Change of each gendered word in percent",
        shown=shown,
        key="percent",
    )
    if rare := interventions.too_rare(frame):
        text.html(
            f'<p class="cs-small">Too rare for a percentage (fewer than 5 captions unedited): {escape(rare)}.</p>'
        )


def judged(verdicts: pd.DataFrame) -> None:
    """Every design with its verdict."""
    with st.expander("The verdict on every design"):
        rows = []
        for r in tuples(verdicts):
            label = f'<span class="cs-sure {CLASS[r.verdict]}">{escape(r.verdict)}</span>'
            where = f"layer {r.layer}" if r.layer >= 0 else "–"
            rows.append(
                [
                    escape(interventions.way_name(r)),
                    where,
                    f"{r.strength:g}" if r.mode == "swap" else "–",
                    LANGUAGE_NAME[r.lang],
                    label,
                    escape(f"{r.why}{'; ' + r.note if r.note else ''}"),
                    str(r.n_controls),
                    str(r.n_images),
                ]
            )
        text.html(
            text.table(
                ["What is changed", "Where", "Strength", "Captions", "Verdict", "Why", "Controls", "Images"],
                rows,
                numeric=(6, 7),
            )
        )


def chosen(cat: Catalog) -> None:
    """What was tried on the development images."""
    with st.expander("What was tried on other images, to choose layer, strength and ranking"):
        tried = cat.intervention_effects("clean", "grid")
        langs = list(cat.languages)
        by = ["method", "mode", "ranking", "layer", "strength"]
        # a language in which nothing could be scored has no column of its own
        wide = tried.pivot_table(index=by, columns="lang", values="target").reindex(columns=langs).reset_index()
        if wide.empty:
            states.empty("Nothing that was tried could be scored.", "No caption of these images names a gender.")
            return
        wide["all"] = wide[langs].mean(axis=1)
        wide = wide.sort_values(["method", "mode", "all"], ascending=[True, True, False])
        best = wide.groupby(["method", "mode"])["all"].transform("max")
        rows = [
            [
                escape(r["method"]),
                escape(interventions.MODE_NAMES[r["mode"]]),
                escape(r["ranking"] or "–"),
                str(r["layer"]),
                f"{r['strength']:g}",
                *(f"{100 * r[lang]:.0f} %" if r[lang] == r[lang] else "–" for lang in langs),
                "★" if top else "",
            ]
            for r, top in zip(records(wide), wide["all"] == best, strict=True)
        ]
        head = ["Method", "What", "Ranking", "Layer", "Strength", *(LANGUAGE_NAME[lang] for lang in langs), "Best"]
        text.html(text.table(head, rows, numeric=range(3, 5 + len(langs))))


ALONG_HELP = "What is varied; all else stays as it was fixed on the development images."
SHOWN_HELP = "What is counted of the captions. Lengths and rates show whether captions merely got shorter."
METHOD = r"""
The features are ranked by gender before the first gendered word on training images; layer, strength and ranking are
chosen on held-out images, and everything shown here is measured on others (on the demo world on fresh scenes).
**Other gender put in**: the features of the gender that the caption names are turned off ($z'=0$) and those of the
other are raised to at least the strength, $z'=\max(z, s\cdot z_{99.9})$; **taken out**: all are turned off;
**set to the middle**: all are set to the middle of their means over women’s and men’s training images. The SAE’s
error is kept: $h'=h+\sum_i (z'_i-z_i)\,W_{\mathrm{dec},i}$. A **direction** is set to $s$ times the other gender’s
mean, or to the midpoint. **Controls** are sets of live features of the same layer, matched one to one with the target
on firing rate, decoder norm and mean activation, and changed in the same way; for a direction, random directions.
A **random dictionary** has as many random directions as the SAE has features, as many of them active on a token; its
features are ranked, its strength chosen, and its controls matched as the SAE’s are.

A caption counts when it named one gender unedited. **Clean**: it now names another or none, and keeps three quarters
of its words of content (those in at most a fifth of all captions). Intervals are over images and control
sets together; $p$ exchanges whole sets, so with 25 controls it cannot fall below 1/26. *Adjusted*: step-down max-T
(Westfall and Young 1993) over all designs in both languages, from whole draws of controls, 5 % counts; the one design
that was fixed beforehand keeps its $p$. Surprise is the mean negative log-probability under the unedited model.
Source: the stage `interventions` (docs/methods.md).
"""

main()

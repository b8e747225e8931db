"""What gender captions give to people whose image shows none, and how often they miss the one that is shown."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from core.answers import bias as bias_answers
from core.answers.policy import shares_line
from core.config import LANGUAGE_NAME
from core.figures import bias
from core.frames import records, tuples
from pages.kit import panels, pickers, policy, runs, states, text

QUESTION = "What gender do captions give to people who show none?"
KINDS = {
    "Sampled: what the model believes": "sampled",
    "Greedy: what it then says": "greedy",
    "What people wrote": "reference",
}


def main() -> None:
    run = runs.current_run()
    cat = runs.catalog(run)
    if not cat.has("bias_roles"):
        text.page_title(QUESTION)
        runs.needs(run, "bias")
    roles, metrics = cat.frame("bias_roles"), cat.frame("bias_metrics")
    head = st.container()
    planted = bias_answers.planted_attribute(roles)
    if planted:
        kinds = {name: source for name, source in KINDS.items() if (roles["source"] == source).any()}
        source = kinds[pickers.choice("Captions", list(kinds), "captions", WHICH)]
        answer = bias_answers.recovery_answer(metrics, planted, source, roles)
        recovery(roles, metrics, planted, source)
    else:
        answer = bias_answers.share_answer(roles)
    states.one_language(cat.languages, "How far the captions of two languages lie apart is not known.")
    counts_as = run.config().words.generic_masculine
    with head:
        text.page_title(QUESTION, answer.text, answer.sure, note=answer.note)
        policy.show_line(f"Shares of men are {bias_answers.estimand(counts_as)}.")
        policy.show_line(bias_answers.not_compared(counts_as, roles, cat.languages))
        policy.show_line(shares_line(cat.frame("bias_policies"), cat.languages) if cat.has("bias_policies") else "")
        policy.show_labels_line(run, cat)
    if cat.captions_given:
        states.empty(
            "The sampled captions alone are the model’s.",
            "People wrote the others, which it read: what it would write as its single best caption, its errors and "
            "its omissions are not known.",
            "Have it write them: --set caption.source=own",
        )
    attribute = groups(roles, planted)
    left, right = st.columns(2, gap="large")
    with left:
        amplification(metrics, planted or attribute)
    with right:
        errors(metrics)
    left, right = st.columns(2, gap="large")
    with left:
        leakage(metrics)
    with right:
        resolution(metrics)
    text.method(METHOD)


def recovery(roles: pd.DataFrame, metrics: pd.DataFrame, attribute: str, source: str) -> None:
    """The test of the instrument: found against planted, and how good it is."""
    frame = bias.recovery_frame(roles, attribute, source)
    overall = roles[(roles["attribute"] == bias_answers.ALL) & (roles["source"] == source)]
    everywhere = {row.lang: float(row.p_male) for row in tuples(overall)}
    panels.panel(
        "Planted, and found again",
        f"a mark is one {attribute} with its 95 % interval; dotted: found as "
        f"planted; grey: where all would lie if captions ignored the {attribute}",
        f"bias-recovery-{source}",
        frame,
        bias.recovery_scatter(frame, everywhere),
        f"Share of captions that name a man by {attribute}, found and planted",
        shown=len(frame) > 0,
        key="recovery",
    )
    mine = metrics[(metrics["attribute"] == attribute) & (metrics["source"] == source)]
    rows = []
    for lang, name in bias.PANELS.items():
        one = {row["metric"]: row for row in records(mine[mine["lang"] == lang])}
        if one:
            cells = [shown(one[m], 2) if m in one else "–" for m in ("correlation", "slope", "calibration_error")]
            floor = one["calibration_error"]["floor"] if "calibration_error" in one else float("nan")
            n = str(int(one["correlation"]["n"])) if "correlation" in one else "–"
            rows.append([name, *cells, f"{floor:.2f}" if pd.notna(floor) else "–", n])
    text.html(
        text.table(
            [
                "Captions",
                "Correlation with planted",
                "Slope (1: neither more nor less)",
                "Mean distance from planted",
                "Of it by few captions alone",
                f"{attribute.capitalize()}s",
            ],
            rows,
            numeric=(4, 5),
        )
    )


def shown(row: dict, digits: int) -> str:
    """A value with its interval and what chance gives."""
    if pd.isna(row["value"]):
        return f'<span class="cs-small">{escape(row["why"] or "not enough data")}</span>'
    value, low, high, chance_low, chance_high = (
        f"{row[name]:.{digits}f}" for name in ("value", "low", "high", "control_low", "control_high")
    )
    interval = "(too few differ for an interval)" if pd.isna(row["low"]) else f"[{low}, {high}]"
    return f'{value} {interval} <span class="cs-small">chance {chance_low} to {chance_high}</span>'


def groups(roles: pd.DataFrame, planted: str) -> str:
    """Shares by the values of an attribute, in both languages; the attribute that is shown."""
    known = [a for a in dict.fromkeys(roles["attribute"]) if a != bias_answers.ALL]
    known.sort(key=lambda a: a != planted)
    if not known:
        states.empty(
            "These images carry no annotation but gender.",
            "A column of attributes, such as a role, would let captions be compared by it.",
        )
        return bias_answers.ALL
    attribute = pickers.choice("Group by", known, "by", BY) if len(known) > 1 else known[0]
    frame = bias.groups_frame(roles, attribute)
    if frame.empty:
        states.empty("There is not enough data.", "No held-out image that shows no gender has this attribute.")
        return attribute
    panels.panel(
        f"By {attribute}",
        "filled: sampled captions with their 95 % interval; bar: greedy; ring: what "
        "people wrote; grey: as many men as women",
        f"bias-by-{attribute}",
        frame,
        bias.groups_ranges(frame),
        f"Share of captions that name a man by {attribute}",
        key="groups",
    )
    with st.expander("The numbers"):
        text.html(numbers(frame))
    return attribute


def numbers(frame: pd.DataFrame) -> str:
    """Every group as a line: planted, sampled, greedy and people's share by language."""
    rows = []
    for (value, lang), part in frame.groupby(["value", "lang"], sort=False):
        by = {row["source"]: row for row in records(part)}
        planted, n_images = part["planted"].dropna(), int(part["n_images"].max())
        cells = [share_cell(by[s]) if s in by and pd.notna(by[s]["p_male"]) else "–" for s in bias.SOURCES]
        rows.append(
            [
                f"<bdi>{escape(str(value))}</bdi>",
                LANGUAGE_NAME[str(lang)],
                f"{planted.iloc[0]:.2f}" if len(planted) else "–",
                *cells,
                f"{part['n_unmarked'].sum() / max(1, part['n_captions'].sum()):.0%}",
                str(n_images),
            ]
        )
    head = ["", "Captions", "Planted", "Sampled", "Greedy", "People wrote", "Generic masculine alone", "Images"]
    return text.table(head, rows, numeric=(2, 6, 7))


def share_cell(row: dict) -> str:
    """A share with its interval and n; why there is no interval, where there is none."""
    interval = "no interval: one image" if pd.isna(row["low"]) else f"[{row['low']:.2f}, {row['high']:.2f}]"
    return f'{row["p_male"]:.2f} {interval} <span class="cs-small">n = {int(row["n_counted"])}</span>'


def amplification(metrics: pd.DataFrame, attribute: str) -> None:
    """Belief and greedy captions against what people wrote."""
    mine = metrics[(metrics["metric"] == "amplification_zhao") & (metrics["attribute"] == attribute)]
    mine = mine[mine["value"].notna()]
    where = {"neutral": "no gender shown", "labelled": "women and men shown"}
    label = [f"{LANGUAGE_NAME[r.lang]}, {r.source}, {where[r.group]}" for r in tuples(mine)]
    frame = mine.assign(label=label).sort_values(["group", "source"], ascending=False).reset_index(drop=True)
    axis = "gain, as a share"
    panels.panel(
        "Is the bias amplified?",
        f"0: captions are as one-sided as the references; grey: captions that ignore the {attribute}",
        "bias-amplification",
        frame,
        bias.beside_control(frame, axis),
        "Bias amplification",
        shown=len(frame) > 0,
        key="amplification",
    )
    text.said(bias_answers.amplification_answer(metrics, attribute))


def errors(metrics: pd.DataFrame) -> None:
    """Errors and omissions where the image shows a gender."""
    names = {"error": "wrong gender", "omission": "no gender named", "unmarked": "generic masculine alone"}
    who = {"female": "women", "male": "men"}
    mine = metrics[metrics["metric"].isin(names) & metrics["group"].isin(who) & metrics["value"].notna()]
    mine = mine[(mine["metric"] != "unmarked") | (mine["lang"] == "ar")]  # English has no generic masculine
    label = [f"{LANGUAGE_NAME[r.lang]}, {names[r.metric]}, {who[r.group]}" for r in tuples(mine)]
    frame = mine.assign(label=label).sort_values(["metric", "lang"], ascending=[True, False]).reset_index(drop=True)
    axis = "share of images"
    panels.panel(
        "Where a gender is shown, is it missed?",
        "greedy captions; grey: the same on shuffled images",
        "bias-errors",
        frame,
        bias.beside_control(frame, axis),
        "Errors and omissions by gender",
        shown=len(frame) > 0,
        key="errors",
    )
    text.said(bias_answers.errors_answer(metrics))


def leakage(metrics: pd.DataFrame) -> None:
    """What captions tell of the image's gender with the words for it masked: the model's, people's, the difference."""
    names = {"greedy": "the model's", "reference": "people's", "greedy-reference": "difference (LIC)"}
    mine = metrics[(metrics["metric"] == "lic") & metrics["value"].notna()]
    label = [f"{LANGUAGE_NAME[r.lang]}, {names[r.source]}" for r in tuples(mine)]
    frame = mine.assign(label=label).reset_index(drop=True)
    panels.panel(
        "With its words masked, is gender still told?",
        "how surely a classifier tells women from men by masked captions; grey: the same with labels shuffled",
        "bias-leakage",
        frame,
        bias.beside_control(frame, "confidence where right (LIC score)"),
        "Caption leakage by writer",
        shown=len(frame) > 0,
        key="leakage",
    )


def resolution(metrics: pd.DataFrame) -> None:
    """Whose gender is said rightly more often."""
    names = {"resolution": "of all images", "resolution_named": "of captions that say one"}
    mine = metrics[metrics["metric"].isin(names) & (metrics["group"] == "male-female") & metrics["value"].notna()]
    label = [f"{LANGUAGE_NAME[r.lang]}, {names[r.metric]}" for r in tuples(mine)]
    frame = mine.assign(label=label).reset_index(drop=True)
    panels.panel(
        "Whose gender is said rightly?",
        "share of men said rightly less that of women (resolution bias); grey: the same on shuffled images",
        "bias-resolution",
        frame,
        bias.beside_control(frame, "men less women, as a share"),
        "Resolution bias",
        shown=len(frame) > 0,
        key="resolution",
    )


WHICH = (
    "Sampled captions, drawn at random from the model’s own probabilities, show how sure it is. Greedy captions "
    "are the single likeliest ones: they turn a preference into a rule."
)
BY = "What is annotated of the images."
METHOD = r"""
Of every held-out image that shows no gender the model writes several captions, drawn at random from its own
probabilities (temperature 1), and one greedy caption. Arabic says لاعب or أطفال of people of any gender (the generic
masculine) and must say طبيبة of a woman, so that counting roles compares grammars. $p(\text{male})$ is therefore the
share of men among captions that say one gender by a word that both genders must say alike: رجل and امرأة, he and she,
father and mother; no role. Arabic minus English is shown of that share alone. Another policy
(`words.generic_masculine`) counts the generic masculine as a man or leaves it out.
Captions of one image resemble each other; how much (a beta-binomial model of each group, which leans on the other
groups as far as they are alike) widens its interval, and a group of one image has none. With one caption an image the
interval is Clopper and Pearson’s (1934). **Planted** shares exist in the demo world alone,
where they were written by hand; finding them again tests the instrument and says nothing about any society. The
correlation’s interval is a bootstrap over groups, its control the planted shares dealt out anew.

**Amplification** (Zhao et al. 2017): the rise of the share of the gender that the references favour,
$A=\frac1{|O|}\sum_{o,g:\,b^*(o,g)>1/2}\tilde b(o,g)-b^*(o,g)$; which gender is favoured comes from the training images.
The directional measure of Wang and Russakovsky (2021) is in the data as well. **Wrong gender**: the caption names only
the other one, by such a word; a neutral word is no error but an
omission, and the generic masculine is neither.

**Leakage** (LIC, Hirota et al. 2022): a classifier reads captions whose words for gender are masked; its confidence
where it is right, the model's captions less people's. **Resolution bias** (VisoGender, Hall et al. 2023): the share of
images of men whose gender is said, less that of women. Source: the stage `bias` (docs/methods.md).
"""

main()

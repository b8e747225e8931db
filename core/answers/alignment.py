"""Sentences about English and Arabic, written from the tables, with n, interval and what chance alone would give."""

from __future__ import annotations

from typing import Any

import pandas as pd

from core.answers import NEARLY_SAME, Answer, says, within
from core.frames import records

SCORE_NAMES = {
    "clbas": "CLBAS (this project)",
    "top_overlap": "Overlap of the 64 strongest features (Jaccard)",
    "effect_similarity": "1 − mean |difference| / sum of effects",
    "effect_cosine": "Cosine of the effect vectors",
}
CASE_NAMES = {
    "measured": "This run",
    "same language twice": "Same language twice",
    "over its ceiling": "Over its ceiling",
    "labels shuffled": "Labels shuffled",
    "effects at random": "Effects at random",
}
EARLIER_CASES = {
    "measured": "This run",
    "labels shuffled": "Labels shuffled",
    "images paired at random": "Images paired at random",
    "same language twice": "English with itself",
}
EARLIER = {
    "clfa": (
        "CLFA, mean similarity of aligned features",
        "compares how features are distributed, not on which images they fire: the pairing of images changes nothing, "
        "so that it has no floor",
    ),
    "clbas_published": (
        "CLBAS = Σ s |b_en − b_ar| / Σ s",
        "a difference: lower is more alike. Least where nothing is (labels shuffled), for it grows with the effects "
        "and pairs features that are none’s partner",
    ),
    "hbl_en": (
        "HBL, bias attribution of this layer, English",
        "mean |women − men| over units: grows with the scale of a layer and with noise, so that it compares no parts",
    ),
    "hbl_ar": ("HBL, bias attribution of this layer, Arabic", "as in English"),
    "sbi": (
        "SBI, share of the bias taken away",
        "what is left is set to one half and not measured: the same whatever is changed",
    ),
    "transport": (
        "Optimal transport of activations on the same images, mean correlation of partners on other images",
        "0 where images are paired at random, and at most what one language reaches with itself",
    ),
}
WHERE = {"before": "before the first gendered word", "caption": "over the whole caption"}


@says("alignment.shared", "alignment.two directions", "alignment.one direction")
def alignment_answer(curves: pd.DataFrame, classes: pd.DataFrame, layer: int, view: str) -> Answer:
    """Whether the languages share what they know at a layer; `curves` of core.figures.alignment."""
    found = {m: _row(curves, m, layer) for m in ("cka", "direction_cosine", "clbas")}
    if all(row is None for row in found.values()):
        return Answer(f"At layer {layer} there is not enough data to compare English and Arabic.", "not enough data")
    parts: list[str] = []
    claims: tuple[str, ...] = ()
    decided = []
    if found["direction_cosine"]:
        how, claim = _direction(found["direction_cosine"])
        claims += (claim,) if claim else ()
        decided.append(bool(claim))
        parts.append(f"{how} (cosine {_told(found['direction_cosine'])})")
    if found["clbas"]:
        row = found["clbas"]
        decided.append(row["low"] > row["floor_high"])
        how = "in part" if decided[-1] else "no better than by chance"
        how = "as well as those of one language" if row["ratio_low"] > NEARLY_SAME and decided[-1] else how
        parts.append(f"the features that carry it agree {how} (CLBAS {_told(row)})")
    if not parts and found["cka"]:
        parts.append(f"the languages place the same images alike at {_told(found['cka'])} (CKA)")
    text = f"At layer {layer}, {WHERE.get(view, view)}, {', and '.join(parts)}. "
    counts = classes[classes["layer"] == layer].set_index("language_class")["n"] if len(classes) else pd.Series()
    if len(counts):
        tested = int(counts.drop("not enough data", errors="ignore").sum())
        text += (
            f"Of {tested:,} features, {_n(counts, 'shared')} do the same in both languages, "
            f"{_n(counts, 'english')} keep to English and {_n(counts, 'arabic')} to Arabic."
        )
    above = [row["low"] > row["floor_high"] for row in found.values() if row]
    claims += ("alignment.shared",) if all(above) else ()
    if found["cka"]:
        decided.append(found["cka"]["low"] > found["cka"]["floor_high"])
    return Answer(text.strip(), "supported" if all(decided) else "unclear", claims)


def _direction(row: dict[str, Any]) -> tuple[str, str]:
    """Whether gender has one direction, judged over what so many images could show, and the claim that is made."""
    if row["ratio_low"] > NEARLY_SAME and row["low"] > row["floor_high"]:
        return "gender has nearly the same direction in the two languages", "alignment.one direction"
    if row["ratio_high"] < NEARLY_SAME:
        return "gender has two directions in the two languages", "alignment.two directions"
    return "whether gender has one direction in the two languages cannot be told", ""


def classes_note(classes: pd.DataFrame) -> str:
    """What chance alone puts into the classes, over all layers."""
    if classes.empty:
        return ""
    by_chance = classes.groupby("language_class")["chance"].sum().to_dict()
    own = by_chance.get("english", 0.0) + by_chance.get("arabic", 0.0)
    return (
        f"by chance (languages swapped within images; pairs shuffled) {own:.1f} of one language and "
        f"{by_chance.get('shared', 0.0):.0f} shared, over all layers"
    )


def control_rows(clbas: pd.DataFrame) -> pd.DataFrame:
    """A row a score of one layer, view and dictionary: its cases as text, and whether it tells data from chance."""
    rows = []
    for score, name in SCORE_NAMES.items():
        cases = {row["case"]: row for row in records(clbas[clbas["score"] == score])}
        if "measured" not in cases or pd.isna(cases["measured"]["value"]):
            continue
        row: dict[str, Any] = {"score": score, "Score": name}
        for case, title in CASE_NAMES.items():
            one = cases.get(case)
            if one is None or pd.isna(one["value"]):  # only CLBAS has a ceiling that is more than 1 by definition
                row[title] = "–"
                continue
            row[title] = f"{one['value']:.2f}" if one["low"] == one["high"] else within(one)
        highest = max(float(cases[case]["high"]) for case in ("labels shuffled", "effects at random"))
        row["Beyond chance"] = "yes" if float(cases["measured"]["low"]) > highest else "no"
        rows.append(row)
    return pd.DataFrame(rows)


@says("alignment.same strongest", "alignment.other strongest")
def overlap_answer(rows: pd.DataFrame, k: int) -> Answer:
    """Whether the k features that tell gender best are the same in both; ``rows`` of one layer and view."""
    here = records(rows[rows["k"] == k])
    if not here:
        return Answer("There are too few images of women or of men, or too few features.", "not enough data")
    row = here[0]
    n = f"n = {row['n_female']:,} images of women and {row['n_male']:,} of men, each half ranking one language"
    text = f"Of the {k} features that tell gender best, {within_share(row)} are the same in English and Arabic"
    beside = f"labels shuffled {row['floor']:.0%}, one language with itself {row['ceiling']:.0%}"
    if pd.isna(row["ratio"]):
        return Answer(f"{text} ({beside}): whether they could be more cannot be told; {n}.", "unclear")
    over = f"over that {within(row, 'ratio')}"
    claims: tuple[str, ...] = ()
    if row["ratio_low"] > NEARLY_SAME and row["low"] > row["floor_high"]:
        how, claims = "as many as one language could show", ("alignment.same strongest",)
    elif row["ratio_high"] < NEARLY_SAME:
        how, claims = "fewer than if they were the same", ("alignment.other strongest",)
    else:
        how = "whether all could be the same cannot be told"
    return Answer(f"{text}, {how} ({beside}, {over}; {n}).", "supported" if claims else "unclear", claims)


def within_share(row: dict[str, Any]) -> str:
    """A share with its interval, in percent."""
    return f"{row['value']:.0%} [{row['low']:.0%}, {row['high']:.0%}]"


def earlier_table(rows: pd.DataFrame) -> list[list[str]]:
    """Of one layer and view, a line a formula: its name, what it gives in each case, and what that shows."""
    found = []
    for score, (name, shows) in EARLIER.items():
        cases = {row["case"]: row for row in records(rows[rows["score"] == score])}
        if cases:
            found.append([name, *(_case(cases.get(case)) for case in EARLIER_CASES), shows])
    return found


def _case(row: dict[str, Any] | None) -> str:
    if row is None or pd.isna(row["value"]):
        return "–"
    spread = f" [{row['low']:.2f}, {row['high']:.2f}]" if row["high"] - row["low"] >= 0.005 else ""
    return f"{row['value']:.2f}{spread}"


@says("alignment.grammar")
def grammar_answer(counts: pd.DataFrame, frame: pd.DataFrame, layer: int) -> Answer:
    """Whether Arabic features follow the grammatical gender of things; `frame` is of one layer."""
    if frame.empty:
        return Answer(
            "There are too few words for things, or too few images of women or men, to tell.", "not enough data"
        )
    n = frame[["n_words_female", "n_words_male"]].iloc[0]
    words = f"{int(n['n_words_female'])} feminine and {int(n['n_words_male'])} masculine words"
    total = counts.groupby("follows")["n"].sum()
    tested = int(total.drop("not enough data", errors="ignore").sum())
    follow = int(total.get("word", 0) + total.get("both", 0))
    here = int((frame["follows"].isin(["person", "both"])).sum())
    text = (
        f"Over all layers, {follow or 'none'} of {tested:,} features follow the grammatical gender of things ({words}) "
        f"beyond what the same images give in English; at layer {layer}, {here:,} follow the gender of the person."
    )
    if not follow:
        best = frame.nlargest(1, "size_word").iloc[0]
        text += (
            f" The nearest here, feature {int(best['feature'])}, has AUC {best['auc_word_ar']:.2f} in Arabic and "
            f"{best['auc_word_en']:.2f} in English "
            f"(p = {best['p_word_adjusted']:.2g} over all features and layers, "
            f"{int(best['n_labellings']):,} labellings)."
        )
    return Answer(text, "supported" if follow else "unclear")


@says("alignment.shared features", "alignment.features of one language")
def sharing_answer(frame: pd.DataFrame) -> Answer:
    """How many of a layer's strongest gender features work in both languages."""
    if frame.empty:
        return Answer("There are too few images of women or of men to say.", "not enough data")
    n = frame["sharing"].value_counts()
    images = f"n = {int(frame['n_female'].iloc[0])} women and {int(frame['n_male'].iloc[0])} men held out"
    text = (
        f"Of the {len(frame)} features with the largest effect on other images, {_n(n, 'shared')} tell women "
        f"from men in both languages, {_n(n, 'opposed')} the other way round in one; {_n(n, 'english')} keep to "
        f"English and {_n(n, 'arabic')} to Arabic (less than half of the effect in the other); of {_n(n, 'unclear')} "
        f"it cannot be told at this n ({images})."
    )
    own = n.get("english", 0) + n.get("arabic", 0)
    claims = ("alignment.shared features",) if n.get("shared", 0) else ()
    claims += ("alignment.features of one language",) if own else ()
    return Answer(text, "supported" if claims else "unclear", claims)


def apart_note(fit: pd.DataFrame, score: pd.DataFrame, layer: int) -> str:
    """What the separate dictionaries of a layer are worth, and CLBAS over their partners."""
    values = fit["explained_variance"]
    quality = f" (explained variance {values.min():.2f} to {values.max():.2f})" if len(fit) else ""
    text = (
        f"layer {layer}; each language has its own dictionary, from two seeds{quality}; partners are found on "
        "training images and scored on held-out ones, never by number"
    )
    cases = score[(score["score"] == "clbas") & score["value"].notna()].set_index("case")
    if cases.empty:
        return f"{text}."
    one, floor, most = (cases.loc[case] for case in ("measured", "labels shuffled", "same language twice"))
    over = "over its ceiling"
    ratio = f", over that {within(dict(cases.loc[over]))}" if over in cases.index else ""
    return (
        f"{text}. CLBAS of partners: {within(dict(one))}; labels shuffled up "
        f"to {floor['high']:.2f}, within one language {most['value']:.2f}{ratio}."
    )


def missing_words(alignment: pd.DataFrame) -> str:
    """Why nothing was compared, where that is so, else ""."""
    if len(alignment) and alignment["value"].isna().all():
        return str(alignment["why"].iloc[0])
    return ""


def _row(curves: pd.DataFrame, measure: str, layer: int) -> dict[str, Any] | None:
    part = curves[(curves["measure"] == measure) & (curves["layer"] == layer)].dropna(subset=["value"])
    return records(part)[0] if len(part) else None


def _told(row: dict[str, Any]) -> str:
    over = "" if pd.isna(row["ratio"]) else f", over that {within(row, 'ratio')}"
    return (
        f"{within(row)}, chance up to {row['floor_high']:.2f}, one language with itself {row['ceiling']:.2f}{over}, "
        f"n = {int(row['n']):,} images"
    )


def _n(counts: pd.Series, name: str) -> str:
    n = int(counts.get(name, 0))
    return f"{n:,}" if n else "none"

"""What the data say about mechanisms, each in one sentence with interval, n, control and how sure it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from core.answers import NEARLY_SAME, Answer, says, within
from core.config import LANGUAGE_NAME
from core.figures.mechanisms import part_name
from core.frames import records
from core.intervals import q_values, told

ADD_UP = 0.2  # of the sum of both effects: what two do beyond it is called little

LEVEL = 0.05  # above which the smallest possible p means that no part could be found


@says("mechanisms.part", "mechanisms.alike")
def mechanisms_answer(effects: pd.DataFrame, alike: pd.DataFrame) -> Answer:
    """Which parts carry the image's gender into the words: the part that is strongest on training captions, judged on
    held-out ones, and how alike the two languages are (``alike``: part_agreement)."""
    parts, sure = [], "supported"
    for lang in LANGUAGE_NAME:
        rows = effects[(effects["lang"] == lang) & (effects["why"] == "")]
        if rows.empty:
            continue
        total = rows[rows["part"] == "all"].iloc[0]
        own = rows[rows["part"].isin(("head", "mlp"))]
        first = own.iloc[int(own["effect_train"].abs().argmax())]
        heads = own[own["part"] == "head"]["effect"].sum() / total["effect"]
        beyond = bool(first["finding"]) and not first["low"] <= 0 <= first["high"]
        could = first.get("p_least", 0.0) <= LEVEL  # a run of before did not ask
        sure = "unclear" if could and not beyond and sure == "supported" else sure if could else "not enough data"
        n_found, n = int(own["finding"].sum()), len(own)
        mlps = 1 - heads - _embedding(rows) / total["effect"]
        parts.append(
            f"In {LANGUAGE_NAME[lang]}, {_called(first)} adds most directly, {_number(first)} of the "
            f"{_number(total, 1)} log-odds between images of women and men (random words {first['random_low']:.2f} to "
            f"{first['random_high']:.2f}); all heads add {heads:.0%}, the MLPs {mlps:.0%}; {n_found} of {n} parts are "
            f"beyond both controls (adjusted over all parts, {int(first['n_permutations']):,} shuffles of the images’ "
            "genders)" + ("" if could else _too_alike(first))
        )
    if not parts:
        why = next((w for w in effects["why"] if w), "no captions")
        return Answer(f"This cannot be said: {why}.", "not enough data")
    one = effects[effects["why"] == ""].iloc[0]
    text = f"{'. '.join(parts)}; n = {one['n_female'] + one['n_male']} held-out captions a language."
    same, what = alike_sentence(alike)
    claims = ("mechanisms.part",) if sure == "supported" else ()
    return Answer(f"{text}{what}", sure, claims + ("mechanisms.alike",) * same)


def _too_alike(row: pd.Series) -> str:
    """Why no part could be found."""
    n = int(row["n_female"] + row["n_male"])
    return (
        f", which none could be: the words tell the gender already: only {int(row['n_compared'])} of {n} captions "
        f"compare what those of the other gender compare too, and no p is below {row['p_least']:.2f}"
    )


def _embedding(rows: pd.DataFrame) -> float:
    return float(rows[rows["part"] == "embedding"]["effect"].sum())


def alike_sentence(alike: pd.DataFrame) -> tuple[bool, str]:
    """Whether it is said that the same parts do it in both languages, and what is said; "" where it was not asked."""
    row = next((r for r in records(alike) if r["parts"] == "all"), None)
    if row is None:
        return False, ""
    n = f"{row['n_parts']} parts, {row['n_female'] + row['n_male']} images"
    if row["why"] or pd.isna(row["ratio_low"]):
        why = row["why"] or "the effects of one language cannot be told from noise"
        return False, f" Whether the same parts do it in both languages cannot be said: {why} ({n})."
    told = (
        f"r = {within(row)}, of the {row['ceiling']:.2f} that so many images could show of equal parts: "
        f"{within(row, 'ratio')} without noise; genders dealt out anew up to {row['floor_high']:.2f}; {n}"
    )
    if row["low"] <= row["floor_high"]:
        return False, f" How alike the languages’ parts are cannot be told from chance ({told})."
    how = "The same parts do" if row["ratio_low"] > NEARLY_SAME else "In part the same parts do"
    return True, f" {how} it in both languages ({told})."


def _called(row: pd.Series) -> str:
    return f"head {part_name(dict(row))}" if row["part"] == "head" else f"the {part_name(dict(row))}"


def _number(row: pd.Series | dict[str, Any], digits: int = 2) -> str:
    return told(float(row["effect"]), float(row["low"]), float(row["high"]), form=f".{digits}f")


@says("mechanisms.head")
def head_answer(row: dict[str, Any], reading: pd.DataFrame) -> Answer:
    """What one head does, of its row of head_effects and its rows of head_readings (of the same language)."""
    if row["why"]:
        return Answer(f"Nothing can be said of this head: {row['why']}.", "not enough data")
    looks = (
        f"It gives {row['image_share']:.0%} [{row['image_low']:.0%}, {row['image_high']:.0%}] of its attention to the "
        f"image (spread evenly: {row['image_even']:.0%})"
    )
    if pd.isna(row["image_share"]):
        looks = "It attends to the image alone, by cross-attention,"
    adds = (
        f"adds {_number(row)} to the log-odds of a woman’s word where the image shows a woman rather than a man "
        f"(shuffled images {row['shuffled_low']:.2f} to {row['shuffled_high']:.2f})"
    )
    reads = ""
    if len(reading):
        best = dict(reading.iloc[int(reading["cosine"].abs().argmax())])
        # apart by whole intervals, for it is the larger of two places that is told
        out = best["cosine_low"] > best["cosine_shuffled_high"] or best["cosine_high"] < best["cosine_shuffled_low"]
        where = {"image": "at the image", "before": "at the words so far"}[best["view"]]
        reads = (
            f"; its weights turn the gender direction {where} {'on' if best['cosine'] > 0 else 'against'} the one that "
            f"the layer above holds, cosine {within(best, 'cosine')} on different images, "
            f"{'beyond' if out else 'no more than'} what shuffled "
            f"images give ({best['cosine_shuffled_low']:.2f} to {best['cosine_shuffled_high']:.2f})"
        )
    return Answer(
        f"{looks} and {adds}{reads}; n = {row['n_female'] + row['n_male']} held-out captions.",
        "supported" if row["finding"] else "unclear",
    )


@says("mechanisms.pairs add up", "mechanisms.pairs interact")
def pairs_answer(pairs: pd.DataFrame) -> Answer:
    """Whether pairs of features do more together than apart, against the control pairs; of all layers given."""
    done = pairs[pairs["n_ablated"] > 0].dropna(subset=["relative"])
    top, control = done[done["kind"] == "top"], done[done["kind"] == "control"]
    if len(top) < 3:
        return Answer(
            f"Too few pairs were ablated together to say whether they interact (n = {len(top)}).", "not enough data"
        )
    apart = q_values(done["p_interaction"]) <= 0.05
    beyond, also = (int(apart[done["kind"] == kind].sum()) for kind in ("top", "control"))
    size, base = float(top["relative"].median()), float(control["relative"].median()) if len(control) else np.nan
    low, high = float(top["relative_low"].median()), float(top["relative_high"].median())
    sentence, claim = "Whether effects add up cannot be told", ""
    if high < ADD_UP:
        sentence, claim = "Effects mostly add up", "mechanisms.pairs add up"
    elif low > ADD_UP:
        sentence, claim = "Effects do not simply add up", "mechanisms.pairs interact"
    text = (
        f"{sentence}: what two of the strongest features do together differs from the sum of each by "
        f"{size:.0%} [{low:.0%}, {high:.0%}] (medians of {len(top)} pairs; {len(control)} pairs of other features: "
        f"{base:.0%}); beyond 0 are {beyond} of {len(top)} and {also} of {len(control)} (q ≤ 0.05 over all pairs); "
        f"n = {int(top['n_ablated'].max())} held-out captions."
    )
    return Answer(text, "supported" if claim and len(control) else "unclear", (claim,) if claim else ())


@says("mechanisms.gradient")
def patching_answer(checks: pd.DataFrame) -> Answer:
    """How far one gradient can be trusted in place of ablations, over all layers and languages."""
    known = checks[(checks["chosen"] == "all")].dropna(subset=["r"])
    own = known[known["method"] == "gradient"]
    if own.empty:
        why = next((w for w in checks["why"] if w), "no features were ablated")
        return Answer(f"Whether gradients can be trusted is not known: {why}.", "not enough data")
    worst, steep = own.iloc[int(own["r"].argmin())], own.iloc[int((own["slope"] - 1).abs().argmax())]
    firm = bool((own["low"] > own["control_high"]).all())
    text = (
        f"One gradient ranks features as ablating them one by one does: r = "
        f"{told(worst['r'], worst['low'], worst['high'])} at worst ({_where(worst)}; predictions dealt out "
        f"anew {worst['control_low']:.2f} to "
        f"{worst['control_high']:.2f})"
    )
    text += f", rank correlation ≥ {own['spearman'].min():.2f}; but sizes are off: true effects are up to "
    text += f"{steep['slope']:.1f} times the predicted ({_where(steep)})"
    for method, name in (("integrated", "integrated gradients"), ("direct", "the features’ own words")):
        other = known[known["method"] == method]
        if len(other):
            text += (
                f"; {name} r ≥ {other['r'].min():.2f}, slope {other['slope'].min():.1f} to {other['slope'].max():.1f}"
            )
    return Answer(
        f"{text}; n = {int(own['n'].min())} features a layer, {int(own['n_images'].min())} held-out captions.",
        "supported" if firm else "unclear",
    )


def _where(row: pd.Series) -> str:
    return f"layer {row['layer']}, {LANGUAGE_NAME[row['lang']]}"

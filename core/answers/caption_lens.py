"""The story of one gendered word: where its gender can be read, where the lens prefers it, and what wrote it.

One caption is one example: the story says what was measured on it, and what it takes from the whole run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from core.config import LANGUAGE_NAME
from core.frames import records

N_PARTS, N_FEATURES = 3, 3
PLACES = {"image": "at the image", "prompt": "at the question’s end", "before": "before the word"}
Link = tuple[str, str, dict[str, object]]  # what is shown, the page, its state


@dataclass(frozen=True)
class Step:
    """One step of the story: ``of`` is what it was measured on, ``links`` lead to where it is shown."""

    title: str
    text: str
    of: str
    links: tuple[Link, ...] = ()


def story(
    rows: pd.DataFrame,
    emergence: pd.DataFrame,
    effects: pd.DataFrame,
    shares: pd.DataFrame,
    features: pd.DataFrame,
    contrasts: pd.DataFrame,
    recorded: tuple[int, ...] = (),
) -> list[Step]:
    """The steps for one caption; [] of one whose gendered word has no counterpart to compare it with.

    ``rows`` are its rows of ``caption_lens`` through one lens, the others those of the run's tables emergence,
    head_effects, part_shares, patching and contrasts; ``recorded`` the layers that have features.
    """
    word = rows[(rows["kind"] == "caption") & (rows["compared"] == "spellings")]
    if word.empty:
        return []
    lang, sample = str(word["lang"].iloc[0]), int(word["sample_id"].iloc[0])
    own = contrasts[(contrasts["lang"] == lang) & (contrasts["sample_id"] == sample)]
    spelled = (
        (str(own["word"].iloc[0]), str(own["counterpart"].iloc[0])) if len(own) else ("the word", "its counterpart")
    )
    return [
        _read(emergence[emergence["lang"] == lang]),
        _preferred(word, *(f"“{one}”" if len(own) else one for one in spelled)),
        _written(word, effects[effects["lang"] == lang], shares, lang, sample),
        _features(features[features["lang"] == lang] if len(features) else features, recorded),
    ]


def first_for_good(rows: Sequence[Mapping[str, Any]]) -> int:
    """The first layer from which up to the last the word is preferred over its counterpart and beyond other captions.

    ``rows`` are those of one caption's deciding token, one a layer. -1 for none. Beyond: by more than at 95 % of the
    captions in which the other gender was said, read with the same two spellings.
    """
    found = -1
    for row in sorted(rows, key=lambda r: r["layer"], reverse=True):
        sign = 1 if row["gender"] == "female" else -1
        if not (sign * row["log_odds"] > 0 and row["beyond"] >= 0.95):
            break
        found = int(row["layer"])
    return found


def why_none(contrasts: pd.DataFrame) -> str:
    """Why there is no story of a caption; ``contrasts`` are its rows of that table."""
    if contrasts.empty:
        return "This caption says no gender."
    one = contrasts.iloc[0]
    why = one["why"] or "the caption was cut off before it"
    return f"Nothing is compared at “{one['word']}”: {why}."


def _read(emergence: pd.DataFrame) -> Step:
    found = [r for r in records(emergence) if r["method"] == "probe" and r["position"] in PLACES]
    found = sorted(found, key=lambda r: list(PLACES).index(r["position"]))
    said = [f"{PLACES[r['position']]} from layer {r['layer']} on" for r in found if not r["why"] and r["layer"] >= 0]
    title = "Where the image’s gender can be read"
    if not said:
        why = next((r["why"] for r in found if r["why"]), "")
        return Step(title, f"A probe reads it nowhere{f': {why}' if why else ''}.", "the run")
    return Step(title, f"A probe reads it {', '.join(said)}.", "the run", (("the probes", "layers", {}),))


def _preferred(word: pd.DataFrame, said: str, other: str) -> Step:
    given = [{str(k): v for k, v in r.items()} for r in records(word)]
    first, last = first_for_good(given), max(given, key=lambda r: r["layer"])
    title = "Where the lens prefers the word"
    sign = 1 if last["gender"] == "female" else -1
    n = int(last["n_others"])
    if first >= 0:
        at = next(r for r in given if r["layer"] == first)
        text = (
            f"From layer {first} on the lens prefers {said} to {other} (log-odds "
            f"{sign * at['log_odds']:.1f} there, {sign * last['log_odds']:.1f} at the end), by more than in "
            f"{at['beyond']:.0%} of {n} captions that say the other gender."
        )
    elif not n:
        text = "Too few other captions say the other gender to tell its preference from a habit of the model."
    elif sign * last["log_odds"] <= 0:
        text = f"At the last layer the lens does not prefer {said} to {other}."
    else:
        text = (
            f"At no layer does the lens prefer {said} to {other} by more than in 95% of {n} captions that say the "
            "other gender: what is preferred here is preferred there too."
        )
    return Step(title, text, "this caption")


def _written(word: pd.DataFrame, effects: pd.DataFrame, shares: pd.DataFrame, lang: str, sample: int) -> Step:
    title = "Which heads and MLPs wrote it"
    parts = effects[effects["part"].isin(("head", "mlp"))].reset_index(drop=True)
    if parts.empty:
        return Step(title, "Heads have not been asked in this run.", "the run")
    own = shares[(shares["lang"] == lang) & (shares["sample_id"] == sample)] if len(shares) else shares
    sign = 1 if str(word["gender"].iloc[0]) == "female" else -1
    if len(own) and len(own["shares"].iloc[0]) == len(parts):
        added = sign * pd.Series([float(v) for v in own["shares"].iloc[0]])
        best = added[added > 0].sort_values(ascending=False)[:N_PARTS]
        named = [f"{_name(parts.iloc[i])} {added[i]:+.2f}" for i in best.index]
        text = f"{_listed(named)} of the {float(added.sum()):.2f} that all heads and MLPs add to its log-odds."
        links = tuple(_link(parts.iloc[i], lang) for i in best.index)
        return Step(title, f"{text[:1].upper()}{text[1:]}" if named else "None adds to it.", "this caption", links)
    found = parts[(parts["why"] == "") & parts["finding"].astype(bool)]
    if found.empty:
        return Step(title, "No head or MLP stands out beyond chance.", "the run")
    order = found["effect_train"].abs().sort_values(ascending=False).index[:N_PARTS]
    named = [f"{_name(parts.loc[i])} {parts.loc[i, 'effect']:+.2f}" for i in order]
    text = f"{_listed(named)} log-odds between images of women and of men."
    return Step(title, f"{text[:1].upper()}{text[1:]}", "the run", tuple(_link(parts.loc[i], lang) for i in order))


def _features(features: pd.DataFrame, recorded: tuple[int, ...]) -> Step:
    title = "Which features"
    if features.empty:
        return Step(title, "Features have not been ablated in this run.", "the run")
    told = features[(features["low"] > 0) | (features["high"] < 0)]
    if recorded:
        told = told[told["layer"].isin(recorded)]
    if told.empty:
        return Step(title, "No ablated feature changes gendered words beyond its interval.", "the run")
    best = told.loc[told["true"].abs().sort_values(ascending=False).index[:N_FEATURES]]
    named = [f"feature {r['feature']} of layer {r['layer']} {r['true']:+.2f}" for r in records(best)]
    links: tuple[Link, ...] = tuple(
        (f"{r['layer']}/{r['feature']}", "feature", {"layer": int(r["layer"]), "feature": int(r["feature"])})
        for r in records(best)
    )
    return Step(
        title, f"Ablating {_listed(named)} log-odds of a woman’s word, on average over captions.", "the run", links
    )


def _name(part: pd.Series) -> str:
    return f"head {part['layer']}.{part['head']}" if part["part"] == "head" else f"the MLP of layer {part['layer']}"


def _link(part: pd.Series, lang: str) -> Link:
    state: dict[str, object] = {"lang": LANGUAGE_NAME[lang]}
    if part["part"] == "head":
        state["head"] = f"{part['layer']}.{part['head']}"
    return _name(part).removeprefix("the "), "mechanisms", state


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)

"""What graphs of single words say, of one caption and over several: how much is explained, and where gender crosses."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from core.answers import Answer, says
from core.config import LANGUAGE_NAME
from core.figures.graph import letters
from core.frames import records
from core.intervals import mean_p, ratio_interval, skewed_interval, told, two_groups

FEWEST = 4  # captions of a gender, below which nothing is said over captions
HALF = 0.5
LEVEL = 0.975  # of each language's interval, so that neither of two is wrong in more than 5 %
P_FEATURES = 0.02  # two-sided, of the graphs' features bringing about as much as random ones


class Share(NamedTuple):
    """A share over captions with its interval."""

    value: float
    low: float
    high: float


def known_graphs(graphs: pd.DataFrame, layers: pd.DataFrame, lang: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Graphs of a language that there are, and their layers with ``total`` and ``gender``."""
    mine = graphs[(graphs["lang"] == lang) & (graphs["why"] == "")]
    return mine, layers[layers["lang"] == lang].merge(mine[["sample_id", "total", "gender"]], on="sample_id")


def explained(rows: pd.DataFrame, column: str) -> Share:
    """Of all that pictures add, by captions' own direction, the share that a column holds; rows of one layer and
    dictionary with ``total``."""
    side = np.sign(rows["total"])
    found = ratio_interval(side * rows[column], rows["total"].abs())
    return Share(*(float(x) for x in found))


def crossed(rows: pd.DataFrame) -> Share:
    """Of what pictures of women add more than those of men, the share that has left the image tokens by this layer."""
    female = (rows["gender"] == "female").to_numpy()
    weight = np.where(female, 1 / max(1, female.sum()), -1 / max(1, (~female).sum()))
    found = ratio_interval(weight * (rows["whole"] - rows["at_image"]), weight * rows["whole"])
    return Share(*(float(x) for x in found))


def follows_gender(mine: pd.DataFrame) -> Share:
    """What pictures of women add more than those of men, in log-odds; NaN with fewer than FEWEST of a gender."""
    female = (mine["gender"] == "female").to_numpy()
    if min(female.sum(), (~female).sum()) < FEWEST:
        return Share(np.nan, np.nan, np.nan)
    value, error, skew, freedom = two_groups(mine["total"].to_numpy(float), female)
    low, high = skewed_interval(value, error, skew, freedom, LEVEL)
    return Share(float(value), float(low), float(high))


class Crossing(NamedTuple):
    """Where gender goes from image tokens to words: above layer ``below`` (-1: the picture) for sure not before, by
    ``layer`` for sure; ``at`` is the first layer at which more than half of it has gone."""

    below: int
    at: int
    layer: int
    share: Share


def crossing(mine: pd.DataFrame, rows: pd.DataFrame) -> Crossing | None:
    """The layers between which half of it leaves the image tokens; None where pictures of women do not add more than
    those of men, or where more than two layers in a row leave it open."""
    if not follows_gender(mine).low > 0:
        return None
    own = rows[rows["dictionary"] == "own"]
    shares = {int(layer): crossed(own[own["layer"] == layer]) for layer in sorted(set(own["layer"]))}
    order = [-1, *shares]
    before = next((i for i, share in enumerate(shares.values()) if not share.high < HALF), len(shares))
    after = next((i for i, share in enumerate(shares.values()) if share.low > HALF), None)
    at = next((layer for layer, share in shares.items() if share.value > HALF), None)
    if after is None or at is None or not 0 <= after - before <= 1:
        return None
    return Crossing(order[before], at, order[after + 1], shares[order[after + 1]])


@says("graph.crossing", "graph.features")
def graph_answer(graphs: pd.DataFrame, layers: pd.DataFrame) -> Answer:
    """How much of what pictures do to gendered words the graphs' features explain, and where gender crosses over."""
    parts, claims, few = [], set(), True
    for lang in LANGUAGE_NAME:
        mine, rows = known_graphs(graphs, layers, lang)
        if min((mine["gender"] == g).sum() for g in ("female", "male")) < FEWEST:
            continue
        few = False
        sentence, said = _language(lang, mine, rows)
        parts.append(sentence)
        claims |= said
    if few:
        why = next((w for w in graphs["why"] if w), f"fewer than {FEWEST} captions of a gender have a graph")
        return Answer(f"Over several captions nothing can be said: {why}.", "not enough data")
    return Answer(" ".join(parts), "supported" if claims else "unclear", tuple(sorted(claims)))


def _language(lang: str, mine: pd.DataFrame, rows: pd.DataFrame) -> tuple[str, set[str]]:
    claims: set[str] = set()
    gap, at = follows_gender(mine), crossing(mine, rows)
    text = f"In {LANGUAGE_NAME[lang]}, pictures of women add {told(*gap, form='.1f')} log-odds more to a woman’s word "
    text += "than pictures of men"
    if at:
        claims.add("graph.crossing")
        start = f"layers {at.below} and {at.layer}" if at.below >= 0 else f"the picture and layer {at.layer}"
        text += f"; between {start} most of it goes from the image tokens to the words"
    elif not gap.low > 0:
        text += ", which is no more than chance: no layer is named"
    else:
        text += "; where it leaves the image tokens cannot be told"
    own, random, left_out = shares(rows)
    if beyond_random(rows):
        claims.add("graph.features")
    n = f"n = {len(mine)} captions"
    text += (
        f". Of all that pictures do, the graphs’ features alone bring about {_percent(own)}, as many of random "
        f"dictionaries {_percent(random)} (mean over layers), and what the SAEs leave out {_percent(left_out)} ({n})."
    )
    return text, claims


def shares(rows: pd.DataFrame) -> tuple[Share, Share, Share]:
    """What the graphs' features alone bring about, what as many of random dictionaries do, and what the SAEs leave out;
    means over layers."""
    own, random = (_by_caption(rows, name) for name in ("own", "random"))
    return explained(own, "kept_measured"), explained(random, "kept_measured"), explained(own, "error")


def beyond_random(rows: pd.DataFrame) -> bool:
    """Whether the graphs' features alone bring about more than as many of random dictionaries, over captions."""
    own, random = (_by_caption(rows, name) for name in ("own", "random"))
    gap = np.sign(own["total"].to_numpy()) * (own["kept_measured"] - random["kept_measured"]).to_numpy()
    return bool(gap.mean() > 0 and mean_p(gap) <= P_FEATURES)


def _by_caption(rows: pd.DataFrame, dictionary: str) -> pd.DataFrame:
    mine = rows[rows["dictionary"] == dictionary]
    return mine.groupby("sample_id")[["kept_measured", "error", "total"]].mean()


def _percent(share: Share) -> str:
    return told(*(100 * x for x in share), form=".0f") + " %"


def caption_answer(row: dict[str, Any], nodes: pd.DataFrame, edges: pd.DataFrame) -> Answer:
    """What one graph says of its caption: what the picture does, its strongest path, the circuit, and how many edges
    hold."""
    path, held = strongest_path(nodes, edges), int(edges["holds"].sum())
    seen, usual = (_preferred(row[name]) for name in ("log_odds", "usual"))
    without = f"with the mean picture {usual}" if seen != usual else "with the mean picture too"
    share = f", {row['circuit'] / row['total']:.0%} of it" if abs(row["total"]) >= 1 else ""
    way = f"The strongest path there is {' → '.join(path)}" if path else "No path leads there"
    return Answer(
        f"With this picture the model prefers {seen} here, {without}: the picture adds {row['total']:+.1f} to the "
        f"log-odds of a woman’s word ({row['usual']:.1f} to {row['log_odds']:.1f}). {way}. The graph’s features alone, "
        f"at all layers at once, add {row['circuit']:+.1f}{share}. Running the model bears out {held} of {len(edges)} "
        "edges.",
        "one example",
    )


def _preferred(log_odds: float) -> str:
    return "a woman’s word" if log_odds > 0 else "a man’s word"


def strongest_path(nodes: pd.DataFrame, edges: pd.DataFrame) -> list[str]:
    """From the word back, by the edge that adds most in the direction of all that the picture adds; upwards, in
    words."""
    by_name, short = {r["node"]: r for r in records(nodes)}, letters(nodes)
    side = 1 if by_name["word"]["effect"] >= 0 else -1
    at, found = "word", []
    while True:
        into = edges[(edges["target"] == at) & (side * edges["effect"] > 0)]
        if into.empty:
            return found[::-1]
        at = str(into["source"].iloc[int((side * into["effect"]).argmax())])
        found.append(called(by_name[at], short))


def called(node: dict[str, Any], short: dict[str, str]) -> str:
    """A node in words; ``short`` are the letters of patches."""
    if node["kind"] == "feature":
        return f"feature {node['feature']} (layer {node['layer']}, {PLACE[node['place']]})"
    if node["kind"] == "error":
        return f"what the SAE leaves out (layer {node['layer']})"
    name = short.get(node["node"], "")
    return f"patches {name}" if len(name) == 1 else str(node["node"])


PLACE = {"image": "image", "question": "question", "words": "words so far", "here": "where the word is chosen"}


def agreement_sentence(edges: pd.DataFrame) -> str:
    """How well gradients agree with running the model, over the edges of all graphs."""
    known = edges.dropna(subset=["measured"])
    if len(known) < 8:
        return ""
    by = known.groupby(["lang", "sample_id"])
    r = np.corrcoef(known["effect"], known["measured"])[0, 1]
    return f"Over {len(known)} edges of {len(by)} captions gradients and running the model correlate with r = {r:.2f}."


def share_rows(graphs: pd.DataFrame, layers: pd.DataFrame, lang: str) -> pd.DataFrame:
    """By layer and series the share of what pictures do, with its interval: series, layer, share, low, high, n."""
    mine, rows = known_graphs(graphs, layers, lang)
    found = []
    for layer in sorted({int(n) for n in rows["layer"]}):
        for dictionary, series in SERIES.items():
            part = rows[(rows["layer"] == layer) & (rows["dictionary"] == dictionary)]
            for name, column in series.items():
                share = explained(part, column)
                found.append({"series": name, "layer": layer, "share": share.value, **_ends(share), "n": len(mine)})
    return pd.DataFrame(found, columns=["series", "layer", "share", "low", "high", "n"])


def _ends(share: Share) -> dict[str, float]:
    return {"low": share.low, "high": share.high}


SERIES = {
    "own": {
        "the graph’s features alone": "kept_measured",
        "the same, by gradients": "kept",
        "other features that change as much": "matched_measured",
        "left out by the SAE": "error",
    },
    "random": {"as many of a random dictionary": "kept_measured"},
}

"""Gendered words in captions before and after something was done to a model: counts, rates, intervals, flips.

Captions may come from any model. Units are images: all captions of one image are counted together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from core.intervals import influence_interval, q_values
from core.words.captions import NAMED, Hit, caption_gender, decides, find
from core.words.generic import POLICIES, UNMARKED, under
from core.words.lexicon import Word, split_words

Floats = NDArray[np.float64]
GENDERS = ("male", "female", UNMARKED, "neutral")
MIN_IMAGES = 20  # below which nothing is concluded
EXACT = 50  # so few differences are tested exactly
ROUNDING = 1e-9  # below which a rate has not changed
TOTAL = "gendered words"  # for women and men; those that agree with persons and things alike are counted apart
AGREEMENT = "verbs, adjectives"
MOVED = ("before", "after", "change", "change_low", "change_high")
COLUMNS = (
    "lang",
    "kind",
    "term",
    "n_images",
    "before",
    "after",
    "change",
    "change_low",
    "change_high",
    "rate_before",
    "rate_after",
    "rate_change",
    "rate_low",
    "rate_high",
    "n_nonzero",
    "p",
    "q",
    "rate_n_nonzero",
    "rate_p",
    "rate_q",
    "why",
)


@dataclass(frozen=True)
class Audit:
    """Of one language: a row a term (COLUMNS; rates are per 1,000 words) and flips (before, after, n).

    ``terms``: kind is "total", "gender", "agreement", "word", "term" (asked for) or "tokens", which has no rate.
    ``policies``: gendered words before and after, and captions that name another gender after, under each policy for
    the generic masculine (policy, before, after, turned); ``sensitivity`` says it, "" where no policy changes anything.
    """

    lang: str
    n_images: int
    n_captions: int
    terms: pd.DataFrame
    flips: pd.DataFrame
    policies: pd.DataFrame
    sensitivity: str


def audit(
    frame: pd.DataFrame,
    lang: str,
    lexicon: str | Path = "",
    terms: Sequence[str] = (),
    policy: str = UNMARKED,
) -> Audit:
    """Compare ``before`` with ``after`` (columns, with image_id) in the captions of one language.

    ``terms`` are counted beside the lexicon's words, whole, without taking prefixes off. ``policy`` is what the generic
    masculine counts as (``core.words.generic.POLICIES``). With fewer than MIN_IMAGES images there are counts, but no
    interval and no p; what changes on fewer than five images has no interval.
    """
    images, place = np.unique(frame["image_id"].astype(str), return_inverse=True)
    sides = [_Side(frame[side], lang, lexicon, terms) for side in ("before", "after")]
    tokens = [np.bincount(place, side.n_words, len(images)) for side in sides]

    def counted(by: str, keys: Sequence[tuple[str, str]]) -> pd.DataFrame:
        counts = [_matrix(side.counts[by], keys, place, len(images)) for side in sides]
        return _table(lang, keys, counts, tokens)

    generic = any(count["gender", UNMARKED] for side in sides for count in side.counts[UNMARKED])
    total = [("total", TOTAL)]
    keys = [*total, *(("gender", g) for g in GENDERS if g != UNMARKED or generic), ("agreement", AGREEMENT)]
    keys += [("term", t) for t in terms]
    keys += sorted({k for side in sides for count in side.counts[policy] for k in count if k[0] == "word"})
    table = counted(policy, keys)
    flips = {one: _flips(sides[0].named[one], sides[1].named[one]) for one in POLICIES}
    rows = []
    for one in POLICIES if generic else ():
        row = (table if one == policy else counted(one, total)).iloc[0]
        turned = sum(n for (a, b), n in flips[one].items() if a != b)
        rows.append({"policy": one, **row[list(MOVED)].to_dict(), "turned": turned})
    policies = pd.DataFrame(rows, columns=["policy", *MOVED, "turned"])
    said = pd.DataFrame([(a, b, n) for (a, b), n in flips[policy].items()], columns=["before", "after", "n"])
    return Audit(lang, len(images), len(frame), table, said, policies, _sensitivity(policies, policy))


def _sensitivity(policies: pd.DataFrame, policy: str) -> str:
    """How far the counts move under the other policies, in one line."""
    parts = []
    for row in policies.to_dict("records"):
        if row["policy"] != policy:
            low, high = (f"{row[f'change_{end}']:+,.0f}" for end in ("low", "high"))
            interval = f", interval {low} to {high}" if np.isfinite(row["change_low"]) else ""
            parts.append(
                f"{row['policy']}: from {row['before']:,} to {row['after']:,} ({row['change']:+,}{interval}), "
                f"{row['turned']:,} captions turned"
            )
    if not parts:
        return ""
    return f"The generic masculine counts as {policy}. Counted otherwise, gendered words go, {'; '.join(parts)}."


class _Side:
    """One column of captions: number of words and, under each policy, counts of each and gender named."""

    def __init__(self, texts: Iterable[str], lang: str, lexicon: str | Path, terms: Sequence[str]):
        wanted = {term: tuple(w.plain for w in split_words(term)) for term in terms}
        self.counts: dict[str, list[Counter[tuple[str, str]]]] = {policy: [] for policy in POLICIES}
        self.named: dict[str, list[str]] = {policy: [] for policy in POLICIES}
        self.n_words: list[int] = []
        for text in texts:
            words, found = split_words(text), find(text, lang, lexicon)
            asked = {("term", term): occurrences(words, form) for term, form in wanted.items()}
            for policy in POLICIES:
                hits = under(found, policy)
                self.counts[policy].append(_counts(hits) + Counter(asked))
                self.named[policy].append(caption_gender(hits))
            self.n_words.append(len(words))


def _counts(hits: Sequence[Hit]) -> Counter[tuple[str, str]]:
    count = Counter(("gender", hit.gender) if decides(hit) else ("agreement", AGREEMENT) for hit in hits)
    count["total", TOTAL] = count["gender", "male"] + count["gender", "female"]
    count.update(("word", hit.lemma or hit.word) for hit in hits)
    return count


def occurrences(words: Sequence[Word], form: tuple[str, ...]) -> int:
    """How often words that compare equal to ``form`` stand one after the other."""
    plain = [word.plain for word in words]
    return sum(tuple(plain[i : i + len(form)]) == form for i in range(len(plain) - len(form) + 1)) if form else 0


def _matrix(
    counts: Sequence[Counter], keys: Sequence[tuple[str, str]], place: NDArray[np.integer], n: int
) -> NDArray[np.float64]:
    """Counts of these keys by image (n_images, n_keys)."""
    matrix = np.zeros((n, len(keys)))
    at = {key: column for column, key in enumerate(keys)}
    for row, count in zip(place, counts, strict=True):
        for key in count.keys() & at.keys():
            matrix[row, at[key]] += count[key]
    return matrix


def _table(
    lang: str,
    keys: Sequence[tuple[str, str]],
    counts: Sequence[np.ndarray],
    tokens: Sequence[np.ndarray],
) -> pd.DataFrame:
    """One row a key, and one for the words themselves."""
    columns = [np.column_stack([count, n]) for count, n in zip(counts, tokens, strict=True)]
    kinds, names = zip(*keys, ("tokens", "all words"), strict=True)
    n_images = len(tokens[0])
    enough = n_images >= MIN_IMAGES
    before, after = (c.sum(0) for c in columns)
    rates = [_rate(c.sum(0), c[:, -1].sum()) for c in columns]
    table = pd.DataFrame(
        {
            "lang": lang,
            "kind": kinds,
            "term": names,
            "n_images": n_images,
            "before": before.astype(int),
            "after": after.astype(int),
            "change": (after - before).astype(int),
            "rate_before": rates[0],
            "rate_after": rates[1],
            "rate_change": rates[1] - rates[0],
            "why": "" if enough else f"{n_images} images; {MIN_IMAGES} are needed",
        }
    )
    tests = ("change_low", "change_high", "rate_low", "rate_high", "p", "q", "rate_p", "rate_q")
    table = table.assign(**dict.fromkeys(tests, float("nan")))
    own = [_rate(c, c[:, -1:]) for c in columns]  # rates of each image; NaN without a word
    by_image = {"": columns[1] - columns[0], "rate_": own[1] - own[0]}
    for prefix, values in by_image.items():
        table[f"{prefix}n_nonzero"] = np.sum(np.nan_to_num(values) != 0, axis=0)
        if enough:
            table[f"{prefix}p"] = [signed_rank(column) for column in values.T]
            table[f"{prefix}q"] = _over_words(table, f"{prefix}p")
    if enough:
        for name, ends in zip(("change", "rate"), _intervals(*columns), strict=True):
            table[f"{name}_low"], table[f"{name}_high"] = ends
    last = table["kind"] == "tokens"
    table.loc[last, [c for c in table if c.startswith("rate_")]] = float("nan")
    return table[list(COLUMNS)]


def _over_words(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Benjamini and Hochberg over the single words and terms; totals were not searched for and keep their p."""
    searched = table["kind"].isin(["word", "term"]).to_numpy()
    return np.where(searched, q_values(np.where(searched, table[column], np.nan)), table[column])


def _rate(counts: np.ndarray, n_words: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1000 * counts / n_words


def signed_rank(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's (1945) test over images, zeros left out; NaN where all are zero.

    Up to EXACT differences over all signs that they could have, ties included; beyond, the normal approximation.
    """
    nonzero = differences[np.isfinite(differences) & (differences != 0)]
    if not len(nonzero):
        return float("nan")
    if len(nonzero) > EXACT:
        return float(wilcoxon(nonzero, method="approx").pvalue)
    ranks = np.rint(2 * rankdata(np.abs(nonzero))).astype(int)  # doubled, since ties have halves
    chance = np.ones(1)  # of each sum of the ranks of positive differences, rank by rank
    for rank in ranks:
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    seen = int(ranks[nonzero > 0].sum())
    return float(min(1.0, 2 * min(chance[: seen + 1].sum(), chance[seen:].sum())))


def _intervals(before: Floats, after: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Ends (n_keys,) of the changes of counts and of rates, from counts (n_images, n_keys), the last those of words.

    A rate of all words is a ratio of sums, linearised over images, which are the same before and after; it moves by the
    images where the count does, or, where it does on none, by those where the number of words does.
    """
    n, by_image = len(before), after - before
    moved = (by_image != 0).sum(0)
    changes = influence_interval(by_image.sum(0), by_image - by_image.mean(0), n, moved)
    rates, influence = [], []
    with np.errstate(divide="ignore", invalid="ignore"):
        for counts in (before, after):
            rates.append(_rate(counts.sum(0), counts[:, -1].sum()))
            influence.append((1000 * counts - rates[-1] * counts[:, -1:]) / counts[:, -1].sum())
    moves = influence[1] - influence[0]
    moves[np.abs(moves) < ROUNDING] = 0.0
    change = rates[1] - rates[0]
    change[np.abs(change) < ROUNDING] = 0.0
    return changes, influence_interval(change, moves, n, np.where(moved, moved, moved[-1]))


def _flips(before: Sequence[str], after: Sequence[str]) -> dict[tuple[str, str], int]:
    """How many captions went from each named gender to each, in the order of NAMED."""
    count = Counter(zip(before, after, strict=True))
    return {(a, b): count[a, b] for a in NAMED for b in NAMED if count[a, b]}

"""CLBAS, the cross-lingual bias alignment score: do English and Arabic put the same gender into the same features?

For aligned features f the effect is e(f) = (mean over women's images - mean over men's) / standard deviation, in each
language. CLBAS = max(0, 2 <e_en, e_ar> / (|e_en|^2 + |e_ar|^2)), the product taken of different held-out images alone
(core.agreement); the features are those of the largest effects on the training images in either language. It is 0 where
effects are unrelated, opposed or mere noise; how much noise lets it reach is its ceiling, the same within one language,
and over its ceiling it is 1 only where effects are equal. docs/methods.md derives it. The other scores here have been
published or suggested under such names; they are kept for comparison and do not share its floor of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.agreement import Agreement, agreement
from core.crosslingual.pairs import LANGUAGES
from core.intervals import percentile_interval

N_SELECTED = 64  # features by the larger of the two training effects
N_CONTROL = 100  # shuffles and random draws in the control table
CONTROL_STREAM, RESAMPLE_STREAM, CLBAS_STREAM = 41, 42, 43
CASES = ("measured", "same language twice", "labels shuffled", "effects at random")
OVER = "over its ceiling"  # a case of CLBAS alone
Score = Callable[[NDArray, NDArray], NDArray]


@dataclass(frozen=True)
class GenderedCodes:
    """Codes of aligned features on held-out images of women and men, in units of each language's standard deviation.

    ``x`` (n_images, n_features) a language, ``female`` (n_images,) bool, ``train_effect`` (n_features,) a language,
    ``features`` their names for whoever lists them.
    """

    x: dict[str, NDArray]
    female: NDArray
    train_effect: dict[str, NDArray]
    features: NDArray

    def selected(self, n: int = N_SELECTED) -> NDArray:
        """Positions of the n features of the largest training effect in either language, largest first."""
        size = np.maximum(*(np.abs(self.train_effect[lang]) for lang in LANGUAGES))
        return np.argsort(-size, kind="stable")[: min(n, int((size > 0).sum()))]


def cosine(a: NDArray, b: NDArray) -> NDArray:
    """Cosine of each row of a with that row of b; NaN where one is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def concordance(a: NDArray, b: NDArray) -> NDArray:
    """2 <a, b> / (|a|^2 + |b|^2), row by row: 1 only where a = b, 0 where unrelated, -1 where a = -b.

    The coefficient of identity of Zegers and ten Berge (1985), Lin's concordance (1989) about zero.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * (a * b).sum(-1) / ((a * a).sum(-1) + (b * b).sum(-1))


def jaccard(a: NDArray, b: NDArray) -> NDArray:
    """Overlap of the N_SELECTED largest |effect| of either language: |A and B| / |A or B|."""
    k = min(N_SELECTED, a.shape[-1])
    top = [np.argpartition(-np.abs(part), k - 1, axis=-1)[..., :k] for part in (a, b)]
    both = np.array([len(np.intersect1d(p, q)) for p, q in zip(*top, strict=True)])
    return both / (2 * k - both)


def effect_similarity(a: NDArray, b: NDArray) -> NDArray:
    """1 - mean of |e_en - e_ar| / (|e_en| + |e_ar|) over features with an effect in either language."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - np.nanmean(np.abs(a - b) / (np.abs(a) + np.abs(b)), axis=-1)


VARIANTS: dict[str, Score] = {"top_overlap": jaccard, "effect_similarity": effect_similarity, "effect_cosine": cosine}


def clbas(codes: GenderedCodes, seed: int | list[int]) -> Agreement:
    """The score with its interval, floor and ceiling, all within [0, 1], and the score over its ceiling."""
    chosen = codes.selected()
    en, ar = (codes.x[lang][:, chosen] for lang in LANGUAGES)
    found = asdict(agreement(en, ar, codes.female, "identity", seed))
    return Agreement(**{k: v if k.startswith("ratio") else float(np.clip(v, 0, 1)) for k, v in found.items()})


def control_table(codes: GenderedCodes, n_bootstrap: int, seed: list[int]) -> Iterator[dict[str, Any]]:
    """One row a score and case: what it gives on the data, and what it gives when there is nothing to find."""
    score = clbas(codes, [*seed, CLBAS_STREAM])
    rng = np.random.default_rng([*seed, CONTROL_STREAM])
    sizes = {lang: len(codes.selected()) for lang in LANGUAGES}
    noise = np.maximum(0, concordance(*(rng.standard_normal((N_CONTROL, sizes[lang])) for lang in LANGUAGES)))
    yield _row("clbas", "measured", score.value, score.low, score.high)
    yield _row("clbas", "same language twice", score.ceiling, score.ceiling_low, score.ceiling_high)
    yield _row("clbas", OVER, score.ratio, score.ratio_low, score.ratio_high)
    yield _row("clbas", "labels shuffled", score.floor, score.floor_low, score.floor_high)
    yield _row("clbas", "effects at random", float(noise.mean()), *_range(noise))
    measured = effects(codes.x, codes.female[None])
    shuffled = effects(codes.x, np.stack([rng.permutation(codes.female) for _ in range(N_CONTROL)]))
    drawn = resampled_effects(codes, n_bootstrap, [*seed, RESAMPLE_STREAM])
    spread = {lang: measured[lang].std() for lang in LANGUAGES}
    random = {lang: spread[lang] * rng.standard_normal(shuffled[lang].shape) for lang in LANGUAGES}
    for name, variant in VARIANTS.items():
        yield _row(
            name,
            "measured",
            float(variant(measured["en"], measured["ar"])[0]),
            *_range(variant(drawn["en"], drawn["ar"])),
        )
        yield _row(name, "same language twice", *[float(variant(measured["en"], measured["en"])[0])] * 3)
        for case, given in (("labels shuffled", shuffled), ("effects at random", random)):
            values = variant(given["en"], given["ar"])
            yield _row(name, case, float(np.mean(values)), *_range(values))


def effects(x: dict[str, NDArray], female: NDArray) -> dict[str, NDArray]:
    """Differences of means (n_draws, n_features) a language, for labels (n_draws, n_images)."""
    weights = (female / female.sum(1, keepdims=True) - ~female / (~female).sum(1, keepdims=True)).astype(np.float32)
    return {lang: weights @ part for lang, part in x.items()}


def resampled_effects(codes: GenderedCodes, n_draws: int, seed: list[int]) -> dict[str, NDArray]:
    """Effects in bootstrap draws, women and men resampled each among themselves."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((n_draws, len(codes.female)), np.float32)
    for group, sign in ((np.flatnonzero(codes.female), 1), (np.flatnonzero(~codes.female), -1)):
        weights[:, group] = sign * rng.multinomial(len(group), np.full(len(group), 1 / len(group)), n_draws)
        weights[:, group] /= len(group)
    return {lang: weights @ part for lang, part in codes.x.items()}


def _range(values: NDArray) -> tuple[float, float]:
    low, high = percentile_interval(values)
    return float(low), float(high)


def _row(score: str, case: str, value: float, low: float, high: float) -> dict[str, Any]:
    return {"score": score, "case": case, "value": value, "low": low, "high": high}

"""The gender direction of each language in the residual stream, and how much of the stream the languages share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from core.agreement import agreement
from core.crosslingual.geometry import cka, predicted_share, subspace_share
from core.crosslingual.measures import measure_row
from core.crosslingual.pairs import LANGUAGES
from core.errors import UserError
from core.intervals import auc_interval, auc_variance, quotient, ratio_interval

RANK_SHARE = 8  # the shared subspace has d_model / RANK_SHARE directions
CKA_STREAM, COSINE_STREAM, AUC_STREAM, SHARE_STREAM = 31, 32, 33, 34
OTHER = {"en": "ar", "ar": "en"}
Residuals = dict[str, NDArray]  # (n_images, d_model) a language, rows being the same images


class ContrastiveLanguageAnalyzer:
    """Compares two languages' residuals of the same images at one layer and view.

    ``seed`` may be a list, so that every layer and view has its own random numbers.
    """

    def __init__(self, n_permutations: int = 500, min_images: int = 20, seed: int | list[int] = 0):
        self.n_permutations, self.min_images = n_permutations, min_images
        self.seed = [seed] if isinstance(seed, int) else list(seed)

    def similarity(self, x: Residuals, train: NDArray) -> Iterator[dict[str, Any]]:
        """CKA; shared, language-only and predicted variance of held-out images, from either language.

        ``x``: residuals (n_images, d_model) by language; ``train``: (n_images,) bool. UserError where they do not fit.
        """
        x, train = _fit(x, train=train)
        yield measure_row(
            "cka", len(train), "images", asdict(cka(x["en"], x["ar"], [*self.seed, CKA_STREAM])), lang="", other=""
        )
        n = int((~train).sum())
        if min(n, int(train.sum())) < self.min_images:
            why = f"{int(train.sum())} training and {n} held-out images; {self.min_images} of each are needed"
            for lang in LANGUAGES:
                for name in ("shared_variance", "language_only_variance", "predicted_variance"):
                    yield measure_row(name, n, "held-out images", None, why, lang=lang, other=OTHER[lang])
            return
        for lang in LANGUAGES:
            yield from self._variances(x[lang], x[OTHER[lang]], train, lang)

    def directions(self, x: Residuals, gender: NDArray, train: NDArray) -> Iterator[dict[str, Any]]:
        """Cosine of the two languages' gender directions, and held-out AUC of each direction in each language.

        ``gender`` (n_images,) of "female", "male" or anything else, which is left out. UserError as in similarity.
        """
        x, train = _fit(x, train=train, gender=gender)
        gender = np.asarray(gender)
        known = np.isin(gender, ("female", "male"))
        female, train = gender[known] == "female", train[known]
        x = {lang: part[known] for lang, part in x.items()}
        why = self._too_few(female, train)
        if why:
            yield measure_row("direction_cosine", int(train.sum()), "images", None, why, lang="en", other="ar")
            for lang in LANGUAGES:
                for other in LANGUAGES:
                    yield measure_row(
                        "direction_auc", int((~train).sum()), "held-out images", None, why, lang=lang, other=other
                    )
            return
        en, ar = (x[lang][train] for lang in LANGUAGES)
        found = agreement(en, ar, female[train], "cosine", [*self.seed, COSINE_STREAM])
        yield measure_row("direction_cosine", int(train.sum()), "images", asdict(found), lang="en", other="ar")
        yield from self._transfer(x, female, train)

    def _variances(self, x: NDArray, y: NDArray, train: NDArray, lang: str) -> Iterator[dict[str, Any]]:
        n, names = int((~train).sum()), {"lang": lang, "other": OTHER[lang]}
        rank = max(1, x.shape[1] // RANK_SHARE)
        sums, chance = subspace_share(x, y, train, rank), rank / x.shape[1]
        parts = (sums[:, 0], sums[:, 1], sums[:, 1] - sums[:, 0])
        shared, own, only = (_with_interval(part, sums[:, 2]) for part in parts)
        ceiling = {"ceiling": own["value"], "ceiling_low": own["low"], "ceiling_high": own["high"]}
        if own["low"] > chance:  # else the ceiling cannot be told from the floor
            over = _with_interval(sums[:, 0] - chance * sums[:, 2], sums[:, 1] - chance * sums[:, 2])
            ceiling |= dict(zip(("ratio", "ratio_low", "ratio_high"), over.values(), strict=True))
        yield measure_row("shared_variance", n, "held-out images", shared | {"floor": chance} | ceiling, **names)
        most = {"floor": 0.0, "ceiling": own["value"] - chance}
        yield measure_row("language_only_variance", n, "held-out images", only | most, **names)
        errors = predicted_share(x, y, train)
        value = _with_interval(errors[:, 1] - errors[:, 0], errors[:, 1])
        rng = np.random.default_rng([*self.seed, SHARE_STREAM, 1])
        order = np.arange(len(train))
        for side in (np.flatnonzero(train), np.flatnonzero(~train)):
            order[side] = rng.permutation(side)
        floor = predicted_share(x, y[order], train).sum(0)
        numbers = value | {"floor": 1 - floor[0] / floor[1], "ceiling": 1.0}
        yield measure_row("predicted_variance", n, "held-out images", numbers, **names)

    def _transfer(self, x: Residuals, female: NDArray, train: NDArray) -> Iterator[dict[str, Any]]:
        """Directions learned on training images, scored on held-out ones in the same and in the other language."""
        rng = np.random.default_rng([*self.seed, AUC_STREAM])
        labels, scored = (
            np.stack([female[side], *(rng.permutation(female[side]) for _ in range(self.n_permutations))])
            for side in (train, ~train)
        )  # the first is true, in the others images have each other's labels, for learning and for scoring
        weights = labels / labels.sum(1, keepdims=True) - ~labels / (~labels).sum(1, keepdims=True)
        women, men = np.flatnonzero(female[~train]), np.flatnonzero(~female[~train])
        found, above = {}, {}
        for lang in LANGUAGES:
            directions = weights @ x[lang][train]
            for other in LANGUAGES:
                scores = directions @ x[other][~train].T
                floor = auc(scores, scored)[1:]
                low, high = np.quantile(floor, [0.025, 0.975])
                above[lang, other] = _above(scores[0][women], scores[0][men])
                found[lang, other] = auc_with_interval(above[lang, other]) | {
                    "floor": float(np.mean(floor)),
                    "floor_low": float(low),
                    "floor_high": float(high),
                }
        for (lang, other), numbers in found.items():
            best = found[other, other] if lang != other else None
            ceiling = {"ceiling": 1.0}
            if best:
                ceiling = {"ceiling": best["value"], "ceiling_low": best["low"], "ceiling_high": best["high"]}
                ceiling |= auc_over(above[lang, other], above[other, other])
            yield measure_row(
                "direction_auc", int((~train).sum()), "held-out images", numbers | ceiling, lang=lang, other=other
            )

    def _too_few(self, female: NDArray, train: NDArray) -> str:
        for side, name in ((train, "training"), (~train, "held-out")):
            n = [int((female & side).sum()), int((~female & side).sum())]
            if min(n) < self.min_images:
                return f"{n[0]} {name} images of women and {n[1]} of men; {self.min_images} of each are needed"
        return ""


def _fit(x: Residuals, train: NDArray, **labels: NDArray) -> tuple[Residuals, NDArray[np.bool_]]:
    """The same as arrays; UserError where a language is missing or the numbers of images differ."""
    if sorted(x) != sorted(LANGUAGES):
        what, why = f"There are residuals in {', '.join(x) or 'no language'}.", "Two languages are compared, en and ar."
        raise UserError(what, why, 'Give {"en": residuals, "ar": residuals} of the same images.')
    x = {lang: np.asarray(part) for lang, part in x.items()}
    shapes = {lang: part.shape for lang, part in x.items()}
    lengths = {name: len(given) for name, given in {"train": train, **labels}.items()}
    if len({*shapes.values()}) > 1 or x["en"].ndim != 2 or {*lengths.values()} != {len(x["en"])}:
        what = f"Residuals {shapes} and labels {lengths} do not belong to the same images."
        raise UserError(what, "Row i is image i everywhere.", "Give (n_images, d_model) in both, and n_images labels.")
    return x, np.asarray(train, bool)


def auc(scores: NDArray, female: NDArray) -> NDArray:
    """Probability that a woman's score exceeds a man's, row by row of (n_rows, n); ties count half.

    ``female`` is (n,) or (n_rows, n), with equally many in every row.
    """
    ranks = rankdata(scores, axis=-1)
    female = np.broadcast_to(female, ranks.shape)
    n_female = female.sum(-1)
    n_male = ranks.shape[-1] - n_female
    return ((ranks * female).sum(-1) - n_female * (n_female + 1) / 2) / (n_female * n_male)


def _above(women: NDArray, men: NDArray) -> NDArray:
    """Of each woman's score and each man's (n_women, n_men) whether hers is above his; one half where equal."""
    return (women[:, None] > men[None, :]) + 0.5 * (women[:, None] == men[None, :])


def _scatter(one: NDArray, other: NDArray) -> float:
    """Covariance of two AUCs of the same women and men, from their ``_above`` (DeLong et al. 1988)."""
    return sum(np.cov(one.mean(axis), other.mean(axis))[0, 1] / one.shape[1 - axis] for axis in (0, 1))


def auc_with_interval(above: NDArray) -> dict[str, float]:
    """AUC of women's scores over men's with its interval: Newcombe's (2006, method 5), or as much wider as the scores
    scatter more (DeLong et al. 1988). ``above``: (n_women, n_men), of each pair whether hers is above his."""
    value, (n_women, n_men) = float(above.mean()), above.shape
    expected = float(auc_variance(value, n_women, n_men))
    spread = max(1.0, _scatter(above, above) / expected) if expected > 0 else 1.0
    low, high = auc_interval(value, n_women, n_men, spread)
    return {"value": value, "low": float(low), "high": float(high)}


def auc_over(above: NDArray, best: NDArray) -> dict[str, float]:
    """(AUC - 0.5) over that of ``best``, both of the same women and men: ratio, ratio_low, ratio_high.

    From the intervals of both and the correlation of what each image adds to them (0 where one AUC is 1, and what it
    is cannot be told). NaN where the interval of ``best`` reaches 0.5.
    """
    one, other = (auc_with_interval(x) for x in (above, best))
    length = np.sqrt(_scatter(above, above) * _scatter(best, best))
    r = float(np.clip(_scatter(above, best) / length, -1, 1)) if length > 0 else 0.0
    beyond = [(x["value"] - 0.5, x["low"] - 0.5, x["high"] - 0.5) for x in (one, other)]
    return dict(zip(("ratio", "ratio_low", "ratio_high"), quotient(beyond[0], beyond[1], r), strict=True))


def _with_interval(top: NDArray, bottom: NDArray) -> dict[str, float]:
    """Ratio of two sums over images."""
    value, low, high = ratio_interval(top, bottom)
    return {"value": float(value), "low": float(low), "high": float(high)}

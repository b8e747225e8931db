"""What each feature has to do with the gender of the image: rates, means, AUC, Cohen's d, differences, intervals.

AUC, its interval and Mann-Whitney's p come of ranks of sparse columns with their many equal zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.stats import norm

from core import intervals
from core.config import GenderConfig
from core.features.tokens import LANGUAGES
from core.gender.tables import GENDERS, SILENT, SPLITS, TOO_FEW
from core.intervals import MIN_VARIED, auc_variance, skewed_interval

Floats = NDArray[np.float64]
BOTH = ""  # the language of a view that both languages' sequences share
MORE_FIRE = 2  # rows of N + 4 that are taken to fire beside those that did, for the ties of an AUC
N_SHUFFLES = 20  # of the image labels, for the agreement that rankings have without any gender
Columns = dict[str, np.ndarray]


class SparseRanks(NamedTuple):
    """Average ranks (from 1) within each column, the zeros that are not stored included."""

    above: csc_array  # rank of each stored value less that of a zero, float64, in the structure of the values
    zero: Floats  # (n_columns,) rank of a zero
    ties: Floats  # (n_columns,) sum of t^3 - t over groups of t equal values


class Groups(NamedTuple):
    """Which rows are women and which men; the others count for nothing."""

    female: NDArray[np.bool_]
    male: NDArray[np.bool_]


def take_rows(x: csc_array, place: NDArray[np.integer], n_rows: int) -> csc_array:
    """Row i of ``x`` becomes row ``place[i]`` of the result (n_rows, n_columns), or is left out where that is -1."""
    rows = place[x.indices]
    kept = rows >= 0
    indptr = np.concatenate([[0], np.cumsum(kept)])[x.indptr]
    return csc_array((x.data[kept], rows[kept], indptr), shape=(n_rows, x.shape[1]))


def select_rows(x: csc_array, chosen: NDArray[np.bool_]) -> csc_array:
    """The rows where ``chosen`` (n_rows,) holds, in their order."""
    place = np.where(chosen, np.cumsum(chosen) - 1, -1).astype(np.int32)
    return take_rows(x, place, int(chosen.sum()))


def sparse_ranks(x: csc_array) -> SparseRanks:
    """Ranks of every column of ``x`` (n, n_columns) float32; stored values must be positive, else ValueError."""
    if x.data.size and not x.data.min() > 0:
        raise ValueError("Ranks are taken of columns whose stored values are all positive.")
    n_columns, stored = x.shape[1], np.diff(x.indptr)
    column = np.repeat(np.arange(n_columns), stored)
    # positive floats are in the order of their bits: one sort by column, then value
    key = (column.astype(np.uint64) << np.uint64(32)) | x.data.astype(np.float32).view(np.uint32)
    order = np.argsort(key)
    key = key[order]
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else np.zeros(0, np.int64)
    size = np.diff(np.concatenate([first, [len(key)]]))
    zeros = (x.shape[0] - stored).astype(float)
    zero = (zeros + 1) / 2
    # the place in the whole sorted list, less the places of the columns before, plus this column's zeros
    rank = np.empty(len(key))
    rank[order] = np.repeat(first + (size + 1) / 2, size)
    rank += np.repeat(zeros - x.indptr[:-1] - zero, stored)
    ties = np.bincount(column[order[first]], weights=size.astype(float) ** 3 - size, minlength=n_columns)
    return SparseRanks(csc_array((rank, x.indices, x.indptr), shape=x.shape), zero, ties + zeros**3 - zeros)


def auc_and_p(ranks: SparseRanks, female: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Chance that a woman's value is above a man's (n_columns,), ties counting half, and Mann-Whitney's two-sided p.

    All rows are one or the other. Normal approximation with corrections for ties and continuity, as in
    ``scipy.stats.mannwhitneyu(method="asymptotic")``; NaN p where all values are equal.
    """
    n, n_female = len(female), int(female.sum())
    n_male = n - n_female
    auc = auc_of_weights(ranks, female[None].astype(float))[0]
    u = auc * n_female * n_male
    excess = np.maximum(u, n_female * n_male - u) - n_female * n_male / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(n_female * n_male / 12 * (n + 1 - ranks.ties / (n * (n - 1))))
        p = 2 * norm.sf((excess - 0.5) / spread)
    return auc, np.where(spread > 0, np.minimum(p, 1.0), np.nan)


def auc_of_weights(ranks: SparseRanks, female: Floats) -> Floats:
    """AUC (n_draws, n_columns) of several divisions of the rows at once; ``female`` (n_draws, n) is 1 for women."""
    n_female = female.sum(1)
    n_male = female.shape[1] - n_female
    rank_sum = n_female[:, None] * ranks.zero + (ranks.above.T @ female.T).T
    return (rank_sum - (n_female * (n_female + 1) / 2)[:, None]) / (n_female * n_male)[:, None]


def auc_interval(x: csc_array, female: NDArray[np.bool_], auc: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Interval of the AUC (n_columns,) with rows as the units: Newcombe's (2006, method 5), which near 0 and 1 holds.

    Its variance is that of values without ties; here it is multiplied by the share of it that ties leave, as if two
    more rows of every N + 4 fired (a feature that fires on none of 20 may fire on the next), and, where women or men
    scatter otherwise than that method takes for granted, by how much DeLong's variance (DeLong, DeLong and
    Clarke-Pearson 1988, eq. 5) is the larger.
    """
    ranks, n = sparse_ranks(x), x.shape[0]
    n_female, n_male = int(female.sum()), int((~female).sum())
    silent = 2 * ranks.zero - 1  # zeros of a column, at least 1 where there are none
    silent = np.where(np.diff(x.indptr) == n, 0.0, silent)
    fired = (n - silent + MORE_FIRE) / (n + 2 * MORE_FIRE)
    ties = ranks.ties - (silent**3 - silent) + _cubes(n * (1 - fired))
    spread = np.clip(1 - ties / (n**3 - n), 0, 1)
    expected = auc_variance(auc, n_female, n_male) * spread
    with np.errstate(divide="ignore", invalid="ignore"):
        wider = np.where(expected > 0, _delong_variance(x, ranks, female) / expected, 1.0)
    return intervals.auc_interval(auc, n_female, n_male, spread * np.maximum(wider, 1.0), level)


def _cubes(size: Floats) -> Floats:
    return np.maximum(size**3 - size, 0.0)


def _delong_variance(x: csc_array, ranks: SparseRanks, female: NDArray[np.bool_]) -> Floats:
    """Variance of the AUC as the values scatter (n_columns,); 0 where women and men are perfectly apart."""
    is_female = female[x.indices]
    variance = np.zeros(x.shape[1])
    groups = ((female, is_female), (~female, ~is_female))
    for (own, stored), (other, _) in (groups, groups[::-1]):
        n_own, n_other = int(own.sum()), int(other.sum())
        within = sparse_ranks(select_rows(x, own))
        # share of the others that each value of this group is above
        base = (ranks.zero - within.zero) / n_other
        over = ((ranks.above.data[stored] - within.above.data) / n_other) + _spread(base, within.above)
        column = np.repeat(np.arange(x.shape[1]), np.diff(within.above.indptr))
        n_zeros = n_own - np.diff(within.above.indptr)
        mean = (np.bincount(column, over, x.shape[1]) + n_zeros * base) / n_own
        squares = np.bincount(column, (over - mean[column]) ** 2, x.shape[1]) + n_zeros * (base - mean) ** 2
        variance += squares / (n_own - 1) / n_own
    return variance


def _spread(by_column: Floats, x: csc_array) -> Floats:
    """A value of each column, for each stored entry."""
    return np.repeat(by_column, np.diff(x.indptr))


class Cell(NamedTuple):
    """A view in a language ("" = both)."""

    view: str
    lang: str


def cells(views: tuple[str, ...], languages: tuple[str, ...] = LANGUAGES) -> Iterator[Cell]:
    """Views and languages of a run in the order of the tables; the view image is one of all languages together."""
    for view in sorted(views):
        yield from (Cell(view, lang) for lang in ((BOTH,) if view == "image" else sorted(languages)))


class Images(NamedTuple):
    """The images that have positions in a cell: one row each of all that is computed."""

    place: NDArray[np.int32]  # (n_captions,) row of the image, -1 where the caption is not in the cell
    weight: NDArray[np.float32]  # (n_images,) 1 / number of captions averaged
    gender: NDArray[np.str_]  # (n_images,)
    is_train: NDArray[np.bool_]  # (n_images,)

    def among(self, split: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Rows of women and men of a split (n_images,), and which of those are women."""
        inside = np.isin(self.gender, ("female", "male")) & (self.is_train == (split == "train"))
        return inside, self.gender[inside] == "female"


def images_of(n_positions: NDArray[np.integer], lang: str, gender: np.ndarray, is_train: np.ndarray) -> Images:
    """The cell's images: those whose captions in ``lang`` (any, where "") have a position in the view.

    ``n_positions`` (n_captions,) is the view's; ``gender`` and ``is_train`` are by sample.
    """
    inside = n_positions > 0
    if lang != BOTH:
        inside = inside & (np.arange(len(inside)) % len(LANGUAGES) == LANGUAGES.index(lang))
    sample = np.arange(len(inside)) // len(LANGUAGES)
    chosen, row = np.unique(sample[inside], return_inverse=True)
    place = np.full(len(inside), -1, np.int32)
    place[inside] = row
    weight = (1 / np.bincount(row, minlength=len(chosen))).astype(np.float32)
    return Images(place, weight, np.asarray(gender, str)[chosen], np.asarray(is_train, bool)[chosen])


def enough(images: Images, split: str, min_images: int) -> bool:
    """Whether a split has so many images of women and of men."""
    _, female = images.among(split)
    return min(int(female.sum()), int((~female).sum())) >= min_images


def image_codes(codes: csc_array, images: Images) -> csc_array:
    """Codes by caption (n_captions, n_features) as codes by image, averaged over the image's captions in the cell."""
    x = take_rows(codes, images.place, len(images.weight))
    if (images.weight < 1).any():
        x.sum_duplicates()
        x.data = x.data * images.weight[x.indices]
    return x


def cell_scores(x: csc_array, images: Images, config: GenderConfig, seed: list[int]) -> tuple[Columns, Floats]:
    """All columns of one cell that a block of features yields by itself, and its scores under shuffled labels.

    ``x`` (n_images, n_features). The scores are (N_SHUFFLES, 2, 3, n_features): of the training and of the held-out
    images AUC - 0.5, d and difference with women and men exchanged at random. NaN where there is not enough data.
    """
    found, n_features = group_means(x, images), x.shape[1]
    known = {split: enough(images, split, config.min_images) for split in SPLITS}
    inside, female = images.among("train")
    train = select_rows(x, inside)
    silent = np.diff(train.indptr) == 0
    shuffled = np.full((N_SHUFFLES, 2, 3, n_features), np.nan)
    for name in ("auc", "d", "difference", "p"):
        found[f"{name}_train"] = np.full(n_features, np.nan)
    for name in ("auc", "d", "difference"):
        found |= {f"{name}_{part}": np.full(n_features, np.nan) for part in ("test", "low_test", "high_test")}
    found["p_test"] = np.full(n_features, np.nan)
    found["shuffled_holds"] = np.zeros(n_features, np.int32)
    if known["train"]:
        found |= _train_scores(train, female)
        unit = spread_of(train, female)
        shuffled[:, 0] = _shuffled_scores(train, female, unit, [*seed, 0])
        if known["test"]:
            inside, female = images.among("test")
            test = select_rows(x, inside)
            found |= _test_scores(test, female, unit)
            shuffled[:, 1] = _shuffled_scores(test, female, unit, [*seed, 1])
            found["shuffled_holds"] = holds_by_chance(test, female, found["auc_train"] - 0.5, shuffled[:, 1, 0])
        for name in found:
            if name.startswith(("auc", "d_", "difference", "p_")):
                found[name] = np.where(silent, np.nan, found[name])
    why = np.where(silent & known["train"], SILENT, "" if all(known.values()) else TOO_FEW)
    return {**found, "why": why}, shuffled


def group_means(x: csc_array, images: Images) -> Columns:
    """Number of images (a scalar), firing rate and mean activation (n_features,) by gender and split; NaN of none."""
    names = [(gender, split) for split in SPLITS for gender in GENDERS]
    member = np.stack([(images.gender == g) & (images.is_train == (s == "train")) for g, s in names]).astype(float)
    n = member.sum(1)
    fires = csc_array((np.ones_like(x.data), x.indices, x.indptr), shape=x.shape)
    found: Columns = {f"n_{g}_{s}": np.full(x.shape[1], n[i], np.int32) for i, (g, s) in enumerate(names)}
    with np.errstate(invalid="ignore"):
        for what, values in (("rate", fires), ("mean", x)):
            means = (values.T @ member.T) / n
            found |= {f"{what}_{g}_{s}": means[:, i] for i, (g, s) in enumerate(names)}
    return found


def _train_scores(x: csc_array, female: np.ndarray) -> Columns:
    auc, p = auc_and_p(sparse_ranks(x), female)
    d, difference = _cohen(x, female[None].astype(float))
    return {"auc_train": auc, "p_train": p, "d_train": d[0], "difference_train": difference[0]}


def shuffled_aucs(x: csc_array, female: np.ndarray, seed: list[int]) -> Floats:
    """AUC - 0.5 (N_SHUFFLES, n_columns) with women and men exchanged at random."""
    rng = np.random.default_rng(seed)
    mixed = np.stack([rng.permutation(female) for _ in range(N_SHUFFLES)]).astype(float)
    return auc_of_weights(sparse_ranks(x), mixed) - 0.5


def holds_by_chance(x: csc_array, female: np.ndarray, side: Floats, shuffled: Floats) -> NDArray[np.int32]:
    """In which shuffles of held-out labels a feature holds: bit i of each column's number is shuffle i.

    ``side`` (n_columns,) is positive where the training images say women; ``shuffled`` are ``shuffled_aucs``. Features
    are shuffled together, so that those which say the same hold in the same shuffles.
    """
    n, n_female = len(female), int(female.sum())
    variance = (n + 1 - sparse_ranks(x).ties / (n * (n - 1))) / (12 * n_female * (n - n_female))
    held = np.sign(side) * shuffled > norm.ppf(0.975) * np.sqrt(np.maximum(variance, 0))
    return (held.T @ (1 << np.arange(N_SHUFFLES))).astype(np.int32)


def _shuffled_scores(x: csc_array, female: np.ndarray, unit: Floats, seed: list[int]) -> Floats:
    """(N_SHUFFLES, 3, n_columns), d in ``unit`` (n_columns,)."""
    rng = np.random.default_rng(seed)
    mixed = np.stack([rng.permutation(female) for _ in range(N_SHUFFLES)]).astype(float)
    difference = _cohen(x, mixed)[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([auc_of_weights(sparse_ranks(x), mixed) - 0.5, difference / unit, difference], 1)


def _test_scores(x: csc_array, female: np.ndarray, unit: Floats) -> Columns:
    """AUC, p, difference of means and d, the difference in ``unit`` (n_columns,), with their intervals."""
    auc, p = auc_and_p(sparse_ranks(x), female)
    low, high = auc_interval(x, female, auc)
    found = {"auc_test": auc, "auc_low_test": low, "auc_high_test": high, "p_test": p}
    found["difference_test"], *ends = mean_difference(x, female)
    found |= dict(zip(("difference_low_test", "difference_high_test"), ends, strict=True))
    for name in ("", "_low", "_high"):
        found[f"d{name}_test"] = found[f"difference{name}_test"] / unit
    return found


def mean_difference(x: csc_array, female: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Mean of women less that of men, by column, with its interval: Welch's t with Hall's (1992) skewness.

    Each group is taken to hold one value more of the size that activations have (sum of squares over sum): where none
    of 20 fires the next one may. Nothing where fewer than MIN_VARIED images fire.
    """
    sizes = [np.asarray(x.power(k).sum(axis=0)).ravel() for k in (1, 2)]
    typical = np.divide(sizes[1], sizes[0], out=np.zeros(x.shape[1]), where=sizes[0] > 0)
    means, errors, cubes = [], [], []
    for group in (female, ~female):
        own, n = select_rows(x, group), int(group.sum())
        first, second, third = (np.asarray(own.power(k).sum(axis=0)).ravel() / n for k in (1, 2, 3))
        more = typical - first
        squares = n * np.maximum(second - first**2, 0) + more**2
        means.append(first)
        errors.append(squares / (n * (n - 1)))
        cubes.append((third - 3 * first * second + 2 * first**3) / n**2 + (more / n) ** 3)
    freedom = [int(group.sum()) - 1 for group in (female, ~female)]
    variance, value = errors[0] + errors[1], means[0] - means[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        welch = variance**2 / sum(e**2 / f for e, f in zip(errors, freedom, strict=True))
        low, high = skewed_interval(value, np.sqrt(variance), (cubes[0] - cubes[1]) / variance**1.5, welch)
    known = np.diff(x.indptr) >= MIN_VARIED
    return value, np.where(known, low, np.nan), np.where(known, high, np.nan)


def _cohen(x: csc_array, female: Floats) -> tuple[Floats, Floats]:
    """Cohen's d and the difference of means (n_draws, n_columns) of several divisions (n_draws, n) of the rows at once.

    d is the difference over the pooled standard deviation (Cohen 1988, eq. 2.5.1); NaN where that is 0.
    """
    squared = csc_array((x.data.astype(float) ** 2, x.indices, x.indptr), shape=x.shape)
    sums, spread, n = [], np.zeros((len(female), x.shape[1])), []
    for weights in (female, 1 - female):
        count = weights.sum(1)[:, None]
        total, squares = (x.T @ weights.T).T, (squared.T @ weights.T).T
        sums.append(total / count)
        within = squares - total**2 / count
        spread += np.where(within > 1e-10 * squares, within, 0)  # less is rounding
        n.append(count)
    difference = sums[0] - sums[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(spread / (n[0] + n[1] - 2))
        return np.where(spread > 0, difference / spread, np.nan), difference


def spread_of(x: csc_array, female: NDArray[np.bool_]) -> Floats:
    """Pooled standard deviation of women and men, by column; NaN where it is 0."""
    d, difference = _cohen(x, female[None].astype(float))
    with np.errstate(divide="ignore", invalid="ignore"):
        return difference[0] / d[0]

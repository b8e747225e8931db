"""How alike the captions of one image are, and what a share is then worth: a beta-binomial model of groups of images.

x_i of n_i captions of image i say a man; its own probability is drawn from a beta distribution of mean p_r, the share
of its group, and intraclass correlation rho_r (0: captions are draws of one coin; 1: an image always says the same).
Groups differ in rho_r; how much is learned from all of them and carries its own uncertainty, so that a group leans on
the others as far as they are alike (as variances of genes do in Smyth 2004) and on itself as far as they are not.
Likelihoods are summed over grids: there is no sampling and nothing to converge.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import beta

Floats = NDArray[np.float64]
N_SHARES = 601  # p on a grid even in arcsin(sqrt(p)), in which all shares are told equally well
RHO = np.array([0, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.27, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.93])
MEANS = (0.003, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
HOW_EQUAL = (2, 6, 20, 200)  # a beta distribution's a + b: from groups that differ in rho to groups that share it
EDGES = np.sin(np.linspace(0, np.pi / 2, N_SHARES + 1)) ** 2
SHARES = np.sin((np.arange(N_SHARES) + 0.5) * np.pi / 2 / N_SHARES) ** 2
WIDTHS = np.sqrt(SHARES * (1 - SHARES))  # dp of each place of the grid, up to a factor


def _spreads() -> Floats:
    """(n_kinds, len(RHO)): what rho may be among the groups, a beta distribution a row, all thought equally likely."""
    cuts = np.concatenate([[0], (RHO[1:] + RHO[:-1]) / 2, [1]])
    rows = [np.diff(beta.cdf(cuts, mean * size, (1 - mean) * size)) for mean in MEANS for size in HOW_EQUAL]
    return np.stack(rows) / np.sum(rows, axis=1, keepdims=True)


class Likeness(NamedTuple):
    """``rho`` (n_groups,), expected intraclass correlation, and the likelihood of each share (n_groups, N_SHARES)."""

    rho: Floats
    likelihood: Floats

    def cumulative(self, side: str) -> Floats:
        """(n_groups, N_SHARES + 1) probability below each of EDGES, for the lower or the upper end of an interval.

        Weighed by 1 / p for the lower end and 1 / (1 - p) for the upper: with one caption an image these are the
        binomial tails, and the interval that of Clopper and Pearson (1934).
        """
        weight = WIDTHS / (SHARES if side == "lower" else 1 - SHARES)
        mass = self.likelihood * weight
        below = np.concatenate([np.zeros((len(mass), 1)), mass.cumsum(1)], axis=1)
        return below / below[:, -1:]

    def above(self, share: float) -> Floats:
        """(n_groups,) p of the share being ``share`` or more: small where few captions say it."""
        mass = self.likelihood * WIDTHS / (1 - SHARES)
        over = np.concatenate([mass[:, ::-1].cumsum(1)[:, ::-1], np.zeros((len(mass), 1))], axis=1)
        return _at(over / over[:, :1], share)

    def below(self, share: float) -> Floats:
        """(n_groups,) p of the share being ``share`` or less: small where many captions say it."""
        return _at(self.cumulative("lower"), share)

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Ends of the interval of each group's share, (n_groups,) each."""
        tail = (1 - level) / 2
        return _quantile(self.cumulative("lower"), tail), _quantile(self.cumulative("upper"), 1 - tail)


def _at(cumulative: Floats, share: float) -> Floats:
    angle = np.arcsin(np.sqrt(share)) / (np.pi / 2) * N_SHARES
    place = min(int(angle), N_SHARES - 1)
    return cumulative[:, place] + (angle - place) * (cumulative[:, place + 1] - cumulative[:, place])


def _quantile(cumulative: Floats, tail: float) -> Floats:
    angles = np.linspace(0, np.pi / 2, N_SHARES + 1)
    return np.array([np.sin(np.interp(tail, row, angles)) ** 2 for row in cumulative])


def likeness(hits: NDArray[np.integer], n: NDArray[np.integer], group: NDArray[np.integer]) -> Likeness:
    """The model above of ``hits`` among ``n`` >= 1 captions an image, (n_images,) each, of groups 0, 1, ... (codes).

    What is learned of rho from the other groups leaves the group itself out, whose own captions come in once.
    """
    n_groups, most = int(group.max()) + 1, int(n.max())
    log_likelihood = _log_likelihood(hits, n, group, n_groups, most)
    scale = log_likelihood.max(axis=(1, 2), keepdims=True)
    each = np.exp(log_likelihood - scale)  # (n_groups, N_SHARES, len(RHO))
    several = np.bincount(group, minlength=n_groups) > 1  # one image says nothing of how images differ
    spreads = _spreads()
    with np.errstate(divide="ignore"):
        of_kind = np.where(several[:, None], np.log(each.mean(1) @ spreads.T), 0.0)
    others = of_kind.sum(0) - of_kind
    weight = np.exp(others - logsumexp(others, axis=1, keepdims=True)) @ spreads  # (n_groups, len(RHO))
    joint = each * weight[:, None]
    return Likeness((joint.sum(1) @ RHO) / joint.sum((1, 2)), joint.sum(2))


def _log_likelihood(hits: NDArray, n: NDArray, group: NDArray, n_groups: int, most: int) -> Floats:
    """(n_groups, N_SHARES, len(RHO)): a beta-binomial is a product of (p + j t) / (1 + j t), with t the odds of rho.

    So the images of a group come in by how many of them have more than j hits, misses and captions.
    """
    j, odds = np.arange(most)[:, None, None], RHO / (1 - RHO)
    terms = (np.log(SHARES[:, None] + j * odds), np.log(1 - SHARES[:, None] + j * odds))
    total = np.zeros((n_groups, N_SHARES * len(RHO)))
    for values, term in zip((hits, n - hits), terms, strict=True):
        total += _more_than(values, group, n_groups, most) @ term.reshape(most, -1)
    return (
        total.reshape(n_groups, N_SHARES, -1)
        - (_more_than(n, group, n_groups, most) @ np.log(1 + j[:, 0] * odds))[:, None]
    )


def _more_than(values: NDArray, group: NDArray, n_groups: int, most: int) -> Floats:
    """(n_groups, most): images of the group whose value is more than 0, 1, ..."""
    counts = np.zeros((n_groups, most + 1))
    np.add.at(counts, (group, values.astype(int)), 1)
    return counts[:, ::-1].cumsum(1)[:, ::-1][:, 1:]

"""What would be called a finding about bias, so that it can be counted how often there is one where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import pearsonr

from core.bias.measures import MIN_GROUPS
from core.bias.shares import group_shares
from core.bias.tables import DIFFERENCE
from core.intervals import q_values

GROUP_COLUMNS = ("value", "lang", "p_male", "low", "high", "n_images", "q", "finding", "q_even", "leans")


@dataclass(frozen=True)
class Findings:
    """Of one measurement: correlations with the table that is asked for, shares by group, and what of it is a finding.

    ``correlations``: lang, r, p, n, q, finding. ``groups``: value, lang, p_male, low, high, n_images, q, finding, and
    q_even, leans for the weaker claim that the share is not exactly 0.5. q is taken over both tables together, so that
    one measurement has one false discovery rate.
    """

    correlations: pd.DataFrame
    groups: pd.DataFrame

    @property
    def n(self) -> int:
        """Number of findings."""
        return int(self.correlations["finding"].sum() + self.groups["finding"].sum())


def bias_findings(
    counts: Mapping[str, pd.DataFrame], value: pd.Series, table: Mapping[str, Mapping[str, float]], fdr: float = 0.05
) -> Findings:
    """Findings among the correlations with ``table`` and the groups whose share of men is off 0.5 by over MARGIN.

    ``counts`` by language as of ``image_counts``; ``value`` by sample_id; ``table`` by language and value is p(male),
    such as the planted one. With two languages their difference is correlated as well. p of a correlation: Pearson's
    exact test over groups; of a group: the minimum-effect test over images.
    """
    shares = {lang: group_shares(found, value).assign(lang=lang) for lang, found in counts.items()}
    p_male = {lang: found.set_index("value")["p_male"] for lang, found in shares.items()}
    known = {lang: pd.Series(table[lang], dtype=float) for lang in counts}
    if {"en", "ar"} <= set(p_male):
        p_male[DIFFERENCE], known[DIFFERENCE] = p_male["ar"] - p_male["en"], known["ar"] - known["en"]
    rows = [{"lang": lang, **_correlation(known[lang], p_male[lang])} for lang in p_male]
    correlations = pd.DataFrame(rows, columns=["lang", "r", "p", "n"])
    groups = pd.concat(shares.values(), ignore_index=True)
    n = len(correlations)
    for p, q, is_so in (("p_even", "q_even", "leans"), ("p_beyond", "q", "finding")):
        both = q_values(np.concatenate([correlations["p"], groups[p]]))
        groups[q], groups[is_so] = both[n:], both[n:] <= fdr
        correlations["q"], correlations["finding"] = both[:n], both[:n] <= fdr  # those of the last: findings
    return Findings(correlations, groups[[*GROUP_COLUMNS]])


def _correlation(known: pd.Series, found: pd.Series) -> dict[str, float]:
    both = pd.concat([known, found], axis=1).dropna().to_numpy(float)
    if len(both) < MIN_GROUPS or (np.ptp(both, axis=0) == 0).any():
        return {"r": float("nan"), "p": float("nan"), "n": len(both)}
    r, p = pearsonr(both[:, 0], both[:, 1])
    return {"r": float(r), "p": float(p), "n": len(both)}

"""The simplest detectors beside each feature that claims gender: a difference of means and a probe of the residual.

Wu et al. (2025, AxBench, arXiv 2501.17148): what a difference of means or a probe does as well needs no dictionary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from threadpoolctl import threadpool_limits

from core.features.pooled import Pooled
from core.gender.effects import auc_interval, enough, image_codes, images_of
from core.gender.findings import findings
from core.nulls.findings import VIEWS, Asked, image_residuals, probe
from core.nulls.scores import Placed, mean_auc, placed

NAMES = ("difference of means", "probe")


@threadpool_limits.wrap(limits=1)  # sums in another order end in other bytes
def detector_rows(pooled: Pooled, asked: Asked) -> list[dict[str, Any]]:
    """Rows of null_detectors of a layer, without layer and sae_id: a finding and a detector, by view and language."""
    rows = []
    for cell in findings({pooled.layer: pooled}, asked.gender, asked.is_train, asked.config, VIEWS):
        view, lang, features = cell["view"], cell["lang"], cell["feature"]
        images = images_of(pooled.n_positions[view], lang, asked.gender, asked.is_train)
        if not enough(images, "test", asked.config.min_images):
            continue
        (train, female), (test, held_out) = images.among("train"), images.among("test")
        codes = image_codes(csc_array(pooled.codes(view)[:, features]), images).toarray()[test].T
        own = placed(np.where(cell["auc_train"][:, None] > 0.5, codes, -codes), held_out)
        resid = image_residuals(pooled.resid(view), images)
        direction = resid[train][female].mean(0) - resid[train][~female].mean(0)
        scores = (resid[test] @ direction, probe(resid[train], female, resid[test]))
        low, high = intervals(own)
        for name, score in zip(NAMES, scores, strict=True):
            detector = placed(score, held_out)
            told, apart = mean_auc(detector), differences(own, low, high, detector)
            common = {"view": view, "lang": lang, "detector": name, "n_female_test": int(held_out.sum())}
            common |= {"n_male_test": int((~held_out).sum()), "detector_auc": told.value}
            common |= {"detector_auc_low": told.low, "detector_auc_high": told.high}
            columns = {"auc": own.auc, "auc_low": low, "auc_high": high}
            columns |= dict(zip(("difference", "difference_low", "difference_high"), apart, strict=True))
            for i, feature in enumerate(features.tolist()):
                rows.append(common | {"feature": feature} | {name: float(of[i]) for name, of in columns.items()})
    return rows


def intervals(many: Placed) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the AUCs' intervals (n_scores,), as stage gender has them."""
    return auc_interval(csc_array(many.ranks.T.astype(np.float32)), many.female, many.auc)


def differences(many: Placed, low: NDArray, high: NDArray, one: Placed) -> NDArray[np.float64]:
    """Each of many AUCs less one other on the same images, with its ends, (3, n_scores); see core.nulls.scores."""
    other, female = mean_auc(one), many.female
    both = np.concatenate([many.placements, one.placements])
    covariance = np.sum([np.cov(both[:, of]) / int(of.sum()) for of in (female, ~female)], axis=0)
    spread = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.nan_to_num(covariance[-1, :-1] / (spread[:-1] * spread[-1]))
    value = many.auc - other.value
    down, up = many.auc - low, other.high - other.value
    least = value - np.sqrt(np.maximum(down**2 + up**2 - 2 * r * down * up, 0))
    down, up = other.value - other.low, high - many.auc
    most = value + np.sqrt(np.maximum(down**2 + up**2 - 2 * r * down * up, 0))
    return np.stack([value, least, most])

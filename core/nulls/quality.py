"""How good a dictionary is beside how well it rebuilds: sparse probing, absorption, disentanglement (SAEBench).

Karvonen et al. 2025 (SAEBench, arXiv 2503.09532) for the measures; absorption is theirs with their bounds (Chanin et
al. 2024, arXiv 2409.14507); disentanglement is in the sense of RAVEL (Huang et al. 2024, arXiv 2402.17700), with probes
of the residual in the place of the model's answers: gender is changed, and what else there is should stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from threadpoolctl import threadpool_limits

from core.features.labels import Candidates
from core.features.pooled import Pooled
from core.gender.effects import auc_of_weights, enough, image_codes, images_of, select_rows, sparse_ranks
from core.intervals import mean_interval, wilson
from core.nulls.codes import CaptionCodes
from core.nulls.findings import TOO_FEW, Asked, Fitted, fit_probe, image_residuals
from core.nulls.scores import placed
from core.words import find

VIEW = "caption"
N_CONCEPTS, KS = 12, (1, 5)
RARE, OFTEN = 0.03, 0.5  # share of training images on which a concept is
ALIGNED = 0.025  # cosine with the probe of the feature that is thought to have absorbed (SAEBench)
PORTION = 0.4  # of the probe's projection that it makes up
CHANGED = 5  # gender features that are changed
MIN_CONCEPTS = 5  # below which their mean has no interval
MIN_PRESENT = 5  # held-out images with a concept below which it is not asked


def concepts(there: Candidates) -> NDArray[np.int64]:
    """Places of up to N_CONCEPTS words and annotations that say no gender, neither rare nor everywhere."""
    share = np.asarray(there.present[np.flatnonzero(there.is_train)].mean(axis=0)).ravel()
    fit = (share >= RARE) & (share <= OFTEN)
    plain = [not name.startswith("gender:") and not find(name, there.lang) for name in there.names]
    chosen = np.flatnonzero(fit & np.array(plain, bool))
    if len(chosen) <= N_CONCEPTS:
        return chosen
    return chosen[np.unique(np.linspace(0, len(chosen) - 1, N_CONCEPTS).astype(int))]


@threadpool_limits.wrap(limits=1)  # sums in another order end in other bytes
def quality_rows(
    pooled: Pooled, kinds: dict[str, tuple[Pooled | CaptionCodes, NDArray]], there: Candidates, asked: Asked
) -> list[dict[str, Any]]:
    """Rows of sae_quality of a layer and language, without layer and sae_id.

    ``kinds``: codes and decoder rows (d_sae, d_model) of each dictionary, of images of women and men.
    """
    lang, key = there.lang, {"lang": there.lang}
    images = images_of(pooled.n_positions[VIEW], lang, asked.gender, asked.is_train)
    if not all(enough(images, split, asked.config.min_images) for split in ("train", "test")):
        return [key | {"kind": kind, "measure": "sparse probing", "k": 1, "why": TOO_FEW} for kind in kinds]
    inside = np.isin(images.gender, ("female", "male"))
    captions = np.flatnonzero(images.place >= 0)[np.argsort(images.place[images.place >= 0], kind="stable")]
    place = np.searchsorted(there.rows, captions[inside])  # candidates are those of these images
    train, female = images.is_train[inside], images.gender[inside] == "female"
    resid = image_residuals(pooled.resid(VIEW), images)[inside]
    chosen = concepts(there)
    present = there.present[place][:, chosen].toarray() > 0
    asked_of = [c for c in range(present.shape[1]) if _known(present[:, c], train)]
    present, names = present[:, asked_of], [there.names[chosen[c]] for c in asked_of]
    probes = [fit_probe(resid[train], present[train, c]) for c in range(len(names))]
    gender = fit_probe(resid[train], female[train])
    rows = [mean_over_concepts("residual probing", 0, _aucs(resid[~train], probes, present[~train]))]
    rows = [key | {"kind": "residual", **row} for row in rows]
    for kind, (codes, decoder) in kinds.items():
        x = select_rows(image_codes(codes.codes(VIEW), images), inside)
        told = sparse_probing(x, present, train)
        told += absorption(x, resid, decoder, gender, female, train)
        told += disentanglement(x, resid, decoder, gender, probes, present, female, train)
        rows += [key | {"kind": kind, **row} for row in told]
    return rows


def _known(present: NDArray, train: NDArray) -> bool:
    counts = [int((present[side] == value).sum()) for side in (train, ~train) for value in (True, False)]
    return min(counts) >= MIN_PRESENT


def _aucs(resid: NDArray, probes: Sequence[Fitted], present: NDArray) -> list[float]:
    return [float(placed(one.scores(resid), present[:, c]).auc[0]) for c, one in enumerate(probes)]


def mean_over_concepts(measure: str, k: int, values: Sequence[float]) -> dict[str, Any]:
    """Mean AUC over concepts, which are the units, with the interval of what they lack of 1.

    None of fewer than MIN_CONCEPTS, nor where all are told alike: two at 1 do not say that the next one is.
    """
    n, lacking = len(values), 1 - np.asarray(values, float)
    row: dict[str, Any] = {"measure": measure, "k": k, "n": n, "unit": "concepts", "why": "" if n else "no concepts"}
    if n:
        mean, low, high = (float(x) for x in mean_interval(lacking))
        row |= {"value": 1 - mean, "low": None, "high": None}
        if n < MIN_CONCEPTS or np.ptp(lacking) == 0 or np.isnan(low):
            row["why"] = "too few concepts, or all told alike: no interval"
        else:
            row |= {"low": 1 - min(high, 1.0), "high": 1 - max(low, 0.0)}
    return row


def sparse_probing(x: csc_array, present: NDArray, train: NDArray) -> list[dict[str, Any]]:
    """Held-out AUC of the k features that tell a concept best on training images, mean over concepts."""
    ranks = sparse_ranks(select_rows(x, train))
    aucs = auc_of_weights(ranks, present[train].T.astype(float))
    rows = []
    for k in KS:
        values = []
        for c in range(present.shape[1]):
            best = np.argsort(-np.abs(aucs[c] - 0.5), kind="stable")[:k]
            columns = x[:, best].toarray()
            if k == 1:
                score = columns[~train, 0] if aucs[c, best[0]] > 0.5 else -columns[~train, 0]
            else:
                score = fit_probe(columns[train], present[train, c]).scores(columns[~train])
            values.append(float(placed(score, present[~train, c]).auc[0]))
        rows.append(mean_over_concepts("sparse probing", k, values))
    return rows


def absorption(
    x: csc_array, resid: NDArray, decoder: NDArray, gender: Fitted, female: NDArray, train: NDArray
) -> list[dict[str, Any]]:
    """Share of held-out images whose gender the probe tells, the gender's own feature is silent, and one other feature
    along the probe makes up PORTION of what the probe sees."""
    side, test = np.where(female, 1.0, -1.0), np.flatnonzero(~train)
    direction = gender.direction / np.linalg.norm(gender.direction)
    cosine = decoder @ direction / np.maximum(np.linalg.norm(decoder, axis=1), 1e-12)
    aucs = auc_of_weights(sparse_ranks(select_rows(x, train)), female[train][None].astype(float))[0]
    main = {1.0: int(np.argmax(aucs)), -1.0: int(np.argmin(aucs))}
    seen = (resid - resid[train].mean(0)) @ direction * side  # above 0: the probe leans the right way
    right = test[(seen[test] > 0) & (gender.scores(resid[test]) * side[test] > 0)]
    rows = x.tocsr()
    absorbed = 0
    for image in right:
        row = rows[[image]]
        along = row.data * cosine[row.indices] * side[image]
        if main[float(side[image])] in row.indices or not len(along):
            continue
        top = int(np.argmax(along))
        aligned = cosine[row.indices[top]] * side[image] >= ALIGNED
        absorbed += bool(aligned and along[top] >= PORTION * seen[image])
    return [_share("absorption", 1, absorbed, len(right))]


def disentanglement(
    x: csc_array,
    resid: NDArray,
    decoder: NDArray,
    gender: Fitted,
    probes: Sequence[Fitted],
    present: NDArray,
    female: NDArray,
    train: NDArray,
) -> list[dict[str, Any]]:
    """The first gender features are set to the other gender's mean: how often the gender probe follows (*cause*), and
    how often the probes of other concepts, where these are told, still tell them (*isolation*)."""
    aucs = auc_of_weights(sparse_ranks(select_rows(x, train)), female[train][None].astype(float))[0]
    best = np.argsort(-np.abs(aucs - 0.5), kind="stable")[:CHANGED]
    z = x[:, best].toarray().astype(np.float64)
    means = {value: z[train & (female == value)].mean(0) for value in (True, False)}
    target = np.where(female[:, None], means[False], means[True])
    changed = resid + (target - z) @ decoder[best]
    test = ~train
    before, after = (gender.scores(part[test]) > 0 for part in (resid, changed))
    right = before == female[test]
    rows = [_share("cause", CHANGED, int((after[right] != female[test][right]).sum()), int(right.sum()))]
    kept = n = 0
    for c, one in enumerate(probes):
        told = present[test, c] & (one.scores(resid[test]) > 0)
        kept, n = kept + int((one.scores(changed[test])[told] > 0).sum()), n + int(told.sum())
    rows.append(_share("isolation", CHANGED, kept, n))
    cause, isolation = rows
    both: dict[str, Any] = {"measure": "disentanglement", "k": CHANGED, "n": cause["n"], "unit": "images", "why": ""}
    if cause["n"] and isolation["n"]:
        value = (cause["value"] + isolation["value"]) / 2
        down = np.hypot(*(row["value"] - row["low"] for row in rows)) / 2
        up = np.hypot(*(row["high"] - row["value"] for row in rows)) / 2
        both |= {"value": value, "low": float(value - down), "high": float(value + up)}
    else:
        both["why"] = cause["why"] or isolation["why"]
    return [*rows, both]


def _share(measure: str, k: int, hits: int, n: int) -> dict[str, Any]:
    row: dict[str, Any] = {"measure": measure, "k": k, "n": n, "unit": "images", "why": "" if n else "no image to ask"}
    if n:
        low, high = wilson(hits, n)
        row |= {"value": hits / n, "low": float(low), "high": float(high)}
    return row

"""The question of stage gender, put to any dictionary in the same way: how many findings, and how far the best ones go.

A count of findings is no evidence for a dictionary, for a random one has more. *Concentration* is: how much of what a
linear probe of the whole residual tells is told by the first 1, 2, 5 or 10 features, chosen on training images
(k-sparse probing: Gurnee et al. 2023, arXiv 2305.01610).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from core.config import GenderConfig
from core.features.pooled import Pooled
from core.gender.effects import (
    Images,
    auc_and_p,
    enough,
    image_codes,
    images_of,
    select_rows,
    sparse_ranks,
)
from core.gender.findings import findings
from core.nulls.codes import VIEWS, CaptionCodes
from core.nulls.scores import NOTHING, Placed, difference, mean_auc, placed, share

TRAINED, RANDOM, AXES, COMPONENTS, SHUFFLED = "trained", "random", "axes", "components", "shuffled labels"
SEED, FROZEN, RANDOM_MODEL = "second seed", "frozen decoder", "random model"
L2 = 100.0  # of the probes, on standardised columns
MAX_ENTRIES = 4_000_000
TOO_FEW = "too few images of women or of men"
SILENT = "no feature fires on the training images"
Codes = Pooled | CaptionCodes


@dataclass(frozen=True)
class Asked:
    """Who is shown ("female", "male", other) and which images select, by sample (n_samples,)."""

    gender: NDArray[np.str_]
    is_train: NDArray[np.bool_]
    config: GenderConfig


@dataclass(frozen=True)
class Heard:
    """What one dictionary answered in one cell: a row of null_findings, and held-out scores of its first k features."""

    row: dict[str, Any]
    scores: dict[int, NDArray[np.float64]]  # k -> (n_test,)
    female: NDArray[np.bool_]  # (n_test,)


@threadpool_limits.wrap(limits=1)  # sums in another order end in other bytes
def ask(codes: Codes, asked: Asked, ks: Sequence[int], views: Sequence[str] = VIEWS) -> dict[tuple[str, str], Heard]:
    """By view and language, what a dictionary says of gender; q is adjusted within the layer's view alone."""
    known = cast("Mapping[int, Pooled]", {codes.layer: codes})
    counts = {
        (cell["view"], cell["lang"]): len(cell["feature"])
        for cell in findings(known, asked.gender, asked.is_train, asked.config, views)
    }
    return {
        (view, lang): _cell(codes, view, lang, asked, ks, counts.get((view, lang), 0))
        for view in views
        for lang in codes.languages
    }


def _cell(codes: Codes, view: str, lang: str, asked: Asked, ks: Sequence[int], n_findings: int) -> Heard:
    images = images_of(codes.n_positions[view], lang, asked.gender, asked.is_train)
    (train, female), (test, female_test) = images.among("train"), images.among("test")
    row: dict[str, Any] = {
        "n_female_test": int(female_test.sum()),
        "n_male_test": int((~female_test).sum()),
        "l0": getattr(codes, "l0", None),
    }
    if not all(enough(images, split, asked.config.min_images) for split in ("train", "test")):
        return Heard(row | {"why": TOO_FEW}, {}, female_test)
    parts = []
    for first, last in codes.blocks(MAX_ENTRIES):
        x = select_rows(image_codes(codes.codes(view, first, last), images), train)
        fires = np.diff(x.indptr) > 0
        parts.append(np.where(fires, auc_and_p(sparse_ranks(x), female)[0], np.nan))
    auc = np.concatenate(parts)
    row |= {"n_features": int(np.isfinite(auc).sum()), "n_findings": n_findings}
    if not row["n_features"]:
        return Heard(row | {"why": SILENT}, {}, female_test)
    order = np.argsort(-np.nan_to_num(np.abs(auc - 0.5), nan=-1), kind="stable")[: min(max(ks), row["n_features"])]
    columns = np.concatenate([_column(codes, view, int(f), images) for f in order], axis=1)
    up = bool(auc[order[0]] > 0.5)
    scores = {k: sparse_probe(columns[train], female, columns[test], k, up) for k in ks}
    first = sparse_probe(columns[train], female, columns[test], 1, up)
    told = mean_auc(placed(first, female_test))
    best = {"best_feature": int(order[0]), "best_auc_train": float(max(auc[order[0]], 1 - auc[order[0]]))}
    best |= {"best_auc_test": told.value, "best_auc_low": told.low, "best_auc_high": told.high}
    return Heard(row | best | {"why": ""}, scores, female_test)


def _column(codes: Codes, view: str, feature: int, images: Any) -> NDArray[np.float64]:
    return image_codes(codes.codes(view, feature, feature + 1), images).toarray().astype(np.float64)


def sparse_probe(
    train: NDArray, female: NDArray[np.bool_], test: NDArray, k: int, up: bool = True
) -> NDArray[np.float64]:
    """Held-out scores (n_test,), higher for women, of the first ``k`` columns; a single one needs no probe.

    ``up`` is whether the first column is higher for women on the training images.
    """
    if k == 1:
        return test[:, 0] if up else -test[:, 0]
    return probe(train[:, :k], female, test[:, :k])


class Fitted(NamedTuple):
    """A logistic regression on standardised columns: what it adds up, and what it starts from."""

    direction: NDArray[np.float64]  # (n_columns,) of the columns as they are
    offset: float

    def scores(self, x: NDArray) -> NDArray[np.float64]:
        """Log-odds (n,) of the first label."""
        return x @ self.direction + self.offset


def fit_probe(train: NDArray, labels: NDArray[np.bool_]) -> Fitted:
    """L2 on standardised columns, labels weighed alike."""
    mean, spread = train.mean(0), train.std(0)
    scale = 1 / np.where(spread > 0, spread, 1.0)
    fitted = LogisticRegression(C=1 / L2, class_weight="balanced", max_iter=1000)
    fitted.fit((train - mean) * scale, labels)
    direction = fitted.coef_[0] * scale
    return Fitted(direction, float(np.ravel(fitted.intercept_)[0] - mean @ direction))


def probe(train: NDArray, female: NDArray[np.bool_], test: NDArray) -> NDArray[np.float64]:
    """Held-out scores (n_test,) of a probe, higher for women."""
    return fit_probe(train, female).scores(test)


def image_residuals(resid: NDArray, images: Images) -> NDArray[np.float64]:
    """Mean residual by image (n_images, d_model) of captions (n_captions, d_model)."""
    captions = np.flatnonzero(images.place >= 0)
    x = np.empty((len(images.weight), resid.shape[1]), np.float64)
    x[images.place[captions]] = resid[captions]
    return x


@threadpool_limits.wrap(limits=1)  # sums in another order end in other bytes
def whole_residual(resid: NDArray, n_positions: NDArray, lang: str, asked: Asked) -> Placed | None:
    """Placements of a probe of the whole mean residual (n_captions, d_model), on the held-out images of a view.

    None where there are too few images.
    """
    images = images_of(n_positions, lang, asked.gender, asked.is_train)
    if not all(enough(images, split, asked.config.min_images) for split in ("train", "test")):
        return None
    x = image_residuals(resid, images)
    (train, female), (test, female_test) = images.among("train"), images.among("test")
    return placed(probe(x[train], female, x[test]), female_test)


def compared(
    own: Mapping[tuple[str, str], Heard],
    kinds: Mapping[str, Sequence[Mapping[tuple[str, str], Heard]]],
    whole: Mapping[tuple[str, str], Placed | None],
    ks: Sequence[int],
    same_labels: bool = True,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of null_findings and null_probes, without layer and sae_id, of the kinds, each by its draws.

    ``own`` is what the run's SAE answered. Differences from it, and shares of ``whole``, are of the same images with
    the same labels; with other labels there are none.
    """
    found, probes = [], []
    for kind, draws in kinds.items():
        for (view, lang), first in draws[0].items():
            key = {"view": view, "lang": lang, "kind": kind}
            heard = [draw[view, lang] for draw in draws]
            found += [{**key, "draw": number, **one.row} for number, one in enumerate(heard)]
            why = first.row["why"] or next((h.row["why"] for h in heard), "")
            counts = {"n_draws": len(heard), **{n: first.row[n] for n in ("n_female_test", "n_male_test")}}
            for k in ks:
                row = {**key, "k": k, **counts, "why": why}
                if not why:
                    rival = own[view, lang] if same_labels and kind != TRAINED else None
                    row |= _probed(heard, rival, whole[view, lang] if same_labels else None, k)
                probes.append(row)
    return found, probes


def _probed(heard: Sequence[Heard], own: Heard | None, whole: Placed | None, k: int) -> dict[str, Any]:
    female = heard[0].female
    scores = placed(np.stack([one.scores[k] for one in heard]), female)
    part = share(scores, whole) if whole is not None else NOTHING
    apart = difference(placed(own.scores[k], female), scores) if own is not None and own.scores else NOTHING
    row = {"residual_auc": float(whole.auc[0]) if whole is not None else None}
    for name, told in (("auc", mean_auc(scores)), ("share", part), ("difference", apart)):
        row |= {name: told.value, f"{name}_low": told.low, f"{name}_high": told.high}
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}

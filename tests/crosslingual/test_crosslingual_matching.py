"""Dictionaries trained apart are matched by what their features do, never by number."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csc_array

from core.crosslingual import CrossLingualFeatureAligner, Dictionary, matching
from core.crosslingual.matching import (
    Pairs,
    candidates,
    correlation_blocks,
    cosine_blocks,
    mutual_nearest,
    optimal_assignment,
    pair_correlations,
)

N, F, D = 200, 40, 24


def codes(rng, n=N, n_features=F, rate=0.2):
    return csc_array((rng.random((n, n_features)) * (rng.random((n, n_features)) < rate)).astype(np.float32))


def dictionary(lang, seed, activations, decoder):
    return Dictionary(lang, seed, f"{lang}{seed}", csc_array(activations), decoder.astype(np.float32))


def renumbered(rng, lang, seed, truth, decoder):
    """The same features in another order, with a little noise of their own."""
    order = rng.permutation(F)
    dense = truth.toarray()[:, order]
    noisy = np.where(dense > 0, dense + 0.05 * rng.random(dense.shape), 0).astype(np.float32)
    return dictionary(lang, seed, noisy, decoder[order] + 0.02 * rng.standard_normal((F, D))), order


def test_correlations_are_numpys():
    rng = np.random.default_rng(0)
    a, b = codes(rng), codes(rng)
    found = np.concatenate([block for _, block in correlation_blocks(a, b)])
    np.testing.assert_allclose(found, np.corrcoef(a.toarray().T, b.toarray().T)[:F, F:], atol=1e-4)
    pairs = Pairs(np.arange(F), np.arange(F)[::-1], np.zeros(F))
    np.testing.assert_allclose(pair_correlations(a, b, pairs), found[pairs.a, pairs.b], atol=1e-4)
    draws = pair_correlations(a, b, pairs, np.ones((2, N)))
    np.testing.assert_allclose(draws, np.tile(found[pairs.a, pairs.b], (2, 1)), atol=1e-4)


def test_the_sparse_assignment_comes_close_to_the_optimum_and_says_how_close(monkeypatch):
    rng = np.random.default_rng(1)
    a = rng.standard_normal((120, 10))
    b = a[rng.permutation(120)] + 0.3 * rng.standard_normal((120, 10))
    full = np.concatenate([block for _, block in cosine_blocks(a, b)])
    row, column = linear_sum_assignment(full, maximize=True)
    best = full[row, column].sum()
    exact, _ = optimal_assignment(candidates(cosine_blocks(a, b), 120, 120))
    assert exact.similarity.sum() == pytest.approx(best, rel=1e-5)
    monkeypatch.setattr(matching, "EXACT", 0)
    monkeypatch.setattr(matching, "BLOCK_ROWS", 32)
    found = candidates(cosine_blocks(a, b), 120, 120)
    assert found.kept.nnz <= 2 * 120 * matching.N_CANDIDATES
    pairs, bound = optimal_assignment(found)
    assert len(set(pairs.a.tolist())) == len(pairs.a) and len(set(pairs.b.tolist())) == len(pairs.b)
    assert bound * best <= pairs.similarity.sum() * (1 + 1e-5) and pairs.similarity.sum() >= 0.97 * best
    both = mutual_nearest(found)
    ours = {(i, int(full[i].argmax())) for i in range(120) if full[:, full[i].argmax()].argmax() == i}
    assert set(zip(both.a.tolist(), both.b.tolist(), strict=True)) == ours


def test_the_same_features_in_another_order_are_found_again():
    rng = np.random.default_rng(2)
    truth, decoder = codes(rng), rng.standard_normal((F, D))
    made = [renumbered(rng, lang, seed, truth, decoder) for lang in ("en", "ar") for seed in (0, 1)]
    aligner = CrossLingualFeatureAligner(np.arange(N) < 140, 60)
    rows, listed = aligner.align([d for d, _ in made])
    for row in rows:
        if row["measure"] == "assignment_bound":
            assert row["value"] > 0.95
        else:
            assert row["value"] > 0.95 and row["ceiling"] > 0.95 and row["floor"] < 0.6
    first = {"en": made[0][1], "ar": made[2][1]}
    assert len(listed) == 2 * F and all(p["mutual"] for p in listed)
    assert all(first["en"][p["feature_en"]] == first["ar"][p["feature_ar"]] for p in listed)


def test_unrelated_dictionaries_stay_at_the_floor():
    rng = np.random.default_rng(3)
    made = [dictionary(lang, s, codes(rng), rng.standard_normal((F, D))) for lang in ("en", "ar") for s in (0, 1)]
    rows, _ = CrossLingualFeatureAligner(np.arange(N) < 140, 60).align(made)
    for row in rows:
        if row["measure"] == "matched_correlation":
            assert abs(row["value"]) < 0.1 and abs(row["floor"]) < 0.1
        elif row["measure"] == "matched_share":
            assert row["value"] < 0.03
        elif row["measure"] == "matched_cosine":
            assert row["value"] == pytest.approx(row["floor"], abs=0.1)


def test_dead_features_and_empty_dictionaries_are_left_out():
    rng = np.random.default_rng(4)
    live = codes(rng).toarray()
    live[:, :10] = 0
    some, none = dictionary("en", 0, live, rng.standard_normal((F, D))), np.zeros((N, F), np.float32)
    aligner = CrossLingualFeatureAligner(np.arange(N) < 140, 60)
    assert (aligner.match(some, some)["assignment"].pairs.a >= 10).all()
    rows, listed = aligner.align([some, dictionary("ar", 0, none, rng.standard_normal((F, D)))])
    told = [r for r in rows if r["measure"] == "matched_correlation" and r["matched_by"] == "activation"]
    assert all(r["value"] is None and r["why"] for r in told)
    assert not [p for p in listed if p["matched_by"] == "activation"]

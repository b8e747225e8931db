"""A factored matrix says of its product what dense algebra says of it, without forming it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.mech.factored import FactoredMatrix
from core.mech.weights import mlp, qk, spectra
from core.vlm.blocks import Block
from tests.vlm.toy_model import toy_vlm

SIZE = st.integers(1, 9)


def factored(m: int, r: int, n: int, seed: int = 0) -> FactoredMatrix:
    g = torch.Generator().manual_seed(seed)
    return FactoredMatrix(torch.randn(m, r, generator=g).double(), torch.randn(r, n, generator=g).double())


@settings(max_examples=60, deadline=None)
@given(SIZE, SIZE, SIZE, st.integers(0, 99))
def test_singular_values_and_vectors_are_those_of_the_product(m, r, n, seed):
    matrix = factored(m, r, n, seed)
    dense = (matrix.A @ matrix.B).numpy()
    u, s, vh = matrix.svd()
    np.testing.assert_allclose(s, np.linalg.svd(dense, compute_uv=False)[: len(s)], atol=1e-9)
    np.testing.assert_allclose((u * s) @ vh, dense, atol=1e-9)
    assert len(s) == min(m, r, n) and matrix.shape == dense.shape
    np.testing.assert_allclose(matrix.spectrum().norm, np.linalg.norm(dense), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(SIZE, SIZE, st.integers(0, 99))
def test_trace_and_eigenvalues_are_those_of_the_product(m, r, seed):
    matrix = factored(m, r, m, seed)
    dense = (matrix.A @ matrix.B).numpy()
    np.testing.assert_allclose(matrix.trace(), np.trace(dense), atol=1e-9)
    want = np.linalg.eigvals(dense)
    want = want[np.argsort(-np.abs(want))][: len(matrix.eigenvalues())]
    np.testing.assert_allclose(np.abs(matrix.eigenvalues()), np.abs(want), atol=1e-6)
    np.testing.assert_allclose(matrix.eigenvalues().sum(), np.trace(dense), atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(SIZE, SIZE, SIZE, SIZE, SIZE)
def test_products_stay_factored_and_right(m, r, n, q, k):
    one, two = factored(m, r, n), factored(n, q, k, 1)
    both = one @ two
    assert isinstance(both, FactoredMatrix)
    np.testing.assert_allclose(both.A @ both.B, one.A @ one.B @ two.A @ two.B, atol=1e-9)
    x = torch.ones(3, m).double()
    np.testing.assert_allclose(x @ one, x @ (one.A @ one.B), atol=1e-9)
    np.testing.assert_allclose((one.T @ x.mT).mT, x @ (one.A @ one.B), atol=1e-9)


def test_effective_rank_knows_one_direction_from_many_equal_ones():
    flat = FactoredMatrix(torch.eye(7), torch.eye(7)).spectrum()
    assert flat.effective_rank == pytest.approx(7) and flat.participation == pytest.approx(7)
    one = FactoredMatrix(torch.ones(7, 3), torch.ones(3, 7)).spectrum()
    assert one.effective_rank == pytest.approx(1, abs=1e-4) and one.participation == pytest.approx(1, abs=1e-5)
    nothing = FactoredMatrix(torch.zeros(4, 2), torch.ones(2, 4)).spectrum()
    assert np.isnan(nothing.effective_rank) and nothing.norm == 0


def test_copying_is_one_for_the_identity_and_minus_one_for_its_opposite():
    eye = torch.eye(5)
    assert FactoredMatrix(eye, eye).copying() == pytest.approx(1)
    assert FactoredMatrix(eye, -eye).copying() == pytest.approx(-1)
    turned = FactoredMatrix(torch.tensor([[0.0, 1], [-1, 0]]), torch.eye(2))  # a rotation gives back nothing
    assert turned.copying() == pytest.approx(0, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(SIZE, SIZE, st.integers(0, 99))
def test_a_whole_matrix_is_the_product_that_it_is(m, n, seed):
    whole = torch.randn(m, n, generator=torch.Generator().manual_seed(seed)).double()
    matrix = FactoredMatrix(whole.numpy())
    assert torch.equal(matrix.A @ matrix.B, whole) and matrix.shape == whole.shape
    np.testing.assert_allclose(matrix.singular_values, np.linalg.svd(whole.numpy(), compute_uv=False), atol=1e-9)


def test_rank_is_how_many_directions_hold_the_variance():
    falling = FactoredMatrix(torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.1])))  # squares 9, 1, 0.25, 0.01
    assert [falling.rank(share) for share in (0.5, 0.95, 0.98, 1.0)] == [1, 2, 3, 4]
    assert FactoredMatrix(torch.eye(20)).rank() == 19 and FactoredMatrix(torch.ones(5, 9)).rank() == 1
    assert FactoredMatrix(torch.zeros(3, 3)).rank() == 0


def test_entropy_is_that_of_the_spectrum():
    assert FactoredMatrix(torch.eye(8)).entropy == pytest.approx(np.log(8))
    assert FactoredMatrix(torch.ones(5, 9).double()).entropy == pytest.approx(0, abs=1e-9)


def test_principal_components_are_those_of_the_covariance_of_centred_rows():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 4)) * [5, 2, 1, 0.1] @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    rows -= rows.mean(0)
    found = FactoredMatrix(rows).principal_components(3)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    np.testing.assert_allclose(found.share, values[::-1][:3] / values.sum(), rtol=1e-9)
    np.testing.assert_allclose(np.abs(found.directions.numpy() @ vectors[:, ::-1][:, :3]), np.eye(3), atol=1e-6)


@pytest.mark.parametrize(
    ("what", "use"),
    [
        ("no matrix product", lambda: FactoredMatrix(torch.ones(2, 3), torch.ones(2, 3))),
        ("no matrix: shape \\(3,\\)", lambda: FactoredMatrix(torch.ones(3))),
        ("no matrix: .*int64", lambda: FactoredMatrix([[1, 2], [3, 4]])),
        ("square", lambda: factored(2, 3, 4).trace()),
        ("no singular values", lambda: FactoredMatrix(torch.full((2, 2), torch.nan)).rank()),
        ("No rank holds 95", lambda: FactoredMatrix(torch.eye(2)).rank(95)),
        ("not have 3 components", lambda: FactoredMatrix(torch.eye(2)).principal_components(3)),
        ("Only one matrix", lambda: FactoredMatrix(torch.ones(2, 3, 3)).rank()),
    ],
)
def test_what_fits_not_is_refused_with_what_why_and_what_to_do(what, use):
    with pytest.raises(UserError, match=what) as error:
        use()
    assert all((error.value.what, error.value.why, error.value.do))


def test_qk_is_what_heads_score_at_distance_zero():
    """A query attending to its own position sees no rotary angle: so QK has the sign of its score."""
    vlm, layer = toy_vlm(), 0
    block = Block(vlm, layer)
    matrix, x = qk(vlm, layer, 3), torch.randn(2, vlm.d_model, generator=torch.Generator().manual_seed(0))
    normed = block.part("attn_in_norm")(x)
    q = block.part("q_norm")(block.part("q")(normed).unflatten(-1, (-1, block.d_head))[:, 3])
    k = block.part("k_norm")(block.part("k")(normed).unflatten(-1, (-1, block.d_head))[:, block.kv_head(3)])
    got = (x @ matrix) @ x.mT
    want = q @ k.mT
    ratio = (got / want).diagonal()  # the norms' scales are left out, and are positive
    assert bool((ratio > 0).all()) and block.kv_head(3) == 1


def test_spectra_hold_a_random_product_of_the_same_shape_against_each_matrix():
    vlm = toy_vlm()
    rows = spectra(vlm, 2, seed=0)
    assert [(r["matrix"], r["head"]) for r in rows] == [
        *(("OV", h) for h in range(4)),
        *(("QK", h) for h in range(4)),
        ("MLP", -1),
    ]
    assert {r["rank"] for r in rows if r["matrix"] != "MLP"} == {48}
    for row in rows:
        assert 1 <= row["effective_rank"] <= row["rank"] and -1 <= row["copying"] <= 1
        if row["matrix"] != "QK":  # factors drawn at random, as these weights are, look like random factors
            assert row["effective_rank"] == pytest.approx(row["random_effective_rank"], rel=0.1)
    assert mlp(vlm, 2).shape == (192, 192)

"""One row a caption: means over the right positions, whatever the borders of the parts."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from core.errors import UserError
from core.features.pooled import VIEWS, Pooled, join_parts, pool_rows, view_rows, write_part
from core.features.tokens import token_index

D_MODEL, D_SAE = 3, 7


def two_captions():
    """Sample 0 in English: bos, two image tokens, two of the prompt, three of the caption; in Arabic two of caption."""
    rows = []
    for lang, n_caption in (("en", 3), ("ar", 2)):
        kinds = ["bos", "image", "image", "prompt", "prompt", *["caption"] * n_caption]
        patches = [-1, 0, 1, *[-1] * (2 + n_caption)]
        rows += [(0, lang, i, k, 40 + i, p) for i, (k, p) in enumerate(zip(kinds, patches, strict=True))]
    names = ["sample_id", "lang", "position", "kind", "token_id", "patch"]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    for name in ("sample_id", "position", "token_id"):
        columns[name] = np.array(columns[name], np.int32)
    return token_index(pa.table(columns | {"patch": np.array(columns["patch"], np.int16)}))


def rows_of(view, first_gendered):
    tokens = two_captions()
    return np.flatnonzero(view_rows(tokens, np.array(first_gendered))[view]).tolist()


def test_views_are_the_positions_that_they_name():
    assert rows_of("image", [3, 2]) == [1, 2, 9, 10]
    assert rows_of("prompt", [3, 2]) == [4, 12]
    assert rows_of("caption", [3, 2]) == [5, 6, 7, 13, 14]


def test_before_ends_at_the_first_gendered_word_and_begins_where_the_first_word_is_chosen():
    assert rows_of("before", [0, 1]) == [4, 12, 13]  # "He is ...": only the end of the prompt comes before
    assert rows_of("before", [3, 2]) == [4, 5, 6, 7, 12, 13, 14]  # no gendered word: all of it


def pooled(tmp_path, tokens, x, z, borders):
    views = view_rows(tokens, np.array([1, 2]))
    paths = []
    for i, (first, last) in enumerate(zip([0, *borders], [*borders, tokens.n_rows], strict=True)):
        paths.append(tmp_path / f"part_{i}.safetensors")
        codes = csr_array(z[first:last])
        sums = {
            v: pool_rows(tokens.sequence[first:last], m[first:last], x[first:last], codes) for v, m in views.items()
        }
        write_part(paths[-1], sums)
    n = {v: np.bincount(tokens.sequence[m], minlength=2) for v, m in views.items()}
    (tmp_path / "pooled").mkdir(exist_ok=True)
    join_parts(tmp_path / "pooled" / "layer_04.safetensors", paths, n, D_SAE, "abc")
    return Pooled(tmp_path, 4), views


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), border=st.integers(1, 14))
def test_pooled_means_are_those_of_the_dense_table_wherever_the_parts_end(tmp_path_factory, seed, border):
    tokens, rng = two_captions(), np.random.default_rng(seed)
    x = rng.normal(size=(tokens.n_rows, D_MODEL)).astype(np.float32)
    z = np.where(rng.uniform(size=(tokens.n_rows, D_SAE)) < 0.4, rng.uniform(0.1, 1, (tokens.n_rows, D_SAE)), 0)
    read, views = pooled(tmp_path_factory.mktemp("pooled"), tokens, x, z.astype(np.float32), [border])
    for view in VIEWS:
        for caption in (0, 1):
            rows = np.flatnonzero(views[view] & (tokens.sequence == caption))
            assert read.n_positions[view][caption] == len(rows)
            assert np.allclose(read.resid(view)[caption], x[rows].mean(0), atol=1e-5)
            assert np.allclose(read.codes(view).toarray()[caption], z[rows].mean(0), atol=1e-5)
        assert np.array_equal(read.codes(view, 2, 5).toarray(), read.codes(view).toarray()[:, 2:5])


def test_blocks_cover_every_feature_once_within_the_bound(tmp_path):
    tokens, rng = two_captions(), np.random.default_rng(0)
    z = rng.uniform(0.1, 1, (tokens.n_rows, D_SAE)).astype(np.float32)
    read, _ = pooled(tmp_path, tokens, np.zeros((tokens.n_rows, D_MODEL), np.float32), z, [])
    blocks = list(read.blocks(max_entries=4))
    assert [f for first, last in blocks for f in range(first, last)] == list(range(D_SAE))
    assert all(read.codes(view, *block).nnz <= 4 for view in VIEWS for block in blocks)


def test_a_layer_that_was_not_pooled_is_said_to_be_missing(tmp_path):
    with pytest.raises(UserError, match="has not been pooled"):
        Pooled(tmp_path, 3)

"""What is written is what is read, and a seeded shuffle can be taken up at any step."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.activations import passes
from core.activations import writer as writing
from core.activations.passes import TokenRow, cut, dropped_image_tokens, token_table
from core.activations.store import ActivationReader
from core.activations.writer import ActivationWriter, shard_blocks
from core.errors import UserError
from core.run import write_table

LAYERS = (1, 4)
D_MODEL = 6


def data(n: int, layer: int) -> torch.Tensor:
    """Values that bfloat16 holds exactly: row number in two digits, and the layer."""
    rows = torch.arange(n)
    return torch.stack([rows // 200, rows % 200, *[torch.full((n,), layer)] * (D_MODEL - 2)], 1).float()


def make(run_dir, block_rows, shard_rows, dtype="bfloat16", stop_after=None):
    writer = ActivationWriter(run_dir, run_dir / "work", LAYERS, dtype, shard_rows, block_rows, "float32")
    starts = np.cumsum([0, *block_rows])
    for n_done, block in enumerate(writer.todo()):
        if n_done == stop_after:
            return writer
        rows = slice(starts[block], starts[block + 1])
        writer.add(block, {layer: data(int(starts[-1]), layer)[rows] for layer in LAYERS})
    writer.finish()
    return writer


def files(run_dir):
    return {p.relative_to(run_dir): p.read_bytes() for p in sorted((run_dir / "activations").rglob("*.*"))}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 60))
def test_shards_are_whole_blocks_and_end_when_full(block_rows, shard_rows):
    shards = shard_blocks(block_rows, shard_rows)
    assert [block for shard in shards for block in shard] == list(range(len(block_rows)))
    sizes = [[block_rows[block] for block in shard] for shard in shards]
    assert all(sum(s) >= shard_rows for s in sizes[:-1]) and all(sum(s[:-1]) < shard_rows for s in sizes)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_reading_gives_back_what_was_written(tmp_path, dtype):
    make(tmp_path, [7, 5, 11, 2, 9], shard_rows=12, dtype=dtype)
    for layer in LAYERS:
        reader, truth = ActivationReader(tmp_path, layer), data(34, layer)
        assert (reader.n_rows, reader.d_model) == (34, D_MODEL)
        assert torch.equal(reader.read(slice(None)), truth) and reader.read(slice(None)).dtype == torch.float32
        assert torch.equal(reader.read(slice(10, 25)), truth[10:25])
        numbers = np.array([33, 0, 12, 12, 11, 20])
        assert torch.equal(reader.read(numbers), truth[numbers])
        assert reader.read([]).shape == (0, D_MODEL)
    with pytest.raises(IndexError):
        reader.read([34])
    with pytest.raises(UserError, match="no activations of layer 2"):
        ActivationReader(tmp_path, 2)


def test_files_are_the_same_whichever_write_was_the_last(tmp_path, monkeypatch):
    """The process ends at the n-th file that is about to get its name, for every n."""
    blocks = [7, 5, 11, 2, 9]
    make(tmp_path / "whole", blocks, 12)
    real = writing.atomic_path
    for n in range(100):
        left = [n]

        def failing(path, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return real(path)

        folder = tmp_path / f"write-{n}"
        monkeypatch.setattr(writing, "atomic_path", failing)
        try:
            make(folder, blocks, 12)
            break
        except KeyboardInterrupt:
            monkeypatch.setattr(writing, "atomic_path", real)
            make(folder, blocks, 12)
            assert files(folder) == files(tmp_path / "whole")
    assert n == len(blocks) + len(LAYERS) * 3


def test_what_an_earlier_run_left_is_removed(tmp_path):
    make(tmp_path, [5] * 6, shard_rows=5)
    for mark in (tmp_path / "work").glob("shard_*"):
        mark.unlink()
    (tmp_path / "activations" / "layer_07").mkdir()
    (tmp_path / "activations" / "layer_07" / "shard_00000.safetensors").write_bytes(b"old")
    make(tmp_path, [5] * 6, shard_rows=15)
    assert ActivationReader(tmp_path, 1).n_rows == 30
    assert sorted(p.name for p in (tmp_path / "activations").iterdir()) == ["layer_01", "layer_04"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.4e38])
def test_values_that_are_not_finite_are_refused_by_layer_and_dtype(tmp_path, value):
    writer = ActivationWriter(tmp_path, tmp_path / "work", LAYERS, "bfloat16", 10, [2], "float32")
    resid = {layer: torch.zeros(2, D_MODEL) for layer in LAYERS}
    resid[4][1, 3] = value  # 3.4e38 is finite in float32 and rounds to infinity in bfloat16
    with pytest.raises(UserError, match="layer 4") as error:
        writer.add(0, resid)
    assert "bfloat16" in str(error.value) and "float32" in str(error.value)
    with pytest.raises(ValueError, match="block 0 has 2 rows"):
        writer.add(0, {layer: torch.zeros(3, D_MODEL) for layer in LAYERS})
    with pytest.raises(ValueError, match="not complete"):
        writer.finish()


def take(batches, n):
    return [x[:, 0] * 200 + x[:, 1] for x, _ in zip(batches, range(n), strict=False)]


@settings(deadline=None, max_examples=40)
@given(
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 5),
    start=st.integers(0, 12),
    cache_rows=st.sampled_from([1, 15, 40, 1000]),
    every=st.sampled_from([1, 3]),
)
def test_batches_shuffle_every_row_once_an_epoch_and_resume_at_any_step(
    tmp_path_factory, batch_size, seed, start, cache_rows, every
):
    folder = tmp_path_factory.getbasetemp() / "batches"
    if not folder.exists():
        make(folder, [7, 5, 11, 2, 9] * 3, shard_rows=12)
    reader = ActivationReader(folder, 4)
    rows, cache = np.arange(0, reader.n_rows, every), cache_rows * D_MODEL * 2
    n = start + 3 + 2 * len(rows) // batch_size
    drawn = take(reader.batches(rows, batch_size, seed, cache_bytes=cache), n)
    assert all(len(x) == batch_size for x in drawn)
    epochs = torch.cat(drawn).split(len(rows))
    for epoch in epochs[: len(torch.cat(drawn)) // len(rows)]:
        assert sorted(epoch.tolist()) == rows.tolist()
    resumed = take(reader.batches(rows, batch_size, seed, start=start, cache_bytes=cache), n - start)
    assert all(torch.equal(a, b) for a, b in zip(drawn[start:], resumed, strict=True))


def test_the_shuffle_depends_on_seed_and_epoch(tmp_path):
    make(tmp_path, [50, 50], shard_rows=50)
    reader = ActivationReader(tmp_path, 1)
    first, second = take(reader.batches(slice(None), 100, seed=0), 2)
    other = take(reader.batches(slice(None), 100, seed=1), 1)[0]
    assert not torch.equal(first, second) and not torch.equal(first, other)
    assert abs(np.corrcoef(first, np.arange(100))[0, 1]) < 0.4  # in no order
    with pytest.raises(UserError, match="no tokens"):
        next(reader.batches([], 4, seed=0))


def rows_of(lengths):
    return [
        TokenRow(i, lang, "train" if i % 3 else "test", [2, 9, 9, 9, 9, 7], list(range(100, 100 + n)))
        for i, n in enumerate(lengths)
        for lang in ("ar", "en")
    ]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=20), st.integers(1, 120), st.randoms())
def test_batches_of_like_length_hold_every_row_once_whatever_the_order_given(lengths, batch_tokens, rng):
    rows = rows_of(lengths)
    batches = cut(rows, batch_tokens)
    rng.shuffle(rows)
    assert cut(rows, batch_tokens) == batches
    flat = [row for batch in batches for row in batch]
    assert sorted((r.sample_id, r.lang) for r in flat) == sorted((r.sample_id, r.lang) for r in rows)
    assert [len(r) for r in flat] == sorted(len(r) for r in rows)
    assert all(len(b) == 1 or len(b) * max(map(len, b)) <= batch_tokens for b in batches)


def test_image_tokens_that_are_no_patch_have_no_number():
    """Class tokens, tiles and newlines of an image are image; only its base view is numbered, across words between."""
    rows = [TokenRow(0, "en", "train", [2, 9, 9, 5, 9, 9, 5], [100, 9]), TokenRow(1, "en", "train", [9, 9, 9, 9], [])]
    table = token_table(rows, 0, bos_id=-1, image_token_id=9, patches=range(1, 3)).to_pydict()
    assert table["patch"] == [-1, -1, 0, -1, 1, -1, -1, -1, -1, -1, 0, 1, -1]
    assert table["kind"].count("image") == 8 and "bos" not in table["kind"]
    assert set(token_table(rows, 0, 2, 9, patches=range(0)).to_pydict()["patch"]) == {-1}


def test_the_index_says_what_each_row_is(tmp_path):
    rows = rows_of([2, 0])
    table = token_table(rows, 1000, bos_id=2, image_token_id=9)
    first = table.slice(0, 8).to_pydict()
    assert first["row"] == list(range(1000, 1008)) and first["position"] == list(range(8))
    assert first["kind"] == ["bos", "image", "image", "image", "image", "prompt", "caption", "caption"]
    assert first["patch"] == [-1, 0, 1, 2, 3, -1, -1, -1] and first["token_id"][-2:] == [100, 101]
    assert set(first["split"]) == {"test"} and set(first["lang"]) == {"ar"}
    assert table["sample_id"].to_pylist() == [0] * 16 + [1] * 12
    make(tmp_path, [28], 28)
    write_table(tmp_path / "activations" / "tokens.parquet", table)
    index = ActivationReader(tmp_path, 1).index
    assert len(index) == 28 and (index["split"] == "train").sum() == 12
    write_table(tmp_path / "activations" / "tokens.parquet", table.slice(1))
    with pytest.raises(UserError, match="does not fit"):
        _ = ActivationReader(tmp_path, 1).index


def test_every_image_token_is_kept_as_often_as_any_other():
    prompt = [2, *[9] * 16, 4, 5]
    dropped = [dropped_image_tokens(prompt, 9, 4, 0, sample_id) for sample_id in range(800)]
    assert {len(d) for d in dropped} == {12}
    n_kept = 800 - np.bincount([p for d in dropped for p in d], minlength=17)[1:17]
    assert abs(n_kept - 200).max() < 5 * np.sqrt(800 * 0.25 * 0.75)  # five standard deviations of a fair draw
    assert not len(dropped_image_tokens(prompt, 9, 16, 0, 0)) and not len(dropped_image_tokens(prompt, 9, 0, 0, 0))


def test_blocks_are_smaller_where_many_layers_would_fill_the_memory():
    assert passes.images_a_block(4, 128, 100, "bfloat16") == passes.BLOCK_IMAGES
    n = passes.images_a_block(34, 2560, 620, "bfloat16")
    assert n * 34 * 2560 * 620 * 2 <= passes.BLOCK_BYTES < (n + 1) * 34 * 2560 * 620 * 2
    assert passes.images_a_block(100, 8192, 100_000, "float32") == 1

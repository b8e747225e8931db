"""What is computed again is what would have been stored: the same rows, the same batches, the same SAEs."""

import logging
import shutil

import numpy as np
import pytest
import torch

from core.activations import passes as passing
from core.activations import replay as replaying
from core.activations.passes import Passes
from core.activations.replay import Activations, Replay, layer_groups
from core.activations.store import ActivationReader
from core.errors import UserError
from core.sae import trainer
from precompute.stages import activations, caption, train
from tests.toy_stages import Killed, file_bytes, kill_at, prepared_run, stage_context
from tests.vlm.toy_model import toy_vlm

LAYERS = (1, 3, 6)
SETTINGS = (
    "caption.batch_size=6",
    "caption.max_new_tokens=6",
    "activations.layers=1,3,6",
    "activations.batch_tokens=160",
    "activations.shard_tokens=150",
    "activations.image_tokens=9",
    "train.d_sae=64",
    "train.k=4",
    "train.steps=16",
    "train.batch_tokens=48",
    "train.auxk=8",
    "train.dead_after_tokens=500",
    "train.n_spliced=2",
)


def context(folder, stage, store="none", cache_gb=1.0, on_progress=lambda *_: None):
    sets = (*SETTINGS, f"activations.store={store}", f"activations.cache_gb={cache_gb}")
    return stage_context(folder, stage, sets, on_progress)


@pytest.fixture(scope="module", autouse=True)
def small_blocks_and_one_model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passing, "BLOCK_IMAGES", 2)
        for stage in (caption, activations, train):
            patch.setattr(stage, "load_captioner", lambda *_: toy_vlm())
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory, small_blocks_and_one_model):
    """The same run with and without stored activations."""
    stored = prepared_run(tmp_path_factory.mktemp("replay") / "stored", 6)
    caption.run(context(stored, "caption"))
    without = shutil.copytree(stored, stored.with_name("without"))
    records = [activations.run(context(f, "activations", s)) for f, s in ((stored, "all"), (without, "none"))]
    assert records[0]["rows"] == records[1]["rows"]
    assert [r["notes"].pop("stored") for r in records] == ["all", "none"] and records[0]["notes"] == records[1]["notes"]
    return stored, without


@pytest.fixture
def replay(runs, tmp_path):
    """Makes a Replay of the run without a store; ``share`` of one layer fits into its cache."""

    def make(share: float, layers=LAYERS) -> Replay:
        ctx = context(runs[1], "replay")
        passes = Passes(ctx.run, ctx.config, toy_vlm())
        layer_bytes = sum(passes.block_rows) * passes.vlm.d_model * 2
        return Replay(passes, layers, tmp_path / "passes", int(share * layer_bytes), "float32", ctx.log)

    return make


def test_only_the_index_is_kept(runs):
    stored, without = runs
    names = [sorted(p.name for p in (f / "activations").iterdir()) for f in runs]
    assert names == [["layer_01", "layer_03", "layer_06", "tokens.parquet"], ["tokens.parquet"]]
    index = "activations/tokens.parquet"
    assert (stored / index).read_bytes() == (without / index).read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0, 2.5, 3.0])
def test_rows_and_batches_are_those_of_the_store(runs, replay, share):
    again, n_blocks = replay(share), 3
    for layer in LAYERS:
        truth, reader = ActivationReader(runs[0], layer), again.reader(layer)
        assert (reader.n_rows, reader.d_model, reader.dtype) == (truth.n_rows, truth.d_model, truth.dtype)
        assert torch.equal(reader.read(slice(None)), truth.read(slice(None)))
        numbers = np.random.default_rng(layer).integers(0, truth.n_rows, 40)
        assert torch.equal(reader.read(numbers), truth.read(numbers)) and reader.index.equals(truth.index)
        rows, cache = np.arange(0, truth.n_rows, 2), 100 * truth.d_model * 2  # windows of less than half of the rows
        wanted = truth.batches(rows, 32, seed=3, start=2, cache_bytes=cache)
        for x, y, _ in zip(
            reader.batches(rows, 32, seed=3, start=2, cache_bytes=cache), wanted, range(9), strict=False
        ):
            assert torch.equal(x, y)
        on_disk = [p.stat().st_size - 200 for p in again.folder.rglob("*.safetensors")]  # without the files' headers
        assert sum(on_disk) <= again.cache_bytes or len(on_disk) == 1
    if share >= 1:
        assert again.n_computed == n_blocks * len(again.groups), "one pass for each group of layers"
    else:
        assert again.n_computed > n_blocks * len(again.groups), "what does not fit is computed as often as it is read"


def test_groups_are_as_many_layers_as_fit():
    assert layer_groups([2, 6, 10, 14, 18], 6, 13) == [[2, 6], [10, 14], [18]]
    assert layer_groups([2, 6], 6, 0) == [[2], [6]] and layer_groups([2, 6], 6, 10**9) == [[2, 6]]


def test_blocks_of_a_killed_process_are_used(replay):
    first = replay(3)
    wanted = first.reader(3).read(slice(None))
    next_one = replay(3)
    assert torch.equal(next_one.reader(3).read(slice(None)), wanted) and next_one.n_computed == 0
    one_layer = replay(1)
    assert torch.equal(one_layer.reader(3).read(slice(None)), wanted) and one_layer.n_computed == 0
    assert {p.name for p in one_layer.folder.iterdir()} == {"layer_03"}


def test_values_that_are_not_finite_are_refused(replay, monkeypatch):
    again = replay(3)
    handle = again.passes.vlm.decoder_layers[3].register_forward_hook(
        lambda module, args, output: output * float("inf")
    )
    try:
        with pytest.raises(UserError, match="layer 3 are not finite"):
            again.reader(1).read([0])
    finally:
        handle.remove()


def test_where_the_stage_has_not_run_that_is_said(tmp_path):
    with pytest.raises(UserError, match="no activations of layer 1"):
        Activations.of(context(tmp_path, "train"), toy_vlm, LAYERS).reader(1)


def results(folder):
    return file_bytes(folder, "saes.parquet", "saes")


@pytest.fixture(scope="module")
def trained(runs, tmp_path_factory):
    """What the stage train makes of stored activations."""
    stored = shutil.copytree(runs[0], tmp_path_factory.mktemp("trained") / "stored")
    train.run(context(stored, "train", "all"))
    return results(stored)


@pytest.mark.parametrize("cache_gb", [1.0, 4e-5])
def test_saes_are_the_same_bytes_without_a_store_also_after_a_kill(
    runs, trained, tmp_path, monkeypatch, cache_gb, caplog
):
    without = shutil.copytree(runs[1], tmp_path / "without")
    monkeypatch.setattr(trainer, "REPORT_STEPS", 5)
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)

    with pytest.raises(Killed):
        train.run(context(without, "train", "none", cache_gb, kill_at(24)))
    with caplog.at_level(logging.INFO):
        train.run(context(without, "train", "none", cache_gb))
    assert results(without) == trained
    assert not (without / "activations" / "layer_01").exists()
    assert "are computed again" in caplog.text
    assert ("more than activations.cache_gb" in caplog.text) == (cache_gb < 1)


def test_a_process_that_trains_one_layer_computes_that_layer_alone_and_leaves_no_blocks(runs, tmp_path):
    without = shutil.copytree(runs[1], tmp_path / "without")
    ctx, kept = context(without, "train"), set()
    ctx.layers = (3,)
    ctx.on_progress = lambda *_: kept.update(p.name for p in ctx.work_dir.glob("passes*/*"))
    train.run(ctx)
    assert kept == {"layer_03"} and not list(ctx.work_dir.glob("passes*"))


def test_the_setting_says_only_what_the_stage_keeps(runs, monkeypatch):
    """A run that has its activations reads them whatever the setting has become, and one without computes them."""
    stored, without = runs
    monkeypatch.setattr(replaying, "Replay", None)
    assert Activations.of(context(stored, "x", "none"), None, LAYERS).reader(3).n_rows
    with pytest.raises(TypeError):
        Activations.of(context(without, "x", "all"), toy_vlm, LAYERS).reader(3)

"""The stages caption and activations on a small run: right, and the same bytes after any kind of end."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from core.activations import passes
from core.activations.store import ActivationReader
from core.config import load_config
from core.errors import UserError
from core.features.tokens import read_token_index
from core.run import Run, write_table
from core.samples.images import open_image
from precompute.context import StageContext
from precompute.stages import activations, caption
from tests.vlm.toy_model import toy_images, toy_model_dir, toy_vlm

N_SAMPLES = 7
STAGES = {"caption": caption, "activations": activations}


def make_context(folder: Path, stage: str, model_dir: Path, on_progress=lambda *_: None, overrides=()) -> StageContext:
    settings = [
        f"model.name={model_dir}",
        "caption.batch_size=6",
        "caption.max_new_tokens=9",
        "activations.layers=1,3,6",
        "activations.batch_tokens=160",
        "activations.shard_tokens=300",
        *overrides,
    ]
    work_dir = folder / ".work" / stage
    work_dir.mkdir(parents=True, exist_ok=True)
    return StageContext(Run(folder), load_config("demo", settings), work_dir, on_progress=on_progress)


@pytest.fixture(autouse=True)
def small_blocks_and_one_model(monkeypatch):
    monkeypatch.setattr(passes, "BLOCK_IMAGES", 2)
    for stage in STAGES.values():
        monkeypatch.setattr(stage, "load_captioner", lambda *_: toy_vlm())


@pytest.fixture
def new_run(tmp_path):
    """Makes run folders as the stage prepare leaves them."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        for i, image in enumerate(toy_images(N_SAMPLES)):
            image.save(folder / "images" / f"{i:06d}.png")
        ids = pa.array(range(N_SAMPLES), pa.int32())
        split = ["test" if i % 3 == 0 else "train" for i in range(N_SAMPLES)]
        write_table(folder / "samples.parquet", pa.table({"sample_id": ids, "split": split}))
        return folder

    return make


def results(folder: Path) -> dict[str, bytes]:
    """Everything a run holds but its work in progress."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and ".work" not in p.parts]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def whole_run(folder: Path) -> tuple[dict, dict]:
    model = toy_model_dir()
    return tuple(STAGES[s].run(make_context(folder, s, model)) for s in STAGES)


def test_captions_are_what_the_model_writes(new_run, caplog):
    folder = new_run("run")
    with caplog.at_level(logging.INFO):
        record = caption.run(make_context(folder, "caption", toy_model_dir()))
    vlm, lines = toy_vlm(), pq.read_table(folder / "captions.parquet").to_pylist()
    expected = [(i, lang) for i in range(N_SAMPLES) for lang in ("en", "ar")]
    assert [(c["sample_id"], c["lang"]) for c in lines] == expected
    prompts = {"en": vlm.prompt_ids("Describe the image."), "ar": vlm.prompt_ids("صف الصورة.")}
    for line in lines:
        features = vlm.encode_images([open_image(Run(folder), line["sample_id"])])
        ids, finished = vlm.generate([prompts[line["lang"]]], features, 9)
        assert (line["token_ids"], line["finished"], line["text"]) == (ids[0], finished[0], vlm.decode(ids[0]))
    assert record["rows"] == 14 and record["notes"]["en"]["captions"] == 7
    n_unfinished = sum(not c["finished"] for c in lines)
    assert n_unfinished and f"{n_unfinished} of 14 captions reached 9 tokens" in caplog.text


def test_activations_are_those_of_the_models_own_caption(new_run):
    folder = new_run("run")
    _, record = whole_run(folder)
    vlm, run = toy_vlm(), Run(folder)
    lines = pq.read_table(folder / "captions.parquet").to_pylist()
    captions = {(c["sample_id"], c["lang"]): c["token_ids"] for c in lines}
    readers = {layer: ActivationReader(folder, layer) for layer in (1, 3, 6)}
    index = readers[1].index
    assert record["rows"] == len(index) == readers[6].n_rows and index["row"].tolist() == list(range(len(index)))
    for (sample_id, lang), rows in index.groupby(["sample_id", "lang"], observed=True):
        prompt = vlm.prompt_ids("Describe the image." if lang == "en" else "صف الصورة.")
        ids = prompt + captions[sample_id, lang]
        assert rows["token_id"].tolist() == ids and rows["position"].tolist() == list(range(len(ids)))
        assert rows["kind"].tolist() == vlm.token_kinds(ids)
        assert rows["patch"].max() == 15 and (rows["patch"] >= 0).sum() == 16
        assert set(rows["split"]) == {"test" if sample_id % 3 == 0 else "train"}
        alone = vlm.forward([ids], vlm.encode_images([open_image(run, sample_id)]), [1, 3, 6])
        for layer, reader in readers.items():
            stored = reader.read(rows["row"].to_numpy())
            error = (stored - alone.resid[layer][0]).abs().max()
            assert error <= 2**-8 * stored.abs().max()  # bfloat16 on disk has 8 bits
    assert record["notes"]["tokens"] == {k: int(n) for k, n in index["kind"].value_counts().items()}
    assert record["notes"]["sequences"] == 14
    assert len(list((folder / "activations" / "layer_03").iterdir())) > 1


def test_the_index_is_read_shard_by_shard(new_run):
    folder = new_run("run")
    whole_run(folder)
    groups = pq.ParquetFile(folder / "activations" / "tokens.parquet")
    shards = sorted((folder / "activations" / "layer_01").iterdir())
    assert groups.num_row_groups == len(shards)
    sizes = [groups.metadata.row_group(i).num_rows for i in range(len(shards))]
    assert np.cumsum(sizes)[-1] == ActivationReader(folder, 1).n_rows


def test_a_sample_of_the_image_tokens_is_a_part_of_the_whole_store(new_run):
    whole = new_run("whole")
    whole_run(whole)
    few = new_run_like(new_run, "few", whole)
    activations.run(make_context(few, "activations", toy_model_dir(), overrides=["activations.image_tokens=5"]))
    reader, all_rows = ActivationReader(few, 3), ActivationReader(whole, 3)
    key = ["sample_id", "lang", "position"]
    index = reader.index
    same = index[key].astype(str).merge(all_rows.index[[*key, "row"]].astype(dict.fromkeys(key, str)))
    assert torch.equal(reader.read(slice(None)), all_rows.read(same["row"].to_numpy()))
    kept = index[index["kind"] == "image"].groupby(["sample_id", "lang"], observed=True)["patch"].agg(tuple).unstack()
    assert (kept["en"] == kept["ar"]).all() and (kept["en"].str.len() == 5).all()
    assert len(set(kept["en"])) > 1, "each image has its own draw"
    text = all_rows.index["kind"] != "image"
    assert (index["kind"] != "image").sum() == text.sum() and len(index) == text.sum() + 14 * 5
    assert read_token_index(Run(few)).n_patches == 16
    other = new_run_like(new_run, "other", whole)
    reseeded = ["activations.image_tokens=5", "seed=1"]
    activations.run(make_context(other, "activations", toy_model_dir(), overrides=reseeded))
    assert not np.array_equal(ActivationReader(other, 3).index["patch"], index["patch"])


@pytest.mark.parametrize("stage", STAGES)
def test_stopped_anywhere_it_goes_on_to_the_same_bytes(new_run, stage):
    reference = new_run("reference")
    whole_run(reference)
    expected = {k: v for k, v in results(reference).items() if stage == "activations" or "activations" not in k}
    for n in range(1, 6 if stage == "activations" else 5):  # blocks of 2 and of 3 images, and the report before them
        folder, seen = new_run_like(new_run, f"stop-{n}", reference), []

        def stop(done, *_, seen=seen, n=n):
            seen.append(done)
            if len(seen) == n:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            STAGES[stage].run(make_context(folder, stage, toy_model_dir(), stop))
        again = []
        STAGES[stage].run(make_context(folder, stage, toy_model_dir(), lambda done, *_, a=again: a.append(done)))
        assert again[0] == seen[-1], "finished blocks are not computed again"
        assert results(folder) == expected


def new_run_like(new_run, name, reference):
    """A new run that has what the stage before left."""
    folder = new_run(name)
    (folder / "captions.parquet").write_bytes((reference / "captions.parquet").read_bytes())
    return folder


def test_a_layer_the_model_does_not_have_is_refused(new_run):
    folder = new_run("run")
    caption.run(make_context(folder, "caption", toy_model_dir()))
    context = make_context(folder, "activations", toy_model_dir(), overrides=["activations.layers=1,8,20"])
    with pytest.raises(UserError, match="no layers 8, 20"):
        activations.run(context)


def test_broken_weights_are_refused_by_layer(new_run, monkeypatch):
    folder = new_run("run")
    caption.run(make_context(folder, "caption", toy_model_dir()))
    vlm = toy_vlm()
    handle = vlm.decoder_layers[3].register_forward_hook(lambda module, args, output: output * float("inf"))
    monkeypatch.setattr(activations, "load_captioner", lambda *_: vlm)
    try:
        with pytest.raises(UserError, match="layer 3 are not finite"):
            activations.run(make_context(folder, "activations", toy_model_dir()))
    finally:
        handle.remove()

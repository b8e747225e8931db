"""The stages caption and activations on a small run: right, and the same bytes after any kind of end."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from core.activations import passes
from core.activations.store import ActivationReader
from core.demo.captioner import N_IMAGE_TOKENS
from core.errors import UserError
from core.features.tokens import read_token_index
from core.run import Run
from core.samples.images import open_image
from precompute.context import StageContext
from precompute.stages import activations, caption
from tests.toy_stages import file_bytes, prepared_run, stage_context
from tests.vlm.toy_model import toy_vlm

N_SAMPLES = 7
STAGES = {"caption": caption, "activations": activations}
SETTINGS = (
    "caption.batch_size=6",
    "caption.max_new_tokens=9",
    "activations.layers=1,3,6",
    "activations.batch_tokens=160",
    "activations.shard_tokens=300",
)


def context(folder: Path, stage: str, on_progress=lambda *_: None, overrides=()) -> StageContext:
    return stage_context(folder, stage, (*SETTINGS, *overrides), on_progress)


@pytest.fixture(scope="module", autouse=True)
def small_blocks_and_one_model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "BLOCK_IMAGES", 2)
        for stage in STAGES.values():
            patch.setattr(stage, "load_captioner", lambda *_: toy_vlm())
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, small_blocks_and_one_model):
    """A run after both stages, and the record of the second."""
    folder = prepared_run(tmp_path_factory.mktemp("stages") / "whole", N_SAMPLES)
    return folder, [module.run(context(folder, stage)) for stage, module in STAGES.items()][-1]


@pytest.fixture
def captioned(whole, tmp_path):
    """Makes run folders as the stage caption left the whole one."""

    def make(name: str) -> Path:
        folder = prepared_run(tmp_path / name, N_SAMPLES)
        shutil.copy(whole[0] / "captions.parquet", folder)
        return folder

    return make


def test_captions_are_what_the_model_writes(tmp_path, caplog):
    folder = prepared_run(tmp_path / "run", N_SAMPLES)
    with caplog.at_level(logging.INFO):
        record = caption.run(context(folder, "caption"))
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


def test_activations_are_those_of_the_models_own_caption(whole):
    folder, record = whole
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
        assert rows["patch"].max() == N_IMAGE_TOKENS - 1 and (rows["patch"] >= 0).sum() == N_IMAGE_TOKENS
        assert set(rows["split"]) == {"test" if sample_id % 3 == 0 else "train"}
        alone = vlm.forward([ids], vlm.encode_images([open_image(run, sample_id)]), [1, 3, 6])
        for layer, reader in readers.items():
            stored = reader.read(rows["row"].to_numpy())
            error = (stored - alone.resid[layer][0]).abs().max()
            assert error <= 2**-8 * stored.abs().max()  # bfloat16 on disk has 8 bits
    assert record["notes"]["tokens"] == {k: int(n) for k, n in index["kind"].value_counts().items()}
    assert record["notes"]["sequences"] == 14
    shards = list((folder / "activations" / "layer_03").iterdir())
    assert 1 < len(shards) == pq.ParquetFile(folder / "activations" / "tokens.parquet").num_row_groups


def test_a_sample_of_the_image_tokens_is_a_part_of_the_whole_store(whole, captioned):
    few, other = captioned("few"), captioned("other")
    activations.run(context(few, "activations", overrides=["activations.image_tokens=5"]))
    reader, all_rows = ActivationReader(few, 3), ActivationReader(whole[0], 3)
    key = ["sample_id", "lang", "position"]
    index = reader.index
    same = index[key].astype(str).merge(all_rows.index[[*key, "row"]].astype(dict.fromkeys(key, str)))
    assert torch.equal(reader.read(slice(None)), all_rows.read(same["row"].to_numpy()))
    kept = index[index["kind"] == "image"].groupby(["sample_id", "lang"], observed=True)["patch"].agg(tuple).unstack()
    assert (kept["en"] == kept["ar"]).all() and (kept["en"].str.len() == 5).all()
    assert len(set(kept["en"])) > 1, "each image has its own draw"
    text = all_rows.index["kind"] != "image"
    assert (index["kind"] != "image").sum() == text.sum() and len(index) == text.sum() + 14 * 5
    assert read_token_index(Run(few)).n_patches == N_IMAGE_TOKENS
    reseeded = ["activations.image_tokens=5", "seed=1"]
    activations.run(context(other, "activations", overrides=reseeded))
    assert not np.array_equal(ActivationReader(other, 3).index["patch"], index["patch"])


@pytest.mark.parametrize("stage", STAGES)
def test_stopped_anywhere_it_goes_on_to_the_same_bytes(whole, captioned, stage):
    expected = {k: v for k, v in file_bytes(whole[0]).items() if stage == "activations" or "activations" not in k}
    for n in range(1, 6 if stage == "activations" else 5):  # blocks of 2 and of 3 images, and the report before them
        folder, seen = captioned(f"stop-{n}"), []

        def stop(done, *_, seen=seen, n=n):
            seen.append(done)
            if len(seen) == n:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            STAGES[stage].run(context(folder, stage, stop))
        again = []
        STAGES[stage].run(context(folder, stage, lambda done, *_, a=again: a.append(done)))
        assert again[0] == seen[-1], "finished blocks are not computed again"
        assert file_bytes(folder) == expected


def test_a_layer_the_model_does_not_have_is_refused(captioned):
    with pytest.raises(UserError, match="no layers 8, 20"):
        activations.run(context(captioned("run"), "activations", overrides=["activations.layers=1,8,20"]))

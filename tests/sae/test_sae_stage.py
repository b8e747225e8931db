"""The stage train on a small run: what it writes is true of the SAEs, and the same bytes after any kind of end."""

import json
import logging
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.activations.store import ActivationReader
from core.config import load_config
from core.run import Run, write_table
from core.sae import trainer
from core.sae.files import load_sae, sae_id
from core.sae.trainer import explained_variance
from precompute.context import StageContext
from precompute.stages import activations, caption, train
from tests.vlm.toy_model import toy_images, toy_model_dir, toy_vlm

N_SAMPLES = 6
SETTINGS = (
    "caption.batch_size=6",
    "caption.max_new_tokens=6",
    "activations.layers=1,3",
    "train.d_sae=64",
    "train.k=4",
    "train.steps=40",
    "train.batch_tokens=64",
    "train.auxk=8",
    "train.dead_after_tokens=500",
    "train.n_spliced=2",
)


class Killed(BaseException):
    """Stands for a kill at a moment of the test's choosing."""


def context(folder, stage, on_progress=lambda *_: None, overrides=()):
    work_dir = folder / ".work" / stage
    work_dir.mkdir(parents=True, exist_ok=True)
    config = load_config("demo", [f"model.name={toy_model_dir()}", *SETTINGS, *overrides])
    return StageContext(Run(folder), config, work_dir, on_progress=on_progress)


@pytest.fixture(scope="module")
def with_activations(tmp_path_factory):
    """A run up to the stage activations."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    (folder / "images").mkdir(parents=True)
    for i, image in enumerate(toy_images(N_SAMPLES)):
        image.save(folder / "images" / f"{i:06d}.png")
    split = ["test" if i % 3 == 0 else "train" for i in range(N_SAMPLES)]
    samples = {"sample_id": pa.array(range(N_SAMPLES), pa.int32()), "split": split}
    write_table(folder / "samples.parquet", pa.table(samples))
    with pytest.MonkeyPatch.context() as patch:
        for stage in (caption, activations):
            patch.setattr(stage, "load_captioner", lambda *_: toy_vlm())
            stage.run(context(folder, stage.__name__.rpartition(".")[2]))
    return folder


@pytest.fixture
def new_run(with_activations, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "load_captioner", lambda *_: toy_vlm())

    def make(name):
        return shutil.copytree(with_activations, tmp_path / name)

    return make


def results(folder):
    paths = [folder / "saes.parquet", folder / "sae_fit.parquet", *sorted((folder / "saes").rglob("*"))]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.is_file()}


def test_what_the_stage_writes_is_true(new_run):
    folder = new_run("run")
    record = train.run(context(folder, "train"))
    table = pq.read_table(folder / "saes.parquet").to_pylist()
    assert record["rows"] == len(table) == 2 and [row["layer"] for row in table] == [1, 3]
    for row in table:
        place = folder / "saes" / f"layer_{row['layer']:02d}"
        assert {p.name for p in place.iterdir()} == {"cfg.json", "sae_weights.safetensors", "metrics.json"}
        sae, reader = load_sae(place), ActivationReader(folder, row["layer"])
        assert (
            sae_id(sae) == row["sae_id"]
            and sae.cfg.layer == row["layer"]
            and sae.cfg.model_name == toy_model_dir().name
        )
        index = reader.index
        held_out = ((index.split == "test") & (index.kind != "bos")).to_numpy()
        assert row["explained_variance"] == pytest.approx(explained_variance(reader, np.flatnonzero(held_out), sae))
        assert row["source"] == "trained here" and row["trained_on"] == toy_model_dir().name
        fit = pq.read_table(folder / "sae_fit.parquet").to_pandas().query("layer == @row['layer'] and lang == 'both'")
        fit = fit.set_index("kind")
        for kind in ("image", "prompt", "caption"):
            of_kind = np.flatnonzero(held_out & (index.kind == kind).to_numpy())
            assert row[f"explained_variance_{kind}"] == fit.explained_variance[kind]
            assert fit.explained_variance[kind] == pytest.approx(explained_variance(reader, of_kind, sae), abs=1e-4)
            assert fit.n_tokens[kind] == len(of_kind) and fit.ce_clean[kind] == row["ce_clean"]
        assert row["loss_recovered"] == pytest.approx(fit.loss_recovered["all"], nan_ok=True)
        assert row["n_train_tokens"] == int(((index.split == "train") & (index.kind != "bos")).sum())
        assert row["explained_variance"] > row["explained_variance_random"]
        assert row["ce_clean"] == table[0]["ce_clean"]
        assert json.loads((place / "metrics.json").read_text()) == row


@pytest.mark.parametrize("moment", ["in the first layer", "in the second layer"])
def test_the_same_bytes_after_a_kill(new_run, moment, monkeypatch):
    undisturbed, killed = new_run("undisturbed"), new_run("killed")
    train.run(context(undisturbed, "train"))
    monkeypatch.setattr(trainer, "REPORT_STEPS", 7)
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)

    def kill(done, total, unit, message):
        if done >= (10 if moment == "in the first layer" else 55):
            raise Killed

    with pytest.raises(Killed):
        train.run(context(killed, "train", kill))
    assert not (killed / "saes.parquet").exists()
    train.run(context(killed, "train"))
    assert results(killed) == results(undisturbed)


def test_a_bad_fit_is_said_plainly(new_run, caplog):
    with caplog.at_level(logging.WARNING):
        train.run(
            context(
                new_run("run"),
                "train",
                overrides=["train.steps=1", "train.k=1", "train.d_sae=1000", "activations.layers=3"],
            )
        )
    assert "layer 3: the SAE explains only" in caplog.text
    assert "of the features are active on no held-out token" in caplog.text

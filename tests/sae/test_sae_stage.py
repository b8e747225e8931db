"""The stage train on a small run: what it writes is true of the SAEs, and the same bytes after any kind of end."""

import json
import logging
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.activations.store import ActivationReader
from core.sae import trainer
from core.sae.files import load_sae, sae_id
from core.sae.trainer import explained_variance
from precompute.stages import activations, caption, train
from tests.toy_stages import Killed, file_bytes, kill_at, prepared_run, stage_context
from tests.vlm.toy_model import toy_model_dir, toy_vlm

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


def context(folder, stage, on_progress=lambda *_: None, overrides=()):
    return stage_context(folder, stage, (*SETTINGS, *overrides), on_progress)


@pytest.fixture(scope="module")
def with_activations(tmp_path_factory):
    """A run up to the stage activations."""
    folder = prepared_run(tmp_path_factory.mktemp("runs") / "run", N_SAMPLES)
    with pytest.MonkeyPatch.context() as patch:
        for stage in (caption, activations):
            patch.setattr(stage, "load_captioner", lambda *_: toy_vlm())
            stage.run(context(folder, stage.__name__.rpartition(".")[2]))
    return folder


@pytest.fixture(scope="module")
def trained(with_activations, tmp_path_factory):
    """The same run after an undisturbed training, and the stage's record."""
    folder = shutil.copytree(with_activations, tmp_path_factory.mktemp("trained") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "load_captioner", lambda *_: toy_vlm())
        return folder, train.run(context(folder, "train"))


@pytest.fixture
def folder(with_activations, tmp_path, monkeypatch):
    """A copy of the run, with its model at hand."""
    monkeypatch.setattr(train, "load_captioner", lambda *_: toy_vlm())
    return shutil.copytree(with_activations, tmp_path / "run")


def results(folder):
    return file_bytes(folder, "saes.parquet", "sae_fit.parquet", "saes")


def test_what_the_stage_writes_is_true(trained):
    folder, record = trained
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


@pytest.mark.parametrize("moment", [10, 55], ids=["in the first layer", "in the second layer"])
def test_the_same_bytes_after_a_kill(trained, folder, moment, monkeypatch):
    monkeypatch.setattr(trainer, "REPORT_STEPS", 7)
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Killed):
        train.run(context(folder, "train", kill_at(moment)))
    assert not (folder / "saes.parquet").exists()
    train.run(context(folder, "train"))
    assert results(folder) == results(trained[0])


def test_a_bad_fit_is_said_plainly(folder, caplog):
    bad = ["train.steps=1", "train.k=1", "train.d_sae=1000", "activations.layers=3"]
    with caplog.at_level(logging.WARNING):
        train.run(context(folder, "train", overrides=bad))
    assert "layer 3: the SAE explains only" in caplog.text
    assert "of the features are active on no held-out token" in caplog.text

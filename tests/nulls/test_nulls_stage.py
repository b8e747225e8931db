"""The stage on a made-up run: a planted dictionary wins, without gender all are at chance, a kill changes nothing."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.activations.store import ActivationReader
from core.features.pooled import Pooled
from core.features.tokens import read_token_index
from core.nulls.codes import VIEWS, encoded, text_rows
from core.run import Run
from core.sae import trainer
from core.sae.files import load_sae
from precompute.stages import nulls as stage
from tests.nulls.nulls_toys import D_SAE, TABLES, context, make_run
from tests.toy_stages import Killed, file_bytes, kill_at


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Run:
    return make_run(tmp_path_factory.mktemp("nulls") / "source")


@pytest.fixture(scope="module")
def done(source, tmp_path_factory) -> Run:
    run = Run(shutil.copytree(source.dir, tmp_path_factory.mktemp("done") / "run"))
    stage.run(context(run))
    return run


def table(run: Run, name: str):
    return pq.read_table(run.path(f"{name}.parquet")).to_pandas()


def test_the_codes_of_the_runs_own_sae_come_out_as_they_were_pooled(source):
    """The one pass over text tokens does what stage pool does."""
    pooled = Pooled(source.dir, 1)
    text = text_rows(read_token_index(source), pooled)
    (found,) = encoded(ActivationReader(source.dir, 1), text, [load_sae(source.path("saes", "layer_01"))])
    for view in VIEWS:
        assert np.abs(found.codes(view) - pooled.codes(view)).max() < 1e-5, view
        assert np.array_equal(found.codes(view).indices, pooled.codes(view).indices)


def test_a_planted_dictionary_is_told_from_random_ones_by_concentration_not_by_count(done):
    found, probes = table(done, "null_findings"), table(done, "null_probes")
    own = found[found["kind"] == "trained"]
    assert set(own["best_feature"]) <= {0, 1} and (own["best_auc_test"] > 0.8).all()
    assert (own["n_findings"] <= 6).all() and (own["n_findings"] >= 1).all()
    first = probes[(probes["k"] == 1) & (probes["kind"] == "random")]
    assert len(first) == 2 * 2 * 2 and (first["difference"] > 0.05).all()
    both = probes[(probes["k"] == 2)].set_index(["layer", "view", "lang", "kind"])["share"].unstack()
    assert (both["trained"] > both["random"]).all() and (both["trained"] > both["axes"]).all()
    assert (both["trained"] > 0.9).all(), "two features hold all that there is"


def test_shuffled_labels_find_nothing(done):
    shuffled = table(done, "null_findings").query("kind == 'shuffled labels'")
    assert shuffled["n_findings"].sum() <= 2 and (shuffled["n_features"] > 40).all()
    chance = table(done, "null_probes").query("kind == 'shuffled labels'")
    assert (
        (chance["auc_low"] <= 0.5).mean() > 0.9 and chance["difference"].isna().all() and chance["share"].isna().all()
    )


def test_where_gender_is_nowhere_every_dictionary_is_at_chance(tmp_path):
    run = make_run(tmp_path / "run", strength=0.0)
    stage.run(context(run, n_seeds=0, frozen_decoder=False))
    probes = table(run, "null_probes")
    inside = (probes["auc_low"] <= 0.5) & (probes["auc_high"] >= 0.5)
    assert inside.mean() > 0.85
    assert (probes["difference_low"] > 0).mean() < 0.1
    assert (table(run, "null_findings")["n_findings"] <= 2).all()


def test_what_is_trained_is_compared_at_its_layer_alone(done):
    probes = table(done, "null_probes")
    beside = probes[probes["kind"].isin(["second seed", "frozen decoder"])]
    assert set(beside["layer"]) == {3} and len(beside) == 2 * 2 * 2 * 3
    assert (beside["difference"].notna() & beside["share"].notna()).all()
    recurrence = table(done, "recurrence")
    assert len(recurrence) == D_SAE and set(recurrence["layer"]) == {3} and set(recurrence["seed"]) == {0}
    assert not recurrence["recurs_shuffled"].dropna().any()


@pytest.mark.parametrize("moment", [150, 350])
def test_the_same_bytes_after_a_kill(source, done, tmp_path, moment, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "REPORT_STEPS", 5)
    run = Run(shutil.copytree(source.dir, tmp_path / "run"))
    with pytest.raises(Killed):
        stage.run(context(run, kill_at(moment)))
    assert not run.path(TABLES[0]).exists()
    stage.run(context(run))
    assert file_bytes(run.dir, *TABLES) == file_bytes(done.dir, *TABLES)


def test_too_few_images_and_a_run_in_one_language_say_so(source, tmp_path):
    run = Run(shutil.copytree(source.dir, tmp_path / "few"))
    few = context(run, n_seeds=0, frozen_decoder=False)
    object.__setattr__(few.config.gender, "min_images", 500)
    stage.run(few)
    for name in ("null_findings", "null_probes"):
        assert (table(run, name)["why"] == "too few images of women or of men").all()
    run = make_run(tmp_path / "english", arabic=False)
    stage.run(context(run, n_seeds=0, frozen_decoder=False))
    assert set(table(run, "null_findings")["lang"]) == {"en"}

"""The stage on a small run with a random model: every caption kept with its edit, and the same bytes after a kill."""

import hashlib
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from core.config import load_config
from core.frames import tuples
from core.interventions import inputs
from core.interventions.designs import FEATURES, RANDOM, Arm
from core.interventions.directions import PLACES, Labelled
from core.interventions.writing import Row, together
from core.run import Run, write_table
from core.sae.files import sae_id, save_sae
from core.sae.modules import SAE, SAEConfig
from precompute.context import StageContext
from precompute.stages import interventions
from tests.toy_run import make_toy_run
from tests.vlm.toy_model import toy_model_dir, toy_vlm

D_SAE, LAYERS = 48, (3, 7)
FILES = tuple(
    f"intervention_{n}.parquet" for n in ("arms", "images", "captions", "effects", "verdicts", "comparisons", "terms")
)
SETS = (
    "interventions.k=1,3",
    "interventions.headline=3",
    "interventions.n_controls=2",
    "interventions.n_few=2",
    "interventions.n_dictionaries=0",
    "interventions.n_images=4",
    "interventions.n_development=4",
    "interventions.strengths=1.0",
    "interventions.rankings=auc",
    "interventions.n_bootstrap=50",
    "interventions.directions=difference of means",
    "caption.max_new_tokens=5",
    "caption.batch_size=4",
    "activations.layers=3,7",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run up to the stage: random SAEs of the random model, features and rankings made up."""
    root = tmp_path_factory.mktemp("stage")
    run = make_toy_run(root / "toy", n_samples=30, stages=("prepare", "caption"))
    samples = pd.read_parquet(run.path("samples.parquet"))
    genders = pa.table({"sample_id": samples["sample_id"].astype("int32"), "gender": samples["gender"]})
    write_table(run.path("genders.parquet"), genders)
    vlm, rng = toy_vlm(), np.random.default_rng(0)
    features, ranks = [], []
    for layer in LAYERS:
        torch.manual_seed(layer)
        shapes = {
            "W_enc": (vlm.d_model, D_SAE),
            "W_dec": (D_SAE, vlm.d_model),
            "b_enc": (D_SAE,),
            "b_dec": (vlm.d_model,),
        }
        sae = SAE(SAEConfig("topk", vlm.d_model, D_SAE, 8, layer), {n: torch.randn(s) for n, s in shapes.items()})
        save_sae(sae, run.path("saes", f"layer_{layer:02d}"))
        features += [
            {
                "layer": layer,
                "feature": f,
                "density": rng.uniform(0.01, 0.5),
                "mean": rng.uniform(1, 3),
                "p999": 4.0,
                "alive": True,
            }
            for f in range(D_SAE)
        ]
        ranks += [
            {
                "layer": layer,
                "feature": f,
                "lang": lang,
                "view": "before",
                "auc_train": 0.9,
                "mean_female_train": 1.0,
                "mean_male_train": 2.0,
                "rank_auc": r + 1.0,
                "difference_train": (-1.0) ** r,
            }
            for lang in ("en", "ar")
            for r, f in enumerate(rng.permutation(D_SAE)[:20].tolist())
        ]
    write_table(run.path("features.parquet"), pa.Table.from_pandas(pd.DataFrame(features), preserve_index=False))
    write_table(run.path("gender_features.parquet"), pa.Table.from_pandas(pd.DataFrame(ranks), preserve_index=False))
    config = load_config("demo", [*SETS, f"model.name={toy_model_dir()}"])
    return StageContext(run, config, root / "work"), vlm.d_model


@pytest.fixture(scope="module")
def ran(made):
    ctx, d_model = made
    rng = np.random.default_rng(1)
    data = {
        (v, lang): Labelled(rng.standard_normal((40, d_model)).astype(np.float32), np.arange(40) % 2 == 0)
        for v in PLACES
        for lang in ("en", "ar")
    }
    patch = pytest.MonkeyPatch()
    patch.setattr(inputs.Inputs, "data", lambda self, layer: data)
    yield ctx, interventions.run(ctx)
    patch.undo()


def hashes(ctx):
    return {name: hashlib.sha256(ctx.run.path(name).read_bytes()).hexdigest() for name in FILES}


def test_every_caption_is_kept_with_the_edit_that_made_it(ran):
    ctx, record = ran
    arms, captions = (pd.read_parquet(ctx.run.path(f"intervention_{n}.parquet")) for n in ("arms", "captions"))
    assert record["rows"] == len(captions) and set(captions["arm"]) == set(arms["arm"]) == set(range(len(arms)))
    by_phase = captions.groupby("phase")["image"].nunique().to_dict()
    assert by_phase == {"confirmation": 4, "development": 4}
    targets = arms[(arms["method"] == FEATURES) & (arms["k"] == 3) & (arms["draw"] == -1)]
    assert targets["features_en"].map(len).eq(3).all() and targets["leans_ar"].map(len).eq(3).all()
    ids = {layer: sae_id(ctx.run.path("saes", f"layer_{layer:02d}")) for layer in LAYERS}
    assert all(row.sae_id == ids[row.layer] for row in tuples(targets))
    assert captions["log_prob"].le(0).all() and captions["log_prob"].notna().all()


def test_to_the_middle_the_activations_become_the_mean_of_women_and_men(made, monkeypatch):
    ctx, d_model = made
    data = {
        (v, lang): Labelled(
            np.random.default_rng(1).standard_normal((40, d_model)).astype(np.float32), np.arange(40) % 2 == 0
        )
        for v in PLACES
        for lang in ("en", "ar")
    }
    monkeypatch.setattr(inputs.Inputs, "data", lambda self, layer: data)
    found = inputs.Inputs(ctx.run, ctx.config, "cpu", ctx.log).writer
    arm = Arm(FEATURES, "neutralise", 3, 1.0, "own", "auc", 3)
    edits = found.edits(arm, Row(0, "en", "male"))
    assert len(edits) == 6 and {(e.mode, e.unit) for e in edits} == {("clamp", "raw")}
    assert {e.strength for e in edits if "caption" in e.where} == {1.5}  # of means 1 and 2
    assert {e.strength for e in edits if "image" in e.where} == {0.0}  # nothing is known of them there
    assert edits == found.edits(arm, Row(1, "en", "female"))


def test_two_layers_are_edited_in_the_same_passes_as_each_is_alone(ran):
    ctx, _ = ran
    arms = pd.read_parquet(ctx.run.path("intervention_arms.parquet"))
    both = arms[(arms["with_layer"] == 7) & (arms["phase"] == "confirmation")]
    assert len(both) == 3 and (both["layer"] == 3).all() and sorted(both["draw"]) == [-1, 0, 1]
    found = inputs.Inputs(ctx.run, ctx.config, "cpu", ctx.log).writer
    arm = Arm(FEATURES, "swap", 3, 1.0, "own", "auc", 3, with_layer=7, with_strength=1.0, with_ranking="auc")
    row = Row(0, "en", "male")
    assert found.edits(arm, row) == [edit for part in arm.parts for edit in found.edits(part, row)]
    assert sorted(found.hooks([(arm, row)])) == [3, 7]
    held = pd.read_parquet(ctx.run.path("intervention_comparisons.parquet"))
    assert set(held["comparison"]) == {f"both layers less {x}" for x in ("the lower", "the upper", "either", "the sum")}


def test_controls_are_none_of_the_targets_and_nested(ran):
    arms = pd.read_parquet(ran[0].run.path("intervention_arms.parquet"))
    mine = arms[(arms["method"] == FEATURES) & (arms["phase"] == "confirmation") & (arms["sets"] == "own")]
    mine = mine[mine["with_layer"] < 0]
    for (layer, _, _), part in mine[mine["draw"] >= 0].groupby(["layer", "draw", "uniform"]):
        target = set(mine[(mine["layer"] == layer) & (mine["draw"] == -1)]["features_en"].explode())
        for row in tuples(part):
            assert not set(row.features_en) & target
            longest = max(part["features_en"], key=len).tolist()
            assert list(row.features_en) == longest[: len(row.features_en)]


def test_an_edit_that_changes_nothing_and_one_that_nothing_reads_give_the_unedited_captions(ran):
    ctx, _ = ran
    arms, captions = (pd.read_parquet(ctx.run.path(f"intervention_{n}.parquet")) for n in ("arms", "captions"))
    for method in ("zero edit", "no way out"):
        number = arms.loc[arms["method"] == method, "arm"].item()
        assert captions.loc[captions["arm"] == number, "unchanged"].all()
    moved = arms.loc[arms["method"] == "zero edit", "moved_ratio"].item()
    assert moved == 0 < arms.loc[arms["method"] == "no way out", "moved_ratio"].item()
    assert not captions["unchanged"].all()


def test_after_a_kill_it_ends_in_the_same_bytes_and_redoes_no_finished_captions(ran, monkeypatch):
    ctx, _ = ran
    before, parts = hashes(ctx), sorted(ctx.work_dir.glob("*.parquet"))
    written = {p: p.stat().st_mtime_ns for p in parts}
    lost = [parts[len(parts) // 2], parts[-1]]
    for path in lost:
        path.unlink()
    for name in FILES:
        ctx.run.path(name).unlink()
    interventions.run(ctx)
    assert hashes(ctx) == before
    assert all(p.stat().st_mtime_ns == t for p, t in written.items() if p not in lost)


def test_like_arms_are_written_together_and_never_unlike_ones():
    arms = [Arm("none"), *(Arm(FEATURES, "swap", 3, 1.0, "own", "auc", 5, d) for d in range(5)), Arm(RANDOM, "swap", 3)]
    groups = together(arms, 10, 25)
    assert [len(g) for g in groups] == [1, 2, 2, 1, 1] and [a for g in groups for a in g] == arms
    assert [len(g) for g in together(arms, 100, 25)] == [1] * 7


def test_too_few_held_out_images_give_empty_tables_and_the_reason(made, tmp_path):
    ctx, _ = made
    samples = pd.read_parquet(ctx.run.path("samples.parquet"))
    copy = Run(tmp_path / "few")
    shutil.copytree(ctx.run.dir, copy.dir)
    held_out = np.arange(len(samples)) < 3
    samples["split"] = np.where(held_out, "test", "train")
    samples.to_parquet(copy.path("samples.parquet"))
    config = load_config(
        "demo",
        [*SETS, f"model.name={toy_model_dir()}", "samples.source=folder", "samples.images=x", "samples.captions=y"],
    )
    done = interventions.run(StageContext(copy, config, tmp_path / "work"))
    assert done["rows"] == 0 and "too few held-out images" in done["notes"]["too_little_data"][0]
    assert all(len(pd.read_parquet(copy.path(name))) == 0 for name in FILES)
    assert copy.path("intervention_images").is_dir()

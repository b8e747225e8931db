"""The stage bias on a small run with a random model: what it writes, and the same bytes after a kill."""

import hashlib
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest

from core.config import load_config
from core.run import write_table
from core.words.generic import POLICIES
from precompute.context import StageContext
from precompute.stages import bias
from tests.toy_run import make_toy_run
from tests.vlm.toy_model import toy_model_dir

FILES = ("sampled_captions.parquet", "bias_roles.parquet", "bias_policies.parquet", "bias_metrics.parquet")


@pytest.fixture
def ctx(tmp_path):
    run = make_toy_run(tmp_path / "toy", n_samples=60, stages=("prepare", "caption"))
    samples = pd.read_parquet(run.path("samples.parquet"))
    genders = pa.table({"sample_id": samples["sample_id"].astype("int32"), "gender": samples["gender"]})
    write_table(run.path("genders.parquet"), genders)
    config = load_config(
        "demo",
        [
            "bias.n_sampled=4",
            "bias.n_bootstrap=50",
            "caption.max_new_tokens=6",
            "caption.batch_size=2",
            f"model.name={toy_model_dir()}",
        ],
    )
    return StageContext(run, config, tmp_path / "work")


def hashes(ctx):
    return {name: hashlib.sha256(ctx.run.path(name).read_bytes()).hexdigest() for name in FILES}


def test_it_samples_each_held_out_neutral_image_in_both_languages(ctx):
    record = bias.run(ctx)
    samples = pd.read_parquet(ctx.run.path("samples.parquet"))
    neutral = samples.query("split == 'test' and gender == 'neutral'")["sample_id"].tolist()
    sampled = pd.read_parquet(ctx.run.path("sampled_captions.parquet"))
    assert sorted(set(sampled["sample_id"])) == neutral and len(sampled) == len(neutral) * 2 * 4
    assert record["notes"]["neutral_images"] == len(neutral) >= 3
    roles = pd.read_parquet(ctx.run.path("bias_roles.parquet"))
    assert {"sampled", "greedy", "reference"} == set(roles["source"]) and "role" in set(roles["attribute"])
    assert roles.query("attribute == 'all' and source == 'sampled' and lang == 'en'")["n_captions"].item() == 4 * len(
        neutral
    )


def test_after_a_kill_it_ends_in_the_same_bytes(ctx):
    bias.run(ctx)
    before, parts = hashes(ctx), sorted(ctx.work_dir.glob("*.parquet"))
    assert len(parts) > 1
    parts[0].unlink()
    for name in FILES:
        ctx.run.path(name).unlink()
    bias.run(ctx)
    assert hashes(ctx) == before


def test_every_policy_counts_the_same_captions_and_only_matched_words_are_compared(ctx):
    ctx.config = replace(ctx.config, bias=replace(ctx.config.bias, n_sampled=0))
    found = {}
    for policy in POLICIES:
        ctx.config = replace(ctx.config, words=replace(ctx.config.words, generic_masculine=policy))
        bias.run(ctx)
        found[policy] = [pd.read_parquet(ctx.run.path(f"bias_{name}.parquet")) for name in ("roles", "policies")]
    same = found["unmarked"][1]
    for policy, (roles, policies) in found.items():
        pd.testing.assert_frame_equal(policies, same)  # none depends on the policy of the run
        assert ("ar-en" in set(roles["lang"])) == (policy == "unmarked")
        estimand = "matched" if policy == "unmarked" else policy
        ours = roles[roles["lang"] != "ar-en"].set_index(["attribute", "value", "lang", "source"])
        theirs = same[same["estimand"] == estimand].set_index(["attribute", "value", "lang", "source"])
        shares = theirs["share"].reindex(ours.index)
        pd.testing.assert_series_equal(ours["p_male"], shares, check_names=False)
        arabic = roles.query("lang == 'ar' and source == 'reference'")
        assert (arabic["n_unmarked"].sum() > 0) == (policy == "unmarked")
    why = pd.read_parquet(ctx.run.path("bias_metrics.parquet")).query("metric == 'languages_correlation'")["why"]
    assert why.str.contains("generic_masculine").all()


def test_without_sampling_no_model_is_loaded(ctx, monkeypatch):
    monkeypatch.setattr("core.vlm.load_vlm", None)
    ctx.config = replace(ctx.config, bias=replace(ctx.config.bias, n_sampled=0))
    bias.run(ctx)
    assert pd.read_parquet(ctx.run.path("sampled_captions.parquet")).empty
    assert set(pd.read_parquet(ctx.run.path("bias_roles.parquet"))["source"]) == {"greedy", "reference"}


def test_of_many_neutral_images_a_fixed_choice_is_taken():
    samples = pd.DataFrame({"sample_id": range(100), "split": ["train", "test"] * 50})
    genders = pd.DataFrame({"sample_id": range(100), "gender": "neutral"})
    every = bias.held_out_neutral(samples, genders, 400, 0)
    some = bias.held_out_neutral(samples, genders, 10, 0)
    assert every == list(range(1, 100, 2)) and len(some) == 10 and set(some) < set(every) and some == sorted(some)
    assert bias.held_out_neutral(samples, genders, 10, 0) == some != bias.held_out_neutral(samples, genders, 10, 1)

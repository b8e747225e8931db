"""Stage explain on a small run of the real pipeline: the same tables again, also after a stop half way."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.gender.sets import edits_key, gender_sets
from core.run import Run
from precompute.stages import explain
from tests.toy_stages import file_bytes, stopped_half_way

NAMES = ("explanations.parquet", "doses.parquet")


def test_a_stop_half_way_ends_in_the_same_tables(small_run, tmp_path):
    again = stopped_half_way(explain, small_run, tmp_path, NAMES, "activations")
    assert file_bytes(again, NAMES[0]) == file_bytes(small_run, NAMES[0])
    one, two = (pd.read_parquet(dir / NAMES[1]) for dir in (again, small_run))
    chances = ["p_female", "p_male"]  # their last digit hangs on settings that only the command line makes
    pd.testing.assert_frame_equal(one.drop(columns=chances), two.drop(columns=chances))
    for name in chances:
        for mine, other in zip(one[name], two[name], strict=True):
            np.testing.assert_allclose(mine, other, atol=2e-4)


def test_every_asked_feature_has_a_text_a_strength_and_language_and_one_is_chosen(small_run):
    config, rows = Run(small_run).config().explain, pd.read_parquet(small_run / "explanations.parquet")
    assert len(rows) == rows.groupby(["layer", "lang"]).ngroups * config.n_features * len(config.strengths)
    assert (rows.groupby(["layer", "feature", "lang"])["chosen"].sum() == 1).all()
    assert (rows["auc_test"].notna() == (rows["why"] == "")).all() and rows["text"].str.len().gt(0).any()
    alive = pd.read_parquet(small_run / "features.parquet").query("alive")
    assert set(zip(rows["layer"], rows["feature"], strict=True)) <= set(
        zip(alive["layer"], alive["feature"], strict=True)
    )


def test_the_grid_holds_the_sets_of_the_page_and_unedited_captions_are_the_runs_own(small_run):
    doses = pd.read_parquet(small_run / "doses.parquet")
    own = pd.read_parquet(small_run / "captions.parquet").set_index(["sample_id", "lang"])["text"]
    plain = doses[doses["edits"] == ""]
    assert (
        len(plain)
        and (plain["text"].to_numpy() == own.loc[list(zip(plain["sample_id"], plain["lang"], strict=True))]).all()
    )
    gender = pd.read_parquet(small_run / "gender_features.parquet").query("view == 'before'")
    strengths = Run(small_run).config().explain.dose_strengths
    wanted = {
        edits_key((layer, f, s) for f in features)
        for layer in (3, 5)
        for features in gender_sets(gender[gender["layer"] == layer]).values()
        for s in strengths
        if features
    }
    assert set(doses["edits"]) == wanted | {""}
    assert (doses["pieces"].map(len) == doses["p_female"].map(len)).all()

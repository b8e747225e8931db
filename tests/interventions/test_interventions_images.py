"""Images and directions: nothing that was trained on is judged on, and directions find what was planted."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from core.config import SamplesConfig
from core.errors import UserError
from core.interventions import directions
from core.interventions.designs import MEANS, RANDOM, Arm
from core.interventions.images import fresh_images, held_out
from core.interventions.targets import ranked
from core.samples.sources import knowledge
from tests.toy_run import make_toy_run


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    run = make_toy_run(tmp_path_factory.mktemp("run") / "toy", n_samples=60, stages=("prepare",))
    return pd.read_parquet(run.path("samples.parquet"))


def test_development_and_confirming_images_are_held_out_and_apart(samples):
    gender = dict(zip(samples["sample_id"], samples["gender"], strict=True))
    some, others = held_out(samples, gender, 4, 100, 0, fresh=False)
    train = set(samples.loc[samples["split"] == "train", "sample_id"])
    one, two = {s.sample_id for s in some}, {s.sample_id for s in others}
    assert some and others and not one & two and not (one | two) & train
    assert held_out(samples, gender, 4, 100, 0, fresh=True)[1] == []


def test_fresh_images_show_nothing_that_the_run_has(samples):
    source = knowledge(SamplesConfig())
    found = fresh_images(source, samples, 30, 0)
    names = ("role", "object", "background", "style", "tone")
    known = {
        (g, *(json.loads(a)[n] for n in names)) for g, a in zip(samples["gender"], samples["attributes"], strict=True)
    }
    made = [(s.gender, *(json.loads(s.attributes)[n] for n in names)) for s in found]
    assert not set(made) & known and len(set(made)) == 30
    assert [s.gender for s in found].count("female") == 10
    again = fresh_images(source, samples, 30, 0)
    assert again == found and [s.draw().tobytes() for s in again] == [s.draw().tobytes() for s in found]


def test_target_sets_are_made_of_live_features_by_their_rank_on_training_images():
    table = pd.DataFrame(
        {
            "layer": 3,
            "feature": range(6),
            "lang": "en",
            "view": ["before"] * 5 + ["caption"],
            "rank_auc": [3, 1, 2, 4, np.nan, 1],
            "difference_train": [1.0, -1, 2, 1, 1, 1],
            "auc_train": [0.6, 0.1, 0.8, 0.5, 0.5, 0.5],
            "auc_test": [0.9] * 6,
        }
    )
    alive = np.array([True, True, False, True, True, True])
    chosen = ranked(table, 3, "en", "auc", 2, alive)
    assert chosen.features == (1, 0) and chosen.leans == (-1, 1) and chosen.separation == pytest.approx(0.25)
    shuffled = table.assign(auc_test=np.nan)
    assert ranked(shuffled, 3, "en", "auc", 2, alive) == chosen  # nothing of the test images is read
    with pytest.raises(UserError, match="No feature"):
        ranked(table, 3, "ar", "auc", 2, alive)


def world(gap=2.0, n=300, d=8, seed=0):
    rng = np.random.default_rng(seed)
    is_female = rng.random(n) < 0.5
    axis = np.eye(d)[0]
    x = rng.standard_normal((n, d)) + gap * np.where(is_female, 0.5, -0.5)[:, None] * axis
    return directions.Labelled(x.astype(np.float32), is_female), axis


@pytest.mark.parametrize("make", [directions.means_direction, directions.probe_direction])
def test_directions_point_from_men_to_women(make):
    data, axis = world(gap=4.0)
    found = make(data)
    assert float(found.write @ torch.from_numpy(axis).float()) > 0.9
    assert found.scale == pytest.approx(4.0, rel=0.15)
    women, men = (torch.from_numpy(m).float() for m in data.means)
    z = [float(found.reading @ (mean - found.center)) for mean in (women, men)]
    assert z[0] == pytest.approx(found.scale / 2, rel=1e-3) and z[1] == pytest.approx(-found.scale / 2, rel=1e-3)


def test_a_random_direction_has_the_length_and_scale_and_not_the_way():
    data, _ = world(d=400)
    like = directions.means_direction(data)
    found = [directions.random_direction(like, [0, i]) for i in range(5)]
    assert all(f.scale == like.scale and float(f.write.norm()) == pytest.approx(1, abs=1e-5) for f in found)
    assert max(abs(float(f.write @ like.write)) for f in found) < 0.25
    names = {directions.name_of(Arm(RANDOM, "swap", 3, draw=i), "image", "en") for i in range(5)}
    assert len(names) == 5


def test_swap_sets_the_other_gender_and_ablate_the_midpoint():
    swap = directions.direction_edits(Arm(MEANS, "swap", 3, 2.0), "en", -1)
    assert [(e.mode, e.strength) for e in swap] == [("clamp", -1.0)] * 2
    assert {e.mode for e in directions.direction_edits(Arm(MEANS, "ablate", 3), "en", 1)} == {"ablate"}
    assert {place for e in swap for place in e.where} == {"image", "prompt", "caption"}


def test_leace_erases_or_says_that_it_is_not_installed():
    data, _ = world()
    if not directions.has_leace():
        with pytest.raises(UserError, match="concept-erasure"):
            directions.leace_direction(data)
        return
    found = directions.leace_direction(data)
    h = torch.from_numpy(data.resid)
    after = h - ((h - found.center) @ found.reading)[:, None] * found.write
    gap = after[data.is_female].mean(0) - after[~data.is_female].mean(0)
    assert float(gap.abs().max()) < 1e-3

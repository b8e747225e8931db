"""The meter reads +1 and -1 at the means it was made of, moves with the edit, and leaves the turned features out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from core.features.pooled import VIEWS
from core.run import write_table
from core.steering import Direction, Edit, edit_hooks
from core.steering.meter import Meter, Told, mean_directions
from tests.gender.gender_toys import write_pooled
from tests.steering.test_steering_edits import LAYER, edit, toy_sae
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

N = 40


@pytest.fixture
def run_dir(tmp_path):
    """Residuals of women at (2, 0, ..) and of men at (-2, 0, ..), a little spread; test images lie far away."""
    gender, split = ["female", "male"] * (N // 2), ["train"] * 30 + ["test"] * 10
    write_table(tmp_path / "samples.parquet", pa.table({"sample_id": range(N), "split": split}))
    write_table(tmp_path / "genders.parquet", pa.table({"sample_id": range(N), "gender": gender}))
    rng = np.random.default_rng(0)
    resid = rng.normal(0, 0.01, (2 * N, 6)).astype(np.float32)
    resid[:, 0] += np.repeat(np.where(np.array(gender) == "female", 2.0, -2.0), 2)
    resid[60:] += 100
    write_pooled(tmp_path, 3, dict.fromkeys(VIEWS, np.zeros((2 * N, 3))), **dict.fromkeys(VIEWS, resid))
    return tmp_path


def test_the_difference_of_means_is_of_training_images_and_reads_plus_and_minus_one(run_dir):
    found = mean_directions(run_dir, 3)
    assert set(found) == {"en", "ar"}
    d = found["en"]
    assert float(d.write.norm()) == pytest.approx(1) and d.scale == pytest.approx(4, abs=0.02)
    assert float(d.write[0]) == pytest.approx(1, abs=0.01)
    women = d.center + d.write * d.scale / 2
    assert float((women - d.center) @ d.reading) == pytest.approx(1)
    assert float((2 * d.center - women - d.center) @ d.reading) == pytest.approx(-1)


def test_a_run_without_pooled_residuals_or_images_of_a_gender_has_none(run_dir):
    assert mean_directions(run_dir, 5) == {}
    frame = pd.read_parquet(run_dir / "genders.parquet").assign(gender="female")
    write_table(run_dir / "genders.parquet", pa.Table.from_pandas(frame))
    assert mean_directions(run_dir, 3) == {}


def test_probe_and_features_move_with_the_edit_and_not_without():
    vlm, sae = toy_vlm(), toy_sae()
    way = torch.nn.functional.normalize(torch.arange(1.0, vlm.d_model + 1), dim=0)
    probes = {(LAYER, "en"): Direction(way, 0.5 * way, torch.zeros(vlm.d_model), 4.0)}
    meter = Meter(vlm, {LAYER: sae}, probes)
    prompt = toy_rows()[0]
    told = [Told(row, "en", prompt, vlm.caption_ids("A cook and her apple.")) for row in ("before", "after", "control")]
    edits = [[], [Edit(LAYER, mode="add", strength=3.0, unit="raw", direction="way")], [edit(5, strength=0.0)]]
    hooks = edit_hooks(edits, {LAYER: sae}, {}, directions={(LAYER, "way"): Direction(way)})
    rows = meter.read(told, toy_features()[:1].expand(3, -1, -1), hooks)
    probe = {r["row"]: r["value"] for r in rows if r["measure"] == "probe"}
    lens = {r["row"]: r["value"] for r in rows if r["measure"] == "lens"}
    assert probe["after"] - probe["before"] == pytest.approx(1.5, abs=1e-3) and probe["control"] == probe["before"]
    assert lens["after"] != lens["before"] == lens["control"]
    words = {r["row"]: r["value"] for r in rows if r["measure"] == "words"}
    assert words["after"] != words["before"] == pytest.approx(words["control"], abs=1e-4)
    moved = meter.moved([])
    assert moved and all(a["size"] >= b["size"] for a, b in pairwise(moved))
    first = moved[0]["feature"]
    assert first not in {row["feature"] for row in meter.moved([(LAYER, first)])}

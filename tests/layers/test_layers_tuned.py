"""A tuned lens finds a map where there is one, nothing where there is none, and is held against the token alone."""

from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from core.gender.contrast import Contrast
from core.layers import tuned

D, VOCAB, N = 12, 40, 480
IMAGE = np.repeat(np.arange(N // 4), 4)


class Model:
    """A model whose last norm scales to a root mean square of 1, and whose words are read off by a random matrix."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.w = 2 * torch.randn(VOCAB, D, generator=torch.Generator().manual_seed(9))

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.w.T

    def logits(self, resid: torch.Tensor) -> torch.Tensor:
        return self.head(tuned.unit(resid))


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def turned(x: torch.Tensor, seed: int = 5) -> torch.Tensor:
    return x @ torch.linalg.qr(noise(D, D, seed=seed))[0]


def test_a_layer_that_is_the_last_one_turned_is_turned_back():
    last = tuned.unit(noise(N, D, seed=0))
    one = tuned.fit(7 * turned(last), last, IMAGE)
    new = tuned.unit(noise(60, D, seed=1))
    assert torch.allclose(one(0.3 * turned(new)), new, atol=0.02)  # whatever the size of a state


def test_a_layer_that_knows_nothing_gives_the_mean_of_the_last_states():
    last = noise(N, D, seed=0) + torch.arange(D)
    one = tuned.fit(noise(N, D, seed=2), last, IMAGE)
    guess = one(noise(200, D, seed=3))
    assert (guess - last.mean(0)).square().mean() < 0.1 * last.var(0).mean()


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="needs 4"):
        tuned.fit(noise(12, D, seed=0), noise(12, D, seed=1), np.repeat([0, 1, 2], 4))


def test_maps_come_back_as_they_were_written(tmp_path):
    maps = {n: tuned.Affine(noise(D, D, seed=n + 9), noise(D, seed=n + 20)) for n in (tuned.PRIOR, tuned.TOKEN, 0, 11)}
    tuned.write(tmp_path / "maps.safetensors", maps)
    found = tuned.read(tmp_path / "maps.safetensors")
    assert set(found) == set(maps) and all(torch.equal(found[n].weight, maps[n].weight) for n in maps)
    tuned.write(tmp_path / "none.safetensors", {})
    assert tuned.read(tmp_path / "none.safetensors") == {}


def world(tells: float, n: int = 60) -> tuple[tuned.HeldOut, dict[int, tuned.Affine]]:
    """Layer 0 is the last layer turned; the current token knows half of it; gender is told by ``tells``."""
    model, n_rows = Model(), 5 * n
    last = noise(n_rows, D, seed=4)
    female = np.arange(n) % 2 == 0
    sign = torch.from_numpy(np.where(female, 1.0, -1.0)).float()
    last[::5] += tells * sign[:, None] * (model.w[1] - model.w[2])
    last = tuned.unit(last)
    half = torch.cat([last[:, : D // 2], noise(n_rows, D - D // 2, seed=6)], 1)
    states = {0: turned(last), 1: last, tuned.TOKEN: half}
    image = np.repeat(np.arange(n), 5)
    maps = {0: tuned.fit(states[0], last, image), tuned.TOKEN: tuned.fit(half, last, image)}
    maps[tuned.PRIOR] = tuned.Affine(torch.zeros(D, D), last.mean(0))
    genders = ["female" if f else "male" for f in female]
    return tuned.HeldOut(states, image, list(range(0, n_rows, 5)), [Contrast(0, 0, 1, 2)] * n, genders), maps


def test_the_lens_is_worth_what_it_knows_beyond_the_token_alone():
    held, maps = world(0.0)
    rows = {(r["lens"], r["layer"]): r for r in tuned.quality(Model(), maps, held, torch.zeros(VOCAB).bool(), 20)}
    assert rows["tuned", 0]["kl"] < 0.05 < rows["token", -1]["kl"] < rows["logit", 0]["kl"]
    assert rows["logit", 1]["kl"] == pytest.approx(0, abs=2e-3) and rows["logit", 1]["first"] == 1
    assert rows["tuned", 0]["gained_low"] > 0 > rows["logit", 0]["gained_high"] and ("tuned", 1) not in rows
    assert rows["tuned", 0]["n_images"] == 60 and rows["tuned", 0]["n_tokens"] == 240
    assert 0.3 < rows["tuned", 0]["auc"] < 0.7 and rows["tuned", 0]["auc_low"] < 0.5 < rows["tuned", 0]["auc_high"]


def test_gender_is_read_through_it_where_it_is_there_and_nowhere_through_the_prior():
    held, maps = world(3.0)
    rows = {(r["lens"], r["layer"]): r for r in tuned.quality(Model(), maps, held, torch.zeros(VOCAB).bool(), 20)}
    assert rows["tuned", 0]["auc"] == 1 > rows["tuned", 0]["auc_low"] > 0.9 and rows["prior", -1]["auc"] == 0.5
    few = {(r["lens"], r["layer"]): r for r in tuned.quality(Model(), maps, held, torch.zeros(VOCAB).bool(), 31)}
    assert math.isnan(few["tuned", 0]["auc"]) and few["tuned", 0]["n_female"] == 30


def test_the_stage_holds_every_layer_against_the_models_own_output(small_run):
    rows = pq.read_table(small_run / "lens_fit.parquet").to_pandas()
    for _, own in rows.groupby("lang"):
        logit = own[own["lens"] == "logit"].sort_values("layer")
        assert logit["layer"].tolist() == list(range(8)) and abs(logit["kl"].iloc[-1]) < 1e-3
        fitted = own[own["lens"] == "tuned"].set_index("layer")["kl"]
        assert fitted.index.tolist() == list(range(7)) and fitted[0] < logit["kl"].iloc[0]
        assert set(own["lens"]) == {"logit", "tuned", "token", "prior"}
    lens = pq.read_table(small_run / "caption_lens.parquet").to_pandas()
    last = lens[(lens["layer"] == 7) & (lens["kind"] == "caption")]
    assert set(last["lens"]) == {"logit", "tuned"} and set(last["rank"]) == {1}
    assert set(lens.loc[lens["kind"] == "image", "lens"]) == {"logit"}

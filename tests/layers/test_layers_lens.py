"""The logit lens reads a planted next word, says nothing where there is none, and is the model at its last layer."""

import numpy as np
import pytest
import torch

from core.gender.logit_words import WordSets
from core.layers import LogitLens
from tests.layers.layers_toys import QUICK, images
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

D, VOCAB = 16, 60
NONE = torch.tensor([], dtype=torch.int64)
SETS = WordSets("en", torch.tensor([1, 2]), torch.tensor([5, 6, 7]))


class Reading:
    """A model's last step: RMS norm and a random unembedding."""

    def __init__(self, seed: int = 0):
        self.w = torch.randn(VOCAB, D, generator=torch.Generator().manual_seed(seed))

    def logits(self, resid: torch.Tensor) -> torch.Tensor:
        return resid / resid.square().mean(-1, keepdim=True).sqrt() @ self.w.T


def read(strength: float, n: int = 120, sets: WordSets = SETS, config=QUICK, seed: int = 0):
    """Residuals that point to a woman's word at women and to a man's at men, by so much; lens, scores, summary."""
    model, (female, _) = Reading(), images(n, seed=seed)
    x = torch.randn(n, D, generator=torch.Generator().manual_seed(seed + 1))
    said = np.where(female, 1, 5)
    x += strength * torch.where(torch.from_numpy(female)[:, None], model.w[1], model.w[5])
    lens = LogitLens(model, sets, range(8, VOCAB), config, seed)
    scores = lens.read(x, said)
    return lens, scores, lens.summarise(scores, np.where(female, "female", "male"))


def test_a_planted_word_is_read_by_gender_and_ranks_first():
    _, _, row = read(20.0)
    assert row["auc"] == 1 and row["low"] == 1 and row["effect_low"] > 0 and row["p"] < 1e-6
    assert row["rank_median"] == 1 and row["first"] == 1
    assert row["difference_female_low"] > row["difference_male_high"]


def test_where_nothing_is_planted_it_is_chance():
    p = []
    for seed in range(10):
        _, _, row = read(0.0, seed=seed)
        p.append(row["p"])
        assert row["shuffled_low"] < 0.5 < row["shuffled_high"]
    assert np.mean(np.array(p) > 0.05) >= 0.8
    _, _, row = read(0.0)
    assert row["first"] < 0.2 and row["rank_median"] > 10


def test_random_words_tell_less_than_the_words_for_women_and_men():
    _, _, row = read(3.0)
    assert 0.5 <= row["random"] < row["auc"]


def test_entropy_is_in_bits_and_falls_as_the_model_makes_up_its_mind():
    lens, _, _ = read(0.0)
    flat = lens.read(torch.zeros(1, D) + 1e-9, [1])
    assert read(20.0)[1].entropy.mean() < read(0.0)[1].entropy.mean() <= np.log2(VOCAB) + 1e-6
    assert flat.entropy[0] <= np.log2(VOCAB)


def test_at_the_last_layer_it_is_the_models_own_output():
    vlm, rows = toy_vlm(), toy_rows()
    last = vlm.n_layers - 1
    passed = vlm.forward(rows, toy_features(), [last], logits=True)
    sets = WordSets("en", torch.tensor([300, 301]), torch.tensor([400, 401]))
    scores = LogitLens(vlm, sets, range(450, 500)).read(passed.resid[last][:, -1], [300] * len(rows))
    assert scores.difference == pytest.approx(sets.difference(passed.logits[:, -1]).numpy(), abs=1e-3)


@pytest.mark.parametrize(
    ("n", "sets", "why"),
    [
        (30, SETS, "at least 20 are needed"),
        (120, WordSets("en", NONE, torch.tensor([5])), "no token that tells a word for women"),
    ],
)
def test_without_images_or_words_it_gives_a_reason_and_no_number(n, sets, why):
    _, _, row = read(9.0, n, sets)
    assert why in row["why"] and np.isnan(row["auc"]) and np.isnan(row["p"])


def test_no_caption_at_all_is_a_reason_too():
    lens = LogitLens(Reading(), SETS, range(8, VOCAB), QUICK)
    row = lens.summarise(lens.read(torch.zeros(0, D), []), [])
    assert "0 held-out images of women" in row["why"]


def test_neutral_images_are_shown_beside_and_change_nothing_else():
    lens, scores, alone = read(3.0)
    gender = np.where(images(120)[0], "female", "male").astype(object)
    gender[:30] = "neutral"
    row = lens.summarise(scores, gender)
    assert row["n_neutral"] == 30 and np.isfinite(row["difference_neutral"]) and np.isnan(alone["difference_neutral"])

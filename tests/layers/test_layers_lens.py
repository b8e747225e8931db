"""The logit lens reads a planted next word, says nothing where there is none, and is the model at its last layer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.gender.contrast import WORD_END, Contrast, LogOdds
from core.gender.logit_words import WordSets, random_sets
from core.gender.word_ends import word_ends
from core.layers import LogitLens
from tests.layers.layers_toys import QUICK, images
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

D, VOCAB = 16, 60
SETS = WordSets("en", torch.tensor([1, 2]), torch.tensor([5, 6, 7]))


class Reading:
    """A model's last step: RMS norm and a random unembedding."""

    def __init__(self, seed: int = 0):
        self.w = torch.randn(VOCAB, D, generator=torch.Generator().manual_seed(seed))

    def logits(self, resid: torch.Tensor) -> torch.Tensor:
        return resid / resid.square().mean(-1, keepdim=True).sqrt() @ self.w.T


def read(strength: float, n: int = 120, config=QUICK, seed: int = 0, pair=None, tell=0.0):
    """Residuals that point to a woman's word at women and to a man's at men, by so much; lens, scores, summary.

    ``pair`` numbers pairs of words; those of odd number point to the woman's word by ``tell`` whatever the image shows.
    """
    model, (female, _) = Reading(), images(n, seed=seed)
    x = torch.randn(n, D, generator=torch.Generator().manual_seed(seed + 1))
    said = np.where(female, 1, 5)
    x += strength * torch.where(torch.from_numpy(female)[:, None], model.w[1], model.w[5])
    if pair is not None:
        x += tell * torch.where(torch.from_numpy(pair % 2 == 1)[:, None], model.w[1], model.w[5])
    lens = LogitLens(model, config, seed)
    scores = lens.read(x, said, SETS, random_sets(SETS, range(8, VOCAB), [seed, 3]), pair)
    return lens, scores, lens.summarise(scores, np.where(female, "female", "male"))


def test_a_planted_word_is_read_by_gender_and_ranks_first():
    _, _, row = read(20.0)
    assert row["auc"] == 1 and 1 > row["low"] > 0.95 and row["effect_low"] > 0 and row["p"] < 1e-6
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


def test_intervals_of_differences_hold_the_truth_at_twenty_images_a_gender(monkeypatch):
    """Exponential, .5 more at women: .93 is asked, 3.3 standard errors of 400 worlds below it allowed."""
    monkeypatch.setattr("core.layers.lens.N_SHUFFLED", 20)  # of the AUC, which is not asked here
    rng, female = np.random.default_rng(4), np.arange(40) < 20
    _, scores, _ = read(0.0, n=40)
    missed = {"difference_male": 0, "effect": 0}
    quick = LogitLens(Reading(), replace(QUICK, n_bootstrap=50, min_images=20), 0)
    for _ in range(400):
        drawn = replace(scores, difference=rng.exponential(1, 40) + 0.5 * female)
        row = quick.summarise(drawn, np.where(female, "female", "male"))
        for name, truth in (("difference_male", 1.0), ("effect", 0.5)):
            missed[name] += not row[f"{name}_low"] <= truth <= row[f"{name}_high"]
    assert max(missed.values()) < 400 * (0.07 + 3.3 * np.sqrt(0.07 * 0.93 / 400)), missed


def test_random_words_tell_less_than_the_words_for_women_and_men():
    _, _, row = read(3.0)
    assert 0.5 <= row["random"] < row["auc"]


def test_entropy_is_in_bits_and_falls_as_the_model_makes_up_its_mind():
    lens, _, _ = read(0.0)
    flat = lens.read(torch.zeros(1, D) + 1e-9, [1], SETS)
    assert read(20.0)[1].entropy.mean() < read(0.0)[1].entropy.mean() <= np.log2(VOCAB) + 1e-6
    assert flat.entropy[0] <= np.log2(VOCAB)


def test_at_the_last_layer_it_is_the_models_own_output():
    vlm, rows = toy_vlm(), toy_rows()
    last = vlm.n_layers - 1
    passed = vlm.forward(rows, toy_features(), [last], logits=True)
    contrasts = [Contrast(0, 0, 300 + i, WORD_END if i % 2 else 400 + i) for i in range(len(rows))]
    score = LogOdds(contrasts, word_ends(vlm))
    found = LogitLens(vlm).read(passed.resid[last][:, -1], [300] * len(rows), score)
    assert found.difference == pytest.approx(score(passed.logits[:, -1]).numpy(), abs=1e-3)


def test_what_the_choice_of_words_tells_is_no_finding_and_what_the_image_adds_is():
    """Women's captions hold one pair of words more often: its log-odds are high whatever the image shows."""
    female = images(120)[0]
    rng = np.random.default_rng(0)
    pair = np.where(rng.random(120) < 0.85, female, ~female).astype(int)
    _, _, words_alone = read(0.0, pair=pair, tell=6.0)
    assert words_alone["auc"] > 0.7 and words_alone["p"] > 0.05
    assert words_alone["shuffled_low"] < words_alone["auc"] < words_alone["shuffled_high"]
    _, _, both = read(6.0, pair=pair, tell=6.0)
    assert both["p"] < 1e-6 and both["auc"] > both["shuffled_high"]


def test_too_few_images_or_a_reason_from_outside_give_no_number():
    _, _, row = read(9.0, 30)
    assert "at least 20 are needed" in row["why"] and np.isnan(row["auc"]) and np.isnan(row["p"])
    lens, scores, _ = read(9.0)
    row = lens.summarise(scores, np.where(images(120)[0], "female", "male"), why="too few words")
    assert row["why"] == "too few words" and np.isnan(row["auc"])


def test_no_caption_at_all_is_a_reason_too():
    lens = LogitLens(Reading(), QUICK)
    row = lens.summarise(lens.read(torch.zeros(0, D), [], SETS), [])
    assert "0 held-out images of women" in row["why"]


def test_neutral_images_are_shown_beside_and_change_nothing_else():
    lens, scores, alone = read(3.0)
    gender = np.where(images(120)[0], "female", "male").astype(object)
    gender[:30] = "neutral"
    row = lens.summarise(scores, gender)
    assert row["n_neutral"] == 30 and np.isfinite(row["difference_neutral"]) and np.isnan(alone["difference_neutral"])

"""Sampled captions follow the model's own probabilities, and each depends on its own numbers alone."""

import numpy as np
import pytest
import torch

from core.vlm.sampling import choose, sample_captions, uniforms
from tests.vlm.toy_model import toy_features, toy_vlm

EN, AR = "Describe the image.", "صف الصورة."


def drawn(vlm, rows, keys, n_draws, length, temperature=1.0):
    numbers = uniforms(keys, length).reshape(len(rows), n_draws, length)
    return sample_captions(vlm, rows, toy_features()[: len(rows)], numbers, temperature)


def test_choices_have_the_probabilities_that_they_should_have():
    logits = torch.log(torch.tensor([[0.5, 0.2, 0.3, 0.0]]))
    u = (torch.arange(1000) + 0.5) / 1000
    for temperature, expected in ((1.0, [0.5, 0.2, 0.3, 0]), (0.5, [25 / 38, 4 / 38, 9 / 38, 0])):
        tokens = choose(logits.expand(1000, -1), u, temperature)
        assert torch.bincount(tokens, minlength=4).numpy() / 1000 == pytest.approx(expected, abs=0.002)
    edges = choose(logits.expand(2, -1), torch.tensor([0.0, 1 - 1e-16], dtype=torch.float64), 1.0)
    assert edges.tolist() == [0, 2]  # never one past the end, never a token of no probability


def test_numbers_are_a_function_of_their_key():
    together = uniforms([(0, 5, 0, 1), (0, 5, 0, 2)], 4)
    assert np.array_equal(uniforms([(0, 5, 0, 2)], 4)[0], together[1]) and not np.array_equal(*together)


def test_hardly_any_temperature_is_greedy():
    vlm = toy_vlm()
    rows = [vlm.prompt_ids(EN), vlm.prompt_ids(AR)]
    greedy, finished = vlm.generate(rows, toy_features()[:2], 10)
    cold, ends = drawn(vlm, rows, [(0, i) for i in range(6)], 3, 10, temperature=1e-4)
    assert cold == [[greedy[0]] * 3, [greedy[1]] * 3] and ends == [[finished[0]] * 3, [finished[1]] * 3]


def test_a_draw_does_not_depend_on_its_company():
    vlm = toy_vlm()
    row, keys = vlm.prompt_ids(EN), [(1, i) for i in range(6)]
    together, _ = drawn(vlm, [row], keys, 6, 8)
    assert len({tuple(c) for c in together[0]}) > 3
    for i, key in enumerate(keys):
        assert drawn(vlm, [row], [key], 1, 8)[0][0][0] == together[0][i]


def test_each_token_is_the_one_that_the_models_probabilities_and_the_number_give():
    vlm = toy_vlm()
    row, key, length = vlm.prompt_ids(AR), (2, 7), 8
    ((caption,),), _ = drawn(vlm, [row], [key], 1, length)
    logits = vlm.forward([row + caption], toy_features()[:1], [], logits=True).logits[0, len(row) - 1 : -1]
    u = torch.from_numpy(uniforms([key], length)[0, : len(caption)])
    assert choose(vlm.writable(logits.float()), u, 1.0).tolist() == caption


def test_draws_end_at_their_end_token_and_the_others_go_on(monkeypatch):
    vlm = toy_vlm()
    row, keys = vlm.prompt_ids(EN), [(3, i) for i in range(5)]
    (free,), (over,) = drawn(vlm, [row], keys, 5, 8)
    end = free[0][3]
    monkeypatch.setattr(vlm, "eos_ids", (*vlm.eos_ids, end))
    (found,), (ends,) = drawn(vlm, [row], keys, 5, 8)
    for before, was_over, after, ended in zip(free, over, found, ends, strict=True):
        cut = end in before
        assert ended == (cut or was_over) and after == (before[: before.index(end)] if cut else before)


def test_no_rows_have_no_captions():
    assert sample_captions(toy_vlm(), [], toy_features()[:0], np.zeros((0, 4, 8))) == ([], [])

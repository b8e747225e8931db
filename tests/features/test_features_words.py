"""Words of a feature: planted directions are read back, words on which it fires are found, Arabic stays readable."""

import numpy as np
import pytest
import torch

from core.features.codes import Codes
from core.features.statistics import feature_logits, readable_ids, top_tokens
from core.features.tokens import token_index
from tests.features.features_toys import token_table

NAMES = ["<pad>", "<bos>", "<img>", "\ufffd", "▁man", "▁woman", "▁رجل", "▁امرأة", "▁a", "."]


class ToyTokenizer:
    def __len__(self):
        return len(NAMES)

    def convert_ids_to_tokens(self, ids):
        return [NAMES[i] for i in ids]


class ToyVLM:
    """An RMS norm with a gain and an unembedding whose rows are the basis vectors; three rows beyond the tokenizer."""

    special_ids, image_token_id = frozenset({0, 1}), 2

    def __init__(self, gain: torch.Tensor):
        self.gain, self.W_U = gain, torch.eye(13)
        self.tokenizer = ToyTokenizer()

    def logits(self, resid, capped=True):
        normed = resid * torch.rsqrt(resid.square().mean(-1, keepdim=True) + 1e-6)
        return (normed * self.gain) @ self.W_U.T

    def token_strings(self, ids):
        return [NAMES[i].replace("▁", " ") for i in ids]


def test_logits_are_those_of_the_frozen_norm():
    gain = torch.linspace(0.5, 2, 13)
    directions = torch.randn(6, 13, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1e-3], [1], [50]] * 2)
    words = feature_logits(ToyVLM(gain), directions, 3, rms=4.0)
    expected = directions * gain / 4.0
    expected = (expected - expected.mean(1, keepdim=True))[:, 4:10]
    values, ids = expected.sort(1, descending=True)
    assert np.array_equal(words.up_ids, ids[:, :3].numpy() + 4)
    assert np.allclose(words.up, values[:, :3], rtol=1e-4)
    assert np.array_equal(words.down_ids, ids.flip(1)[:, :3].numpy() + 4)
    assert np.allclose(words.down, values.flip(1)[:, :3], rtol=1e-4)


def test_the_logit_change_is_what_the_model_does_to_a_residual_of_that_size():
    """Adding a little of the direction to a residual of the given scale moves its logits by that much."""
    vlm, rms = ToyVLM(torch.ones(13)), 3.0
    direction = torch.zeros(1, 13)
    direction[0, 4] = 1.0
    resid = torch.zeros(1, 13)
    resid[0, 12] = rms * 13**0.5
    moved = (vlm.logits(resid + 1e-2 * direction) - vlm.logits(resid)) / 1e-2
    words = feature_logits(vlm, direction, 1, rms)
    assert words.up_ids.tolist() == [[4]]
    assert words.up[0, 0] == pytest.approx(float(moved[0, 4] - moved[0].mean()), rel=1e-2)


def test_only_tokens_that_are_text_are_listed():
    assert readable_ids(ToyVLM(torch.ones(13))).tolist() == [4, 5, 6, 7, 8, 9]
    words = feature_logits(ToyVLM(torch.ones(13)), torch.eye(13)[:4], 20, 1.0)
    assert words.up_ids.shape == (4, 6)
    assert feature_logits(ToyVLM(torch.ones(13)), torch.zeros(0, 13), 5, 1.0).up.shape == (0, 5)


def test_top_tokens_are_means_over_all_occurrences():
    tokens = token_index(token_table(12))
    text = np.flatnonzero(tokens.is_text)
    often, seldom = tokens.token_id[text[0]], next(t for t in tokens.token_id[text] if t != tokens.token_id[text[0]])
    always = text[tokens.token_id[text] == often]
    once = text[tokens.token_id[text] == seldom][:1]
    image = np.flatnonzero(tokens.group == 0)[:5]
    row = np.concatenate([always, once, image])
    value = np.concatenate([np.full(len(always), 2.0), [5.0], np.full(5, 9.0)]).astype(np.float32)
    order = np.argsort(row)
    codes = Codes(0, 2, np.zeros(len(row), np.int64), row[order], value[order])
    feature, token, mean = top_tokens(codes, tokens, 10)
    n_seldom = (tokens.token_id[text] == seldom).sum()
    assert feature.tolist() == [0, 0]
    assert dict(zip(token.tolist(), mean.tolist(), strict=True)) == {often: 2.0, seldom: pytest.approx(5 / n_seldom)}
    assert (np.diff(mean) <= 0).all()
    assert len(top_tokens(codes, tokens, 1)[0]) == 1

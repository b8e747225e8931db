"""What is written step by step is what is generated, and the chances beside it are those of the model's own logits."""

from __future__ import annotations

import threading

import numpy as np
import torch

from core.gender.logit_words import WordSets
from core.steering import edit_hooks
from core.steering.writing import write
from core.vlm.sampling import sample_captions, uniforms
from tests.steering.test_steering_edits import LAYER, edit, toy_sae
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

N_NEW = 6
SETS = WordSets("en", torch.tensor([3, 9]), torch.tensor([5, 7, 11]))


def last(rows, features, **options):
    return list(write(toy_vlm(), rows, features, N_NEW, **options))[-1]


def test_the_words_are_those_of_generate_with_the_same_edits():
    rows, features = toy_rows()[:2], toy_features()[:2]
    hooks = lambda: edit_hooks([[edit(5, strength=9.0)], []], {LAYER: toy_sae()}, {})  # noqa: E731
    ids, finished = toy_vlm().generate(rows, features, N_NEW, hooks())
    found = last(rows, features, edits=hooks())
    assert [one.ids for one in found] == ids and [one.finished for one in found] == finished


def test_the_chances_are_those_of_the_next_word_after_the_edits():
    rows, features = toy_rows()[:2], toy_features()[:2]
    edits = edit_hooks([[edit(5, strength=9.0)], []], {LAYER: toy_sae()}, {})
    found = last(rows, features, edits=edits, words=[SETS, SETS])
    for i, one in enumerate(found):
        whole = [[*rows[i], *one.ids]]
        again = edit_hooks([[edit(5, strength=9.0)] if i == 0 else []], {LAYER: toy_sae()}, {})
        p = toy_vlm().forward(whole, features[i : i + 1], edits=again, logits=True).logits[0].float().softmax(-1)
        start = len(rows[i]) - 1
        for side, ids in (("female", SETS.female), ("male", SETS.male)):
            wanted = p[start : start + len(one.ids), ids].sum(1)
            assert len(getattr(one, side)) == len(one.ids)
            torch.testing.assert_close(torch.tensor(getattr(one, side)), wanted, rtol=1e-4, atol=1e-6)


def test_words_drawn_with_the_same_numbers_are_the_same_words():
    rows, features = toy_rows()[:1], toy_features()[:1]
    numbers = uniforms([(7, 0)], N_NEW)
    ids, _ = sample_captions(toy_vlm(), rows, features, numbers[:, None])
    assert last(rows, features, numbers=numbers)[0].ids == ids[0][0]
    both = last([rows[0]] * 2, features.expand(2, -1, -1), numbers=np.vstack([numbers, numbers]))
    assert both[0].ids == both[1].ids


def test_it_stops_when_it_is_told_to():
    stop, steps = threading.Event(), 0
    for _ in write(toy_vlm(), toy_rows()[:1], toy_features()[:1], N_NEW, stop=stop):
        steps += 1
        stop.set()
    assert steps == 1

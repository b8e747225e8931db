"""What is written step by step is what is generated, and the mass beside it is that of the model's own logits."""

from __future__ import annotations

import functools
import threading

import numpy as np
import pytest
import torch

from core.gender.word_ends import word_ends
from core.gender.word_mass import Budget, Node, WordTrie
from core.steering import edit_hooks, writing
from core.steering.writing import write
from core.vlm.sampling import sample_captions, uniforms
from tests.steering.test_steering_edits import LAYER, edit, toy_sae
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

N_NEW = 6
WORDS = {"female": [(344,), (343, 340), (343, 340, 341)], "male": [(345, 347), (346,)], "unmarked": [(343, 342)]}


class Few(WordTrie):
    """A trie of the words that are named by their tokens, which are nonsense to the model."""

    def __init__(self, words: dict[str, list[tuple[int, ...]]]):
        self.inside = self.opening = Node()
        for gender, ways in words.items():
            for ids in ways:
                self.inside.add(ids, gender)


@functools.cache
def toy_trie(lang: str) -> WordTrie:
    return Few(WORDS)


def hooks():
    return edit_hooks([[edit(5, strength=9.0)], []], {LAYER: toy_sae()}, {})


def last(rows, features, **options):
    return list(write(toy_vlm(), rows, features, N_NEW, **options))[-1]


def exactly(row: list[int], i: int, features: torch.Tensor) -> dict[str, float]:
    """The mass of WORDS after a row (of the two that ``hooks`` speaks of), from passes over whole rows."""

    @functools.cache
    def p(*ids: int) -> torch.Tensor:
        own = edit_hooks([[edit(5, strength=9.0)] if i == 0 else []], {LAYER: toy_sae()}, {})
        logits = toy_vlm().forward([list(ids)], features[i : i + 1], edits=own, logits=True).logits
        return toy_vlm().writable(logits[0, -1]).float().softmax(-1)

    found = {}
    for gender, ways in WORDS.items():
        found[gender] = 0.0
        for ids in ways:
            chances = [float(p(*row, *ids[:n])[token]) for n, token in enumerate(ids)]
            found[gender] += float(np.prod(chances) * p(*row, *ids)[word_ends(toy_vlm())].sum())
    return found


def test_the_words_are_those_of_generate_with_the_same_edits():
    rows, features = toy_rows()[:2], toy_features()[:2]
    ids, finished = toy_vlm().generate(rows, features, N_NEW, hooks())
    found = last(rows, features, edits=hooks())
    assert [one.ids for one in found] == ids and [one.finished for one in found] == finished
    assert not any(one.masses for one in found)


@pytest.mark.parametrize("drawn", [False, True])
def test_measuring_changes_no_word(monkeypatch, drawn: bool):
    rows, features = toy_rows()[:2], toy_features()[:2]
    numbers = uniforms([(7, 0), (7, 1)], N_NEW) if drawn else None
    monkeypatch.setattr(writing, "MassMeter", functools.partial(writing.MassMeter, budget=Budget(0.0)))
    plain, measured = (
        last(rows, features, edits=hooks(), numbers=numbers, words=words) for words in ((), [toy_trie("en")] * 2)
    )
    assert [one.ids for one in measured] == [one.ids for one in plain]
    assert all(mass.n_nodes > 5 for one in measured for mass in one.masses)


def test_the_mass_is_the_product_of_the_models_own_probabilities_after_the_edits(monkeypatch):
    """With every beginning followed nothing is left out; the words that the caption itself writes among them."""
    rows, features = toy_rows()[:2], toy_features()[:2]
    written = [one.ids for one in last(rows, features, edits=hooks())]
    WORDS["female"] += [tuple(written[0][1:3]), tuple(written[1][-2:])]
    try:
        monkeypatch.setattr(writing, "MassMeter", functools.partial(writing.MassMeter, budget=Budget(0.0)))
        found = last(rows, features, edits=hooks(), words=[Few(WORDS)] * 2)
        for i, one in enumerate(found):
            assert one.ids == written[i] and len(one.masses) == len(one.ids)
            for n in (0, 1, N_NEW - 2, N_NEW - 1):
                mass = one.masses[n]
                wanted = exactly([*rows[i], *one.ids[:n]], i, features)
                got = {gender: getattr(mass, gender) for gender in wanted}
                assert got == pytest.approx(wanted, rel=1e-3, abs=1e-9) and mass.left_out == pytest.approx(0, abs=1e-9)
    finally:
        del WORDS["female"][-2:]


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

"""The mass of words for women and for men against sums by hand, in models whose every conditional is known."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import pytest
import torch

from core.gender.word_ends import ends_word
from core.gender.word_mass import Budget, Mass, WordTrie, begin, settle
from tests.gender.test_gender_word_ends import trained

HEAD = "lemma\tform\tlanguage\tgender\tclass\tonly\n"


class Pieces:
    """Cuts text into the longest pieces it knows; the vocabulary is those pieces and single signs."""

    special_ids: frozenset[int] = frozenset()

    def __init__(self, *pieces: str):
        signs = sorted({c for piece in pieces for c in piece} | set("womanWOMAN. sheS") | set("طبيبةوالفكرجلاًهم"))
        self.pieces = [*pieces, *(c for c in signs if c not in pieces)]
        self.by_length = sorted(range(len(self.pieces)), key=lambda i: -len(self.pieces[i]))
        self.ends = torch.tensor([ends_word(piece) for piece in self.pieces])

    def tokenizer(self, texts, add_special_tokens=False):
        return SimpleNamespace(input_ids=[self.cut(text) for text in texts])

    def cut(self, text: str) -> list[int]:
        ids = []
        while text:
            ids.append(next(i for i in self.by_length if text.startswith(self.pieces[i])))
            text = text[len(self.pieces[ids[-1]]) :]
        return ids


def trie(vlm, tmp_path, lang: str, *words: tuple[str, str, str]) -> WordTrie:
    file = tmp_path / f"{lang}.tsv"
    rows = [f"{form}\t{form}\t{lang}\t{gender}\t{kind}\t\n" for form, gender, kind in words]
    file.write_text(HEAD + "".join(rows), encoding="utf-8")
    return WordTrie(vlm, lang, file)


Chances = Mapping[str, Mapping[str, float]]


def measure(vlm: Pieces, words: WordTrie, chances: Chances, before: str = "x", budget: Budget | None = None) -> Mass:
    """The mass next, in a model that gives after a text the pieces of ``chances`` and to "." what is left of 1."""

    def p(text: str) -> torch.Tensor:
        row, given = torch.zeros(len(vlm.pieces), dtype=torch.float64), chances.get(text, {})
        for piece, chance in given.items():
            row[vlm.pieces.index(piece)] += chance
        row[vlm.pieces.index(".")] += 1 - sum(given.values())
        return row

    start, texts = begin(0, words.root(before)), [""]
    walks = [start]
    while walks:
        steps = settle(walks, torch.stack([p(text) for text in texts]), vlm.ends, budget or Budget(0.0))
        texts = [texts[step.walk.row] + vlm.pieces[step.token] for step in steps]
        walks = [step.walk._replace(row=i) for i, step in enumerate(steps)]
    return start.found


DOCTORS = (("طبيب", "male", "role"), ("طبيبة", "female", "role"))


def test_a_piece_that_begins_both_words_gives_each_its_share(tmp_path) -> None:
    vlm = Pieces(" طبي", "بة", "ب", " رجل")
    words = trie(vlm, tmp_path, "ar", *DOCTORS, ("رجل", "male", "noun"))
    chances = {"": {" طبي": 0.5, " رجل": 0.2}, " طبي": {"ب": 0.25, "بة": 0.75}, " طبيب": {"ة": 0.0}}
    found = measure(vlm, words, chances)
    assert found.female == pytest.approx(0.5 * 0.75) and found.left_out == pytest.approx(0, abs=1e-12)
    assert found.male + found.unmarked == pytest.approx(0.5 * 0.25 + 0.2)


def test_a_word_counts_only_where_it_ends(tmp_path) -> None:
    vlm = Pieces(" woman", "hood", "'s", " man")
    words = trie(vlm, tmp_path, "en", ("woman", "female", "noun"), ("man", "male", "noun"))
    found = measure(vlm, words, {"": {" woman": 0.6, " man": 0.3}, " woman": {"hood": 0.9}, " man": {"'s": 0.5}})
    assert (found.female, found.male) == (pytest.approx(0.6 * 0.1), pytest.approx(0.3))


def test_the_mass_is_none_where_no_word_comes_and_one_where_nothing_else_does(tmp_path) -> None:
    vlm = Pieces(" woman", " man", " dog")
    words = trie(vlm, tmp_path, "en", ("woman", "female", "noun"), ("man", "male", "noun"))
    none, sure = (measure(vlm, words, {"": {piece: 1.0}}) for piece in (" dog", " woman"))
    assert (none.female, none.male, none.left_out) == (0, 0, 0)
    assert sure.female == pytest.approx(1) and sure.male == sure.left_out == 0


def test_a_word_inside_another_is_none_and_one_that_opens_a_text_needs_no_blank(tmp_path) -> None:
    vlm = Pieces("man", " man", "Man")
    words, chances = trie(vlm, tmp_path, "en", ("man", "male", "noun")), {"": {"man": 0.5, " man": 0.3, "Man": 0.1}}
    found = {before: measure(vlm, words, chances, before).male for before in ("wo", "", '"', "\n", " ")}
    assert found["wo"] == pytest.approx(0.3)
    assert [found[before] for before in ("", '"', "\n", " ")] == pytest.approx([0.9] * 4)


def test_a_larger_budget_leaves_less_out_and_its_bound_always_holds(tmp_path) -> None:
    vlm = Pieces(" طبي", "بة", "ب", " رجل")
    words = trie(vlm, tmp_path, "ar", *DOCTORS, ("رجل", "male", "noun"))
    chances = {"": {" طبي": 0.05, " رجل": 0.02, "x": 0.0}, " طبي": {"ب": 0.1, "بة": 0.9}}
    chances[""].pop("x")
    exact = measure(vlm, words, chances)
    total = exact.female + exact.male + exact.unmarked
    last = Mass()
    for least in (0.5, 0.03, 0.01, 0.001, 0.0):
        found = measure(vlm, words, chances, budget=Budget(least))
        seen = found.female + found.male + found.unmarked
        assert seen >= last.female + last.male + last.unmarked and (found.left_out <= last.left_out or least == 0.5)
        assert seen - 1e-12 <= total <= seen + found.left_out + 1e-12
        last = found
    assert last == exact
    for bounded in (Budget(0.0, n_nodes=1), Budget(0.0, depth=1)):
        found = measure(vlm, words, chances, budget=bounded)
        seen = found.female + found.male + found.unmarked
        assert seen < total <= seen + found.left_out + 1e-12


def test_what_the_counter_does_not_read_by_itself_is_left_out_and_named(tmp_path) -> None:
    vlm = Pieces(" man")
    file = tmp_path / "en.tsv"
    rows = ("miss\tmiss\ten\tfemale\tnoun\ttitle", "x\tiron lady\ten\tfemale\tnoun\t", "x\tman\ten\tnone\t\t")
    file.write_text(HEAD + "\n".join((*rows, "she\tshe\ten\tfemale\tpronoun\t")) + "\n", encoding="utf-8")
    found = WordTrie(vlm, "en", file)
    assert {one.form: one.why for one in found.left_out} == {
        "miss": "by itself it is not read as a person",
        "iron lady": "it is several words",
    }
    assert found.n_forms == 2  # she and She


@pytest.mark.parametrize("kind", ["bytes", "unigram"])
def test_every_form_is_found_as_a_tokenizer_writes_it(kind: str) -> None:
    vlm = trained(kind)
    for lang, before, forms in (("en", "a", ("woman", "men", "She")), ("ar", "مع", ("طبيبة", "والطبيبات", "للنساء"))):
        words = WordTrie(vlm, lang)
        for form in forms:
            ids = [vlm.tokenizer(t, add_special_tokens=False).input_ids for t in (f". {form}", ".", form)]
            node, first = words.root(before), words.root("")
            for token in ids[0][len(ids[1]) :]:
                node = node.children[token]
            for token in ids[2]:
                first = first.children[token]
            assert node.gender == first.gender != "", form

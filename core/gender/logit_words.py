"""Words for women and men that a vocabulary holds whole: what is compared where no word has been begun.

A pair counts where both its words are one token each in the same writing (" man" and " woman", "He" and "She"), so that
no token stands for the beginning of another word. How few of a caption's words these are in Arabic is measured
(``WordSets.covers``); where a word has been begun, its own contrast is read (``core.gender.contrast``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from core.words.pairs import Pair, pairs

CLASSES = ("pronoun", "noun")  # roles (king size, actor) and kinship (أم is "or" as well) begin too much else
MIN_LETTERS = 3  # of a noun: shorter ones are the beginning of many others
ANCHOR = "."  # what a word inside a sentence is tokenised behind: some tokenizers put a blank before any text


class Tokenizing(Protocol):
    """The part of core.vlm's VLM that is used here."""

    tokenizer: Any
    special_ids: frozenset[int]


@dataclass(frozen=True)
class WordSets:
    """Token ids (n,) int64, rising, that are whole words for women and for men; ``words`` are the words by token."""

    lang: str
    female: Tensor
    male: Tensor
    words: dict[int, str] = field(default_factory=dict)

    def __getitem__(self, rows: slice | list[int]) -> WordSets:
        """The same words are compared in every row."""
        return self

    def __call__(self, logits: Tensor) -> Tensor:
        """Log-odds (..) of a word for a woman against one for a man: difference of log-sum-exp of logits (.., vocab).

        Positive: a woman. NaN where there is no pair.
        """
        if not len(self.female) or not len(self.male):
            return torch.full(logits.shape[:-1], float("nan"), device=logits.device)
        sums = [logits[..., ids.to(logits.device)].float().logsumexp(-1) for ids in (self.female, self.male)]
        return sums[0] - sums[1]

    def covers(self, words: Sequence[str]) -> float:
        """The share of words that are among the sets' own, capitals aside; NaN of none."""
        known = {word.casefold() for word in self.words.values()}
        return sum(word.casefold() in known for word in words) / len(words) if words else float("nan")


def word_sets(vlm: Tokenizing, lang: str, lexicon_file: str = "", listed: Sequence[Pair] | None = None) -> WordSets:
    """The two sets of a language ("en" or "ar") in a model's vocabulary, of its minimal pairs or of those ``listed``.

    Each word is tokenised at the start of a caption and within a sentence, English also with a capital.
    """
    known = [p for p in (pairs(lang, lexicon_file) if listed is None else listed) if _told(p)]
    both = [(f, m) for p in known for f, m in zip(_writings(p.female, lang), _writings(p.male, lang), strict=True)]
    ways = _tokenised(vlm, [word for pair in both for word in pair])
    words: dict[str, dict[int, str]] = {"female": {}, "male": {}}
    for number, pair in enumerate(both):
        for female, male in zip(ways[2 * number], ways[2 * number + 1], strict=True):
            if len(female) == len(male) == 1 and not vlm.special_ids & {female[0], male[0]}:
                words["female"][female[0]], words["male"][male[0]] = pair
    shared = words["female"].keys() & words["male"].keys()
    sets = [torch.tensor(sorted(words[g].keys() - shared), dtype=torch.int64) for g in ("female", "male")]
    return WordSets(lang, sets[0], sets[1], {i: w for g in words for i, w in words[g].items() if i not in shared})


def _told(pair: Pair) -> bool:
    return pair.word_class == "pronoun" or (
        pair.word_class in CLASSES and min(len(pair.female), len(pair.male)) >= MIN_LETTERS
    )


def random_sets(sets: WordSets, tokens: Iterable[int], seed: list[int], n: int = 50) -> list[WordSets]:
    """Sets of the same sizes, of other tokens: those that captions are made of, without the sets' own."""
    others = np.setdiff1d(np.fromiter(tokens, np.int64), torch.cat([sets.female, sets.male]).numpy())
    shrink = min(1.0, len(others) / max(1, len(sets.female) + len(sets.male)))
    one, two = (max(1, int(len(ids) * shrink)) for ids in (sets.female, sets.male))
    rng = np.random.default_rng(seed)
    drawn = [torch.from_numpy(rng.permutation(others)[: one + two]) for _ in range(n if len(others) > 1 else 0)]
    return [WordSets(sets.lang, ids[:one], ids[one:]) for ids in drawn]


def _writings(word: str, lang: str) -> list[str]:
    return [word, word[:1].upper() + word[1:]] if lang == "en" else [word, "ال" + word, "و" + word]


def _tokenised(vlm: Tokenizing, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """For each text, its tokens where it opens a caption and within a sentence ([] where they cannot be told apart)."""
    if not texts:
        return []
    written = [ANCHOR, *texts, *(f"{ANCHOR} {text}" for text in texts)]
    ids = [list(map(int, row)) for row in vlm.tokenizer(written, add_special_tokens=False)["input_ids"]]
    anchor, opening, within = ids[0], ids[1 : 1 + len(texts)], ids[1 + len(texts) :]
    n = len(anchor)
    return [(o, w[n:] if w[:n] == anchor else []) for o, w in zip(opening, within, strict=True)]

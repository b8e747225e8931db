"""Tokens that tell a word for a woman from one for a man: what is compared when a model's next word is read off.

A word counts by the token it begins with, its proclitics taken off; so a token that also begins a word of the other
gender or of neither is no evidence and is left out, with all that is said by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from core.words.lexicon import MARKS, Entry, lexicon

PERSON_CLASSES = ("pronoun", "noun", "kinship", "role")
ANCHOR = "."  # what a word inside a sentence is tokenised behind: some tokenizers put a blank before any text
MIN_LETTERS, SPEAKS = 3, 0.8  # of a word cut into tokens: letters, and their share, in a token that speaks for it
AGAINST = 0.5  # share of another word's letters from which on it makes a token shared
PREFIXES = {"en": ("",), "ar": ("", "ال", "و", "وال")}


class Tokenizing(Protocol):
    """The part of core.vlm's VLM that is used here."""

    tokenizer: Any
    special_ids: frozenset[int]
    image_token_id: int

    def token_strings(self, ids: Sequence[int]) -> list[str]: ...


class LeftOut(NamedTuple):
    """A form that neither set speaks for in any writing, a token it begins with (-1: none of text), and why."""

    form: str
    gender: str
    token_id: int
    why: str


@dataclass(frozen=True)
class WordSets:
    """Token ids (n,) int64, rising, that begin words for women and for men only; ``words`` are the forms by token."""

    lang: str
    female: Tensor
    male: Tensor
    words: dict[int, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()

    def difference(self, logits: Tensor) -> Tensor:
        """Log-odds (..) of a word for a woman against one for a man: difference of log-sum-exp of logits (.., vocab).

        Positive: a woman. NaN where one of the sets is empty.
        """
        if not len(self.female) or not len(self.male):
            return torch.full(logits.shape[:-1], float("nan"))
        sums = [logits[..., ids.to(logits.device)].float().logsumexp(-1) for ids in (self.female, self.male)]
        return sums[0] - sums[1]

    def place(self, token_ids: Sequence[int], first: int, last: int) -> int:
        """Where within a word's tokens ``first`` .. ``last - 1`` its gender is said; ``first`` where the sets miss it.

        الرجل may be written in two tokens, ال and رجل, of which the second says it.
        """
        known = set(self.female.tolist()) | set(self.male.tolist())
        return next((i for i in range(first, min(last, len(token_ids))) if token_ids[i] in known), first)


def word_sets(
    vlm: Tokenizing, lang: str, word_classes: Sequence[str] = PERSON_CLASSES, entries: Sequence[Entry] | None = None
) -> WordSets:
    """The two sets of a language ("en" or "ar") in a model's vocabulary, from the lexicon or from ``entries``.

    Each form is tokenised at the start of a caption and within a sentence; English also with a capital, Arabic also
    behind ال and و as far as the lexicon allows the form in that dress. A token speaks for a form that it is, or of
    which it holds four fifths. It is shared, and left out, where the basic form of a word of the other gender or of
    neither begins with it and is held by half or more (طبيب in طبيبة; duals and plurals do not count against it).
    ``word_classes`` are those of the words that are counted; words of all classes count against.
    """
    entries = lexicon(lang) if entries is None else entries
    basic = _basic_forms(entries)
    uses: dict[int, list[_Use]] = {}
    written = [(entry, *writing) for entry in entries for writing in _writings(entry, lang)]
    for (entry, prefix, _), ways in zip(written, _tokenised(vlm, [text for _, _, text in written]), strict=True):
        for ids in ways:
            token, held, whole = _telling(vlm, ids, prefix)
            share = 1.0 if whole else held / max(1, len(_letters(entry.form)))
            speaks = token >= 0 and (whole or (held >= MIN_LETTERS and share >= SPEAKS))
            against = token >= 0 and share >= AGAINST and (entry.word_class == "pronoun" or entry in basic)
            uses.setdefault(token, []).append(_Use(entry, speaks, against))
    return _sort_out(lang, uses, word_classes)


class _Use(NamedTuple):
    """A form that begins with a token: whether the token speaks for it, and whether it makes the token shared."""

    entry: Entry
    speaks: bool
    against: bool


def _basic_forms(entries: Sequence[Entry]) -> set[Entry]:
    """The shortest forms of each lemma and gender: no duals, plurals and cases."""
    shortest: dict[tuple[str, str], int] = {}
    for entry in entries:
        key = (entry.lemma, entry.gender)
        shortest[key] = min(len(entry.form), shortest.get(key, len(entry.form)))
    return {entry for entry in entries if len(entry.form) == shortest[entry.lemma, entry.gender]}


def _sort_out(lang: str, uses: dict[int, list[_Use]], word_classes: Sequence[str]) -> WordSets:
    ids: dict[str, list[int]] = {"female": [], "male": []}
    words: dict[int, tuple[str, ...]] = {}
    refused: dict[tuple[str, str], LeftOut] = {}
    for token in sorted(uses):
        for gender, chosen in ids.items():
            rivals = [use.entry.form for use in uses[token] if use.against and use.entry.gender != gender]
            own = [use for use in uses[token] if use.entry.gender == gender and use.entry.word_class in word_classes]
            said = tuple(dict.fromkeys(use.entry.form for use in own if use.speaks))
            if said and not rivals:
                chosen.append(token)
                words[token] = said
            for use in own:
                why = f"{rivals[0]} begins with the same token" if use.speaks and rivals else ""
                why = why or ("it has no token of its own" if token < 0 else "its first token is a small part of it")
                refused.setdefault((use.entry.form, gender), LeftOut(use.entry.form, gender, token, why))
    spoken_for = {form for forms in words.values() for form in forms}
    left_out = tuple(row for (form, _), row in refused.items() if form not in spoken_for)
    female, male = (torch.tensor(ids[g], dtype=torch.int64) for g in ("female", "male"))
    return WordSets(lang, female, male, words, left_out)


def _writings(entry: Entry, lang: str) -> Iterator[tuple[str, str]]:
    """(prefix, text) of a form as it may stand in a caption; see ``core.words.lexicon.DRESSES``."""
    if lang == "en":
        capital = entry.form[:1].upper() + entry.form[1:]
        forms = (capital,) if "title" in entry.only else (entry.form, capital)
        yield from (("", form) for form in dict.fromkeys(forms))
        return
    bare = "article" not in entry.only and ("bound" not in entry.only or bool({"first", "mother"} & set(entry.only)))
    with_article = not {"bare", "alone"} & set(entry.only) and entry.word_class not in ("pronoun", "agreement")
    for prefix in PREFIXES[lang]:
        if with_article if prefix.endswith("ال") else bare:
            yield prefix, prefix + entry.form


def _tokenised(vlm: Tokenizing, texts: Sequence[str]) -> list[list[list[int]]]:
    """For each text, its tokens where it opens a caption and, where they can be told apart, within a sentence."""
    if not texts:
        return []
    written = [ANCHOR, *texts, *(f"{ANCHOR} {text}" for text in texts)]
    ids = [list(map(int, row)) for row in vlm.tokenizer(written, add_special_tokens=False).input_ids]
    anchor, opening, within = ids[0], ids[1 : 1 + len(texts)], ids[1 + len(texts) :]
    n = len(anchor)
    return [[o, w[n:]] if w[:n] == anchor else [o] for o, w in zip(opening, within, strict=True)]


def _telling(vlm: Tokenizing, ids: Sequence[int], prefix: str) -> tuple[int, int, bool]:
    """The token in which the form behind a prefix begins (-1: none that is text), its letters, whether it is all."""
    passed = 0
    for number, (token, piece) in enumerate(zip(ids, vlm.token_strings(ids), strict=True)):
        if token in vlm.special_ids or token == vlm.image_token_id or "\ufffd" in piece:
            break
        passed += len(_letters(piece))
        if passed > len(prefix):
            return int(token), passed - len(prefix), number == len(ids) - 1
    return -1, 0, False


def _letters(text: str) -> str:
    return "".join(c for c in MARKS.sub("", text) if not c.isspace())

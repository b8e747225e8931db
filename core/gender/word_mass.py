"""How likely a word for a woman or for a man comes next: whole words, summed over a trie of all their forms.

A form's probability is the product of its tokens' and of a word end behind them (``core.gender.word_ends``). The trie
is followed as far as a budget allows; what is not followed bounds what is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from core.gender.word_ends import goes_on
from core.words import find
from core.words.captions import decides
from core.words.lexicon import EXCEPTION, WORD, Entry, all_entries

if TYPE_CHECKING:
    from core.vlm.adapter import VLM
    from core.vlm.batch import Decoding

GENDERS = ("female", "male", "unmarked")
ANCHOR = "."  # what a word inside a sentence is tokenised behind: some tokenizers put a blank before any text
BEFORE = "7 "  # a word of no gender, so that a form is not read as the first of a sentence
BARE = ("", "و", "ف", "ب", "ل", "ك")  # and, so, in, for, as: what Arabic writes in one with a word,
DEFINITE = ("ال", "وال", "فال", "بال", "كال", "لل")  # and with its article
POSSESSIVES = ("ه", "ها", "هم")  # his, her, their: with words for kin
ACCUSATIVE = ("ا", "اً")  # رجلا
ROWS = 32  # of a batch of branches, which bounds its memory


class Tokenizing(Protocol):
    """The part of core.vlm's VLM that a trie needs."""

    tokenizer: Any

    @property
    def special_ids(self) -> frozenset[int]: ...


class LeftOut(NamedTuple):
    """A form of the lexicon that is in no trie, and why."""

    form: str
    gender: str
    why: str


@dataclass(frozen=True)
class Budget:
    """How far a trie is followed at one position of a caption.

    ``min_mass`` is the probability that a beginning must have, ``n_nodes`` the most of them that are tried, the
    likeliest first, ``depth`` the most tokens of a word.
    """

    min_mass: float = 1e-3
    n_nodes: int = 48
    depth: int = 12


@dataclass
class Mass:
    """Probability that a word for a woman or a man, or a generic masculine, comes next; at most ``left_out`` more."""

    female: float = 0.0
    male: float = 0.0
    unmarked: float = 0.0
    left_out: float = 0.0
    n_nodes: int = 0  # beginnings that were tried


class Node:
    """Words that begin alike: the gender of the word that may end here ("": none does), and tokens that go on."""

    __slots__ = ("children", "gender", "known")

    def __init__(self, gender: str = "", children: Mapping[int, Node] | None = None) -> None:
        self.gender, self.children = gender, dict(children or {})
        self.known: NDArray[np.int64] | None = None

    @property
    def tokens(self) -> NDArray[np.int64]:
        """The tokens of ``children``, in their order, of a trie that is built."""
        if self.known is None:
            self.known = np.fromiter(self.children, np.int64, len(self.children))
        return self.known

    def add(self, ids: Sequence[int], gender: str) -> None:
        """A form by its tokens; the same tokens are the same text, and so of one gender."""
        node = self
        for token in ids:
            node = node.children.setdefault(token, Node())
        node.gender = gender

    def beside(self, other: Node) -> Node:
        """The words of both; what only one of them has is shared with it."""
        both = {t: node.beside(other.children[t]) for t, node in self.children.items() if t in other.children}
        return Node(self.gender or other.gender, {**other.children, **self.children, **both})


class WordTrie:
    """All forms of words for women and men of a language, as a tokenizer writes them.

    Gender is what ``core.words.find`` reads in the form standing alone, generic masculines ("unmarked") apart; Arabic
    forms also behind BARE and DEFINITE, with POSSESSIVES and in the accusative, where it reads them so. English forms
    are in both writings, with and without a capital. ``inside`` holds them behind a blank, ``opening`` as they stand
    where nothing of a word is before them: at the start of a caption, behind a quotation mark, a newline or a lone
    blank. ``left_out`` are forms of several words and those that are not read as a person by themselves (title only
    before a name, exceptions); other ways to cut a form into tokens are not in it either.
    """

    def __init__(self, vlm: Tokenizing, lang: str, lexicon_file: str | Path = ""):
        self.lang = lang
        read: dict[str, tuple[str, str]] = {}  # text -> its gender within a sentence, and where it opens one
        left: dict[str, LeftOut] = {}
        for entry in all_entries(lang, lexicon_file):
            if entry.gender == EXCEPTION or entry.word_class == "agreement":
                continue
            one = len(WORD.findall(entry.form)) == 1
            told = {text: _genders(text, entry, lang, lexicon_file) for text in _writings(entry, lang) if one}
            told = {text: genders for text, genders in told.items() if any(genders)}
            for text, genders in told.items():
                read.setdefault(text, genders)
            if not told and entry.gender in GENDERS:
                why = "by itself it is not read as a person" if one else "it is several words"
                left[entry.form] = LeftOut(entry.form, entry.gender, why)
        self.n_forms, self.left_out = len(read), tuple(left.values())
        self.inside, first = Node(), Node()
        for (inside, opening), genders in zip(_tokenised(vlm, list(read)), read.values(), strict=True):
            for root, ids, gender in zip((self.inside, first), (inside, opening), genders, strict=True):
                if gender and ids and vlm.special_ids.isdisjoint(ids):
                    root.add(ids, gender)
        self.opening = self.inside.beside(first)

    def root(self, before: str) -> Node:
        """Where words begin behind the text ``before``, of which the last sign decides."""
        return self.inside if before and (goes_on(before[-1]) or before[-1] == "\ufffd") else self.opening


def _genders(text: str, entry: Entry, lang: str, lexicon_file: str | Path) -> tuple[str, str]:
    """The gender that is read in one word within a sentence, and where it opens one; "" for none."""
    inside = _gender(text, BEFORE, lang, lexicon_file)
    alike = inside and not entry.only and entry.word_class != "pronoun"  # where it stands makes no difference
    return inside, inside if alike else _gender(text, "", lang, lexicon_file)


def _gender(text: str, before: str, lang: str, lexicon_file: str | Path) -> str:
    hits = find(before + text, lang, lexicon_file)
    whole = len(hits) == 1 and hits[0].word == text and decides(hits[0])
    return hits[0].gender if whole and hits[0].gender in GENDERS else ""


def _writings(entry: Entry, lang: str) -> Iterator[str]:
    """A form in the dresses in which it may be read."""
    form = entry.form
    if lang == "en":
        yield from dict.fromkeys((form, form[:1].upper() + form[1:]))
        return
    if entry.word_class == "pronoun":
        yield from (form, f"و{form}", f"ف{form}")
        return
    yield from (prefix + form for prefix in (*BARE, *DEFINITE))
    yield from (prefix + form + ending for prefix in ("", "و") for ending in ACCUSATIVE)
    if entry.word_class == "kinship":
        stem = re.sub("ة$", "ت", form)
        yield from (prefix + stem + ending for prefix in ("", "و", "ب", "ل") for ending in POSSESSIVES)


def _tokenised(vlm: Tokenizing, texts: Sequence[str]) -> Iterator[tuple[list[int], list[int]]]:
    """Token ids of each text behind a blank within a sentence ([] where that cannot be told), and of it by itself."""
    written = [ANCHOR, *(f"{ANCHOR} {text}" for text in texts), *texts]
    anchor, *ids = vlm.tokenizer(written, add_special_tokens=False).input_ids
    n = len(anchor)
    for inside, opening in zip(ids[: len(texts)], ids[len(texts) :], strict=True):
        yield inside[n:] if inside[:n] == anchor else [], opening


class Walk(NamedTuple):
    """A beginning of words: the row whose next token is known, the node that it has come to, and its probability."""

    row: int
    node: Node
    mass: float
    depth: int
    found: Mass


class Step(NamedTuple):
    """A token with which a walk would go on, and the walk behind it."""

    token: int
    walk: Walk


def begin(row: int, node: Node) -> Walk:
    """The walk of a position, from a root of its trie."""
    return Walk(row, node, 1.0, 0, Mass(left_out=1.0))


def settle(
    walks: Sequence[Walk], p: Float[Tensor, "rows vocab"], ends: Bool[Tensor, " vocab"], budget: Budget
) -> list[Step]:
    """Adds up the words that end where the walks stand; returns the steps that are worth trying, likeliest first.

    ``p`` are the probabilities of the next token in the walks' rows. What is not tried stays in ``left_out``, and so
    does what will be tried, until it has been.
    """
    if not walks:
        return []
    sizes = [len(walk.node.tokens) for walk in walks]
    rows = torch.from_numpy(np.repeat([walk.row for walk in walks], sizes)).to(p.device)
    tokens = np.concatenate([walk.node.tokens for walk in walks])
    onward = p[rows, torch.from_numpy(tokens).to(p.device)].double().cpu().numpy()
    over = {walk.row for walk in walks if walk.node.gender}
    ended = {row: float(p[row, ends].double().sum()) for row in over}
    steps: list[Step] = []
    for walk, chances, names in zip(walks, _cut(onward, sizes), _cut(tokens, sizes), strict=True):
        masses, found = walk.mass * chances, walk.found
        found.left_out += float(masses.sum()) - walk.mass
        if walk.node.gender:
            setattr(found, walk.node.gender, getattr(found, walk.node.gender) + walk.mass * ended[walk.row])
        if walk.depth < budget.depth:
            for at in np.flatnonzero(masses >= budget.min_mass):
                child = walk.node.children[int(names[at])]
                steps.append(Step(int(names[at]), Walk(walk.row, child, float(masses[at]), walk.depth + 1, found)))
    chosen = []
    for step in sorted(steps, key=lambda step: -step.walk.mass):
        if step.walk.found.n_nodes < budget.n_nodes:
            step.walk.found.n_nodes += 1
            chosen.append(step)
    return chosen


def _cut(values: NDArray, sizes: Sequence[int]) -> list[NDArray]:
    return np.split(values, np.cumsum(sizes)[:-1])


@dataclass
class MassMeter:
    """The mass at every token of captions while they are written; the writing goes on as if nothing were measured.

    ``tries`` by row of the batch. A step that is written anyway is not tried beside it: a walk along the caption waits
    for the caption's next pass, and until then its mass is in ``left_out``.
    """

    vlm: VLM
    tries: Sequence[WordTrie]
    ends: Bool[Tensor, " vocab"]
    budget: Budget = field(default_factory=Budget)
    n_passes: int = 0  # beside those of the writing

    def __post_init__(self) -> None:
        self._waiting: list[Walk] = []
        self.ends = self.ends.to(self.vlm.device)

    @torch.inference_mode()
    def look(self, state: Decoding, before: Sequence[str | None], last: bool) -> list[Mass | None]:
        """The mass at the next token of each row whose text ``before`` is not None, as far as it is known by now.

        ``state`` has chosen its next tokens and has not gone on with them; ``last``: it never will.
        """
        fresh = [None if text is None else begin(i, self.tries[i].root(text)) for i, text in enumerate(before)]
        walks = [*self._waiting, *(walk for walk in fresh if walk is not None)]
        steps = settle(walks, state.scores.softmax(-1), self.ends, self.budget)
        written = state.next_ids.tolist()
        along = [not last and step.token == written[step.walk.row] for step in steps]
        self._waiting = [step.walk for step, waits in zip(steps, along, strict=True) if waits]
        self._try(state, [step for step, waits in zip(steps, along, strict=True) if not waits])
        return [None if walk is None else walk.found for walk in fresh]

    def _try(self, state: Decoding, steps: Sequence[Step]) -> None:
        """Follow the steps from a state, and those behind them, to their ends."""
        from core.vlm.branching import branch

        for some in _parts(steps, ROWS):
            rows, tokens = ([step.walk.row for step in some], [step.token for step in some])
            self.n_passes += 1
            tried = branch(self.vlm, state, torch.tensor(rows), torch.tensor(tokens))
            walks = [step.walk._replace(row=i) for i, step in enumerate(some)]
            further = settle(walks, tried.scores.softmax(-1), self.ends, self.budget)
            self._try(tried, further)


def _parts(steps: Sequence[Step], size: int) -> Iterable[Sequence[Step]]:
    return (steps[i : i + size] for i in range(0, len(steps), size))

"""The token that decides a word's gender: where its spelling parts from that of its counterpart of the other gender.

طبيب and طبيبة begin with the same piece, so nothing of gender is said before the second. Of each gendered word:

1. its counterpart in the same form is put in its place (``core.words.pairs``);
2. both captions are cut into tokens, and the first at which they differ is the *slot*: all before it is shared;
3. the two tokens there are compared. Where one spelling ends and the other goes on, the side that ends is every token
   that cannot go on a word, since pieces carry the blank in front and a word's end is said by what follows it
   (Pimentel and Meister 2024, arXiv 2406.14561; Oh and Schuler 2024, arXiv 2406.10851).

The log-odds of the pair at the slot are read by lens, attribution and head effects; ``word_log_odds`` are those of the
whole words by the chain rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.gender.positions import token_at, token_spans
from core.words.captions import Hit, decides, find
from core.words.generic import GENDERED_FORMS
from core.words.pairs import counterpart

if TYPE_CHECKING:
    from core.vlm.adapter import VLM
    from core.vlm.hooks import EditFn

WORD_END = -1  # in the place of a token: the word ends here
NOT_ITS_OWN = "the caption is not in the tokens that its text would be cut into"


class Contrast(NamedTuple):
    """Where a caption says a gender, and the pair of tokens that are compared there.

    The word begins in token ``begins`` of the caption; ``slot`` is the token that decides (``begins``, where nothing
    decides). ``female`` and ``male`` are token ids or WORD_END, and None with the reason in ``why``.
    """

    begins: int
    slot: int
    female: int | None
    male: int | None
    why: str = ""


@dataclass(frozen=True)
class Said:
    """The first gendered word of a caption: as found, its counterpart ("" for none), and its contrast."""

    hit: Hit
    counterpart: str
    contrast: Contrast


def first_said(
    token_ids: Sequence[int], tokenizer: Any, lang: str, lexicon_file: str = "", hits: Iterable[Hit] | None = None
) -> Said | None:
    """What a caption says of gender first; None of a caption that says nothing. ``hits`` are its words where known.

    Agreement before the first word for a person counts where it is of the same gender and may betray it (تقف before
    لاعبة); where no word for a person stands, the first agreement does.
    """
    text = tokenizer.decode(list(token_ids), skip_special_tokens=True).strip()
    known = find(text, lang, lexicon_file) if hits is None else hits
    hit = _first(sorted((h for h in known if h.gender in GENDERED_FORMS), key=lambda h: h.start))
    if hit is None:
        return None
    other = counterpart(text, hit, lang, lexicon_file)
    return Said(hit, other.word, contrast(token_ids, tokenizer, hit, other.word, other.why))


def _first(hits: Sequence[Hit]) -> Hit | None:
    person = next((h for h in hits if decides(h)), None)
    if person is None:
        return next(iter(hits), None)
    return next(h for h in hits if h is person or (h.gender == "female") == (person.gender == "female"))


def contrast(token_ids: Sequence[int], tokenizer: Any, hit: Hit, other: str, why: str = "") -> Contrast:
    """The contrast of a word of a caption with ``other`` in its place; ``why`` there is none where other is ""."""
    ids, spans = [int(i) for i in token_ids], token_spans(token_ids, tokenizer)
    begins = token_at(spans, hit.start)
    if not other:
        return Contrast(begins, begins, None, None, why or "it has no counterpart")
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    start = hit.start + len(whole) - len(whole.lstrip())
    end = start + hit.end - hit.start
    own = tokenizer(whole, add_special_tokens=False)["input_ids"]
    rival = tokenizer(whole[:start] + other + whole[end:], add_special_tokens=False)["input_ids"]
    slot = next((i for i, (a, b) in enumerate(zip(own, rival, strict=False)) if a != b), min(len(own), len(rival)))
    if list(own[: slot + 1]) != ids[: slot + 1]:
        return Contrast(begins, begins, None, None, NOT_ITS_OWN)
    sides = (
        _side(own, spans if own == ids else token_spans(own, tokenizer), slot, hit.end),
        _side(rival, token_spans(rival, tokenizer), slot, hit.start + len(other)),
    )
    if sides[0] == sides[1]:
        return Contrast(begins, begins, None, None, "both genders are spelled alike")
    female, male = sides if hit.gender == "female" else sides[::-1]
    return Contrast(begins, slot, female, male)


def _side(ids: Sequence[int], spans: Sequence[tuple[int, int]], slot: int, end: int) -> int:
    return WORD_END if slot >= len(ids) or spans[slot][0] >= end else int(ids[slot])


class LogOdds:
    """Log-odds of the word for a woman against that for a man, by row: each row has a contrast of its own.

    Called with logits (n_rows, vocab) it gives (n_rows,); ``[rows]`` are the log-odds of some of the rows. ``ends``
    (vocab,) bool are the tokens that cannot go on a word (``core.gender.word_ends``).
    """

    def __init__(self, contrasts: Sequence[Contrast], ends: Tensor):
        if any(c.female is None or c.male is None for c in contrasts):
            raise ValueError("a caption without a contrast has no log-odds")
        self.contrasts, self.ends = list(contrasts), ends

    def __len__(self) -> int:
        return len(self.contrasts)

    def __getitem__(self, rows: slice | list[int]) -> LogOdds:
        some = self.contrasts[rows] if isinstance(rows, slice) else [self.contrasts[i] for i in rows]
        return LogOdds(some, self.ends)

    def __call__(self, logits: Tensor) -> Tensor:
        if len(logits) != len(self):
            raise ValueError(f"{len(self)} contrasts are read off {len(logits)} rows of logits")
        return self._side(logits, "female") - self._side(logits, "male")

    def _side(self, logits: Tensor, gender: str) -> Tensor:
        ids = torch.tensor([getattr(c, gender) for c in self.contrasts], dtype=torch.int64, device=logits.device)
        found = logits.gather(1, ids.clamp_min(0)[:, None])[:, 0].float()
        if ended := (ids == WORD_END).nonzero()[:, 0].tolist():
            closing = logits[ended][:, self.ends.to(logits.device)].float().logsumexp(1)
            found = found.index_put((torch.tensor(ended, device=logits.device),), closing)
        return found

    def directions(self, logits: Tensor, weight: Tensor) -> Tensor:
        """Directions (n_rows, d_model) whose dot product with the normed residual is the gap of both sides' logits.

        The gradient of the log-odds: where a side is the word's end, its tokens weigh as likely as they are there.
        ``logits`` (n_rows, vocab), ``weight`` (vocab, d_model).
        """
        sides = []
        for gender in ("female", "male"):
            ids = torch.tensor([getattr(c, gender) for c in self.contrasts], dtype=torch.int64, device=weight.device)
            found = weight[ids.clamp_min(0)].float()
            if ended := (ids == WORD_END).nonzero()[:, 0].tolist():
                ends = self.ends.to(weight.device)
                found[ended] = logits[ended][:, ends].float().softmax(-1) @ weight[ends].float()
            sides.append(found)
        return sides[0] - sides[1]


def pair_numbers(contrasts: Sequence[Contrast]) -> NDArray[np.int64]:
    """The number (n,) of each contrast's pair of tokens among those that occur."""
    known: dict[tuple[int | None, int | None], int] = {}
    return np.array([known.setdefault((c.female, c.male), len(known)) for c in contrasts], np.int64)


def random_contrasts(contrasts: Sequence[Contrast], tokens: Iterable[int], seed: list[int]) -> list[Contrast]:
    """Contrasts of two other tokens, drawn anew for each pair that occurs: the same pair has the same two everywhere.

    So what the choice of pairs tells of the images stays, and nothing else of gender. Tokens of the pairs themselves
    are not drawn; two tokens at least must be left.
    """
    pairs = sorted({(c.female, c.male) for c in contrasts if c.female is not None and c.male is not None})
    known = {i for pair in pairs for i in pair}
    others = sorted({int(t) for t in tokens} - known)
    if len(others) < 2:
        raise ValueError("there are no other tokens to draw from")
    rng = np.random.default_rng(seed)
    drawn: dict[Any, list[int]] = {pair: rng.choice(others, 2, replace=False).tolist() for pair in pairs}
    return [c._replace(female=drawn[c.female, c.male][0], male=drawn[c.female, c.male][1]) for c in contrasts]


@torch.no_grad()
def word_log_odds(
    vlm: VLM,
    prompts: Sequence[Sequence[int]],
    captions: Sequence[Sequence[int]],
    said: Sequence[Said | None],
    features: Tensor,
    ends: Tensor,
    edits: Mapping[int, EditFn] | None = None,
) -> Tensor:
    """Log-odds (n,) float32 of the whole words, a woman's against a man's, given all before them (chain rule).

    ln p(word) = sum over its tokens from the slot on of ln p(token | before) + ln p(the word ends | word): what lies
    before the slot is shared and cancels. Both spellings are read in one pass each, under the edits. The tokens are
    those into which the tokenizer cuts the spelling; other ways to cut it are not summed. NaN where ``said`` is None.
    """
    own, rival, sign = [], [], []
    for prompt, ids, one in zip(prompts, captions, said, strict=True):
        if one is None:
            own.append((list(prompt), [], 0))
            rival.append((list(prompt), [], 0))
            sign.append(float("nan"))
            continue
        sign.append(1.0 if one.hit.gender == "female" else -1.0)
        text = vlm.tokenizer.decode(list(ids), skip_special_tokens=True)
        lead = len(text) - len(text.lstrip())
        start, end = lead + one.hit.start, lead + one.hit.end
        own.append((list(prompt), _to_end(vlm, text[:end]), one.contrast.slot))
        rival.append((list(prompt), _to_end(vlm, text[:start] + one.counterpart), one.contrast.slot))
    found = [_whole(vlm, rows, features, ends, edits) for rows in (own, rival)]
    return torch.tensor(sign) * (found[0] - found[1])


def _to_end(vlm: VLM, text: str) -> list[int]:
    return list(vlm.tokenizer(text, add_special_tokens=False)["input_ids"])


def _whole(
    vlm: VLM,
    rows: Sequence[tuple[list[int], list[int], int]],
    features: Tensor,
    ends: Tensor,
    edits: Mapping[int, EditFn] | None,
) -> Tensor:
    """ln p (n,) of each row's tokens from its slot on, and of the word's end behind them."""
    last = vlm.n_layers - 1
    given = [prompt + ids for prompt, ids, _ in rows]
    resid = vlm.forward(given, features, [last], edits).resid[last]
    sums = []
    for i, (_, ids, slot) in enumerate(rows):
        n = len(ids) - slot
        scores = vlm.logits(resid[i, -(n + 1) :]).float().log_softmax(-1)
        told = torch.tensor(ids[slot:], device=scores.device, dtype=torch.int64)
        closing = scores[-1, ends.to(scores.device)].logsumexp(0)
        sums.append(scores[:-1].gather(1, told[:, None]).sum() + closing)
    return torch.stack(sums).cpu() if sums else torch.zeros(0)

"""Which characters of a caption each of its tokens holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

Span = tuple[int, int]


def token_spans(token_ids: Sequence[int], tokenizer: Any) -> list[Span]:
    """For each token, the characters [start, end) that it holds of the caption's text, blanks around the text left off.

    From the offsets of the tokenizer, where it has them and would write the text in the same tokens; else from the
    texts that the first 1, 2, .. tokens decode to. All tokens of a character spread over several hold that character.
    """
    ids = [int(i) for i in token_ids]
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    lead, length = len(whole) - len(whole.lstrip()), len(whole.strip())
    spans = _offsets(ids, whole, tokenizer) or _decoded(ids, whole, tokenizer)
    return [(min(max(0, a - lead), length), min(max(0, b - lead), length)) for a, b in spans]


def token_at(spans: Sequence[Span], offset: int) -> int:
    """Number of the first token that holds character ``offset`` of a caption; the number of tokens if none does."""
    return next((i for i, (start, end) in enumerate(spans) if start <= offset < end), len(spans))


def _offsets(ids: list[int], whole: str, tokenizer: Any) -> list[Span]:
    if not getattr(tokenizer, "is_fast", False):
        return []
    found = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    return [(int(a), int(b)) for a, b in found["offset_mapping"]] if found["input_ids"] == ids else []


def _decoded(ids: list[int], whole: str, tokenizer: Any) -> list[Span]:
    """The text of the first i tokens, as far as it agrees with the whole, never gets shorter with i."""
    texts = [tokenizer.decode(ids[:i], skip_special_tokens=True) for i in range(len(ids) + 1)]
    known = list(accumulate((_agreeing(text, whole) for text in texts), max))
    # a token that adds nothing is part of the character that a later one completes
    ends = [next((n for n in known[i + 1 :] if n > known[i]), known[i]) for i in range(len(ids))]
    return list(zip(known, ends, strict=False))


def _agreeing(text: str, whole: str) -> int:
    """How many characters of ``text`` are those of ``whole``, from the first on."""
    return next((i for i, (a, b) in enumerate(zip(text, whole, strict=False)) if a != b), min(len(text), len(whole)))

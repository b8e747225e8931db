"""Where a character of a caption stands among the tokens that it was written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def token_at(token_ids: Sequence[int], offset: int, decode: Callable[[list[int]], str]) -> int:
    """Number of the token that holds character ``offset`` of the caption's text; the number of tokens if none does.

    ``decode`` turns ids into text. A caption's text is stripped, so the blanks that its decoding begins with are
    counted on top. Found by bisection: the text of the first i tokens never gets shorter with i.
    """
    ids = list(token_ids)
    whole = decode(ids)
    wanted = offset + len(whole) - len(whole.lstrip())
    if len(whole) <= wanted:
        return len(ids)
    low, high = 0, len(ids)  # the first `low` tokens are too short, the first `high` are long enough
    while high - low > 1:
        middle = (low + high) // 2
        if len(decode(ids[:middle])) > wanted:
            high = middle
        else:
            low = middle
    return low

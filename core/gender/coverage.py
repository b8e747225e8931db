"""For how many captions of a language the contrasts of core.gender.contrast speak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from core.config.sections import MIN_COVERAGE


class Coverage(NamedTuple):
    """For how many captions of a language the contrasts speak."""

    n_captions: int
    n_gendered: int  # that hold a gendered word
    n_covered: int  # of these, with a contrast
    reasons: Mapping[str, int]  # why the others have none, the most frequent first

    @property
    def share(self) -> float:
        """Covered of gendered captions; NaN without any."""
        return self.n_covered / self.n_gendered if self.n_gendered else float("nan")

    @property
    def why(self) -> str:
        """Why these contrasts say nothing of the language, "" where they do."""
        if not self.n_gendered:
            return "no caption names a woman or a man"
        if self.share >= MIN_COVERAGE:
            return ""
        covered = f"{self.n_covered} of {self.n_gendered} captions that name a gender have a pair of words to compare"
        return f"{covered}; {MIN_COVERAGE:.0%} are needed (most often: {next(iter(self.reasons))})"


def coverage(contrasts: Iterable[Mapping[str, Any]], n_captions: int) -> Coverage:
    """Coverage of one language, from its rows of contrasts.parquet (one a caption that holds a gendered word)."""
    reasons = Counter(row["why"] for row in contrasts)
    n_covered = reasons.pop("", 0)
    return Coverage(n_captions, n_covered + reasons.total(), n_covered, dict(reasons.most_common()))

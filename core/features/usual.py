"""What a feature does as a rule: its activation on images and captions, averaged over their tokens, and at tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.features.tokens import CAPTION, IMAGE, TokenIndex

if TYPE_CHECKING:
    from core.features.codes import Codes

VIEWS = {"image": IMAGE, "caption_en": CAPTION, "caption_ar": CAPTION + 1}  # and their group of tokens


def usual_activation(codes: Codes, tokens: TokenIndex) -> dict[str, np.ndarray]:
    """Of a block of features, (n_features,) each: ``usual_<view>``, ``spread_<view>``, ``token_spread_<view>``.

    Over the sequences that have tokens of the view: mean and standard deviation (population) of the feature's mean
    activation over these tokens; and its standard deviation over all tokens of the view. Silent tokens and sequences
    count as 0; NaN where the run has no such tokens.
    """
    found = {}
    n, group = codes.n_features, tokens.group[codes.row]
    for view, number in VIEWS.items():
        size = np.bincount(tokens.sequence[tokens.group == number], minlength=len(tokens.caption_length))
        n_sequences, n_tokens = int((size > 0).sum()), int(size.sum())
        at = np.flatnonzero(group == number)
        feature, sequence = codes.feature[at], tokens.sequence[codes.row[at]]
        value = codes.value[at].astype(np.float64)
        # rows of a sequence stand together, so that each pair of feature and sequence is one stretch of the triplets
        starts = np.flatnonzero(np.diff(feature, prepend=-1) | np.diff(sequence, prepend=-1)) if len(at) else at
        mean = np.add.reduceat(value, starts) / size[sequence[starts]] if len(at) else value
        of = feature[starts]
        with np.errstate(invalid="ignore", divide="ignore"):  # 0/0: no such tokens
            usual = np.bincount(of, mean, n) / n_sequences
            squares = np.bincount(of, (mean - usual[of]) ** 2, n)
            silent = n_sequences - np.bincount(of, minlength=n)
            at_tokens = np.bincount(feature, value, n) / n_tokens
            deviations = np.bincount(feature, (value - at_tokens[feature]) ** 2, n)
            silent_tokens = n_tokens - np.bincount(feature, minlength=n)
            found[f"usual_{view}"] = usual
            found[f"spread_{view}"] = np.sqrt((squares + silent * usual**2) / n_sequences)
            found[f"token_spread_{view}"] = np.sqrt((deviations + silent_tokens * at_tokens**2) / n_tokens)
    return found

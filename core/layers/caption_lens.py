"""The logit lens on one caption: at each layer and token, the words that the model would write there if it ended so.

Column ``slot`` of a caption is read where its token was chosen, one position before it stands; a patch is read where it
stands. Only tokens that a caption may hold are ranked (``VLM.writable``), so that at the model's last layer a token
written greedily ranks first.

For the token that decides the caption's gender (``core.gender.contrast``) the log-odds of its two spellings are read,
here and, as a control, where other captions say theirs: a layer that prefers a word whatever the image shows prefers
it there too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.gender.contrast import Contrast, LogOdds
from core.gender.logit_words import WordSets
from core.layers.lens_words import LensWords, Spelling, begun
from core.layers.tuned import Affine, Heading, read_logits

TOP = 5
MIN_OTHERS = 5  # captions in which the other gender was said; in a planted model 3 of 60 words then come too early
CAPTION, IMAGE = "caption", "image"
NAN = float("nan")


class Reading(Spelling, Heading, Protocol):
    """The part of core.vlm's VLM that is used here."""

    def writable(self, scores: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class ShownCaption:
    """One caption that is read: its tokens (with the end, where it was written) and what it says of gender first.

    ``gender`` is that of the spelling: female or male, a generic masculine among the latter. ``resid`` maps each layer
    to (n_tokens, d_model), a row where each token was chosen; ``patches`` to (n_patches, d_model).
    """

    sample_id: int
    lang: str
    tokens: Sequence[int]
    contrast: Contrast | None
    gender: str
    resid: Mapping[int, Tensor]
    patches: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Others:
    """Where other captions of the language say a gender: their contrasts, genders, and residuals (n, d_model) there."""

    contrasts: Sequence[Contrast]
    genders: Sequence[str]
    resid: Mapping[int, Tensor]


class CaptionLens:
    """Reads captions of one language, one after the other.

    ``sets`` are words that the vocabulary holds whole, None where they speak for too few captions. The spellings of
    ``compared`` are read at the places of ``others`` once, layer by layer, before any caption.
    """

    def __init__(
        self,
        vlm: Reading,
        ends: Tensor,
        sets: WordSets | None = None,
        others: Others | None = None,
        compared: Sequence[Contrast | None] = (),
        tuned: Mapping[int, Affine] | None = None,
    ):
        self.vlm, self.ends, self.sets, self.others = vlm, ends, sets, others
        self.tuned = tuned or {}
        self.words = LensWords(vlm)
        pairs = {(c.female, c.male): c for c in compared if c is not None and c.female is not None}
        self._there = {
            (lens, layer, *pair): values
            for lens in self.lenses
            for layer in (others.resid if others is not None and len(others.genders) else ())
            for pair, values in self._read_others(lens, layer, pairs).items()
        }

    @property
    def lenses(self) -> tuple[str, ...]:
        """The logit lens, and the tuned one where there are maps."""
        return ("logit", "tuned") if self.tuned else ("logit",)

    def _read_others(self, lens: str, layer: int, pairs: Mapping[Any, Contrast]) -> dict[Any, NDArray[np.float64]]:
        """Log-odds (n_others,) of each pair of spellings where other captions of the language say a gender."""
        assert self.others is not None
        found: dict[Any, list[NDArray[np.float64]]] = {pair: [] for pair in pairs}
        with torch.no_grad():
            for _, scores in self._scores(lens, layer, self.others.resid[layer]):
                for pair, c in pairs.items():
                    read = LogOdds([c] * len(scores), self.ends)(scores)
                    found[pair].append(read.double().cpu().numpy())
        return {pair: np.concatenate(parts) for pair, parts in found.items()}

    @torch.no_grad()
    def rows(self, shown: ShownCaption) -> list[dict[str, Any]]:
        """Rows of the table ``caption_lens``: the caption's tokens layer by layer, then the image's patches."""
        found = []
        tokens = [int(t) for t in shown.tokens]
        for lens in self.lenses:
            for layer, resid in shown.resid.items():
                found += self._caption(shown, tokens, lens, layer, resid)
        for layer, resid in shown.patches.items():
            found += self._patches(shown, layer, resid)
        return found

    def _caption(
        self, shown: ShownCaption, tokens: list[int], lens: str, layer: int, resid: Tensor
    ) -> list[dict[str, Any]]:
        if len(resid) != len(tokens):
            raise ValueError(f"{len(resid)} residuals of layer {layer} are read beside {len(tokens)} tokens")
        rows, c = [], shown.contrast if shown.contrast is not None and shown.contrast.female is not None else None
        for start, scores in self._scores(lens, layer, resid):
            log_p = scores.log_softmax(-1)
            written = torch.tensor(tokens[start : start + len(scores)], device=scores.device)
            own = log_p.gather(1, written[:, None])
            ranks = 1 + (log_p > own).sum(1)
            sets = self.sets(scores).tolist() if self.sets is not None else [NAN] * len(scores)
            best = log_p.topk(min(TOP, log_p.shape[1]))
            for i in range(len(scores)):
                slot = start + i
                before, joined = tokens[:slot], self.words.joined(tokens[:slot], tokens[slot])
                row = self._row(shown, CAPTION, slot, lens, layer, before, best.values[i], best.indices[i])
                said = self.words.read(before, tokens[slot])
                if slot + 1 < len(tokens) and self.words.joined(tokens[: slot + 1], tokens[slot + 1]):
                    said = begun(said)
                    row["top"] = [
                        said if t == tokens[slot] else w for t, w in zip(row["top_ids"], row["top"], strict=True)
                    ]
                row |= {
                    "token_id": tokens[slot],
                    "said": said,
                    "joined": joined,
                    "rank": int(ranks[i]),
                    "p_said": float(own[i, 0].exp()),
                }
                if c is not None and slot == c.slot:
                    row |= {"compared": "spellings", "gender": shown.gender}
                    row |= self._beside(c, float(LogOdds([c], self.ends)(scores[i : i + 1])[0]), lens, layer, shown)
                elif self.sets is not None and not joined:
                    row |= {"compared": "words", "log_odds": sets[i]}
                rows.append(row)
        return rows

    def _patches(self, shown: ShownCaption, layer: int, resid: Tensor) -> list[dict[str, Any]]:
        rows = []
        for start, scores in self._scores("logit", layer, resid):  # maps are fitted on captions
            best = scores.log_softmax(-1).topk(min(TOP, scores.shape[1]))
            sets = self.sets(scores).tolist() if self.sets is not None else [NAN] * len(scores)
            for i in range(len(scores)):
                row = self._row(shown, IMAGE, start + i, "logit", layer, [], best.values[i], best.indices[i])
                rows.append(row | {"compared": "words" if self.sets is not None else "", "log_odds": sets[i]})
        return rows

    def _row(
        self,
        shown: ShownCaption,
        kind: str,
        slot: int,
        lens: str,
        layer: int,
        before: list[int],
        best: Tensor,
        ids: Tensor,
    ) -> dict[str, Any]:
        tokens = ids.tolist()
        return {
            "sample_id": shown.sample_id,
            "lang": shown.lang,
            "kind": kind,
            "slot": slot,
            "layer": layer,
            "lens": lens,
            "token_id": -1,
            "said": "",
            "joined": False,
            "rank": -1,
            "p_said": NAN,
            "top": [self.words.read(before, t) for t in tokens],
            "top_ids": tokens,
            "top_p": [round(p, 6) for p in best.exp().tolist()],
            "compared": "",
            "gender": "",
            "log_odds": NAN,
            "others": NAN,
            "beyond": NAN,
            "n_others": 0,
        }

    def _beside(self, c: Contrast, here: float, lens: str, layer: int, shown: ShownCaption) -> dict[str, Any]:
        """The log-odds here, and of the same two spellings where captions of the other gender say theirs.

        Captions with the same pair of tokens, where there are MIN_OTHERS of them, else all that say the other gender.
        """
        row: dict[str, Any] = {"log_odds": here}
        values = self._there.get((lens, layer, c.female, c.male))
        if values is None or self.others is None:
            return row
        others = self.others
        there = [i for i, gender in enumerate(others.genders) if gender != shown.gender]
        same = [i for i in there if (others.contrasts[i].female, others.contrasts[i].male) == (c.female, c.male)]
        chosen = values[same if len(same) >= MIN_OTHERS else there]
        if len(chosen) < MIN_OTHERS:
            return row
        further = chosen < here if shown.gender == "female" else chosen > here
        return row | {"others": float(chosen.mean()), "beyond": float(further.mean()), "n_others": len(chosen)}

    def _scores(self, lens: str, layer: int, resid: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Scores (some, vocab) of tokens that may be written, and the row at which they begin."""
        map_ = self.tuned.get(layer) if lens == "tuned" else None  # none of the last layer, which needs none
        start = 0
        for scores in read_logits(self.vlm, resid, map_):
            yield start, self.vlm.writable(scores)
            start += len(scores)


def shown_samples(samples: Sequence[Mapping[str, Any]], n: int) -> list[int]:
    """The first ``n`` test images, those whose steered captions stand ready too (``core.steering.jobs.dose_jobs``)."""
    return sorted(int(s["sample_id"]) for s in samples if s["split"] == "test")[:n]

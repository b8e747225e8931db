"""What else an edit moves: gender as a probe and the lens read it layer by layer, and the features that move most.

Everything is read before a caption says a gender (``core.gender.contrast``), where the text says nothing of it yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core.config import LANGUAGES
from core.features.pooled import Pooled
from core.gender.contrast import LogOdds, Said, first_said, word_log_odds
from core.gender.word_ends import word_ends
from core.run import Run
from core.steering.edits import Direction
from core.vlm.hooks import EditFn

if TYPE_CHECKING:
    from core.sae.modules import SAE
    from core.vlm.adapter import VLM

N_MOVED = 8  # features named
MIN_IMAGES = 5  # training images of each gender for a difference of means


@dataclass(frozen=True)
class Told:
    """One caption to be read: its row's name, language and token ids."""

    row: str
    lang: str
    prompt: Sequence[int]
    ids: Sequence[int]


def mean_directions(run_dir: Path, layer: int) -> dict[str, Direction]:
    """By language the difference of the mean residuals of training images of women and of men, before the first word.

    ``write`` has length 1 and points to women; ``read`` gives +1 at the mean of women and -1 at that of men; ``scale``
    is their distance. A language without enough images, or a run without pooled residuals, has none.
    """
    run = Run(run_dir)
    pooled = run.path("pooled", f"layer_{layer:02d}.safetensors")
    if not (run.has("samples") and run.has("genders") and pooled.is_file()):
        return {}
    images = run.images().set_index("sample_id")
    shown = images["gender"][images["split"] == "train"]
    resid, found = Pooled(run_dir, layer).resid("before"), {}
    for number, lang in enumerate(LANGUAGES):
        means = {}
        for gender in ("female", "male"):
            rows = len(LANGUAGES) * shown.index[shown == gender].to_numpy() + number
            x = resid[rows[rows < len(resid)]].astype(np.float64)
            x = x[~np.isnan(x).any(1)]
            if len(x) >= MIN_IMAGES:
                means[gender] = torch.from_numpy(x.mean(0))
        if len(means) == 2:
            away = means["female"] - means["male"]
            size = away.norm()
            found[lang] = Direction(
                (away / size).float(),
                (2 * away / size**2).float(),
                ((means["female"] + means["male"]) / 2).float(),
                float(size),
            )
    return found


class Meter:
    """Reads captions under their edits: ``read`` gives rows of numbers, ``moved`` the features that changed most.

    ``lexicons`` are the run's word lists by language ("" for the project's own).
    """

    def __init__(
        self,
        vlm: VLM,
        saes: Mapping[int, SAE],
        probes: Mapping[tuple[int, str], Direction],
        lexicons: Mapping[str, str] | None = None,
    ):
        self.vlm, self.saes, self.probes, self.lexicons = vlm, saes, probes, lexicons or {}
        self.codes: dict[tuple[str, str, int], Tensor] = {}

    @torch.inference_mode()
    def read(
        self, told: Sequence[Told], features: Tensor, edits: Mapping[int, EditFn] | None = None
    ) -> list[dict[str, Any]]:
        """Rows measure ("probe" or "lens"), layer, row, lang, value, one pass over all captions with their edits; and
        rows of the measure "words" at the model's end, two passes more.

        probe: +1 is the mean of images of women, -1 that of men. lens: log-odds of the first gendered word's spelling
        against its counterpart's, of the two tokens at which they part, a woman's over a man's. words: the log-odds of
        both spellings of the first gendered word of the caption as it was, whole (``word_log_odds``). A caption that
        says no gender, or whose word has no counterpart, is read by the probe alone.
        """
        rows = [[*t.prompt, *t.ids] for t in told]
        said = [first_said(t.ids, self.vlm.tokenizer, t.lang, self.lexicons.get(t.lang, "")) for t in told]
        captured = self.vlm.forward(rows, features, sorted(self.saes), edits)
        width, found, ends = captured.mask.shape[1], [], word_ends(self.vlm)
        for i, (one, word) in enumerate(zip(told, said, strict=True)):
            start = width - len(one.ids) - 1  # the last token of the prompt
            n_before = 1 + (len(one.ids) if word is None else word.contrast.slot)
            key = {"row": one.row, "lang": one.lang}
            for layer, resid in sorted(captured.resid.items()):
                h = resid[i, start : start + n_before].float()
                self.codes[one.row, one.lang, layer] = self.saes[layer].encode(h).float().mean(0)
                probe = self.probes.get((layer, one.lang))
                if probe is not None and probe.center is not None:
                    z = float(((h.mean(0) - probe.center.to(h)) * probe.reading.to(h)).sum())
                    found.append({"measure": "probe", "layer": layer, **key, "value": z})
                if word is not None and not word.contrast.why:
                    odds = float(LogOdds([word.contrast], ends)(self.vlm.logits(h[-1:]).float().cpu())[0])
                    found.append({"measure": "lens", "layer": layer, **key, "value": odds})
        return found + self._words(told, said, features, ends, edits)

    def _words(
        self,
        told: Sequence[Told],
        said: Sequence[Said | None],
        features: Tensor,
        ends: Tensor,
        edits: Mapping[int, EditFn] | None,
    ) -> list[dict[str, Any]]:
        """A forced choice: the caption as it was up to its word, and both spellings of it, under each row's edits."""
        own = {t.lang: (t, one) for t, one in zip(told, said, strict=True) if t.row == "before"}
        given = [own.get(t.lang, (t, None)) for t in told]
        known = [one if one is not None and not one.contrast.why else None for _, one in given]
        if not any(known):
            return []
        prompts, captions = [list(t.prompt) for t in told], [list(t.ids) for t, _ in given]
        odds = word_log_odds(self.vlm, prompts, captions, known, features, ends, edits)
        last = self.vlm.n_layers - 1
        return [
            {"measure": "words", "layer": last, "row": t.row, "lang": t.lang, "value": float(value)}
            for t, one, value in zip(told, known, odds, strict=True)
            if one is not None
        ]

    def moved(self, turned: Sequence[tuple[int, int]], n: int = N_MOVED) -> list[dict[str, Any]]:
        """The features whose mean activation differs most between "before" and "after", the turned ones left out.

        Ranked by |change| times the length of the feature's decoder row, summed over the languages.
        """
        found = []
        for layer, sae in self.saes.items():
            pairs = {
                lang: (self.codes["before", lang, layer], self.codes["after", lang, layer])
                for lang in LANGUAGES
                if ("after", lang, layer) in self.codes
            }
            if not pairs:
                continue
            size = sum((after - before).abs() for before, after in pairs.values()) * sae.W_dec.detach().norm(dim=1)
            size[[feature for at, feature in turned if at == layer]] = 0
            for feature in size.topk(min(n, len(size))).indices.tolist():
                if size[feature] > 0:
                    values = {
                        f"{name}_{lang}": float(codes[feature])
                        for lang, both in pairs.items()
                        for name, codes in zip(("before", "after"), both, strict=True)
                    }
                    found.append({"layer": layer, "feature": feature, "size": float(size[feature]), **values})
        return sorted(found, key=lambda row: -row["size"])[:n]

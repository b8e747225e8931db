"""What else an edit moves: gender as a probe and the lens read it layer by layer, and the features that move most.

Everything is read before the first word for a woman or a man that a caption holds, where the text says nothing yet.
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
from core.gender.positions import token_at
from core.run import Run
from core.steering.edits import Direction
from core.vlm.hooks import EditFn
from core.words import find

if TYPE_CHECKING:
    from core.gender.logit_words import WordSets
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
    """Reads captions under their edits: ``read`` gives rows of numbers, ``moved`` the features that changed most."""

    def __init__(
        self,
        vlm: VLM,
        saes: Mapping[int, SAE],
        sets: Mapping[str, WordSets],
        probes: Mapping[tuple[int, str], Direction],
    ):
        self.vlm, self.saes, self.sets, self.probes = vlm, saes, sets, probes
        self.codes: dict[tuple[str, str, int], Tensor] = {}

    @torch.inference_mode()
    def read(
        self, told: Sequence[Told], features: Tensor, edits: Mapping[int, EditFn] | None = None
    ) -> list[dict[str, Any]]:
        """Rows measure ("probe" or "lens"), layer, row, lang, value; one pass over all captions with their edits.

        probe: +1 is the mean of images of women, -1 that of men. lens: log-odds of a word for a woman against one for a
        man, where the first of them is chosen; at the last token of the prompt where the caption has none.
        """
        rows = [[*t.prompt, *t.ids] for t in told]
        captured = self.vlm.forward(rows, features, sorted(self.saes), edits)
        width, found = captured.mask.shape[1], []
        for i, one in enumerate(told):
            start = width - len(one.ids) - 1  # the last token of the prompt
            n_before, gendered = self._before(one)
            for layer, resid in sorted(captured.resid.items()):
                h = resid[i, start : start + n_before].float()
                self.codes[one.row, one.lang, layer] = self.saes[layer].encode(h).float().mean(0)
                probe = self.probes.get((layer, one.lang))
                if probe is not None and probe.center is not None:
                    z = float(((h.mean(0) - probe.center.to(h)) * probe.reading.to(h)).sum())
                    found.append({"measure": "probe", "layer": layer, "row": one.row, "lang": one.lang, "value": z})
                at = h[-1:] if gendered else h[:1]
                odds = float(self.sets[one.lang].difference(self.vlm.logits(at).float().cpu())[0])
                found.append({"measure": "lens", "layer": layer, "row": one.row, "lang": one.lang, "value": odds})
        return found

    def _before(self, one: Told) -> tuple[int, bool]:
        """How many positions come before the first word for a woman or a man, and whether there is such a word."""
        text = self.vlm.decode(list(one.ids))
        start = next((hit.start for hit in find(text, one.lang) if hit.gender in ("female", "male")), None)
        if start is None:
            return len(one.ids) + 1, False
        return 1 + token_at(one.ids, start, self.vlm.decode), True

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

"""What the mechanisms of a run are asked with: captions up to their gendered word, genders, words, dictionaries.

The model is loaded when it is first needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.config import LANGUAGES, Config
from core.gender.attribution import Target, balanced, targets_of
from core.gender.contrast import LogOdds
from core.gender.coverage import Coverage, coverage
from core.gender.word_ends import word_ends
from core.run import Run
from core.sae.files import SAEs
from core.samples.images import open_image

if TYPE_CHECKING:
    from torch import Tensor

    from core.vlm.adapter import VLM

Rows = list[dict[str, Any]]


class Inputs:
    """The tables of a run that the parts share; ``load`` gives its model.

    ``gender`` and ``is_train`` have one entry a sample.
    """

    def __init__(self, run: Run, config: Config, device: str, load: Callable[[], VLM]):
        self.run, self.config, self.device, self._load = run, config, device, load
        self.settings, self.seed, self.layers = config.mechanisms, config.seed, config.activations.layers
        images = run.images()
        self.gender, self.is_train = images["gender"].to_numpy(str), (images["split"] == "train").to_numpy()

    @functools.cached_property
    def vlm(self) -> VLM:
        """The captioner of the run."""
        return self._load()

    @functools.cached_property
    def saes(self) -> SAEs:
        """The SAE of each layer."""
        return SAEs(self.run.dir, self.layers, self.device)

    def log_odds(self, targets: list[Target]) -> LogOdds:
        """What is read off the logits behind each target: its word against the counterpart."""
        return LogOdds([target.contrast for target in targets], word_ends(self.vlm))

    def contrasts(self, lang: str) -> Rows:
        """Where the own captions say a gender."""
        return [row for row in self.run.table("contrasts").to_pylist() if row["lang"] == lang]

    def coverage(self, lang: str) -> Coverage:
        """For how many captions the contrasts speak."""
        return coverage(self.contrasts(lang), len(self.captions(lang)))

    def captions(self, lang: str) -> Rows:
        """The model's own captions: sample_id, lang, token_ids."""
        rows = self.run.table("captions", ["sample_id", "lang", "token_ids"]).to_pylist()
        return [row for row in rows if row["lang"] == lang]

    def targets(self, lang: str, n: int) -> dict[str, list[Target]]:
        """Captions up to where they say a gender by split, as many of women's images as of men's.

        None where the contrasts speak for too few captions (``Coverage.why``).
        """
        if self.coverage(lang).why:
            return {"train": [], "test": []}
        found = targets_of(self.captions(lang), self.contrasts(lang), lang)
        return balanced(found, self.gender, self.is_train, n, [self.seed, 7, LANGUAGES.index(lang)])

    def rows_of(self, lang: str, targets: list[Target]) -> tuple[list[list[int]], Tensor]:
        """Prompt and caption of each target, and its image's features, as ``VLM.forward`` takes them."""
        prompt = self.vlm.prompt_ids(getattr(self.config.caption, f"prompt_{lang}"))
        images = [open_image(self.run, target.sample_id) for target in targets]
        return [[*prompt, *target.token_ids] for target in targets], self.vlm.encode_images(images)

"""What the mechanisms of a run are asked with: captions up to their gendered word, genders, words, dictionaries.

The model is loaded when it is first needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.config import LANGUAGES, Config
from core.gender.attribution import Target, balanced, targets_of
from core.gender.logit_words import WordSets, word_sets
from core.run import Run
from core.sae.files import SAEs
from core.samples.images import open_image
from core.words.lexicon import WORD_CLASSES, lexicon

if TYPE_CHECKING:
    from torch import Tensor

    from core.vlm.adapter import VLM

Rows = list[dict[str, Any]]
GENDERED = ("female", "male")


class Inputs:
    """The tables of a run that the parts share; ``load`` gives its model.

    ``gender`` and ``is_train`` have one entry a sample.
    """

    def __init__(self, run: Run, config: Config, device: str, load: Callable[[], VLM]):
        self.run, self.config, self.device, self._load = run, config, device, load
        self.settings, self.seed, self.layers = config.mechanisms, config.seed, config.activations.layers
        images = run.images()
        self.gender, self.is_train = images["gender"].to_numpy(str), (images["split"] == "train").to_numpy()
        self._sets: dict[str, WordSets] = {}

    @functools.cached_property
    def vlm(self) -> VLM:
        """The captioner of the run."""
        return self._load()

    @functools.cached_property
    def saes(self) -> SAEs:
        """The SAE of each layer."""
        return SAEs(self.run.dir, self.layers, self.device)

    def sets(self, lang: str) -> WordSets:
        """Tokens of words for women and for men."""
        if lang not in self._sets:
            path = getattr(self.config.words, f"lexicon_{lang}")
            self._sets[lang] = word_sets(self.vlm, lang, WORD_CLASSES, lexicon(lang, path))
        return self._sets[lang]

    def captions(self, lang: str) -> Rows:
        """The model's own captions: sample_id, lang, token_ids."""
        rows = self.run.table("captions", ["sample_id", "lang", "token_ids"]).to_pylist()
        return [row for row in rows if row["lang"] == lang]

    def words(self, lang: str) -> Rows:
        """The own captions' words that name a woman or a man."""
        columns = ["sample_id", "lang", "source", "start", "end", "gender", "word"]
        rows = self.run.table("words", columns).to_pylist()
        return [row for row in rows if row["lang"] == lang and row["source"] == "own" and row["gender"] in GENDERED]

    def targets(self, lang: str, n: int) -> dict[str, list[Target]]:
        """Captions up to their gendered word by split, as many of women's images as of men's; none without words."""
        sets = self.sets(lang)
        if not len(sets.female) or not len(sets.male):
            return {"train": [], "test": []}
        found = targets_of(self.captions(lang), self.words(lang), lang, sets, self.vlm.decode)
        return balanced(found, self.gender, self.is_train, n, [self.seed, 7, LANGUAGES.index(lang)])

    def rows_of(self, lang: str, targets: list[Target]) -> tuple[list[list[int]], Tensor]:
        """Prompt and caption of each target, and its image's features, as ``VLM.forward`` takes them."""
        prompt = self.vlm.prompt_ids(getattr(self.config.caption, f"prompt_{lang}"))
        images = [open_image(self.run, target.sample_id) for target in targets]
        return [[*prompt, *target.token_ids] for target in targets], self.vlm.encode_images(images)

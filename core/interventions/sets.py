"""Target sets and their controls for every layer, language and ranking that the designs ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from core.config import LANGUAGES
from core.interventions.designs import TARGET
from core.interventions.targets import Ranked, ranked
from core.sae.files import sae_id
from core.sae.modules import SAE
from core.steering.controls import Candidates, decoder_norm, matched_sets, uniform_sets

Key = tuple[int, str, str, int, bool]  # layer, lang, ranking, draw, whether it was drawn uniformly
Sets = dict[Key, list[tuple[int, int]]]


@dataclass
class FeatureSets:
    """(layer, lang, ranking, draw, uniform) -> [(feature, lean)] of the largest k, and how near the partners are."""

    targets: dict[tuple[int, str, str], Ranked]
    sets: Sets
    distance: dict[Key, np.ndarray]  # of each partner from its target feature, in spreads

    def add_controls(
        self, layer: int, ranking: str, candidates: Candidates, n_sets: int, seed: int, uniform: bool = False
    ) -> None:
        """Draw the control sets of a layer and ranking; they avoid the target sets of all languages.

        Matched with the target, or drawn uniformly from all that live.
        """
        mine = {at: t for (n, at, by), t in self.targets.items() if (n, by) == (layer, ranking)}
        avoid = {f for target in mine.values() for f in target.features}
        for lang, target in mine.items():
            number = LANGUAGES.index(lang)
            draw_sets, start = (
                (uniform_sets, [seed, layer, number, 1]) if uniform else (matched_sets, [seed, layer, number])
            )
            drawn = draw_sets(target.features, candidates, n_sets, start, sorted(avoid))
            for draw, (features, apart) in enumerate(zip(drawn.features, drawn.distance, strict=True)):
                key = (layer, lang, ranking, draw, uniform)
                self.sets[key] = list(zip(map(int, features), target.leans, strict=True))
                self.distance[key] = apart


@dataclass(frozen=True)
class Dictionary:
    """A dictionary beside the run's SAE of a layer, and the sets of its features.

    ``features`` has a row a feature: layer, feature, density, mean, p999 and alive, as the run's table of features.
    """

    sae: SAE
    features: pd.DataFrame
    sets: FeatureSets

    @classmethod
    def of(
        cls, sae: SAE, features: pd.DataFrame, ranking: pd.DataFrame, by: str, k: int, n_controls: int, seed: int
    ) -> Dictionary:
        """With target sets of k features by ranking ``by`` (columns of gender_features), and matched controls."""
        layer, alive = sae.cfg.layer, features.sort_values("feature")["alive"].to_numpy(bool)
        languages = tuple(lang for lang in LANGUAGES if (ranking["lang"] == lang).any())
        sets = target_sets(ranking, (layer,), languages, (by,), k, {layer: alive})
        if n_controls:
            candidates = Candidates.of_layer(features, layer, decoder_norm(sae))
            sets.add_controls(layer, by, candidates, n_controls, seed)
        return cls(sae, features, sets)

    @cached_property
    def name(self) -> str:
        """Its content hash."""
        return sae_id(self.sae)

    @cached_property
    def p999(self) -> dict[tuple[int, int], float]:
        """(layer, feature) -> what strength 1 in max_act means."""
        layer = self.sae.cfg.layer
        return {(layer, feature): value for feature, value in enumerate(self.column("p999").tolist())}

    def column(self, name: str) -> np.ndarray:
        """A column of its features (d_sae,)."""
        return self.features.sort_values("feature")[name].to_numpy()


def largest_k(wanted: Iterable[int], alive: Mapping[int, np.ndarray]) -> list[int]:
    """The ks for which every layer has enough live features to match with: no more than a third of them."""
    most = min(int(of_layer.sum()) for of_layer in alive.values()) // 3
    return sorted({k for k in wanted if k <= most})


def target_sets(
    table: pd.DataFrame,
    layers: Iterable[int],
    languages: Iterable[str],
    rankings: Iterable[str],
    k: int,
    alive: Mapping[int, np.ndarray],
) -> FeatureSets:
    """The first ``k`` features of every ranking, layer and language of gender_features (training images alone)."""
    rankings, languages = tuple(rankings), tuple(languages)
    targets = {
        (layer, lang, ranking): ranked(table, layer, lang, ranking, k, alive[layer])
        for layer in layers
        for lang in languages
        for ranking in rankings
    }
    sets: Sets = {(*key, TARGET, False): chosen.head(k) for key, chosen in targets.items()}
    return FeatureSets(targets, sets, {})

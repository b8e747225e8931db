"""The images of the interventions: some to choose on, others to confirm on, none that an SAE was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from PIL import Image

from core.samples.sources import Knowledge

NO_SAMPLE = -1  # the sample_id of a fresh image


@dataclass(frozen=True)
class Subject:
    """One image: its number among those of its phase, its sample (or NO_SAMPLE), what it shows, what draws it anew."""

    image: int
    sample_id: int
    gender: str
    attributes: str
    draw: Callable[[], Image.Image] | None = field(default=None, repr=False, compare=False)


def held_out(
    samples: pd.DataFrame, gender: Mapping[int, str], n_development: int, n_images: int, seed: int, fresh: bool
) -> tuple[list[Subject], list[Subject]]:
    """Held-out images cut in two at random: those to choose on, and those to confirm on (none where those are fresh).

    Where there are fewer than are asked for, a quarter serves to choose.
    """
    test = np.sort(samples.loc[samples["split"] == "test", "sample_id"].to_numpy(int))
    order = np.random.default_rng([seed, 0]).permutation(test).tolist()
    cut = min(n_development, len(order)) if fresh else min(n_development, len(order) // 4)
    attributes = samples.set_index("sample_id")["attributes"]

    def subjects(ids: Iterable[int]) -> list[Subject]:
        return [Subject(n, i, gender[i], str(attributes[i] or "")) for n, i in enumerate(sorted(ids))]

    return subjects(order[:cut]), [] if fresh else subjects(order[cut : cut + n_images])


def fresh_images(source: Knowledge, samples: pd.DataFrame, n: int, seed: int) -> list[Subject]:
    """``n`` images that the source makes anew; none shows what a sample of the run shows."""
    made = source.fresh(samples, n, seed)
    return [Subject(i, NO_SAMPLE, image.gender, image.attributes, image.draw) for i, image in enumerate(made)]

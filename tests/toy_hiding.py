"""Pictures whose gender stands in one patch, a captioner that reads it, and tables of what hiding does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from core.interventions.areas import area_of
from core.interventions.hidden import asks, hiding_table, rows_of
from core.interventions.hiding import Hidden, hidden_captions, mean_filling, zero_filling
from core.interventions.outcomes import Reader
from core.run import Run
from core.run.schema.hiding import HIDING, HIDING_CAPTIONS
from core.run.schema.samples import AREAS
from core.samples.areas import by_kind, read_areas, shares

GRID = (6, 6)
PERSON, THING = [0, 0, 60, 60], [60, 60, 120, 120]
KINDS = by_kind(shares(read_areas(f'{{"person": [{PERSON}], "object": [{THING}]}}'), 120, 120), GRID)
WORDS = {"en": ("man", "woman"), "ar": ("رجل", "امرأة")}


class OnePatch:
    """A captioner that names the gender of the first channel, summed over patches; nobody where it is 0."""

    patch_grid, patches, first_patch, n_image_tokens, feature_shape = GRID, range(36), 0, 36, (36, 2)
    device, dtype, n_layers, d_model = torch.device("cpu"), torch.float32, 2, 2

    def generate(self, rows, features, max_new_tokens, edits=None, prefix=None):
        total = features[..., 0].sum(1)
        return [[lang[0], int(torch.sign(t))] for lang, t in zip(rows, total, strict=True)], [True] * len(rows)

    def decode(self, ids):
        lang = ("en", "ar")[ids[0]]
        what = {1: WORDS[lang][1], -1: WORDS[lang][0], 0: {"en": "picture", "ar": "صورة"}[lang]}[ids[1]]
        return {"en": f"A {what} with a cat and a red lamp.", "ar": f"{what} مع قطة ومصباح أحمر."}[lang]


Place = Callable[[np.random.Generator, int], int]


def captions(place_of: Place, n: int = 40, n_random: int = 6, examples: int = 0, seed: int = 0) -> pd.DataFrame:
    """Rows of hiding_captions of ``n`` images whose gender stands at ``place_of(rng, image)`` alone."""
    rng, vlm, rows = np.random.default_rng(seed), OnePatch(), []
    features = torch.zeros(n, 36, 2)
    features[..., 1] = 1.0
    for image in range(n):
        features[image, place_of(rng, image), 0] = (1.0, -1.0)[image % 2]
    means, prompts = mean_filling(vlm, features), {"en": [0], "ar": [1]}
    means.states[:, 0] = 0.0  # as many women as men at every place
    readers = {lang: Reader(lang, frozenset()) for lang in prompts}
    for image in range(n):
        mine = asks(KINDS, GRID, 25 if image < examples else n_random, image < examples, [seed, image])
        mine = [one for one in mine if one.filling != "pixels"]
        for lang in prompts:
            texts = {}
            for filling in (means, zero_filling(vlm)):
                name = "mean" if filling is means else "zero"
                own = [one for one in mine if one.filling == name]
                asked = [Hidden(image, lang, one.patches) for one in own]
                found = hidden_captions(vlm, prompts, features, asked, filling, 2, 16)
                texts |= {one: (vlm.decode(ids), end) for one, (ids, end) in zip(own, found, strict=True)}
            rows += rows_of(image, lang, mine, [texts[one] for one in mine], readers[lang])
    return pd.DataFrame(rows)


def add_toy_hiding(run: Run, n: int = 24, examples: int = 4) -> None:
    """The tables areas, hiding_captions and hiding of a run, its first images standing for ours."""
    boxes = shares(read_areas(f'{{"person": [{PERSON}], "object": [{THING}]}}'), 120, 120)
    ids = run.table("samples", ["sample_id"])["sample_id"].to_pylist()
    AREAS.write(run, AREAS.of_rows([{"sample_id": i, **row} for i in ids for row in boxes]))
    found = captions(lambda rng, image: int(rng.choice(area_of(KINDS, "person"))), min(n, len(ids)), 3, examples)
    HIDING_CAPTIONS.write(run, HIDING_CAPTIONS.of_frame(found))
    HIDING.write(run, HIDING.of_frame(hiding_table(found)))

"""Stage hiding: captions of held-out images with the person, the object or the background hidden, beside random areas.

Parts are the captions of a few images each; what stands in the place of what is hidden is a part of its own.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from core.errors import TooLittleData, UserError
from core.interventions.hidden import Ask, asks, hiding_table, rows_of
from core.interventions.hiding import (
    INPUT,
    MEAN,
    PIXELS,
    ZERO,
    Filling,
    Hidden,
    check_hiding,
    hidden_captions,
    mean_picture,
    painted,
    picture_side,
    zero_filling,
)
from core.interventions.outcomes import readers
from core.run import atomic_path, write_table
from core.run.schema.hiding import HIDING, HIDING_CAPTIONS
from core.samples.areas import by_kind
from core.samples.images import open_image
from core.samples.sources import ranked
from core.vlm import load_captioner
from precompute.context import Part, StageContext

BLOCK = 4  # images of one part
ROWS = 4  # batches of captions that go through the model together


def run(ctx: StageContext) -> dict:
    """Write hiding_captions.parquet and hiding.parquet; both are empty, and the notes say why, where nothing can be
    hidden or nobody knows where person and object are."""
    try:
        work = _Work(ctx)
    except TooLittleData as lack:
        if ctx.helper:
            return {}
        ctx.log.warning("%s", lack)
        HIDING_CAPTIONS.write(ctx.run, HIDING_CAPTIONS.arrow.empty_table())
        HIDING.write(ctx.run, HIDING.arrow.empty_table())
        return {"rows": 0, "notes": {"why": [lack.what, lack.why, lack.do]}}
    means = ctx.work_dir / "means.safetensors"
    ctx.make([Part(means, partial(work.means, means))])
    ids = list(work.asked)
    blocks = [ids[start : start + BLOCK] for start in range(0, len(ids), BLOCK)]
    paths = [ctx.work_dir / f"captions_{number:05d}.parquet" for number in range(len(blocks))]
    parts = [Part(path, partial(work.write, path, block, means)) for path, block in zip(paths, blocks, strict=True)]
    ctx.make(parts, lambda n: ctx.progress(min(n * BLOCK, len(ids)), len(ids), "images", "areas hidden"))
    if ctx.helper:
        return {}
    n = HIDING_CAPTIONS.write_parts(ctx.run, (pq.read_table(path, schema=HIDING_CAPTIONS.arrow) for path in paths))
    HIDING.write(ctx.run, HIDING.of_frame(hiding_table(ctx.run.table("hiding_captions").to_pandas())))
    return {"rows": n, "notes": {"images": len(ids), "examples": work.n_examples, "grid": list(work.grid)}}


class _Work:
    """What the stage holds; raises TooLittleData where there is nothing to hide."""

    def __init__(self, ctx: StageContext):
        self.ctx, self.config = ctx, ctx.config.hiding
        areas = ctx.run.table("areas").to_pylist()
        if not self.config.n_images:
            raise TooLittleData("No parts of images were hidden.", "The setting hiding.n_images is 0.")
        if not areas:
            raise TooLittleData(
                "No parts of images were hidden.",
                "Nobody has said where on them the person and the object are.",
                "Name a column of boxes: --set samples.areas_column=... (docs/data.md)",
            )
        self.vlm = load_captioner(ctx.run, ctx.config.model, ctx.device)
        try:
            check_hiding(self.vlm)
        except UserError as error:
            raise TooLittleData(error.what, error.why, error.do) from error
        self.grid: tuple[int, int] = self.vlm.patch_grid or (0, 0)
        self.asked = self._asked(areas)
        self.prompts = {lang: self.vlm.prompt_ids(text) for lang, text in ctx.config.prompts.items()}
        self.readers = cache(lambda: readers(ctx.run, ctx.config))

    def _asked(self, areas: list[dict[str, Any]]) -> dict[int, list[Ask]]:
        """What is hidden of each image, images in the order of their numbers; those to be shown have more of it."""
        samples = self.ctx.run.images()
        test = samples.loc[samples["split"] == "test"].set_index("sample_id")["gender"]
        boxes: dict[int, list[dict[str, Any]]] = {}
        for row in areas:
            boxes.setdefault(row["sample_id"], []).append(row)
        seed, c = self.ctx.config.seed, self.config
        order = [int(name) for name in ranked((str(i) for i in test.index if i in boxes), seed, "hiding")]
        found: dict[int, list[Ask]] = {}
        left = {"female": -(-c.n_examples // 2), "male": c.n_examples // 2}
        self.n_examples = 0
        for sample_id in order:
            gender = str(test[sample_id])
            shown = left.get(gender, 0) > 0
            n_random = c.n_example_random if shown else c.n_random
            kinds = by_kind(boxes[sample_id], self.grid)
            if mine := asks(kinds, self.grid, n_random, shown, [seed, sample_id]):
                found[sample_id] = mine
                if shown:
                    left[gender] -= 1
                    self.n_examples += 1
            if len(found) == c.n_images:
                break
        if not found:
            raise TooLittleData(
                "No parts of images were hidden.",
                f"Of {len(order)} held-out images with boxes none has a person, an object and bare background that "
                f"fill a patch of the map of {self.grid[0]} x {self.grid[1]} each.",
                "Give boxes of both (samples.areas_column), or a larger model.image_side where the family takes it.",
            )
        return dict(sorted(found.items()))

    def means(self, path: Path) -> None:
        """Leave the mean of each place over training images."""
        samples = self.ctx.run.images()
        train = samples.loc[samples["split"] == "train", "sample_id"].astype(str)
        ids = sorted(int(i) for i in ranked(train, self.ctx.config.seed, "means")[: self.config.n_means])
        total = torch.zeros(self.vlm.feature_shape, dtype=torch.float64)
        pixels = torch.zeros(picture_side(self.vlm), picture_side(self.vlm), 3, dtype=torch.float64)
        for start in range(0, len(ids), 32):
            images = [open_image(self.ctx.run, i) for i in ids[start : start + 32]]
            total += self.vlm.encode_images(images).double().sum(0).cpu()
            pixels += mean_picture(self.vlm, images).double() * len(images)
        with atomic_path(path) as temporary:
            save_file({MEAN: (total / len(ids)).float(), PIXELS: (pixels / len(ids)).float()}, temporary)

    def write(self, path: Path, block: list[int], means: Path) -> None:
        """Leave the captions of some images."""
        vlm, config, mean = self.vlm, self.ctx.config.caption, load_file(means)
        images = [open_image(self.ctx.run, i) for i in block]
        features, nothing = vlm.encode_images(images), zero_filling(vlm)
        fillings = {MEAN: Filling(INPUT, mean[MEAN].to(vlm.device, vlm.dtype)), ZERO: nothing, PIXELS: nothing}
        batch = ROWS * config.batch_size
        texts: dict[tuple[int, str, Ask], tuple[str, bool]] = {}
        for name, filling in fillings.items():
            asked = [
                (number, lang, ask)
                for number, sample_id in enumerate(block)
                for lang in self.prompts
                for ask in self.asked[sample_id]
                if ask.filling == name
            ]
            rows, seen = [Hidden(number, lang, ask.patches) for number, lang, ask in asked], features
            if name == PIXELS:
                pictures = list(dict.fromkeys((number, ask.patches) for number, _, ask in asked))
                seen = vlm.encode_images([painted(vlm, images[i], area, mean[PIXELS]) for i, area in pictures])
                rows = [Hidden(pictures.index((number, ask.patches)), lang) for number, lang, ask in asked]
            written = hidden_captions(vlm, self.prompts, seen, rows, filling, config.max_new_tokens, batch)
            texts |= {key: (vlm.decode(ids), end) for key, (ids, end) in zip(asked, written, strict=True)}
        found = []
        for number, sample_id in enumerate(block):
            mine = self.asked[sample_id]
            for lang in self.prompts:
                own = [texts[number, lang, ask] for ask in mine]
                found += rows_of(sample_id, lang, mine, own, self.readers()[lang])
        write_table(path, HIDING_CAPTIONS.of_frame(pd.DataFrame(found)))

"""Stage gender: what each feature has to do with the gender of the image, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from core.features.labels import attributes_of, candidates
from core.features.pooled import Pooled
from core.gender.findings import World, describe_layer, finish
from core.run import atomic_path, write_table
from core.run.schema.features import LABELS
from core.run.schema.gender import GENDER_FEATURES, GENDER_PAIRS, GENDER_RANKINGS
from precompute.context import Part, StageContext

TABLES = (GENDER_FEATURES, GENDER_RANKINGS, GENDER_PAIRS, LABELS)
Effects = dict[int, dict[str, dict[str, np.ndarray]]]


def run(ctx: StageContext) -> dict:
    """Write gender_features, gender_rankings, gender_pairs and labels; layers that are there after a kill are kept."""
    layers = ctx.config.activations.layers
    world = read_world(ctx)
    effects = attributed(ctx, world)

    def make(number: int, layer: int, folder: Path) -> None:
        def tick(done: int, total: int) -> None:
            ctx.progress(number * total + done, len(layers) * total, "features", f"layer {layer}")

        found = describe_layer(Pooled(ctx.run.dir, layer), world, effects.get(layer, {}), tick)
        for of, table in zip(TABLES, found, strict=True):  # labels last: then the layer is done
            write_table(folder / of.file, table)

    folders = [ctx.work_dir / f"layer_{layer:02d}" for layer in layers]
    asked = enumerate(zip(layers, folders, strict=True))
    ctx.make([Part(folder / LABELS.file, partial(make, n, layer, folder)) for n, (layer, folder) in asked])
    if ctx.helper:
        return {}
    parts = {t.name: [pq.read_table(ctx.work_dir / f"layer_{n:02d}" / t.file) for n in layers] for t in TABLES}
    parts["gender_features"] = finish(parts["gender_features"], ctx.config.gender.fdr)
    for of in TABLES:
        of.write_parts(ctx.run, parts[of.name])
    return {"rows": sum(map(len, parts["gender_features"])), "notes": notes(world, parts)}


def read_world(ctx: StageContext) -> World:
    """Gender and split of the images, and what features may be called."""
    images = ctx.run.images()
    gender, is_train = images["gender"].to_numpy(str), (images["split"] == "train").to_numpy()
    told = zip(images["sample_id"], images["attributes"], gender, strict=True)
    attributes = {i: attributes_of(text, str(shown)) for i, text, shown in told}
    texts: dict[str, dict[int, str]] = {}
    for row in ctx.run.table("captions", ["sample_id", "lang", "text"]).to_pylist():
        texts.setdefault(row["lang"], {})[row["sample_id"]] = row["text"]
    named = [candidates(lang, texts[lang], attributes, is_train) for lang in sorted(texts)]
    return World(gender, is_train, named, ctx.config.gender, ctx.config.seed)


def attributed(ctx: StageContext, world: World) -> Effects:
    """Effects on the next gendered word by layer and language; read back where they were taken before a kill."""
    path = ctx.work_dir / "effects.safetensors"

    def make() -> None:
        with atomic_path(path) as temporary:
            save_file(_attribute(ctx, world) if world.config.n_attributed else {}, temporary)

    ctx.make([Part(path, make)])
    effects: Effects = {}
    for name, values in load_file(path).items():
        layer, lang, column = name.split("/")
        effects.setdefault(int(layer), {}).setdefault(lang, {})[column] = values
    return effects


def _attribute(ctx: StageContext, world: World) -> dict[str, np.ndarray]:
    from core.gender.attribution import balanced, effect_columns, targets_of
    from core.gender.coverage import coverage
    from core.sae.files import SAEs
    from core.vlm import load_captioner

    config, vlm = world.config, load_captioner(ctx.run, ctx.config.model, ctx.device)
    saes = SAEs(ctx.run.dir, ctx.config.activations.layers, ctx.device)
    captions = ctx.run.table("captions", ["sample_id", "lang", "token_ids"]).to_pylist()
    contrasts = ctx.run.table("contrasts").to_pylist()
    found: dict[str, np.ndarray] = {}
    for number, there in enumerate(world.candidates):
        own = [row for row in contrasts if row["lang"] == there.lang]
        if why := coverage(own, sum(c["lang"] == there.lang for c in captions)).why:
            ctx.log.warning("%s: no effects on the next gendered word, for %s", there.lang, why)
            continue
        targets = targets_of(captions, own, there.lang)
        chosen = balanced(targets, world.gender, world.is_train, config.n_attributed, [ctx.config.seed, number])
        by_split = {split: _effects(ctx, vlm, saes, there.lang, of_split) for split, of_split in chosen.items()}
        for layer in saes:
            effects = {split: by_layer[layer] for split, by_layer in by_split.items()}
            for name, values in effect_columns(effects, config.min_images).items():
                found[f"{layer}/{there.lang}/{name}"] = np.ascontiguousarray(values)
    return found


def _effects(ctx: StageContext, vlm: Any, saes: Mapping[int, Any], lang: str, targets: list) -> dict:
    """(n_targets, d_sae) sparse by layer."""
    from core.gender.attribution import attributed as effects_of
    from core.samples.images import open_image

    def tick(done: int, total: int) -> None:
        ctx.progress(done, total, "captions", f"what features do to the next word, {lang}")

    prompt = vlm.prompt_ids(getattr(ctx.config.caption, f"prompt_{lang}"))
    encode = lambda samples: vlm.encode_images([open_image(ctx.run, n) for n in samples])  # noqa: E731
    return effects_of(vlm, saes, prompt, targets, encode, tick)


def notes(world: World, parts: Mapping[str, list[pa.Table]]) -> dict[str, Any]:
    """What the record says: images of each gender and split, and findings by view."""
    kinds = ("female", "male", "neutral", "unknown")
    split = {"train": world.is_train, "test": ~world.is_train}
    images = {f"{g}_{s}": int(((world.gender == g) & inside).sum()) for g in kinds for s, inside in split.items()}
    findings: dict[str, int] = {}
    for table in parts["gender_features"]:
        for view, finding in zip(table["view"].to_pylist(), table["finding"].to_pylist(), strict=True):
            findings[view] = findings.get(view, 0) + bool(finding)
    named = sum(1 for table in parts["labels"] for label in table["label"].to_pylist() if label)
    return {"images": images, "findings": findings, "labels": named}

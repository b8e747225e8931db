"""The stages of the pipeline in their order: what each one needs, makes, depends on and runs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.run.tables import TABLES


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    ``needs`` are stages; ``makes`` files and folders (ending in /) in the run; ``sections`` settings that count, such
    as "train" or "model.dtype"; ``fn`` and ``digest`` are "module:function". The code that counts is what ``fn``
    imports (``precompute.engine.fingerprint``). ``digest`` (one or several) is called with the whole Config and answers
    for what lies outside the run. ``check`` is called with the Config before anything runs, and whether it may
    download; it raises UserError, and returns what should be said.
    """

    name: str
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    sections: tuple[str, ...]
    fn: str
    digest: str | tuple[str, ...] = ""
    says: str = ""  # what it does, in a few words
    check: str = ""
    shared: bool = False  # whether processes may share its parts (StageContext.make)
    by_layer: bool = False  # whether processes may compute single layers of it side by side (StageContext.layers)


def _tables(stage: str) -> tuple[str, ...]:
    """The files of a stage's tables."""
    return tuple(table.file for table in TABLES.values() if table.stage == stage)


def stages() -> tuple[Stage, ...]:
    """The pipeline, in the order in which it runs."""
    return (
        Stage(
            name="prepare",
            says="read, pair, check and split images and captions",
            needs=(),
            makes=(*_tables("prepare"), "images/", "thumbs/", "prepare_report.json"),
            sections=("seed", "samples"),
            fn="precompute.stages.prepare:run",
            digest="core.samples.sources:digest",
        ),
        Stage(
            name="caption",
            says="let the model write its own captions",
            needs=("prepare",),
            makes=_tables("caption"),
            sections=("model", "caption"),
            fn="precompute.stages.caption:run",
            shared=True,
            digest="core.vlm.identity:digest",
            check="core.vlm.families:check",
        ),
        Stage(
            name="words",
            says="find gendered words; what gender captions and images have",
            needs=("prepare", "caption"),
            makes=_tables("words"),
            sections=("words", "caption.source"),
            fn="precompute.stages.words:run",
            digest="core.words.lexicon:digest",
        ),
        Stage(
            name="activations",
            says="record what the model computes while it writes",
            needs=("prepare", "caption"),
            makes=("activations/",),
            sections=("seed", "model", "caption.prompt_en", "caption.prompt_ar", "activations"),
            fn="precompute.stages.activations:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="train",
            says="train one sparse autoencoder per layer, or take those that others trained; measure how well they fit",
            needs=("prepare", "caption", "activations"),
            makes=(*_tables("train"), "saes/"),
            sections=("seed", "model.dtype", "train"),
            fn="precompute.stages.train:run",
            shared=True,
            digest=("core.vlm.identity:digest", "core.sae.sources:digest"),
            check="precompute.forecast.shape:check_saes",
            by_layer=True,
        ),
        Stage(
            name="codes",
            says="encode every token of every layer once, for pages and later stages",
            needs=("prepare", "caption", "activations", "train"),
            makes=("codes/",),
            sections=("model.dtype", "activations.layers", "codes"),
            fn="precompute.stages.codes:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="features",
            says="describe every feature: statistics, examples, words, neighbours",
            needs=("prepare", "caption", "activations", "train", "codes"),
            makes=_tables("features"),
            sections=("seed", "features"),
            fn="precompute.stages.features:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="pool",
            says="average residuals and features over the parts of each caption",
            needs=("prepare", "caption", "words", "activations", "train", "codes"),
            makes=("pooled/",),
            sections=("model.dtype",),
            fn="precompute.stages.pool:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="gender",
            says="ask what each feature has to do with gender; give features labels",
            needs=("prepare", "caption", "words", "train", "pool"),
            makes=_tables("gender"),
            sections=("seed", "gender", "model.dtype", "caption.prompt_en", "caption.prompt_ar"),
            fn="precompute.stages.gender:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="nulls",
            says="put the same questions where there is nothing: random dictionaries, another seed, a random model",
            needs=("prepare", "caption", "words", "activations", "train", "pool"),
            makes=_tables("nulls"),
            sections=(
                "seed",
                "model.dtype",
                "caption.prompt_en",
                "caption.prompt_ar",
                "activations.layers",
                "train",
                "gender.fdr",
                "gender.min_images",
                "gender.label_auc",
                "nulls",
            ),
            fn="precompute.stages.nulls:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="crosslingual",
            says="compare English and Arabic: features, directions, gender effects",
            needs=("prepare", "caption", "words", "activations", "train", "pool"),
            makes=(*_tables("crosslingual"), "language_saes/"),
            sections=("seed", "train", "crosslingual"),
            fn="precompute.stages.crosslingual:run",
            shared=True,
            digest="core.words.lexicon:digest",
        ),
        Stage(
            name="layers",
            says="probe each layer for the image's gender; read its next word off early",
            needs=("prepare", "caption", "words", "activations", "pool"),
            makes=_tables("layers"),
            sections=("seed", "model.dtype", "activations.layers", "layers"),
            fn="precompute.stages.layers:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="bias",
            says="compare captions with images; sample captions of neutral images",
            needs=("prepare", "caption", "words"),
            makes=_tables("bias"),
            sections=("seed", "model", "caption", "words", "bias", "gender.min_images"),
            fn="precompute.stages.bias:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="explain",
            says="ask the model what its features are; a grid of steered captions",
            needs=("prepare", "caption", "words", "train", "features", "pool", "gender"),
            makes=_tables("explain"),
            sections=("model", "caption", "words", "activations.layers", "explain"),
            fn="precompute.stages.explain:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="interventions",
            says="change features, directions and prompts; compare captions with controls",
            needs=("prepare", "caption", "words", "activations", "train", "features", "pool", "gender"),
            makes=(*_tables("interventions"), "intervention_images/"),
            sections=(
                "seed",
                "samples.source",
                "samples.planted",
                "model",
                "caption",
                "words",
                "activations.layers",
                "gender.min_images",
                "gender.n_attributed",
                "interventions",
            ),
            fn="precompute.stages.interventions:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="hiding",
            says="hide the person, the object or the background; compare captions with random areas",
            needs=("prepare", "caption", "words"),
            makes=_tables("hiding"),
            sections=("seed", "samples.source", "model", "caption", "words", "hiding"),
            fn="precompute.stages.hiding:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="mechanisms",
            says="ask which heads, MLPs and features carry gender into the words",
            needs=("prepare", "caption", "words", "train", "pool"),
            makes=_tables("mechanisms"),
            sections=(
                "seed",
                "model.dtype",
                "caption.prompt_en",
                "caption.prompt_ar",
                "activations.layers",
                "mechanisms",
            ),
            fn="precompute.stages.mechanisms:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
        Stage(
            name="graph",
            says="follow single gendered words back over features to patches, and check it by running the model",
            needs=("prepare", "caption", "words", "train"),
            makes=_tables("graph"),
            sections=(
                "seed",
                "model.dtype",
                "caption.prompt_en",
                "caption.prompt_ar",
                "activations.layers",
                "graph",
            ),
            fn="precompute.stages.graph:run",
            shared=True,
            digest="core.vlm.identity:digest",
        ),
    )


def check_stages(pipeline: Sequence[Stage]) -> None:
    """Refuse a pipeline whose stages need what comes later, share names, or make the same file."""
    seen: set[str] = set()
    made: dict[str, str] = {}
    for stage in pipeline:
        if stage.name in seen:
            raise ValueError(f"two stages are called {stage.name}")
        for need in stage.needs:
            if need not in seen:
                raise ValueError(f"stage {stage.name} needs {need}, which does not come before it")
        for path in stage.makes:
            if path in made:
                raise ValueError(f"stages {made[path]} and {stage.name} both make {path}")
            made[path] = stage.name
        seen.add(stage.name)


def load_function(spec: str) -> Any:
    """The function named "module:function"."""
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)


def owns(stage: Stage, path: str) -> bool:
    """Whether ``path`` (in the run, with /) is among what the stage makes."""
    return any(path.startswith(made) if made.endswith("/") else path == made for made in stage.makes)

"""The stages of the pipeline in their order: what each one needs, makes, depends on and runs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    ``needs`` are stages; ``makes`` files and folders (ending in /) in the run; ``sections`` settings that count, such
    as "train" or "model.dtype"; ``fn`` and ``digest`` are "module:function"; ``code`` are source files or patterns from
    the project root. ``digest`` (one or several) is called with the whole Config and answers for what lies outside the
    run. ``check`` is called with the Config before anything runs, and whether it may download; it raises UserError, and
    returns what should be said.
    """

    name: str
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    sections: tuple[str, ...]
    fn: str
    code: tuple[str, ...]
    digest: str | tuple[str, ...] = ""
    says: str = ""  # what it does, in a few words
    check: str = ""
    by_layer: bool = False  # whether processes may compute single layers of it side by side (StageContext.layers)


SAMPLES_CODE = ("core/samples/*.py", "core/demo/source.py", "core/demo/world.py")
VLM_CODE = ("core/vlm/*.py", "core/first_calls.py")
ACTIVATIONS_CODE = ("core/activations/*.py", "core/samples/images.py")
SAE_CODE = ("core/sae/*.py", "core/first_calls.py")
FEATURES_CODE = tuple(f"core/features/{n}.py" for n in ("codes", "examples", "statistics", "tables", "tokens"))
WORDS_CODE = tuple(f"core/words/{n}.py" for n in ("lexicon", "arabic", "captions", "morphology", "semantics"))
STEERING_CODE = tuple(f"core/steering/{n}.py" for n in ("apply", "edits", "record", "table"))
EFFECTS_CODE = (
    *(
        f"core/gender/{n}.py"
        for n in ("effects", "findings", "tables", "rankings", "pairs", "attribution", "positions", "logit_words")
    ),
    "core/words/lexicon.py",
    "core/words/arabic.py",
)


def stages() -> tuple[Stage, ...]:
    """The pipeline, in the order in which it runs."""
    return (
        Stage(
            "prepare",
            (),
            ("samples.parquet", "references.parquet", "images/", "thumbs/", "prepare_report.json"),
            ("seed", "samples"),
            "precompute.stages.prepare:run",
            ("precompute/stages/prepare.py", *SAMPLES_CODE),
            "core.samples.sources:digest",
            "read, pair, check and split images and captions",
        ),
        Stage(
            "caption",
            ("prepare",),
            ("captions.parquet",),
            ("model", "caption"),
            "precompute.stages.caption:run",
            ("precompute/stages/caption.py", "core/samples/images.py", *VLM_CODE),
            "core.vlm.identity:digest",
            "let the model write its own captions",
        ),
        Stage(
            "words",
            ("prepare", "caption"),
            ("words.parquet", "genders.parquet"),
            ("words",),
            "precompute.stages.words:run",
            ("precompute/stages/words.py", *WORDS_CODE),
            "core.words.lexicon:digest",
            "find gendered words; what gender captions and images have",
        ),
        Stage(
            "activations",
            ("prepare", "caption"),
            ("activations/",),
            ("seed", "model", "caption.prompt_en", "caption.prompt_ar", "activations"),
            "precompute.stages.activations:run",
            ("precompute/stages/activations.py", *VLM_CODE, *ACTIVATIONS_CODE),
            "core.vlm.identity:digest",
            "record what the model computes while it writes",
        ),
        Stage(
            "train",
            ("prepare", "caption", "activations"),
            ("saes/", "saes.parquet", "sae_fit.parquet"),
            ("seed", "model.dtype", "train"),
            "precompute.stages.train:run",
            ("precompute/stages/train.py", "core/intervals.py", *VLM_CODE, *ACTIVATIONS_CODE, *SAE_CODE),
            ("core.vlm.identity:digest", "core.sae.sources:digest"),
            "train one sparse autoencoder per layer, or take those that others trained; measure how well they fit",
            "precompute.sae_check:check",
            by_layer=True,
        ),
        Stage(
            "features",
            ("prepare", "caption", "activations", "train"),
            ("features.parquet", "examples.parquet"),
            ("seed", "features"),
            "precompute.stages.features:run",
            ("precompute/stages/features.py", *VLM_CODE, *ACTIVATIONS_CODE, *SAE_CODE, *FEATURES_CODE),
            "core.vlm.identity:digest",
            "describe every feature: statistics, examples, words, neighbours",
        ),
        Stage(
            "pool",
            ("prepare", "caption", "words", "activations", "train"),
            ("pooled/",),
            ("model.dtype",),
            "precompute.stages.pool:run",
            (
                "precompute/stages/pool.py",
                "core/features/pooled.py",
                "core/features/tokens.py",
                "core/gender/positions.py",
                *VLM_CODE,
                *ACTIVATIONS_CODE,
                *SAE_CODE,
            ),
            "core.vlm.identity:digest",
            "average residuals and features over the parts of each caption",
        ),
        Stage(
            "gender",
            ("prepare", "caption", "words", "train", "pool"),
            ("gender_features.parquet", "gender_rankings.parquet", "gender_pairs.parquet", "labels.parquet"),
            ("seed", "gender", "model.dtype", "caption.prompt_en", "caption.prompt_ar"),
            "precompute.stages.gender:run",
            (
                "precompute/stages/gender.py",
                "core/features/labels.py",
                "core/features/pooled.py",
                "core/intervals.py",
                "core/samples/images.py",
                *EFFECTS_CODE,
                *FEATURES_CODE,
                *VLM_CODE,
                *SAE_CODE,
            ),
            "core.vlm.identity:digest",
            "ask what each feature has to do with gender; give features labels",
        ),
        Stage(
            "crosslingual",
            ("prepare", "caption", "words", "activations", "train", "pool"),
            (
                "language_features.parquet",
                "language_classes.parquet",
                "alignment.parquet",
                "language_saes/",
                "language_saes.parquet",
                "language_matches.parquet",
                "gender_directions.parquet",
                "clbas.parquet",
                "shared_gender.parquet",
                "grammatical_gender.parquet",
            ),
            ("seed", "train", "crosslingual"),
            "precompute.stages.crosslingual:run",
            (
                "precompute/stages/crosslingual.py",
                "core/crosslingual/*.py",
                "core/features/pooled.py",
                "core/features/tokens.py",
                "core/intervals.py",
                *SAMPLES_CODE,
                *WORDS_CODE,
                *VLM_CODE,
                *ACTIVATIONS_CODE,
                *SAE_CODE,
            ),
            "core.words.lexicon:digest",
            "compare English and Arabic: features, directions, gender effects",
        ),
        Stage(
            "layers",
            ("prepare", "caption", "words", "activations", "pool"),
            ("probes.parquet", "lens.parquet", "emergence.parquet"),
            ("seed", "model.dtype", "activations.layers", "layers"),
            "precompute.stages.layers:run",
            (
                "precompute/stages/layers.py",
                "core/layers/*.py",
                "core/gender/logit_words.py",
                "core/words/lexicon.py",
                "core/intervals.py",
                "core/gender/positions.py",
                "core/features/pooled.py",
                "core/features/tokens.py",
                "core/samples/images.py",
                *VLM_CODE,
                *ACTIVATIONS_CODE,
            ),
            "core.vlm.identity:digest",
            "probe each layer for the image's gender; read its next word off early",
        ),
        Stage(
            "bias",
            ("prepare", "caption", "words"),
            ("bias_roles.parquet", "bias_metrics.parquet", "sampled_captions.parquet"),
            ("seed", "model", "caption", "words", "bias", "gender.min_images"),
            "precompute.stages.bias:run",
            (
                "precompute/stages/bias.py",
                "core/bias/*.py",
                "core/intervals.py",
                "core/samples/images.py",
                *WORDS_CODE,
                *VLM_CODE,
            ),
            "core.vlm.identity:digest",
            "compare captions with images; sample captions of neutral images",
        ),
        Stage(
            "explain",
            ("prepare", "caption", "words", "train", "features", "pool", "gender"),
            ("explanations.parquet", "doses.parquet"),
            ("model", "caption", "words", "activations.layers", "explain"),
            "precompute.stages.explain:run",
            (
                "precompute/stages/explain.py",
                *STEERING_CODE,
                "core/steering/explain.py",
                "core/steering/jobs.py",
                "core/steering/job_writing.py",
                "core/steering/writing.py",
                "core/features/labels.py",
                "core/features/pooled.py",
                "core/features/tokens.py",
                "core/gender/sets.py",
                "core/gender/effects.py",
                "core/gender/tables.py",
                "core/gender/logit_words.py",
                "core/intervals.py",
                "core/samples/images.py",
                *WORDS_CODE,
                *VLM_CODE,
                *SAE_CODE,
            ),
            "core.vlm.identity:digest",
            "ask the model what its features are; a grid of steered captions",
        ),
        Stage(
            "interventions",
            ("prepare", "caption", "words", "train", "features", "pool", "gender"),
            (
                *(
                    f"intervention_{name}.parquet"
                    for name in ("arms", "images", "captions", "effects", "verdicts", "terms")
                ),
                "intervention_images/",
            ),
            (
                "seed",
                "samples.source",
                "samples.planted",
                "model",
                "caption",
                "words",
                "activations.layers",
                "interventions",
            ),
            "precompute.stages.interventions:run",
            (
                "precompute/stages/interventions.py",
                "core/interventions/*.py",
                "core/features/pooled.py",
                "core/features/tokens.py",
                "core/intervals.py",
                *STEERING_CODE,
                *SAMPLES_CODE,
                *WORDS_CODE,
                *VLM_CODE,
                *SAE_CODE,
            ),
            "core.vlm.identity:digest",
            "change features, directions and prompts; compare captions with controls",
        ),
        Stage(
            "mechanisms",
            ("prepare", "caption", "words", "train", "pool"),
            (
                "head_effects.parquet",
                "head_attention.parquet",
                "weight_spectra.parquet",
                "head_readings.parquet",
                "feature_pairs.parquet",
                "patching.parquet",
                "patching_checks.parquet",
            ),
            ("seed", "model.dtype", "caption.prompt_en", "caption.prompt_ar", "activations.layers", "mechanisms"),
            "precompute.stages.mechanisms:run",
            (
                "precompute/stages/mechanisms.py",
                "core/mech/*.py",
                *STEERING_CODE,
                "core/gender/attribution.py",
                "core/gender/positions.py",
                "core/gender/logit_words.py",
                "core/words/lexicon.py",
                "core/words/arabic.py",
                "core/features/pooled.py",
                "core/features/tokens.py",
                "core/intervals.py",
                "core/samples/images.py",
                *VLM_CODE,
                *SAE_CODE,
                *ACTIVATIONS_CODE,
            ),
            "core.vlm.identity:digest",
            "ask which heads, MLPs and features carry gender into the words",
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

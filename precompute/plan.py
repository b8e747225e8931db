"""The stages, what each one reads and makes, and which of a run's records still hold.

A fingerprint covers a stage's settings, its inputs' fingerprints, the code it declares and the content of what lies
outside the run (images, weights); never paths, host or time.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.config import Config, fingerprint_part
from core.errors import UserError
from core.runs import Manifest, Run, StageRecord
from precompute.fingerprint import code_hash, hash_json


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    ``needs`` are stages; ``makes`` files and folders (ending in /) in the run; ``sections`` settings that count, such
    as "train" or "model.dtype"; ``fn`` and ``digest`` are "module:function"; ``code`` are source files or patterns from
    the project root. ``digest`` is called with the whole Config and answers for what lies outside the run.
    """

    name: str
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    sections: tuple[str, ...]
    fn: str
    code: tuple[str, ...]
    digest: str = ""
    says: str = ""  # what it does, in a few words


SAMPLES_CODE = ("core/samples/*.py",)
VLM_CODE = ("core/vlm/*.py", "core/first_calls.py")
ACTIVATIONS_CODE = ("core/activations/*.py",)
SAE_CODE = ("core/sae/*.py", "core/first_calls.py")
FEATURES_CODE = tuple(
    f"core/features/{n}.py" for n in ("codes", "examples", "geometry", "logits", "statistics", "tables", "tokens")
)
WORDS_CODE = tuple(f"core/gender/{n}.py" for n in (
    "tokens", "lexicon", "english", "arabic", "words", "captions", "morphology", "semantics", "farahidi_reader"
))  # fmt: skip
STEERING_CODE = tuple(f"core/steering/{n}.py" for n in ("apply", "edits", "record", "table"))
EFFECTS_CODE = ("core/gender/effects*.py", *(f"core/gender/{n}.py" for n in (
    "rankings", "pairs", "attribution", "positions", "logit_words", "lexicon", "arabic")))  # fmt: skip


def stages() -> tuple[Stage, ...]:
    """The pipeline, in the order in which it runs."""
    return (
        Stage(
            "prepare", (), ("samples.parquet", "references.parquet", "images/", "thumbs/", "prepare_report.json"),
            ("seed", "samples"), "precompute.stages.prepare:run",
            ("precompute/stages/prepare.py", *SAMPLES_CODE), "core.samples.sources:digest",
            "read, pair, check and split images and captions",
        ),
        Stage(
            "caption", ("prepare",), ("captions.parquet",),
            ("model", "caption"), "precompute.stages.caption:run",
            ("precompute/stages/caption.py", "core/samples/gather.py", *VLM_CODE), "core.vlm.identity:digest",
            "let the model write its own captions",
        ),
        Stage(
            "words", ("prepare", "caption"), ("words.parquet", "genders.parquet"),
            ("words",), "precompute.stages.words:run", ("precompute/stages/words.py", *WORDS_CODE),
            "core.gender.lexicon:digest", "find gendered words; what gender captions and images have",
        ),
        Stage(
            "activations", ("prepare", "caption"), ("activations/",),
            ("model", "caption.prompt_en", "caption.prompt_ar", "activations"), "precompute.stages.activations:run",
            ("precompute/stages/activations.py", "core/samples/gather.py", *VLM_CODE, *ACTIVATIONS_CODE),
            "core.vlm.identity:digest", "record what the model computes while it writes",
        ),
        Stage(
            "train", ("prepare", "caption", "activations"), ("saes/", "saes.parquet"),
            ("seed", "model.dtype", "train"), "precompute.stages.train:run",
            ("precompute/stages/train.py", "core/samples/gather.py", *VLM_CODE, *ACTIVATIONS_CODE, *SAE_CODE),
            "core.vlm.identity:digest", "train one sparse autoencoder per layer",
        ),
        Stage(
            "features", ("prepare", "caption", "activations", "train"), ("features.parquet", "examples.parquet"),
            ("seed", "features"), "precompute.stages.features:run",
            ("precompute/stages/features.py", *VLM_CODE, *ACTIVATIONS_CODE, *SAE_CODE, *FEATURES_CODE),
            "core.vlm.identity:digest", "describe every feature: statistics, examples, words, neighbours",
        ),
        Stage(
            "pool", ("prepare", "caption", "words", "activations", "train"), ("pooled/",),
            ("model.dtype",), "precompute.stages.pool:run",
            ("precompute/stages/pool.py", "core/features/pooled.py", "core/features/tokens.py",
             "core/gender/positions.py", *VLM_CODE, *ACTIVATIONS_CODE, *SAE_CODE),
            "core.vlm.identity:digest", "average residuals and features over the parts of each caption",
        ),
        Stage(
            "gender", ("prepare", "caption", "words", "train", "pool"),
            ("gender_features.parquet", "gender_rankings.parquet", "gender_pairs.parquet", "labels.parquet"),
            ("seed", "gender", "model.dtype", "caption.prompt_en", "caption.prompt_ar"), "precompute.stages.gender:run",
            ("precompute/stages/gender.py", "core/features/labels.py", "core/features/pooled.py", "core/intervals.py",
             "core/samples/gather.py", *EFFECTS_CODE, *FEATURES_CODE, *VLM_CODE, *SAE_CODE),
            "core.vlm.identity:digest", "ask what each feature has to do with gender; give features labels",
        ),
        Stage(
            "crosslingual", ("prepare", "caption", "words", "activations", "train", "pool"),
            ("language_features.parquet", "language_classes.parquet", "alignment.parquet", "language_saes/",
             "language_saes.parquet", "language_matches.parquet", "gender_directions.parquet", "clbas.parquet",
             "shared_gender.parquet", "grammatical_gender.parquet"),
            ("seed", "train", "crosslingual"), "precompute.stages.crosslingual:run",
            ("precompute/stages/crosslingual.py", "core/crosslingual/*.py", "core/features/pooled.py",
             "core/features/tokens.py", "core/intervals.py", "core/samples/demo_world.py",
             *WORDS_CODE, *ACTIVATIONS_CODE, *SAE_CODE),
            "core.gender.lexicon:digest", "compare English and Arabic: features, directions, gender effects",
        ),
        Stage(
            "layers", ("prepare", "caption", "words", "activations", "pool"),
            ("probes.parquet", "lens.parquet", "emergence.parquet"),
            ("seed", "model.dtype", "activations.layers", "layers"), "precompute.stages.layers:run",
            ("precompute/stages/layers.py", "core/layers/*.py", "core/gender/logit_words.py", "core/gender/lexicon.py",
             "core/intervals.py", "core/gender/positions.py", "core/features/pooled.py", "core/features/tokens.py",
             "core/samples/gather.py", *VLM_CODE, *ACTIVATIONS_CODE),
            "core.vlm.identity:digest", "probe each layer for the image's gender; read its next word off early",
        ),
        Stage(
            "bias", ("prepare", "caption", "words"),
            ("bias_roles.parquet", "bias_metrics.parquet", "sampled_captions.parquet"),
            ("seed", "model", "caption", "words", "bias", "gender.min_images"), "precompute.stages.bias:run",
            ("precompute/stages/bias.py", "core/bias/*.py", "core/intervals.py", "core/samples/gather.py",
             *WORDS_CODE, *VLM_CODE),
            "core.vlm.identity:digest", "compare captions with images; sample captions of neutral images",
        ),
        Stage(
            "explain", ("prepare", "caption", "words", "train", "features", "pool", "gender"),
            ("explanations.parquet", "doses.parquet"),
            ("model", "caption", "words", "activations.layers", "explain"), "precompute.stages.explain:run",
            ("precompute/stages/explain.py", *STEERING_CODE, "core/steering/explain.py", "core/steering/writing.py",
             "core/features/labels.py", "core/features/pooled.py", "core/features/tokens.py", "core/gender/sets.py",
             "core/gender/effects_ranks.py", "core/gender/logit_words.py", "core/intervals.py",
             "core/samples/gather.py", *WORDS_CODE, *VLM_CODE, *SAE_CODE),
            "core.vlm.identity:digest", "ask the model what its features are; a grid of steered captions",
        ),
        Stage(
            "interventions", ("prepare", "caption", "words", "train", "features", "pool", "gender"),
            (*(f"intervention_{name}.parquet" for name in (
                "arms", "images", "captions", "effects", "verdicts", "terms")), "intervention_images/"),
            ("seed", "samples.source", "samples.planted", "model", "caption", "words", "activations.layers",
             "interventions"), "precompute.stages.interventions:run",
            ("precompute/stages/interventions.py", "core/interventions/*.py", "core/features/pooled.py",
             "core/features/tokens.py", "core/intervals.py", *STEERING_CODE, *SAMPLES_CODE, *WORDS_CODE, *VLM_CODE,
             *SAE_CODE),
            "core.vlm.identity:digest", "change features, directions and prompts; compare captions with controls",
        ),
        Stage(
            "mechanisms", ("prepare", "caption", "words", "train", "pool"),
            ("head_effects.parquet", "head_attention.parquet", "weight_spectra.parquet", "head_readings.parquet",
             "feature_pairs.parquet", "patching.parquet", "patching_checks.parquet"),
            ("seed", "model.dtype", "caption.prompt_en", "caption.prompt_ar", "activations.layers", "mechanisms"),
            "precompute.stages.mechanisms:run",
            ("precompute/stages/mechanisms.py", "core/mech/*.py", *STEERING_CODE, "core/gender/attribution.py",
             "core/gender/positions.py", "core/gender/logit_words.py", "core/gender/lexicon.py",
             "core/gender/arabic.py", "core/features/pooled.py", "core/features/tokens.py", "core/intervals.py",
             "core/samples/gather.py", *VLM_CODE, *SAE_CODE, *ACTIVATIONS_CODE),
            "core.vlm.identity:digest", "ask which heads, MLPs and features carry gender into the words",
        ),
    )  # fmt: skip


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


State = Literal["fresh", "stale", "new"]


@dataclass(frozen=True)
class Planned:
    """A stage, the fingerprint its result would have, and whether the record in the manifest still holds."""

    stage: Stage
    fingerprint: str
    state: State
    why: str
    parts: dict[str, str]
    record: StageRecord | None = None


def fingerprint_parts(
    stage: Stage, config: Config, needs: dict[str, str], cache: dict[str, str], missing: list[UserError] | None = None
) -> dict[str, str]:
    """The hashes a fingerprint is made of, by what they cover; ``cache`` keeps those of code and outside files.

    Outside files that are not there raise UserError, or are noted in ``missing`` where that is given.
    """
    parts = {f"setting {s}": hash_json(fingerprint_part(config, s)) for s in stage.sections}
    parts |= {f"stage {name}": needs[name] for name in stage.needs}
    if stage.name not in cache:
        cache[stage.name] = code_hash(stage.code)
    parts["code"] = cache[stage.name]
    if stage.digest:
        if stage.digest not in cache:
            try:
                cache[stage.digest] = str(load_function(stage.digest)(config))
            except UserError as e:
                if missing is None:
                    raise
                missing.append(e)
                cache[stage.digest] = "missing"
        parts["outside files"] = cache[stage.digest]
    return parts


def make_plan(
    config: Config,
    run: Run,
    pipeline: Sequence[Stage] | None = None,
    cache: dict[str, str] | None = None,
    missing: list[UserError] | None = None,
) -> list[Planned]:
    """Every stage in order with its state: fresh, stale (and why) or new.

    Who plans again while stages run passes one ``cache``: the code that counts is the one that was there at the start.
    """
    cache = {} if cache is None else cache
    pipeline = stages() if pipeline is None else pipeline
    check_stages(pipeline)
    manifest = run.manifest() if run.path("manifest.json").exists() else None
    fingerprints: dict[str, str] = {}
    states: dict[str, State] = {}
    plan = []
    for stage in pipeline:
        parts = fingerprint_parts(stage, config, fingerprints, cache, missing)
        fingerprints[stage.name] = hash_json(parts)
        record = manifest.stages.get(stage.name) if manifest else None
        state, why = _judge(stage, fingerprints[stage.name], parts, record, manifest, run, states)
        states[stage.name] = state
        plan.append(Planned(stage, fingerprints[stage.name], state, why, parts, record))
    return plan


def _judge(
    stage: Stage, fingerprint: str, parts: dict[str, str], record: StageRecord | None, manifest: Manifest | None,
    run: Run, states: dict[str, State],
) -> tuple[State, str]:  # fmt: skip
    if record is None or manifest is None:
        return "new", "not computed yet"
    if record.fingerprint != fingerprint:
        return "stale", _what_changed(parts, record)
    damage = damaged(run, record)
    if damage:
        return "stale", damage
    for need in stage.needs:
        now = manifest.stages.get(need)
        if now is not None and need in record.inputs and now.content != record.inputs[need]:
            return "stale", f"{need} was computed again and came out different"
    return "fresh", ""


def _what_changed(parts: dict[str, str], record: StageRecord) -> str:
    before = record.parts
    changed = [name for name in parts if before.get(name) != parts[name]]
    own = [name for name in changed if not name.startswith("stage ")]
    return f"changed: {', '.join(own or changed) or 'what it depends on'}"


def damaged(run: Run, record: StageRecord) -> str:
    """What is wrong with the files of a record, or "" when all are there in their size."""
    for name, size in record.files.items():
        path = run.path(name)
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has changed in size"
    return ""


def choose(plan: Sequence[Planned], only: str = "", until: str = "") -> list[Planned]:
    """The stages that are to run now, in order; UserError for unknown names and for needs that are not there."""
    names = [p.stage.name for p in plan]
    for name in (only, until):
        if name and name not in names:
            raise UserError(f"There is no stage called {name}.", "", f"Stages: {', '.join(names)}.")
    state = {p.stage.name: p.state for p in plan}
    if only:
        (chosen,) = (p for p in plan if p.stage.name == only)
        missing = [n for n in chosen.stage.needs if state[n] != "fresh"]
        if missing:
            why = f"It needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not up to date."
            raise UserError(f"The stage {only} cannot run alone.", why, f"Run with --until {only} instead.")
        return [] if chosen.state == "fresh" else [chosen]
    upto = names[: names.index(until) + 1] if until else names
    return [p for p in plan if p.stage.name in upto and p.state != "fresh"]

"""Which of a run's records still hold, and which stages are to run: fingerprints and states.

A fingerprint covers a stage's settings, its inputs' fingerprints, the code it imports and the content of what lies
outside the run (images, weights); never paths, host or time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from core.config import Config, fingerprint_part
from core.errors import UserError
from core.run import Manifest, Run, StageRecord
from precompute.engine.fingerprint import CODE_OF, code_parts, hash_json
from precompute.pipeline import Stage, check_stages, load_function, stages

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


@dataclass
class Cache:
    """What is hashed once: parts of code by stage, and digests of outside files by the function that made them."""

    code: dict[str, dict[str, str]] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)


def fingerprint_parts(
    stage: Stage, config: Config, needs: dict[str, str], cache: Cache, missing: list[UserError] | None = None
) -> dict[str, str]:
    """The hashes a fingerprint is made of, by what they cover; ``cache`` keeps those of code and outside files.

    Outside files that are not there raise UserError, or are noted in ``missing`` where that is given.
    """
    parts = {f"setting {s}": hash_json(fingerprint_part(config, s)) for s in stage.sections}
    parts |= {f"stage {name}": needs[name] for name in stage.needs}
    if stage.name not in cache.code:
        cache.code[stage.name] = code_parts(stage.fn, config)
    parts |= cache.code[stage.name]
    digests = [stage.digest] if isinstance(stage.digest, str) else list(stage.digest)
    for digest in (d for d in digests if d and d not in cache.outside):
        try:
            cache.outside[digest] = str(load_function(digest)(config))
        except UserError as e:
            if missing is None:
                raise
            missing.append(e)
            cache.outside[digest] = "missing"
    if outside := [cache.outside[d] for d in digests if d and cache.outside[d]]:
        parts["outside files"] = outside[0] if len(outside) == 1 else hash_json(outside)
    return parts


def check_before(config: Config, pipeline: Sequence[Stage], fetch: bool = False) -> list[str]:
    """What the stages have to say before anything runs; UserError from the first whose settings cannot work.

    With ``fetch`` they may download what they need.
    """
    return [line for stage in pipeline if stage.check for line in load_function(stage.check)(config, fetch)]


def make_plan(
    config: Config,
    run: Run,
    pipeline: Sequence[Stage] | None = None,
    cache: Cache | None = None,
    missing: list[UserError] | None = None,
) -> list[Planned]:
    """Every stage in order with its state: fresh, stale (and why) or new.

    Who plans again while stages run passes one ``cache``: the code that counts is the one that was there at the start.
    """
    cache = Cache() if cache is None else cache
    pipeline = stages() if pipeline is None else pipeline
    check_stages(pipeline)
    manifest = run.manifest() if run.path("manifest.json").exists() else None
    fingerprints: dict[str, str] = {}
    plan = []
    for stage in pipeline:
        record = manifest.stages.get(stage.name) if manifest else None
        parts = fingerprint_parts(stage, config, fingerprints, cache, missing)
        parts = _as_recorded(parts, record.parts) if record else parts
        fingerprints[stage.name] = hash_json(parts)
        state, why = _judge(stage, fingerprints[stage.name], parts, record, manifest, run)
        plan.append(Planned(stage, fingerprints[stage.name], state, why, parts, record))
    return plan


def _as_recorded(parts: dict[str, str], recorded: Mapping[str, str]) -> dict[str, str]:
    """Of modules that a run may import, those that its record names: which they are may not be known on this machine,
    where the model was never loaded."""
    possible, used = ({name for name in of if name.startswith(CODE_OF)} for of in (parts, recorded))
    left_out = possible - used if used and used < possible else set()
    return {name: value for name, value in parts.items() if name not in left_out}


def _judge(
    stage: Stage,
    fingerprint: str,
    parts: dict[str, str],
    record: StageRecord | None,
    manifest: Manifest | None,
    run: Run,
) -> tuple[State, str]:
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

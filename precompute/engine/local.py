"""Run the stages of a plan one after the other, so that a kill at any moment costs little; processes may share each.

Order of the steps that a kill may fall between: the record of a stage goes first and comes back last; in between its
work folder is marked with the fingerprint it belongs to, so that a later run knows whether it may go on from there.

Several processes may share the layers of one stage among them: each layer has a lock of its own, and whoever holds one
keeps whole runs out. Finished layers lie in the stage's work folder; the stage is closed, to the same bytes, by a later
run of the whole, which finds them there.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.config import Config, config_to_dict
from core.errors import UserError
from core.run import LAYERS_DIR, TEMPORARY, Manifest, Run, RunHeld, StageRecord, atomic_path
from precompute.context import StageContext
from precompute.engine.fingerprint import content_hash
from precompute.engine.machine import device_peak, resolve_device, versions
from precompute.engine.plan import Cache, Planned, check_before, choose, make_plan
from precompute.engine.progress import Progress, Screen, now, screen, show_bytes, show_time, stage_log
from precompute.engine.tracking import NoTracker, Tracker
from precompute.engine.workers import Workers, n_workers, one_thread, shareable, single_threaded
from precompute.pipeline import Stage, load_function, owns, stages

OWN_FILES = ("manifest.json", "progress.json", ".lock", "notes.json", ".notes.lock")  # notes are the users'
OWN_DIRS = (".work", "logs", "wandb")


class StageFailed(UserError):
    """A stage ended by an error of the program; its traceback is in the log."""


@dataclass
class LocalEngine:
    """Runs what is not fresh; ``run_all`` returns the names of the stages it ran."""

    run: Run
    config: Config
    pipeline: Sequence[Stage] | None = None
    show: Screen | None = None
    tracker: Tracker | None = None
    workers: int = 0  # processes that share the parts of stages; 0 = as many as this machine has room for

    def run_all(self, only: str = "", until: str = "") -> list[str]:
        with self.run.lock():
            return self._run_all(self.pipeline or stages(), only, until)

    def _run_all(self, pipeline: Sequence[Stage], only: str, until: str) -> list[str]:
        cache = Cache()
        self._check_preset()
        warnings = check_before(self.config, pipeline, fetch=True)
        plan = make_plan(self.config, self.run, pipeline, cache)
        todo = choose(plan, only, until)
        self._write_settings()
        device = resolve_device(self.config.model.device) if todo else "cpu"
        show = self.show or screen()
        ran: list[str] = []
        n = n_workers(self.config, device, self.workers) if todo and not self.pipeline else 1
        alone = single_threaded(self.config, device, n) if todo else False
        with (
            one_thread() if alone else nullcontext(),
            Workers(self.run, device, n) as self._workers,
            Progress(self.run, [p.stage.name for p in plan], device, show) as progress,
        ):
            try:
                for line in warnings if todo else ():
                    progress.screen.say(line)
                for planned in plan:
                    self._show_standing(planned, todo, progress)
                while todo:
                    planned = todo[0]
                    if planned.stage.name in ran:
                        do = "Run again when nothing else writes to the run folder or to the input files."
                        raise UserError(
                            f"The stage {planned.stage.name} is out of date right after it ran.", planned.why, do
                        )
                    self._run_stage(planned, plan, progress)
                    ran.append(planned.stage.name)
                    plan = make_plan(self.config, self.run, pipeline, cache)
                    todo = choose(plan, only, until)
                progress.end("done", "")
            except BaseException as e:
                self._note_end(progress, e)
                raise
        return ran

    def _check_preset(self) -> None:
        """A run is not overwritten by another preset."""
        manifest = self.run.manifest() if self.run.path("manifest.json").exists() else None
        if manifest and manifest.preset != self.config.name:
            why = f"It was made with the preset {manifest.preset}, and would be overwritten by {self.config.name}."
            raise UserError(f"The run {self.run.name} holds something else.", why, "Give another name with --run.")

    def _write_settings(self) -> None:
        config = config_to_dict(self.config)
        if not self.run.path("manifest.json").exists():
            self.run.write_manifest(Manifest(self.run.name, self.config.name, config))
        elif (manifest := self.run.manifest()).config != config:
            self.run.write_manifest(replace(manifest, config=config))

    def _show_standing(self, planned: Planned, todo: Sequence[Planned], progress: Progress) -> None:
        name = planned.stage.name
        if planned.state == "fresh":
            progress.mark(name, "done", planned.record.seconds if planned.record else None)
            progress.screen.say(f"{name}: up to date")
            self._clear_work(planned.stage)
        elif planned.state == "stale" and any(p.stage.name == name for p in todo):
            progress.screen.say(f"{name}: will be computed again ({planned.why})")

    def _run_stage(self, planned: Planned, plan: Sequence[Planned], progress: Progress) -> None:
        stage = planned.stage
        resumed = self._make_room(planned, plan)
        progress.begin(stage.name, resumed)
        before, started, began = self._others(stage), now(), time.monotonic()
        device_peak(progress.device, reset=True)
        with stage_log(self.run, stage.name, progress.log) as log:
            log.info("%s, fingerprint %s", "goes on" if resumed else "starts", planned.fingerprint)
            tracker = self.tracker or NoTracker()
            context = StageContext(
                run=self.run,
                config=self.config,
                work_dir=self._work_dir(stage),
                device=progress.device,
                log=log,
                on_progress=progress.report,
                on_metrics=lambda v, step: tracker.metrics(stage.name, v, step),
                on_images=lambda images: tracker.images(stage.name, images),
            )
            try:
                if self._workers.n_helpers and shareable(stage, self.config):
                    with self._workers.at(stage, log) as context.shared:
                        result = load_function(stage.fn)(context)
                else:
                    result = load_function(stage.fn)(context)
            except UserError as e:
                log.error("%s", e)
                raise
            except Exception as e:
                if is_disk_full(e):
                    raise
                log.exception("failed")
                raise _stage_failed(self.run, stage, e) from e
            self._check_outputs(stage, before)
            seconds = time.monotonic() - began
            record = self._record(planned, result, started, seconds, progress)
            log.info("done in %s, %s", show_time(seconds), show_bytes(record.bytes))
        manifest = self.run.manifest()
        self.run.write_manifest(replace(manifest, stages=self._in_order({**manifest.stages, stage.name: record}, plan)))
        self._clear_work(stage)
        progress.mark(stage.name, "done", seconds)
        progress.write()
        tracker.stage_done(stage.name, record)
        peak = show_bytes(record.peak_memory)
        size = show_bytes(record.bytes)
        progress.screen.end(f"done in {show_time(seconds)}: {record.rows:,} rows, {size}, peak memory {peak}")

    def _make_room(self, planned: Planned, plan: Sequence[Planned], alone: bool = True) -> bool:
        """Take back the records that no longer hold and clear old files; True when there is work to go on from.

        What was made from the stage's old result goes too: it would no longer fit. ``alone``: whether no other process
        may be writing in the run.
        """
        stage, mark = planned.stage, self._mark(planned.stage)
        manifest = self.run.manifest()
        outdated = [p.stage for p in plan if p.state == "stale" and _depends(p.stage, stage.name, plan)]
        gone = {stage.name, *(s.name for s in outdated)}
        kept = {n: r for n, r in manifest.stages.items() if n not in gone}
        if kept.keys() != manifest.stages.keys():
            self.run.write_manifest(replace(manifest, stages=kept))
        for other in outdated:
            self._clear_work(other)
            self._clear_results(other)
        if alone:
            self._sweep()
        if mark.is_file() and mark.read_text() == planned.fingerprint:
            return True
        self._clear_work(stage)
        self._clear_results(stage)
        self._work_dir(stage).mkdir(parents=True)
        with atomic_path(mark) as temporary:
            temporary.write_text(planned.fingerprint)
        return False

    def _sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for path in self.run.dir.rglob(f"{TEMPORARY}*"):
            if path.is_file() and not path.name.startswith(f"{TEMPORARY}{os.getpid()}-"):
                path.unlink(missing_ok=True)

    def _work_dir(self, stage: Stage) -> Path:
        return self.run.path(".work", stage.name)

    def _mark(self, stage: Stage) -> Path:
        return self.run.path(".work", f"{stage.name}.fingerprint")

    def _clear_work(self, stage: Stage) -> None:
        self._mark(stage).unlink(missing_ok=True)  # before the folder, which is then believed no more
        if self._work_dir(stage).exists():
            shutil.rmtree(self._work_dir(stage))

    def _clear_results(self, stage: Stage) -> None:
        for made in stage.makes:
            path = self.run.path(made)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _files(self) -> dict[str, tuple[int, int]]:
        """Size and time of change of every file of the run that is not the engine's own."""
        found = {}
        for path in self.run.dir.rglob("*"):
            name = path.relative_to(self.run.dir)
            if name.parts[0] in OWN_DIRS or str(name) in OWN_FILES or path.name.startswith(TEMPORARY):
                continue
            if path.is_file():
                stat = path.stat()
                found[name.as_posix()] = (stat.st_size, stat.st_mtime_ns)
        return found

    def _others(self, stage: Stage) -> dict[str, tuple[int, int]]:
        return {name: stat for name, stat in self._files().items() if not owns(stage, name)}

    def _check_outputs(self, stage: Stage, before: dict[str, tuple[int, int]]) -> None:
        after = self._others(stage)
        touched = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        if touched:
            why = f"{', '.join(touched[:5])} {'is' if len(touched) == 1 else 'are'} not among {', '.join(stage.makes)}."
            raise StageFailed(
                f"The stage {stage.name} wrote or removed files that are not its own.",
                why,
                "Name them in precompute/pipeline.py under makes, or write them elsewhere.",
            )
        missing = [made for made in stage.makes if not self.run.path(made).exists()]
        if missing:
            raise StageFailed(
                f"The stage {stage.name} ended without {', '.join(missing)}.",
                "Every path under makes in precompute/pipeline.py has to be there.",
                "",
            )

    def _record(
        self, planned: Planned, result: dict[str, Any] | None, started: str, seconds: float, progress: Progress
    ) -> StageRecord:
        if not isinstance(result, dict) or not isinstance(result.get("rows"), int):
            raise StageFailed(
                f"The stage {planned.stage.name} did not say how many rows it made.",
                'Its run(ctx) has to return {"rows": int, "notes": {...}}.',
                "",
            )
        files = {name: size for name, (size, _) in sorted(self._files().items()) if owns(planned.stage, name)}
        done = self.run.manifest().stages
        notes, on_device = dict(result.get("notes", {})), device_peak(progress.device)
        if on_device:
            notes["peak_device_memory"] = on_device
        return StageRecord(
            fingerprint=planned.fingerprint,
            started=started,
            seconds=round(seconds, 2),
            rows=result["rows"],
            bytes=sum(files.values()),
            peak_memory=progress.peak_memory(),
            versions=versions(),
            device=progress.device,
            files=files,
            notes=notes,
            content=content_hash(self.run.dir, files),
            inputs={n: done[n].content for n in planned.stage.needs},
            parts=planned.parts,
        )

    @staticmethod
    def _in_order(records: dict[str, StageRecord], plan: Sequence[Planned]) -> dict[str, StageRecord]:
        names = [p.stage.name for p in plan]
        return dict(sorted(records.items(), key=lambda item: names.index(item[0]) if item[0] in names else len(names)))

    @staticmethod
    def _note_end(progress: Progress, error: BaseException) -> None:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            state, message = "stopped", "Stopped by the user."
        else:
            state, message = "failed", disk_full_text(progress.run) if is_disk_full(error) else str(error)
        try:
            progress.end(state, message)
        except OSError as e:  # the disk may be so full that not even this fits; the caller still says what happened
            progress.screen.say(f"progress.json could not be written: {e}")


@dataclass
class LayersEngine:
    """Computes some layers of one stage; ``run_layers`` returns those that it looked after, none where all is done."""

    run: Run
    config: Config
    pipeline: Sequence[Stage] | None = None
    show: Screen | None = None

    def run_layers(self, name: str, layers: Sequence[int]) -> tuple[int, ...]:
        """Raises UserError for a stage or layers that cannot be computed so, RunHeld where somebody else has them."""
        self._check(name, layers)
        check_before(self.config, [s for s in self.pipeline or stages() if s.name == name], fetch=True)
        with ExitStack() as stack:
            for layer in sorted(layers):
                stack.enter_context(self.run.lock_layer(name, layer))
            local = LocalEngine(self.run, self.config, self.pipeline)
            local._check_preset()
            with self.run.lock_work():
                plan = make_plan(self.config, self.run, self.pipeline or stages())
                todo = choose(plan, only=name)
                if not todo:
                    return ()
                self._others(todo[0].stage, layers, local._mark(todo[0].stage), todo[0].fingerprint)
                local._make_room(todo[0], plan, alone=False)
            self._compute(todo[0], tuple(sorted(layers)), local)
        return tuple(sorted(layers))

    def _check(self, name: str, layers: Sequence[int]) -> None:
        known = {s.name: s for s in self.pipeline or stages()}
        if name not in known or not known[name].by_layer:
            able = ", ".join(s.name for s in known.values() if s.by_layer) or "none"
            raise UserError(
                "Single layers can be computed of some stages alone.",
                f"You asked for {name or 'all stages'}.",
                f"Stages that can: {able}, such as --only train --layers 5.",
            )
        if unknown := sorted(set(layers) - set(self.config.activations.layers)):
            raise UserError(
                f"The run does not look at layers {', '.join(map(str, unknown))}.",
                f"activations.layers is {list(self.config.activations.layers)}.",
                "Choose among them with --layers.",
            )

    def _others(self, stage: Stage, layers: Sequence[int], mark: Path, fingerprint: str) -> None:
        """Refuse to begin anew under other settings while others go on with what was begun."""
        others = sorted(set(self.run.layers_held(stage.name)) - set(layers))
        if others and mark.is_file() and mark.read_text() != fingerprint:
            raise RunHeld(
                f"Layers {', '.join(map(str, others))} are being computed under other settings.",
                "Both would write into one folder.",
                "Wait for them, or give another name with --run.",
            )

    def _compute(self, planned: Planned, layers: tuple[int, ...], local: LocalEngine) -> None:
        stage = planned.stage
        label = f"{stage.name}-{'-'.join(f'{layer:02d}' for layer in layers)}"
        told = self.run.path(*LAYERS_DIR, f"{stage.name}-{layers[0]:02d}.json")
        device = resolve_device(self.config.model.device)
        with Progress(self.run, [label], device, self.show or screen(), told) as progress:
            progress.begin(label, resumed=False)
            with stage_log(self.run, label, progress.log) as log:
                context = StageContext(
                    run=self.run,
                    config=self.config,
                    work_dir=local._work_dir(stage),
                    device=device,
                    log=log,
                    layers=layers,
                    on_progress=progress.report,
                )
                try:
                    load_function(stage.fn)(context)
                except BaseException as e:
                    log.error("%s: %s", type(e).__name__, e)
                    progress.end("failed", str(e))
                    raise
            progress.mark(label, "done")
            progress.end("done", "")
            progress.screen.end("done; a run of the whole closes the stage")


def _depends(stage: Stage, on: str, plan: Sequence[Planned]) -> bool:
    by_name = {p.stage.name: p.stage for p in plan}
    return any(need == on or _depends(by_name[need], on, plan) for need in stage.needs)


def _stage_failed(run: Run, stage: Stage, error: Exception) -> StageFailed:
    first_line = (str(error).strip().splitlines() or ["no message"])[0][:300]
    return StageFailed(
        f"The stage {stage.name} failed: {type(error).__name__}: {first_line}",
        f"This is an error in the program; the whole of it is in {run.path('logs', stage.name)}.log",
        "Run the same command again to go on from the last checkpoint, or report it with that log.",
    )


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is a full disk; libraries written in Rust say it only in words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) and not isinstance(error, UserError):
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_full_text(run: Run) -> str:
    return f"The disk is full where the run {run.name} lies."

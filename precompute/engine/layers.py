"""Compute single layers of a stage, so that several processes may share the layers of one run among them.

Each layer has a lock of its own, and whoever holds one keeps whole runs out. Finished layers lie in the stage's work
folder; the stage is closed, to the same bytes, by a later run of the whole, which finds them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from core.config import Config
from core.errors import UserError
from core.run import LAYERS_DIR, Run, RunHeld
from precompute.context import StageContext
from precompute.engine.local import LocalEngine
from precompute.engine.machine import resolve_device
from precompute.engine.plan import Planned, check_before, choose, make_plan
from precompute.engine.progress import Progress, stage_log
from precompute.engine.screens import Screen, screen
from precompute.pipeline import Stage, load_function, stages


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

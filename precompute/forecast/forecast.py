"""All that is known before a run: images, the model's shape, the device, a probe, and what each stage would take."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.config import Config
from core.errors import UserError
from core.run import Run, list_runs
from precompute.engine.machine import describe_device, resolve_device
from precompute.engine.plan import Planned
from precompute.engine.progress import show_bytes
from precompute.engine.workers import n_workers, shareable
from precompute.forecast.estimate import (
    GUESS,
    PROBED,
    Before,
    Estimate,
    count_samples,
    earlier,
    estimate,
    scaled,
)
from precompute.forecast.limits import NAMES, OPTIONS, Break, Limits, Way, broken, together, ways
from precompute.forecast.probe import Probe, find_probe
from precompute.forecast.shape import ModelShape, as_trained, model_shape, widest
from precompute.pipeline import stages

SHARED = 0.85  # how much quicker than one process n are, over n: parts differ in length, and some work is not shared


@dataclass(frozen=True)
class Forecast:
    """What a run would take; ``n`` is None where the images cannot be counted from here, and ``estimates`` then empty.

    ``device`` may be one that this machine lacks; ``device_name`` is then "". ``pretrained`` is the width of the SAEs
    that others trained, 0 where they are trained here or not known yet.
    """

    config: Config
    device: str
    device_name: str
    n: int | None
    shape: ModelShape
    probe: Probe | None
    runs: Sequence[Run]
    pretrained: int = 0

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Stage by stage, under the run's own settings."""
        return self.of(self.config)

    def of(self, config: Config) -> dict[str, Estimate]:
        """Stage by stage, under other settings of the same run."""
        if not self.n:
            return {}
        n = min(self.n, config.samples.n or self.n)
        found = estimate(as_trained(config, self.pretrained), self.device, n, self.shape, self.probe)
        return self._shared(config, scaled(found, self._before))

    def _shared(self, config: Config, found: dict[str, Estimate]) -> dict[str, Estimate]:
        """The same where processes share stages; times of an earlier run have that in them."""
        together = self.workers
        if together == 1:
            return found
        split = {s.name for s in stages() if shareable(s, config)}
        return {
            name: replace(
                e,
                seconds=e.seconds / (SHARED * together if e.basis in (GUESS, PROBED) else 1),
                memory=e.memory * together,
            )
            if name in split
            else e
            for name, e in found.items()
        }

    @functools.cached_property
    def workers(self) -> int:
        """How many processes would share stages on this machine, where they are not told how many."""
        return n_workers(self.config, self.device) if self.device_name else 1

    @functools.cached_property
    def _before(self) -> dict[str, Before]:
        return earlier(self.config, self.device, self.runs, self.probe)

    def standing(self, config: Config, plan: Sequence[Planned]) -> Mapping[str, Estimate]:
        """The same, where what is done under the run's own settings needs no more than the disk it has."""
        found = self.of(config)
        if config != self.config:
            return found
        done = {p.stage.name: p.record for p in plan if p.state == "fresh" and p.record}
        return {
            name: replace(e, seconds=0.0, disk=float(done[name].bytes), passing=0.0, memory=0.0, gpu=0.0)
            if name in done
            else e
            for name, e in found.items()
        }


def forecast(config: Config, run: Run, for_gpu: bool = False) -> Forecast:
    """Look at what is there; ``for_gpu`` plans for a CUDA device though this machine may have none."""
    device = config.model.device
    if not (for_gpu and device in ("auto", "cuda") and not has_cuda()):
        device = resolve_device(device)
        name = describe_device(device)
    else:
        device, name = "cuda", ""
    runs = [run] if run.path("manifest.json").exists() else []
    runs += [r for r in list_runs() if r.dir != run.dir]
    return Forecast(
        config,
        device,
        name,
        count_samples(config),
        model_shape(config),
        find_probe(config, device, name),
        runs,
        widest(config),
    )


def has_cuda() -> bool:
    """Whether torch finds a CUDA device here."""
    import torch

    return torch.cuda.is_available()


def check_limits(seen: Forecast, plan: Sequence[Planned], limits: Limits) -> tuple[list[Break], list[Way]]:
    """What breaks the limits, and ways under them, one for all limits last; ([], []) where all is well.

    Raises UserError where nothing can be said.
    """
    if not limits:
        return [], []
    if not seen.estimates:
        raise UserError(
            "The limits cannot be checked.",
            "The images of the run cannot be counted from here.",
            "Give samples.captions a file that is there, or samples.n a number.",
        )
    if limits.gpu is not None and seen.device != "cuda":
        raise UserError(
            "--max-vram asks about a GPU.",
            f"The run would work on {seen.device}.",
            "Leave the option out, or set model.device to cuda.",
        )
    found = broken(seen.standing(seen.config, plan), limits)
    if not found:
        return [], []
    options = ways(seen.config, seen.shape, limits, lambda c: seen.standing(c, plan))
    if len(found) > 1 and (whole := together(seen.config, seen.shape, limits, lambda c: seen.standing(c, plan))):
        options.append(whole)
    return found, options


def limits_text(b: Break) -> str:
    """A broken limit in one sentence."""
    return (
        f"{NAMES[b.what][0].upper()}{NAMES[b.what][1:]}: {show_bytes(b.needed)} are needed, {show_bytes(b.limit)} "
        f"allowed ({OPTIONS[b.what]}); stage {b.stage} takes most."
    )


def refuse_above(seen: Forecast, plan: Sequence[Planned], limits: Limits) -> None:
    """Raise UserError with the best way out where a run would not keep its limits."""
    found, options = check_limits(seen, plan, limits)
    if found:
        do = f"For example {options[-1].text}" if options else "No setting brings it under: raise the limit."
        raise UserError("The run was not started: it would not keep its limits.", " ".join(map(limits_text, found)), do)

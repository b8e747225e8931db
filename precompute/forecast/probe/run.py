"""``plan --probe``: measure, in about two minutes, what the run's model and dictionaries cost on this device."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.config import Config
from core.errors import UserError
from core.runs import runs_dir
from precompute.forecast.probe.record import Probe, precision, save_probe
from precompute.forecast.shape import find_file, model_shape
from precompute.forecast.speeds import Seconds, guessed_bytes
from precompute.forecast.work import Lengths, expected_lengths
from precompute.machine import describe_device
from precompute.progress import now, show_time

if TYPE_CHECKING:
    from precompute.forecast.probe.stopwatch import Clock

MOST_SECONDS = 120.0
CAPTIONER = 0.6  # share of the time that the captioner may take; the rest is for the dictionaries
PLAIN_REFERENCE = 0.034  # seconds that ``_plain`` takes on one quiet core of the machine whose constants work.py holds
DISK_BYTES = 64 * 2**20


def run_probe(
    config: Config,
    device: str,
    say: Callable[[str], None],
    most: float = MOST_SECONDS,
    timer: Callable[[], float] = time.perf_counter,
) -> Probe:
    """Measure and keep what was measured; no new measurement begins after ``most`` seconds, loading not counted.

    Raises UserError where neither the model's weights nor its config.json are on this machine: nothing is fetched.
    """
    began = time.monotonic()
    shape, notes = model_shape(config), []
    seconds, held = {"seconds": _plain(timer) / PLAIN_REFERENCE, "written": 1 / _disk_rate(runs_dir())}, {}
    weights = find_file(config, "model.safetensors") or find_file(config, "model.safetensors.index.json")
    source = find_file(config, "config.json")
    if source is None:
        raise UserError(
            f"There is nothing to measure of {config.model.name}.",
            "Neither its weights nor its config.json are on this machine, and a probe fetches nothing.",
            "Set model.name to its folder, or fetch the model first (hf download).",
        )
    from precompute.forecast.probe.dictionary import measure_dictionaries
    from precompute.forecast.probe.slice import MORE
    from precompute.forecast.probe.stopwatch import Clock

    say(f"Measuring {config.model.name} on {describe_device(device)}, for about {show_time(most)} at most ...")
    lengths, layers = expected_lengths(config, shape), 0

    def clock(share: float) -> Clock:
        return Clock(device, time.monotonic() + share * most, timer)

    if weights:
        *found, lengths = _whole(config, device, clock)
    else:
        found, layers = _cut(config, device, clock, source, lengths), MORE
        notes.append("The weights are not here: layers of random numbers were measured, and extended to the whole.")
    gc.collect()
    for costs, holds in (found, measure_dictionaries(config, shape.d_model, clock(1 - CAPTIONER))):
        seconds.update(costs)
        held.update(holds)
    guesses = asdict(guessed_bytes(config, device, shape))
    if device != "cuda":  # the process reuses memory it has, so that less is seen than is held
        held = {name: max(value, guesses[name]) for name, value in held.items()}
    if missing := sorted({f.name for f in fields(Seconds)} - seconds.keys()):
        notes.append(f"There was no time, or no way, to measure {', '.join(missing)}: these are guesses.")
    probe = Probe(
        now(),
        device,
        describe_device(device),
        Path(config.model.name).name,
        precision(config),
        layers,
        seconds,
        held,
        guesses,
        lengths.prompt,
        lengths.caption,
        round(time.monotonic() - began, 1),
        notes,
    )
    say(f"Measured in {show_time(probe.took)}: {save_probe(probe)}")
    return probe


def _whole(config: Config, device: str, clock: Callable[[float], Clock]) -> tuple[dict, dict, Lengths]:
    """The captioner as it is, weights and all; the time runs from when it is loaded."""
    from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: F401  a run imports them once, not a stage

    from core.vlm import load_vlm
    from precompute.forecast.probe.captioner import measure_captioner

    model = config.model
    took, vlm = clock(1.0).time(
        lambda: load_vlm(
            model.name, model.dtype, device, model.revision, quantize=model.quantize, device_map=model.device_map
        )
    )
    weights = sum(t.nbytes for t in (*vlm.model.parameters(), *vlm.model.buffers()))
    seconds, held, lengths = measure_captioner(vlm, config, clock(CAPTIONER))
    return {**seconds, "model": took}, {**held, "model": float(weights)}, lengths


def _cut(
    config: Config, device: str, clock: Callable[[float], Clock], source: Path, lengths: Lengths
) -> tuple[dict, dict]:
    """A few layers of a captioner whose weights are not here."""
    from precompute.forecast.probe.slice import Slice, measure_slice

    model = Slice(source, config, device)
    return measure_slice(model, config, clock(CAPTIONER), round(lengths.prompt + lengths.caption))


def _plain(timer: Callable[[], float]) -> float:
    """Seconds of a fixed piece of ordinary Python and numpy, best of three: how fast this machine is at tables."""
    found = []
    for _ in range(3):
        began = timer()
        words: dict[str, int] = {}
        for i in range(100_000):
            word = f"w{i % 997}"
            words[word] = words.get(word, 0) + len(word)
        np.sort(np.random.default_rng(0).random(300_000)).cumsum()
        found.append(timer() - began)
    return min(found)


def _disk_rate(folder: Path) -> float:
    """Bytes a second that reach the disk where runs lie."""
    folder.mkdir(parents=True, exist_ok=True)
    data, path = os.urandom(2**20), folder / f".tmp-{os.getpid()}-probe"
    try:
        began = time.perf_counter()
        with open(path, "wb") as file:
            for _ in range(DISK_BYTES // len(data)):
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return DISK_BYTES / (time.perf_counter() - began)
    finally:
        path.unlink(missing_ok=True)

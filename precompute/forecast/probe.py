"""What the run's own model and dictionaries cost on this device, measured in about two minutes (``plan --probe``).

It is kept in ``probes/`` beside the runs, so that later plans rest on it.
"""

from __future__ import annotations

import gc
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.config import Config
from core.errors import UserError
from core.run import runs_dir, write_json
from core.vlm.identity import find_file
from precompute.engine.machine import describe_device
from precompute.engine.progress import now, show_time
from precompute.forecast.estimate import Bytes, Seconds, guessed_bytes, guessed_seconds
from precompute.forecast.shape import ModelShape, model_shape
from precompute.forecast.work import Lengths, expected_lengths

if TYPE_CHECKING:
    from precompute.forecast.measure import Clock

FORMAT = 1
OF_THE_MODEL = ("images", "gradients", "steps", "step_rows")  # units whose cost goes with that of a token


@dataclass(frozen=True)
class Probe:
    """Seconds and bytes a unit of work (names as in ``forecast.work.Work``) on one device, with one model."""

    date: str  # UTC, ISO 8601
    device: str  # cpu, cuda, mps
    device_name: str
    model: str  # last part of its name
    precision: str  # of its numbers: float32, bfloat16, or either with 8bit or 4bit
    layers: int  # layers that were really there; 0 = the whole model with its weights
    seconds_a_unit: dict[str, float]
    bytes_a_unit: dict[str, float]
    guessed_bytes: dict[str, float]  # by arithmetic, with the settings of the probe
    prompt_tokens: float
    caption_tokens: float  # half of what is allowed where the model wrote none
    took: float  # seconds
    notes: list[str] = field(default_factory=list)
    format: int = FORMAT

    def seconds(self, config: Config, shape: ModelShape) -> Seconds:
        """What a unit costs; what was not measured is guessed, and in proportion to tokens where the model does it."""
        guess = guessed_seconds(config, self.device, shape)
        share = self.seconds_a_unit.get("tokens", guess.tokens) / guess.tokens
        inferred = {name: share * getattr(guess, name) for name in OF_THE_MODEL}
        known = {k: v for k, v in self.seconds_a_unit.items() if k in Seconds.__dataclass_fields__}
        return replace(guess, **(inferred | known))

    def bytes(self, config: Config, shape: ModelShape) -> Bytes:
        """What a unit holds; under other settings it changes as the guess does."""
        guess = asdict(guessed_bytes(config, self.device, shape))
        share = {k: guess[k] / v for k, v in self.guessed_bytes.items() if k in guess and v}
        found = {k: v * share.get(k, 1.0) for k, v in self.bytes_a_unit.items() if k in guess}
        return Bytes(**{**guess, **found})

    @property
    def lengths(self) -> Lengths:
        """Tokens of a prompt and of a caption."""
        return Lengths(self.prompt_tokens, self.caption_tokens)

    @property
    def says(self) -> str:
        """On what it was measured and when, for people."""
        part = f", {self.layers} layers of the model and the rest by extension" if self.layers else ""
        return f"measured on {self.device_name} on {self.date[:10]}{part}"


def precision(config: Config) -> str:
    """How exactly the model computes, in a word or two."""
    return " ".join(filter(None, (config.model.dtype, config.model.quantize)))


def probes_dir() -> Path:
    """Where probes are kept: beside the runs."""
    return runs_dir() / "probes"


def save_probe(probe: Probe) -> Path:
    """Write it; one file a model, precision and device, the newest measurement wins."""
    name = "-".join((probe.model, probe.precision, probe.device_name))
    path = probes_dir() / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-').lower()}.json"
    write_json(path, asdict(probe))
    return path


def find_probe(config: Config, device: str, device_name: str = "") -> Probe | None:
    """The newest probe of the run's model on this kind of device, and on this very device where a name is given.

    Raises UserError for a file that is no JSON; those of other versions are passed over.
    """
    found = []
    for path in sorted(probes_dir().glob("*.json")):
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as e:
            raise UserError(f"The probe {path} cannot be read.", str(e), "Remove it, and measure again.") from e
        if tree.get("format") != FORMAT or {f.name for f in fields(Probe)} - tree.keys():
            continue
        probe = Probe(**{f.name: tree[f.name] for f in fields(Probe)})
        same = probe.device == device and device_name in ("", probe.device_name)
        if same and (probe.model, probe.precision) == (Path(config.model.name).name, precision(config)):
            found.append(probe)
    return max(found, key=lambda p: p.date, default=None)


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
    from precompute.forecast.measure import MORE, Clock, measure_dictionaries

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
    from precompute.forecast.measure import measure_captioner

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
    from precompute.forecast.measure import Slice, measure_slice

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

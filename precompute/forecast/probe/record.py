"""What a probe has measured, kept in ``probes/`` beside the runs so that later plans rest on it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from core.config import Config
from core.errors import UserError
from core.runs import runs_dir, write_json
from precompute.forecast.shape import ModelShape
from precompute.forecast.speeds import Bytes, Seconds, guessed_bytes, guessed_seconds
from precompute.forecast.work import Lengths

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

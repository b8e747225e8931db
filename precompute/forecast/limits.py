"""Limits of disk, memory and GPU memory: what of a run breaks them, and which settings would keep them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.config import Config, config_from_dict, config_to_dict
from core.errors import UserError
from precompute.engine.progress import show_bytes, show_time
from precompute.forecast.estimate import Estimate
from precompute.forecast.shape import ModelShape

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
UNITS |= {f"{letter}I": 2 ** (10 * i) for i, letter in enumerate("KMGT", start=1)}
SIZE = re.compile(r"\s*(\d+(?:[.,]\d+)?)\s*([KMGT]I?)?(B?)\s*", re.IGNORECASE)
NAMES = {"disk": "disk", "gpu": "GPU memory", "memory": "memory"}
OPTIONS = {"disk": "--max-disk", "gpu": "--max-vram", "memory": "--max-ram"}


def parse_size(text: str) -> float:
    """Bytes of "50GB", "50 GiB", "800MB" or "1.5T"; UserError for anything else, a number without a unit among it."""
    found = SIZE.fullmatch(text)
    if not found or not (found[2] or found[3]):
        raise UserError(f"{text!r} is no size.", "A size is a number and a unit.", "Write 50GB, 50GiB or 800MB.")
    size = float(found[1].replace(",", ".")) * UNITS[(found[2] or "").upper()]
    if not size or not math.isfinite(size):
        raise UserError(f"{text!r} is no size to keep within.", "", "Write a size above zero, such as 50GB.")
    return size


@dataclass(frozen=True)
class Limits:
    """Bytes that a run may take at most; None: as many as it likes."""

    disk: float | None = None
    gpu: float | None = None
    memory: float | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.disk, self.gpu, self.memory))


@dataclass(frozen=True)
class Break:
    """One limit that is broken: "disk", "gpu" or "memory", the stage that needs most, what is needed and allowed."""

    what: str
    stage: str
    needed: float
    limit: float


def disk_at_most(estimates: Mapping[str, Estimate]) -> float:
    """The most bytes the run folder takes while it is computed, stage after stage."""
    kept, most = 0.0, 0.0
    for e in estimates.values():
        most = max(most, kept + e.disk + e.passing)
        kept += e.disk
    return most


def needs(estimates: Mapping[str, Estimate], what: str) -> float:
    """What a run needs of "disk", "gpu" or "memory"."""
    return disk_at_most(estimates) if what == "disk" else max(getattr(e, what) for e in estimates.values())


def broken(estimates: Mapping[str, Estimate], limits: Limits) -> list[Break]:
    """The limits that a run would not keep, each with the stage that takes most of it."""
    found = []
    for what in NAMES:
        limit = getattr(limits, what)
        if limit is not None and needs(estimates, what) > limit:
            stage = max(estimates, key=lambda s: getattr(estimates[s], what))
            found.append(Break(what, stage, needs(estimates, what), limit))
    return found


MOST_HALVINGS = 12
Settings = dict[str, Any]
Estimator = Callable[[Config], Mapping[str, Estimate]]


@dataclass(frozen=True)
class Knob:
    """A setting, the limits it helps to keep, what its other values cost beside time, and these values, mildest first.

    Each value comes with the other settings that have to follow it.
    """

    key: str
    helps: tuple[str, ...]
    price: str
    values: Callable[[Config, ModelShape], Iterator[Settings]]


@dataclass(frozen=True)
class Way:
    """Settings under which all limits are kept, in words: "--set a=1  disk 50 GB -> 16 GB; what it costs"."""

    settings: Settings
    text: str


def _halves(key: str, least: int = 1, full: Callable[[ModelShape], int] = lambda _: 0) -> Callable:
    """Half of the setting, a quarter, and so on; where it is 0, which stands for all, of what ``full`` says."""

    def values(config: Config, shape: ModelShape) -> Iterator[Settings]:
        value = get(config, key) or full(shape)
        for _ in range(MOST_HALVINGS):
            value //= 2
            if value < least:
                return
            yield {key: value}

    return values


def _one(key: str, *values: Any) -> Callable:
    """Each value that is not the present one and does not stand before it."""

    def found(config: Config, shape: ModelShape) -> Iterator[Settings]:
        now = get(config, key)
        yield from ({key: v} for v in (values[values.index(now) + 1 :] if now in values else values))

    return found


def _fewer_layers(config: Config, shape: ModelShape) -> Iterator[Settings]:
    """Every second layer, then every fourth, and so on; the highest stays. Sections that name layers follow."""
    layers = config.activations.layers
    while len(layers) > 1:
        layers = layers[::-1][::2][::-1]
        named = {key: get(config, key) for key in ("crosslingual.layers", "interventions.layers")}
        kept = {key: tuple(n for n in of if n in layers) for key, of in named.items()}
        yield {"activations.layers": layers, **{key: kept[key] for key in named if kept[key] != named[key]}}


def _not_stored(config: Config, shape: ModelShape) -> Iterator[Settings]:
    """Nothing stored, with ever less room for what is computed again."""
    room = config.activations.cache_gb
    if config.activations.store == "all":
        yield {"activations.store": "none"}
    for _ in range(MOST_HALVINGS // 2):
        room = round(room / 2, 3)
        yield {"activations.store": "none", "activations.cache_gb": room}


ON_DEVICE = ("gpu", "memory")
KNOBS = (
    Knob(
        "activations.store",
        ("disk",),
        "nothing changes but the time: passes are repeated where tokens are needed",
        _not_stored,
    ),
    Knob(
        "activations.image_tokens",
        ("disk",),
        "what is said of image tokens rests on a sample of them",
        _halves("activations.image_tokens", 4, lambda shape: shape.image_tokens),
    ),
    Knob(
        "codes.store",
        ("disk",),
        "nothing changes but the time: codes are worked out where they are needed, on pages too",
        _one("codes.store", True, False),
    ),
    Knob("caption.batch_size", ON_DEVICE, "captions are written in smaller batches", _halves("caption.batch_size")),
    Knob("activations.batch_tokens", ON_DEVICE, "passes are smaller", _halves("activations.batch_tokens", 256)),
    Knob("mechanisms.batch_size", ON_DEVICE, "gradients of fewer captions at once", _halves("mechanisms.batch_size")),
    Knob("graph.batch_size", ON_DEVICE, "fewer gradients of a graph at once", _halves("graph.batch_size")),
    Knob(
        "activations.dtype",
        ("disk",),
        "activations are rounded to 8 bits of precision",
        _one("activations.dtype", "bfloat16"),
    ),
    Knob("model.dtype", ON_DEVICE, "the model computes in 8 bits of precision", _one("model.dtype", "bfloat16")),
    Knob("model.quantize", ("gpu",), "the model is no longer quite itself", _one("model.quantize", "8bit", "4bit")),
    Knob("train.batch_tokens", ON_DEVICE, "training sees fewer tokens a step", _halves("train.batch_tokens", 128)),
    Knob("activations.layers", ("disk", *ON_DEVICE), "fewer layers are looked at", _fewer_layers),
    Knob("train.d_sae", ("disk", *ON_DEVICE), "fewer features a layer", _halves("train.d_sae", 256)),
    Knob("samples.n", ("disk", "memory"), "fewer images", _halves("samples.n", 100)),
)


def get(config: Config, key: str) -> Any:
    """A setting by its dotted name."""
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """The config with these settings changed."""
    for key, value in settings.items():
        section, _, name = key.partition(".")
        config = replace(config, **{section: replace(getattr(config, section), **{name: value})})
    return config


def allowed(config: Config, settings: Mapping[str, Any]) -> bool:
    """Whether a run would accept the settings."""
    try:
        config_from_dict(config_to_dict(with_settings(config, settings)))
    except UserError:
        return False
    return True


def ways(config: Config, shape: ModelShape, limits: Limits, estimator: Estimator) -> list[Way]:
    """What brings a run under its limits: one setting alone where one suffices, else several together; [] for nothing.

    Each has the mildest value that does it.
    """
    found: list[Way] = []
    for what in sorted({b.what for b in broken(estimator(config), limits)}):
        mine = Limits(**{what: getattr(limits, what)})
        useful = [k for k in KNOBS if what in k.helps]
        alone = [s for k in useful if (s := _mildest(config, shape, k, mine, estimator))]
        found += [_way(config, s, mine, estimator) for s in alone]
        if not alone and (several := _together(config, shape, useful, mine, estimator)):
            found.append(_way(config, several, mine, estimator))
    return found


def together(config: Config, shape: ModelShape, limits: Limits, estimator: Estimator) -> Way | None:
    """One set of settings that keeps every limit at once; None where there is none."""
    settings = _together(config, shape, KNOBS, limits, estimator)
    return _way(config, settings, limits, estimator) if settings else None


def _mildest(config: Config, shape: ModelShape, knob: Knob, limits: Limits, estimator: Estimator) -> Settings | None:
    for settings in knob.values(config, shape):
        if not broken(estimator(with_settings(config, settings)), limits) and allowed(config, settings):
            return settings
    return None


def _together(
    config: Config, shape: ModelShape, knobs: Sequence[Knob], limits: Limits, estimator: Estimator
) -> Settings | None:
    """Turn by turn the first knob, by as little as helps, until the limits are kept; None where no turn helps."""
    settings: Settings = {}
    while over := broken(estimator(now := with_settings(config, settings)), limits):
        turned = next((s for k in knobs if (s := _turn(now, shape, k, over, estimator))), None)
        if turned is None:
            return None
        settings |= turned
    return settings


def _turn(
    config: Config, shape: ModelShape, knob: Knob, over: Sequence[Break], estimator: Estimator
) -> Settings | None:
    """The mildest value that needs less of what there is too little of."""
    if not any(b.what in knob.helps for b in over):
        return None
    for settings in knob.values(config, shape):
        after = estimator(with_settings(config, settings))
        if any(needs(after, b.what) < 0.99 * b.needed for b in over) and allowed(config, settings):
            return settings
    return None


def _way(config: Config, settings: Mapping[str, Any], limits: Limits, estimator: Estimator) -> Way:
    before, after = estimator(config), estimator(with_settings(config, settings))
    flags = " ".join(f"--set {key}={_written(value)}" for key, value in settings.items())
    changes = [
        f"{NAMES[what]} {show_bytes(needs(before, what))} -> {show_bytes(needs(after, what))}"
        for what in NAMES
        if getattr(limits, what) is not None
    ]
    old, new = (sum(e.seconds for e in found.values()) for found in (before, after))
    if abs(new - old) > 0.05 * old:
        changes.append(f"time {show_time(old)} -> {show_time(new)}")
    prices = [k.price for k in KNOBS if k.key in settings]
    return Way(dict(settings), f"{flags}  {', '.join(changes)}; {', '.join(prices)}")


def _written(value: Any) -> str:
    """A value as ``--set`` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

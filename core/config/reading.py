"""Reads settings from a TOML preset and ``key=value`` overrides, and checks them.

Unknown keys are refused and all mistakes are reported at once.
"""

from __future__ import annotations

import difflib
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, Literal

from core.config.sections import LANGUAGES, SECTIONS, TOKEN_KINDS, Config, SamplesConfig
from core.errors import UserError

SOURCE_ROOT = Path(__file__).resolve().parents[2]
# Data, runs and models lie in the checkout; for a copy that was installed elsewhere, in the current folder.
PROJECT_ROOT = SOURCE_ROOT if (SOURCE_ROOT / "app.py").is_file() else Path.cwd()
PRESETS_DIR = SOURCE_ROOT / "precompute" / "presets"


GONE = ("gender.n_bootstrap", "mechanisms.fdr")
"""Settings of earlier versions that nothing reads any more: runs that were made with them open as before."""


def load_config(preset: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a preset (its name, or the path of a TOML file), apply ``key=value`` overrides and check everything.

    Raises UserError with all mistakes at once.
    """
    path = _preset_path(preset)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as e:
        raise UserError(f"The preset {path} is not valid TOML.", str(e), "Mend that line and run again.") from e
    tree.setdefault("name", path.stem)
    mistakes = _apply_overrides(tree, overrides)
    return _build(tree, str(path), mistakes)


def preset_names() -> list[str]:
    """Names of the presets that come with the project."""
    return sorted(p.stem for p in PRESETS_DIR.glob("*.toml"))


def config_to_dict(config: Config) -> dict[str, Any]:
    """A JSON-ready dict of all settings; the inverse of ``config_from_dict``."""
    return _plain(asdict(config))


def config_from_dict(tree: Mapping[str, Any]) -> Config:
    """Build a Config from ``config_to_dict``'s form; missing keys take their defaults, unknown ones are refused.

    Those that an earlier version has saved and that are gone are left out.
    """
    known = {
        section: {key: v for key, v in value.items() if f"{section}.{key}" not in GONE}
        if isinstance(value, Mapping)
        else value
        for section, value in tree.items()
    }
    return _build(known, "the saved settings", [])


def fingerprint_part(config: Config, name: str) -> Any:
    """What of ``name`` ("seed", "train", "model.dtype") counts in a fingerprint: places and devices do not."""
    section, _, key = name.partition(".")
    value = getattr(config, section)
    if key:
        return _plain(getattr(value, key))
    if section not in SECTIONS:
        return _plain(value)
    return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.metadata.get("content", True)}


def all_keys() -> list[str]:
    """Every settable key, dotted."""
    return ["name", "seed"] + [f"{s}.{f.name}" for s, cls in SECTIONS.items() for f in fields(cls)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _preset_path(preset: str | Path) -> Path:
    path = Path(preset)
    if path.suffix == ".toml":
        if path.is_file():
            return path
        raise UserError(f"There is no preset file {path}.", "", f"Presets that exist: {', '.join(preset_names())}.")
    found = PRESETS_DIR / f"{preset}.toml"
    if path.name == str(preset) and found.is_file():
        return found
    near = difflib.get_close_matches(str(preset), preset_names(), n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    do = f"{hint}Presets that exist: {', '.join(preset_names())}; or give the path of a .toml file."
    raise UserError(f"There is no preset called {preset}.", "", do)


def _apply_overrides(tree: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    mistakes = []
    for item in overrides:
        key, equals, text = item.partition("=")
        key = key.strip()
        if not equals or not key:
            mistakes.append(f"--set {item}: expected key=value, such as train.k=32")
            continue
        section, dot, name = key.partition(".")
        if key not in all_keys():
            mistakes.append(f"--set {item}: {_unknown(key)}")
        elif dot:
            tree.setdefault(section, {})[name] = _parse(text, typing.get_type_hints(SECTIONS[section])[name])
        else:
            tree[key] = _parse(text, typing.get_type_hints(Config)[key])
    return mistakes


def _parse(text: str, hint: Any) -> Any:
    """The value of an override: text stays text, lists may be written 1,3,5, all else is read as TOML."""
    text = text.strip()
    if typing.get_origin(hint) is tuple and not text.startswith("["):
        (item_hint, *_) = typing.get_args(hint)
        return [_parse(part, item_hint) for part in text.split(",") if part.strip()]
    if hint is str or typing.get_origin(hint) is Literal:
        return text.strip("\"'") if text[:1] in "\"'" else text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # the type check says what was expected


def _unknown(key: str) -> str:
    return "no setting any more; leave it out" if key in GONE else f"unknown key{_nearest(key)}"


def _nearest(key: str) -> str:
    same_name = [k for k in all_keys() if k.rpartition(".")[2] == key.rpartition(".")[2]]
    near = same_name or difflib.get_close_matches(key, all_keys(), n=1)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _build(tree: dict[str, Any], where: str, mistakes: list[str]) -> Config:
    """Build the Config, gathering mistakes; a wrong field takes its default, so that the rest can be checked."""
    bad: set[str] = set()
    top = {f: f for f in ("name", "seed")}
    for key, value in tree.items():
        if key in top and not isinstance(value, Mapping):
            continue
        if key not in SECTIONS:
            what = "section" if isinstance(value, Mapping) else "key"
            mistakes.append(f"{key}: unknown {what}{_nearest_section(key)}")
        elif not isinstance(value, Mapping):
            mistakes.append(f"{key}: expected a section [{key}], got {value!r}")
    config_fields = {f.name: f for f in fields(Config)}
    values = {k: _checked(k, tree, k, Config, config_fields[k], mistakes, bad) for k in top}
    for section, cls in SECTIONS.items():
        given = tree.get(section, {})
        given = given if isinstance(given, Mapping) else {}
        known = {f.name: f for f in fields(cls)}
        mistakes += [f"{section}.{k}: {_unknown(f'{section}.{k}')}" for k in given if k not in known]
        values[section] = cls(
            **{k: _checked(k, given, f"{section}.{k}", cls, f, mistakes, bad) for k, f in known.items()}
        )
    config = Config(**values)
    mistakes += [text for keys, text in _across(config) if not bad & set(keys)]
    if mistakes:
        n = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UserError(
            f"{n} in the settings of {where}.",
            "\n".join(f"  - {m}" for m in mistakes),
            "Mend them in the preset or in --set and run again.",
        )
    return config


def _nearest_section(key: str) -> str:
    near = difflib.get_close_matches(key, [*SECTIONS, "name", "seed"], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _checked(key: str, given: Mapping, dotted: str, cls: type, spec: Any, mistakes: list[str], bad: set[str]) -> Any:
    if key not in given:
        return spec.default
    try:
        value = _convert(given[key], typing.get_type_hints(cls)[key])
        _in_bounds(value, spec.metadata.get("low"), spec.metadata.get("high"))
        return value
    except ValueError as e:
        mistakes.append(f"{dotted}: {e}, got {given[key]!r}")
        bad.add(dotted)
        return spec.default if spec.default is not MISSING else None


def _convert(value: Any, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin is Literal:
        if value not in typing.get_args(hint):
            raise ValueError(f"expected one of {', '.join(typing.get_args(hint))}")
        return value
    if origin is tuple:
        if isinstance(value, str) and typing.get_args(hint)[0] is str:
            value = [value] if value else []  # one text is a list of one
        if not isinstance(value, (list, tuple)):
            raise ValueError("expected a list")
        (item_hint, *_) = typing.get_args(hint)
        return tuple(_convert(v, item_hint) for v in value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:  # bool is no int here
        names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise ValueError(f"expected {names[hint]}")
    return value


def _in_bounds(value: Any, low: float | None, high: float | None) -> None:
    for item in value if isinstance(value, tuple) else (value,):
        if low is not None and item < low:
            raise ValueError(f"expected {low:g} or more")
        if high is not None and item > high:
            raise ValueError(f"expected {high:g} or less")


def _across(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Mistakes that show only between fields, each with the keys it reads."""
    s, t, layers = config.samples, config.train, config.activations.layers
    for key in _lacking(s):
        why = WHY_NEEDED.get(key, f"needed when samples.source is {s.source}")
        yield ("samples.source", f"samples.{key}"), f"samples.{key}: {why}"
    if not s.languages or s.languages != tuple(lang for lang in LANGUAGES if lang in s.languages):
        yield ("samples.languages",), f"samples.languages: expected en, ar or en,ar, got {list(s.languages)}"
    if not layers or list(layers) != sorted(set(layers)):
        yield ("activations.layers",), f"activations.layers: expected rising layer numbers, got {list(layers)}"
    if t.architecture in ("topk", "batchtopk", "matryoshka") and t.k >= t.d_sae:
        yield ("train.k", "train.d_sae"), f"train.k: expected less than train.d_sae ({t.d_sae}), got {t.k}"
    widths = t.matryoshka_widths
    if widths and (list(widths) != sorted(set(widths)) or widths[-1] > t.d_sae):
        text = f"train.matryoshka_widths: expected rising sizes up to train.d_sae ({t.d_sae}), got {list(widths)}"
        yield ("train.matryoshka_widths", "train.d_sae"), text
    yield from _interventions(config)
    if (given := config.sae.source) and not (len(given) == len(layers) or (len(given) == 1 and "{layer" in given[0])):
        text = f"sae.source: expected one place with {{layer}} in it, or one for each of {len(layers)} layers, got "
        yield ("sae.source", "activations.layers"), text + (given[0] if len(given) == 1 else str(len(given)))
    unknown = [k for k in t.tokens if k not in TOKEN_KINDS]
    if unknown or not t.tokens:
        yield ("train.tokens",), f"train.tokens: expected some of {', '.join(TOKEN_KINDS)}, got {list(t.tokens)}"


TEXT_TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json")  # which hold no images


NEEDED = {"demo-world": ("n",), "dataset": ("dataset",), "folder": ("captions",)}  # other sources: images, captions
WHY_NEEDED = {"n": "the demo world has no end; give a number of images"}


def _lacking(s: SamplesConfig) -> list[str]:
    """The settings of samples that are empty and that the source cannot do without."""
    needed = NEEDED.get(s.source, ("images", "captions"))
    if s.source == "folder" and (not s.captions or Path(s.captions).suffix.lower() in TEXT_TABLES):
        needed = ("images", "captions")
    return [key for key in needed if not getattr(s, key)]


def _interventions(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """The same of interventions and crosslingual: words from short lists, and layers that have an SAE."""
    c = config.interventions
    for name, known in INTERVENTION_WORDS.items():
        given = getattr(c, name)
        if not given or len(set(given)) < len(given) or not set(given) <= set(known):
            text = f"interventions.{name}: expected some of {', '.join(known)}, each once, got {list(given)}"
            yield (f"interventions.{name}",), text
    if missing := set(c.pair) - set(c.layers or config.activations.layers):
        text = f"interventions.pair: expected layers among which the interventions choose, which do not have {missing}"
        yield ("interventions.pair", "interventions.layers"), text
    if len(c.pair) > 2 or len(set(c.pair)) < len(c.pair):
        yield ("interventions.pair",), f"interventions.pair: expected two layers, or one for none, got {list(c.pair)}"
    for section in ("interventions", "crosslingual"):
        if missing := sorted(set(getattr(config, section).layers) - set(config.activations.layers)):
            text = f"{section}.layers: expected some of activations.layers, which do not have {missing}"
            yield (f"{section}.layers", "activations.layers"), text
    if not c.k or ("swap" in c.modes and not c.strengths):
        yield ("interventions.k", "interventions.strengths"), "interventions.k and strengths: expected one at least"


INTERVENTION_WORDS = {
    "modes": ("swap", "ablate", "neutralise"),
    "rankings": ("auc", "d", "difference", "effect"),
    "directions": ("difference of means", "probe direction", "LEACE"),
}

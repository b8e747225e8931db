"""``init``: looks at a user's images and captions, writes a commented preset for them, and tells the next command."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from core.config import Config, ModelConfig, load_config
from core.config.sections import LANGUAGE_NAME
from core.errors import UserError
from core.run import atomic_path, check_run_name
from precompute.commands.init.look import Seen, Words, see
from precompute.commands.init.preset import preset_text, sizes
from precompute.forecast.shape import ModelShape, model_shape

PROBLEMS = {
    "empty": "without words or placeholders",
    "language": "in another script",
    "encoding": "with lost or garbled letters",
}


def command(args: argparse.Namespace) -> int:
    """What ``run_init`` does."""
    places = (args.images, args.captions, args.captions_ar, args.dataset, args.revision)
    run_init(args.name, *places, args.model, args.force)
    return 0


def run_init(
    name: str,
    images: str,
    captions: str,
    captions_ar: str,
    dataset: str,
    revision: str,
    model: str,
    force: bool,
    console: Console | None = None,
) -> Path:
    """Write NAME.toml in the current folder and say what was seen; UserError where nothing can be made of it."""
    console = console or Console(highlight=False)
    path = Path.cwd() / f"{check_run_name(name)}.toml"
    if path.exists() and not force:
        raise UserError(
            f"There is a preset {path} already.",
            "What you have changed in it would be lost.",
            "Give another name, or --force.",
        )
    seen = see(images, captions, captions_ar, dataset, revision)
    config = replace(Config(), model=replace(ModelConfig(), name=model))
    shape = model_shape(config)
    with atomic_path(path) as temporary:
        temporary.write_text(preset_text(name, model, seen, shape), encoding="utf-8")
        load_config(temporary)
    for line in lines(seen, model, shape):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"Written: {path}\nNext: python -m precompute plan {path.name}", markup=False, soft_wrap=True)
    return path


def lines(seen: Seen, model: str, shape: ModelShape) -> list[str]:
    """What was seen, a dozen lines."""
    s = seen.settings
    encodings = ", ".join(f"{name} in {encoding}" for name, encoding in seen.encodings.items())
    told = [("data", f"{s['source']}: {encodings or s.get('captions') or s.get('dataset')}")]
    if seen.roles:
        told.append(("columns", _columns(seen)))
    told += [("rows", line) for line in seen.rows]
    told.append(("images", _images(seen)))
    told += [("names", line) for line in seen.names]
    for lang, words in seen.words.items():
        told += [(LANGUAGE_NAME[lang], _captions(words)), ("  gender", _gendered(words))]
    if set(seen.genders) - {""}:
        told.append(("annotated", _counted(Counter({k or "not annotated": n for k, n in seen.genders.items()}))))
    told += [("note", remark) for remark in seen.remarks]
    languages = " and ".join(LANGUAGE_NAME[lang] for lang in seen.languages)
    told.append(("run", f"{seen.n_paired:,} images in {languages}"))
    assumed = "" if shape.known else ", assumed: its config.json is not on this machine"
    layers = ", ".join(map(str, sizes(shape, seen.n_paired, len(seen.languages)).layers))
    of_model = f"{shape.n_layers} layers, d_model {shape.d_model}{assumed}"
    told.append(("model", f"{model}: {of_model}; layers {layers} are read"))
    return [f"{what:10} {text}" for what, text in told]


def _columns(seen: Seen) -> str:
    roles = seen.roles
    assert roles is not None
    named = [
        ("images", roles.image),
        *((LANGUAGE_NAME[lang], roles.captions[lang]) for lang in LANGUAGE_NAME),
        ("gender", roles.gender),
        ("areas", roles.areas),
        ("attributes", ", ".join(roles.attributes)),
        ("might sort images", ", ".join(roles.more_attributes)),
        ("not used", ", ".join(roles.left_over)),
    ]
    return " · ".join(f"{what}: {name}" for what, name in named if name)


def _images(seen: Seen) -> str:
    parts = [f"{seen.n_images:,} listed"]
    if seen.n_missing:
        parts.append(f"{seen.n_missing:,} not there")
    bad = ", ".join(f"{reason.replace('_', ' ')} {n}" for reason, n in sorted(seen.bad.items()))
    parts.append(f"{seen.n_opened} opened" + (f", of which bad: {bad}" if bad else ""))
    if seen.sizes:
        widths, heights = zip(*seen.sizes, strict=True)
        parts.append(f"{min(widths)} to {max(widths)} x {min(heights)} to {max(heights)} pixels")
    return ", ".join(parts)


def _captions(words: Words) -> str:
    least, middle, most = words.per_image
    text = f"{words.n:,} captions of {words.n_images:,} images, {middle} an image ({least} to {most})"
    left_out = ", ".join(f"{PROBLEMS[problem]} {n:,}" for problem, n in sorted(words.problems.items()))
    return text + (f"; left out: {left_out}" if left_out else "")


def _gendered(words: Words) -> str:
    n = sum(words.genders.values())
    shares = [
        f"{gender} {words.genders[gender] / n:.0%}"
        for gender in ("female", "male", "both", "unmarked", "neutral", "none")
        if words.genders[gender]
    ]
    top = ", ".join(word for word, _ in words.words.most_common(6))
    return f"{', '.join(shares) or 'no caption'}" + (f"; {top}" if top else "")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {n:,}" for what, n in counts.most_common())

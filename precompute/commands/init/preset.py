"""Writes the preset of a new run: settings for the data that was seen and the size of the model, with comments."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from core.config.sections import LANGUAGE_NAME
from precompute.commands.init.look import Seen
from precompute.forecast.shape import ModelShape
from precompute.forecast.work import CAPTION_SHARE, TEXT_TOKENS

MOST_IMAGES = 2000
LARGE = 1024  # d_model from which on a model gets the settings of a large one
PASSES = 20  # of the training over the stored tokens
COMMENTS = {
    "source": "what form the data has: docs/data.md",
    "images": "folder, zip or tar",
    "captions": "",
    "captions_ar": "the same images in Arabic",
    "image_column": "file names, or the images themselves",
    "en_column": "",
    "ar_column": "",
    "gender_column": "male, female or neutral, as annotated",
    "areas_column": "boxes of person and object in pixels, as JSON",
    "attribute_columns": "name=column; the stages bias and labels sort images by them",
    "languages": "en, ar or both",
    "dataset": "written by save_to_disk, or a hub name",
    "dataset_revision": "commit of the hub name",
    "dataset_split": "+ joins several",
}


@dataclass(frozen=True)
class Sizes:
    """Settings that follow from the model and the number of images."""

    dtype: str
    layers: list[int]
    d_sae: int
    k: int
    steps: int
    passes: int
    batch_tokens: int
    batch_size: int
    max_new_tokens: int


def sizes(shape: ModelShape, n_images: int, n_languages: int) -> Sizes:
    """Every fourth layer or so; a dictionary of 6 to 8 times d_model; 20 passes over the tokens."""
    large = shape.d_model >= LARGE
    step = max(1, shape.n_layers // (8 if shape.n_layers >= 16 else 4))
    layers = list(range(step // 2, shape.n_layers, step))
    new, batch = (64, 4096) if large else (40, 1024)
    tokens = n_images * n_languages * (shape.image_tokens + TEXT_TOKENS + CAPTION_SHARE * new)
    steps = int(min(max(PASSES * tokens / batch, 200), 20_000))
    d_sae = 2 ** round(math.log2(6.4 * shape.d_model)) if large else 8 * shape.d_model
    passes = max(1, round(steps * batch / tokens))
    dtype, k, rows = ("bfloat16", 64, 16) if large else ("float32", 24, 64)
    return Sizes(dtype, layers, d_sae, k, steps, passes, batch, rows, new)


def preset_text(name: str, model: str, seen: Seen, shape: ModelShape) -> str:
    """A whole TOML preset."""
    n = min(seen.n_paired, MOST_IMAGES)
    s = sizes(shape, n, len(seen.languages))
    parts = [_head(name, model, seen), _samples(seen), _model(model, s, shape, seen), _rest(s, shape, seen)]
    return "\n".join(parts)


def _head(name: str, model: str, seen: Seen) -> str:
    languages = " and ".join(LANGUAGE_NAME[lang] for lang in seen.languages)
    return (
        f"# {_line(model)} on {seen.n_paired:,} images with captions in {languages}.\n"
        f"# Written by: python -m precompute init {name}\n"
        f"# Change what you like, then: python -m precompute plan {name}.toml\n"
        "seed = 0\n"
    )


def _samples(seen: Seen) -> str:
    settings: dict[str, Any] = {"source": seen.settings["source"]}
    settings["n"] = MOST_IMAGES if seen.n_paired > MOST_IMAGES else 0
    settings |= {key: value for key, value in seen.settings.items() if value not in ("", ())}
    lacking = [f"{lang}_column" for lang in LANGUAGE_NAME if lang not in seen.languages]
    comments = COMMENTS | {"n": "images, a random choice; 0 = all" if settings["n"] else "images; 0 = all"}
    for lang in seen.languages:
        comments[f"{lang}_column"] = f"captions in {LANGUAGE_NAME[lang]}"
    lines = [
        f"{key} = {_toml(value)}" + (f"  # {comments[key]}" if comments.get(key) else "")
        for key, value in settings.items()
        if key not in lacking
    ]
    roles = seen.roles
    if roles and roles.more_attributes:
        lines.append(f"# more columns that sort the images: {_toml(roles.more_attributes)}")
    lines += [f"# {_line(remark)}" for remark in seen.remarks]
    lines += ["test_share = 0.2", f"max_side = {_max_side(seen)}  # pixels; larger images are scaled down"]
    return "\n".join(["[samples]", *lines, ""])


def _max_side(seen: Seen) -> int:
    return max([64, *(min(896, max(size)) for size in seen.sizes)])


def _model(model: str, s: Sizes, shape: ModelShape, seen: Seen) -> str:
    known = "" if shape.known else " (assumed, as of Gemma 3 4B: its config.json is not on this machine)"
    prompts = {"en": "Describe the image in one sentence.", "ar": "صف الصورة في جملة واحدة."}
    if shape.d_model < LARGE:
        prompts = {"en": "Describe the image.", "ar": "صف الصورة."}
    asked = [f"prompt_{lang} = {_toml(prompts[lang])}" for lang in seen.languages]
    return "\n".join(
        [
            "[model]",
            f"name = {_toml(model)}  # hub id, or a folder",
            f'dtype = "{s.dtype}"',
            "",
            "[caption]",
            'source = "own"  # "references": the model reads captions of the data in the place of its own',
            *asked,
            f"max_new_tokens = {s.max_new_tokens}",
            f"batch_size = {s.batch_size}  # rows",
            "",
            "[activations]",
            f"layers = {s.layers}  # of {shape.n_layers}, 0-based{known}",
            'dtype = "bfloat16"',
            "",
        ]
    )


def _rest(s: Sizes, shape: ModelShape, seen: Seen) -> str:
    auxk = shape.d_model // 2
    lines = [
        "[train]",
        'architecture = "topk"',
        f"d_sae = {s.d_sae}  # features a layer",
        f"k = {s.k}  # active ones a token",
        f"steps = {s.steps}  # about {s.passes} times over the tokens",
        f"batch_tokens = {s.batch_tokens}",
        "# lr = 1e-3  # 0.6 / d_model where none is given",
        f"auxk = {auxk}  # half of d_model",
        "",
        "# [words]",
        '# lexicon_en = "my-english.tsv"  # in the place of core/words/lexicons/en.tsv, same columns',
        "",
        "[gender]",
        "min_images = 20  # of each gender, below which nothing is said",
        "",
    ]
    if len(seen.languages) == 2:
        middle = s.layers[len(s.layers) // 2 - 1]
        lines += [
            "[crosslingual]",
            f"layers = [{middle}]  # with SAEs of one language each: four trainings a layer",
            f"d_sae = {s.d_sae // 2}",
            f"k = {max(8, s.k * 3 // 4)}",
            f"steps = {max(100, s.steps // 2)}",
            "",
        ]
    if shape.d_model < LARGE:
        lines += [
            "[interventions]",
            "k = [1, 5, 25, 50]",
            "n_images = 32",
            "n_development = 24",
            "",
            "[explain]",
            "n_features = 32  # a layer",
            "n_dose_images = 8",
            "",
        ]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """A value as TOML writes it; JSON's text and lists are TOML too."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())

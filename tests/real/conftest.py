"""The published tokenizer of Gemma 3 and a checkpoint around real weights, where they are: pytest -m real

Nothing of them is part of the project. ``CAPTIONSCOPE_REAL_TOKENIZER`` is a folder with the published tokenizer.json
and tokenizer_config.json, ``CAPTIONSCOPE_REAL_MODEL`` a Gemma 3 checkpoint that takes images. What is not there is
skipped, with the reason.
"""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path
from typing import Any

import pytest

from core.demo.world import DemoWorld
from tests.words.gold import gold

TOKENIZER, MODEL = "CAPTIONSCOPE_REAL_TOKENIZER", "CAPTIONSCOPE_REAL_MODEL"
SHA256 = "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795"  # of Gemma 3's tokenizer.json, 4B to 27B
N_DEMO = 200  # captions of the demo grammar a language, beside all sentences of the gold sets
EMOJI = (
    "🧑‍🚀",
    "👩🏽‍⚕️",
    "🦩",
    "🫏",
    "𝒜",
    "🏳️‍🌈",
)  # some are pieces, some fall back to bytes, some join several characters


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What stands here is run with -m real alone; the suite leaves it out."""
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in mine:
        item.add_marker("real")
    if "real" not in config.option.markexpr:
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if item not in mine]


def real_folder(variable: str, needs: str) -> Path:
    """The folder that an environment variable names; the test is skipped where there is none."""
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set")
    folder = Path(os.environ[variable])
    if not (folder / needs).is_file():
        pytest.skip(f"{variable} has no {needs}: {folder}")
    return folder


@pytest.fixture(scope="session")
def real_tokenizer() -> Any:
    """The published tokenizer, as transformers loads it; fails where the file is another."""
    from transformers import AutoTokenizer

    folder = real_folder(TOKENIZER, "tokenizer.json")
    found = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    assert found == SHA256, f"{folder}/tokenizer.json is not the published one: {found}"
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="session")
def real_model_folder() -> Path:
    """Where the checkpoint is."""
    return real_folder(MODEL, "config.json")


@pytest.fixture(scope="session")
def real_vlm(real_model_folder: Path) -> Any:
    """The checkpoint with its adapter, in float32 on the CPU."""
    from core.vlm import load_vlm

    return load_vlm(str(real_model_folder))


@pytest.fixture(scope="session")
def real_captions() -> dict[str, list[str]]:
    """Captions by language: of the demo grammar, and the open sentences of the gold sets."""
    world, rng = DemoWorld(), random.Random(0)
    found: dict[str, list[str]] = {}
    for lang in ("en", "ar"):
        scenes = [world.scene(rng) for _ in range(N_DEMO)]
        found[lang] = [rng.choice(world.references(scene, lang, rng)) for scene in scenes]
        found[lang] += [sentence.text for sentence in gold(lang)]
    return found

"""Every command of docs/using-your-own.md runs, in its order, with the demo's captioner in Gemma's place.

The set is 48 scenes of the demo world, saved as photographs and a CSV. ``pip`` is what made this environment, a hub is
not asked here, and ``streamlit run`` is the app, which is opened on the runs that the commands have made.
"""

import csv
import json
import random
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.demo.world import LANGUAGES, DemoWorld
from core.errors import UserError
from core.run import Run
from precompute.__main__ import main
from tests.pages.visitor import visitor, words
from tests.sae.scope_toys import hub_cache
from tests.small_run import ROOT, SMALL

PAGE = ROOT / "docs" / "using-your-own.md"
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    for line in block.strip().splitlines()
]
NOT_RUN = {"pip install -r requirements.txt", "hf auth login"}
N_IMAGES, LAYER = 48, 5
SMALLER = [s for s in SMALL if not s.startswith(("samples.", "activations.layers", "train.steps"))]
SMALLER += [
    f"activations.layers=[{LAYER}]",
    f"crosslingual.layers=[{LAYER}]",
    f"interventions.layers=[{LAYER}]",
    "train.steps=60",
    "model.device=cpu",
    "caption.max_new_tokens=16",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with photographs, their captions, captions before and after, and SAEs that somebody else trained."""
    folder = tmp_path_factory.mktemp("own")
    world, rng = DemoWorld(), random.Random(0)
    (folder / "photos").mkdir()
    with open(folder / "captions.csv", "w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["image", "en_caption", "ar_caption"])
        for i in range(N_IMAGES):
            scene = world.scene(rng, gender=("female", "male", "neutral")[i % 3])
            Image.fromarray(np.asarray(world.render(scene))).save(folder / "photos" / f"{i:04d}.jpg", quality=95)
            references = [world.references(scene, lang, rng) for lang in LANGUAGES]
            lines.writerows([f"{i:04d}.jpg", en, ar] for en, ar in zip(*references, strict=True))
    with open(folder / "before-after.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["image_id", "before", "after"], *([i, "A man.", "A person."] for i in range(30))])
    hub_cache(folder / "hub", d_model=192, d_sae=64, layers=(LAYER,))
    return folder


def adapted(command: str, place: Path) -> list[str]:
    """The command's words with this machine's places, the small model, and small settings where it computes."""
    for name, here in (
        ("google/gemma-3-4b-it", "data/demo-captioner"),
        ("/data", str(place)),
        ("image_tokens=64", "image_tokens=8"),
        ("--max-vram", "--max-ram"),
        ("samples.n=60", "samples.n=12"),
    ):
        command = command.replace(name, here)
    arguments = shlex.split(command.removeprefix("python -m precompute "))
    if arguments[0] in ("plan", "run", "slurm"):
        given = {a.partition("=")[0] for a in arguments}
        arguments += [part for s in SMALLER if s.partition("=")[0] not in given for part in ("--set", s)]
    return arguments


def test_the_guide_leads_from_photographs_to_the_app(place, monkeypatch, capsys):
    cache = place / "cache"
    monkeypatch.chdir(place)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    go = visitor(cache, monkeypatch)
    opened = []
    for command in COMMANDS:
        if command in NOT_RUN:
            continue
        if command == "streamlit run app.py":
            opened.append(sorted(run.name for run in cache.iterdir() if (run / "manifest.json").exists()))
            assert "cs-caption" in words(go("pages/look/samples.py", run=opened[-1][-1])), opened
            continue
        assert command.startswith("python -m precompute "), f"{command}: no test knows how to run it"
        try:
            code = main(adapted(command, place))
        except SystemExit as stop:  # argparse says what it did not understand
            raise AssertionError(f"{command}: {capsys.readouterr().err}") from stop
        except UserError as error:
            raise AssertionError(f"{command}: {error}") from error
        said = capsys.readouterr()
        assert code == 0, f"{command}: {said.out}{said.err}"
    assert len(opened) == 2
    manifest = Run(cache / "my-photos").manifest()
    from precompute.pipeline import stages

    assert list(manifest.stages) == [stage.name for stage in stages()], "the whole study has run"
    assert json.loads((cache / "my-photos" / "prepare_report.json").read_text())["n_samples"] == N_IMAGES
    for page in ("features/gender", "languages/alignment", "causes/interventions", "causes/mechanisms"):
        go(f"pages/{page}.py", run="my-photos")


def test_the_guide_names_every_page_that_it_sends_to():
    linked = re.findall(r"\]\((\w[\w-]+\.md)\)", PAGE.read_text(encoding="utf-8"))
    assert {"models.md", "data.md", "saes.md", "long-runs.md"} <= set(linked)
    assert all((PAGE.parent / name).is_file() for name in linked)

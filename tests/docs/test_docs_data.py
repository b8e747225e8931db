"""docs/data.md: every example is written to files as it stands there, read with its settings, and found by init."""

import re
import tomllib

import pytest

from core.config import config_from_dict, load_config
from core.samples.checks import caption_problem, clean_caption
from core.samples.sources import digest, load
from precompute.__main__ import main
from tests.own_data import picture, write_zip
from tests.small_run import ROOT

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
SECTIONS = {
    title: text
    for title, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S)
    if "```toml" in text
}
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", flags=re.M | re.S)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """example(title) -> the settings of a section; its files lie in the current folder, as in the project's."""
    monkeypatch.chdir(tmp_path)
    for module in ("core.samples.pictures", "precompute.init.look"):
        monkeypatch.setattr(f"{module}.PROJECT_ROOT", tmp_path)

    def write(title: str):
        (tmp_path / "images").mkdir()
        named = {}
        for i, name in enumerate(("0001.jpg", "0002.jpg", "OO_1.jpg", "OO_2.jpg")):
            picture(i).save(tmp_path / "images" / name)
            named[name] = (tmp_path / "images" / name).read_bytes()
        write_zip(tmp_path / "images.zip", named)
        tree = {}
        for kind, name, text in BLOCK.findall(SECTIONS[title]):
            if kind == "toml":
                tree = tomllib.loads(text)
            elif kind == "python":
                exec(text, {})
            elif name:
                (tmp_path / name).write_text(text, encoding="utf-8")
        return config_from_dict({**tree, "samples": {"n": 0, **tree["samples"]}})

    return write


@pytest.mark.parametrize("title", SECTIONS)
def test_every_example_is_read_by_its_settings(example, title):
    config = example(title)
    first, second = load(config.samples, 0)
    assert first.open().size == second.open().size == (64, 48) and first.open() != second.open()
    for sample in (first, second):
        for lang in config.samples.languages:
            assert sample.captions[lang]
            assert not any(caption_problem(clean_caption(text), lang) for text in sample.captions[lang])
    assert len(digest(config)) == 64


@pytest.mark.parametrize("title", SECTIONS)
def test_init_finds_the_same_settings(example, title, tmp_path, monkeypatch):
    monkeypatch.setattr("precompute.init.look.MIN_PAIRED", 2)
    right = example(title).samples
    places = [
        (f"--{key.replace('_', '-')}", getattr(right, key)) for key in ("images", "captions", "captions_ar", "dataset")
    ]
    given = [part for name, value in places if value for part in (name, value)]
    assert main(["init", "mine", *given, "--model", "no-such/model"]) == 0
    mine = load_config(tmp_path / "mine.toml").samples
    assert load(mine, 0) == load(right, 0) and mine.languages == right.languages


def test_every_source_of_own_data_has_its_section():
    from core.samples.sources import SOURCES

    blocks = [block for section in SECTIONS.values() for block in BLOCK.findall(section)]
    named = {tomllib.loads(text)["samples"]["source"] for kind, _, text in blocks if kind == "toml"}
    assert named == set(SOURCES) - {"demo-world"}

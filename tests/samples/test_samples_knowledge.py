"""What a source knows of its images reaches those who can use it, through the protocol and nothing else."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core.config import Config, SamplesConfig
from core.crosslingual.things import things
from core.errors import UserError
from core.interventions.images import NO_SAMPLE, fresh_images
from core.interventions.outcomes import Reader, outcomes
from core.samples.sources import (
    SOURCES,
    FreshImage,
    Knowledge,
    Listing,
    RawSample,
    count,
    digest,
    imported,
    knowledge,
    load,
)

TREES = {"apple": "تفاح", "pine": "صنوبر"}


class Trees:
    """Two images; nothing is known but the captions."""

    is_far = False

    def __init__(self, config: SamplesConfig):
        self.config = config

    def load(self, config: SamplesConfig, seed: int) -> Listing:
        captions = {"en": ["A man by a tree."], "ar": ["رجل قرب الشجرة"]}
        return Listing(RawSample(str(seed + i), captions, lambda: Image.new("RGB", (8, 8))) for i in range(2))

    def count(self) -> int:
        return 2

    def digest(self, kind: str) -> str:
        return f"{kind} of two"


class KnownTrees(Trees, Knowledge):
    """The same, where it is known who stands by which tree."""

    makes_images = True

    def fresh(self, samples: pd.DataFrame, n: int, seed: int) -> list[FreshImage]:
        taken = set(samples["attributes"])
        names = [f"tree {seed + i}" for i in range(n + len(taken)) if f"tree {seed + i}" not in taken][:n]
        return [FreshImage("female", name, lambda: Image.new("RGB", (8, 8), "green")) for name in names]

    def shown(self, gender, attributes):
        return {"gender": gender, "role": "gardener", "object": attributes} if attributes in TREES else None

    def said(self, text, lang):
        found = next((tree for tree in TREES if tree in text), None)
        return {"gender": "male" if "man" in text.split() else None, "role": None, "object": found}

    def thing(self, attributes, lang):
        return TREES.get(attributes, "")


@pytest.fixture
def settings(monkeypatch):
    for source in (Trees, KnownTrees):
        monkeypatch.setitem(SOURCES, source.__name__, f"{__name__}:{source.__name__}")
    return lambda source: replace(SamplesConfig(), source=source, n=0)


@pytest.mark.parametrize("source", ["Trees", "KnownTrees"])
def test_a_source_is_listed_counted_and_hashed_by_its_name(settings, source):
    config = settings(source)
    assert [sample.image_id for sample in load(config, 5)] == ["5", "6"]
    assert count(config) == 2 and count(replace(config, n=1)) == 1
    assert digest(config) == f"{source} of two"


def test_what_a_source_knows_reaches_images_outcomes_and_words_for_things(settings):
    source = knowledge(settings("KnownTrees"))
    samples = pd.DataFrame({"attributes": ["tree 1", "tree 3"]})
    made = fresh_images(source, samples, 3, 1)
    assert [(s.image, s.sample_id, s.attributes) for s in made] == [
        (0, NO_SAMPLE, "tree 2"),
        (1, NO_SAMPLE, "tree 4"),
        (2, NO_SAMPLE, "tree 5"),
    ]
    assert made[0].draw().getpixel((0, 0)) == (0, 128, 0)
    reader = Reader("en", frozenset(), source=source)
    said = outcomes("A man by a pine.", "A woman by a pine.", reader, source.shown("male", "apple"))
    assert (said["right_gender"], said["right_role"], said["right_object"]) == (True, False, False)
    words, stands = things([""] * 12, [source.thing(tree, "ar") for tree in TREES] * 6, [])
    assert words == sorted(TREES.values())
    np.testing.assert_array_equal(stands.sum(axis=0), [6, 6])


def test_where_a_source_knows_nothing_nothing_is_claimed(settings):
    source = knowledge(settings("Trees"))
    assert not source.makes_images and fresh_images(source, pd.DataFrame(), 3, 1) == []
    truth = source.shown("male", '{"role": "cook", "object": "dog"}')
    said = outcomes("A man by a pine.", "A woman by a pine.", Reader("en", frozenset(), source=source), truth)
    assert {said[f"right_{name}"] for name in ("gender", "role", "object")} == {None}
    texts = ["رجل قرب الشجرة", "امرأة قرب شجرة"] * 5
    words, _ = things([*texts, *["كلب"] * 10], [source.thing("apple", "ar")] * 20, ["رجل", "امرأة"])
    assert words == ["شجرة"]


def test_what_is_known_is_asked_of_a_source_whose_files_are_gone():
    config = replace(SamplesConfig(), source="folder", images="/no/such/images", captions="/no/such/table.csv")
    with pytest.raises(UserError):
        load(config, 0)
    assert not knowledge(config).makes_images


@pytest.mark.parametrize(("source", "other"), [("demo-world", "core.samples.coco"), ("coco", "core.demo")])
def test_a_source_is_loaded_without_the_others(source, other):
    code = (
        "import sys; from core.config import Config, SamplesConfig; from core.samples.sources import knowledge\n"
        "import core.interventions.outcomes, core.crosslingual.things\n"
        f"knowledge(SamplesConfig(source={source!r})); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert imported(Config(samples=SamplesConfig(source=source))) <= set(loaded)
    assert not [name for name in loaded if name == other or name.startswith(f"{other}.")]

"""The source ``demo-world``: scenes that are drawn as they are opened, with their captions and known truths."""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from core.config import SamplesConfig
from core.demo.world import (
    BACKGROUNDS,
    DATA_DIR,
    GENDERS,
    LANGUAGES,
    OBJECTS,
    ROLES,
    UNMARKED,
    DemoWorld,
    Scene,
    is_held_out,
    read,
)
from core.samples.sources import FreshImage, Knowledge, Listing, RawSample, ranked, split

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT_TEST_SHARE = 0.1  # of the test images; training images have none
CONTENT = ("role", "object", "background", "style", "tone")  # attributes that say, with the gender, what a scene shows
ROLE_KEYS, OBJECT_WORDS = {role.key for role in ROLES}, {thing.key: thing for thing in OBJECTS}


class DemoSource(Knowledge):
    """Scenes of the demo world as a source of samples; it knows what every scene shows and can make new ones."""

    is_far = False
    makes_images = True
    world_name = "the demo world"
    looks_like = "Scenes of emoji art."
    image_bytes = 6e3  # small and flat PNGs

    def __init__(self, config: SamplesConfig):
        self.n, self.planted, self.world = config.n, config.planted, DemoWorld(config.planted)

    def load(self, config: SamplesConfig, seed: int) -> Listing:
        """``n`` different scenes; a tenth of the test images, and no other, show a held-out role x object pair."""
        ids = [f"demo-{seed}-{i:06d}" for i in range(config.n)]
        sides = split(ids, seed, config.test_share)
        test = [i for i, side in zip(ids, sides, strict=True) if side == "test"]
        held_out = set(ranked(test, seed, "held out")[: round(len(test) * HELD_OUT_TEST_SHARE)])
        seen: set[Scene] = set()
        samples = []
        for image_id, side in zip(ids, sides, strict=True):
            rng = random.Random(f"scene {image_id}")
            scene = self.world.scene(rng, held_out=image_id in held_out)
            while scene in seen:
                scene = self.world.scene(rng, held_out=image_id in held_out)
            seen.add(scene)
            captions = {c: self.world.references(scene, c, random.Random(f"{c} {image_id}")) for c in LANGUAGES}
            opener = functools.partial(_rendered, self.world, scene)
            attributes = json.dumps(self._planted(scene), ensure_ascii=False)
            areas = self.world.areas(scene)
            samples.append(RawSample(image_id, captions, opener, scene.gender, attributes, side, areas=areas))
        return Listing(samples)

    def count(self) -> int:
        """As many scenes as are asked for."""
        return self.n

    def digest(self, kind: str) -> str:
        """A hash of what scenes are made of."""
        total = hashlib.sha256(kind.encode())
        for name in ("roles.tsv", "objects.tsv", "backgrounds.tsv", "sprites.parquet"):
            total.update(f"\0{name}\0{hashlib.sha256((DATA_DIR / name).read_bytes()).hexdigest()}".encode())
        return total.hexdigest()

    def fresh(self, samples: pd.DataFrame, n: int, seed: int) -> list[FreshImage]:
        """Scenes that are in no image of the run, as many women as men as neutral persons.

        A scene counts as known when a sample shows the same role, gender, object, background, style and tone, wherever
        they stand.
        """
        shown = zip(samples["attributes"], samples["gender"], strict=True)
        known = {_content(json.loads(attributes), gender) for attributes, gender in shown}
        found = []
        for image in range(n):
            rng = random.Random(f"fresh scene {seed} {image}")
            while True:
                scene = self.world.scene(rng, gender=GENDERS[image % len(GENDERS)])
                attributes = _shows(scene)
                if (content := _content(attributes, scene.gender)) not in known:
                    break
            known.add(content)
            draw = functools.partial(_rendered, self.world, scene)
            found.append(FreshImage(scene.gender, json.dumps(attributes, ensure_ascii=False), draw))
        return found

    def shown(self, gender: str, attributes: str) -> Mapping[str, str] | None:
        known = json.loads(attributes) if attributes else {}
        if known.get("role") not in ROLE_KEYS or known.get("object") not in OBJECT_WORDS:
            return None
        return {"gender": gender, "role": known["role"], "object": known["object"]}

    def said(self, text: str, lang: str) -> Mapping[str, str | None]:
        reading = read(text, lang)
        return {
            # As of a man, whose captions are spelt like it: right where the image shows one, wrong of a woman.
            "gender": "male" if reading.gender == UNMARKED else reading.gender,
            "role": None if reading.role is None else ROLES[reading.role].key,
            "object": None if reading.object is None else OBJECTS[reading.object].key,
        }

    def thing(self, attributes: str, lang: str) -> str:
        key = json.loads(attributes).get("object") if attributes else None
        return getattr(OBJECT_WORDS[key], lang) if key in OBJECT_WORDS else ""

    def _planted(self, scene: Scene) -> dict[str, object]:
        """Everything that is known of a scene, with the planted p(male) of its role where there is one."""
        planted = {f"p_male_{lang}": self.world.p_male(scene.role, lang) for lang in LANGUAGES}
        return {
            **_shows(scene),
            **{name: p for name, p in planted.items() if p is not None},
            "generic": ROLES[scene.role].generic,
            "held_out": is_held_out(scene.role, scene.object),
        }


def _rendered(world: DemoWorld, scene: Scene) -> Image.Image:
    return Image.fromarray(np.asarray(world.render(scene)))


def _shows(scene: Scene) -> dict[str, object]:
    return {
        "role": ROLES[scene.role].key,
        "object": OBJECTS[scene.object].key,
        "background": BACKGROUNDS[scene.background].key,
        "style": scene.style,
        "tone": scene.tone,
    }


def _content(attributes: Mapping[str, object], gender: str) -> tuple[object, ...]:
    return (gender, *(attributes[name] for name in CONTENT))

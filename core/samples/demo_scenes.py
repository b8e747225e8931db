"""The source ``demo-world``: scenes that are drawn as they are opened, with their captions and known truths."""

from __future__ import annotations

import functools
import hashlib
import json
import random

import numpy as np
from PIL import Image

from core.config import SamplesConfig
from core.samples.demo_world import (
    BACKGROUNDS,
    DATA_DIR,
    LANGUAGES,
    OBJECTS,
    ROLES,
    DemoWorld,
    Scene,
    is_held_out,
)
from core.samples.listed import Listing, RawSample
from core.samples.split import ranked, split

HELD_OUT_TEST_SHARE = 0.1  # of the test images; training images have none


def demo_scenes(config: SamplesConfig, seed: int) -> Listing:
    """``n`` different scenes; a tenth of the test images, and no other, show a held-out role x object pair."""
    world = DemoWorld(config.planted)
    ids = [f"demo-{seed}-{i:06d}" for i in range(config.n)]
    sides = split(ids, seed, config.test_share)
    test = [i for i, side in zip(ids, sides, strict=True) if side == "test"]
    held_out = set(ranked(test, seed, "held out")[: round(len(test) * HELD_OUT_TEST_SHARE)])
    seen: set[Scene] = set()
    samples = []
    for image_id, side in zip(ids, sides, strict=True):
        rng = random.Random(f"scene {image_id}")
        scene = world.scene(rng, held_out=image_id in held_out)
        while scene in seen:
            scene = world.scene(rng, held_out=image_id in held_out)
        seen.add(scene)
        captions = {c: world.references(scene, c, random.Random(f"{c} {image_id}")) for c in LANGUAGES}
        opener = functools.partial(_rendered, world, scene)
        samples.append(RawSample(image_id, captions, opener, scene.gender, _attributes(world, scene), side))
    return Listing(samples)


def demo_digest() -> str:
    """A hash of what scenes are made of."""
    total = hashlib.sha256(b"demo-world")
    for name in ("roles.tsv", "objects.tsv", "backgrounds.tsv", "sprites.parquet"):
        total.update(f"\0{name}\0{hashlib.sha256((DATA_DIR / name).read_bytes()).hexdigest()}".encode())
    return total.hexdigest()


def _rendered(world: DemoWorld, scene: Scene) -> Image.Image:
    return Image.fromarray(np.asarray(world.render(scene)))


def _attributes(world: DemoWorld, scene: Scene) -> str:
    known = {
        "role": ROLES[scene.role].key,
        "object": OBJECTS[scene.object].key,
        "background": BACKGROUNDS[scene.background].key,
        "style": scene.style,
        "tone": scene.tone,
        "p_male_en": world.p_male(scene.role, "en"),
        "p_male_ar": world.p_male(scene.role, "ar"),
        "held_out": is_held_out(scene.role, scene.object),
    }
    return json.dumps(known, ensure_ascii=False)

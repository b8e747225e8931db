"""The images of the interventions: some to choose on, others to confirm on, none that an SAE was trained on."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.samples.demo_world import BACKGROUNDS, GENDERS, OBJECTS, ROLES, DemoWorld, Scene

NO_SAMPLE = -1  # the sample_id of a fresh scene


@dataclass(frozen=True)
class Subject:
    """One image: its number among those of its phase, its sample (or NO_SAMPLE), what it shows, and its scene."""

    image: int
    sample_id: int
    gender: str
    attributes: str
    scene: Scene | None = None


def held_out(
    samples: pd.DataFrame, gender: Mapping[int, str], n_development: int, n_images: int, seed: int, fresh: bool
) -> tuple[list[Subject], list[Subject]]:
    """Held-out images cut in two at random: those to choose on, and those to confirm on (none where scenes are fresh).

    Where there are fewer than are asked for, a quarter serves to choose.
    """
    test = np.sort(samples.loc[samples["split"] == "test", "sample_id"].to_numpy(int))
    order = np.random.default_rng([seed, 0]).permutation(test).tolist()
    cut = min(n_development, len(order)) if fresh else min(n_development, len(order) // 4)
    attributes = samples.set_index("sample_id")["attributes"]

    def subjects(ids: Iterable[int]) -> list[Subject]:
        return [Subject(n, i, gender[i], str(attributes[i] or "")) for n, i in enumerate(sorted(ids))]

    return subjects(order[:cut]), [] if fresh else subjects(order[cut : cut + n_images])


def fresh_scenes(samples: pd.DataFrame, n: int, seed: int, planted: bool = True) -> list[Subject]:
    """Scenes of the demo world that are in no image of the run, as many women as men as neutral persons.

    A scene counts as known when a sample shows the same role, gender, object, background, style and tone, wherever they
    stand.
    """
    known = {_content(json.loads(row.attributes), row.gender) for row in samples.itertuples()}
    world, found = DemoWorld(planted), []
    for image in range(n):
        rng = random.Random(f"fresh scene {seed} {image}")
        while True:
            scene = world.scene(rng, gender=GENDERS[image % len(GENDERS)])
            there = {
                "role": ROLES[scene.role].key,
                "object": OBJECTS[scene.object].key,
                "background": BACKGROUNDS[scene.background].key,
                "style": scene.style,
                "tone": scene.tone,
            }
            if (content := _content(there, scene.gender)) not in known:
                break
        known.add(content)
        found.append(Subject(image, NO_SAMPLE, scene.gender, json.dumps(there, ensure_ascii=False), scene))
    return found


def _content(attributes: Mapping[str, object], gender: str) -> tuple[object, ...]:
    return (gender, *(attributes[name] for name in ("role", "object", "background", "style", "tone")))

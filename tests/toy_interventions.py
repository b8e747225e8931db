"""Interventions made up so that everything about them is known, and the tables that their page reads."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

import pandas as pd

from core.config import SamplesConfig
from core.demo.world import OBJECTS, ROLES, DemoWorld, Scene, caption
from core.interventions import tables
from core.interventions.designs import (
    FEATURES,
    MEANS,
    NONE,
    PROBE,
    Arm,
    Design,
    Settings,
    arms_of,
    choose,
    comparisons,
    designs,
    grid,
    tried_untrained,
    with_untrained,
)
from core.interventions.outcomes import Reader, common_words, outcomes
from core.run import Run
from core.run.tables import TABLES
from core.samples.sources import knowledge
from tests.toy_run import add_record

SETTINGS = Settings(
    (1, 3),
    (1, 5, 25),
    25,
    ("swap", "ablate", "neutralise"),
    ("auc",),
    (0.5, 1.0),
    20,
    5,
    (MEANS, PROBE),
    3,
    n_dictionaries=5,
)
Behaviour = Callable[[Arm, str], tuple[float, float]]
"""(share of captions whose gender is flipped, share that is destroyed) under an arm, in a language."""
DESTROYED = {"en": "The the the the the the the the", "ar": "في في في في في في في في"}


def specific(arm: Arm, lang: str) -> tuple[float, float]:
    """Target features flip, the more the larger k; controls, identity and the prompt do nothing."""
    if arm.draw >= 0 or arm.method not in (FEATURES, MEANS, PROBE):
        return 0.0, 0.0
    share = min(1.0, 0.2 + 0.03 * arm.k) if arm.method == FEATURES else 0.9
    return (share if 3 in (arm.layer, arm.with_layer) else 0.1), 0.0


def nothing(arm: Arm, lang: str) -> tuple[float, float]:
    """No change does anything."""
    return 0.0, 0.0


def unspecific(arm: Arm, lang: str) -> tuple[float, float]:
    """Controls do what targets do."""
    return (0.6 if arm.method == FEATURES else 0.0), 0.0


def destructive(arm: Arm, lang: str) -> tuple[float, float]:
    """Every change destroys captions."""
    return 0.0, (0.9 if arm.mode else 0.0)


class ToyInterventions:
    """Scenes, captions of every arm by a behaviour, and the stage's tables made from them."""

    def __init__(self, behaviour: Behaviour = specific, n_images: int = 30, seed: int = 0, n_draws: int = 60):
        self.behaviour, self.seed = behaviour, seed
        self._counted: dict[tuple[str, str, str, int], dict] = {}
        rng, world, source = random.Random(seed), DemoWorld(), knowledge(SamplesConfig(source="demo-world"))
        self.scenes = [world.scene(rng, gender=("male", "female")[i % 2]) for i in range(n_images)]
        self.templates = [rng.randrange(5) for _ in self.scenes]
        texts = {lang: [self.text(Arm(NONE), i, lang) for i in range(n_images)] for lang in tables.LANGUAGES}
        self.readers = {lang: Reader(lang, common_words(texts[lang], lang), source=source) for lang in tables.LANGUAGES}
        tried = grid(SETTINGS)
        self.choice = choose(SETTINGS, {arm: behaviour(arm, "en")[0] for arm in tried[1:]}, {1: 0.1, 3: 0.4})
        untrained = tried_untrained(SETTINGS, self.choice)
        self.choice = with_untrained(self.choice, untrained, {arm: behaviour(arm, "en")[0] for arm in untrained})
        self.questions: list[Design] = designs(SETTINGS, self.choice)
        compared = comparisons(SETTINGS, self.choice)
        tried = [*tried, *untrained]
        self.tried, self.arms = tried, arms_of(self.questions, compared)
        written = [self._captions(tried, "development", 0), self._captions(self.arms, "confirmation", len(tried))]
        self.captions = pd.concat(written, ignore_index=True)
        results = self.results("development", tried, 0)
        self.tried_effects = tables.development_table(tried, results, tried[0], n_draws, seed).assign(design=-1)
        results = self.results("confirmation", self.arms, len(tried))
        self.effects = tables.effects_table(self.questions, results, self.arms[0], n_draws, seed)
        self.verdicts = tables.verdicts_table(self.effects)
        self.comparisons = tables.comparisons_table(compared, results, self.arms[0])
        self.terms = tables.terms_table(self.questions, results, self.arms[0], self.readers, 20, seed)

    def results(self, phase: str, arms: list[Arm], first: int) -> tables.Results:
        mine = self.captions[self.captions["phase"] == phase]
        return tables.Results(mine, {arm: first + i for i, arm in enumerate(arms)})

    def text(self, arm: Arm, image: int, lang: str) -> str:
        scene: Scene = self.scenes[image]
        flips, destroys = self.behaviour(arm, lang)
        rng = random.Random(f"{self.seed} {arm} {image} {lang}")
        if rng.random() < destroys:
            return DESTROYED[lang]
        other = {"male": "female", "female": "male"}[scene.gender]
        gender = other if rng.random() < flips else scene.gender
        return caption(scene, lang, gender, self.templates[image])

    def _captions(self, arms: list[Arm], phase: str, first: int) -> pd.DataFrame:
        rows = []
        for number, arm in enumerate(arms, start=first):
            for lang in tables.LANGUAGES:
                for image, scene in enumerate(self.scenes):
                    text, before = self.text(arm, image, lang), self.text(Arm(NONE), image, lang)
                    truth = {"gender": scene.gender, "role": ROLES[scene.role].key, "object": OBJECTS[scene.object].key}
                    key = (text, before, lang, image)
                    if key not in self._counted:
                        self._counted[key] = outcomes(text, before, self.readers[lang], truth)
                    said = self._counted[key]
                    n = len(text.split())
                    rows.append(
                        {
                            "arm": number,
                            "phase": phase,
                            "image": image,
                            "lang": lang,
                            "text": text,
                            "finished": True,
                            "n_tokens": n,
                            "log_prob": -0.3 * n,
                            **said,
                        }
                    )
        return pd.DataFrame(rows)

    def arms_table(self) -> pd.DataFrame:
        known = [("development", 0, self.tried), ("confirmation", len(self.tried), self.arms)]
        rows = [
            {
                "arm": n,
                "phase": phase,
                **vars(arm),
                "sae_id": None,
                "dictionary_id": None,
                "features_en": [],
                "features_ar": [],
                "leans_en": [],
                "leans_ar": [],
                "distance": 0.1,
                "firing_rate": 0.02,
                "activation": 1.0,
                "moved_share": 0.5,
                "moved_ratio": 0.2,
                "capped_share": 0.0,
            }
            for phase, first, arms in known
            for n, arm in enumerate(arms, start=first)
        ]
        return pd.DataFrame(rows)

    def images_table(self) -> pd.DataFrame:
        rows = [
            {
                "phase": phase,
                "image": i,
                "sample_id": i,
                "gender": s.gender,
                "attributes": "",
                "image_file": f"images/{i:06d}.png",
            }
            for phase in ("development", "confirmation")
            for i, s in enumerate(self.scenes)
        ]
        return pd.DataFrame(rows)


@functools.cache
def toy_interventions(behaviour: Behaviour = specific, n_images: int = 30) -> ToyInterventions:
    """A world of one behaviour, made once."""
    return ToyInterventions(behaviour, n_images)


def add_toy_interventions(run: Run, toy: ToyInterventions | None = None) -> Run:
    """Write the tables of the stage interventions into a toy run, and its record."""
    toy = toy_interventions() if toy is None else toy
    effects = pd.concat([toy.tried_effects, toy.effects], ignore_index=True)
    for name, frame in (
        ("arms", toy.arms_table()),
        ("images", toy.images_table()),
        ("captions", toy.captions),
        ("effects", effects),
        ("verdicts", toy.verdicts),
        ("comparisons", toy.comparisons),
        ("terms", toy.terms),
    ):
        table = TABLES[f"intervention_{name}"]
        table.write(run, table.of_frame(frame))
    add_record(run, "interventions", 1)
    return run

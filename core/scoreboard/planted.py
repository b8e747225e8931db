"""What the pages say of captioners whose mechanism was planted (core.demo.planted), over many seeds of images.

Each seed draws fresh scenes; captions drawn from the model's own probabilities are read where they first say a gender.
The same functions as in a run then name the part that adds gender, and, just before the caption, the first of all
layers from which it can be read and whether the two languages share a direction. Kinds have a known answer; in "blind"
every claim is false.

Captions are drawn, not the likeliest ones: those of these models say the gender of women in other words than that of
men ("She has" and "A man dressed as"), and within equal words there is next to nothing to compare.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

import core.answers.alignment
import core.answers.mechanisms  # noqa: F401  (both name their claims)
from core.agreement import agreement
from core.answers import CLAIMS as ANSWERS
from core.claims import Row
from core.config import PROJECT_ROOT, Config, LayersConfig, MechanismsConfig
from core.demo.planted import Planted, encoded, plant
from core.demo.world import LANGUAGES, PROMPTS, DemoWorld, Scene
from core.gender.contrast import Contrast, LogOdds, first_said, pair_numbers, random_contrasts
from core.gender.word_ends import word_ends
from core.layers.measures import emergence, with_q
from core.layers.probes import TransformerProbeAnalyzer
from core.mech import part_agreement
from core.mech.heads import direct_effects, effect_rows, parts_of, with_findings
from core.vlm.adapter import VLM
from core.vlm.loading import load_vlm
from core.vlm.sampling import sample_captions, uniforms

TOPIC = "planted"
N = 30  # images of each gender whose captions are written, half of them held out
READ = 2  # times as many are read by probes: 30 + 30 leave their control task too uncertain for 16 layers
SEEDS = 10
MAX_TOKENS = 24
STREAM = 0x9A1
MECHANISMS = MechanismsConfig(n_bootstrap=100, n_permutations=999, min_images=8)
PROBES = LayersConfig(n_folds=3, n_bootstrap=60, n_controls=10, min_images=8, min_per_type=2)
CLAIMS = ("planted.head", "planted.layer", "planted.direction", "planted.sharing")
VIEW = "prompt"


@dataclass(frozen=True)
class Seen:
    """Captions of one language up to where they say a gender, of scenes by number."""

    scene: list[int]
    rows: list[list[int]]
    contrasts: list[Contrast]
    resid: dict[int, np.ndarray]  # (n_scenes, d_model) by layer, of all scenes just before the caption


def planted_rows(n_seeds: int = SEEDS, n: int = N, progress: Callable[[str], None] = lambda _: None) -> Iterator[Row]:
    """One row a kind and claim: in how many seeds of images the right thing was named, or anything in "blind"."""
    for kind, place in PLACES.items():
        vlm = load_vlm(str(PROJECT_ROOT / "data" / "demo-captioner"), dtype="float32", device="cpu")
        made = plant(vlm, kind, *place)
        said = [answers(vlm, made, n, seed) for seed in range(n_seeds)]
        names = CLAIMS if kind != "blind" else ("planted.head", "planted.layer", "planted.sharing")
        for claim in names:
            hits = sum(one[claim] for one in said)
            progress(f"{TOPIC}: {kind}: {claim} in {hits} of {n_seeds}")
            truth, units = "false" if kind == "blind" else "true", n if claim == "planted.head" else n * READ
            yield Row(TOPIC, claim, truth, WORDS[kind], units, vlm.d_model, vlm.n_layers, n_seeds, hits)


PLACES = {"head": (4, 2), "shared": (7, 0), "disjoint": (7, 0), "blind": ()}  # layer and head that are planted
WORDS = {
    "head": "one head of a middle layer writes gender",
    "shared": "one head writes gender along one direction",
    "disjoint": "a head a language, directions at a right angle",
    "blind": "the model reads no gender",
}


def answers(vlm: VLM, made: Planted, n: int, seed: int) -> dict[str, bool]:
    """By claim, whether it was made and right; with nothing planted, whether anything was said."""
    world, rng = DemoWorld(), random.Random(f"planted-scenes-{seed}")
    scenes = [world.scene(rng, gender=("female", "male")[i % 2]) for i in range(2 * n * READ)]
    features = encoded(vlm, scenes)
    layers = tuple(range(vlm.n_layers))
    seen = {lang: _read(vlm, lang, features, 2 * n, layers, seed) for lang in LANGUAGES}
    effects, alike = _parts(vlm, scenes, features, seen, seed)
    answer = ANSWERS["mechanisms.part"](effects, alike)  # as it is written, before it is weighed by these very rates
    named = "mechanisms.part" in answer.claims
    found = {lang: _strongest(effects, lang) for lang in LANGUAGES}
    right = all(found[lang] == (made.layer, "head", head) for lang, head in made.heads.items())
    first = _first_layers(seen, scenes, layers, seed)
    sharing, angle = _directions(seen, scenes, made.layer if made.heads else layers[-1], made, seed)
    expected = {"disjoint": "alignment.two directions"}.get(made.kind, "alignment.one direction")
    if not made.heads:
        return {
            "planted.head": named,
            "planted.layer": any(layer >= 0 for layer in first.values()),
            "planted.sharing": "alignment.shared" in sharing,
        }
    return {
        "planted.head": named and right,
        "planted.layer": all(layer == made.layer for layer in first.values()),
        "planted.direction": angle > 0.8,
        "planted.sharing": expected in sharing,
    }


def _read(vlm: VLM, lang: str, features: torch.Tensor, n_written: int, layers: tuple[int, ...], seed: int) -> Seen:
    prompt, chosen, rows, contrasts = vlm.prompt_ids(PROMPTS[lang][0]), [], [], []
    numbers = uniforms([[STREAM, seed, LANGUAGES.index(lang), i] for i in range(n_written)], MAX_TOKENS)
    drawn, _ = sample_captions(vlm, [prompt] * n_written, features[:n_written], numbers[:, None])
    for number, (caption,) in enumerate(drawn):
        said = first_said(caption, vlm.tokenizer, lang)
        if said is not None and not said.contrast.why:
            chosen.append(number)
            rows.append([*prompt, *caption[: said.contrast.slot]])
            contrasts.append(said.contrast)
    # Before the caption: what a model has written so far depends on what it is going to say of gender.
    resid = vlm.forward([prompt] * len(features), features, layers).resid
    return Seen(chosen, rows, contrasts, {layer: x[:, -1].float().numpy() for layer, x in resid.items()})


def _female(scenes: list[Scene]) -> np.ndarray:
    return np.array([scene.gender == "female" for scene in scenes], bool)


def _parts(
    vlm: VLM, scenes: list[Scene], features: torch.Tensor, seen: dict[str, Seen], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows: list[dict[str, Any]] = []
    shares: list[dict[str, Any]] = []
    parts, ends = parts_of(vlm), word_ends(vlm)
    for number, (lang, there) in enumerate(seen.items()):
        if not there.rows:
            continue
        words = sorted({t for row in there.rows for t in row[-12:]} - vlm.special_ids)
        controls = [LogOdds(random_contrasts(there.contrasts, words, [seed, number, i]), ends) for i in range(20)]
        effects = direct_effects(vlm, there.rows, features[there.scene], LogOdds(there.contrasts, ends), controls)
        female, held_out = _female(scenes)[there.scene], np.array([i % 4 < 2 for i in there.scene])
        pair, lengths = pair_numbers(there.contrasts), np.array([len(row) for row in there.rows])
        rows += effect_rows(effects, parts, lang, female, held_out, lengths, MECHANISMS, [seed, number], pair)
        for i, scene in enumerate(there.scene):
            gender = "female" if female[i] else "male"
            own = effects.shares[i, 0, 1:].tolist()
            shares.append({"lang": lang, "sample_id": scene, "gender": gender, "pair": int(pair[i]), "shares": own})
    with_findings(rows, 0.05)
    return pd.DataFrame(rows), pd.DataFrame(part_agreement.rows(rows, shares, Config()))


def _strongest(effects: pd.DataFrame, lang: str) -> tuple[int, str, int] | None:
    """The part that the page names: strongest on the training captions."""
    own = effects[(effects["lang"] == lang) & effects["part"].isin(("head", "mlp")) & (effects["why"] == "")]
    if own.empty:
        return None
    first = own.iloc[int(own["effect_train"].abs().argmax())]
    return int(first["layer"]), str(first["part"]), int(first["head"])


def _first_layers(seen: dict[str, Seen], scenes: list[Scene], layers: tuple[int, ...], seed: int) -> dict[str, int]:
    """The first of ``layers`` at which a probe reads gender just before the caption, by language; -1 for none."""
    kind = [scene.object for scene in scenes]
    analyzer, rows = TransformerProbeAnalyzer(_female(scenes), kind=kind, config=PROBES, seed=seed), []
    for layer in layers:
        resid = {lang: s.resid[layer] for lang, s in seen.items()}
        rows += [{"layer": layer, "view": VIEW, **row} for row in analyzer.analyze(resid)]
    with_q(rows, [])
    return {row["lang"]: int(row["layer"]) for row in emergence(rows, []) if not row["why"]}


def _directions(
    seen: dict[str, Seen], scenes: list[Scene], layer: int, made: Planted, seed: int
) -> tuple[tuple[str, ...], float]:
    """The claims about sharing, and the smaller cosine of a measured direction with the planted one."""
    female = _female(scenes)
    x = {lang: s.resid[layer] for lang, s in seen.items()}
    found = agreement(x["en"], x["ar"], female, "cosine", seed)
    row = {"measure": "direction_cosine", "layer": layer, "n": len(scenes), **found.__dict__}
    classes = pd.DataFrame({"layer": [], "language_class": [], "n": []})
    said = ANSWERS["alignment.shared"](pd.DataFrame([row]), classes, layer, VIEW).claims
    angles = [1.0]
    for lang, u in made.directions.items():
        d = x[lang][female].mean(0) - x[lang][~female].mean(0)
        angles.append(float(d @ u.numpy() / np.linalg.norm(d)))
    return said, min(angles)

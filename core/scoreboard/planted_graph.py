"""Whether graphs of single words name the layer that was planted, and none where nothing is, over many seeds of images.

As in core.scoreboard.planted, captions of fresh scenes are drawn from the planted captioner. Of each, what its picture
adds to the gendered word is followed through all layers (core.mech.counterfactual), and the sentence of the page names
the layer at which it leaves the image tokens (core.answers.graph.crossing): for the planted head there is one such
layer, and in "blind" every name is wrong. No dictionary is needed for that.

    python -m core.scoreboard.planted_graph [KIND ...]
"""

from __future__ import annotations

import random
import sys
from typing import Any

import pandas as pd
import torch

from core.answers.graph import crossing, follows_gender, known_graphs
from core.config import PROJECT_ROOT
from core.demo.planted import Planted, encoded, plant
from core.demo.world import LANGUAGES, DemoWorld
from core.gender.contrast import LogOdds
from core.gender.word_ends import word_ends
from core.mech.counterfactual import PLACES, Counterfactual
from core.scoreboard.planted import PLACES as PLANTED
from core.scoreboard.planted import _read
from core.vlm.adapter import VLM
from core.vlm.loading import load_vlm

N = 8  # images of each gender
N_MEAN = 32  # of each gender, other scenes, that the mean picture is of
N_WAY = 4
SEEDS = 20


def named(
    vlm: VLM, n: int, seed: int, languages: tuple[str, ...] = LANGUAGES, layers: tuple[int, ...] = ()
) -> dict[str, int]:
    """The layer that is named of each language, of ``layers`` (of all); -1 for none."""
    world, rng = DemoWorld(), random.Random(f"planted-graphs-{seed}")
    scenes = [world.scene(rng, gender=("female", "male")[i % 2]) for i in range(2 * n)]
    others = [world.scene(rng, gender=("female", "male")[i % 2]) for i in range(2 * N_MEAN)]
    features, mean = encoded(vlm, scenes), encoded(vlm, others).float().mean(0)
    layers, found = layers or tuple(range(vlm.n_layers)), {}
    for lang in languages:
        followed: list[tuple[dict[str, Any], Counterfactual]] = []
        seen = _read(vlm, lang, features, 2 * n, layers[-1:], seed)
        for scene, row, contrast in zip(seen.scene, seen.rows, seen.contrasts, strict=True):
            score = LogOdds([contrast], word_ends(vlm))
            one = Counterfactual(vlm, row, features[scene], mean, score, layers, N_WAY)
            row_of = {"lang": lang, "sample_id": scene, "gender": scenes[scene].gender, "total": one.total, "why": ""}
            followed.append((row_of, one))
        graphs = pd.DataFrame([row_of for row_of, _ in followed])
        found[lang] = -1
        if not follows_gender(graphs).low > 0:  # then no layer is named, whatever they hold
            continue
        rows = [
            {"lang": lang, "sample_id": key["sample_id"], "dictionary": "own", **effects_of(one, layer)}
            for key, one in followed
            for layer in layers
        ]
        at = crossing(*known_graphs(graphs, pd.DataFrame(rows), lang))
        found[lang] = at.at if at else -1
    return found


@torch.no_grad()
def effects_of(seen: Counterfactual, layer: int) -> dict[str, float]:
    """What all of a layer's change is worth, and what of it lies at image tokens."""
    effects = (seen.change(layer) * seen.gradient(layer)[0]).sum(-1)
    at_image = effects[seen.places.to(effects.device) == PLACES.index("image")]
    return {"layer": layer, "whole": float(effects.sum()), "at_image": float(at_image.sum())}


def right(made: Planted, found: dict[str, int]) -> bool:
    """Whether the planted layer was named in each language; with nothing planted, whether any was named."""
    if not made.heads:
        return any(layer >= 0 for layer in found.values())
    return all(layer == made.layer for layer in found.values())


def main() -> int:
    """Print, for each kind that is asked for, in how many seeds the planted layer was named; of "blind", any layer."""
    for kind, place in PLANTED.items():
        if sys.argv[1:] and kind not in sys.argv[1:]:
            continue
        vlm = load_vlm(str(PROJECT_ROOT / "data" / "demo-captioner"), dtype="float32", device="cpu")
        made = plant(vlm, kind, *place)
        found = []
        for seed in range(SEEDS):
            found.append(named(vlm, N, seed))
            print(kind, seed, found[-1], flush=True)
        hits = sum(right(made, one) for one in found)
        what = "any layer" if kind == "blind" else f"layer {made.layer} in both languages"
        print(f"{kind}: {what} is named in {hits} of {SEEDS} seeds", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The story of a gendered word on a captioner with a planted mechanism: it names the planted layer and head."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.answers.caption_lens import first_for_good, story
from core.config import PROJECT_ROOT, MechanismsConfig
from core.demo import planted
from core.demo.planted import encoded, plant
from core.demo.world import PROMPTS, DemoWorld
from core.gender.contrast import LogOdds, first_said, pair_numbers, random_contrasts
from core.gender.word_ends import word_ends
from core.layers.caption_lens import CaptionLens, Others, ShownCaption
from core.mech.heads import direct_effects, effect_rows, parts_of, with_findings
from core.vlm.loading import load_vlm
from core.vlm.sampling import sample_captions, uniforms

LAYER, HEAD, N, LANG = 4, 2, 64, "en"
SETTINGS = MechanismsConfig(n_bootstrap=60, n_permutations=499, min_images=8)


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """Captions drawn from a model in which head 4.2 alone writes gender: their rows through the lens, and its parts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("N_SCENES", 60), ("N_CAPTIONED", 20), ("STEPS", 30)):
            patch.setattr(planted, name, value)
        vlm = load_vlm(str(PROJECT_ROOT / "data" / "demo-captioner"), dtype="float32", device="cpu")
        plant(vlm, "head", LAYER, HEAD)
    rng, demo = random.Random("story"), DemoWorld()
    scenes = [demo.scene(rng, gender=("female", "male")[i % 2]) for i in range(N)]
    features, prompt = encoded(vlm, scenes), vlm.prompt_ids(PROMPTS[LANG][0])
    drawn, _ = sample_captions(vlm, [prompt] * N, features, uniforms([[3, i] for i in range(N)], 24)[:, None])
    found = [(i, list(ids), said) for i, (ids,) in enumerate(drawn) if (said := first_said(ids, vlm.tokenizer, LANG))]
    found = [one for one in found if one[2].contrast.female is not None]
    rows = [[*prompt, *ids[: said.contrast.slot]] for _, ids, said in found]
    contrasts = [said.contrast for _, _, said in found]
    spelled = ["female" if said.hit.gender == "female" else "male" for _, _, said in found]
    at = [i for i, _, _ in found]
    resid = vlm.forward(rows, features[at], range(vlm.n_layers)).resid
    last = {layer: x[:, -1].float() for layer, x in resid.items()}
    lens = CaptionLens(vlm, word_ends(vlm), None, Others(contrasts, spelled, last), contrasts)
    shown = [
        pd.DataFrame(
            lens.rows(
                ShownCaption(
                    i,
                    LANG,
                    [*ids, vlm.eos_ids[0]][: c.slot + 1],
                    c,
                    gender,
                    {n: _to_slot(x[k], c.slot) for n, x in last.items()},
                )
            )
        )
        for k, (i, (_, ids, _), c, gender) in enumerate(zip(at, found, contrasts, spelled, strict=True))
    ]
    words = sorted({t for row in rows for t in row[-12:]} - vlm.special_ids)
    controls = [LogOdds(random_contrasts(contrasts, words, [1, n]), word_ends(vlm)) for n in range(20)]
    effects = direct_effects(vlm, rows, features[at], LogOdds(contrasts, word_ends(vlm)), controls)
    female, held = np.array([scenes[i].gender == "female" for i in at]), np.array([i % 4 < 2 for i in at])
    lengths, pair = np.array([len(row) for row in rows]), pair_numbers(contrasts)
    told = effect_rows(effects, parts_of(vlm), LANG, female, held, lengths, SETTINGS, [2], pair)
    with_findings(told, 0.05)
    shares = [{"lang": LANG, "sample_id": i, "shares": effects.shares[k, 0, 1:].tolist()} for k, i in enumerate(at)]
    return {"rows": shown, "effects": pd.DataFrame(told), "shares": pd.DataFrame(shares)}


def _to_slot(resid: torch.Tensor, slot: int) -> torch.Tensor:
    """The residual of the deciding token in its row; what stands before it is not read here."""
    return torch.cat([torch.zeros(slot, len(resid)), resid[None]])


def told(world: dict[str, Any], number: int, shares: bool = True) -> dict[str, str]:
    emergence = pd.DataFrame([{"method": "probe", "position": "prompt", "lang": LANG, "layer": LAYER, "why": ""}])
    contrasts = pd.DataFrame({"lang": [], "sample_id": [], "word": [], "counterpart": []})
    known = world["shares"] if shares else world["shares"].iloc[:0]
    steps = story(world["rows"][number], emergence, world["effects"], known, pd.DataFrame(), contrasts)
    return {step.title: step.text for step in steps}


def test_the_lens_prefers_the_word_from_the_planted_layer_on(world: dict[str, Any]) -> None:
    first = []
    for rows in world["rows"]:
        decides = rows[rows["compared"] == "spellings"]
        first.append(first_for_good(decides.to_dict("records")))
    layers = np.array(first)
    counts = np.bincount(
        layers + 1, minlength=2
    )  # of 60 captions 35 name the layer, 9 none, 13 a later one, 3 one before
    assert np.argmax(counts[1:]) == LAYER and np.mean(layers == LAYER) > 0.4, counts
    assert np.mean((layers >= 0) & (layers < LAYER)) < 0.15, counts
    number = first.index(LAYER)
    assert f"From layer {LAYER} on the lens prefers" in told(world, number)["Where the lens prefers the word"]


def test_the_planted_head_is_named_for_nearly_every_caption_and_for_the_run(world: dict[str, Any]) -> None:
    name, title = f"Head {LAYER}.{HEAD}", "Which heads and MLPs wrote it"
    named = [told(world, n)[title].startswith(name) for n in range(len(world["rows"]))]
    assert np.mean(named) > 0.8
    assert told(world, 0, shares=False)[title].startswith(name)
    assert f"at the question’s end from layer {LAYER} on" in told(world, 0)["Where the image’s gender can be read"]

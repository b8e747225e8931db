"""What an edit costs while captions are written: python tests/bench/bench_edits.py --run cache/demo

The demo captioner writes the same 64 captions again and again, in turn without an edit and with each kind; the figure
is tokens per second without an edit over tokens per second with it, paired within a round: 1.00 costs nothing. Edits
are too small to change a caption, so that all write the same tokens. With ``--run`` the SAE and the features that know
most about gender are those of a run; without, the SAE has the demo's size and random weights, half of which fire.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.config import PROJECT_ROOT
from core.demo.world import PROMPTS, DemoWorld
from core.intervals import percentile_interval
from core.sae.files import load_sae, sae_id
from core.sae.modules import SAE, SAEConfig
from core.steering import Direction, Edit, edit_hooks
from core.vlm import load_vlm

LAYER, D_SAE, K, N_ROWS, TOKENS = 5, 1536, 24, 64, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--run", type=Path)
    given = parser.parse_args()
    repeats = given.repeats
    vlm, world, rng = load_vlm(str(PROJECT_ROOT / "data" / "demo-captioner")), DemoWorld(), random.Random(0)
    images = [Image.fromarray(world.render(world.scene(rng))) for _ in range(N_ROWS // 2)]
    rows = [vlm.prompt_ids(PROMPTS[lang][0]) for lang in ("en", "ar") for _ in images]
    features = vlm.encode_images(images).repeat(2, 1, 1)
    sae, chosen = from_run(given.run) if given.run else (random_sae(vlm.d_model), list(range(25)))
    kinds = edits_by_kind(sae, chosen)
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    plain = vlm.generate(rows, features, TOKENS)[0]
    for repeat in range(repeats + 1):  # the first warms up
        for name, hooks in kinds.items():
            started = time.perf_counter()
            captions = vlm.generate(rows, features, TOKENS, hooks() if hooks else None)[0]
            spent = time.perf_counter() - started
            assert captions == plain, f"{name} changed a caption"
            if repeat:
                seconds[name].append(spent)
    base = np.array(seconds["no edit"])
    print(f"{sum(map(len, plain)) / np.median(base):.0f} tokens per second without an edit, {N_ROWS} rows")
    draws = np.random.default_rng(0).integers(0, repeats, (2000, repeats))
    for name in list(kinds)[1:]:
        ratio = np.array(seconds[name]) / base
        low, high = percentile_interval(np.median(ratio[draws], axis=1))
        print(f"{name:40} {np.median(ratio):.3f} x [{low:.3f}, {high:.3f}]")


def from_run(run: Path) -> tuple[SAE, list[int]]:
    """The SAE of LAYER, and the 25 features that tell women from men best on training images, in English."""
    table = pd.read_parquet(run / "gender_features.parquet")
    mine = table[(table["layer"] == LAYER) & (table["lang"] == "en") & (table["view"] == "before")]
    return load_sae(run / "saes" / f"layer_{LAYER:02d}"), mine.nsmallest(25, "rank_auc")["feature"].tolist()


def random_sae(d_model: int) -> SAE:
    rng = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(D_SAE, d_model, generator=rng), dim=1)
    biases = {"b_enc": torch.zeros(D_SAE), "b_dec": torch.zeros(d_model)}
    tensors = {"W_enc": W_dec.T.contiguous(), "W_dec": W_dec, **biases}
    return SAE(SAEConfig("topk", d_model, D_SAE, K, layer=LAYER), tensors)


def edits_by_kind(sae: SAE, chosen: list[int]) -> dict:
    """Functions that make the hooks of each kind of edit."""
    name = sae_id(sae)

    def hooks(edits: list[Edit]):
        named = {(LAYER, "d"): Direction(sae.W_dec[0])}
        return lambda: edit_hooks([edits] * N_ROWS, {LAYER: sae}, {}, directions=named)

    def features(n: int, mode: str, strength: float) -> list[Edit]:
        return [Edit(LAYER, f, name, mode, strength, "raw") for f in chosen[:n]]

    return {
        "no edit": None,
        "add, 1 feature": hooks(features(1, "add", 1e-4)),
        "add, 1 direction": hooks([Edit(LAYER, mode="add", strength=1e-4, unit="raw", direction="d")]),
        "scale, 1 feature (the SAE encodes)": hooks(features(1, "scale", 1 + 1e-5)),
        "scale, 25 features (the SAE encodes)": hooks(features(25, "scale", 1 + 1e-5)),
    }


if __name__ == "__main__":
    main()

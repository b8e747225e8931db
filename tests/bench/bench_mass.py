"""What it costs to measure the mass of gendered words while captions are written: python tests/bench/bench_mass.py

The demo captioner writes the same captions in turn without a meter and with it, as many rows together as the steering
page and the dose grid have; the figure is seconds with it over seconds without, paired within a round. Beside it: the
share of tokens at which anything was tried, passes beside those of the writing, and the mass left out.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.config import PROJECT_ROOT
from core.demo.world import PROMPTS, DemoWorld
from core.gender.word_ends import word_ends
from core.gender.word_mass import Budget, MassMeter, WordTrie
from core.intervals import percentile_interval
from core.steering import writing
from core.vlm import load_vlm

TOKENS, BATCHES = 24, (4, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--min-mass", type=float, default=Budget.min_mass)
    given = parser.parse_args()
    vlm, world, rng = load_vlm(str(PROJECT_ROOT / "data" / "demo-captioner")), DemoWorld(), random.Random(0)
    started = time.perf_counter()
    tries = {lang: WordTrie(vlm, lang) for lang in ("en", "ar")}
    word_ends(vlm)
    print(f"tries: {time.perf_counter() - started:.1f} s, {', '.join(str(t.n_forms) for t in tries.values())} forms")
    meters: list[MassMeter] = []

    def meter(*parts):
        meters.append(MassMeter(*parts, Budget(given.min_mass)))
        return meters[-1]

    writing.MassMeter = meter  # so that passes are counted
    images = [Image.fromarray(world.render(world.scene(rng))) for _ in range(max(BATCHES) // 2)]
    for n_rows in BATCHES:
        langs = ["en"] * (n_rows // 2) + ["ar"] * (n_rows // 2)
        rows = [vlm.prompt_ids(PROMPTS[lang][0]) for lang in langs]
        features = vlm.encode_images(images[: n_rows // 2]).repeat(2, 1, 1)
        ratios, found = [], []
        for repeat in range(given.repeats + 1):  # the first warms up
            spent = []
            for words in ((), [tries[lang] for lang in langs]):
                began = time.perf_counter()
                *_, found = writing.write(vlm, rows, features, TOKENS, words=words)
                spent.append(time.perf_counter() - began)
            ratios += [spent[1] / spent[0]] if repeat else []
        draws = np.random.default_rng(0).integers(0, len(ratios), (2000, len(ratios)))
        low, high = percentile_interval(np.median(np.array(ratios)[draws], 1))
        masses = [mass for one in found for mass in one.masses]
        passes, steps = meters[-1].n_passes, max(len(one.ids) for one in found)
        tried = np.mean([mass.n_nodes > 0 for mass in masses])
        left = np.array([mass.left_out for mass in masses])
        print(
            f"{n_rows} rows: {np.median(ratios):.2f} x [{low:.2f}, {high:.2f}]; {tried:.0%} of {len(masses)} tokens "
            f"expanded, {passes} passes beside {steps}; left out: median {np.median(left):.4f}, most {left.max():.4f}"
        )


if __name__ == "__main__":
    main()

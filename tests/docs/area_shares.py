"""Where features lie, with the areas as they are and dealt out anew among the images, where nothing is to be found.

Run: python -m tests.docs.area_shares cache/demo 7
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.activations.store import ActivationReader
from core.features.areas import area_shares, kind_areas
from core.features.codes import write_codes
from core.features.tokens import read_token_index
from core.run import Run
from core.sae.files import load_sae


def main(run_dir: str, layer: int) -> None:
    run = Run(run_dir)
    tokens = read_token_index(run)
    known = kind_areas(run.table("areas").to_pylist(), tokens)
    print("areas, kind, features, median ratio; share whose interval leaves out: ratio 1, difference 0")
    with tempfile.TemporaryDirectory() as folder:
        sae = load_sae(run.path("saes", f"layer_{layer:02d}"), "cpu")
        store = write_codes(sae, ActivationReader(run.dir, layer), tokens, Path(folder))
        codes = [store.read(first, last) for first, last in store.blocks()]
    for dealt in (False, True):
        for areas in known:
            order = np.random.default_rng(0).permutation(len(areas.share)) if dealt else slice(None)
            these = replace(areas, share=areas.share[order], area=areas.area[order])
            blocks = [area_shares(block, tokens, these) for block in codes]
            found = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
            ok = np.isfinite(found["low"])
            ratio = (found["low"] > 1) | (found["high"] < 1)
            apart = (found["difference_low"] > 0) | (found["difference_high"] < 0)
            told = [f"{x[ok].mean():.3f}" for x in (ratio, apart)]
            median = f"{np.median(found['ratio'][ok]):.2f}"
            print("dealt anew" if dealt else "as they are", areas.kind, ok.sum(), median, *told, sep=", ")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

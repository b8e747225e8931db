"""Time of the features stage at the demo's size, part by part: python tests/bench/bench_features.py [--layers N]

Made-up residuals and SAEs of the demo's sizes stand in for the run. Seconds of processor time, so that a busy machine
matters less; the last column is the ratio to one dense matrix product tokens x d_model x d_sae of one layer in the same
process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.features.codes import write_codes
from core.features.examples import choose_examples, image_maxima, traces
from core.features.statistics import feature_map, feature_statistics, neighbours, top_tokens
from core.features.tokens import token_index
from core.sae.modules import SAE, SAEConfig
from tests.features.features_toys import ToyReader, token_table

N_SAMPLES, N_PATCHES, WORDS, D_MODEL, D_SAE, K = 1500, 16, (18, 22, 26), 256, 1536, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=2)
    layers = parser.parse_args().layers
    tokens = token_index(token_table(N_SAMPLES, N_PATCHES, WORDS))
    x = torch.randn(tokens.n_rows, 8) @ torch.randn(8, D_MODEL) + torch.randn(tokens.n_rows, D_MODEL)
    W_dec = torch.nn.functional.normalize(torch.randn(D_SAE, D_MODEL), dim=1)
    biases = {"b_enc": torch.zeros(D_SAE), "b_dec": torch.zeros(D_MODEL)}
    tensors = {"W_enc": W_dec.T.contiguous(), "W_dec": W_dec, **biases}
    sae = SAE(SAEConfig("topk", D_MODEL, D_SAE, K), tensors)
    start = time.process_time()
    for part in x.split(4096):
        part @ sae.W_enc
    unit = time.process_time() - start
    print(f"{tokens.n_rows} rows, {N_SAMPLES} images, d_model {D_MODEL}, d_sae {D_SAE}, k {K}; unit {unit:.2f} s")
    for layer in range(layers):
        for name, seconds in one_layer(sae, x, tokens, layer):
            print(f"layer {layer}  {name:<24} {seconds:7.2f} s {seconds / unit:8.1f} x")


def one_layer(sae: SAE, x: torch.Tensor, tokens, layer: int):
    with tempfile.TemporaryDirectory() as folder:
        clock = time.process_time()

        def lap() -> float:
            nonlocal clock
            clock, before = time.process_time(), clock
            return clock - before

        store = write_codes(sae, ToyReader(x), tokens, Path(folder))
        yield "codes", lap()
        for first, last in store.blocks():
            codes = store.read(first, last)
            feature_statistics(codes, tokens, 40)
            yield f"statistics {first}-{last}", lap()
            top_tokens(codes, tokens, 12)
            yield f"top tokens {first}-{last}", lap()
            maxima = image_maxima(codes, tokens)
            chosen = choose_examples(maxima, first, 24, 5, 6, 0, layer)
            lines = traces(codes, tokens, maxima, chosen)
            yield f"{len(lines.sequence)} examples", lap()
        directions = sae.W_dec[np.flatnonzero(store.counts)]
        near = neighbours(directions, 14)
        yield "neighbours", lap()
        feature_map(directions, near, 0)
        yield "map", lap()


if __name__ == "__main__":
    main()

"""A made-up run with a dictionary whose answer is planted: a feature for women and one for men, or none that knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save_file
from scipy.sparse import csr_array
from torch.nn.functional import normalize

from core.config import config_from_dict
from core.features.pooled import join_parts, pool_rows, view_rows, write_part
from core.features.tokens import read_token_index
from core.run import Run, write_table
from core.sae.files import sae_id, save_sae
from core.sae.modules import SAE, SAEConfig
from precompute.context import StageContext

N, D, D_SAE, K = 200, 24, 48, 4
KINDS = ("bos", "image", "prompt", "caption", "caption", "caption")
TABLES = tuple(f"{name}.parquet" for name in ("recurrence", "null_layers", "null_findings", "null_probes"))


def make_run(folder: Path, strength: float = 2.0, layers: tuple[int, ...] = (1, 3), arabic: bool = True) -> Run:
    """Every token is a sum of a few dictionary rows; on images of women the first is among them, of men the second.

    ``strength`` 0: gender is nowhere.
    """
    run, rng = Run(folder), np.random.default_rng(0)
    shown = ["neutral" if i % 20 == 19 else "female" if i % 2 else "male" for i in range(N)]
    split = ["test" if i % 5 > 2 else "train" for i in range(N)]
    ids = pa.array(range(N), pa.int32())
    write_table(run.path("samples.parquet"), pa.table({"sample_id": ids, "split": split, "attributes": [""] * N}))
    write_table(run.path("genders.parquet"), pa.table({"sample_id": ids, "gender": shown}))
    things = ["car", "ball", "tree", "house"], ["سيارة", "كرة", "شجرة", "بيت"]
    said = [
        {"sample_id": i, "lang": lang, "text": f"{things[n][i % 4]} {things[n][(i // 4) % 4]}"}
        for i in range(N)
        for n, lang in enumerate(("en", "ar") if arabic else ("en",))
    ]
    write_table(run.path("captions.parquet"), pa.Table.from_pylist(said))
    write_table(run.path("references.parquet"), pa.Table.from_pylist([{**row, "n": 0} for row in said]))
    rows = [
        {
            "sample_id": i,
            "lang": lang,
            "position": p,
            "kind": k,
            "token_id": 1,
            "patch": 0 if k == "image" else -1,
            "split": split[i],
        }
        for i in range(N)
        for lang in ("en", "ar")
        for p, k in enumerate(KINDS if arabic or lang == "en" else ())
    ]
    write_table(run.path("activations", "tokens.parquet"), pa.Table.from_pylist(rows))
    tokens = read_token_index(run)
    is_female = np.array([shown[r["sample_id"]] == "female" for r in rows])
    saes = []
    for layer in layers:
        decoder = normalize(torch.from_numpy(rng.standard_normal((D_SAE, D)).astype(np.float32)), dim=1)
        truth = np.zeros((len(rows), D_SAE), np.float32)
        for _ in range(3):
            truth[np.arange(len(rows)), rng.integers(2, D_SAE, len(rows))] = rng.uniform(1, 3, len(rows))
        truth[np.arange(len(rows)), np.where(is_female, 0, 1)] = strength * (rng.random(len(rows)) < 0.8)
        x = torch.from_numpy(truth + 0.0) @ decoder + 0.05 * torch.from_numpy(
            rng.standard_normal((len(rows), D)).astype(np.float32)
        )
        run.path("activations", f"layer_{layer:02d}").mkdir()
        save_file({"resid_post": x}, run.path("activations", f"layer_{layer:02d}", "shard_00000.safetensors"))
        zeros = {"b_enc": torch.zeros(D_SAE), "b_dec": torch.zeros(D)}
        weights = {"W_enc": decoder.T.contiguous(), "W_dec": decoder, **zeros}
        sae = SAE(SAEConfig("topk", D, D_SAE, K, layer), weights)
        save_sae(sae, run.path("saes", f"layer_{layer:02d}"))
        saes.append({"layer": layer, "sae_id": sae_id(sae)})
        pool(run, layer, tokens, x, csr_array(sae.encode(x).numpy()), sae_id(sae))
    write_table(run.path("saes.parquet"), pa.Table.from_pylist(saes))
    return run


def pool(run: Run, layer: int, tokens, x: torch.Tensor, codes: csr_array, named: str) -> None:
    """The pooled file of a layer, as the stage leaves it; each caption says its gender in its second word."""
    said = np.minimum(tokens.caption_length, 1)
    views = view_rows(tokens, said)
    run.path("pooled").mkdir(exist_ok=True)
    part = {v: pool_rows(tokens.sequence, m, x.numpy(), codes) for v, m in views.items()}
    write_part(run.path(f"part_{layer}"), part)
    n = {v: np.bincount(tokens.sequence[m], minlength=2 * N) for v, m in views.items()}
    target = run.path("pooled", f"layer_{layer:02d}.safetensors")
    join_parts(target, [run.path(f"part_{layer}")], n, codes.shape[1], named)


def context(run: Run, on_progress=lambda *_: None, layers: tuple[int, ...] = (1, 3), **nulls) -> StageContext:
    """What the stage is given."""
    config = config_from_dict(
        {
            "activations": {"layers": list(layers)},
            "train": {"d_sae": D_SAE, "k": K, "steps": 60, "batch_tokens": 128, "auxk": 8},
            "nulls": {"n_random": 3, "n_shuffles": 3, "ks": [1, 2, 5], "random_model": False, **nulls},
        }
    )
    run.path(".work").mkdir(exist_ok=True)
    return StageContext(run, config, run.path(".work", "nulls"), on_progress=on_progress)

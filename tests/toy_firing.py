"""Activations for a toy run, in which it is known what fires where: one feature on a patch, others on words."""

from __future__ import annotations

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from core.config import LANGUAGES
from core.run import Run
from tests.toy_run import D_MODEL, add_record

SAMPLE = 2
PLANTED = {"image:5": 40, "en:1": 41, "ar:2": 42}  # place of SAMPLE -> the feature that fires there and nowhere else
EVERYWHERE = 43  # fires on every token of every image, and strongest
STRENGTH = 8.0


def add_toy_firing(run: Run, pooled: bool = True) -> Run:
    """Shards of activations for the layers of a toy run, and with ``pooled`` what the stages features and pool say of
    them: what is usual for each feature, and means by caption."""
    tokens = run.table("tokens").to_pandas().astype({"lang": str, "kind": str})
    caption = (tokens["kind"] == "caption").to_numpy()
    slot = np.where(caption, tokens.groupby(["sample_id", "lang", "kind"]).cumcount(), -1)
    usual: list[pd.DataFrame] = []
    for row in run.table("saes", ["layer", "sae_id"]).to_pylist():
        folder = run.path("activations", f"layer_{row['layer']:02d}")
        sae = load_file(run.path("saes", f"layer_{row['layer']:02d}", "sae_weights.safetensors"))
        rng = np.random.default_rng((7, row["layer"]))
        resid = rng.normal(0, 0.05, (len(tokens), D_MODEL)).astype(np.float32)
        resid += 2 * STRENGTH * sae["W_dec"][EVERYWHERE]
        for place, feature in PLANTED.items():
            kind, number = place.split(":")
            where = (
                tokens["patch"] == int(number) if kind == "image" else (tokens["lang"] == kind) & (slot == int(number))
            )
            here = np.flatnonzero((tokens["sample_id"] == SAMPLE) & where)
            resid[here] = STRENGTH * sae["W_dec"][feature]
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"resid_post": resid}, folder / "shard_00000.safetensors")
        if pooled:
            codes = np.maximum(resid @ sae["W_enc"], 0)
            codes[codes < np.sort(codes, 1)[:, -4:-3]] = 0  # k = 4
            _pool(run, row, tokens, codes)
            usual.append(_usual(row["layer"], tokens, codes))
    features = run.table("features").to_pandas()
    features = features.drop(columns=[c for c in features if "usual_" in c or "spread_" in c])
    if usual:
        features = features.merge(pd.concat(usual), on=["layer", "feature"])
    features.to_parquet(run.path("features.parquet"))
    if pooled:
        add_record(run, "pool", 1)
    return run


def _usual(layer: int, tokens: pd.DataFrame, codes: np.ndarray) -> pd.DataFrame:
    """The columns of features.parquet that say what is usual."""
    found = {"layer": np.full(codes.shape[1], layer, np.int32), "feature": np.arange(codes.shape[1], dtype=np.int32)}
    for view in ("image", "caption_en", "caption_ar"):
        kind, _, lang = view.partition("_")
        here = ((tokens["kind"] == kind) & (not lang or tokens["lang"] == lang)).to_numpy()
        by_image = tokens.loc[here, "sample_id"].astype(str) + tokens.loc[here, "lang"]
        mean = pd.DataFrame(codes[here]).groupby(by_image.to_numpy()).mean().to_numpy(float)
        found |= {f"usual_{view}": mean.mean(0), f"spread_{view}": mean.std(0)}
        found[f"token_spread_{view}"] = codes[here].std(0).astype(float)
    return pd.DataFrame(found)


def _pool(run: Run, row: dict, tokens, codes: np.ndarray) -> None:
    sequence = (2 * tokens["sample_id"] + tokens["lang"].map(LANGUAGES.index)).to_numpy()
    n_captions, tensors = int(sequence.max()) + 1, {}
    for view in ("image", "prompt", "caption"):
        member = (tokens["kind"] == view).to_numpy()
        n = np.bincount(sequence[member], minlength=n_captions)
        mean = np.zeros((n_captions, codes.shape[1]), np.float32)
        np.add.at(mean, sequence[member], codes[member])
        mean /= np.maximum(n, 1)[:, None]
        feature, caption = np.nonzero(mean.T)
        counts = np.bincount(feature, minlength=codes.shape[1])
        tensors |= {f"n.{view}": n.astype(np.int32), f"resid.{view}": np.zeros((n_captions, D_MODEL), np.float32)}
        tensors[f"indptr.{view}"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        tensors |= {f"indices.{view}": caption.astype(np.int32), f"data.{view}": mean[caption, feature]}
    run.path("pooled").mkdir(exist_ok=True)
    save_file(tensors, run.path("pooled", f"layer_{row['layer']:02d}.safetensors"), metadata={"sae_id": row["sae_id"]})

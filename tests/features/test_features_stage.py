"""The stage: its tables hold what was measured, and a kill at any moment leaves no trace in them."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

import precompute.stages.features as stage
from core.config import config_from_dict
from core.errors import UserError
from core.features import codes as codes_module
from core.run import Run, write_table
from core.run.reader import Catalog
from core.run.schema.samples import AREAS
from core.sae.files import sae_id, save_sae
from core.sae.modules import SAE, SAEConfig
from precompute.context import StageContext
from tests.features.features_toys import token_table

D_MODEL, D_SAE, LAYERS, N_SAMPLES = 6, 40, (1, 3), 24
PERSON = {"left": 0.0, "top": 0.0, "right": 0.5, "bottom": 1.0}
WORDS = ["<pad>", "▁a", "▁man", "▁woman", "▁رجل", "▁امرأة", ".", "▁with", "▁مع", "▁car", "▁سيارة", "▁red"]


class ToyVLM:
    special_ids, image_token_id = frozenset({0}), 0

    def __init__(self):
        self.tokenizer = SimpleTokenizer()
        self.W_U = torch.randn(len(WORDS), D_MODEL, generator=torch.Generator().manual_seed(5))

    def logits(self, resid, capped=True):
        return resid * torch.rsqrt(resid.square().mean(-1, keepdim=True) + 1e-6) @ self.W_U.T

    def token_strings(self, ids):
        return [WORDS[i].replace("▁", " ") for i in ids]

    def vocabulary(self):
        return self.token_strings(range(len(WORDS)))


class SimpleTokenizer:
    def __len__(self):
        return len(WORDS)

    def convert_ids_to_tokens(self, ids):
        return [WORDS[i] for i in ids]


def make_run(dir) -> StageContext:
    """Everything that the stage reads, with small shards; the last feature of each layer never fires."""
    run, table = Run(dir), token_table(N_SAMPLES)
    run.dir.mkdir(parents=True)
    table = table.append_column("split", pa.array(["train"] * len(table))).append_column(
        "row", pa.array(range(len(table)))
    )
    write_table(run.path("activations", "tokens.parquet"), table)
    rows = []
    for layer in LAYERS:
        rng = torch.Generator().manual_seed(layer)
        folder = run.path("activations", f"layer_{layer:02d}")
        folder.mkdir()
        x = torch.randn(len(table), D_MODEL, generator=rng)
        for number, part in enumerate(x.split(100)):
            save_file({"resid_post": part.contiguous()}, folder / f"shard_{number:05d}.safetensors")
        W_enc = torch.randn(D_MODEL, D_SAE, generator=rng)
        b_enc = torch.full((D_SAE,), -1.0)
        b_enc[-1] = -100
        tensors = {
            "W_enc": W_enc,
            "W_dec": torch.nn.functional.normalize(W_enc.T, dim=1),
            "b_enc": b_enc,
            "b_dec": torch.zeros(D_MODEL),
        }
        sae = SAE(SAEConfig("standard", D_MODEL, D_SAE, layer=layer), tensors)
        save_sae(sae, run.path("saes", f"layer_{layer:02d}"))
        rows.append({"layer": layer, "sae_id": sae_id(sae), "d_sae": D_SAE})
    AREAS.write(run, AREAS.of_rows([{"sample_id": i, "kind": "person", "n": 0, **PERSON} for i in range(N_SAMPLES)]))
    saes = pa.Table.from_pylist(rows)
    write_table(run.path("saes.parquet"), saes.set_column(0, "layer", saes["layer"].cast(pa.int32())))
    config = config_from_dict(
        {
            "activations": {"layers": list(LAYERS)},
            "train": {"d_sae": D_SAE, "k": 4},
            "features": {
                "n_examples": 5,
                "n_quantiles": 3,
                "n_per_quantile": 2,
                "n_logits": 4,
                "n_neighbours": 3,
                "histogram_bins": 8,
            },
        }
    )
    return StageContext(run, config, run.path(".work", "features"))


@pytest.fixture(scope="module", autouse=True)
def small():
    """Several parts and blocks even in a toy, and no model to load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "open_vlm", lambda ctx: ToyVLM())
        # compiling the map takes longer than all the rest; test_features_geometry.py is about it
        patch.setattr(stage, "feature_map", lambda rows, *_: np.zeros((len(rows), 2), np.float32))
        patch.setattr(codes_module, "BATCH_ROWS", 37)
        patch.setattr(codes_module.CodeStore.blocks, "__defaults__", (4_000_000, 16, 64_000_000))
        patch.setattr(codes_module.write_codes, "__defaults__", (None, 100, "cpu", None))
        yield


def files(ctx: StageContext) -> list[bytes]:
    return [
        ctx.run.path(name).read_bytes() for name in ("features.parquet", "feature_areas.parquet", "examples.parquet")
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, small):
    """An undisturbed run of the stage, what it returned and what it said on the way."""
    ctx = make_run(tmp_path_factory.mktemp("stage") / "whole")
    seen: list[tuple[int, int]] = []
    ctx.on_progress = lambda done, total, unit, message: seen.append((done, total))
    return SimpleNamespace(ctx=ctx, result=stage.run(ctx), seen=seen)


def test_tables_are_sorted_and_complete_and_progress_only_grows(whole):
    features = pq.read_table(whole.ctx.run.path("features.parquet"))
    examples = pq.read_table(whole.ctx.run.path("examples.parquet"))
    keys = list(zip(features["layer"].to_pylist(), features["feature"].to_pylist(), strict=True))
    assert keys == [(layer, f) for layer in LAYERS for f in range(D_SAE)]
    rows = examples.select(["layer", "feature", "bin", "rank"]).to_pylist()
    assert rows == sorted(rows, key=lambda r: tuple(r.values()))
    assert whole.result["rows"] == len(features)
    assert json.dumps(whole.result["notes"])
    done = [d for d, _ in whole.seen]
    assert done == sorted(done) and whole.seen[-1] == (len(LAYERS) * D_SAE,) * 2


def test_a_dead_feature_has_no_statistics_and_no_examples(whole):
    catalog = Catalog(whole.ctx.run.dir)
    dead = catalog.feature(1, D_SAE - 1)
    assert not dead["alive"] and dead["n_active"] == 0 and dead["density"] == 0 and dead["explained_share"] == 0
    for name in (
        "mean",
        "std",
        "max",
        "p999",
        "histogram",
        "umap_x",
        "umap_y",
        "top_tokens",
        "logits_up",
        "logits_up_tokens",
        "neighbours",
        "neighbour_cosines",
    ):
        assert dead[name] is None
    assert catalog.examples(1, D_SAE - 1, bin=None).empty
    assert catalog.neighbours(1, D_SAE - 1).empty


def test_living_features_are_described(whole):
    catalog = Catalog(whole.ctx.run.dir)
    living = catalog.features(1)
    assert len(living) == D_SAE - 1
    one = catalog.feature(1, 0)
    assert sum(one["histogram"]) == one["n_active"] and len(one["histogram"]) == 8
    assert len(one["neighbours"]) == 3 and D_SAE - 1 not in one["neighbours"] and 0 not in one["neighbours"]
    assert len(one["logits_up_tokens"]) == len(one["logits_up"]) == 4
    assert set(one["logits_up_tokens"]) <= {w.replace("▁", " ") for w in WORDS[1:]}
    examples = catalog.examples(1, 0, bin=None)
    assert set(examples["bin"]) == {"top", "q1", "q2", "q3"}
    top = examples[examples["bin"] == "top"]
    assert len(top) == 5 and top["activation"].is_monotonic_decreasing
    assert top["activation"].iloc[0] == pytest.approx(one["max"])
    for row in examples.itertuples():
        assert len(row.patch_map) == 4 and len(row.token_values) == len(row.pieces)
        seen = max([*row.patch_map, *row.token_values])
        assert seen <= row.activation * 1.001 and row.band_low <= row.activation <= row.band_high
        assert row.kind == "prompt" or seen == pytest.approx(row.activation, rel=1e-3)


def test_where_features_lie_is_told_of_each_and_adds_up(whole):
    rows = Catalog(whole.ctx.run.dir).frame("feature_areas")
    assert len(rows) == len(LAYERS) * D_SAE * 2 and set(rows["kind"]) == {"person", "background"}
    known = rows[rows["why"] == ""]
    assert known.groupby(["layer", "feature"])["share"].sum().to_numpy() == pytest.approx(1)
    assert known["area"].to_numpy() == pytest.approx(0.5) and len(known) > 40
    assert rows[rows["why"] != ""]["share"].isna().all() and D_SAE - 1 not in set(known["feature"])


@pytest.mark.parametrize("call", range(1, 29, 5))
def test_a_kill_at_any_write_changes_no_byte(whole, tmp_path, monkeypatch, call):
    """The process dies at its n-th finished file; run again, the tables are those of the undisturbed run."""
    ctx = make_run(tmp_path / "killed")
    calls = 0
    replace = os.replace

    def dying(source, target):
        nonlocal calls
        calls += 1
        if calls == call:
            raise SystemExit(9)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", dying)
        with pytest.raises(SystemExit):
            stage.run(ctx)
    stage.run(ctx)
    assert files(ctx) == files(whole.ctx)


def test_foreign_weights_and_foreign_rows_are_refused(tmp_path):
    ctx = make_run(tmp_path / "a")
    table = pq.read_table(ctx.run.path("saes.parquet"))
    write_table(ctx.run.path("saes.parquet"), table.set_column(1, "sae_id", pa.array(["0" * 16] * 2)))
    with pytest.raises(UserError, match="not the one that was trained"):
        stage.run(ctx)
    ctx = make_run(tmp_path / "b")
    tokens = pq.read_table(ctx.run.path("activations", "tokens.parquet"))
    write_table(ctx.run.path("activations", "tokens.parquet"), tokens.slice(0, len(tokens) - 1))
    with pytest.raises(UserError, match="does not fit"):
        stage.run(ctx)

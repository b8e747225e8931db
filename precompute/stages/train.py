"""Stage train: one sparse autoencoder per layer on all captions' tokens, and what it is worth on held-out images."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from core.activations.store import ActivationReader
from core.runs import write_json, write_table
from core.sae.data import TokenBatches
from core.sae.files import load_sae, sae_id, save_sae
from core.sae.metrics import explained_variance, held_out_metrics
from core.sae.modules import SAE, SAEConfig
from core.sae.splicing import caption_losses, loss_recovered, mean_ablation, own_captions, splice
from core.sae.trainer import Trainer, train_sae
from core.vlm import load_captioner
from core.vlm.identity import locate

if TYPE_CHECKING:
    from torch import Tensor

    from core.vlm.adapter import VLM
    from precompute.context import StageContext

LOW_EXPLAINED_VARIANCE, HIGH_DEAD_SHARE = 0.6, 0.3  # beyond these the log says that something is wrong


def run(ctx: StageContext) -> dict:
    """Write saes/layer_XX/ and saes.parquet; finished layers, and steps up to a checkpoint, are not done again."""
    layers = ctx.config.activations.layers
    vlm: VLM | None = None
    for number, layer in enumerate(layers):
        folder = ctx.work_dir / f"layer_{layer:02d}"
        if not (folder / "metrics.json").exists():
            vlm = vlm or load_captioner(ctx.run, ctx.config.model, ctx.device)
            _one_layer(ctx, vlm, layer, number, folder)
    rows = []
    for layer in layers:
        source, target = (parent / f"layer_{layer:02d}" for parent in (ctx.work_dir, ctx.run.path("saes")))
        save_sae(load_sae(source), target)
        rows.append(json.loads((source / "metrics.json").read_text(encoding="utf-8")))
        write_json(target / "metrics.json", rows[-1])
    write_table(ctx.run.path("saes.parquet"), _table(rows))
    worth = ("explained_variance", "l0", "dead_share", "loss_recovered")
    return {"rows": len(rows), "notes": {f"layer_{r['layer']:02d}": {name: r[name] for name in worth} for r in rows}}


def _one_layer(ctx: StageContext, vlm: VLM, layer: int, number: int, folder: Path) -> None:
    """Train and measure the SAE of a layer; metrics.json is written last and says that the layer is done."""
    config, seed, name = ctx.config.train, ctx.config.seed, ctx.config.model.name
    reader = ActivationReader(ctx.run.dir, layer)
    index = reader.index
    wanted = index.kind.isin(config.tokens).to_numpy()
    train_rows, test_rows = (np.flatnonzero(wanted & (index.split == s).to_numpy()) for s in ("train", "test"))
    batches = TokenBatches(reader, train_rows, config.batch_tokens, seed)
    place = SAEConfig(
        config.architecture, reader.d_model, config.d_sae, config.k, layer,
        hook_name=f"blocks.{layer}.hook_resid_post", model_name=Path(name).name if locate(name) else name,
    )  # fmt: skip
    trainer = Trainer(config, batches, place, seed, ctx.device)
    untrained = trainer.finished_sae()
    total = config.steps * len(ctx.config.activations.layers)

    def report(step: int, steps: int, losses: dict[str, float]) -> None:
        ctx.progress(number * steps + step, total, "steps", f"layer {layer}, loss {losses['loss']:.4f}")
        if step % 200 == 0 or step == steps:
            ctx.metrics({f"layer_{layer:02d}/{name}": value for name, value in losses.items()}, step)

    train_sae(trainer, folder / "state.safetensors", report)
    sae = trainer.finished_sae()
    save_sae(sae, folder)
    kinds = index.kind.astype(str).to_numpy()[test_rows]
    metrics: dict[str, Any] = {
        "layer": layer, "sae_id": sae_id(sae), "architecture": config.architecture, "d_model": reader.d_model,
        "d_sae": config.d_sae, "k": config.k, "n_train_tokens": len(train_rows),
        **held_out_metrics(sae, reader, test_rows, kinds, ctx.device),
        "explained_variance_random": explained_variance(reader, test_rows, untrained),
        **_recovery(ctx, vlm, layer, sae, trainer.mean),
    }  # fmt: skip
    _warn(ctx, metrics)
    write_json(
        folder / "metrics.json", {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in metrics.items()}
    )
    (folder / "state.safetensors").unlink()


def _recovery(ctx: StageContext, vlm: VLM, layer: int, sae: SAE, mean: Tensor) -> dict[str, float]:
    """Cross-entropy of the model's own captions of test images: clean, with the reconstruction, with the mean."""
    edits = {"ce_clean": {}, "ce_spliced": {layer: splice(sae.to(vlm.device))}}
    edits["ce_ablated"] = {layer: mean_ablation(mean)}
    passages = own_captions(ctx.run, vlm, ctx.config.prompts, ctx.config.train.n_spliced, ctx.config.caption.batch_size)
    losses = caption_losses(vlm, passages, edits)
    sae.to("cpu")
    return {**losses, "loss_recovered": loss_recovered(**losses)}


def _warn(ctx: StageContext, metrics: dict[str, Any]) -> None:
    ctx.metrics({f"layer_{metrics['layer']:02d}/{k}": v for k, v in metrics.items() if isinstance(v, float)})
    if not metrics["explained_variance"] >= LOW_EXPLAINED_VARIANCE:
        what = f"the SAE explains only {metrics['explained_variance']:.0%} of the variance of held-out tokens"
        ctx.log.warning("layer %d: %s; more train.steps, train.k or train.d_sae may help", metrics["layer"], what)
    if metrics["dead_share"] > HIGH_DEAD_SHARE:
        what = f"{metrics['dead_share']:.0%} of the features are active on no held-out token"
        ctx.log.warning("layer %d: %s; a smaller train.d_sae or more samples may help", metrics["layer"], what)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    kinds = {"layer": pa.int32(), "d_model": pa.int32(), "d_sae": pa.int32(), "k": pa.int32()}
    kinds |= {"sae_id": pa.string(), "architecture": pa.string()}
    kinds |= {"n_train_tokens": pa.int64(), "n_test_tokens": pa.int64()}
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({n: pa.array([row.get(n) for row in rows], kinds.get(n, pa.float64())) for n in names})

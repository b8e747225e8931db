"""Stage train: one sparse autoencoder per layer on the tokens of both languages, and what it is worth on held-out images."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.activations.store import ActivationReader
from core.runs import write_json, write_table
from core.sae.data import TokenBatches
from core.sae.files import load_sae, sae_id, save_sae
from core.sae.metrics import explained_variance, held_out_metrics
from core.sae.modules import SAE, SAEConfig
from core.sae.splicing import Passages, caption_losses, loss_recovered, mean_ablation, splice
from core.sae.trainer import Trainer, train_sae
from core.samples.gather import open_image
from core.vlm import load_vlm
from core.vlm.identity import locate

if TYPE_CHECKING:
    from torch import Tensor

    from core.vlm.adapter import VLM
    from precompute.context import StageContext

LOW_EXPLAINED_VARIANCE, HIGH_DEAD_SHARE = 0.6, 0.3  # beyond these the log says that something is wrong


def run(ctx: StageContext) -> dict:
    """Write saes/layer_XX/ and saes.parquet; a layer that is finished, or a checkpoint within one, is not done again."""
    layers = ctx.config.activations.layers
    vlm: VLM | None = None
    for number, layer in enumerate(layers):
        folder = ctx.work_dir / f"layer_{layer:02d}"
        if not (folder / "metrics.json").exists():
            vlm = vlm or load_vlm(ctx.config.model.name, ctx.config.model.dtype, ctx.device, ctx.config.model.revision)
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
    config, seed = ctx.config.train, ctx.config.seed
    reader = ActivationReader(ctx.run.dir, layer)
    index = reader.index
    wanted = index.kind.isin(config.tokens).to_numpy()
    train_rows, test_rows = (np.flatnonzero(wanted & (index.split == s).to_numpy()) for s in ("train", "test"))
    batches = TokenBatches(reader, train_rows, config.batch_tokens, seed)
    place = SAEConfig(
        config.architecture, reader.d_model, config.d_sae, config.k, layer,
        hook_name=f"blocks.{layer}.hook_resid_post", model_name=ctx.config.model.name if locate(ctx.config.model.name) is None else Path(ctx.config.model.name).name,
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
    losses = caption_losses(vlm, _passages(ctx, vlm), edits)
    sae.to("cpu")
    return {**losses, "loss_recovered": loss_recovered(**losses)}


def _passages(ctx: StageContext, vlm: VLM) -> Iterator[Passages]:
    """The captions of train.n_spliced test images, evenly spread over the table, in batches of caption.batch_size rows."""
    captions = pq.read_table(ctx.run.path("captions.parquet")).to_pandas()
    samples = pq.read_table(ctx.run.path("samples.parquet"), columns=["sample_id", "split"]).to_pandas()
    test = samples.sample_id[samples.split == "test"].to_numpy()
    chosen = test[np.unique(np.linspace(0, len(test) - 1, min(len(test), ctx.config.train.n_spliced)).astype(int))]
    prompts = {lang: vlm.prompt_ids(getattr(ctx.config.caption, f"prompt_{lang}")) for lang in ("en", "ar")}
    per_batch = max(1, ctx.config.caption.batch_size // 2)
    for start in range(0, len(chosen), per_batch):
        ids = chosen[start : start + per_batch]
        place = {sample_id: i for i, sample_id in enumerate(ids)}
        part = captions[captions.sample_id.isin(ids) & (captions.token_ids.str.len() > 0)]
        if len(part):
            features = vlm.encode_images([open_image(ctx.run, int(sample_id)) for sample_id in ids])
            rows = [prompts[lang] + list(map(int, t)) for lang, t in zip(part.lang, part.token_ids, strict=True)]
            yield Passages(rows, features[[place[s] for s in part.sample_id]])


def _warn(ctx: StageContext, metrics: dict[str, Any]) -> None:
    ctx.metrics({f"layer_{metrics['layer']:02d}/{k}": v for k, v in metrics.items() if isinstance(v, float)})
    if not metrics["explained_variance"] >= LOW_EXPLAINED_VARIANCE:
        ctx.log.warning(
            "layer %d: the SAE explains %.0f%% of the variance of held-out tokens, which is little; more train.steps, a "
            "larger train.k or train.d_sae may help", metrics["layer"], 100 * metrics["explained_variance"],
        )  # fmt: skip
    if metrics["dead_share"] > HIGH_DEAD_SHARE:
        ctx.log.warning(
            "layer %d: %.0f%% of the features are active on no held-out token; a smaller train.d_sae or train.lr, or more "
            "samples, may help", metrics["layer"], 100 * metrics["dead_share"],
        )  # fmt: skip


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    kinds = {"layer": pa.int32(), "d_model": pa.int32(), "d_sae": pa.int32(), "k": pa.int32()}
    kinds |= {
        "sae_id": pa.string(),
        "architecture": pa.string(),
        "n_train_tokens": pa.int64(),
        "n_test_tokens": pa.int64(),
    }
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({n: pa.array([row.get(n) for row in rows], kinds.get(n, pa.float64())) for n in names})

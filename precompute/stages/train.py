"""Stage train: one sparse autoencoder per layer, trained here or by others, and what it is worth on held-out images."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.activations.replay import Activations
from core.activations.store import ActivationReader
from core.errors import UserError
from core.run import write_json
from core.run.schema.saes import SAE_FIT, SAES
from core.sae.files import load_sae, sae_id, save_sae
from core.sae.fit import (
    BOTH,
    KINDS,
    Tokens,
    joined,
    kind_means,
    loss_fit,
    spliced_variants,
    token_fit,
    untrained_control,
)
from core.sae.modules import SAE, SAEConfig
from core.sae.pretrained import load_pretrained
from core.sae.sources import Source, sources
from core.sae.splicing import own_captions, row_losses
from core.sae.trainer import N_STATISTICS, TokenBatches, Trainer, explained_variance, train_sae
from core.vlm import load_captioner
from core.vlm.identity import locate
from precompute.context import Part

if TYPE_CHECKING:
    from core.vlm.adapter import VLM
    from precompute.context import StageContext

LOW_EXPLAINED_VARIANCE, HIGH_DEAD_SHARE = 0.6, 0.3  # beyond these the log says that something is wrong
N_FOR_CONTROL = 8192  # tokens from which the control's mean and number of features are taken
HERE = "trained here"


def run(ctx: StageContext) -> dict:
    """Write saes/layer_XX/, saes.parquet and sae_fit.parquet; what was done before a stop is not done again."""
    layers = ctx.config.activations.layers
    given = {source.layer: source for source in sources(ctx.config)}
    load = functools.cache(lambda: load_captioner(ctx.run, ctx.config.model, ctx.device))
    activations = Activations.of(ctx, load, ctx.layers or layers)
    parts = []
    for number, layer in enumerate(ctx.layers or layers):
        folder = ctx.work_dir / f"layer_{layer:02d}"

        def make(number: int = number, layer: int = layer, folder: Path = folder) -> None:
            _one_layer(ctx, load(), activations.reader(layer), number, folder, given.get(layer))

        parts.append(Part(folder / "metrics.json", make))
    ctx.make(parts)
    if ctx.helper:
        return {}
    if ctx.layers:  # other processes have the others; a later run puts all of them together
        activations.clear()
        return {"rows": len(ctx.layers)}
    rows, fits = [], []
    for layer in layers:
        source, target = (parent / f"layer_{layer:02d}" for parent in (ctx.work_dir, ctx.run.path("saes")))
        save_sae(load_sae(source), target)
        rows.append(json.loads((source / "metrics.json").read_text(encoding="utf-8")))
        fits += json.loads((source / "fit.json").read_text(encoding="utf-8"))
        write_json(target / "metrics.json", rows[-1])
    SAES.write(ctx.run, SAES.of_rows(rows))
    SAE_FIT.write(ctx.run, SAE_FIT.of_rows(fits))
    worth = ("explained_variance", "explained_variance_median", "l0", "dead_share", "loss_recovered")
    return {"rows": len(rows), "notes": {f"layer_{r['layer']:02d}": {name: r[name] for name in worth} for r in rows}}


def _one_layer(
    ctx: StageContext, vlm: VLM, reader: ActivationReader, number: int, folder: Path, source: Source | None
) -> None:
    """Make and measure the SAE of a layer; metrics.json is written last and says that the layer is done."""
    layer = reader.layer
    if source is None:
        sae, told = _trained(ctx, reader, number, folder)
    else:
        n_layers = len(ctx.layers or ctx.config.activations.layers)
        ctx.progress(number, n_layers, "layers", f"layer {layer}: {source.name}")
        sae = load_pretrained(source, reader.d_model)
        told = {
            "source": source.name,
            "trained_on": sae.cfg.model_name,
            "n_train_tokens": None,
            "explained_variance_random": None,
        }
    save_sae(sae, folder)
    fit = _fit(ctx, vlm, reader, sae)
    by_group = {(row["kind"], row["lang"]): row for row in fit}
    overall = by_group["all", BOTH]
    metrics: dict[str, Any] = {
        "layer": layer,
        "sae_id": sae_id(sae),
        "architecture": sae.cfg.architecture,
        "d_model": sae.cfg.d_model,
        "d_sae": sae.cfg.d_sae,
        "k": sae.cfg.k or None,
        **told,
        "n_test_tokens": overall["n_tokens"],
        **{
            name: overall[name]
            for name in ("explained_variance", "explained_variance_median", "l0", "dead_share", "cosine")
        },
        **{
            f"explained_variance_{kind}": by_group[kind, BOTH]["explained_variance"]
            for kind in KINDS[1:]
            if (kind, BOTH) in by_group
        },
        **{name: overall.get(name) for name in ("ce_clean", "ce_spliced", "ce_ablated", "loss_recovered")},
    }
    _warn(ctx, metrics, source)
    write_json(folder / "fit.json", fit)
    write_json(folder / "metrics.json", _plain(metrics))
    (folder / "state.safetensors").unlink(missing_ok=True)


def _trained(ctx: StageContext, reader: ActivationReader, number: int, folder: Path) -> tuple[SAE, dict[str, Any]]:
    """Train the SAE of a layer on this run's tokens; what is to be said of that."""
    config, layer, name = ctx.config.train, reader.layer, ctx.config.model.name
    called = Path(name).name if locate(name) else name
    rows = _rows(reader, "train", config.tokens)
    place = SAEConfig(
        config.architecture,
        reader.d_model,
        config.d_sae,
        config.k,
        layer,
        hook_name=f"blocks.{layer}.hook_resid_post",
        model_name=called,
    )
    batches = TokenBatches(reader, rows, config.batch_tokens, ctx.config.seed)
    trainer = Trainer(config, batches, place, ctx.config.seed, ctx.device)
    untrained = trainer.finished_sae()
    total = config.steps * len(ctx.layers or ctx.config.activations.layers)

    def report(step: int, steps: int, losses: dict[str, float]) -> None:
        ctx.progress(number * steps + step, total, "steps", f"layer {layer}, loss {losses['loss']:.4f}")
        if step % 200 == 0 or step == steps:
            ctx.metrics({f"layer_{layer:02d}/{name}": value for name, value in losses.items()}, step)

    train_sae(trainer, folder / "state.safetensors", report)
    random = explained_variance(reader, _rows(reader, "test", config.tokens), untrained)
    return trainer.finished_sae(), {
        "source": HERE,
        "trained_on": called,
        "n_train_tokens": len(rows),
        "explained_variance_random": random,
    }


def _rows(reader: ActivationReader, split: str, kinds: tuple[str, ...]) -> np.ndarray:
    index = reader.index
    return np.flatnonzero((index.kind.isin(kinds) & (index.split == split)).to_numpy())


def _fit(ctx: StageContext, vlm: VLM, reader: ActivationReader, sae: SAE) -> list[dict[str, Any]]:
    """How well the SAE fits held-out tokens and captions, by kind and language."""
    config, seed = ctx.config.train, ctx.config.seed
    of_kind = {"all": config.tokens, **{kind: (kind,) for kind in KINDS[1:]}}
    held_out = _rows(reader, "test", KINDS[1:])
    index = reader.index.iloc[held_out]
    tokens = Tokens(
        held_out, index.sample_id.to_numpy(), index.lang.astype(str).to_numpy(), index.kind.astype(str).to_numpy()
    )
    train_rows = _rows(reader, "train", config.tokens)
    if not (len(train_rows) and np.isin(tokens.kind, config.tokens).any()):
        raise UserError(
            f"The SAE of layer {reader.layer} cannot be measured.",
            "No training or no held-out image has tokens of the kinds in train.tokens.",
            "Use more samples, or widen train.tokens.",
        )
    sample = reader.read(train_rows[:: max(1, len(train_rows) // N_FOR_CONTROL)])
    control = untrained_control(sae, sample, seed)
    fit = token_fit(sae, control, reader, tokens, config.tokens, seed, ctx.device)
    means = kind_means(reader, {k: _rows(reader, "train", kinds) for k, kinds in of_kind.items()}, N_STATISTICS)
    passages = own_captions(ctx.run, vlm, ctx.config.prompts, config.n_spliced, ctx.config.caption.batch_size)
    losses = row_losses(
        vlm, passages, spliced_variants(sae.to(vlm.device), control.to(vlm.device), reader.layer, means)
    )
    sae.to("cpu")
    return joined(fit, loss_fit(losses, means, seed), reader.layer, sae_id(sae))


def _warn(ctx: StageContext, metrics: dict[str, Any], source: Source | None) -> None:
    layer = metrics["layer"]
    ctx.metrics({f"layer_{layer:02d}/{k}": v for k, v in metrics.items() if isinstance(v, float)})
    do = "other SAEs, or ones trained here, may fit better" if source else ""
    shares = {kind: metrics.get(f"explained_variance_{kind}") for kind in KINDS[1:]} if source else {}
    for place, share in {"held-out tokens": metrics["explained_variance"], **shares}.items():
        if share is not None and not share >= LOW_EXPLAINED_VARIANCE:
            what = f"the SAE explains only {share:.0%} of the variance of {place}"
            ctx.log.warning("layer %d: %s; %s", layer, what, do or "more train.steps, train.k or train.d_sae may help")
    if metrics["dead_share"] > HIGH_DEAD_SHARE:
        what = f"{metrics['dead_share']:.0%} of the features are active on no held-out token"
        do = do or "a smaller train.d_sae or more samples may help"
        ctx.log.warning("layer %d: %s; %s", layer, what, do)


def _plain(metrics: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in metrics.items()}

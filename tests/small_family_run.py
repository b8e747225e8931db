"""The whole pipeline at its smallest, with a tiny random model of a family: only whether it ends, and with what."""

from __future__ import annotations

from pathlib import Path

from core.config import load_config
from core.run import Run
from precompute.engine.local import LocalEngine
from tests.tiny_models import tiny_model_dir

SMALLEST = (
    "samples.n=90",
    "caption.batch_size=32",
    "caption.max_new_tokens=8",
    "activations.layers=[1]",
    "activations.shard_tokens=2048",
    "train.d_sae=48",
    "train.k=4",
    "train.steps=30",
    "train.batch_tokens=128",
    "train.auxk=8",
    "train.n_spliced=4",
    "features.n_examples=3",
    "features.n_per_quantile=1",
    "features.n_quantiles=2",
    "gender.min_images=2",
    "gender.n_attributed=4",
    "crosslingual.n_permutations=50",
    "crosslingual.n_bootstrap=50",
    "crosslingual.d_sae=32",
    "crosslingual.k=4",
    "crosslingual.steps=10",
    "crosslingual.min_images=2",
    "layers.n_folds=2",
    "layers.n_bootstrap=50",
    "layers.n_lens=8",
    "layers.n_controls=1",
    "bias.n_sampled=2",
    "bias.n_bootstrap=100",
    "explain.n_features=2",
    "explain.strengths=[1]",
    "explain.min_images=2",
    "explain.n_dose_images=1",
    "explain.dose_strengths=[1]",
    "interventions.k=[1]",
    "interventions.headline=1",
    "interventions.n_images=4",
    "interventions.n_development=4",
    "interventions.strengths=[1]",
    "interventions.n_controls=5",
    "interventions.n_few=2",
    'interventions.rankings=["auc"]',
    "interventions.n_bootstrap=50",
    "mechanisms.n_images=8",
    "mechanisms.n_ablated=8",
    "mechanisms.n_patched=2",
    "mechanisms.n_features=2",
    "mechanisms.n_pairs=1",
    "mechanisms.n_steps=1",
    "mechanisms.n_bootstrap=50",
    "mechanisms.min_images=2",
    "graph.n_images=2",
    "graph.n_way=2",
    "graph.n_mean=2",
)


def run_family(family: str, folder: Path) -> Run:
    """All stages on a few scenes of the demo world; the run."""
    prompts = ("caption en", "caption ar") if "paligemma" in family else ("Describe the image.", "صف الصورة.")
    settings = [f"model.name={tiny_model_dir(family)}", "model.device=cpu"]
    settings += [f"caption.prompt_{lang}={text}" for lang, text in zip(("en", "ar"), prompts, strict=True)]
    run = Run(folder)
    LocalEngine(run, load_config("demo", [*SMALLEST, *settings])).run_all()
    return run

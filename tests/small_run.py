"""The settings of the small run of the real pipeline that the suite makes once (see conftest.py)."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "samples.n=150",
    "caption.batch_size=32",
    "activations.layers=[3,5]",
    "activations.shard_tokens=4096",
    "train.d_sae=128",
    "train.k=8",
    "train.steps=150",
    "train.batch_tokens=256",
    "train.auxk=16",
    "train.dead_after_tokens=8000",
    "train.n_spliced=12",
    "features.n_examples=6",
    "features.n_per_quantile=2",
    "gender.min_images=5",
    "gender.n_attributed=8",
    "nulls.n_random=2",
    "nulls.n_shuffles=2",
    "nulls.ks=[1,2]",
    "nulls.n_random_images=48",
    "crosslingual.n_permutations=60",
    "crosslingual.n_bootstrap=60",
    "crosslingual.d_sae=64",
    "crosslingual.k=8",
    "crosslingual.steps=60",
    "layers.n_folds=3",
    "layers.n_bootstrap=60",
    "layers.n_lens=40",
    "bias.n_sampled=4",
    "bias.n_bootstrap=100",
    "explain.n_features=4",
    "explain.strengths=[1]",
    "explain.min_images=5",
    "explain.n_dose_images=2",
    "explain.dose_strengths=[1]",
    "interventions.k=[1,5]",
    "interventions.headline=5",
    "interventions.n_images=4",
    "interventions.n_development=4",
    "interventions.strengths=[1]",
    "interventions.n_controls=5",
    "interventions.n_few=2",
    'interventions.rankings=["auc"]',
    "interventions.n_bootstrap=60",
    "hiding.n_images=22",
    "hiding.n_random=1",
    "hiding.n_examples=2",
    "hiding.n_example_random=3",
    "hiding.n_means=16",
    "mechanisms.n_images=40",
    "mechanisms.n_ablated=8",
    "mechanisms.n_patched=8",
    "mechanisms.n_features=6",
    "mechanisms.n_pairs=2",
    "mechanisms.n_steps=2",
    "mechanisms.n_bootstrap=60",
    "mechanisms.min_images=2",
    "graph.n_images=2",
    "graph.n_way=8",
    "graph.n_mean=8",
)


def precompute_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "precompute", *arguments]


def small_command(name: str) -> list[str]:
    sets = [part for setting in SMALL for part in ("--set", setting)]
    return precompute_command("run", "demo", "--run", name, *sets)

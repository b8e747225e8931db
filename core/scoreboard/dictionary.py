"""Dictionaries trained on tokens whose features are known: what is found again, and what the measures say of it.

The world (after Elhage et al. 2022, arXiv 2209.10652, and Chanin et al. 2024, arXiv 2409.14507): N_TRUE directions of
length 1 in D dimensions, more than fit at right angles. A token is one image: a woman (feature 0) or a man (feature 1),
on some of them one of the kinds of their gender, a child that fires with its parent alone (*hierarchy*); and things,
which come in families that fire together (*correlation*). Every feature has a word, said where it fires, but for a
share of mistakes. ``python -m core.scoreboard.dictionary`` prints docs/measurements.md's table.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csc_array, csr_array

from core.activations.store import ActivationReader
from core.config import GenderConfig, TrainConfig
from core.features.labels import Candidates, label_rows
from core.nulls.findings import fit_probe
from core.nulls.quality import absorption
from core.nulls.recurrence import Recurrence, decoder_rows, recurrence
from core.sae.modules import SAE, SAEConfig
from core.sae.trainer import TokenBatches, Trainer, train_sae

D, N_TRUE, CHILDREN, FAMILY = 48, 96, 4, 5  # dimensions; features; of a gender; of things that come together
P_CHILD, P_FAMILY, P_WITHIN, P_ALONE = 0.6, 0.06, 0.6, 0.01
NOISE, MISTAKEN = 0.05, 0.05
N_TOKENS, N_FRESH, D_SAE = 60_000, 2_000, 128
TRAINING = TrainConfig(d_sae=D_SAE, k=6, steps=4000, batch_tokens=256, auxk=32, dead_after_tokens=20_000)
RECOVERED = 0.9  # cosine with a true direction from which that is found again
LAYER = 0


@dataclass(frozen=True)
class World:
    """The true directions (N_TRUE, D); without ``hierarchy`` the kinds fire on women and men alike."""

    directions: NDArray[np.float64]
    hierarchy: bool

    def draw(self, rng: np.random.Generator, n: int) -> tuple[NDArray, NDArray, NDArray]:
        """Tokens (n, D), which features fire (n, N_TRUE) bool, and who is a woman (n,)."""
        female, on = rng.random(n) < 0.5, np.zeros((n, N_TRUE), bool)
        on[:, 0], on[:, 1] = female, ~female
        owner = female if self.hierarchy else rng.random(n) < 0.5
        kind = np.where(owner, 2, 2 + CHILDREN) + rng.integers(0, CHILDREN, n)
        on[np.arange(n), kind] = rng.random(n) < P_CHILD
        first = 2 + 2 * CHILDREN
        family = (np.arange(first, N_TRUE) - first) // FAMILY
        there = rng.random((n, family.max() + 1)) < P_FAMILY
        on[:, first:] = rng.random((n, N_TRUE - first)) < np.where(there[:, family], P_WITHIN, P_ALONE)
        x = (on * rng.uniform(1, 2, on.shape)) @ self.directions + NOISE * rng.standard_normal((n, D))
        return x, on, female


def make_world(seed: int, hierarchy: bool = True) -> World:
    """Directions at random."""
    rows = np.random.default_rng([seed, N_TRUE]).standard_normal((N_TRUE, D))
    return World(rows / np.linalg.norm(rows, axis=1, keepdims=True), hierarchy)


def trained(world: World, seed: int, config: TrainConfig = TRAINING, n_tokens: int = N_TOKENS) -> SAE:
    """An SAE of the project's own trainer; with ``config.steps`` of 1 one that has learned nothing."""
    x, _, _ = world.draw(np.random.default_rng([1, int(world.hierarchy)]), n_tokens)  # the same for every seed
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "activations" / f"layer_{LAYER:02d}"
        place.mkdir(parents=True)
        save_file({"resid_post": torch.from_numpy(x.astype(np.float32))}, place / "shard_00000.safetensors")
        reader = ActivationReader(Path(folder), LAYER)
        batches = TokenBatches(reader, np.arange(n_tokens), config.batch_tokens, seed)
        trainer = Trainer(config, batches, SAEConfig(config.architecture, D, config.d_sae, config.k, LAYER), seed)
        train_sae(trainer)
        return trainer.finished_sae()


def codes(sae: SAE, x: NDArray) -> csc_array:
    """Activations (n, d_sae) on tokens."""
    code = sae.sparse_code(torch.from_numpy(x.astype(np.float32)))
    part = code.value.detach().numpy(), (code.row.numpy(), code.feature.numpy())
    return csc_array(csr_array(part, shape=(len(x), sae.cfg.d_sae)))


def matched(world: World, rows: NDArray) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """By true feature its own row of a dictionary (n, D), one to one (largest sum), and the cosine with it."""
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    cosine = world.directions @ unit.T
    _, of = linear_sum_assignment(-cosine)
    return of, cosine[np.arange(N_TRUE), of]


def labelled(world: World, sae: SAE, seed: int, shuffled: bool = False) -> list[dict]:
    """Rows of labels of all features on fresh tokens; ``shuffled``: their words are those of other tokens."""
    rng = np.random.default_rng([2, seed])
    x, on, _ = world.draw(rng, N_FRESH)
    said = on ^ (rng.random(on.shape) < MISTAKEN * np.where(on, 1.0, on.mean(0)))
    said = said[rng.permutation(N_FRESH)] if shuffled else said
    names = tuple(f"word {i}" for i in range(N_TRUE))
    train = np.arange(N_FRESH) % 2 == 0
    there = Candidates(
        "en", names, ("word",) * N_TRUE, csr_array(said.astype(np.float32)), np.arange(N_FRESH, dtype=np.int64), train
    )
    return label_rows({"caption": codes(sae, x)}, there, GenderConfig().label_auc)


def again(world: World, first: SAE, second: SAE, seed: int) -> Recurrence:
    """Whether features of the first come back in the second, on fresh tokens."""
    x, _, _ = world.draw(np.random.default_rng([3, seed]), N_FRESH)
    return recurrence(codes(first, x), codes(second, x), decoder_rows(first), decoder_rows(second), seed)


def absorbed(world: World, sae: SAE, seed: int) -> float:
    """Share of held-out tokens whose gender is absorbed, as the measure of dictionaries says (core.nulls.quality)."""
    x, _, female = world.draw(np.random.default_rng([4, seed]), N_FRESH)
    train = np.arange(N_FRESH) % 2 == 0
    rows, probe = decoder_rows(sae).astype(np.float64), fit_probe(x[train], female[train])
    return float(absorption(codes(sae, x), x, rows, probe, female, train)[0]["value"])


def swallowed(world: World, rows: NDArray) -> float:
    """The truth of it: mean cosine of the kinds' rows with their gender, beyond that of the kinds' own directions."""
    of, _ = matched(world, rows)
    kinds = np.arange(2, 2 + 2 * CHILDREN)
    unit = rows[of[kinds]] / np.linalg.norm(rows[of[kinds]], axis=1, keepdims=True)
    parent = world.directions[(kinds >= 2 + CHILDREN).astype(int)]
    return float(((unit - world.directions[kinds]) * parent).sum(1).mean())


@dataclass(frozen=True)
class Found:
    """What a trained dictionary has of its world; shares, but for ``explained`` and the two cosines."""

    architecture: str
    hierarchy: bool
    explained: float
    cosine: float  # of true features with their rows, mean
    recovered: float  # of true features
    labelled: float  # of recovered features, with their own word
    labelled_shuffled: float  # of all features, where the words are those of other tokens
    recurs: float  # of recovered features, with another seed
    others_recur: float  # of rows that are no true feature
    absorbed: float
    swallowed: float


def measure(architecture: str, hierarchy: bool, config: TrainConfig = TRAINING) -> Found:
    """Two trainings and all measures of the first."""
    world, config = make_world(0, hierarchy), replace(config, architecture=architecture)
    first, second = (trained(world, seed, config) for seed in (0, 1))
    rows = decoder_rows(first).astype(np.float64)
    of, cosine = matched(world, rows)
    good = cosine > RECOVERED
    own, other, back = labelled(world, first, 0), labelled(world, first, 0, True), again(world, first, second, 0)
    named = [own[of[i]]["label"] == f"word {i}" for i in np.flatnonzero(good)]
    is_true = np.isin(np.arange(len(rows)), of[good])
    near = (world.directions @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T).max(0)
    others = near < RECOVERED
    x, _, _ = world.draw(np.random.default_rng(5), N_FRESH)
    rebuilt = np.asarray(codes(first, x) @ rows) + first.b_dec.detach().numpy()
    return Found(
        architecture,
        hierarchy,
        explained=float(1 - ((x - rebuilt) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()),
        cosine=float(cosine.mean()),
        recovered=float(good.mean()),
        labelled=share(named),
        labelled_shuffled=share([row["label"] != "" for row in other]),
        recurs=share(back.recurs[back.known & is_true]),
        others_recur=share(back.recurs[back.known & others]),
        absorbed=absorbed(world, first, 0),
        swallowed=swallowed(world, rows),
    )


def share(hits: Sequence[bool] | NDArray) -> float:
    """NaN of nothing."""
    return float(np.mean(hits)) if len(hits) else float("nan")


COLUMNS = ("dictionary", "kinds fire", "explained", "cosine", "recovered", "own word; words dealt out anew")
COLUMNS += ("recurs: true, other rows", "absorbed", "kinds' rows on their gender")


def line(one: Found) -> str:
    """A row of the table."""
    kinds = "with their gender alone" if one.hierarchy else "with either gender"
    cells = [one.architecture, kinds, f"{one.explained:.2f}", f"{one.cosine:.2f}", percent(one.recovered)]
    cells += [f"{percent(one.labelled)}; {percent(one.labelled_shuffled)}"]
    cells += [f"{percent(one.recurs)}, {percent(one.others_recur)}", percent(one.absorbed), f"{one.swallowed:+.2f}"]
    return f"| {' | '.join(cells)} |"


def percent(value: float) -> str:
    """A dash for what there is nothing of."""
    return "–" if np.isnan(value) else f"{value:.0%}"


def main() -> int:
    """Prints the table."""
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for architecture in ("topk", "batchtopk", "matryoshka", "jumprelu", "gated", "standard"):
        for hierarchy in (True, False):
            print(line(measure(architecture, hierarchy)), flush=True)
    bare = replace(TRAINING, steps=1)
    print(line(replace(measure("topk", True, bare), architecture="topk, untrained")))
    return 0


if __name__ == "__main__":
    sys.exit(main())

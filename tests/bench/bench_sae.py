"""How much faster the sparse TopK step is than the same step through dense autograd: python tests/bench/bench_sae.py

Both train the same SAE on the same batches with the same Adam, in turns in one process. Counted is the CPU time of all
threads, which a busy machine disturbs least; what matters is the ratio of medians. OMP_NUM_THREADS sets the threads.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from core.config import TrainConfig  # noqa: E402
from core.sae.losses import Parameters, topk_step  # noqa: E402
from core.sae.trainer import AUX_COEFFICIENT, adam, initial_parameters  # noqa: E402
from precompute.machine import versions  # noqa: E402

SIZES = ((192, 1536, 24, 1024), (256, 4096, 32, 1024), (512, 8192, 48, 512))  # d_model, d_sae, k, batch
ROUNDS = 9
Gradients = Callable[[Parameters, Tensor, int], Parameters]


def dense_autograd(p: Parameters, x: Tensor, k: int) -> Parameters:
    """The step as one writes it down: a dense code and autograd."""
    leaves = {name: t.detach().requires_grad_() for name, t in p.items()}
    pre = (x - leaves["b_dec"]) @ leaves["encoder"].t() + leaves["b_enc"]
    kept = pre.topk(k, dim=-1, sorted=False)
    z = torch.zeros_like(pre).scatter(-1, kept.indices, kept.values.relu())
    loss = (z @ leaves["decoder"] + leaves["b_dec"] - x).square().mean()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def sparse(p: Parameters, x: Tensor, k: int) -> Parameters:
    """The step of core.sae."""
    nobody = torch.zeros(len(p["b_enc"]), dtype=torch.bool)
    return topk_step(p, x, k, nobody, 0, AUX_COEFFICIENT).gradients


class Contender:
    """A way to get gradients, with its own parameters and Adam, and the times of its steps."""

    def __init__(self, gradients: Gradients, d_model: int, d_sae: int):
        self.gradients, self.seconds = gradients, []
        self.p = initial_parameters(TrainConfig(d_sae=d_sae), torch.zeros(d_model), seed=0, layer=0)
        self.moments = {name: (torch.zeros_like(t), torch.zeros_like(t)) for name, t in self.p.items()}

    def step(self, number: int, x: Tensor, k: int) -> None:
        start = time.process_time()
        gradients = self.gradients(self.p, x, k)
        for name, t in self.p.items():
            adam(t, gradients[name], *self.moments[name], number, 1e-3)
        self.seconds.append(time.process_time() - start)


def main() -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    print(f"commit {commit.strip() or 'none'}, torch {versions()['torch']}, {torch.get_num_threads()} threads")
    print("d_model  d_sae   k  batch   dense ms  sparse ms  ratio  largest difference of the encoders")
    for d_model, d_sae, k, batch in SIZES:
        random = torch.Generator().manual_seed(1)
        contenders = [Contender(dense_autograd, d_model, d_sae), Contender(sparse, d_model, d_sae)]
        for number in range(1, ROUNDS + 1):
            x = torch.randn(batch, d_model, generator=random)
            for contender in contenders if number % 2 else contenders[::-1]:
                contender.step(number, x, k)
        dense_ms, sparse_ms = (1e3 * statistics.median(c.seconds[2:]) for c in contenders)
        difference = float((contenders[0].p["encoder"] - contenders[1].p["encoder"]).abs().max())
        print(
            f"{d_model:7} {d_sae:6} {k:3} {batch:6} {dense_ms:10.1f} {sparse_ms:10.1f} {dense_ms / sparse_ms:6.2f}"
            f"  {difference:.1e}"
        )


if __name__ == "__main__":
    main()

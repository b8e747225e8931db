"""Training one SAE on one layer's tokens: batches, initial weights, the loop, resumable state, explained variance.

The trainer works on scaled tokens x' = scale * x, whose mean squared distance from their mean is d_model, so that
learning rate and sparsity weights mean the same at every layer and in every model. The scale is folded away in the
finished SAE, which acts on raw residuals and has decoder rows of norm 1: an activation is a length in the residual
stream. Which token comes in which step is a function of seed and step alone, so that training survives any stop.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.adam import adam as fused_adam

from core.activations.store import ActivationReader
from core.config import TrainConfig
from core.errors import UserError
from core.first_calls import make_first_calls
from core.run import atomic_path
from core.sae.losses import Parameters, Step, autograd_step, pre_activations, topk_step
from core.sae.modules import SAE, SAEConfig

N_STATISTICS = 1 << 16  # tokens from which mean and scale are taken
BATCH_ROWS = 8192
ENCODER_SHARE = 0.577  # the encoder starts as this multiple of the decoder's transpose: better early than 1
WARMUP_SHARE, DECAY_SHARE = 0.05, 0.4  # of the steps: the learning rate rises from 0, later falls to 0, linearly
LR_TIMES_WIDTH = 0.6  # of the learning rate that is chosen where none is given
DEAD_SHARE = 0.2  # of a training's tokens: a feature silent for so long is dead, however long dead_after_tokens is
SPARSITY_WARMUP_SHARE = 0.2  # of the steps: over these the weight of an explicit sparsity loss rises from 0
AUX_COEFFICIENT = 1 / 32  # Gao et al. 2024
BETAS, EPSILON = (0.9, 0.999), 1e-8
N_CALIBRATION_STEPS = 16
WEIGHT_STREAM = 0x5AE  # keeps the random numbers of the weights apart from those of the data order
CHECKPOINT_SECONDS = 20.0
REPORT_STEPS = 25  # steps between two reports; the loss is looked at only then
Progress = Callable[[int, int, dict[str, float]], None]  # steps done, steps in all, latest losses


class TokenBatches:
    """Batches of the tokens `rows` of a layer, in the order that ActivationReader.batches draws from the seed."""

    def __init__(self, reader: ActivationReader, rows: np.ndarray, batch_tokens: int, seed: int) -> None:
        if not len(rows):
            raise UserError(
                "There are no tokens to train on.",
                "The run has no activations of the kinds in train.tokens on training images.",
                "Widen train.tokens or use more samples.",
            )
        self.reader, self.rows, self.batch_tokens, self.seed = reader, np.sort(rows), batch_tokens, seed
        self._next_step = -1
        self._stream: Iterator[Tensor] = iter(())

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, step: int) -> Tensor:
        """The tokens of a step, float32 (batch_tokens, d_model); steps in order are quick, a jump is not."""
        if step != self._next_step:
            self._stream = self.reader.batches(self.rows, self.batch_tokens, self.seed, start=step)
        self._next_step = step + 1
        return next(self._stream)

    def statistics(self) -> tuple[Tensor, float]:
        """Mean (d_model) and the factor that makes the mean squared distance from it d_model; from 65,536 tokens.

        Raises UserError where the tokens are all equal or not finite.
        """
        chosen = np.unique(np.linspace(0, len(self.rows) - 1, min(len(self.rows), N_STATISTICS)).astype(np.int64))
        tokens = self.reader.read(self.rows[chosen])
        mean = tokens.mean(0, dtype=torch.float64)
        spread = (tokens - mean.float()).square().sum(1).mean(dtype=torch.float64)
        if not torch.isfinite(spread) or spread == 0:
            raise UserError(
                f"The activations of layer {self.reader.layer} cannot be trained on.",
                "They are all equal, or not finite.",
                "Check the activations stage and model.dtype.",
            )
        return mean.float(), float((self.reader.d_model / spread).sqrt())


@dataclass
class VarianceSums:
    """Sums over tokens in float64, from which explained variance follows without a second pass."""

    d_model: int
    n: int = 0
    squared: float = 0.0
    error: float = 0.0
    total: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.total = torch.zeros(self.d_model, dtype=torch.float64)

    def add(self, x: Tensor, reconstruction: Tensor) -> None:
        """Counts tokens x (n, d_model) in."""
        self.n += len(x)
        self.total += x.double().sum(0).cpu()
        self.squared += float(x.double().square().sum())
        self.error += float((x - reconstruction).double().square().sum())

    @property
    def explained_variance(self) -> float:
        """1 - sum |x - x_hat|^2 / sum |x - mean(x)|^2 over these tokens: 0 for their mean itself, 1 if perfect."""
        variance = self.squared - float(self.total.square().sum()) / max(self.n, 1)
        return 1.0 - self.error / variance if variance > 0 else float("nan")


def explained_variance(reader: ActivationReader, rows: np.ndarray, reconstruct: Callable[[Tensor], Tensor]) -> float:
    """Explained variance of any reconstruction (n, d_model) -> (n, d_model) on these rows; NaN if they do not vary."""
    sums = VarianceSums(reader.d_model)
    for start in range(0, len(rows), BATCH_ROWS):
        x = reader.read(rows[start : start + BATCH_ROWS])
        sums.add(x, reconstruct(x))
    return sums.explained_variance


class Trainer:
    """The state of one training: parameters, Adam's moments, step, tokens since each feature last fired."""

    def __init__(
        self, config: TrainConfig, batches: TokenBatches, sae_config: SAEConfig, seed: int, device: str = "cpu"
    ):
        make_first_calls()
        self.config = config if config.lr else replace(config, lr=peak_lr(sae_config.d_model))
        self.batches, self.sae_config, self.seed, self.device = batches, sae_config, seed, device
        self.mean, self.scale = batches.statistics()
        self.parameters = initial_parameters(config, self.mean * self.scale, seed, sae_config.layer)
        if "threshold" in self.parameters:
            self.parameters["threshold"] += self.calibrated_threshold(0)
        self.parameters = {name: p.to(device) for name, p in self.parameters.items()}
        self.moments = {
            f"{kind}.{name}": torch.zeros_like(p) for name, p in self.parameters.items() for kind in ("mean", "square")
        }
        self.silent_tokens = torch.zeros(config.d_sae, dtype=torch.long, device=device)
        self.step = 0

    @property
    def dead(self) -> Tensor:
        """Which features (d_sae, bool) have been silent for ``dead_after_tokens``, or for a fifth of the training.

        A training shorter than that would otherwise never call a feature dead, and do nothing for it.
        """
        whole = self.config.steps * self.config.batch_tokens
        return self.silent_tokens >= min(self.config.dead_after_tokens, max(1, int(DEAD_SHARE * whole)))

    def advance(self) -> Step:
        """One training step; returns its losses."""
        x = self.batches(self.step).to(self.device) * self.scale
        dead = self.dead
        if self.config.architecture == "topk":
            outcome = topk_step(self.parameters, x, self.config.k, dead, self.config.auxk, AUX_COEFFICIENT)
        else:
            sparsity = min(1.0, (self.step + 1) / (SPARSITY_WARMUP_SHARE * self.config.steps))
            outcome = autograd_step(self.parameters, x, self.config, dead, AUX_COEFFICIENT, sparsity)
        self._update(outcome.gradients)
        self.silent_tokens += len(x)
        self.silent_tokens[outcome.fired] = 0
        self.step += 1
        return outcome

    def _update(self, gradients: Parameters) -> None:
        """Adam; the decoder moves on the sphere: its gradient without the part along each row, then norm 1 again."""
        decoder, toward = self.parameters["decoder"], gradients["decoder"]
        toward -= (toward * decoder).sum(1, keepdim=True) * decoder
        for name, p in self.parameters.items():
            mean, square = self.moments[f"mean.{name}"], self.moments[f"square.{name}"]
            adam(p, gradients[name], mean, square, self.step + 1, learning_rate(self.config, self.step))
        decoder /= decoder.norm(dim=1, keepdim=True)
        if "threshold" in self.parameters:
            self.parameters["threshold"].clamp_(min=0.0)

    def calibrated_threshold(self, first_step: int) -> float:
        """The threshold above which k features a token are active on average, over the batches from first_step on.

        Mean over batches of the smallest activation that batchtopk keeps (Bussmann et al. 2024, arXiv 2412.06410).
        """
        smallest = []
        p = {name: t.to(self.device) for name, t in self.parameters.items()}
        for step in range(first_step, first_step + N_CALIBRATION_STEPS):
            pre = pre_activations(p, self.batches(step).to(self.device) * self.scale).flatten()
            kept = min(self.config.k * self.config.batch_tokens, len(pre))
            smallest.append(float(pre.topk(kept, sorted=False).values.min().clamp(min=0.0)))
        return float(np.mean(smallest))

    def finished_sae(self) -> SAE:
        """The SAE as it stands, on the CPU, for raw residuals; batchtopk and matryoshka get their threshold here."""
        p = {name: t.detach().cpu() for name, t in self.parameters.items()}
        if self.config.architecture in ("batchtopk", "matryoshka"):
            p["threshold"] = torch.full((self.config.d_sae,), self.calibrated_threshold(self.step))
        tensors = {
            "W_enc": p["encoder"].t().contiguous(),
            "W_dec": p["decoder"].clone(),
            "b_dec": p["b_dec"] / self.scale,
        }
        tensors |= {n: p[n] / self.scale for n in ("b_enc", "threshold", "b_gate", "b_mag") if n in p}
        tensors |= {"r_mag": p["r_mag"].clone()} if "r_mag" in p else {}
        return SAE(self.sae_config, tensors)

    def save(self, path: Path) -> None:
        """Writes all state to one safetensors file, atomically."""
        tensors = {f"parameter.{name}": p for name, p in self.parameters.items()} | self.moments
        tensors |= {"silent_tokens": self.silent_tokens}
        state = json.dumps({"step": self.step, "of": self._identity()}, sort_keys=True)
        with atomic_path(path) as temporary:
            save_file({name: t.contiguous().cpu() for name, t in tensors.items()}, temporary, {"state": state})

    def load(self, path: Path) -> bool:
        """Takes up the state of a file that save() wrote; False, and nothing changed, if it is of another training."""
        with safe_open(path, framework="pt", device=str(self.device)) as file:
            state = json.loads(file.metadata()["state"])
            if state["of"] != self._identity():
                return False
            self.parameters = {name: file.get_tensor(f"parameter.{name}") for name in self.parameters}
            self.moments = {name: file.get_tensor(name) for name in self.moments}
            self.silent_tokens = file.get_tensor("silent_tokens")
        self.step = state["step"]
        return True

    def _identity(self) -> dict[str, object]:
        """What must be equal for a checkpoint to be continued, in JSON's types."""
        content = asdict(self.config) | asdict(self.sae_config)
        content |= {"seed": self.seed, "n_tokens": len(self.batches), "scale": self.scale}
        return json.loads(json.dumps(content))


def train_sae(trainer: Trainer, checkpoint: Path | None = None, progress: Progress | None = None) -> bool:
    """Runs a trainer to its last step, from the checkpoint if there is one; True if it was continued.

    Raises UserError if the loss stops being finite. The result does not depend on when or how often it was stopped.
    """
    continued = checkpoint is not None and checkpoint.exists() and trainer.load(checkpoint)
    saved = time.monotonic()
    while trainer.step < trainer.config.steps:
        outcome = trainer.advance()
        at_end = trainer.step == trainer.config.steps
        if trainer.step % REPORT_STEPS == 0 or at_end:
            losses = {"loss": float(outcome.loss), "aux_loss": float(outcome.aux_loss)}
            if not np.isfinite(losses["loss"]):
                raise UserError(
                    f"Training diverged at step {trainer.step}.",
                    "The loss is no longer a finite number.",
                    f"Set train.lr below {trainer.config.lr:.1g} and run again.",
                )
            losses["dead_share"] = float(trainer.dead.float().mean())
            if progress:
                progress(trainer.step, trainer.config.steps, losses)
        if checkpoint is not None and (at_end or time.monotonic() - saved > CHECKPOINT_SECONDS):
            trainer.save(checkpoint)
            saved = time.monotonic()
    return continued


def initial_parameters(config: TrainConfig, scaled_mean: Tensor, seed: int, layer: int) -> Parameters:
    """Decoder rows random on the unit sphere, encoder a multiple of the decoder, b_dec the mean, all else 0."""
    random = np.random.default_rng([seed, WEIGHT_STREAM, max(layer, 0)])
    decoder = torch.from_numpy(random.standard_normal((config.d_sae, len(scaled_mean)), dtype=np.float32))
    decoder /= decoder.norm(dim=1, keepdim=True)
    per_feature = ["b_gate", "b_mag", "r_mag"] if config.architecture == "gated" else ["b_enc"]
    per_feature += ["threshold"] if config.architecture == "jumprelu" else []
    parameters = {"encoder": ENCODER_SHARE * decoder, "decoder": decoder, "b_dec": scaled_mean.clone()}
    return parameters | {name: torch.zeros(config.d_sae) for name in per_feature}


def peak_lr(d_model: int) -> float:
    """The learning rate at its height where none is given: 0.6 / d_model.

    Adam moves every weight by about the learning rate, so that a pre-activation, a sum over d_model numbers of size 1
    in the trainer's units, moves by up to d_model times as much: what it may move does not depend on the width.
    Compared with other rates at widths 192 and 640 and 300 to 10,000 steps (docs/methods.md); elsewhere only reasoned.
    """
    return LR_TIMES_WIDTH / d_model


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, constant, linear decay to 0 at the last step."""
    warm = (step + 1) / max(1.0, WARMUP_SHARE * config.steps)
    left = (config.steps - step) / max(1.0, DECAY_SHARE * config.steps)
    return config.lr * min(1.0, warm, left)


def adam(p: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, step: int, lr: float) -> None:
    """One Adam update in place (Kingma and Ba 2015, arXiv 1412.6980), by torch's fused kernel; step counts from 1."""
    before = torch.tensor(float(step - 1), device=p.device)  # torch counts it up itself
    fused_adam(
        [p],
        [gradient],
        [mean],
        [square],
        [],
        [before],
        fused=True,
        lr=lr,
        beta1=BETAS[0],
        beta2=BETAS[1],
        eps=EPSILON,
        weight_decay=0.0,
        amsgrad=False,
        maximize=False,
    )

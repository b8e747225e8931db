"""Training finds what was planted, keeps its promises about sparsity and norms, and goes on after any stop."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.sae.files import sae_id
from core.sae.modules import ARCHITECTURES
from core.sae.trainer import TokenBatches, VarianceSums, explained_variance, learning_rate, peak_lr, train_sae
from tests.sae.sae_toys import D_MODEL, N_ACTIVE, TEST_ROWS, TRAIN_ROWS, toy_config, toy_trainer, write_layer

ROOT = Path(__file__).resolve().parents[2]
L1 = {"gated": 4.0}


@pytest.fixture(scope="module")
def trained(planted):
    """The finished SAE of each architecture on the planted layer."""
    found = {}
    for architecture in ARCHITECTURES:
        trainer = toy_trainer(planted.reader, toy_config(architecture=architecture, l1=L1.get(architecture, 1.0)))
        train_sae(trainer)
        found[architecture] = trainer.finished_sae()
    return found


def recovery(sae, directions):
    """Mean over true directions of the largest cosine with a decoder row."""
    return float((directions @ sae.W_dec.T).max(1).values.mean())


def test_topk_recovers_the_planted_dictionary(planted, trained):
    assert recovery(trained["topk"], planted.directions) > 0.9


def test_recovery_is_at_chance_for_what_was_not_planted(planted, trained):
    """Directions drawn anew are met no better than an untrained dictionary meets the planted ones."""
    other = torch.randn(planted.directions.shape, generator=torch.Generator().manual_seed(99))
    other /= other.norm(dim=1, keepdim=True)
    untrained = toy_trainer(planted.reader, toy_config()).finished_sae()
    chance = recovery(untrained, planted.directions)
    assert chance < 0.75
    assert abs(recovery(trained["topk"], other) - chance) < 0.1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_learns_more_than_its_untrained_control(planted, trained, architecture):
    untrained = toy_trainer(planted.reader, toy_config(architecture=architecture)).finished_sae()
    explained = explained_variance(planted.reader, TEST_ROWS, trained[architecture])
    assert explained > (0.7 if architecture == "matryoshka" else 0.8)  # prefixes cost it
    assert explained > explained_variance(planted.reader, TEST_ROWS, untrained) + 0.1
    assert recovery(trained[architecture], planted.directions) > 0.8


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka", "jumprelu"])
def test_about_k_features_are_active_on_held_out_tokens(planted, trained, architecture):
    code = trained[architecture].sparse_code(planted.reader.read(TEST_ROWS))
    assert len(code.row) / len(TEST_ROWS) == pytest.approx(N_ACTIVE, rel=0.02 if architecture == "topk" else 0.25)


def test_decoder_rows_keep_norm_one(planted):
    trainer = toy_trainer(planted.reader, toy_config(steps=20))
    for _ in range(20):
        trainer.advance()
        torch.testing.assert_close(trainer.parameters["decoder"].norm(dim=1), torch.ones(64))


def test_scaling_the_model_scales_the_activations_and_changes_nothing_else(planted, tmp_path):
    """The input scale is folded away: residuals ten times as long give codes ten times as large."""
    tokens = planted.reader.read(slice(None))
    tenfold = write_layer(tmp_path, 10 * tokens)
    small, large = (toy_trainer(r, toy_config(steps=60)) for r in (planted.reader, tenfold))
    train_sae(small)
    train_sae(large)
    x = tokens[TEST_ROWS]
    torch.testing.assert_close(
        large.finished_sae().encode(10 * x), 10 * small.finished_sae().encode(x), atol=0.05, rtol=0.01
    )


def n_alive_of_dead_half(planted, auxk):
    """A training in which 16 of 32 features start with pre-activations that are negative everywhere."""
    trainer = toy_trainer(planted.reader, toy_config(d_sae=32, auxk=auxk, dead_after_tokens=1000))
    trainer.parameters["b_enc"][16:] = -4.0
    assert not trainer.finished_sae().encode(planted.reader.read(TRAIN_ROWS))[:, 16:].any()
    train_sae(trainer)
    code = trainer.finished_sae().sparse_code(planted.reader.read(TEST_ROWS))
    return len(set(code.feature.tolist()) & set(range(16, 32)))


def test_auxk_brings_dead_features_back_and_without_it_they_stay_dead(planted):
    assert n_alive_of_dead_half(planted, auxk=16) >= 14
    assert n_alive_of_dead_half(planted, auxk=0) == 0


def test_equal_seeds_give_equal_saes_and_other_seeds_others(planted):
    ids = []
    for seed in (0, 0, 1):
        trainer = toy_trainer(planted.reader, toy_config(steps=10), seed)
        train_sae(trainer)
        ids.append(sae_id(trainer.finished_sae()))
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_training_continued_by_another_trainer_ends_in_the_same_bits(planted, tmp_path, architecture):
    config = toy_config(architecture=architecture, steps=60, dead_after_tokens=1000)
    undisturbed = toy_trainer(planted.reader, config)
    train_sae(undisturbed)
    first = toy_trainer(planted.reader, config)
    for _ in range(23):
        first.advance()
    first.save(tmp_path / "state.safetensors")
    second = toy_trainer(planted.reader, config)
    assert train_sae(second, tmp_path / "state.safetensors")
    assert sae_id(second.finished_sae()) == sae_id(undisturbed.finished_sae())
    assert torch.equal(second.silent_tokens, undisturbed.silent_tokens)
    assert all(torch.equal(second.moments[name], m) for name, m in undisturbed.moments.items())


KILLED = """
import sys, torch
from pathlib import Path
from core.activations.store import ActivationReader
from core.sae import trainer as module
from core.sae.trainer import train_sae
from tests.sae.sae_toys import toy_config, toy_trainer
torch.set_num_threads(int(sys.argv[3]))
module.CHECKPOINT_SECONDS = 0.05
trainer = toy_trainer(ActivationReader(Path(sys.argv[1]), 1), toy_config(steps=100_000))
train_sae(trainer, Path(sys.argv[2]))
"""


def test_kill_9_costs_nothing_but_time(planted, tmp_path):
    """A process killed at a moment of its own choosing leaves a state from which training ends in the same bits."""
    state = tmp_path / "state.safetensors"
    arguments = [str(planted.reader.run_dir), str(state), str(torch.get_num_threads())]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    continued = toy_trainer(planted.reader, toy_config(steps=100_000))
    assert continued.load(state)
    undisturbed = toy_trainer(planted.reader, toy_config(steps=100_000))
    assert continued.step > 0
    for trainer in (continued, undisturbed):
        end = continued.step + 5 if trainer is continued else continued.step
        while trainer.step < end:
            trainer.advance()
    assert sae_id(continued.finished_sae()) == sae_id(undisturbed.finished_sae())


def test_a_checkpoint_of_another_training_is_not_taken_up(planted, tmp_path):
    first = toy_trainer(planted.reader, toy_config(steps=4))
    first.advance()
    first.save(tmp_path / "state.safetensors")
    for other in (
        toy_trainer(planted.reader, toy_config(steps=5)),
        toy_trainer(planted.reader, toy_config(steps=4), seed=1),
        toy_trainer(planted.reader, toy_config(steps=4), rows=TRAIN_ROWS[:-1]),
    ):
        assert not other.load(tmp_path / "state.safetensors")
        assert other.step == 0


def test_learning_rate_rises_stays_and_falls():
    rates = [learning_rate(toy_config(steps=1000, lr=0.01), step) for step in range(1000)]
    assert rates[0] < 0.001 and max(rates) == 0.01 and rates[-1] < 0.001
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_the_learning_rate_that_is_chosen_falls_with_the_width(planted):
    assert peak_lr(192) == pytest.approx(3.1e-3, rel=0.02)  # the demo's width
    assert peak_lr(1280) == peak_lr(640) / 2
    chosen, given = (toy_trainer(planted.reader, toy_config(steps=4, lr=lr)) for lr in (0.0, 0.01))
    assert chosen.config.lr == peak_lr(D_MODEL) and given.config.lr == 0.01


def test_a_short_training_too_knows_its_dead_features(planted):
    """Silent for a fifth of all tokens is dead, even where dead_after_tokens is longer than the whole training."""
    trainer = toy_trainer(planted.reader, toy_config(steps=10, dead_after_tokens=10**9))
    trainer.silent_tokens[:] = 2 * trainer.config.batch_tokens - 1
    assert not trainer.dead.any()
    trainer.silent_tokens[3] += 1
    assert trainer.dead.nonzero().flatten().tolist() == [3]


def test_a_training_that_diverges_says_so(planted):
    trainer = toy_trainer(planted.reader, toy_config(steps=50))
    trainer.parameters["b_enc"] += torch.nan
    with pytest.raises(UserError, match="diverged at step 25"):
        train_sae(trainer)


def test_no_tokens_and_constant_tokens_are_refused(planted, tmp_path):
    with pytest.raises(UserError, match="no tokens"):
        TokenBatches(planted.reader, np.empty(0, np.int64), 8, 0)
    constant = write_layer(tmp_path, torch.ones(100, D_MODEL))
    with pytest.raises(UserError, match="cannot be trained on"):
        TokenBatches(constant, np.arange(100), 8, 0).statistics()


def test_a_kind_is_measured_against_its_own_mean(planted):
    """Knowing the kind alone explains nothing of a kind, though it explains much of the whole."""
    x = planted.reader.read(TEST_ROWS)
    sums = VarianceSums(D_MODEL)
    shifted = torch.cat([x, x + 100])
    sums.add(shifted, torch.cat([x * 0 + x.mean(0), x * 0 + x.mean(0) + 100]))
    assert sums.explained_variance > 0.9
    half = VarianceSums(D_MODEL)
    half.add(x, x * 0 + x.mean(0))
    assert half.explained_variance == pytest.approx(0, abs=1e-6)


def test_explained_variance_does_not_depend_on_batches_or_offset(planted):
    x = planted.reader.read(TEST_ROWS).double()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    expected = 1 - float(noise.square().sum() / (x - x.mean(0)).square().sum())
    assert explained_variance(planted.reader, TEST_ROWS, lambda t: t + noise.float()) == pytest.approx(
        expected, abs=1e-6
    )
    sums = VarianceSums(D_MODEL)
    for part, error in zip(x.split(7), noise.split(7), strict=True):
        sums.add(part + 1000, part + 1000 + error)
    assert sums.explained_variance == pytest.approx(expected, abs=1e-6)

"""The first call of a vector function is made on one thread, before a model, an SAE or a training does any work."""

import pytest
import torch

from core import first_calls
from core.config import TrainConfig
from core.sae import files, trainer
from core.vlm import loading


class Called(Exception):
    """Raised in the place of the first calls, to see that a door makes them before anything else."""


def stop() -> None:
    raise Called


def test_each_function_is_called_on_one_number_in_both_precisions(monkeypatch):
    seen = []
    for name in first_calls.FUNCTIONS:
        monkeypatch.setattr(torch, name, lambda x, name=name: seen.append((name, x.dtype, x.numel())))
    first_calls.make_first_calls.__wrapped__()
    wanted = {(n, dtype, 1) for n in first_calls.FUNCTIONS for dtype in (torch.float32, torch.float64)}
    assert set(seen) == wanted and len(seen) == len(wanted)


@pytest.mark.parametrize(
    ("module", "door"),
    [
        (loading, lambda: loading.load_vlm("no-such-model")),
        (files, lambda: files.load_sae("no-such-sae")),
        (trainer, lambda: trainer.Trainer(TrainConfig(), None, None, 0)),
    ],
)
def test_every_door_to_work_with_torch_makes_them(monkeypatch, module, door):
    monkeypatch.setattr(module, "make_first_calls", stop)
    with pytest.raises(Called):
        door()

"""The probe: what it measures of the demo captioner, of layers without weights, and that later plans rest on it."""

import json
import shutil
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch

from core.config import PROJECT_ROOT, load_config
from core.errors import UserError
from precompute.forecast import measure
from precompute.forecast.estimate import PROBED, Seconds, estimate
from precompute.forecast.forecast import forecast
from precompute.forecast.measure import Clock, Peak, halve_until_it_fits
from precompute.forecast.probe import find_probe, probes_dir, run_probe, save_probe
from precompute.forecast.shape import model_shape

TINY = (
    "train.d_sae=64",
    "train.k=4",
    "train.batch_tokens=64",
    "train.auxk=8",
    "crosslingual.d_sae=32",
    "crosslingual.k=4",
    "crosslingual.batch_tokens=32",
    "caption.batch_size=4",
    "caption.max_new_tokens=12",
    "activations.batch_tokens=128",
    "activations.layers=1,3",
    "model.device=cpu",
)


def clock(seconds: float = 60.0) -> Clock:
    return Clock("cpu", time.monotonic() + seconds)


def test_the_quickest_go_counts_and_the_first_only_warms_up():
    waits = iter([0.0, 0.03, 0.01, 0.02, 0.0])
    took = clock().best(lambda: time.sleep(next(waits)))
    assert 0.009 < took < 0.02
    once = []
    assert clock(0.0).best(lambda: once.append(time.sleep(0.01))) > 0.009 and len(once) == 1, "no time for a second go"


def test_memory_taken_within_a_block_is_seen_though_it_is_given_back():
    with Peak("cpu") as peak:
        block = bytearray(200_000_000)
        time.sleep(0.1)
        del block
    assert peak.bytes > 150e6


def test_a_batch_is_halved_until_it_fits():
    tried = []

    def work(n):
        tried.append(n)
        if n > 5:
            raise torch.OutOfMemoryError("too much")
        return n

    assert halve_until_it_fits(work, 16) == (4, 4) and tried == [16, 8, 4]
    with pytest.raises(torch.OutOfMemoryError):
        halve_until_it_fits(lambda n: work(6), 2)


def test_a_line_through_one_and_three_layers_reaches_all(monkeypatch):
    """A model whose layers cost 2 on top of 10, for each unit, costs 10 + 2 n with n layers."""
    units = ("images", "tokens", "steps", "step_rows", "tokens_held", "rows_held")
    monkeypatch.setattr(measure, "_at", lambda model, n, *_: dict.fromkeys(units, 10.0 + 2 * n))
    model = SimpleNamespace(n_layers=34, n_vision=27)
    seconds, held = measure.measure_slice(model, None, clock(), 10)
    assert seconds == {"images": 64, "tokens": 78, "steps": 78, "step_rows": 78}
    assert held == {"tokens_held": 78, "rows_held": 78}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A probe of the demo captioner in a cache of its own, and what it said."""
    config = load_config("demo", TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        said: list[str] = []
        yield config, run_probe(config, "cpu", said.append, most=60.0), said


def test_every_unit_is_measured_within_the_time_given(measured):
    _, probe, said = measured
    assert set(probe.seconds_a_unit) == set(Seconds.__dataclass_fields__) and not probe.notes
    costly = {"images", "tokens", "gradients", "encoded", "seconds", "written", "model"}
    assert all(probe.seconds_a_unit[name] > 0 for name in costly)
    assert probe.seconds_a_unit["steps"] + probe.seconds_a_unit["step_rows"] > 0
    assert probe.prompt_tokens > 16 and 1 <= probe.caption_tokens <= 12 and probe.layers == 0
    assert probe.bytes_a_unit["model"] == pytest.approx(18e6, rel=0.1), "the weights of the demo captioner"
    assert probe.took < 60 and str(probes_dir()) in said[-1]


def test_later_plans_rest_on_it(measured):
    config, probe, _ = measured
    assert find_probe(config, "cpu") == probe == find_probe(load_config("demo"), "cpu", probe.device_name)
    assert find_probe(config, "cuda") is None, "another device"
    assert find_probe(config, "cpu", "96 CPU cores") is None, "another machine"
    assert find_probe(load_config("demo", ["model.dtype=bfloat16"]), "cpu") is None
    assert find_probe(load_config("demo", ["model.name=google/other"]), "cpu") is None
    seen = forecast(config, SimpleNamespace(dir=probes_dir(), path=lambda *_: probes_dir() / "none"))
    assert seen.probe == probe and seen.estimates["caption"].basis == PROBED
    twice = replace(probe, seconds_a_unit={n: 2 * v for n, v in probe.seconds_a_unit.items()})
    shape = model_shape(config)
    one, two = (estimate(config, "cpu", 100, shape, p)["interventions"].seconds for p in (probe, twice))
    assert two == pytest.approx(2 * one)


def test_probes_of_other_versions_are_passed_over_and_damage_is_said(measured, monkeypatch, tmp_path):
    config, probe, _ = measured
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path))
    path = save_probe(probe)
    assert find_probe(config, "cpu") == probe
    for change in ({"format": 0}, {"seconds_a_unit": None}):
        tree = {name: value for name, value in (asdict(probe) | change).items() if value is not None}
        path.write_text(json.dumps(tree), encoding="utf-8")
        assert find_probe(config, "cpu") is None
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        find_probe(config, "cpu")


def test_without_weights_a_few_layers_are_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "bare"
    model.mkdir()
    shutil.copy(PROJECT_ROOT / "data" / "demo-captioner" / "config.json", model)
    config = load_config("demo", [*TINY, f"model.name={model}"])
    probe = run_probe(config, "cpu", lambda _: None, most=60.0)
    assert probe.layers == 3 and "3 layers" in probe.says and "not here" in probe.notes[0]
    assert {"tokens", "steps", "step_rows", "images", "trained"} <= probe.seconds_a_unit.keys()
    assert probe.seconds_a_unit["tokens"] > 0 and probe.seconds_a_unit["images"] > 0
    assert "gradients" not in probe.seconds_a_unit and "gradients" in probe.notes[1], "what is a guess is said"


def test_nothing_is_fetched_to_be_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="nothing to measure"):
        run_probe(load_config("demo", ["model.name=nobody/nothing"]), "cpu", lambda _: None)
    assert not list(tmp_path.rglob("*.json"))

"""Limits: sizes as people write them, what breaks them, and settings that really keep them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import load_config
from core.errors import UserError
from core.run import Run
from precompute.__main__ import main
from precompute.forecast.estimate import Estimate, estimate
from precompute.forecast.limits import (
    KNOBS,
    Limits,
    allowed,
    broken,
    disk_at_most,
    get,
    needs,
    parse_size,
    together,
    ways,
    with_settings,
)
from precompute.forecast.shape import model_shape

DEMO, GEMMA = load_config("demo"), load_config("gemma-3-4b", ["model.name=no/such-model"])
SHAPE = model_shape(GEMMA)


def estimator(device):
    return lambda config: estimate(config, device, min(2000, config.samples.n), SHAPE)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50GB", 50e9),
        ("50 GiB", 50 * 2**30),
        ("800mb", 8e8),
        ("1.5T", 1.5e12),
        ("1,5 GB", 1.5e9),
        ("7B", 7),
        (" 2 K ", 2e3),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "50",
        "GB",
        "-5GB",
        "0GB",
        "5 XB",
        "infGB",
        "1e3GB",
        "1.2.3GB",
    ],
)
def test_nonsense_is_no_size(text):
    with pytest.raises(UserError, match="no size"):
        parse_size(text)


@given(st.floats(0.01, 9999), st.sampled_from(["kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"]))
def test_binary_units_are_the_larger_ones(number, unit):
    text = f"{number:.2f}"
    binary, decimal = (parse_size(text + unit[0] + middle + "B") for middle in ("i", ""))
    assert binary > decimal == pytest.approx(float(text) * {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[unit[0]])


def test_the_disk_is_fullest_where_passing_files_stand_on_what_is_kept():
    at = Estimate(1.0, 0, 0, 0, 0, "")
    found = {"a": replace(at, disk=10, passing=50), "b": replace(at, disk=30, passing=5), "c": replace(at, disk=1)}
    assert disk_at_most(found) == 60
    assert disk_at_most(found | {"c": replace(at, disk=1, passing=40)}) == 81
    assert not broken(found, Limits(disk=60)) and not broken(found, Limits())
    (one,) = broken(found, Limits(disk=59, memory=1))
    assert (one.what, one.needed, one.limit, one.stage) == ("disk", 60, 59, "b")


@pytest.mark.parametrize("knob", KNOBS, ids=lambda k: k.key)
def test_every_knob_exists_and_helps_where_it_says(knob):
    """On one of the two presets at least; and every value that it offers would be accepted."""
    helped = set()
    for config, device in ((DEMO, "cpu"), (GEMMA, "cuda")):
        config = with_settings(config, {"activations.dtype": "float32", "model.dtype": "float32"})
        values = list(knob.values(config, SHAPE))
        before, after = (estimator(device)(c) for c in (config, with_settings(config, values[-1])))
        helped |= {w for w in knob.helps for stage in before if getattr(after[stage], w) < getattr(before[stage], w)}
        assert any(allowed(config, v) for v in values)
    assert helped == set(knob.helps)


@pytest.mark.parametrize(
    ("limits", "device"),
    [
        (Limits(disk=20e9), "cuda"),
        (Limits(disk=needs(estimator("cuda")(GEMMA), "disk") - 3e9), "cuda"),
        (Limits(gpu=16e9), "cuda"),
        (Limits(gpu=12e9, disk=9e9), "cuda"),
        (Limits(memory=17e9), "cpu"),
    ],
)
def test_each_way_keeps_its_limit_and_a_milder_value_does_not(limits, device):
    found = ways(GEMMA, SHAPE, limits, estimator(device))
    assert found
    for way in found:
        after = estimator(device)(with_settings(GEMMA, way.settings))
        kept = {w for w in ("disk", "gpu", "memory") if (m := getattr(limits, w)) is not None and needs(after, w) <= m}
        assert kept, way.text
        assert all(f"--set {key}=" in way.text for key in way.settings)
        asked = [part.split()[0] for part in way.text.split("  ")[0].split("--set ") if part.strip()]
        assert load_config("gemma-3-4b", asked) == with_settings(load_config("gemma-3-4b"), way.settings)
        value = next(iter(way.settings.values()))
        if len(way.settings) > 1 or isinstance(value, bool) or not isinstance(value, int):
            continue
        ((key, value),) = way.settings.items()
        milder = estimator(device)(with_settings(GEMMA, {key: min(2 * value, get(GEMMA, key) or 2 * value)}))
        assert broken(milder, Limits(**{w: getattr(limits, w) for w in kept})), f"{key} could have been twice that"


def test_where_no_setting_suffices_alone_several_do_together():
    limits = Limits(gpu=11e9)
    (way,) = ways(GEMMA, SHAPE, limits, estimator("cuda"))
    assert len(way.settings) > 1
    assert not broken(estimator("cuda")(with_settings(GEMMA, way.settings)), limits)
    assert not ways(GEMMA, SHAPE, Limits(gpu=1e6), estimator("cuda")), "nothing brings the weights under a megabyte"
    both = Limits(disk=20e9, gpu=14e9)
    whole = together(GEMMA, SHAPE, both, estimator("cuda"))
    assert whole and not broken(estimator("cuda")(with_settings(GEMMA, whole.settings)), both)


def test_fewer_layers_take_the_sections_along_that_name_them():
    layers = next(k for k in KNOBS if k.key == "activations.layers")
    for settings in layers.values(GEMMA, SHAPE):
        assert allowed(GEMMA, settings)
        assert settings["activations.layers"][-1] == GEMMA.activations.layers[-1]


def test_plan_says_what_breaks_a_limit_and_what_keeps_it(cache, capsys):
    assert main(["plan", "demo", "--max-disk", "400MB"]) == 1
    out = capsys.readouterr().out
    assert "are needed, 400 MB allowed (--max-disk); stage" in out
    assert "--set activations.layers=" in out and " -> " in out and "fewer layers" in out
    assert main(["plan", "demo", "--max-disk", "400GB"]) == 0
    assert "keeps the limits" in capsys.readouterr().out
    assert main(["plan", "demo", "--max-disk", "much"]) == 1
    assert "no size" in capsys.readouterr().err


def test_plan_for_a_gpu_needs_none(cache, capsys):
    assert main(["plan", "gemma-3-4b", "--set", "model.name=no/such", "--max-vram", "16GB"]) == 1
    out = capsys.readouterr().out
    assert "GPU memory" in out and "--set" in out


def test_run_refuses_to_start_above_a_limit(cache, capsys):
    assert main(["run", "demo", "--max-ram", "800MB"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3 and "was not started" in err[0] and "--max-ram" in err[1]
    assert not Run(cache / "demo").path("manifest.json").exists(), "nothing was begun"

"""What a run would take: by arithmetic, by what was measured, and by an earlier run."""

from dataclasses import asdict, fields, replace

import pytest

from core.activations.replay import layer_groups
from core.config import config_to_dict, load_config
from core.run import Manifest, Run, StageRecord
from precompute.forecast.estimate import (
    GUESS,
    PROBED,
    Before,
    Bytes,
    Seconds,
    count_samples,
    earlier,
    estimate,
    guessed_bytes,
    guessed_seconds,
    scaled,
)
from precompute.forecast.probe import Probe
from precompute.forecast.shape import model_shape
from precompute.forecast.work import Lengths, Work, work
from precompute.pipeline import stages

DEMO = load_config("demo")
SHAPE = model_shape(DEMO)
ONE = {f.name: 1.0 for f in fields(Seconds)}


def probe(config=DEMO, shape=SHAPE, **changes) -> Probe:
    """A probe of which every unit costs a second, as if of the demo captioner on a CPU."""
    made = Probe(
        "2026-01-02T03:04:05+00:00",
        "cpu",
        "2 CPU cores",
        "demo-captioner",
        "float32",
        0,
        dict(ONE),
        {},
        asdict(guessed_bytes(config, "cpu", shape)),
        33.0,
        9.0,
        60.0,
    )
    return replace(made, **changes)


def test_time_is_work_times_cost():
    cost = Seconds(**{f.name: float(i + 1) for i, f in enumerate(fields(Seconds))})
    assert cost.of(Work(images=10, tokens=100)) == 10 * 1 + 100 * 2
    assert cost.of(Work(model=True)) == len(fields(Seconds)), "the model is loaded once"
    held = Bytes(base=5.0, model=7.0, **{n: 1.0 for n in Bytes.__dataclass_fields__ if n.endswith("_held")})
    assert held.on_device(Work(model=True, rows_held=3, cells_held=4)) == 14


def test_every_unit_of_work_has_a_cost():
    assert {f.name for f in fields(Seconds)} | {f.name for f in fields(Bytes)} <= {
        *(f.name for f in fields(Work)),
        "base",
    }


def test_estimates_grow_with_the_work():
    small, large = load_config("demo", ["samples.n=1000"]), load_config("demo", ["samples.n=10000"])
    shape = model_shape(load_config("gemma-3-4b", ["model.name=no/such-model"]))
    assert not shape.known and shape.d_model == 2560
    one, ten = estimate(small, "cpu", 1000, shape), estimate(large, "cpu", 10_000, shape)
    assert one.keys() == ten.keys() >= {stage.name for stage in stages()}
    for stage in ("caption", "activations"):
        assert ten[stage].seconds == pytest.approx(10 * one[stage].seconds, rel=0.5)
        assert one[stage].basis == GUESS and one[stage].gpu == 0
    layers = estimate(load_config("demo", ["activations.layers=1"]), "cpu", 1500, shape)
    assert layers["activations"].disk < ten["activations"].disk


def test_the_work_of_writing_captions_is_counted_exactly():
    config = load_config("demo", ["caption.batch_size=10"])
    of = work(config, 100, SHAPE, Lengths(prompt=30, caption=8))
    assert of["caption"].tokens == 200 * 30 and of["caption"].images == 100
    assert of["caption"].steps == pytest.approx(20 * 12) and of["caption"].step_rows == pytest.approx(10 * 20 * 12)
    assert of["activations"].tokens == 200 * 38, "layer 7 is the last of the demo's: a pass goes through all"
    assert of["train"].train_steps == 4 * 1000 and of["train"].trained == 4 * 1000 * 1024 * 1536


def test_saes_by_others_are_measured_but_not_trained():
    config = load_config("demo", ["activations.layers=5", "sae.source=somewhere"])
    found = work(config, 100, SHAPE)["train"]
    assert found.train_steps == 0 and found.trained == 0 and found.encoded > 0


def test_a_probe_takes_the_place_of_the_guesses():
    found = estimate(DEMO, "cpu", 100, SHAPE, probe())
    done = work(DEMO, 100, SHAPE, Lengths(33, 9))
    assert found["caption"].basis == PROBED
    assert found["caption"].seconds == pytest.approx(sum(float(getattr(done["caption"], name)) for name in ONE))


def test_what_was_not_measured_is_guessed_and_goes_with_the_cost_of_a_token():
    rest = guessed_seconds(DEMO, "cpu", SHAPE)
    part = probe(seconds_a_unit={"images": 5.0}).seconds(DEMO, SHAPE)
    assert part.encoded == rest.encoded and part.images == 5.0 and part.tokens == pytest.approx(rest.tokens)
    part = probe(seconds_a_unit={"tokens": 7 * rest.tokens}).seconds(DEMO, SHAPE)
    assert part.gradients == pytest.approx(7 * rest.gradients) and part.images == pytest.approx(7 * rest.images)
    assert part.encoded == rest.encoded, "that is no work of the model's"


def test_what_a_probe_saw_in_memory_follows_the_settings():
    guess = guessed_bytes(DEMO, "cpu", SHAPE)
    seen = probe(bytes_a_unit={"model": 3 * guess.model})
    assert seen.bytes(DEMO, SHAPE).model == pytest.approx(3 * guess.model)
    half = load_config("demo", ["model.dtype=bfloat16"])
    assert seen.bytes(half, SHAPE).model == pytest.approx(1.5 * guess.model), "half the bytes a weight"


def test_times_of_an_earlier_run_are_scaled_by_the_work(tmp_path):
    run = Run(tmp_path / "before")
    record = StageRecord("f", "", 100.0, 1, 1, 1, {}, "cpu", {})
    run.write_manifest(Manifest("before", "demo", config_to_dict(DEMO), {"train": record}))

    def told(config, device="cpu", probed=None):
        return scaled(estimate(config, "cpu", 1500, SHAPE, probed), earlier(config, device, [run], probed))

    for probed in (None, probe()):
        assert told(DEMO, probed=probed)["train"].seconds == pytest.approx(100)
        assert told(DEMO, probed=probed)["train"].basis == "run before"
        assert told(DEMO, probed=probed)["caption"].basis == (PROBED if probed else GUESS)
    more = told(load_config("demo", [f"train.steps={3 * DEMO.train.steps}"]))
    assert 150 < more["train"].seconds < 310
    far = told(load_config("demo", [f"train.steps={100 * DEMO.train.steps}"]))
    assert far["train"].basis == GUESS, "too far from what was measured"
    assert told(DEMO, "cuda")["train"].basis == GUESS, "another device says nothing"
    assert told(replace(DEMO, name="another"))["train"].basis == GUESS
    assert told(load_config("demo", ["model.name=other/model"]))["train"].basis == GUESS, "nor does another model"


def test_gemma_fits_the_machine_it_is_sized_for():
    config = load_config("gemma-3-4b")
    guesses = estimate(config, "cuda", 2000, model_shape(config))
    assert max(g.gpu for g in guesses.values()) < 24e9
    assert guesses["caption"].gpu > 8e9, "the weights alone take that"
    assert max(g.memory for g in guesses.values()) < 24e9
    assert guesses["activations"].disk == pytest.approx(50e9, rel=0.3), "as the preset's comment says"


def test_samples_of_a_folder_are_counted(tmp_path):
    csv = tmp_path / "c.csv"
    csv.write_text("image,en_caption,ar_caption\na.jpg,A.,أ\n\nb.jpg,B.,ب\n", encoding="utf-8")
    config = load_config("gemma-3-4b", [f"samples.captions={csv}", f"samples.images={tmp_path}"])
    assert count_samples(config) == 2
    assert count_samples(load_config("gemma-3-4b")) == 2000, "nothing is there yet"
    assert count_samples(load_config("demo")) == 1500


def test_where_nothing_is_stored_each_group_of_layers_is_one_pass():
    """A closed-form case: 4 layers of a model of 8, of which two fit into the cache at once."""
    layer_bytes = 100 * 2 * 50 * SHAPE.d_model * 2
    for cache, groups in ((2.5 * layer_bytes, [[1, 3], [5, 7]]), (9 * layer_bytes, [[1, 3, 5, 7]])):
        assert layer_groups(DEMO.activations.layers, layer_bytes, int(cache)) == groups
        sets = ["activations.store=none", f"activations.cache_gb={cache / 1e9}"]
        lengths = Lengths(prompt=42, caption=8)
        stored, none = (work(load_config("demo", s), 100, SHAPE, lengths) for s in ([], sets))
        tokens = 100 * 2 * 50
        reached = sum((group[-1] + 1) / SHAPE.n_layers for group in groups)
        for stage in ("train", "codes", "features", "pool", "layers"):
            assert none[stage].tokens - stored[stage].tokens == pytest.approx(tokens * reached), stage
            assert none[stage].images - stored[stage].images == 100 * len(groups)
            assert none[stage].passing - stored[stage].passing == min(cache, len(groups[0]) * layer_bytes)
        assert none["activations"].tokens == 0 and none["activations"].disk == 8 * tokens
        assert none["crosslingual"].tokens == pytest.approx(tokens * 6 / 8) and none["crosslingual"].model
    small = work(load_config("demo", [*sets[:1], f"activations.cache_gb={layer_bytes / 2e9}"]), 100, SHAPE, lengths)
    assert small["train"].tokens > 8 * none["train"].tokens, "what does not fit is computed at every reading"
    assert small["train"].passing < none["train"].passing


def test_a_sample_of_the_image_tokens_takes_its_share_of_the_disk():
    whole = work(DEMO, 100, SHAPE, Lengths(42, 8))
    few = work(load_config("demo", ["activations.image_tokens=4"]), 100, SHAPE, Lengths(42, 8))
    share = (50 - SHAPE.image_tokens + 4) / 50
    assert few["activations"].disk == pytest.approx(share * whole["activations"].disk)
    assert few["codes"].encoded == pytest.approx(share * whole["codes"].encoded)
    assert few["codes"].disk == pytest.approx(share * whole["codes"].disk)
    assert few["activations"].tokens == whole["activations"].tokens, "the model still sees every token"


def test_tokens_are_encoded_once_where_their_codes_are_kept_and_by_each_stage_where_not():
    kept = work(DEMO, 100, SHAPE, Lengths(42, 8))
    none = work(load_config("demo", ["codes.store=false"]), 100, SHAPE, Lengths(42, 8))
    entries = 4 * 100 * 2 * 50 * DEMO.train.k  # layers, images, languages, tokens
    assert kept["codes"].disk == pytest.approx(entries * 6 + 8 * entries / DEMO.train.k)
    assert kept["codes"].encoded == none["features"].encoded == none["pool"].encoded > 0
    assert kept["features"].encoded == kept["pool"].encoded == none["codes"].encoded == none["codes"].disk == 0
    wide = work(load_config("demo", ["train.d_sae=163840"]), 100, SHAPE, Lengths(42, 8))
    assert wide["codes"].disk == pytest.approx(entries * 8 + 8 * entries / DEMO.train.k), "numbers of four bytes"


def test_a_stage_that_had_nothing_to_do_says_nothing_of_its_time() -> None:
    guesses = estimate(DEMO, "cpu", 100, SHAPE)
    assert scaled(guesses, {"hiding": Before("run", 0.1, 0.0)}) == guesses

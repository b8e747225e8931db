"""Exactly what depends on a change is done again, and the reason is said."""

import pytest

from core.config import load_config
from core.errors import UserError
from core.run import Run
from precompute.engine.local import LocalEngine
from precompute.engine.plan import choose, make_plan
from precompute.pipeline import Stage, check_stages
from tests.precompute.fake_runs import SMALL, Quiet, outputs, small

STAGES = ["numbers", "squares", "total"]


def test_a_second_run_does_nothing(compute):
    assert compute()[1] == ["numbers", "squares", "total"]
    run, ran = compute()
    assert ran == []
    assert run.progress()["state"] == "done"
    assert [s["state"] for s in run.progress()["stages"]] == ["done"] * 3


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ("seed=3", ["numbers", "squares", "total"]),
        ("train.k=4", ["squares", "total"]),
        ("features.n_logits=5", ["total"]),
        ("caption.batch_size=7", []),
        ("model.name=elsewhere/model", []),
        ("samples.images=elsewhere", []),
    ],
)
def test_a_setting_redoes_what_depends_on_it(compute, change, again):
    compute()
    run, ran = compute(change)
    assert ran == again
    fresh, _ = compute(change, name="fresh")
    assert outputs(run) == outputs(fresh), "nothing of the old settings is left"
    assert compute(change)[1] == []


def test_the_plan_says_what_changed(compute, fake):
    run, _ = compute()
    plan = {p.stage.name: p for p in make_plan(small("train.k=5"), run, fake.pipeline())}
    assert plan["numbers"].state == "fresh"
    assert plan["squares"].why == "changed: setting train.k"
    assert plan["total"].why == "changed: stage squares"


def test_code_counts_and_comments_do_not(compute, fake, tmp_path, monkeypatch):
    """The function of a stage in a file of its own, which is changed between two runs."""
    path, text = tmp_path / "own_squares.py", "from fake_pipeline import squares\n"
    monkeypatch.syspath_prepend(str(tmp_path))
    pipeline = fake.pipeline(squares={"fn": "own_squares:squares"})
    for change, again in ((text, STAGES), (f"{text}# said\n", []), (f"{text}MORE = 1\n", ["squares", "total"])):
        path.write_text(change)
        assert compute(pipeline=pipeline)[1] == again


def test_files_outside_the_run_count(compute, monkeypatch):
    compute()
    monkeypatch.setenv("FAKE_OUTSIDE", "other")
    assert compute()[1] == ["total"]


@pytest.mark.parametrize("harm", ["remove", "shorten"])
def test_a_damaged_file_redoes_its_stage_alone_and_says_so(compute, harm):
    run, _ = compute()
    before = outputs(run)
    path = run.path("squares", "01.txt")
    if harm == "remove":
        path.unlink()
    else:
        path.write_text(path.read_text()[:-1])
    _, ran = compute()
    assert ran == ["squares"]
    said = "is missing" if harm == "remove" else "has changed in size"
    assert any(f"squares/01.txt {said}" in line for line in compute.lines)
    assert outputs(run) == before


def test_a_stage_that_comes_out_different_redoes_what_was_made_of_it(compute, fake, monkeypatch):
    """As a sparse autoencoder trained twice on a GPU does: same settings, other bytes."""
    run, _ = compute()
    run.path("numbers.txt").unlink()
    monkeypatch.setattr(fake.random.Random, "random", lambda self: 0.5)
    assert compute()[1] == ["numbers", "squares", "total"]


def test_until_and_only(compute):
    assert compute(until="squares")[1] == ["numbers", "squares"]
    with pytest.raises(UserError, match="no stage called sqares"):
        compute(only="sqares")
    assert compute(only="total")[1] == ["total"]
    with pytest.raises(UserError, match="cannot run alone"):
        compute("train.k=5", only="total")
    assert compute("train.k=5", only="squares")[1] == ["squares"]
    run, ran = compute("train.k=5", only="squares")
    assert ran == [] and not run.is_done("total"), "what was made of the old squares is not shown any more"
    assert not run.path("total.txt").exists()


def test_another_preset_does_not_overwrite_a_run(compute, cache, fake):
    compute()
    other = cache / "other.toml"
    other.write_text("seed = 1\n")
    engine = LocalEngine(Run(cache / "one"), load_config(other, SMALL), fake.pipeline(), Quiet())
    with pytest.raises(UserError, match="holds something else"):
        engine.run_all()


def test_a_pipeline_that_makes_no_sense_is_refused():
    def stage(name, needs=(), makes=("x",)):
        return Stage(name=name, needs=needs, makes=makes, sections=(), fn="")

    with pytest.raises(ValueError, match="needs b"):
        check_stages([stage("a", ("b",)), stage("b", makes=("y",))])
    with pytest.raises(ValueError, match="both make x"):
        check_stages([stage("a"), stage("b")])
    with pytest.raises(ValueError, match="two stages"):
        check_stages([stage("a"), stage("a", makes=("y",))])
    assert choose([]) == []


def test_fingerprints_do_not_know_name_or_place(compute):
    one, _ = compute(name="one")
    two, _ = compute(name="two")
    prints = [{n: (r.fingerprint, r.content) for n, r in run.manifest().stages.items()} for run in (one, two)]
    assert prints[0] == prints[1]

"""A set of one's own with every fault in it goes from ``init`` to the app.

Here in three forms that differ most: a table in an old encoding, images within a data set, a set with a name. That
``init`` recognises every form, and that stage prepare reads it, is held by the tests of both.
"""

import json

import pandas as pd
import pytest

from core.samples.checks import REASONS
from precompute.__main__ import main
from tests.own_data import GOOD, make_set
from tests.pages.visitor import visitor, words

pytest.importorskip("datasets", reason="one of the forms is written by it")


@pytest.mark.parametrize("form", ["csv-cp1256", "dataset", "visogender"])
def test_it_goes_through_init_plan_run_and_the_app(form, tmp_path, monkeypatch, capsys):
    own = make_set(tmp_path / "set", form)
    cache = tmp_path / "cache"
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine", *own.init, "--model", "data/demo-captioner"]) == 0
    seen = capsys.readouterr().out
    assert "mine.toml" in seen and "precompute plan" in seen, "it says what it wrote and what comes next"
    assert main(["plan", "mine.toml"]) == 0
    assert "To do:" in capsys.readouterr().out
    small = ["--set", "caption.max_new_tokens=8", "--set", "model.device=cpu"]
    assert main(["run", "mine.toml", "--until", "words", *small]) == 0

    samples = pd.read_parquet(cache / "mine" / "samples.parquet")
    assert len(samples) == GOOD and set(samples["split"]) == {"train", "test"}
    report = json.loads((cache / "mine" / "prepare_report.json").read_text())
    for reason, names in own.faults.items():
        dropped = {entry["image"] for entry in report["images_dropped"][reason]["named"]}
        assert all(any(name in image for image in dropped) for name in names), (reason, names, dropped)

    go = visitor(cache, monkeypatch)
    assert f"{GOOD}" in words(go("pages/look/overview.py", run="mine"))
    assert "cs-caption" in words(go("pages/look/samples.py", run="mine"))
    said = words(go("pages/run/provenance.py", run="mine"))
    assert all(REASONS[reason] in said for reason in own.faults), "what was dropped is on the page, with its reason"

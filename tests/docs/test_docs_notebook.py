"""The notebook runs from top to bottom on a run of the pipeline, and finds what its text says it looks for."""

import json

import pytest

from core.config import PROJECT_ROOT

NOTEBOOK = PROJECT_ROOT / "docs" / "three-findings.ipynb"


def cells(kind: str) -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


@pytest.fixture(scope="module")
def said(small_run, tmp_path_factory):
    """All names after the last cell, the small run standing for the demo."""
    cache, names = tmp_path_factory.mktemp("cache"), {"__name__": "notebook"}
    (cache / "demo").symlink_to(small_run, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPTIONSCOPE_CACHE", str(cache))
        for number, source in enumerate(cells("code")):
            exec(compile(source, f"{NOTEBOOK.name}, code cell {number}", "exec"), names)
    return names


def test_the_score_of_the_clearest_feature_is_the_runs_own_and_stands_beside_its_control(said):
    assert said["found"] == pytest.approx(float(said["best"]["auc_test"]), abs=1e-6)
    assert len(said["shuffled"]) == 500 and said["low"] < 0.5 < said["high"]


def test_gender_emerges_at_a_layer_of_the_run_in_both_languages(said):
    layers = set(said["run"].layers())
    assert set(said["emergence"]["lang"]) == {"en", "ar"} and set(said["emergence"]["layer"]) <= {-1, *layers}
    assert set(said["probes"]["layer"]) == layers and said["chart"].data


def test_captions_are_steered_beside_a_control_of_other_features(said):
    captions = said["captions"]
    assert list(captions["row"].unique()) == ["before", "after", "control", "means", "prompt"]
    assert captions["caption"].str.len().gt(0).all()
    changed = captions[captions["row"].isin(["after", "control", "means"])]
    assert (changed["ratio"] > 0).all() and (captions.loc[captions["row"] == "before", "ratio"] == 0).all()


def test_the_notebook_is_kept_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])

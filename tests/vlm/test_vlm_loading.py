"""One commit of a hub model serves a whole run, and options that this machine cannot honour are refused."""

import importlib.util
import json

import pytest

from core.config import ModelConfig
from core.errors import UserError
from core.run import Run
from core.vlm import load_captioner, loading
from tests.vlm.toy_model import toy_model_dir, toy_vlm


def as_hub_model(monkeypatch, commits):
    """Loads the toy model whatever is asked for, as if the hub had answered with one commit after the other."""
    asked = []

    def load(name, dtype, device, revision, quantize, device_map, image_side):
        asked.append(revision)
        vlm = toy_vlm()
        monkeypatch.setattr(vlm, "commit", revision or commits.pop(0), raising=False)
        return vlm

    monkeypatch.setattr(loading, "load_vlm", load)
    return asked


def test_all_stages_take_the_commit_that_the_first_one_loaded(tmp_path, monkeypatch):
    asked = as_hub_model(monkeypatch, ["abc123", "moved on"])
    run, settings = Run(tmp_path), ModelConfig("someone/captioner")
    for _ in range(3):
        load_captioner(run, settings, "cpu")
    assert asked == ["", "abc123", "abc123"]
    assert json.loads((tmp_path / "model.json").read_text()) == {"name": "someone/captioner", "commit": "abc123"}


def test_another_model_or_a_named_revision_is_not_held_to_it(tmp_path, monkeypatch):
    asked = as_hub_model(monkeypatch, ["abc123", "def456"])
    run = Run(tmp_path)
    load_captioner(run, ModelConfig("someone/captioner"), "cpu")
    load_captioner(run, ModelConfig("someone/other"), "cpu")
    load_captioner(run, ModelConfig("someone/other", revision="v1"), "cpu")
    assert asked == ["", "", "v1"]


def test_a_local_model_has_no_commit(tmp_path):
    assert load_captioner(Run(tmp_path), ModelConfig(str(toy_model_dir())), "cpu").commit == ""
    assert not (tmp_path / "model.json").exists()


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_quantised_weights_without_their_package_are_an_error_that_says_what_to_install():
    with pytest.raises(UserError, match=r"8bit need the package bitsandbytes[\s\S]*pip install bitsandbytes"):
        loading.load_vlm(str(toy_model_dir()), quantize="8bit")


def test_quantised_weights_caption_like_the_plain_ones():
    pytest.importorskip("bitsandbytes", reason="an optional extra")
    vlm = loading.load_vlm(str(toy_model_dir()), quantize="8bit")
    assert type(vlm.decoder_layers[0].mlp.up_proj).__name__ == "Linear8bitLt"

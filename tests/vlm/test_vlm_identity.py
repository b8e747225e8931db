"""The digest follows content and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.config import PROJECT_ROOT
from core.errors import UserError
from core.vlm import identity
from core.vlm.identity import digest, locate


def config(name, revision=""):
    return SimpleNamespace(model=SimpleNamespace(name=str(name), revision=revision))


@pytest.fixture
def model_dir(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3"}))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"w": np.arange(2**18, dtype=np.float32)}, folder / "model.safetensors")
    return folder


def test_path_and_time_do_not_count_and_content_does(model_dir, tmp_path):
    before = digest(config(model_dir))
    moved = tmp_path / "elsewhere"
    shutil.copytree(model_dir, moved)
    os.utime(moved / "model.safetensors", (0, 0))
    (moved / "README.md").write_text("a card is no part of the model")
    assert digest(config(moved)) == before
    (moved / "tokenizer.json").write_text('{"a": 1}')
    assert digest(config(moved)) != before


@pytest.mark.parametrize("limit", [2**30, 2**10])
def test_changed_weights_change_the_digest(model_dir, limit, monkeypatch):
    monkeypatch.setattr(identity, "WHOLE_FILE_LIMIT", limit)
    before = digest(config(model_dir))
    assert digest(config(model_dir)) == before
    with open(model_dir / "model.safetensors", "r+b") as f:
        f.seek(-4, os.SEEK_END)
        f.write(b"\0\0\0\1")
    assert digest(config(model_dir)) != before


def test_hub_ids_count_by_name_and_revision():
    assert locate("google/gemma-3-4b-it") is None
    assert digest(config("google/gemma-3-4b-it")) != digest(config("google/gemma-3-4b-it", "abc"))


@pytest.mark.parametrize("name", ["", "./nothing", "/nothing/here", "data/nothing", "core"])
def test_paths_without_a_model_are_refused(name):
    with pytest.raises(UserError, match="There is no model"):
        locate(name)


def test_the_identity_needs_no_torch():
    code = "import sys, core.vlm.identity; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=False).returncode == 0

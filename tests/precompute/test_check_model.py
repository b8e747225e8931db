"""check-model prints one line a check, and its exit code says whether the adapter fits."""

import pytest

from core.errors import UserError
from core.vlm.qwen import QwenVLM
from precompute.__main__ import main
from precompute.commands import check_model
from tests.tiny_models import tiny_model_dir


def test_the_demo_captioner_passes(capsys):
    assert main(["check-model", "data/demo-captioner", "--device", "cpu"]) == 0
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert "gemma3, 8 layers, d_model 192, float32 on cpu; 64 image tokens, a map of 8 x 8" in first
    assert sum(line.startswith("pass  ") for line in lines) == 8 and not any("FAIL" in line for line in lines)
    assert [line for line in lines if line.startswith(("English: ", "Arabic: "))] == lines[-2:]
    assert last == "The adapter fits this model."


def test_task_prompts_and_models_without_a_map_are_no_trouble(capsys):
    said = []
    assert check_model.run_check(str(tiny_model_dir("paligemma")), device="cpu", say=said.append)
    assert check_model.run_check(str(tiny_model_dir("mllama")), "bfloat16", "cpu", say=said.append)
    assert any("1 image tokens, no map of the image" in line for line in said)


def test_an_adapter_that_does_not_fit_fails(capsys, monkeypatch):
    monkeypatch.setattr(QwenVLM, "position_ids", lambda self, position, batch: position)
    assert main(["check-model", str(tiny_model_dir("qwen2_vl")), "--device", "cpu"]) == 1
    out = capsys.readouterr().out
    assert (
        "FAIL  extra inputs" in out
        and "FAIL  batches" not in out
        and "FAIL  reuse of image features" in out
        and "results would be wrong" in out
    )


def test_a_model_that_cannot_be_used_gives_three_lines(capsys):
    assert main(["check-model", "data/nothing"]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 3
    with pytest.raises(UserError, match="cannot take images of 45 pixels"):
        check_model.run_check(str(tiny_model_dir("llava")), device="cpu", image_side=45)

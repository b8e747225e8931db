"""Every family's adapter computes what its model computes, on tiny random checkpoints saved and loaded as any is.

The checks are those of `python -m precompute check-model`; each is also shown to fail where an adapter is wrong.
"""

import functools
import json

import pytest
import torch

from core.errors import UserError
from core.vlm import load_vlm
from core.vlm.batch import IMAGE, PAD, PROMPT, SPECIAL
from core.vlm.conformance import Conformance, check_model
from precompute.forecast.shape import image_cost
from tests.tiny_models import FAMILIES, aya_vision, randomise, tiny_model_dir

CHECKS = ("positions", "reuse", "hidden_states", "extra_inputs", "batches", "edits", "prefixes", "greedy")
SIDES = {"llava_next": 56, "qwen2_5_vl": 56, "qwen3_vl": 64, "mllama": 56}  # beside the family's own
NEEDS = {"gemma3", "paligemma", "paligemma2", "qwen3_vl", "mllama"}  # families whose decoder takes more than embeddings


@functools.cache
def tiny(family, image_side=0):
    return load_vlm(str(tiny_model_dir(family)), image_side=image_side)


@functools.cache
def conformance(family, image_side=0):
    prompts = ("caption en", "caption ar") if "paligemma" in family else ("Describe the image.", "صف الصورة.")
    return Conformance(tiny(family, image_side), prompts)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_family_computes_what_its_model_computes(family, check):
    found = getattr(conformance(family), check)()
    assert found.passed, f"{found.name}: {found.measured} {found.says}"


@pytest.mark.parametrize("family", FAMILIES)
def test_captions_are_words_enough_to_prove_something(family):
    """A model that repeats one token, or says the same of every picture, would prove little."""
    captions = conformance(family).captions
    assert len({tuple(c) for c in captions}) > 1 and all(len(set(c)) > 2 for c in captions)


@pytest.mark.parametrize("check", ("positions", "reuse", "batches", "edits"))
@pytest.mark.parametrize(("family", "side"), SIDES.items())
def test_another_side_of_the_square_is_as_right(family, side, check):
    assert getattr(conformance(family, side), check)().passed
    assert tiny(family, side).side == side != tiny(family).side


@pytest.mark.parametrize("family", FAMILIES)
def test_plans_know_how_many_tokens_an_image_takes(family):
    """From config.json alone what the adapter has of the loaded model, at every side."""
    config = json.loads((tiny_model_dir(family) / "config.json").read_text())
    for side in {0, SIDES.get(family, 0)}:
        vlm = tiny(family, side)
        assert image_cost(config, vlm.side if family.startswith("qwen") else side).tokens == vlm.n_image_tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_sides_that_do_not_fit_are_refused(family):
    with pytest.raises(UserError, match="cannot take images of 45 pixels"):
        load_vlm(str(tiny_model_dir(family)), image_side=45)


@pytest.mark.parametrize("family", FAMILIES)
def test_kinds_of_the_prompts_tokens(family):
    """Image tokens are image; turn marks, image borders and <bos> are special; words are prompt."""
    vlm, work = tiny(family), conformance(family)
    row = vlm.prompt_ids(work.prompts[0])
    kinds = vlm.forward([row], work.features[:1], [0]).kinds[0].tolist()
    assert kinds.count(IMAGE) == vlm.n_image_tokens and PAD not in kinds
    for token, kind in zip(vlm.tokenizer.convert_ids_to_tokens(row), kinds, strict=True):
        marks = token.startswith("<") and token.endswith(">") and token != vlm.tokenizer.bos_token
        if marks and not token.startswith("<0x") and kind != IMAGE:
            assert kind == SPECIAL, token
    words = [t for t, kind in zip(row, kinds, strict=True) if kind == PROMPT]
    assert work.prompts[0] in "".join(vlm.token_strings(words))


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_that_would_break_the_chat_are_refused(family):
    vlm = tiny(family)
    image = vlm.tokenizer.convert_ids_to_tokens(vlm.image_token_id)
    for text in (f"{image} and this", f"so {vlm.tokenizer.eos_token}"):
        with pytest.raises(UserError, match="one question"):
            vlm.prompt_ids(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_encoded_alike_alone_and_together(family, monkeypatch):
    vlm, work = tiny(family), conformance(family)
    monkeypatch.setattr("core.vlm.family.IMAGE_CHUNK_PIXELS", 1)
    torch.testing.assert_close(vlm.encode_images(work.images), work.features, atol=1e-5, rtol=1e-5)
    assert work.features.shape[1:] == vlm.feature_shape == vlm.encode_images([]).shape[1:]
    assert not torch.allclose(work.features[0], work.features[1])


@pytest.mark.parametrize("family", sorted(NEEDS))
def test_leaving_out_what_the_decoder_needs_is_found(family, monkeypatch):
    """The checks can fail: without token types, deepstack features or cross-attention states logits are others."""
    monkeypatch.setattr(type(tiny(family)), "extra_inputs", lambda self, batch: {})
    assert not conformance(family).reuse().passed


@pytest.mark.parametrize("family", ("llava", "qwen2_vl", "paligemma"))
def test_wrong_positions_are_found(family, monkeypatch):
    vlm = tiny(family)
    right = type(vlm).position_ids
    monkeypatch.setattr(type(vlm), "position_ids", lambda self, p, batch: right(self, p, batch) * 2)
    assert not conformance(family).reuse().passed and not conformance(family).edits().passed


def test_features_of_another_picture_are_found():
    work = Conformance(tiny("idefics3"), conformance("idefics3").prompts)
    work.features = work.features.flip(0)
    assert not work.reuse().passed


def test_edits_that_miss_the_generated_tokens_are_found(monkeypatch):
    vlm = tiny("llava")
    step = type(vlm)._step

    def unedited(self, state):
        state.edits = {}
        step(self, state)

    monkeypatch.setattr(type(vlm), "_step", unedited)
    assert not conformance("llava").edits().passed


def save(build, folder):
    """A checkpoint of a family that has no file of its own."""
    from transformers import GenerationConfig

    torch.manual_seed(0)
    model, processor = build()
    randomise(model)
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def test_a_family_without_a_file_of_its_own_is_tried(tmp_path):
    vlm = load_vlm(save(aya_vision, tmp_path))
    assert type(vlm).__name__ == "GenericVLM" and vlm.patch_grid is None
    for check in check_model(vlm, ("Describe the image.", "صف الصورة.")):
        assert check.passed, check


def test_an_unknown_family_whose_logits_would_be_others_is_refused(tmp_path, monkeypatch):
    """Gemma 3 needs its token types, which an adapter that knows nothing of them leaves out."""
    monkeypatch.setattr("core.vlm.families.FAMILIES", {})
    with pytest.raises(UserError, match="no adapter for models of type gemma3") as refused:
        load_vlm(str(tiny_model_dir("gemma3")))
    assert "logits differ" in refused.value.why


def test_unknown_families_that_lack_what_is_needed_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("core.vlm.families.FAMILIES", {})
    monkeypatch.setattr("transformers.LlavaForConditionalGeneration.get_decoder", lambda self: None, raising=False)
    with pytest.raises(UserError, match="no adapter for models of type llava") as refused:
        load_vlm(str(tiny_model_dir("llava")))
    assert "a decoder with layers" in refused.value.why
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="no adapter") as refused:
        load_vlm(str(tmp_path))
    assert "takes an image and writes text" in refused.value.why

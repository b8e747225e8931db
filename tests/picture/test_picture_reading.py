"""A picture of one's own is read as the run reads its own images, in every language, and writes as the model writes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.picture.asking import Asked
from core.picture.grid import picture_grid, sees_whole
from core.picture.reading import read_picture
from core.picture.telling import tell
from core.vlm.loading import load_vlm
from tests.tiny_models import tiny_model_dir
from tests.vlm.toy_model import toy_features, toy_vlm

PROMPTS = {"en": "Describe the image.", "ar": "صف الصورة."}


def told(n: int = 8, **asked):
    return list(tell(toy_vlm(), toy_features()[:1], PROMPTS, Asked(**asked), n, [0, 2]))


def test_captions_are_the_models_own_and_grow_word_by_word():
    vlm, steps = toy_vlm(), told()
    rows = [vlm.prompt_ids(prompt) for prompt in PROMPTS.values()]
    ids, _ = vlm.generate(rows, toy_features()[[0, 0]], 8)
    assert [vlm.decode(i) for i in ids] == list(steps[-1].texts.values()) and list(steps[-1].texts) == ["en", "ar"]
    assert [step.finished for step in steps] == [False] * (len(steps) - 1) + [True]
    for lang in PROMPTS:
        of_lang = steps[-1].readings[lang].tokens.query("kind == 'caption'")
        assert of_lang["slot"].tolist() == list(range(len(of_lang)))
        assert vlm.decode(of_lang["token_id"]) == steps[-1].texts[lang]


@pytest.mark.parametrize("lang", PROMPTS)
def test_residuals_stand_at_their_tokens_though_rows_are_padded(lang):
    """A token's residual of a pass of both languages is that of a pass of its own row alone, where it stands there."""
    vlm = toy_vlm()
    prompts = {name: vlm.prompt_ids(prompt) for name, prompt in PROMPTS.items()}
    captions = {"en": vlm.caption_ids("A man reads."), "ar": vlm.caption_ids("طبيبة تقرأ كتابا في بيت")}
    reading = read_picture(vlm, toy_features()[:1], prompts, captions, [1], "float32")[lang]
    row = [*prompts[lang], *captions[lang]]
    alone = vlm.forward([row], toy_features()[:1], [1]).resid[1][0]
    assert reading.tokens["token_id"].tolist() == [i for i in row if i != vlm.bos_id]
    torch.testing.assert_close(reading.resid[1], alone[reading.tokens["position"].tolist()], atol=1e-4, rtol=1e-4)
    patches = reading.tokens.loc[reading.tokens["kind"] == "image", "patch"]
    assert patches.tolist() == list(range(vlm.n_image_tokens))


def test_a_text_of_ones_own_is_read_in_the_place_of_the_caption():
    last = told(texts=(("ar", "طبيبة تقرأ كتابا"),))[-1]
    assert last.texts["ar"] == "طبيبة تقرأ كتابا" and last.given == {"ar"}
    said = last.readings["ar"].tokens.query("kind == 'caption'")["piece"]
    assert "".join(said).strip() == "طبيبة تقرأ كتابا"
    assert last.texts["en"] == told()[-1].texts["en"], "the other language is written as before"


def test_another_question_is_asked_in_its_language_alone():
    vlm, last = toy_vlm(), told(questions=(("en", "Who is this?"),))[-1]
    asked = {lang: vlm.decode(r.tokens.query("kind == 'prompt'")["token_id"]) for lang, r in last.readings.items()}
    assert "Who is this?" in asked["en"] and PROMPTS["ar"] in asked["ar"] and PROMPTS["en"] not in asked["en"]


def test_two_given_texts_need_no_writing():
    steps = told(texts=(("en", "A man."), ("ar", "رجل")))
    assert len(steps) == 1 and steps[0].finished and steps[0].given == {"en", "ar"}


def test_what_cannot_be_asked_is_refused_before_a_word_is_written():
    for asked in (Asked(questions=(("en", "<start_of_image>"),)), Asked(texts=(("en", "رجل"),))):
        with pytest.raises(UserError):
            next(tell(toy_vlm(), toy_features()[:1], PROMPTS, asked, 8, [0]))


def test_a_caption_that_met_no_end_is_said_to_be_cut():
    assert set(told(n=1)[-1].cut) == {"en", "ar"}


@pytest.mark.parametrize("family", ["gemma3", "paligemma", "llava", "llava_next", "qwen2_5_vl", "qwen3_vl", "smolvlm"])
def test_every_family_is_shown_the_whole_of_a_picture_of_any_shape(family):
    vlm = load_vlm(str(tiny_model_dir(family)))
    assert sees_whole(vlm) and picture_grid(vlm) == vlm.patch_grid


def test_a_processor_that_crops_has_no_map():
    vlm = load_vlm(str(tiny_model_dir("paligemma")))
    own = vlm.image_inputs

    def cropping(images):
        return own([i.crop(((i.width - (s := min(i.size))) // 2, 0, (i.width + s) // 2, s)) for i in images])

    vlm.image_inputs = cropping
    assert not sees_whole(vlm) and picture_grid(vlm) is None


def test_a_model_without_patches_has_no_map():
    vlm = load_vlm(str(tiny_model_dir("mllama")))
    assert picture_grid(vlm) is None
    reading = read_picture(
        vlm, vlm.encode_images([_grey()]), {"en": vlm.prompt_ids("Describe.")}, {"en": vlm.caption_ids("A man.")}, [0]
    )["en"]
    assert (reading.tokens["patch"] == -1).all() and np.isfinite(reading.resid[0].float().numpy()).all()


def _grey():
    from PIL import Image

    return Image.new("RGB", (40, 90), (90, 90, 90))

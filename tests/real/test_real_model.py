"""The adapter on real weights."""

from __future__ import annotations

import pytest
import torch

from core.config import TrainConfig
from core.vlm.conformance import check_model, pictures
from tests.real.residuals import PROMPTS, fit_of, residuals, trained

LAYER = 9


def test_the_prompt_is_what_the_processor_makes_of_it_with_one_start(real_vlm):
    image = pictures()[0]
    for prompt in PROMPTS.values():
        ids = real_vlm.prompt_ids(prompt)
        assert ids == real_vlm.ask(prompt, image)["input_ids"][0].tolist()
        assert ids.count(real_vlm.bos_id) == 1 and ids[0] == real_vlm.bos_id
        assert ids.count(real_vlm.image_token_id) == real_vlm.n_image_tokens


@pytest.mark.timeout(600)
def test_check_model_passes(real_vlm):
    failed = [
        f"{c.name}: {c.measured:.2g} {c.says}" for c in check_model(real_vlm, list(PROMPTS.values())) if not c.passed
    ]
    assert not failed, failed


def test_an_edit_of_strength_zero_changes_no_bit(real_vlm, real_captions):
    features = real_vlm.encode_images(pictures()[:2])
    rows = [real_vlm.prompt_ids(PROMPTS[lang]) + real_vlm.caption_ids(real_captions[lang][0]) for lang in PROMPTS]
    nothing = torch.zeros(real_vlm.d_model)

    def add_nothing(h, kinds):
        return h + nothing

    plain, edited = (real_vlm.forward(rows, features, logits=True, edits=e).logits for e in ({}, {LAYER: add_nothing}))
    assert torch.equal(plain, edited)


@pytest.mark.timeout(600)
def test_an_sae_at_the_default_rate_tells_most_of_real_residuals_within_300_steps(real_vlm, real_captions):
    """Residuals of lengths of 6,000, with tokens of many times that and a dimension that holds half of the variance."""
    data = residuals(real_vlm, {lang: texts[-120:] for lang, texts in real_captions.items()}, [LAYER])
    config = TrainConfig(d_sae=1024, k=32, steps=300, batch_tokens=128, auxk=real_vlm.d_model // 2)
    sae = trained(data, LAYER, config)
    fit = fit_of(data, LAYER, sae.encode, sae.decode)
    assert fit.plain < 0.2 and fit.captions_median < 0.4 and fit.dead < 0.3, fit

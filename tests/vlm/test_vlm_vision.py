"""States of the vision tower and the projector are those that the model itself computes, in every family."""

import pytest
import torch
from PIL import Image

from core.vlm import load_vlm
from core.vlm.vision import PROJECTOR, spread, tower_layers, vision_states
from tests.tiny_models import FAMILIES, aya_vision, randomise, tiny_model_dir

COLOURS = ((200, 30, 30), (20, 180, 60), (40, 40, 220), (240, 240, 10), (5, 5, 5))


def pictures():
    """Five pictures that differ, halves in two colours."""
    found = []
    for i, colour in enumerate(COLOURS):
        image = Image.new("RGB", (28, 28), colour)
        image.paste(COLOURS[i - 1], (0, 0, 28, 14))
        found.append(image)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_states_that_tell_images_apart_and_do_not_depend_on_their_company(family):
    vlm, images = load_vlm(str(tiny_model_dir(family))), pictures()
    layers = range(len(vlm.vision_layers))
    assert len(layers) >= 1
    states, alone = vision_states(vlm, images, layers), vision_states(vlm, images[3:4], layers)
    assert set(states) == {*layers, PROJECTOR}
    assert states[PROJECTOR].shape == (5, vlm.d_model)
    for layer, state in states.items():
        assert torch.allclose(state[3:4], alone[layer], atol=1e-4), layer
        assert torch.pdist(state).min() > 1e-4, layer


@pytest.mark.parametrize("family", ("gemma3", "paligemma", "llava", "idefics3"))
def test_the_last_layer_read_is_the_one_that_the_projector_takes(family):
    """Weights turned over there change what enters the decoder; in LLaVA the tower's last layer would not."""
    vlm, images = load_vlm(str(tiny_model_dir(family))), pictures()[:2]
    before = vision_states(vlm, images, ())[PROJECTOR]
    weights = [p for name, p in vlm.vision_layers[-1].named_parameters() if "mlp" in name and p.dim() == 2]
    with torch.no_grad():
        weights[-1].neg_()
    changed = vision_states(vlm, images, ())[PROJECTOR]
    with torch.no_grad():
        weights[-1].neg_()
    assert not torch.allclose(before, changed, atol=1e-4)
    if family == "llava":
        assert len(tower_layers(vlm.model)) == len(vlm.vision_layers) + 1


def test_the_image_tokens_are_those_that_enter_the_decoder():
    """Their mean is that of the embeddings in the image's places, and of Qwen 3 without what is added deeper."""
    for family in ("gemma3", "qwen3_vl", "idefics3"):
        vlm, images = load_vlm(str(tiny_model_dir(family))), pictures()[:2]
        features = vlm.encode_images(images)
        rows = [vlm.prompt_ids("Describe the image.")] * 2
        batch = vlm._lay_out(rows, features)
        entered = batch.embeds[batch.is_image].reshape(2, -1, vlm.d_model).mean(1)
        assert torch.allclose(entered.float(), vision_states(vlm, images, ())[PROJECTOR], atol=1e-5)


def test_a_model_without_a_known_tower_has_no_layers():
    assert tower_layers(torch.nn.Linear(2, 2)) == []


def test_layers_are_spread_from_the_first_to_the_last():
    assert spread(27, 3) == (0, 13, 26) and spread(2, 3) == (0, 1) and spread(5, 1) == (4,) and spread(0, 3) == ()


def test_a_family_without_an_adapter_of_its_own_is_read_too(tmp_path):
    torch.manual_seed(0)
    model, processor = aya_vision()
    randomise(model)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    vlm = load_vlm(str(tmp_path))
    states = vision_states(vlm, pictures(), range(len(vlm.vision_layers)))
    assert len(states) == 3 and all(torch.pdist(s).min() > 1e-4 for s in states.values())

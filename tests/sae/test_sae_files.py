"""SAEs on disk: what is written is read back unchanged, here and by sae-lens, and what does not fit is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.sae.files import CFG_FILE, WEIGHTS_FILE, SAEs, load_sae, sae_id, save_sae
from core.sae.modules import ARCHITECTURES
from tests.sae.sae_toys import D_SAE, WIDTH, K, random_sae, random_tokens


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_saved_is_read_back(architecture, tmp_path):
    sae = random_sae(architecture)
    save_sae(sae, tmp_path)
    again = load_sae(tmp_path)
    assert again.cfg == sae.cfg
    assert all(torch.equal(p, dict(again.named_parameters())[name]) for name, p in sae.named_parameters())
    assert sae_id(again) == sae_id(sae) == sae_id(tmp_path)


def test_no_more_saes_of_a_run_are_held_than_fit(tmp_path):
    made = {layer: random_sae("topk", seed=layer) for layer in (1, 4, 6)}
    for layer, sae in made.items():
        save_sae(sae, tmp_path / "saes" / f"layer_{layer:02d}")
    one = sum(p.numel() * p.element_size() for p in made[1].parameters())
    for room, held in ((0, 1), (one, 1), (2.5 * one, 2), (9 * one, 3)):
        saes = SAEs(tmp_path, (1, 4, 6), "cpu", int(room))
        for _ in range(2):
            assert {layer: sae_id(sae) for layer, sae in saes.items()} == {n: sae_id(sae) for n, sae in made.items()}
        assert saes.held_bytes == held * one
        assert saes[6] is saes[6] and len(saes) == 3 and 5 not in saes


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sae_lens_computes_the_same(architecture, tmp_path):
    sae_lens = pytest.importorskip("sae_lens")  # about 15 s, once
    sae = random_sae(architecture)
    save_sae(sae, tmp_path)
    theirs = sae_lens.SAE.load_from_disk(str(tmp_path))
    assert theirs.cfg.architecture() == sae.cfg.saved_architecture
    x = random_tokens()
    with torch.no_grad():
        z = theirs.encode(x)
        assert 0 < (z > 0).float().mean() < 0.9
        torch.testing.assert_close(sae.encode(x), z)
        torch.testing.assert_close(sae.decode(z), theirs.decode(z))
        torch.testing.assert_close(sae(x), theirs(x))


def test_an_sae_that_sae_lens_wrote_is_read(tmp_path):
    """With its own ways: topk that selects by decoder norm, and no b_dec in the input."""
    sae_lens = pytest.importorskip("sae_lens")
    from sae_lens.saes.topk_sae import TopKSAEConfig

    cfg = TopKSAEConfig(WIDTH, D_SAE, k=K, rescale_acts_by_decoder_norm=True, apply_b_dec_to_input=False)
    theirs = sae_lens.SAE.get_sae_class_for_architecture("topk")(cfg)
    with torch.no_grad():
        theirs.b_dec.normal_()
        theirs.b_enc.normal_()
        theirs.W_dec.mul_(torch.rand(D_SAE, 1) + 0.5)
    theirs.save_model(tmp_path)
    x = random_tokens()
    with torch.no_grad():
        torch.testing.assert_close(load_sae(tmp_path).encode(x), theirs.encode(x))
        torch.testing.assert_close(load_sae(tmp_path)(x), theirs(x))


def test_equal_saes_give_equal_files_and_ids_and_any_change_another(tmp_path):
    for folder in ("a", "b"):
        save_sae(random_sae("topk"), tmp_path / folder)
    for name in (CFG_FILE, WEIGHTS_FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    changed = random_sae("topk")
    changed.b_enc[0] += 1e-6
    assert sae_id(changed) != sae_id(random_sae("topk"))


def test_nothing_half_written_stays_behind(tmp_path):
    save_sae(random_sae("topk"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([CFG_FILE, WEIGHTS_FILE])


def test_what_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(UserError, match="no SAE"):
        load_sae(tmp_path)
    save_sae(random_sae("topk"), tmp_path)
    content = json.loads((tmp_path / CFG_FILE).read_text())
    for change, message in (
        ({"architecture": "temporal"}, "of the kind 'temporal'"),
        ({"normalize_activations": "layer_norm"}, "normalize_activations"),
        ({"d_in": WIDTH + 1}, "does not fit"),
    ):
        (tmp_path / CFG_FILE).write_text(json.dumps(content | change))
        with pytest.raises(UserError, match=message):
            load_sae(tmp_path)
    (tmp_path / CFG_FILE).write_text(json.dumps(content))
    save_file(load_file(tmp_path / WEIGHTS_FILE) | {"other": torch.zeros(1)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(UserError, match="no tensor other"):
        load_sae(tmp_path)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be read"):
        load_sae(tmp_path)

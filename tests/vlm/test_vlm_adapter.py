"""The adapter computes what the model itself computes, whatever the batch."""

import shutil
import threading

import pytest
import torch

from core.errors import UserError
from core.vlm.loading import load_vlm
from core.vlm.prompts import byte_pieces, readable_bytes
from tests.vlm.toy_model import toy_features, toy_images, toy_model_dir, toy_rows, toy_vlm

EN, AR = "Describe the image.", "صف الصورة."


def plain_inputs(vlm, prompt, image):
    """The model's inputs as its own processor makes them, with pixel values."""
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
    text = vlm.processor.apply_chat_template(chat, add_generation_prompt=True)
    inputs = vlm.processor(images=[image], text=[text], return_tensors="pt", add_special_tokens=False)
    return {k: v for k, v in inputs.items() if k != "num_crops"}


@pytest.mark.parametrize("prompt", [EN, AR])
def test_ids_and_logits_equal_the_plain_route(prompt):
    vlm = toy_vlm()
    inputs = plain_inputs(vlm, prompt, toy_images()[0])
    assert inputs["input_ids"][0].tolist() == vlm.prompt_ids(prompt)
    with torch.inference_mode():
        plain = vlm.model(**inputs)
    ours = vlm.forward([vlm.prompt_ids(prompt)], toy_features()[:1], [vlm.n_layers - 1], logits=True)
    assert torch.equal(plain.logits, ours.logits)
    assert torch.equal(vlm.logits(ours.resid[vlm.n_layers - 1]), ours.logits)


def test_residuals_equal_the_models_hidden_states():
    vlm = toy_vlm()
    inputs = plain_inputs(vlm, EN, toy_images()[0])
    with torch.inference_mode():
        hidden = vlm.model(**inputs, output_hidden_states=True).hidden_states
    ours = vlm.forward([vlm.prompt_ids(EN)], toy_features()[:1], range(vlm.n_layers))
    for layer in range(vlm.n_layers - 1):  # the last hidden state of the model has gone through the final norm
        assert torch.equal(hidden[layer + 1], ours.resid[layer])


def assert_same(a, b):
    """Equal but for float32 rounding, measured against the largest value: the toy model amplifies rounding."""
    assert a.shape == b.shape and (a - b).abs().max() <= 3e-5 * b.abs().max()


def test_the_pass_that_stops_early_sees_the_same():
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    whole = vlm.forward(rows, features, [0, 2], logits=True)
    ran = []
    handle = vlm.decoder_layers[3].register_forward_hook(lambda *_: ran.append(3))
    stopped = vlm.forward(rows, features, [0, 2])
    handle.remove()
    assert not ran and stopped.logits is None
    assert torch.equal(whole.resid[0], stopped.resid[0]) and torch.equal(whole.resid[2], stopped.resid[2])


def test_every_image_row_needs_its_own_features():
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    with pytest.raises(ValueError, match="image tokens"):
        vlm.forward(rows[:2], features[:1], [0])
    with pytest.raises(ValueError, match="image tokens"):
        vlm.forward([rows[0][:10]], features[:1], [0])
    with pytest.raises(ValueError, match="layers 0 to 7"):
        vlm.forward(rows[:1], features[:1], [8])


def test_generation_goes_past_the_sliding_window(monkeypatch):
    """Prompt and caption together are longer than what sliding layers see."""
    vlm = toy_vlm()
    monkeypatch.setattr(vlm, "eos_ids", ())
    row = vlm.prompt_ids(EN)
    n = vlm.model.config.text_config.sliding_window - len(row) + 16
    found, finished = vlm.generate([row], toy_features()[:1], n)
    assert len(found[0]) == n and finished == [False]
    logits = vlm.forward([row + found[0]], toy_features()[:1], [], logits=True).logits
    assert vlm.writable(logits[0, len(row) - 1 : -1]).argmax(-1).tolist() == found[0]


def test_generated_rows_do_not_depend_on_their_batch():
    vlm, features = toy_vlm(), toy_features()
    rows = [vlm.prompt_ids(EN), vlm.prompt_ids(AR), vlm.prompt_ids(EN)]
    together, _ = vlm.generate(rows, features[:3], 16)
    for i, row in enumerate(rows):
        assert vlm.generate([row], features[i : i + 1], 16)[0][0] == together[i]


def test_rows_end_at_their_end_token(monkeypatch):
    vlm, features = toy_vlm(), toy_features()
    rows = [vlm.prompt_ids(EN), vlm.prompt_ids(AR)]
    free, _ = vlm.generate(rows, features[:2], 12)
    end = next(t for t in free[0] if t not in free[1])  # only the first row writes it
    n = free[0].index(end)
    monkeypatch.setattr(vlm, "eos_ids", (end,))
    captions, finished = vlm.generate(rows, features[:2], 12)
    assert captions == [free[0][:n], free[1]] and finished == [True, False]
    assert vlm.generate(rows[:1], features[:1], n + 1)[1] == [True]  # met in the very last step
    assert vlm.generate(rows[:1], features[:1], n) == ([free[0][:n]], [False])  # one step more was needed
    steps = list(vlm.stream(rows[:1], features[:1], 12))
    assert len(steps) == n + 1 and steps[-1] == [None]


def test_stream_stops_when_told():
    vlm, stop = toy_vlm(), threading.Event()
    steps = []
    for step in vlm.stream([vlm.prompt_ids(EN)], toy_features()[:1], 20, stop=stop):
        steps.append(step)
        if len(steps) == 3:
            stop.set()
    assert len(steps) == 3


def test_caption_log_probs_are_those_of_the_logits():
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    found = vlm.caption_log_probs(rows, features)
    assert [len(x) for x in found] == [0, 0, 3, 11, 1, 2]
    logits = vlm.forward(rows[3:4], features[3:4], [], logits=True).logits[0].log_softmax(-1)
    n = vlm.n_prompt(rows[3])
    expected = logits[torch.arange(n - 1, len(rows[3]) - 1), torch.tensor(rows[3][n:])]
    assert_same(found[3], expected)


def test_scores_of_captions_never_hold_more_logits_than_they_may(monkeypatch):
    """At a vocabulary of 262,144 the logits of one batch of captions, held at once, took 12 GB."""
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    prompt = rows[0]
    captions = [(i % 2, rows[3][vlm.n_prompt(rows[3]) :][: 11 - i]) for i in range(10)]
    whole, alone = vlm.log_probs_behind(prompt, features[:2], captions), vlm.caption_log_probs(rows, features)
    held, head, vocab = [], vlm.head, len(vlm.never_written)
    monkeypatch.setattr("core.vlm.adapter.LOGITS", 3 * vocab)
    monkeypatch.setattr(vlm, "head", lambda hidden: held.append(hidden.shape[:-1].numel()) or head(hidden))
    parts = vlm.log_probs_behind(prompt, features[:2], captions)
    assert max(held) <= 3 and sum(held) == sum(len(ids) for _, ids in captions)
    for a, b in zip([*parts, *vlm.caption_log_probs(rows, features)], [*whole, *alone], strict=True):
        assert len(a) == len(b) and (not len(a) or torch.allclose(a, b, atol=1e-4))


def test_kinds_say_what_each_token_is():
    vlm, rows = toy_vlm(), toy_rows()
    kinds = vlm.token_kinds(rows[2])
    assert kinds[0] == "bos" and kinds.count("image") == vlm.n_image_tokens and kinds[-3:] == ["caption"] * 3
    assert vlm.n_prompt(rows[2]) == len(rows[2]) - 3 and vlm.n_prompt(rows[0]) == len(rows[0])
    codes = vlm.forward(rows[:3], toy_features()[:3], [0]).kinds[0].tolist()
    special = [i for i, t in enumerate(rows[0]) if t in vlm.special_ids and i and t != vlm.image_token_id]
    pad = len(rows[2]) - len(rows[0])
    assert codes[:pad] == [5] * pad and codes[pad] == 0 and all(codes[pad + i] == 4 for i in special)


def test_an_image_token_within_a_caption_is_caption_and_is_not_read():
    vlm = toy_vlm()
    row = [*vlm.prompt_ids(EN), 300, vlm.image_token_id]
    assert vlm.token_kinds(row)[-1] == "caption"
    with pytest.raises(UserError, match="stands for an image"):
        vlm.forward([row], toy_features()[:1], [0])


def test_text_goes_there_and_back_in_both_scripts():
    vlm = toy_vlm()
    for text in ("A woman is riding a bicycle.", "طبيبة تقف بجانب دراجة.", "naïve ☃ 雪"):
        ids = vlm.caption_ids(text)
        assert vlm.decode(ids) == text and "".join(vlm.token_strings(ids)) == text
        assert len(vlm.token_strings(ids)) == len(ids)
    assert vlm.token_strings([len(vlm.tokenizer) + 3]) == [""]  # the embedding has rows that no token uses
    assert len(vlm.vocabulary()) == len(vlm.unembed()) > len(vlm.tokenizer), "every id that can be written has a piece"
    assert vlm.vocabulary()[-1] == "" and all(vlm.vocabulary()[i] == vlm.token_strings([i])[0] for i in ids)


def test_byte_tokens_make_whole_characters():
    assert byte_pieces(list("é雪".encode())) == ["é", "", "雪", "", ""]
    assert byte_pieces([0xE9, 0x41]) == ["�", "A"]


def test_byte_level_tokens_are_readable_too():
    """As Qwen, Llama 3 and SmolVLM have them: letters that stand for bytes, characters cut across tokens."""
    from tokenizers import ByteLevelBPETokenizer

    words = ByteLevelBPETokenizer()
    text = "A woman, naïve ☃ طبيبة تقف"
    words.train_from_iterator([text[:12]] * 3, vocab_size=270, show_progress=False)
    names = words.encode(text).tokens
    assert len(names) > len(text) and "".join(readable_bytes(names)) == text
    assert readable_bytes(["<|im_end|>", "Ġman", "▁"]) == ["<|im_end|>", " man", "▁"]


def test_models_that_cannot_be_loaded_say_why(tmp_path):
    with pytest.raises(UserError, match="There is no model in"):
        load_vlm(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="There is no model in"):
        load_vlm("data/no-such-captioner")
    with pytest.raises(UserError, match="float16"):
        load_vlm(str(toy_model_dir()), dtype="float16")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="no adapter"):
        load_vlm(str(tmp_path))
    shutil.copy(toy_model_dir() / "config.json", tmp_path / "config.json")
    with pytest.raises(UserError, match="is not whole"):
        load_vlm(str(tmp_path))


def test_bfloat16_runs_close_to_float32():
    half = load_vlm(str(toy_model_dir()), dtype="bfloat16")
    row = half.prompt_ids(EN)
    features = half.encode_images(toy_images()[:1])
    assert features.dtype == torch.bfloat16
    low = half.forward([row], features, [5]).resid[5].float()
    high = toy_vlm().forward([row], toy_features()[:1], [5]).resid[5]
    assert torch.nn.functional.cosine_similarity(low, high, dim=-1).min() > 0.9

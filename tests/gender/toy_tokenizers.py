"""Small tokenizers in which Arabic forms of both genders share their first pieces, as they do in real ones."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

EN = ("A woman and her dog on a beach.", "A man holds his hat.", "She is a waitress with a cup.", "He is a waiter.")
AR = ("طبيبة مع كرة على خلفية حمراء", "طبيب مع كرة", "اللاعبة بجانب شجرة", "واللاعب بجانب شجرة", "قاضية وقاض", "هو وهي")
KINDS = ("bytes", "unigram", "fallback")


@functools.cache
def toy_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE (as Qwen and Llama have), a unigram model with the blank in front of pieces, or a BPE with
    single bytes for what it does not know (as Gemma has)."""
    return PreTrainedTokenizerFast(tokenizer_object=MAKERS[kind]())


def _bytes() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        EN + AR, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    return made


def _unigram() -> Tokenizer:
    letters = {c for text in EN + AR for c in text.replace(" ", "\u2581")} | set("\u2581ابتةيوهن")
    pieces = [
        "\u2581طبي",
        "\u2581ال",
        "لاعب",
        "\u2581قاض",
        "\u2581وال",
        "\u2581woman",
        "\u2581man",
        "\u2581wait",
        "ية",
        "بة",
    ]
    vocabulary = [("<unk>", 0.0)] + [(p, -2.0) for p in pieces] + [(c, -4.0) for c in sorted(letters)]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=False))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.decoder = decoders.Replace("\u2581", " ")
    return made


def _fallback() -> Tokenizer:
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    every: Sequence[str] = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=["<unk>", *every], show_progress=False)
    made.train_from_iterator(EN + AR, trainer)
    made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    state = json.loads(made.to_str())  # bytes are no special tokens: they are written out
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] == "<unk>"]
    return Tokenizer.from_str(json.dumps(state))


MAKERS = {"bytes": _bytes, "unigram": _unigram, "fallback": _fallback}

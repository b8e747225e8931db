"""What is said of tokens, held against the published tokenizer of Gemma 3."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from core.gender.positions import token_at, token_spans
from tests.real.conftest import EMOJI


def with_emoji(texts: list[str], seed: int) -> list[str]:
    """Every fifth text gets a rare character before one of its words."""
    rng, found = random.Random(seed), list(texts)
    for i in range(0, len(found), 5):
        words = found[i].split(" ")
        words.insert(rng.randrange(len(words)), rng.choice(EMOJI))
        found[i] = " ".join(words)
    return found


@pytest.mark.parametrize("lang", ["en", "ar"])
def test_every_character_of_a_caption_stands_in_the_token_that_the_tokenizer_says(real_tokenizer, real_captions, lang):
    def decode(ids):
        return real_tokenizer.decode(ids, skip_special_tokens=True)

    texts, wrong, n_characters = with_emoji(real_captions[lang], 0), [], 0
    for text in texts:
        read = real_tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        assert decode(read.input_ids) == text
        n_tokens = len(read.input_ids)
        both = [token_spans(read.input_ids, t) for t in (real_tokenizer, SimpleNamespace(decode=real_tokenizer.decode))]
        for at, character in enumerate(text):
            if character == " ":  # stands in a token of its own, or with the word that follows: either is right
                continue
            holding = [i for i, (start, end) in enumerate(read.offset_mapping) if start <= at < end]
            n_characters += 1
            if not {token_at(spans, at) for spans in both} <= set(holding):
                wrong.append((text, at, character, holding, n_tokens))
    assert len(texts) > 200 and n_characters > 5000
    assert not wrong, f"{len(wrong)} of {n_characters}: {wrong[:3]}"


def test_a_text_gets_one_start_and_the_pieces_say_what_the_text_says(real_tokenizer, real_captions):
    for text in [*real_captions["en"][:50], *real_captions["ar"][:50]]:
        ids = real_tokenizer(text).input_ids
        assert ids.count(real_tokenizer.bos_token_id) == 1 and ids[0] == real_tokenizer.bos_token_id
        assert real_tokenizer.decode(ids, skip_special_tokens=True) == text


def test_arabic_forms_share_their_first_pieces_so_that_the_first_token_cannot_tell_gender(real_tokenizer):
    """What makes the other tests needed: طبيب and طبيبة begin alike."""
    first = {word: real_tokenizer(f" {word}", add_special_tokens=False).input_ids[0] for word in ("طبيب", "طبيبة")}
    assert first["طبيب"] == first["طبيبة"]

"""Which activation rows a caption's gendered word and its first word were written from."""

import numpy as np
import pytest
import torch

from core.features.tokens import token_index
from core.gender.logit_words import WordSets
from core.layers.positions import places, telling_slots
from tests.features.features_toys import token_table

PIECES = {1: "a", 2: " man", 3: " و", 4: "رجل", 5: " sits", 6: " ال"}
SETS = {lang: WordSets(lang, torch.tensor([9]), torch.tensor([2, 4])) for lang in ("en", "ar")}


def decode(ids):
    return "".join(PIECES[i] for i in ids).strip()


def word(sample_id, lang, start, end, gender="male", source="own"):
    return {"sample_id": sample_id, "lang": lang, "start": start, "end": end, "gender": gender, "source": source}


def test_a_word_behind_its_article_is_said_where_the_word_itself_stands():
    captions = {0: [1, 2, 5], 1: [3, 6, 4]}
    text = decode(captions[1])
    words = [word(0, "en", 2, 5), word(1 // 2, "ar", 0, len(text))]
    assert telling_slots(words, captions, SETS, decode) == {0: 1, 1: 2}


def test_neutral_words_references_and_later_words_do_not_count():
    captions = {0: [1, 2, 5, 2], 2: [1, 5]}
    words = [
        word(0, "en", 11, 14),
        word(0, "en", 2, 5),
        word(1, "en", 0, 1, "neutral"),
        word(1, "en", 0, 1, "male", "reference"),
    ]
    assert telling_slots(words, captions, SETS, decode) == {0: 1}


def test_a_token_is_read_one_row_before_it_stands():
    tokens = token_index(token_table(6))
    ids, starts = tokens.captions()
    captions = {c: ids[starts[c] : starts[c + 1]].tolist() for c in range(len(starts) - 1)}
    slots = {c: slot for c, caption in captions.items() for slot in (0, len(caption) - 1) if caption}
    for place in places(tokens, captions, slots):
        assert tokens.sequence[place.row] == tokens.sequence[place.row + 1] == place.caption
        assert tokens.slot[place.row + 1] == place.slot and tokens.token_id[place.row + 1] == place.said
    with pytest.raises(ValueError, match="does not stand in its rows"):
        wrong = {c: np.add(caption, 1).tolist() for c, caption in captions.items()}
        places(tokens, wrong, slots)

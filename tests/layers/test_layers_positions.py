"""Which activation rows a caption's tokens were written from."""

import numpy as np
import pytest

from core.features.tokens import token_index
from core.layers.positions import places
from tests.features.features_toys import token_table


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


def test_a_slot_behind_the_caption_is_what_ends_it():
    tokens = token_index(token_table(6))
    ids, starts = tokens.captions()
    captions = {c: ids[starts[c] : starts[c + 1]].tolist() for c in range(len(starts) - 1)}
    full = {c: len(caption) for c, caption in captions.items() if caption}
    for place in places(tokens, captions, full, end_id=7):
        assert place.said == 7 and tokens.token_id[place.row] == captions[place.caption][-1]

"""The token at which two spellings part, what is read there, and the log-odds of whole words."""

import pytest
import torch

from core.gender.contrast import (
    WORD_END,
    Contrast,
    LogOdds,
    contrast,
    first_said,
    pair_numbers,
    random_contrasts,
    word_log_odds,
)
from core.gender.word_ends import word_ends
from core.words import find
from tests.gender.toy_tokenizers import KINDS, toy_tokenizer
from tests.vlm.toy_model import toy_features, toy_vlm

SHARED = {  # texts whose first gendered word shares its beginning with its counterpart, and that beginning
    "طبيبة مع كرة": "طبيب",
    "في الصورة طبيب": "طبيب",
    "واللاعبة بجانب شجرة": "واللاعب",
    "اللاعب بجانب شجرة": "اللاعب",
}


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", SHARED)
@pytest.mark.parametrize("kind", KINDS)
def test_all_before_the_slot_is_shared_and_the_slot_tells_the_genders_apart(kind, text):
    tokenizer = toy_tokenizer(kind)
    ids = ids_of(tokenizer, text)
    said = first_said(ids, tokenizer, "ar")
    assert said is not None and not said.contrast.why
    other = ids_of(tokenizer, text.replace(said.hit.word, said.counterpart))
    slot, own = said.contrast.slot, said.hit.gender
    assert ids[:slot] == other[:slot] and slot >= said.contrast.begins
    mine, theirs = (getattr(said.contrast, g) for g in (("female", "male") if own == "female" else ("male", "female")))
    assert mine != theirs
    assert mine in (WORD_END, *ids[slot : slot + 1]) and theirs in (WORD_END, *other[slot : slot + 1])
    told = tokenizer.decode(ids[:slot])
    assert said.hit.word[:2] in told or slot == said.contrast.begins


def test_where_one_spelling_ends_the_side_is_the_words_end():
    tokenizer = toy_tokenizer("unigram")  # قاض is one piece, قاضية that piece and ية
    said = first_said(ids_of(tokenizer, " قاض وكرة"), tokenizer, "ar")
    assert said.counterpart == "قاضية" and said.contrast.male == WORD_END
    assert tokenizer.convert_ids_to_tokens(said.contrast.female) == "ية"
    alone = first_said(
        ids_of(tokenizer, " قاض"), tokenizer, "ar"
    )  # nothing follows: what ends the caption ends the word
    assert alone.contrast == said.contrast


def test_agreement_ends_the_view_where_it_may_betray_the_person_and_not_where_it_is_a_things():
    tokenizer = toy_tokenizer("fallback")
    early = first_said(ids_of(tokenizer, "تقف لاعبة"), tokenizer, "ar")
    assert early.hit.word == "تقف" and early.counterpart == "يقف"
    things = first_said(ids_of(tokenizer, "تقف سيارة خلف رجل"), tokenizer, "ar")
    assert things.hit.word == "رجل"
    assert first_said(ids_of(tokenizer, "A person on a beach."), tokenizer, "en") is None


def test_a_word_without_a_counterpart_and_a_caption_in_other_tokens_have_no_contrast_and_say_why():
    tokenizer = toy_tokenizer("bytes")
    text = "A man holds his hat."
    hit = find(text, "en")[0]
    none = contrast(ids_of(tokenizer, text), tokenizer, hit, "", "nobody knows it")
    assert (none.female, none.male, none.why) == (None, None, "nobody knows it")
    letters = [i for letter in text for i in ids_of(tokenizer, letter)]
    assert contrast(letters, tokenizer, hit, "woman").why
    assert contrast(ids_of(tokenizer, text), tokenizer, hit, "man").why == "both genders are spelled alike"


def test_log_odds_are_those_of_each_rows_own_pair_and_their_direction_is_their_gradient():
    torch.manual_seed(0)
    ends = torch.tensor([False, False, True, True, False, False])
    score = LogOdds([Contrast(0, 0, 0, 1), Contrast(0, 0, 4, WORD_END), Contrast(0, 0, WORD_END, 5)], ends)
    W, h = torch.randn(6, 5), torch.randn(3, 5, requires_grad=True)
    logits = h @ W.T
    closing = torch.logsumexp(logits[:, 2:4], 1)
    expected = [logits[0, 0] - logits[0, 1], logits[1, 4] - closing[1], closing[2] - logits[2, 5]]
    torch.testing.assert_close(score(logits), torch.stack(expected))
    (gradient,) = torch.autograd.grad(score(logits).sum(), h)
    torch.testing.assert_close(score.directions(logits.detach(), W), gradient)
    torch.testing.assert_close(score[1:](logits[1:]), score(logits)[1:])
    torch.testing.assert_close(score[[2, 0]](logits[[2, 0]]), score(logits)[[2, 0]])
    with pytest.raises(ValueError, match="3 contrasts"):
        score(logits[:2])
    with pytest.raises(ValueError, match="without a contrast"):
        LogOdds([Contrast(0, 0, None, None, "none")], ends)


def test_other_words_keep_which_captions_share_a_pair_and_hold_none_of_the_pairs_own():
    contrasts = [Contrast(0, 0, 1, 2), Contrast(1, 3, 4, WORD_END), Contrast(2, 2, 1, 2)]
    drawn = [random_contrasts(contrasts, range(20), [0, n]) for n in range(20)]
    for one in drawn:
        assert (one[0].female, one[0].male) == (one[2].female, one[2].male) != (one[1].female, one[1].male)
        assert not {c.female for c in one} & {1, 2, 4, WORD_END} and all(c.female != c.male for c in one)
        assert [c.slot for c in one] == [0, 3, 2]
    assert len({(one[0].female, one[0].male) for one in drawn}) > 10
    assert pair_numbers(contrasts).tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="no other tokens"):
        random_contrasts(contrasts, [1, 2, 4], [0])


def test_whole_words_are_weighed_by_the_chain_rule_with_their_ends():
    """Against every token's log-probability taken one by one, for a word of several pieces and one that ends early."""
    vlm, features = toy_vlm(), toy_features()[:2]
    prompts = [vlm.prompt_ids("صف الصورة.")] * 2
    texts = ["طبيبة مع كرة على خلفية حمراء.", "في الصورة رجل"]
    captions = [vlm.caption_ids(text) for text in texts]
    said = [first_said(ids, vlm.tokenizer, "ar") for ids in captions]
    ends = word_ends(vlm)
    odds = word_log_odds(vlm, prompts, captions, said, features, ends)
    for i, (text, one) in enumerate(zip(texts, said, strict=True)):
        totals = []
        for word in (one.hit.word, one.counterpart):
            ids = vlm.caption_ids(text[: one.hit.start] + word)
            logits = vlm.forward([[*prompts[i], *ids]], features[i : i + 1], logits=True).logits[0].log_softmax(-1)
            n = len(prompts[i])
            total = sum(float(logits[n + j - 1, ids[j]]) for j in range(len(ids)))  # from the caption's beginning on
            totals.append(total + float(logits[-1, ends].logsumexp(0)))
        sign = 1 if one.hit.gender == "female" else -1
        assert float(odds[i]) == pytest.approx(sign * (totals[0] - totals[1]), abs=2e-3)
    half = word_log_odds(vlm, prompts, captions, [None, said[1]], features, ends)
    assert torch.isnan(half[0]) and float(half[1]) == pytest.approx(float(odds[1]), abs=1e-4)

"""The generic masculine: what is read so and what is not, one policy for all counting, and evidence of one kind."""

import itertools
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.bias.shares import group_shares, image_counts
from core.words import caption_gender, find, generic, image_gender, matched_gender
from core.words.audit import TOTAL, audit
from core.words.captions import NAMED, decides
from core.words.generic import CHILDREN, POLICIES, UNMARKED, under
from core.words.lexicon import lexicon, plain
from tests.words.gold import GENDERS, MARKED

# [word]u unmarked, m male, f female, n neutral; ``a`` where it is agreement. Every hit is marked.
SENTENCES = """
[طبيب]u [يقف]ua بجانب النافذة
[يقف]ua [طبيب]u بجانب النافذة
[متزلج]u على منحدر
[شخص]n [يتزلج]ua على منحدر
[سياح]u أمام المتحف
[لاعبان]u في الملعب
[لاعبون]u في الملعب
[للطلاب]u فقط
[طفل]u [يلعب]ua
[طفلة]f [تلعب]fa
[طفلان]u [يلعبان]ua
[الأطفال]u في الماء
[رضيعها]u في السرير
[أولاد]u في الشارع
[الشباب]u في الشارع
[أبناؤها]u في البيت
[إخوة]u على الشاطئ
[أصدقاء]u في مقهى
[رجال]m في مقهى
[ولد]m في الشارع
[ولدان]m في الشارع
[شبان]m في الشارع
[رجل]m [يقف]ma
[أب]m [وطفله]u
[طبيب]m [رجل]m [يكتب]ma
[رجل]m [متزلج]ma [يقفز]ma
[رجل]m [شرطي]ma
[الرجل]m [طبيب]m
[رجل]m مع [طبيب]u
[شاب]m [متزلج]ma
[لاعب]u [شاب]ua [يركض]ua
[لاعب]u كرة قدم [شاب]u
[شخص]n [شاب]ua
[رجل]m [شاب]ma
[لاعب]u مع [شاب]m
[لاعبون]m [ذكور]ma
[لاعبو]m كرة قدم [ذكور]m
[أطفال]m [ذكور]ma
[لاعب]u مع [ذكور]m
[هو]m [طبيب]m
[طبيب]u [يقف]ua [وهو]u [يبتسم]ua
[طبيب]u هنا. [هو]m [يبتسم]ma
[شخص]n [يمشي]ua [وهو]u [يبتسم]ua
[رجل]m [يمشي]ma [وهو]m [يبتسم]ma
[امرأة]f مع [طبيب]u [يبتسم]ua
[طبيبة]f مع [رجل]m [يبتسم]ma
[اللاعب]m محمد [يركض]ma
محمد [لاعب]m
[طبيب]u محمد في المستشفى
[طالب]m [وطالبة]f في الفصل
[طلاب]m [وطالبات]f
[أولاد]m [وبنات]f
[لاعب]u [وطبيبة]f
[الملك]m في القصر
[أمير]m في القصر
[ابن]m [الطبيب]u
[هذا]ua [الطبيب]u [طويل]ua
[رجل]m مع [هذا]ua [الطبيب]u
في الصورة [طبيب]u [وبجانبه]ua كتاب
[وهم]n [يضحكون]ua
كلب [كبير]ma
[طبيبة]f [تقف]fa بجانب النافذة
"""


def marked(line: str):
    """The text of a line, and its hits as (start, end, gender, is agreement)."""
    text, at, wanted = "", 0, []
    for match in MARKED.finditer(line):
        text += line[at : match.start()]
        wanted.append((len(text), len(text) + len(match[1]), GENDERS[match[2][0]], match[2].endswith("a")))
        text, at = text + match[1], match.end()
    return text + line[at:], wanted


@pytest.mark.parametrize("line", SENTENCES.strip().splitlines())
def test_a_masculine_is_read_by_what_its_noun_phrase_says(line):
    text, wanted = marked(line)
    hits = find(text, "ar")
    assert [(h.start, h.end, h.gender, h.word_class == "agreement") for h in hits] == wanted


FORMS = ("طفل", "طالب", "رضيع", "سائح", "صديق", "متزلج", "لاعب", "مراهق")


@pytest.mark.parametrize("lemma", FORMS)
def test_child_and_student_follow_one_rule_in_every_number(lemma):
    forms = [e for e in lexicon("ar") if e.lemma == lemma and e.gender in ("male", "neutral")]
    women = [e for e in lexicon("ar") if e.lemma == lemma + "ة" and e.gender == "female"]
    assert len(forms) >= 3 and len(women) >= 3
    assert {caption_gender(find(e.form, "ar")) for e in forms} == {UNMARKED}
    assert {caption_gender(find(e.form, "ar")) for e in women} == {"female"}


def test_english_has_no_generic_masculine():
    for entry in lexicon("en"):
        assert all(h.gender != UNMARKED for h in find(entry.form, "en"))
    text = "A fireman and a skier with his skis"
    assert {caption_gender(find(text, "en"), policy) for policy in POLICIES} == {"male"}


@pytest.mark.parametrize(
    "policy, gender, share", [(UNMARKED, "female", 1), ("male", "male", 2 / 3), ("left out", "female", 1)]
)
def test_skiers_of_whom_one_is_a_woman(policy, gender, share):
    said = [("en", "A skier"), ("en", "A person skis"), ("en", "A woman skis"), ("ar", "متزلج"), ("ar", "شخص يتزلج")]
    said.append(("ar", "متزلج"))
    found = image_gender("", [caption_gender(find(text, lang), policy) for lang, text in said], 0.6)
    assert found.gender == gender and found.share == pytest.approx(share)


@pytest.mark.parametrize("policy, gender", [(UNMARKED, "neutral"), ("male", "male"), ("left out", "unknown")])
def test_an_image_of_which_only_the_generic_masculine_is_said(policy, gender):
    assert image_gender("", [caption_gender(find("أطفال يلعبون", "ar"), policy)] * 3, 0.6).gender == gender


pieces = st.sampled_from([e.form for e in lexicon("ar")])
texts = st.lists(st.one_of(pieces, st.sampled_from(["و", ".", "مع", "كلب", "محمد", "ذكور"])), max_size=8).map(" ".join)


@settings(deadline=None)
@given(texts)
def test_read_as_men_every_word_has_the_gender_of_its_form(text):
    """What was counted before there was a fourth reading, but for children, whom the lexicon calls neutral."""
    hits, read = find(text, "ar"), generic.read
    generic.read = lambda hits, words: hits
    try:
        forms = find(text, "ar")
    finally:
        generic.read = read
    as_men = [h._replace(gender="male") if plain(h.lemma) in CHILDREN and decides(h) else h for h in forms]
    assert under(hits, "male") == as_men
    assert [h[:3] for h in hits] == [h[:3] for h in forms] and under(hits, UNMARKED) == hits
    assert under(hits, "left out") == [h for h in hits if h.gender != UNMARKED]


@settings(deadline=None)
@given(texts)
def test_a_policy_moves_only_what_the_generic_masculine_says(text):
    hits = find(text, "ar")
    named = {policy: caption_gender(hits, policy) for policy in POLICIES}
    assert set(named.values()) <= set(NAMED)
    if all(h.gender != UNMARKED for h in hits):
        assert len(set(named.values())) == 1
    if named[UNMARKED] == UNMARKED:
        assert named["male"] == "male" and named["left out"] in ("neutral", "none")
    women = {policy: gender in ("female", "both") for policy, gender in named.items()}
    assert len(set(women.values())) == 1, "that a woman is said hangs on no policy"
    assert matched_gender(hits) in ("none", "both", named[UNMARKED]) or named[UNMARKED] == "both"


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="left out"):
        under([], "female")


# --- evidence of one kind

TEMPLATES = {  # a person of a role in a caption, by gender; the roles' masculine is generic
    "noun": {"male": "رجل بزي {m} مع كتاب", "female": "امرأة بزي {f} مع كتاب"},
    "role": {"male": "{m} مع كتاب", "female": "{f} مع كتاب"},
    "verb": {"male": "يقف {m} بجانب كرسي", "female": "تقف {f} بجانب كرسي"},
    "pronoun": {"male": "هو {m} مع كتاب", "female": "هي {f} مع كتاب"},
    "later": {"male": "{m} يبتسم وهو مع كتاب", "female": "{f} تبتسم وهي مع كتاب"},
    "beside": {"male": "في الصورة {m} وبجانبه كتاب", "female": "في الصورة {f} وبجانبها كتاب"},
}
ROLES = (("طبيب", "طبيبة"), ("لاعب", "لاعبة"), ("طالب", "طالبة"), ("طفل", "طفلة"), ("طباخ", "طباخة"))


@pytest.mark.parametrize("name, role", itertools.product(TEMPLATES, ROLES))
def test_a_word_is_evidence_where_the_other_genders_would_be(name, role):
    said = {g: matched_gender(find(TEMPLATES[name][g].format(m=role[0], f=role[1]), "ar")) for g in ("male", "female")}
    assert said in ({"male": "male", "female": "female"}, {"male": "none", "female": "none"})


@pytest.mark.parametrize("name, role", itertools.product(TEMPLATES, ROLES))
def test_a_womans_caption_turned_into_a_mans_says_as_much_under_the_policy_male(name, role):
    said = {g: find(TEMPLATES[name][g].format(m=role[0], f=role[1]), "ar") for g in ("male", "female")}
    assert [caption_gender(said[g], "male") for g in said] == ["male", "female"]


def share_of_men(reading, p: float, n: int, seed: int = 0) -> tuple[float, float, float]:
    """p_male of captions drawn with p(male) = p from all templates, with its interval."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        gender = "male" if rng.random() < p else "female"
        man, woman = rng.choice(ROLES)
        text = rng.choice(list(TEMPLATES.values()))[gender].format(m=man, f=woman)
        rows.append((i, reading(find(text, "ar"))))
    counts = image_counts(pd.DataFrame(rows, columns=["sample_id", "named"]))
    row = group_shares(counts, pd.Series("all", index=counts.index)).iloc[0]
    return row["p_male"], row["low"], row["high"]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_matched_words_give_the_share_that_was_drawn_and_dropping_unmarked_ones_does_not(p):
    found, low, high = share_of_men(matched_gender, p, 3000)
    assert low <= p <= high and abs(found - p) < 0.04
    naive, _, _ = share_of_men(lambda hits: caption_gender(hits, "left out"), p, 3000)
    marked = 2 / 6  # templates that say man by another word than the role; of women all six do
    assert naive == pytest.approx(p * marked / (p * marked + 1 - p), abs=0.03)
    assert share_of_men(lambda hits: caption_gender(hits, "male"), p, 3000)[0] == pytest.approx(p, abs=0.04)


def test_where_the_masculine_is_said_of_anyone_counting_it_as_men_is_wrong_and_matched_words_are_not():
    """A writer who says the role in the masculine of everyone, and رجل or امرأة as often as either is there."""
    rng, p = random.Random(1), 0.3
    texts = []
    for _ in range(3000):
        gender, (man, woman) = "male" if rng.random() < p else "female", rng.choice(ROLES)
        template = TEMPLATES[rng.choice(["noun", "role"])]
        texts.append(template["male" if template["male"][:3] == "{m}" else gender].format(m=man, f=woman))
    hits = [find(text, "ar") for text in texts]

    def men(named):
        return named.count("male") / (named.count("male") + named.count("female"))

    assert men([matched_gender(h) for h in hits]) == pytest.approx(p, abs=0.04)
    assert men([caption_gender(h, "male") for h in hits]) > p + 0.2


# --- the audit


def changed(before: str, after: str, policy: str = UNMARKED, n: int = 40):
    frame = pd.DataFrame({"image_id": range(n), "before": [before] * n, "after": [after] * n})
    return audit(frame, "ar", policy=policy)


def test_a_womans_word_made_generic_is_a_word_less_or_a_man_more():
    lost = changed("طبيبة مع كتاب", "طبيب مع كتاب")
    total = lost.terms.set_index("term").loc[TOTAL]
    assert (total["before"], total["after"]) == (40, 0)
    assert lost.flips.to_dict("records") == [{"before": "female", "after": UNMARKED, "n": 40}]
    turned = changed("طبيبة مع كتاب", "طبيب مع كتاب", "male")
    assert turned.terms.set_index("term").loc[TOTAL, "change"] == 0
    assert turned.flips.to_dict("records") == [{"before": "female", "after": "male", "n": 40}]
    for one in (lost, turned):
        by = one.policies.set_index("policy")
        assert by["change"].to_dict() == {UNMARKED: -40, "male": 0, "left out": -40} and "male" in one.sensitivity
    assert np.isfinite(lost.policies["change_low"]).tolist() == [True, False, True]  # by "male" none changes


def test_without_a_generic_masculine_no_policy_decides_and_none_is_named():
    same = changed("رجل مع كتاب", "امرأة مع كتاب")
    assert same.sensitivity == "" and same.policies.empty
    assert UNMARKED not in set(same.terms["term"])

"""Gender by the form of a word and by the company it keeps: the traps, and chance where nothing is to be found."""

import importlib.util
import math
import random

import pytest

from core.errors import UserError
from core.words import MorphologicalGenderAnalyzer, SemanticGenderAnalyzer, find, gender_analyzer
from tests.words.gold import gold

RULES = MorphologicalGenderAnalyzer()


@pytest.mark.parametrize(
    "word, grammatical, person, gender, owner",
    [
        ("حمزة", "male", True, "male", ""),
        ("وأسامة", "male", True, "male", ""),
        ("فاطمة", "female", True, "female", ""),
        ("سيارة", "female", False, "", ""),
        ("والمدينة", "female", False, "", ""),
        ("سيارتها", "female", False, "", "female"),
        ("سيارته", "female", False, "", "male"),
        ("سيارات", "female", False, "", ""),
        ("سيارتين", "female", False, "", ""),
        ("طبيبها", "male", True, "male", "female"),
        ("طبيبته", "female", True, "female", "male"),
        ("طبيبات", "female", True, "female", ""),
        ("مهندسون", "male", True, "male", ""),
        ("معلمين", "male", True, "male", ""),
        ("محتالون", "male", False, "", ""),
        ("طفل", "", True, "neutral", ""),
        ("يقف", "male", None, "", ""),
        ("وستقف", "female", None, "", ""),
        ("يلتهم", "male", None, "", ""),
        ("كلبها", "", None, "", "female"),
        ("وجه", "", None, "", ""),
        ("زيتون", "", None, "", ""),
        ("سكين", "", None, "", ""),
        ("أصوات", "", None, "", ""),
        ("يد", "", None, "", ""),
        ("تفاحة", "female", False, "", ""),
        ("كتاب", "", None, "", ""),
        ("", "", None, "", ""),
    ],
)
def test_grammar_and_person_are_told_apart(word, grammatical, person, gender, owner):
    found = RULES.analyze(word)
    assert (found.grammatical, found.person, found.gender, found.owner) == (grammatical, person, gender, owner)


def test_a_text_is_read_word_by_word_with_offsets():
    text = "رَجُلٌ يقف بجانب سيارتها."
    found = RULES.analyze_text(text)
    assert [text[r.start : r.end] for r in found] == [r.word for r in found] == ["رَجُلٌ", "يقف", "بجانب", "سيارتها"]
    assert [r.marker for r in found] == ["lexicon", "lexicon", "", "ة"]


def test_the_rules_agree_with_the_gold_set_on_persons():
    right = wrong = 0
    for sentence in gold("ar", "work"):
        by_place = {(r.start, r.end): r for r in RULES.analyze_text(sentence.text)}
        for word in sentence.wanted:
            reading = by_place.get((word.start, word.end))
            if reading and word.gender in ("male", "female") and not word.agreement:
                right += reading.gender == word.gender
                wrong += reading.gender not in (word.gender, "")
    assert right / (right + wrong) > 0.98 and right > 150


def test_an_analyser_is_chosen_by_name_and_farahidi_is_asked_for_only_then():
    assert gender_analyzer().name == "rules"
    with pytest.raises(ValueError, match="stanza"):
        gender_analyzer("stanza")
    if importlib.util.find_spec("farahidi") is None:
        with pytest.raises(UserError, match="pip install farahidi"):
            gender_analyzer("farahidi")
    else:
        analyzer = gender_analyzer("farahidi")
        assert analyzer.analyze("سيارة").grammatical == "female" and analyzer.analyze("طبيبها").owner == "female"


def corpus(n=200, seed=0):
    """Captions in which women wear hats more often than men, and colours know nothing of gender."""
    rng = random.Random(seed)
    lines, genders = [], []
    for _ in range(n):
        gender = rng.choice(["male", "female"])
        hat = "hat" if rng.random() < (0.8 if gender == "female" else 0.2) else "bag"
        person = {"male": "man", "female": "woman"}[gender]
        lines.append(f"A {person} with a {rng.choice(['red', 'blue'])} {hat} by the tree")
        genders.append(gender)
    return lines, genders


def test_a_feature_of_womens_words_is_all_female_and_one_of_all_words_is_like_the_corpus():
    lines, _ = corpus()
    analyzer = SemanticGenderAnalyzer(lines, "en")
    women = analyzer.feature({"woman": 30, "her": 12, "tree": 0})
    assert women.share_female == 1 and women.low > 0.9 and women.leans == "female"
    assert women.pmi_female > 2 and women.pmi_male == -math.inf
    everything = analyzer.feature([word for line in lines for word in line.split()])
    assert everything.pmi_male == pytest.approx(0) and everything.pmi_female == pytest.approx(0)
    assert everything.leans == "" and everything.share_female == everything.base_female


def test_features_that_fire_on_random_words_lean_no_more_than_intervals_allow():
    lines, _ = corpus()
    analyzer = SemanticGenderAnalyzer(lines, "en")
    words = [word for line in lines for word in line.split()]
    rng = random.Random(1)
    leaning = [analyzer.feature(rng.choices(words, k=200)).leans != "" for _ in range(100)]
    assert sum(leaning) / len(leaning) < 0.1


def test_the_company_of_a_word_shows_what_was_put_there_and_nothing_else():
    lines, genders = corpus()
    analyzer = SemanticGenderAnalyzer(lines, "en", genders)
    hat, tree = analyzer.word("Hat"), analyzer.word("tree")
    assert hat.leans == "female" and hat.low < 0.8 < hat.high and hat.pmi_female > 0.4 > 0 > hat.pmi_male
    assert tree.leans == "" and tree.pmi_female == pytest.approx(0)


def test_shuffled_genders_leave_no_company():
    lines, genders = corpus()
    leaning = 0
    for seed in range(20):
        shuffled = random.Random(seed).sample(genders, len(genders))
        leaning += SemanticGenderAnalyzer(lines, "en", shuffled).word("hat").leans != ""
    assert leaning <= 4


def test_too_few_words_are_no_number():
    analyzer = SemanticGenderAnalyzer(["A man and a woman"], "en")
    for few in (analyzer.feature({"woman": 4}), analyzer.feature([]), analyzer.word("unheard")):
        assert not few.enough and math.isnan(few.share_female) and math.isnan(few.pmi_female) and few.leans == ""
    assert analyzer.feature({"woman": 4}).n_female == 4
    with pytest.raises(UserError, match="2 genders"):
        SemanticGenderAnalyzer(["A man"], "en", ["male", "female"])


def test_arabic_words_are_associated_through_their_clitics():
    analyzer = SemanticGenderAnalyzer(["رجل وامرأة", "سيارة"], "ar")
    assert analyzer.lexical("وللمرأة") == "female" and analyzer.lexical("سيارة") == ""
    assert analyzer.lexical("طبيبها") == "unmarked" == find("طبيبها", "ar")[0].gender
    as_men = SemanticGenderAnalyzer(["رجل وامرأة", "سيارة"], "ar", policy="male")
    assert as_men.lexical("طبيبها") == "male" and as_men.lexical("طبيبة") == "female"

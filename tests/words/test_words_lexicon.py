"""The lexicons hold what they promise, and one of somebody's own is checked before it is counted with."""

import subprocess
import sys

import pytest

from core.config import load_config
from core.errors import UserError
from core.words import find
from core.words.lexicon import (
    DRESSES,
    EXCEPTION,
    GENDERS,
    LEXICON_DIR,
    WORD_CLASSES,
    all_entries,
    digest,
    lexicon,
    plain,
)
from core.words.morphology import names
from tests.small_run import ROOT

HEAD = "lemma\tform\tlanguage\tgender\tclass\n"


def write(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("lang, least", [("en", 150), ("ar", 400)])
def test_lexicons_are_large_enough_and_name_each_form_once(lang, least):
    words = lexicon(lang)
    assert len([e for e in words if e.word_class != "agreement"]) >= least
    keys = [plain(e.form) for e in all_entries(lang)]
    assert not {k for k in keys if keys.count(k) > 1}
    assert {e.gender for e in words} == set(GENDERS)
    assert {e.word_class for e in words} <= set(WORD_CLASSES)
    assert {only for e in words for only in e.only} <= set(DRESSES)
    assert all(e.lemma for e in words)


def test_the_arabic_lexicon_is_what_the_script_writes(tmp_path):
    made = tmp_path / "ar.tsv"
    subprocess.run([sys.executable, ROOT / "data" / "lexicons" / "make_arabic.py", made], check=True)
    assert made.read_text(encoding="utf-8") == (LEXICON_DIR / "ar.tsv").read_text(encoding="utf-8")


@pytest.mark.parametrize("lang", ["en", "ar"])
def test_every_form_is_found_by_itself_or_says_where_it_may_stand(lang):
    for entry in lexicon(lang):
        hits = find(entry.form, lang)
        if not entry.only:
            generic = [h.gender for h in hits] == ["unmarked"] and entry.gender in ("male", "neutral")
            assert [(h.word, h.gender) for h in hits] == [(entry.form, "unmarked" if generic else entry.gender)]


@pytest.mark.parametrize("lang", ["en", "ar"])
def test_exceptions_are_no_persons(lang):
    exceptions = [e for e in all_entries(lang) if e.gender == EXCEPTION]
    assert exceptions
    assert not [e.form for e in exceptions if find(e.form, lang)]


def test_mens_names_that_end_like_women_are_listed_as_men():
    assert {names()[plain(n)] for n in ("حمزة", "أسامة", "طلحة", "معاوية")} == {"male"}


def test_a_lexicon_of_ones_own_takes_the_place_of_the_projects(tmp_path):
    own = write(tmp_path / "own.tsv", HEAD + "pirate\tpirate\ten\tmale\trole\nnurse\tnurse\ten\tneutral\trole\n")
    assert [(h.word, h.gender, h.lemma) for h in find("The pirate and a man", "en", own)] == [
        ("pirate", "male", "pirate")
    ]
    write(own, HEAD + "pirate\tpirate\ten\tfemale\trole\nnurse\tnurse\ten\tneutral\trole\n".replace("nurse", "surgeon"))
    assert [h.gender for h in find("The pirate", "en", own)] == ["female"], "a changed file is read again"


@pytest.mark.parametrize(
    "text, says",
    [
        (HEAD + "he\the\ten\tmale\tpronoun\nhe\tHe\ten\tfemale\tpronoun\n", "He is female here and male in line 2"),
        (HEAD + "he\the\ten\tmanly\tpronoun\n", "'manly'"),
        (HEAD + "he\the\ten\tmale\tverb\n", "'verb'"),
        (HEAD + "he\t\ten\tmale\tpronoun\n", "line 2: no form"),
        (HEAD.replace("gender\t", "") + "he\the\ten\tpronoun\n", "has no column gender"),
        (HEAD.replace("\n", "\tonly\n") + "he\the\ten\tmale\tpronoun\tsundays\n", "'sundays'"),
        (HEAD, "no word of the language en"),
        ("", "has no column lemma"),
        (HEAD + "رجل\tرجل\tar\tmale\tnoun\n", "no word of the language en"),
    ],
)
def test_a_lexicon_that_breaks_the_rules_is_refused_in_plain_words(tmp_path, text, says):
    with pytest.raises(UserError) as caught:
        lexicon("en", write(tmp_path / "own.tsv", text))
    assert says in str(caught.value) and caught.value.do


def test_one_word_written_two_ways_cannot_be_of_both_genders(tmp_path):
    rows = "امرأة\tامرأة\tar\tfemale\tnoun\nامراة\tٱمراة\tar\tmale\tnoun\n"
    with pytest.raises(UserError, match="line 3"):
        lexicon("ar", write(tmp_path / "own.tsv", HEAD + rows))


def test_another_encoding_and_no_file_are_refused(tmp_path):
    row = HEAD + "رجل\tرجل\tar\tmale\tnoun\n"
    with pytest.raises(UserError, match="not UTF-8"):
        lexicon("ar", write(tmp_path / "own.tsv", row, "cp1256"))
    with pytest.raises(UserError, match="cannot be read"):
        find("he", "en", tmp_path / "none.tsv")
    assert lexicon("ar", write(tmp_path / "bom.tsv", row, "utf-8-sig"))
    with pytest.raises(ValueError, match="fr"):
        lexicon("fr")


def test_the_digest_follows_the_content_and_not_the_place(tmp_path):
    rows = HEAD + "he\the\ten\tmale\tpronoun\n"
    places = [write(tmp_path / name, rows) for name in ("a.tsv", "b.tsv")]
    one, two = (digest(load_config("demo", [f"words.lexicon_en={p}"])) for p in places)
    assert one == two != digest(load_config("demo"))
    write(places[0], rows + "she\tshe\ten\tfemale\tpronoun\n")
    assert digest(load_config("demo", [f"words.lexicon_en={places[0]}"])) != one
    write(places[0], "")
    with pytest.raises(UserError):
        digest(load_config("demo", [f"words.lexicon_en={places[0]}"]))

"""What the words beside an Arabic word make of it: an activity or a person, one person or two, a garment, a place.

Each rule is a function of a ``Sentence`` and the number of a hit; it says what the word is (a ``Found``), or None for
no person. The words that rules look for are in ``lexicons/heads.tsv``. Sources in grammar: apposition and attributive
agreement in number, gender, case and definiteness (Ryding 2005, chapters 8 and 10), the construct (chapter 8.1),
verbal nouns of the patterns فِعالة and مُفاعَلة (chapter 5.1.1), broken plurals (chapter 7.3).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from core.words.lexicon import Found, Word, heads, on_a_sign, plain

FEMALE_VERB, MALE_PLURAL = ("ت", "ست"), ("ون", "ين")
NOTHING = Found("", "", "")


class Sentence(NamedTuple):
    """The words of a text and what was found among them: ``hits`` are (number of the word, what it is)."""

    words: Sequence[Word]
    hits: list[tuple[int, Found]]

    def before(self, at: int) -> Word | None:
        """The word before ``at`` in the same phrase: nothing but blanks lies between."""
        return self.words[at - 1] if at and self.words[at].gap.isspace() else None

    def after(self, at: int) -> Word | None:
        """The word after ``at`` in the same phrase."""
        here = at + 1
        return self.words[here] if here < len(self.words) and self.words[here].gap.isspace() else None

    def found(self, at: int) -> Found | None:
        """What the word ``at`` was found to be."""
        return next((found for start, found in self.hits if start <= at < start + found.n_words), None)


def settle(
    words: Sequence[Word],
    hits: list[tuple[int, Found]],
    plural_before_noun: Callable[[Found], Found | None],
) -> list[tuple[int, Found]]:
    """The hits of a text once their neighbours are looked at, from the first on; see the rules below."""
    sentence = Sentence(words, hits)
    settled: list[tuple[int, Found]] = []
    for number, (at, found) in enumerate(hits):
        if found.word_class in ("agreement", "pronoun"):
            settled.append((at, found))
            continue
        here: Found | None = found
        if found.clitics.endswith("+ي") and _before_noun(sentence, at):
            here = plural_before_noun(found) or found
        if found.only:
            here = _by_condition(sentence, number, here)
        if here and (_what_it_is_for(sentence, at, here) or on_a_sign(words, at, "ar")):
            here = None
        if here and here.word_class != "agreement" and _same_person(sentence, settled, at, here):
            here = here._replace(word_class="agreement")
        if here:
            settled.append((at, here))
    return settled


def _by_condition(sentence: Sentence, number: int, found: Found) -> Found | None:
    at = sentence.hits[number][0]
    if "agent" in found.only or "machine" in found.only:
        return found if _is_agent(sentence, at, found) else None
    if "boys" in found.only and _is_one_girl(sentence, at):
        return found._replace(gender="female", lemma=found.form, number="singular")
    if "counted" in found.only and _counts(sentence, at):
        return None
    if "head" in found.only and not _stands_for_itself(sentence, at, found):
        return found._replace(word_class="agreement")
    return found


def _is_agent(sentence: Sentence, at: int, found: Found) -> bool:
    """Whether سباحة, مساعدة or غواصة is a woman: a subject of a verb, described as a person, or beside her like."""
    kinds, after, before = heads("ar"), sentence.after(at), sentence.before(at)
    fronts = found.clitics.split()
    if "ك+" in fronts:
        return True  # كمساعدة, as an assistant
    if not _opens_phrase(sentence, at):
        return False  # ثوب السباحة
    behind = [after, sentence.after(at + 1) if after and after.plain.endswith(("ه", "ة")) else None]
    for word in behind:
        if word and (word.plain in kinds["human"] or word.plain.removeprefix("ال") in kinds["adjective"]):
            return True
        if word and "agent" in found.only and _is_female_verb(sentence, word):
            return True
    if before is None:
        opens = sentence.words[at].first and not found.clitics and "agent" in found.only
        return bool(opens and after and after.plain in kinds["where"])  # سباحة مع كلب, but سباحة في البحر
    other = sentence.found(at - 1)
    if other and other.word_class not in ("agreement", "pronoun") and not {"ب+", "ل+"} & set(fronts):
        if "و+" in fronts:
            return other.lemma == found.lemma.removesuffix("ة")  # سباح وسباحة
        return other.gender == "female"
    verb = other is not None and _is_female_verb(sentence, before) and not found.clitics
    return verb and before.plain not in kinds["doing"] and ("agent" in found.only or before.plain in kinds["human"])


def _opens_phrase(sentence: Sentence, at: int) -> bool:
    """Whether no unknown noun stands before a word, which would make a construct with it."""
    before = sentence.before(at)
    if before is None or sentence.words[at].first or "و+" in (sentence.found(at) or NOTHING).clitics.split():
        return True
    known = sentence.found(at - 1) is not None or before.plain.removeprefix("و") in heads("ar")["particle"]
    return known or _looks_like_verb(before)


def _is_female_verb(sentence: Sentence, word: Word) -> bool:
    """Whether a word is a verb of the lexicon in the feminine."""
    found = next((f for at, f in sentence.hits if sentence.words[at] is word), None)
    verb = found is not None and found.word_class == "agreement" and found.gender == "female" and not found.number
    return verb and (word.plain.startswith(FEMALE_VERB) or word.plain.endswith(("ت", "ن")))


def _is_one_girl(sentence: Sentence, at: int) -> bool:
    """Whether صبية is a girl: هذه صبية, صبية صغيرة, صبية تلعب; ثلاثة صبية, صبية صغار and صبية alone are boys."""
    after, before = sentence.after(at), sentence.before(at)
    if after and after.plain.endswith(MALE_PLURAL):
        return False
    if after and not after.plain.startswith("ال") and (after.text.endswith("ة") or _is_female_verb(sentence, after)):
        return True
    if after and after.plain.startswith("ال") and (after.text.endswith("ة") or after.plain == "التي"):
        return True
    return before is not None and (before.plain in ("هذه", "تلك") or _is_female_verb(sentence, before))


def _counts(sentence: Sentence, at: int) -> bool:
    """Whether ست is six and no lady: a noun in the plural follows, and no verb, adjective or preposition."""
    after = sentence.after(at)
    if after is None:
        return False
    found = sentence.found(at + 1)
    if found is not None:
        return found.word_class != "agreement"
    return after.plain not in heads("ar")["particle"] and not after.plain.endswith("ة")


def _stands_for_itself(sentence: Sentence, at: int, found: Found) -> bool:
    """Whether an adjective of persons has no noun before it: يقف مسن, شقراء تبتسم, but قبعة آسيوية, رجل مسن."""
    before = sentence.before(at)
    fronts = set(found.clitics.split())
    if before is None or sentence.words[at].first:
        after = sentence.after(at)
        return "ب+" not in fronts and not (after and not fronts and after.plain.startswith("ال"))
    if "ل+" in fronts:
        return True
    other = sentence.found(at - 1)
    if fronts & {"و+", "ف+"}:
        return other is not None and other.word_class != "agreement"
    if fronts & {"ب+", "ك+"}:
        return False
    if other is not None and other.word_class == "agreement":
        return not other.number  # verbs and demonstratives have none, adjectives do
    if other is not None:
        return False
    return before.plain.removeprefix("و") in heads("ar")["particle"] or _looks_like_verb(before)


def _looks_like_verb(word: Word) -> bool:
    """By its prefix, which few nouns share: ي, or ت without a feminine ending."""
    letters = word.plain.removeprefix("و")
    return len(letters) > 3 and letters[0] in "يت" and not letters.endswith(("ة", "ات", "ي"))


def _before_noun(sentence: Sentence, at: int) -> bool:
    """Whether a definite or unknown noun follows, as it does a construct."""
    after = sentence.after(at)
    if after is None or after.plain in heads("ar")["particle"]:
        return False
    found = sentence.found(at + 1)
    return after.plain.startswith("ال") or (found is None and not _looks_like_verb(after))


def _what_it_is_for(sentence: Sentence, at: int, found: Found) -> bool:
    """Whether a thing is named by whom it is for or looks like: زي مهرج, قبعة رعاة البقر, ملابس أطفال, حمام السيدات."""
    if "+" in found.clitics and found.clitics.rpartition(" ")[2].startswith("+"):
        return False  # ملابس أطفالها
    before = sentence.before(at)
    kind = _kind_of_thing(before.plain) if before else ""
    if kind == "":
        return False
    if "garment" in kind:
        like = plain(found.lemma) in heads("ar")["costume"]
        if like or (not found.clitics and found.word_class == "role"):
            return "ب+" not in found.clitics.split()
    many = "plural" in found.number or found.lemma == "أم"
    return "category" in kind and many and (found.word_class in ("noun", "kinship") or found.lemma == "ماش")


@functools.lru_cache(50_000)
def _kind_of_thing(word: str) -> str:
    """garment, category, both or neither, of a word as compared, with what is written together with it or without."""
    kinds = heads("ar")
    for front in ("", "ال", "و", "ب", "وال", "بال", "لل", "ل"):
        thing = word.removeprefix(front)
        found = [kind for kind in ("garment", "category") if thing in kinds[kind]]
        if found:
            return " ".join(found)
    return ""


def _same_person(sentence: Sentence, settled: list[tuple[int, Found]], at: int, found: Found) -> bool:
    """Whether a noun stands in the phrase of the person before it and agrees with it: امرأة شابة, رجل متزلج.

    Age and sex (only "adjective") so describe any person, a role those that are called man, woman, girl, child.
    """
    describes = "adjective" in found.only
    if not settled or (found.clitics not in ("", "ال+")) or not (describes or found.word_class == "role"):
        return False
    start = at
    for place, head in reversed(settled):
        if place + head.n_words != start or not sentence.words[start].gap.isspace():
            return describes and _both(settled, found)
        if head.word_class == "agreement":
            if _looks_like_verb(sentence.words[place]) or (head.only == () and head.clitics not in ("", "ال+")):
                return False
            start = place
            continue
        if describes and "dual" in found.number and _both(settled, found):
            return True
        owned = head.clitics.rpartition(" ")[2].startswith("+")
        definite = "ال+" in head.clitics.split() or owned
        if definite != ("ال+" in found.clitics) or not (describes or head.word_class == "noun"):
            return False
        if "neutral" not in (head.gender, found.gender) and head.gender != found.gender:
            return False
        numbers = set(head.number.split()), set(found.number.split())
        return not all(numbers) or bool(numbers[0] & numbers[1])
    return False


def _both(settled: list[tuple[int, Found]], found: Found) -> bool:
    """رجل وامرأة شابان: a dual that describes the two before it."""
    if "dual" not in found.number.split() or len(settled) < 2:
        return False
    (first, one), (second, two) = settled[-2:]
    singular = one.number == two.number == "singular"
    return singular and two.clitics.split()[:1] == ["و+"] and first + one.n_words == second and not found.clitics

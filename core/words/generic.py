"""The generic masculine of Arabic: words that are masculine in form and say nothing of the person's gender.

طبيب, لاعبون and أطفال are said of whoever it is (Ryding 2005, chapter 7; Hachimi 2007), so a hit of theirs has the
reading "unmarked" unless something in the same noun phrase says that a man is meant. ``read`` decides that by rules
(docs/gender-counting.md), once, where words are found; ``under`` is the one place where a policy turns readings into
what is counted. English has no such words.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from core.words.arabic import PREPOSITIONS, take_apart
from core.words.lexicon import MARKS, Word, plain

if TYPE_CHECKING:
    from core.words.captions import Hit

UNMARKED = "unmarked"
POLICIES = (UNMARKED, "male", "left out")
"""What the generic masculine counts as: a reading of its own, a man, or nothing at all."""
GENDERED_FORMS = ("male", "female", UNMARKED)
"""Readings of words whose form has a gender: where they stand, the caption's spelling parts from the other gender's."""
SYMMETRIC = ("noun", "pronoun", "kinship")
"""Classes whose words for a man say as much as those for a woman; the masculine of a role may be generic."""


def _plain(text: str) -> frozenset[str]:
    return frozenset(map(plain, text.split()))


CHILDREN = _plain("طفل رضيع مولود")  # lemmas of class noun, inflected and used as roles are: طفل, طفلة like طالب, طالبة
MEN = _plain("ملك أمير سلطان شيخ راهب قس قسيس")  # lemmas of class role that no woman and no mixed group is called by
HEADS = _plain("رجل رجلا رجلان رجلين رجال ولد صبي سيد")  # رجل إطفاء says man in its first word
MIXED = _plain("أولاد شباب أبناء أحفاد أجداد إخوة أخوة أشقاء آباء")  # plurals said of mixed groups (Wehr, Cowan 1979)
MIXED_FEMALE = _plain("بنات شابات حفيدات جدات أخوات شقيقات أمهات")  # their feminine, which is always marked
COUNTERPARTS = {
    plain(lemma): _plain(others)
    for lemma, others in {
        "ولد": "بنت فتاة صبية",
        "ابن": "ابنة بنت",
        "أب": "أم",
        "أخ": "أخت",
        "شقيق": "شقيقة",
        "جد": "جدة",
        "شاب": "شابة فتاة بنت",
    }.items()
}
YOUNG = _plain("شاب شابة")  # nouns that behind another noun are adjectives: لاعب شاب is a young player
MALE = plain("ذكر")  # the adjective male, which may stand at the end of the noun phrase
SELF = _plain("هو هي نفس")  # lemmas of pronouns that speak of a person named before
DEMONSTRATIVES = _plain("هذا ذلك ذاك")
REACH = 3  # words between a noun and the ذكور at the end of its phrase: لاعبو كرة قدم ذكور


def under(hits: Iterable[Hit], policy: str) -> list[Hit]:
    """Hits as a policy of POLICIES counts them: unmarked ones as they are, as male, or left out.

    Everything that counts by gender maps its hits here. Raises ValueError for an unknown policy.
    """
    if policy == UNMARKED:
        return list(hits)
    if policy == "male":
        return [hit._replace(gender="male") if hit.gender == UNMARKED else hit for hit in hits]
    if policy == "left out":
        return [hit for hit in hits if hit.gender != UNMARKED]
    raise ValueError(f"{policy!r} is no policy for the generic masculine; known are {', '.join(POLICIES)}")


def read(hits: Sequence[Hit], words: Sequence[Word]) -> list[Hit]:
    """Arabic hits as the lexicon has them, with the generic masculine read as "unmarked".

    ``words`` are those of the text. Nouns are read first, from the beginning on, then what agrees with them.
    """
    if all(hit.gender == "female" for hit in hits):
        return list(hits)
    return _Sentences(hits, words).read()


def is_symmetric(hit: Hit, follows_person: bool) -> bool:
    """Whether a word for a woman or a man would say as much of the other gender in its place.

    Not so are roles, children, plurals of mixed groups, and Arabic pronouns that only repeat the gender of a noun
    before them (``follows_person``): in these the feminine is always marked and the masculine may be generic.
    """
    if hit.word_class not in SYMMETRIC:
        return False
    lemma = plain(hit.lemma)
    if lemma in CHILDREN or lemma.removesuffix("ة") in CHILDREN or _stems(hit.word) & (MIXED | MIXED_FEMALE):
        return False
    return not (follows_person and lemma in SELF | YOUNG)


@functools.lru_cache(20_000)
def _stems(word: str) -> frozenset[str]:
    """What an Arabic word may be without its clitics, as compared; the hamza before a possessive made even."""
    stems = {plain(parts.stem) for parts in take_apart(MARKS.sub("", word))}
    return frozenset(stems | {stem[:-1] + "ء" for stem in stems if stem.endswith(("ؤ", "ئ"))})


def _fronted(hit: Hit) -> bool:
    """Whether و, ف or a preposition is written together with a word."""
    return any(part.endswith("+") and part != "ال+" for part in hit.clitics.split())


def _joined(hit: Hit) -> bool:
    """Whether و or ف is."""
    return hit.clitics.startswith(("و+", "ف+"))


def _definite(hit: Hit) -> bool:
    """By the article or a possessive."""
    return any(part == "ال+" or part.startswith("+") for part in hit.clitics.split())


class _Sentences:
    """The hits of one text while they are read."""

    def __init__(self, hits: Sequence[Hit], words: Sequence[Word]):
        self.hits, self.words = list(hits), words
        number, of_word = 0, {}
        for at, word in enumerate(words):
            number += at > 0 and word.first
            of_word[word.start] = (at, number)
        self.at = [of_word[hit.start][0] for hit in hits]
        self.sentence = [of_word[hit.start][1] for hit in hits]
        ends = {word.end: at for at, word in enumerate(words)}
        self.last = [ends[hit.end] for hit in hits]

    def read(self) -> list[Hit]:
        """All hits with their reading."""
        people = [i for i, hit in enumerate(self.hits) if hit.word_class != "agreement"]
        for i in people:
            if self._is_generic(i, people):
                self.hits[i] = self.hits[i]._replace(gender=self._said(i, people) or UNMARKED)
        for i, hit in enumerate(self.hits):
            if hit.word_class == "agreement" and hit.gender == "male" and self._follows_generic(i, people):
                self.hits[i] = hit._replace(gender=UNMARKED)
        return self.hits

    def _is_generic(self, i: int, people: Sequence[int]) -> bool:
        """Whether the form of a word for persons may be said of anyone."""
        hit, lemma = self.hits[i], plain(self.hits[i].lemma)
        if lemma in CHILDREN and hit.word_class == "noun":
            return True
        if hit.gender != "male":
            return False
        if hit.word_class == "role":
            return lemma not in MEN and not any(_stems(word) & HEADS for word in hit.word.split())
        if hit.word_class == "pronoun":
            return lemma in SELF and self._before(i, people) in (UNMARKED, "neutral")
        if _stems(hit.word) & MIXED:
            return True
        return lemma in YOUNG and self._is_adjective(i)

    def _is_adjective(self, i: int) -> bool:
        """Whether شاب stands in the phrase of a noun before it: لاعب كرة قدم شاب."""
        j = i - 1
        if j < 0 or self.hits[j].gender not in (UNMARKED, "neutral") or self.hits[j].word_class == "agreement":
            return False
        same = _definite(self.hits[i]) == _definite(self.hits[j]) or self.at[i] > self.last[j] + 1
        return same and self._in_phrase(j, i)

    def _in_phrase(self, i: int, j: int) -> bool:
        """Whether hit j may still belong to the noun phrase of hit i: near, in its sentence, behind no preposition."""
        between = self.words[self.last[i] + 1 : self.at[j]]
        ends = len(between) >= REACH or self.sentence[i] != self.sentence[j] or _fronted(self.hits[j])
        return not ends and not any(word.plain in PREPOSITIONS for word in between)

    def _said(self, i: int, people: Sequence[int]) -> str:
        """The gender that the noun phrase gives to a generic noun, or ""."""
        hit = self.hits[i]
        if hit.word_class == "pronoun":
            return ""
        before, after = self._neighbour(i, -1), self._neighbour(i, 1)
        if before and before.gender == "male" and not _fronted(hit):
            same = before.word_class == "noun" and not (_definite(hit) and not _definite(before))
            if same or before.word_class == "pronoun":
                return "male"  # رجل متزلج, الرجل طبيب, هو طبيب
        if after and after.gender == "male" and after.word_class == "noun" and not _fronted(after):
            other = plain(after.lemma) not in YOUNG and not _stems(after.word) & MIXED
            if other and _definite(hit) == _definite(after):
                return "male"  # طبيب رجل
        return self._male_at_end(i) or self._name(i) or self._contrast(i, people)

    def _male_at_end(self, i: int) -> str:
        """لاعبو كرة قدم ذكور."""
        for j in range(i + 1, len(self.hits)):
            hit = self.hits[j]
            if not self._in_phrase(i, j):
                return ""
            if plain(hit.lemma) == MALE and hit.gender == "male":
                return "male"
            if hit.word_class != "agreement":
                return ""
        return ""

    def _name(self, i: int) -> str:
        """ "male" where a man's name stands with the noun: محمد لاعب, اللاعب محمد; طبيب محمد is Muhammad's doctor."""
        from core.words.morphology import names

        first, after = self.words[self.at[i]], self.last[i] + 1
        beside = []
        if self.at[i] and not first.first and first.gap.isspace() and not _fronted(self.hits[i]):
            beside.append(self.words[self.at[i] - 1].plain)
        if after < len(self.words) and self.words[after].gap.isspace() and _definite(self.hits[i]):
            beside.append(self.words[after].plain)
        return "male" if any(names().get(word) == "male" for word in beside) else ""

    def _contrast(self, i: int, people: Sequence[int]) -> str:
        """Beside its own feminine a masculine says man: لاعبون ولاعبات, أولاد وبنات."""
        lemma = plain(self.hits[i].lemma)
        for j in people:
            apart = self.at[max(i, j)] - self.last[min(i, j)]
            if j == i or self.sentence[j] != self.sentence[i] or not 1 <= apart <= 2 or self.hits[j].gender != "female":
                continue
            between = [word.plain for word in self.words[self.last[min(i, j)] + 1 : self.at[max(i, j)]]]
            other = plain(self.hits[j].lemma)
            own = other.removesuffix("ة").removesuffix("ي") == lemma.removesuffix("ي") or other in COUNTERPARTS.get(
                lemma, ()
            )
            if own and (between in (["و"], ["او"]) or (not between and _joined(self.hits[max(i, j)]))):
                return "male"
        return ""

    def _neighbour(self, i: int, step: int) -> Hit | None:
        """The word for a person directly before or behind, with nothing but a blank between."""
        j = i + step
        if not 0 <= j < len(self.hits) or self.hits[j].word_class == "agreement":
            return None
        first, second = min(i, j), max(i, j)
        touches = self.last[first] + 1 == self.at[second] and self.words[self.at[second]].gap.isspace()
        return self.hits[j] if touches else None

    def _before(self, i: int, people: Sequence[int]) -> str:
        """Reading of the nearest person before who may be spoken of in the masculine, within the sentence; or ""."""
        said = [self.hits[j].gender for j in people if j < i and self.sentence[j] == self.sentence[i]]
        return next((gender for gender in reversed(said) if gender != "female"), "")

    def _follows_generic(self, i: int, people: Sequence[int]) -> bool:
        """Whether what a masculine verb, adjective or pronoun agrees with says nothing of gender.

        That is the nearest person before it in the sentence or, where there is none, behind it (يقف طبيب); of a
        demonstrative the word behind it.
        """
        ahead = [
            j for j in people if j > i and self.sentence[j] == self.sentence[i] and self.hits[j].gender != "female"
        ]
        if plain(self.hits[i].lemma) in DEMONSTRATIVES:
            ahead = [j for j in ahead if self.at[j] == self.last[i] + 1]
            return bool(ahead) and self.hits[ahead[0]].gender in (UNMARKED, "neutral")
        said = self._before(i, people) or (self.hits[ahead[0]].gender if ahead else "")
        return said in (UNMARKED, "neutral")

"""Minimal pairs: for a gendered word of a text what would stand in its place in the other gender, in the same form.

The same form: number, definiteness, clitics, attached pronouns, case as far as it is written, capitals. By rule where
grammar is regular (ة, duals, sound plurals, verbs: Ryding 2005, chapters 5 to 7 and 21 to 23; -man and -woman), from
``lexicons/pairs.tsv`` where it is not (رجل امرأة, waiter waitress). Of several counterparts the first row is taken:
صبي gives فتاة, which gives فتى. Only the word itself changes, not what agrees with it.

An Arabic feminine plural does not show its case, a masculine one does: see ``_setting``. English "her" is "his" or
"him": see ``_possessive``.
"""

from __future__ import annotations

import csv
import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from core.words.arabic import PREPOSITIONS, PRONOUNS
from core.words.captions import Hit, decides, find
from core.words.lexicon import LEXICON_DIR, MARKS, Entry, lexicon, lexicon_state, plain, split_words

PAIRS_FILE = LEXICON_DIR / "pairs.tsv"
NEUTRAL = "it says no gender"
UNLISTED = "no counterpart in the lexicon"
ALIKE = "both genders are written alike"
NO_DRESS = "its clitics cannot be told from the word"
MAX_KNOWN = 100_000  # words that are kept with their counterparts

NO_NOUN_PHRASE_WORDS = """
a an the this that these those some any each every another both all no his her their its my our your
in on at to with from for by of as into onto over under behind near beside besides through across along around down up
off out after before during between towards toward against inside outside above below beneath past upon within
without about among like than via
and or but while when where who whom which because if so then though until since
there here away together too again now very just also aside apart tightly closely outdoors
is are was were be been has have had can could will would may might must does do did am he she it they him them
go get sit learn eat sing
"""
NO_NOUN_PHRASE = frozenset(NO_NOUN_PHRASE_WORDS.split())
THING_WORDS = """
wedding clothing ring string earring swing wing evening morning painting drawing building stocking thing king sibling
offspring spring belonging swimming fishing skating riding running climbing hiking landing
"""
THINGS_IN_ING = frozenset(THING_WORDS.split())
WHAT_IS_PLAYED = """
كرة تنس هوكي بيسبول رجبي غولف جولف سلة
"""
PLAYED = frozenset(map(plain, WHAT_IS_PLAYED.split()))  # لاعبو كرة: players of
QUANTITIES = """
كل بعض عدة مجموعة فريق جميع إحدى أحد غير أن إن لأن كأن
ثلاث أربع خمس ست سبع ثمان تسع عشر ثلاثة أربعة خمسة ستة سبعة ثمانية تسعة عشرة
"""
BEFORE_OBLIQUE = PREPOSITIONS | frozenset(map(plain, QUANTITIES.split()))
TWO = ("اثنين", "اثنان", "اثنتين", "اثنتان", "كلا", "كلتا")
ATTACHED = {"ه": "ها", "ها": "ه", "هم": "هن", "هن": "هم"}
SEATS = {"ؤ": "ء", "ئ": "ء"}
HAMZAS = "أإآ"
FATHATAN = "\u064b"
SHADDA = "\u0651"


class Counterpart(NamedTuple):
    """What would stand in the place of a word in the other gender; "" where there is none, and ``why``."""

    word: str
    why: str


class Pair(NamedTuple):
    """Two forms that differ in gender alone, in basic dress: no clitics, no capitals, the nominative."""

    female: str
    male: str
    word_class: str
    lemma_female: str
    lemma_male: str


class WithCounterpart(NamedTuple):
    """How many gendered words for persons have a counterpart, of all and of each caption's first.

    ``without`` are those that have none, with how often they stand there, the most frequent first.
    """

    n_words: int
    n_with: int
    n_first: int
    n_first_with: int
    without: tuple[tuple[str, int], ...]


class Setting(NamedTuple):
    """What of an Arabic word's surroundings decides its form: see ``_setting``; ``dual`` is None where untold."""

    oblique: bool = False
    construct: bool = False
    followed: bool = False
    dual: bool | None = None


def counterpart(text: str, hit: Hit, lang: str, lexicon_file: str | Path = "") -> Counterpart:
    """The counterpart of a word that ``find`` found in ``text``, to stand in ``text[hit.start:hit.end]``.

    Vowel signs are kept on what does not change. Raises ValueError for an unknown language, UserError for an unusable
    lexicon.
    """
    forms = _forms(lang, lexicon_file)
    if hit.gender == "neutral":
        return Counterpart("", NEUTRAL)
    return forms.counterpart(text, hit)


def pairs(lang: str, lexicon_file: str | Path = "") -> tuple[Pair, ...]:
    """All minimal pairs of a lexicon's forms, in its order; a form may stand in several (صبي فتاة, فتى فتاة)."""
    return _forms(lang, lexicon_file).pairs


def unpaired(lang: str, lexicon_file: str | Path = "") -> tuple[Entry, ...]:
    """The gendered forms of a lexicon that stand in no pair."""
    known = pairs(lang, lexicon_file)
    paired = {"female": {pair.female for pair in known}, "male": {pair.male for pair in known}}
    return tuple(e for e in _gendered(lexicon(lang, lexicon_file)) if e.form not in paired[_side(e.gender)])


def with_counterpart(texts: Iterable[str], lang: str, lexicon_file: str | Path = "") -> WithCounterpart:
    """How many of the words in ``texts`` that say a person's gender have a counterpart; agreement is left out."""
    n_words = n_with = n_first = n_first_with = 0
    without: Counter[str] = Counter()
    for text in texts:
        said = [hit for hit in find(text, lang, lexicon_file) if decides(hit) and hit.gender != "neutral"]
        has = [bool(counterpart(text, hit, lang, lexicon_file).word) for hit in said]
        n_words, n_with = n_words + len(has), n_with + sum(has)
        n_first, n_first_with = n_first + bool(has), n_first_with + sum(has[:1])
        without.update(hit.word.casefold() for hit, yes in zip(said, has, strict=True) if not yes)
    return WithCounterpart(n_words, n_with, n_first, n_first_with, tuple(without.most_common()))


def _side(gender: str) -> str:
    """Which of the two a form is: an unmarked masculine is a masculine form."""
    return "female" if gender == "female" else "male"


def _gendered(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.gender != "neutral"]


def _forms(lang: str, lexicon_file: str | Path) -> EnglishForms | ArabicForms:
    return _made(lang, *lexicon_state(lang, lexicon_file))


@functools.lru_cache(8)
def _made(lang: str, path: Path, _mtime: int) -> EnglishForms | ArabicForms:
    return {"en": EnglishForms, "ar": ArabicForms}[lang](lexicon(lang, path))


@functools.cache
def listed(lang: str) -> dict[str, dict[str, str]]:
    """The table of pairs: {"male": {form as compared: feminine, or "" for none}, "female": the other way}."""
    table: dict[str, dict[str, str]] = {"male": {}, "female": {}}
    with open(PAIRS_FILE, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["language"] == lang:
                table["male"].setdefault(plain(row["male"]), row["female"])
                table["female"].setdefault(plain(row["female"]), row["male"])
    for side in table.values():
        side.pop("", None)  # the other side of a word that has none
    return table


def _paired(entries: Sequence[Entry], others: Iterable[tuple[Entry, str]]) -> Iterator[Pair]:
    """Pairs of entries with their counterparts, each once; the counterpart's lemma is the lexicon's where it has it."""
    lemmas = {(_side(entry.gender), plain(entry.form)): entry.lemma for entry in reversed(entries)}
    seen: set[tuple[str, str]] = set()
    for entry, other in others:
        if not other or other == entry.form:
            continue
        female = _side(entry.gender) == "female"
        lemma = lemmas.get(("male" if female else "female", plain(other)), other)
        mine, its = (entry.form, entry.lemma), (other, lemma)
        (woman, lemma_woman), (man, lemma_man) = (mine, its) if female else (its, mine)
        if (plain(woman), plain(man)) not in seen:
            seen.add((plain(woman), plain(man)))
            yield Pair(woman, man, entry.word_class, lemma_woman, lemma_man)


class EnglishForms:
    """Counterparts of English words."""

    def __init__(self, entries: Sequence[Entry]):
        self._listed = listed("en")
        said = _gendered(entries)
        others = []
        for entry in said:
            word = plain(entry.form)
            both = {"his": ("her", "hers"), "her": ("him", "his")}.get(word) or (self._other(word, entry.gender),)
            others += [(entry, other) for other in both]
        self.pairs = tuple(_paired(said, others))

    def counterpart(self, text: str, hit: Hit) -> Counterpart:
        """As the function of the module."""
        word = plain(hit.word)
        if word == "his":
            other = "her" if _possessive(text, hit.end) else "hers"
        elif word == "her":
            other = "his" if _possessive(text, hit.end) else "him"
        else:
            other = self._other(word, hit.gender)
        return Counterpart(_as_written(other, hit.word), "") if other else Counterpart("", UNLISTED)

    def _other(self, word: str, gender: str) -> str:
        side = _side(gender)
        if word in self._listed[side]:
            return self._listed[side][word]
        last = re.split(r"[\s\-\u2010\u2011]", word)[-1]
        if last != word and last in self._listed[side]:  # police man, of several words
            return word.removesuffix(last) + self._listed[side][last]
        for pair in (("man", "woman"), ("men", "women"), ("boy", "girl"), ("boys", "girls")):
            mine, other = pair if side == "male" else pair[::-1]
            if word.endswith(mine):
                return word.removesuffix(mine) + other
        return ""


def _possessive(text: str, end: int) -> bool:
    """Whether what follows makes a possessive before a noun of her or his, by the next word and the one after it.

    It does where a word follows that can go on a noun phrase: not a determiner, preposition, conjunction, adverb,
    pronoun or auxiliary (a closed list), with no punctuation between; "or her" and "or his" are passed over. A word in
    -ing does only if such a word follows in turn (her sleeping baby), or if it is a thing with no article behind it
    (her wedding; but: watches her painting a wall).
    """
    following = split_words(text[end : end + 80])[:4]
    if len(following) > 2 and following[0].plain == "or" and following[1].plain in ("her", "his"):
        following = following[2:]
    if not following or not _goes_on(following[0].gap, following[0].plain):
        return False
    if not following[0].plain.endswith("ing"):
        return True
    behind = following[1] if len(following) > 1 else None
    thing = following[0].plain in THINGS_IN_ING and (behind is None or behind.plain not in ("a", "an", "the"))
    return thing or (behind is not None and _goes_on(behind.gap, behind.plain))


def _goes_on(gap: str, word: str) -> bool:
    return gap.isspace() and word not in NO_NOUN_PHRASE


def _as_written(word: str, like: str) -> str:
    """``word`` with the capitals of ``like``."""
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


class ArabicForms:
    """Counterparts of Arabic words."""

    def __init__(self, entries: Sequence[Entry]):
        self._listed = listed("ar")
        self._lemmas: dict[str, dict[str, str]] = {"male": {}, "female": {}}  # as compared: as written, by side
        self._of_lemma: dict[str, dict[str, dict[str, str]]] = {"male": {}, "female": {}}  # forms in the same way
        self._words: dict[str, set[str]] = {"male": set(), "female": set()}
        for entry in entries:
            side, lemma, form = _side(entry.gender), plain(entry.lemma), plain(entry.form)
            self._lemmas[side].setdefault(lemma, entry.lemma)
            self._of_lemma[side].setdefault(lemma, {}).setdefault(form, entry.form)
            self._words[side].add(form)
        self._answers = functools.lru_cache(MAX_KNOWN)(self._answer)
        said, others = _gendered(entries), []
        for entry in said:
            hit = Hit(0, len(entry.form), entry.form, entry.gender, entry.word_class, entry.lemma)
            others.append((entry, self.counterpart(entry.form, hit).word))
        self.pairs = tuple(_paired(said, others))

    def counterpart(self, text: str, hit: Hit) -> Counterpart:
        """As the function of the module."""
        side = _side(hit.gender)
        head, gap, rest = re.fullmatch(r"(\S*)(\s*)(.*)", hit.word, re.DOTALL).groups()  # type: ignore[union-attr]
        setting = _setting(text, hit, side)._replace(followed=True) if rest else _setting(text, hit, side)
        other = self._answers(head, side, hit.word_class, hit.lemma, hit.clitics, setting)
        if other is None or other == head:
            return Counterpart("", NO_DRESS if other is None else ALIKE)
        return Counterpart(other + gap + rest, "") if other else Counterpart("", UNLISTED)

    def _answer(self, word: str, side: str, word_class: str, lemma: str, clitics: str, setting: Setting) -> str | None:
        """The counterpart of one written word, "" where there is none, None where its clitics do not fit it."""
        bare = MARKS.sub("", unicodedata.normalize("NFKC", word))
        if word_class == "agreement" and lemma in PRONOUNS and bare.endswith(lemma):  # عليه, بجانبها
            return _like(word, bare.removesuffix(lemma) + ATTACHED[lemma])
        parts = clitics.split()
        fronts = [part[:-1] for part in parts if part.endswith("+")]
        suffix = next((part[1:] for part in parts if part.startswith("+")), "")
        prefix = "".join(fronts).replace("لال", "لل")
        if plain(bare[: len(prefix)]) != plain(prefix) or not bare.endswith(suffix):
            return None
        stem, article = bare[len(prefix) : len(bare) - len(suffix)], "ال" in fronts
        verb = self._verb(stem, side, lemma, suffix)
        if verb is not None:
            return _like(word, prefix + verb + suffix) if verb else ""
        if suffix == "ي" and setting.followed and side == "male" and word_class in ("role", "agreement"):
            suffix, stem, setting = "", stem + "ي", setting._replace(construct=True)  # لاعبي كرة, not "my player"
        setting = setting._replace(oblique=setting.oblique or bool({"ب", "ك", "ل"} & set(fronts)))
        tanwin = word.endswith(("ا" + FATHATAN, FATHATAN + "ا"))
        if tanwin:
            setting = setting._replace(construct=False)
        if plain(lemma) == "امراة" and plain(stem).startswith("مر"):
            stem = "ا" + stem  # المرأة
        other = self._other(stem, side, lemma, setting, suffix, article)
        if not other:
            return ""
        if article and plain(other).startswith("امرا"):
            other = other[1:]
        made = _like(word, prefix + _before(other, suffix, setting.oblique) + suffix)
        if tanwin and made.endswith("ة"):
            return made + FATHATAN
        if word.endswith("ة" + FATHATAN) and other[-1] not in "ةىاء":
            return made + FATHATAN + "ا"
        return made

    def _other(self, stem: str, side: str, lemma: str, setting: Setting, suffix: str, article: bool) -> str:
        """The form of a noun or adjective in the other gender, before clitics are put on; "" where there is none."""
        for form in _readings(stem, suffix):
            if plain(form) in self._listed[side]:
                return _fitted(form, self._listed[side][plain(form)], side, setting, suffix)
        other = self._partner(plain(lemma), side)
        if not other:
            return self._by_form(stem, side, suffix)
        if side == "male":
            return self._feminine(stem, lemma, other, setting, suffix)
        return self._masculine(stem, lemma, other, setting, suffix, article)

    def _partner(self, lemma: str, side: str) -> str:
        """The lemma of the other gender: listed, or the one with or without ة that the lexicon has."""
        if lemma in self._listed[side]:
            return self._listed[side][lemma]
        known = self._lemmas["female" if side == "male" else "male"]
        if side == "male":
            return known.get(lemma + "ة") or known.get(lemma + "ية", "")
        man = lemma.removesuffix("ة")
        return (known.get(man) or known.get(man.removesuffix("ي"), "")) if man != lemma else ""

    def _by_form(self, stem: str, side: str, suffix: str) -> str:
        """By a form that differs in ة, where a lexicon gives both genders one lemma."""
        for form in _readings(stem, suffix):
            if side == "male" and plain(form) + "ة" in self._words["female"]:
                return form + "ة"
            if side == "female" and form.endswith("ة") and plain(form[:-1]) in self._words["male"]:
                return form[:-1]
        return ""

    def _sound(self, lemma: str) -> bool:
        """Whether the lexicon gives a masculine the sound plural."""
        return lemma.removesuffix("ي") + "ون" in self._of_lemma["male"].get(lemma, {}) or (
            lemma + "ون" in self._of_lemma["male"].get(lemma, {})
        )

    def _feminine(self, stem: str, lemma: str, women: str, setting: Setting, suffix: str) -> str:
        """Of a masculine noun or adjective: its number is read from its form, and the case of a dual."""
        root = women.removesuffix("ة")
        base = root + "ت" if women.endswith("ة") else women
        for form in _readings(stem, suffix):
            for man in (plain(root), plain(lemma)):  # قاضي before قاض
                end = _ending(plain(form), man)
                plural = setting.construct or (self._sound(plain(lemma)) and not setting.dual)
                if end in ("ون", "و", "وا") or (end in ("ين", "ي") and plural):
                    return self._women(women, root)
                if end in ("ان", "ين", "ي") or (end == "ا" and (suffix or setting.construct)):
                    return base + end
                if end is not None:
                    return women
            if plain(form) in self._of_lemma["male"].get(plain(lemma), {}):
                return self._women(women, root)  # a broken plural
        return ""

    def _women(self, women: str, root: str) -> str:
        """The plural of a feminine lemma: in ات, or for one without ة the lexicon's that is no dual."""
        forms = self._of_lemma["female"].get(plain(women), {})
        others = (form for key, form in forms.items() if _ending(key, plain(women)) is None)
        return root + "ات" if women.endswith("ة") else next(others, "")

    def _masculine(self, stem: str, lemma: str, man: str, setting: Setting, suffix: str, article: bool) -> str:
        """Of a feminine noun or adjective; a plural's case is read from what stands before it."""
        root = plain(lemma).removesuffix("ة")
        long = man + "ي" if root == plain(man) + "ي" else man  # قاض, but القاضي and قاضيان
        for form in _readings(stem, suffix):
            end = plain(form).removeprefix(root) if plain(form).startswith(root) else None
            if end in ("ة", "ت") or (end == "" and form == lemma):
                return long if article or suffix else man
            if end in ("تان", "تا", "تين", "تي"):
                return long + end[1:]
            if plain(form) in self._of_lemma["female"].get(plain(lemma), {}) or end == "ات":
                return self._men(man, setting)
        return ""

    def _men(self, man: str, setting: Setting) -> str:
        """The plural of a masculine lemma: the lexicon's broken one if it has one, else the sound one in its case."""
        forms = self._of_lemma["male"].get(plain(man), {})
        roots = (plain(man), plain(man) + "ي")
        broken = next((form for key, form in forms.items() if all(_ending(key, r) is None for r in roots)), "")
        if broken:
            return broken
        return man + ("ي" if setting.oblique else "و") + ("" if setting.construct else "ن")

    def _verb(self, stem: str, side: str, lemma: str, suffix: str) -> str | None:
        """Of a verb of the third person, present or past; None where the word is no verb."""
        key, form = plain(lemma), plain(stem)
        she = "ت" + lemma[1:]
        if not key.startswith("ي") or plain(she) not in self._of_lemma["female"].get(key, {}):
            return None
        form = form.replace("آ", "ا")
        women = [f for k, f in self._of_lemma["female"][key].items() if k[0] == "ي"]
        cut = lemma[:-1] if lemma[-1] in "يوى" else lemma
        if side == "female" and form in (plain(f) for f in women):
            return cut + "ون"
        if side == "female" and form[0] == "ي":  # يقفن where the lexicon has it not
            return form[:-1] + "ون" if form.endswith("ن") else ""
        if form[0] == "ي":
            if form.endswith(("ون", "وا")) or (suffix and form == plain(cut) + "و"):
                return women[0] if women else (lemma if lemma.endswith("ن") else lemma + "ن")
            return "ت" + stem[1:]
        if form.startswith(plain("ت" + cut[1:])):
            return "ي" + stem[1:]
        return self._past(stem, side, lemma)

    def _past(self, stem: str, side: str, lemma: str) -> str:
        """Of the past: وقف وقفت, مشى مشت, بدا بدت; dual and plural of the regular ones."""
        if side == "male":
            if stem.endswith("وا"):
                return stem[:-2] + "ن"
            if stem.endswith("ى") or (lemma.endswith("و") and stem.endswith("ا")):
                return stem[:-1] + "ت"
            return stem[:-1] + "تا" if stem.endswith("ا") else stem + "ت"
        if stem.endswith("تا"):
            return stem[:-2] + "ا"
        if stem.endswith("ن"):
            return stem[:-1] + "وا"
        if not stem.endswith("ت"):
            return ""
        he = stem[:-1]
        if lemma[-1] in "يى" and he[-1] != "ي":
            return he + "ى"
        return he + "ا" if lemma.endswith("و") else he


def _fitted(form: str, other: str, side: str, setting: Setting, suffix: str) -> str:
    """A listed counterpart where it depends on more than the form."""
    if side == "male" and form == "صبيان" and setting.dual is False:
        return "فتيات"
    if side == "male" and form == "فتيان" and setting.dual:
        return "فتاتان"
    if form in ("أبي", "أخي") and not suffix and not setting.followed:
        return other + "ي"  # my father
    if other in ("أب", "أخ") and (suffix not in ("", "ي") or setting.construct):
        return other + ("ي" if setting.oblique else "و")
    if other.endswith("ون") and setting.oblique:
        return other[:-2] + "ين"
    return other


def _ending(form: str, root: str) -> str | None:
    """What a masculine form has after its root, if that is an ending of a singular, a dual or a sound plural."""
    end = form[len(root) :] if form.startswith(root) else None
    return end if end in ("", "ا", "ان", "ين", "ي", "ون", "و", "وا") else None


def _readings(stem: str, suffix: str) -> Iterator[str]:
    """A stem as a form of the lexicon: with ة for ت and ء on its line before a suffix, without the accusative ا."""
    yield stem
    if suffix:
        last = {**SEATS, "ت": "ة", "ا": "ى"}.get(stem[-1:])
        if last:
            yield stem[:-1] + last
    if stem.endswith("ه"):
        yield stem[:-1] + "ة"
    if stem.endswith("ا"):
        yield stem[:-1]
    if stem.endswith(("ؤون", "ئين")):
        yield stem[:-3] + "ء" + stem[-2:]
    if stem.endswith(("و", "ي")):
        yield stem + "ن"


def _before(form: str, suffix: str, oblique: bool) -> str:
    """A noun as it is written before an attached pronoun."""
    if not suffix:
        return form
    if form.endswith(("ان", "ين", "ون")) and len(form) > 4:
        return form[:-2] if suffix == "ي" and not form.endswith("ان") else form[:-1]
    last = {"ة": "ت", "ى": "ا", "ء": "ئ" if oblique or suffix == "ي" else "ؤ"}.get(form[-1])
    return form[:-1] + last if last else form


def _like(written: str, made: str) -> str:
    """``made`` with the letters and vowel signs of ``written`` as far as the two are spelled alike."""
    pieces = re.findall(rf".(?:{MARKS.pattern})*", written, re.DOTALL)
    n = min(len(pieces), len(made))
    front = next((i for i in range(n) if plain(pieces[i][0]) != plain(made[i])), n)
    back = next((i for i in range(n - front) if plain(pieces[-1 - i][0]) != plain(made[-1 - i])), n - front)
    changed = made[front : len(made) - back]
    kept = [_letter(pieces[i], made[i], last=i + 1 == len(made)) for i in range(front)]
    if front and (changed or front + back < len(pieces)):
        kept[-1] = kept[-1][0] + SHADDA * (SHADDA in kept[-1])  # its vowel goes with the ending
    if len(changed) == 1 and len(pieces) == len(made):
        changed += pieces[front][1:]  # يُصوِّر, تُصوِّر
    return "".join(kept) + changed + "".join(pieces[len(pieces) - back :])


def _letter(piece: str, made: str, last: bool) -> str:
    """A letter with its signs as the writer has it, but with another seat of the hamza, or no ى, where that is due."""
    other = (piece[0] in HAMZAS and made in HAMZAS) or (piece[0] == "ى" and not last)
    return made + piece[1:] if other else piece


def _setting(text: str, hit: Hit, side: str) -> Setting:
    """Case, construct state and number of a word as far as its neighbours tell them.

    A plural is oblique after a preposition, a numeral or another word of quantity, an adjective also with a noun
    between (من الرجال البالغين), and nominative elsewhere: so are .84 of 510 masculine plurals of Flickr8k, which show
    their case. A word without ال is in construct before one with ال, and before what is played. Twos are told by a word
    for two or by the next verb.
    """
    before = split_words(text[max(0, hit.start - 60) : hit.start])
    after = split_words(text[hit.end : hit.end + 40])
    previous = before[-1].plain if before else ""
    deciding = before[-2:] if hit.word_class == "agreement" else before[-1:]
    following = after[0].plain if after and after[0].gap.isspace() else ""
    verb = following if following[:1] in ("ي", "ت") and len(following) > 4 else ""
    two = previous in TWO or following in TWO or verb.endswith("ان")
    return Setting(
        oblique=side == "female"
        and any({word.plain, word.plain.removeprefix("و")} & BEFORE_OBLIQUE for word in deciding),
        construct="ال" not in hit.clitics and (following in PLAYED or following.startswith("ال")),
        followed=bool(following) and following not in PREPOSITIONS,
        dual=(True if two else False if verb.endswith("ون") else None) if side == "male" else None,
    )

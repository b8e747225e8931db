"""Minimal pairs: for a gendered word of a text what would stand in its place in the other gender, in the same form.

The same form: number, definiteness, clitics, attached pronouns, case as far as it is written, capitals. By rule where
grammar is regular (ة, the dual, sound plurals, the present and the past of verbs; Ryding 2005, chapters 6, 7 and 21;
-man and -woman), from ``lexicons/pairs.tsv`` where it is not (رجل امرأة, waiter waitress). Of several counterparts the
first row is taken: صبي gives فتاة, which gives فتى. Only the word itself changes, not what agrees with it.

An Arabic feminine plural does not say its case, and a masculine one does: see ``_oblique``. English "her" is "his" or
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
from core.words.lexicon import LEXICON_DIR, MARKS, Entry, lexicon, lexicon_path, plain, split_words

NEUTRAL = "neutral: it says no gender"
UNLISTED = "no counterpart in the lexicon"
NO_DRESS = "its clitics cannot be told from the word"
PAIRS_FILE = LEXICON_DIR / "pairs.tsv"
FORMS = 100_000  # answers that are kept, by form

DETERMINERS = "a an the this that these those some any each every another both all no his her their its my your our"
PREPOSITIONS_EN = """
in on at to with from for by of as into onto over under behind near beside besides through across along around down up
off out after before during between towards toward against inside outside above below beneath next past upon within
without about among like than via
"""
CONNECTIVES = "and or but while when where who whom which because if so then though until since"
ADVERBS = "there here away together too again now very just also still aside apart home tightly closely outdoors"
VERBS = """
is are was were be been has have had can could will would may might must does do did am he she it they him them who
climb go get walk stand sit learn cross reach eat jump run swim sing put
"""
NO_NOUN_PHRASE = frozenset(" ".join((DETERMINERS, PREPOSITIONS_EN, CONNECTIVES, ADVERBS, VERBS)).split())
THINGS_IN_ING = frozenset(
    [
        "wedding",
        "clothing",
        "ring",
        "string",
        "earring",
        "swing",
        "wing",
        "evening",
        "morning",
        "painting",
        "drawing",
        "building",
        "stocking",
        "thing",
        "king",
        "sibling",
        "offspring",
        "spring",
        "belonging",
        "swimming",
        "fishing",
        "skating",
        "riding",
        "running",
        "climbing",
        "hiking",
    ]
)
PLURAL_OBJECTS = frozenset(
    map(plain, ["كرة", "تنس", "هوكي", "بيسبول", "رجبي", "غولف", "جولف", "سلة"])
)  # لاعبو كرة, players of
OBLIQUE_WORDS = frozenset(
    map(plain, ["كل", "بعض", "عدة", "مجموعة", "فريق", "جميع", "إحدى", "أحد", "غير", "ثلاث", "أربع", "خمس", "ست", "سبع"])
)
TWO = frozenset(map(plain, ["اثنين", "اثنان", "اثنتين", "اثنتان", "كلا", "كلي", "كلتا"]))
SEAT = {"ؤ": "ء", "ئ": "ء"}
FATHATAN = "\u064b"
SHADDA = "\u0651"


class Counterpart(NamedTuple):
    """What would stand in the place of a word in the other gender; ``why`` says why there is none, else ""."""

    word: str
    why: str


class Pair(NamedTuple):
    """Two forms that differ in gender alone, in basic dress: no clitics, no capitals, the nominative."""

    female: str
    male: str
    word_class: str
    lemma_female: str
    lemma_male: str


class Coverage(NamedTuple):
    """How many gendered words of captions have a counterpart, all and the first of each caption; and those without."""

    n_words: int
    n_with: int
    n_first: int
    n_first_with: int
    without: tuple[tuple[str, int], ...]


class Setting(NamedTuple):
    """What of an Arabic word's surroundings decides its form."""

    oblique: bool = False
    construct: bool = False
    followed: bool = False
    dual: bool | None = None


def counterpart(text: str, hit: Hit, lang: str, lexicon_file: str | Path = "") -> Counterpart:
    """The counterpart of a word that ``find`` found in ``text``, for ``text[hit.start:hit.end]``.

    Vowel signs are kept on what does not change. Raises ValueError for an unknown language, UserError for an unusable
    lexicon.
    """
    forms = _forms(lang, lexicon_file)
    if hit.gender not in ("male", "female", "unmarked"):
        return Counterpart("", NEUTRAL)
    return forms.counterpart(text, hit)


def pairs(lang: str, lexicon_file: str | Path = "") -> tuple[Pair, ...]:
    """All minimal pairs of a lexicon's forms, in its order; a form may stand in several (صبي فتاة, فتى فتاة)."""
    return _forms(lang, lexicon_file).pairs


def without_counterpart(lang: str, lexicon_file: str | Path = "") -> tuple[Entry, ...]:
    """The gendered forms of a lexicon that stand in no pair."""
    paired = {
        "female": {p.female for p in pairs(lang, lexicon_file)},
        "male": {p.male for p in pairs(lang, lexicon_file)},
    }
    return tuple(e for e in _gendered(lang, lexicon_file) if e.form not in paired[_side(e.gender)])


def coverage(texts: Iterable[str], lang: str, lexicon_file: str | Path = "") -> Coverage:
    """How many of the words for persons in ``texts`` have a counterpart; agreement is left out, neutral words too."""
    n = n_with = n_first = n_first_with = 0
    without: Counter[str] = Counter()
    for text in texts:
        said = [h for h in find(text, lang, lexicon_file) if decides(h) and h.gender != "neutral"]
        has = [bool(counterpart(text, hit, lang, lexicon_file).word) for hit in said]
        n, n_with = n + len(has), n_with + sum(has)
        n_first, n_first_with = n_first + bool(has), n_first_with + sum(has[:1])
        without.update(hit.word.casefold() for hit, yes in zip(said, has, strict=True) if not yes)
    return Coverage(n, n_with, n_first, n_first_with, tuple(without.most_common()))


def _side(gender: str) -> str:
    """The column of the pairs' table: an unmarked masculine is a masculine form."""
    return "female" if gender == "female" else "male"


def _gendered(lang: str, lexicon_file: str | Path) -> list[Entry]:
    return [entry for entry in lexicon(lang, lexicon_file) if entry.gender != "neutral"]


def _forms(lang: str, lexicon_file: str | Path) -> EnglishForms | ArabicForms:
    path = lexicon_path(lang, lexicon_file)
    return _made(lang, path, path.stat().st_mtime_ns if path.is_file() else 0)


@functools.lru_cache(8)
def _made(lang: str, path: Path, _mtime: int) -> EnglishForms | ArabicForms:
    return {"en": EnglishForms, "ar": ArabicForms}[lang](lexicon(lang, path))


@functools.cache
def listed(lang: str) -> dict[str, dict[str, str]]:
    """The table of irregular pairs by the side of a form: {"male": {form as compared: feminine}, "female": ...}."""
    table: dict[str, dict[str, str]] = {"male": {}, "female": {}}
    with open(PAIRS_FILE, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["language"] == lang:
                table["male"].setdefault(plain(row["male"]), row["female"])
                table["female"].setdefault(plain(row["female"]), row["male"])
    return table


def _pairs(entries: Sequence[Entry], others: Iterable[tuple[Entry, str]]) -> tuple[Pair, ...]:
    """Pairs of entries with their counterparts, each once; the counterpart's lemma is the lexicon's where it has it."""
    lemmas = {(_side(e.gender), plain(e.form)): e.lemma for e in reversed(entries)}
    made: dict[tuple[str, str], Pair] = {}
    for entry, other in others:
        if not other:
            continue
        side = _side(entry.gender)
        lemma = lemmas.get(("female" if side == "male" else "male", plain(other)), other)
        if side == "female":
            pair = Pair(entry.form, other, entry.word_class, entry.lemma, lemma)
        else:
            pair = Pair(other, entry.form, entry.word_class, lemma, entry.lemma)
        made.setdefault((plain(pair.female), plain(pair.male)), pair)
    return tuple(made.values())


class EnglishForms:
    """Counterparts of English words."""

    def __init__(self, entries: Sequence[Entry]):
        self._listed = listed("en")
        said = [entry for entry in entries if entry.gender != "neutral"]
        self._known = {plain(entry.form) for entry in said}
        others = [
            (e, self._other(plain(e.form), e.gender)) for e in said if plain(e.form) not in ("his", "her", "hers")
        ]
        self.pairs = (
            *_pairs(said, others),
            Pair("her", "his", "pronoun", "she", "he"),
            Pair("hers", "his", "pronoun", "she", "he"),
        )

    def counterpart(self, text: str, hit: Hit) -> Counterpart:
        """As the function of the module."""
        word = plain(hit.word)
        if word in ("her", "his"):
            own = _possessive(text, hit.end)
            other = {"her": "his" if own else "him", "his": "her" if own else "hers"}[word]
        else:
            other = "his" if word == "hers" else self._other(word, hit.gender)
        return Counterpart(_as_written(other, hit.word), "") if other else Counterpart("", UNLISTED)

    def _other(self, word: str, gender: str) -> str:
        side = _side(gender)
        if word in self._listed[side]:
            return self._listed[side][word]
        front, last = re.fullmatch(r"(.*[\s\-\u2010\u2011])?(.*)", word, re.DOTALL).groups()  # type: ignore[union-attr]
        if front and last in self._listed[side]:
            return front + self._listed[side][last]  # police man
        for male, female in (("man", "woman"), ("men", "women")):
            if side == "female" and word.endswith(female):
                return word.removesuffix(female) + male
            if side == "male" and word.endswith(male):
                return word.removesuffix(male) + female
        for male, female in (("boy", "girl"), ("boys", "girls")):  # a tomboy is a girl, a showgirl no showboy
            here, there = (male, female) if side == "male" else (female, male)
            if word.endswith(here) and word.removesuffix(here) + there in self._known:
                return word.removesuffix(here) + there
        return ""


def _possessive(text: str, end: int) -> bool:
    """Whether what follows makes a possessive before a noun of her or his, by the next word and the one after it.

    It does where a word follows that can go on a noun phrase: not a determiner, preposition, conjunction, adverb,
    pronoun or auxiliary (a closed list), with no punctuation between. A word in -ing does only if it is a thing (her
    wedding) or such a word follows in turn (her sleeping baby; but: watches her painting a wall).
    """
    following = split_words(text[end : end + 80])[:2]
    if not following or not _goes_on(following[0].gap, following[0].plain):
        return False
    if following[0].plain.endswith("ing") and following[0].plain not in THINGS_IN_ING:
        return len(following) > 1 and _goes_on(following[1].gap, following[1].plain)
    return True


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
        said = [entry for entry in entries if entry.gender != "neutral"]
        self._forms: dict[str, dict[str, dict[str, str]]] = {"male": {}, "female": {}}  # by side and lemma
        for entry in entries:
            of_lemma = self._forms[_side(entry.gender)].setdefault(plain(entry.lemma), {})
            of_lemma.setdefault(plain(entry.form), entry.form)
        self._lemmas = {
            side: {plain(e.lemma): e.lemma for e in entries if _side(e.gender) == side} for side in self._forms
        }
        self._answers = functools.lru_cache(FORMS)(self._answer)
        others = []
        for entry in said:
            head, gap, rest = _head(entry.form)
            others.append(
                (entry, _joined(self._other(head, _side(entry.gender), entry.lemma, Setting(), ""), gap + rest))
            )
        self.pairs = _pairs(said, others)

    def counterpart(self, text: str, hit: Hit) -> Counterpart:
        """As the function of the module."""
        side = _side(hit.gender)
        head, gap, rest = _head(hit.word)
        if rest and (whole := self._listed[side].get(plain(hit.word))):
            return Counterpart(whole, "")
        setting = Setting(followed=True) if rest else _setting(text, hit, side)
        other = self._answers(head, side, hit.word_class, hit.lemma, hit.clitics, setting)
        if not other:
            return Counterpart("", UNLISTED if other is not None else NO_DRESS)
        return Counterpart(other + gap + rest, "")

    def _answer(self, word: str, side: str, word_class: str, lemma: str, clitics: str, setting: Setting) -> str | None:
        """The counterpart of one written word, "" where there is none, None where its clitics do not fit it."""
        bare = MARKS.sub("", unicodedata.normalize("NFKC", word))
        if word_class == "agreement" and lemma in PRONOUNS and bare.endswith(lemma):  # عليه, بجانبها
            return _keep_marks(word, bare.removesuffix(lemma) + {"ه": "ها", "ها": "ه", "هن": "هم", "هم": "هن"}[lemma])
        parts = clitics.split()
        suffix = next((part[1:] for part in parts if part.startswith("+")), "")
        fronts = [part[:-1] for part in parts if part.endswith("+")]
        article = "ال" in fronts
        prefix = "".join(fronts).replace("لال", "لل") if article else "".join(fronts)
        if plain(bare[: len(prefix)]) != plain(prefix) or not bare.endswith(suffix):
            return None
        stem = bare[len(prefix) : len(bare) - len(suffix)]
        oblique = setting.oblique or any(front in ("ب", "ك", "ل") for front in fronts)
        here = setting._replace(oblique=oblique)
        if suffix == "ي" and here.followed and self._sound(plain(lemma)):
            suffix, stem = "", stem + "ي"  # لاعبي كرة are players of a ball, not "my player"
        other = self._other(stem, side, lemma, here, suffix, article)
        if not other:
            return ""
        if article and plain(other).startswith("امرا"):
            other = other[1:]  # المرأة
        made = _keep_marks(word, prefix + _before(other, suffix, oblique) + suffix)
        if word.endswith(("ا" + FATHATAN, FATHATAN + "ا")) and made.endswith("ة"):
            return made + FATHATAN
        if word.endswith("ة" + FATHATAN) and other[-1] not in "ةىاء":
            return made + FATHATAN + "ا"
        return made

    def _sound(self, lemma: str) -> bool:
        """Whether the lexicon gives a masculine the sound plural."""
        forms = self._forms["male"].get(lemma, {})
        return any(root + "ون" in forms for root in (lemma, lemma.removesuffix("ي")))

    def _other(
        self, stem: str, side: str, lemma: str, setting: Setting, suffix: str = "", article: bool = False
    ) -> str:
        """The form in the other gender, before clitics are put on; "" where there is none."""
        if article and plain(stem).startswith(("مراة", "مرات", "مراه")) and side == "female" and "امر" in plain(lemma):
            stem = "ا" + stem  # المرأة
        verb = self._verb(stem, side, lemma, suffix)
        if verb is not None:
            return verb
        for form in _readings(stem, suffix):
            if plain(form) in self._listed[side]:
                return self._listed_form(form, side, setting, suffix, article)
        other = self._partner(lemma, side)
        if not other:
            return ""
        return (self._feminine if side == "male" else self._masculine)(stem, lemma, other, setting, suffix, article)

    def _listed_form(self, form: str, side: str, setting: Setting, suffix: str, article: bool) -> str:
        other = self._listed[side][plain(form)]
        if plain(form) == "صبيان" and side == "male" and setting.dual is False:
            return "فتيات"
        if plain(form) == "فتيان" and side == "male" and setting.dual:
            return "فتاتان"
        if other in ("أب", "أخ") and suffix and suffix != "ي":
            return other + ("ي" if setting.oblique else "و")
        if other.endswith("ون") and setting.oblique:
            return other[:-2] + "ين"
        return other

    def _partner(self, lemma: str, side: str) -> str:
        """The lemma of the other gender: listed, or the one in ة that the lexicon has."""
        known, key = self._lemmas["female" if side == "male" else "male"], plain(lemma)
        if key in self._listed[side]:
            return self._listed[side][key]
        if side == "male":
            return next((known[key + end] for end in ("ة", "ية") if key + end in known), "")
        masculine = key.removesuffix("ة")
        if masculine == key:
            return ""
        if masculine in known:
            return known[masculine]
        return known.get(masculine.removesuffix("ي"), "")

    def _feminine(self, stem: str, lemma: str, women: str, setting: Setting, suffix: str, article: bool) -> str:
        """Of a masculine noun or adjective: its number is read from its form, its case is kept in the dual."""
        del article
        root = women[:-1] if women.endswith("ة") else women
        base = women[:-1] + "ت" if women.endswith("ة") else women
        for form in _readings(stem, suffix):
            for man in {plain(lemma), plain(root)}:
                match _ending(plain(form), man):
                    case "" | "ا" if not (suffix and form.endswith("ا")):
                        return women
                    case "ان" | "ا":
                        return base + "ان"
                    case "ين" | "ي":
                        plural = self._sound(plain(lemma)) and not setting.dual
                        return self._women(women, root) if plural else base + "ين"
                    case "ون" | "و" | "وا":
                        return self._women(women, root)
            if plain(form) in self._forms["male"].get(plain(lemma), {}):
                return self._women(women, root)  # a broken plural
        return ""

    def _women(self, women: str, root: str) -> str:
        """The plural of a feminine lemma: the lexicon's, or the one in ات."""
        forms = self._forms["female"].get(plain(women), {})
        sound = root + "ات"
        given = (
            f for key, f in forms.items() if _ending(key, plain(root)) is None and _ending(key, plain(women)) is None
        )
        return sound if women.endswith("ة") and (plain(sound) in forms or not forms) else next(given, sound)

    def _masculine(self, stem: str, lemma: str, man: str, setting: Setting, suffix: str, article: bool) -> str:
        """Of a feminine noun or adjective; a plural's case is read from what stands before it."""
        root = plain(lemma).removesuffix("ة")
        defective = root == plain(man) + "ي"
        long = man + "ي" if defective else man  # قاض, but قاضيان
        for form in _readings(stem, suffix):
            match plain(form)[len(root) :] if plain(form).startswith(root) else None:
                case "ة" | "ت" | "ه":
                    return long if article or suffix else man
                case "تان" | "تا":
                    return long + "ان"
                case "تين" | "تي":
                    return long + "ين"
                case "ات":
                    return self._men(man, setting)
            if plain(form) in self._forms["female"].get(plain(lemma), {}):
                return long if plain(form) == plain(lemma) else self._men(man, setting)
        return ""

    def _men(self, man: str, setting: Setting) -> str:
        """The plural of a masculine lemma: the sound one in its case if the lexicon has it, else its broken one."""
        forms = self._forms["male"].get(plain(man), {})
        key = plain(man)
        broken = next((f for k, f in forms.items() if all(_ending(k, r) is None for r in (key, key + "ي"))), "")
        if broken and not self._sound(key):
            return broken
        return man + ("ين" if setting.oblique else "ون")

    def _verb(self, stem: str, side: str, lemma: str, suffix: str) -> str | None:
        """Of a verb of the third person, present or past; None where the word is no verb."""
        key, form = plain(lemma), plain(stem)
        she = "ت" + lemma[1:]
        if not key.startswith("ي") or plain(she) not in self._forms["female"].get(key, {}):
            return None
        women = [f for k, f in self._forms["female"][key].items() if k[0] == "ي"]
        cut = lemma[:-1] if lemma[-1] in "يوى" else lemma
        if side == "female" and form in (plain(f) for f in women):
            return cut + "ون"
        if side == "female" and form[0] == "ي":  # يقفن where the lexicon has it not
            return form[:-1] + "ون" if form.endswith("ن") else ""
        if form[0] == "ي":
            if form.endswith(("ون", "وا")) or (suffix and form == plain(cut) + "و"):
                return women[0] if women else (lemma if lemma.endswith("ن") else lemma + "ن")
            return "ت" + stem[1:]
        if form[:2] == plain(she)[:2] and form.removesuffix("ن").removesuffix("ا") in (plain(she), plain(cut)):
            return "ي" + stem[1:]
        if form.startswith(plain(she)):
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


def _head(word: str) -> tuple[str, str, str]:
    """First word, what stands after it, the rest: an Arabic form of several words has its head in front."""
    match = re.search(r"\s+", word)
    return (word[: match.start()], match[0], word[match.end() :]) if match else (word, "", "")


def _joined(head: str, rest: str) -> str:
    return head + rest if head else ""


def _ending(form: str, root: str) -> str | None:
    """What a masculine form has after its root, if that is an ending of a singular, a dual or a sound plural."""
    end = form[len(root) :] if form.startswith(root) else None
    return end if end in ("", "ا", "ان", "ين", "ي", "ون", "و", "وا") else None


def _readings(stem: str, suffix: str) -> Iterator[str]:
    """A stem as a form of the lexicon: with ة for ت and ء on its line before a suffix, without the accusative ا."""
    yield stem
    if suffix and stem[-1:] in SEAT:
        yield stem[:-1] + SEAT[stem[-1]]
    if suffix and stem.endswith("ت"):
        yield stem[:-1] + "ة"
    if suffix and stem.endswith("ا"):
        yield stem[:-1] + "ى"
    if stem.endswith("ه"):
        yield stem[:-1] + "ة"
    if stem.endswith("ا"):
        yield stem[:-1]
    if stem.endswith(("ؤون", "ئين")):
        yield stem[:-3] + "ء" + stem[-2:]
    if stem.endswith(("و", "ي")):
        yield stem + "ن"


def _before(form: str, suffix: str, oblique: bool) -> str:
    """A form as it is written before an attached pronoun."""
    if not suffix:
        return form
    if form.endswith(("ان", "ين", "ون")) and len(form) > 4:
        return form[:-1] if suffix != "ي" or not form.endswith("ون") else form[:-2]
    last = {"ة": "ت", "ى": "ا", "ء": "ئ" if oblique or suffix == "ي" else "ؤ"}.get(form[-1])
    return form[:-1] + last if last else form


def _keep_marks(written: str, made: str) -> str:
    """``made`` with the letters and vowel signs of ``written`` as far as the two are spelled alike."""
    pieces = re.findall(rf".(?:{MARKS.pattern})*", written, re.DOTALL)
    shared = 0
    while shared < min(len(pieces), len(made)) and plain(pieces[shared][0]) == plain(made[shared]):
        shared += 1
    if shared == len(pieces) == len(made):
        return written
    kept = [made[i] + p[1:] if p[0] == "ى" and i + 1 < len(made) else p for i, p in enumerate(pieces[:shared])]
    if kept and shared:
        kept[-1] = kept[-1][0] + SHADDA * (SHADDA in kept[-1])
    return "".join(kept) + made[shared:]


def _setting(text: str, hit: Hit, side: str) -> Setting:
    """Case, construct state and number as far as the words beside a word tell them."""
    before = split_words(text[max(0, hit.start - 60) : hit.start])
    after = split_words(text[hit.end : hit.end + 40])[:1]
    previous = before[-1].plain if before else ""
    following = after[0].plain if after and after[0].gap.isspace() else ""
    construct = "ال" not in hit.clitics and (following in PLURAL_OBJECTS or following.startswith("ال"))
    two = previous in TWO or following in TWO
    dual = True if two or following.endswith("ان") else False if following.endswith("ون") else None
    followed = bool(following) and following not in PREPOSITIONS
    return Setting(side == "female" and _oblique(previous), construct, followed, dual if side == "male" else None)


def _oblique(previous: str) -> bool:
    """Whether a plural after this word stands in the oblique case: after a preposition or a word of quantity."""
    return previous.removeprefix("و") in PREPOSITIONS or previous in OBLIQUE_WORDS or previous in PREPOSITIONS

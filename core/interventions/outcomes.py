"""What is counted of every caption: gendered words, the gender named, what else is kept, the truth where known."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from core.config import Config
from core.run import Run
from core.samples.sources import Knowledge, knowledge
from core.words import Hit, caption_gender, find
from core.words.captions import decides
from core.words.generic import UNMARKED, under
from core.words.lexicon import plain, split_words

COMMON = 0.2  # a word in more than this share of a language's unedited captions is form, not content
KEPT = 0.75  # share of its content words that a caption must keep, to count as the same caption but for gender
REPEATED = 3  # words; a caption in which so many in a row come twice repeats itself
ARABIC_FUNCTION_WORDS = """
في على علي مع من الى الي عن هو هي هم هذا هذه ذلك تلك و او ثم بعد قبل عند بين له لها صورة
"""
FUNCTION_WORDS = {
    "en": ENGLISH_STOP_WORDS | {"image", "picture", "photo"},
    "ar": frozenset(ARABIC_FUNCTION_WORDS.split()),
}  # forms that captions of the same image may or may not use
ARABIC_FRONTS = ("وال", "فال", "بال", "كال", "لل", "ال")
OPPOSITE = {"female": "male", "male": "female"}
FORM = {"female": "female", "male": "male", UNMARKED: "male"}  # of the words, whomever a masculine is said of


class Reader:
    """Reads captions of one language; ``common`` are the words that say nothing of the image (``common_words``).

    ``source`` is asked what a caption says where it is known what the image shows; ``policy`` is what the generic
    masculine counts as (``core.words.generic.POLICIES``).
    """

    def __init__(
        self,
        lang: str,
        common: frozenset[str],
        lexicon: str | Path = "",
        source: Knowledge | None = None,
        policy: str = UNMARKED,
    ):
        self.lang, self.common, self.lexicon, self.source = lang, common, lexicon, source or Knowledge()
        self.policy = policy
        self.hits: Callable[[str], list[Hit]] = functools.lru_cache(100_000)(self._hits)
        self.content: Callable[[str], frozenset[str]] = functools.lru_cache(100_000)(self._content)

    def _hits(self, text: str) -> list[Hit]:
        return under(find(text, self.lang, self.lexicon), self.policy)

    def _content(self, text: str) -> frozenset[str]:
        """Stems of the words that say something of the image other than a gender."""
        found = find(text, self.lang, self.lexicon)  # whatever the policy, that a word agrees is no content
        gendered = [(h.start, h.end) for h in found if h.word_class != "role"]
        words = [w for w in split_words(text) if not any(a <= w.start < b for a, b in gendered)]
        stems = frozenset(stem(w.plain, self.lang) for w in words)
        return stems - self.common - FUNCTION_STEMS[self.lang]


def stem(word: str, lang: str) -> str:
    """A word without article, conjunction and feminine ending in Arabic, so that a role is one word for both genders.

    Crude: it serves only to compare captions of one image with each other.
    """
    if lang != "ar":
        return word
    for front in ARABIC_FRONTS:
        if word.startswith(front) and len(word) > len(front) + 2:
            word = word[len(front) :]
            break
    for ending in ("ة", "ه", "ي"):  # قاضية and قاض are one role
        if word.endswith(ending) and len(word) > 3:
            word = word[:-1]
    return word


FUNCTION_STEMS = {lang: frozenset(stem(plain(w), lang) for w in words) for lang, words in FUNCTION_WORDS.items()}


def common_words(texts: Sequence[str], lang: str, lexicon: str | Path = "") -> frozenset[str]:
    """Stems in more than COMMON of the texts."""
    bare = Reader(lang, frozenset(), lexicon)
    count = Counter(word for text in texts for word in bare.content(text))
    return frozenset(word for word, n in count.items() if n > COMMON * max(1, len(texts)))


def readers(run: Run, config: Config) -> dict[str, Reader]:
    """What reads the captions of a run, by language: its lexicons and policy, and which words are common in them."""
    own = run.table("captions", ["lang", "text"]).to_pandas()
    found = {}
    for lang in config.samples.languages:
        lexicon = getattr(config.words, f"lexicon_{lang}")
        common = common_words(own.loc[own["lang"] == lang, "text"].tolist(), lang, lexicon)
        found[lang] = Reader(lang, common, lexicon, knowledge(config.samples), config.words.generic_masculine)
    return found


def repeats(text: str) -> bool:
    """Whether REPEATED words in a row stand twice in a caption."""
    words = [w.plain for w in split_words(text)]
    runs = [tuple(words[i : i + REPEATED]) for i in range(len(words) - REPEATED + 1)]
    return len(set(runs)) < len(runs)


OUTCOMES = (
    "n_female",
    "n_male",
    "n_unmarked",
    "n_neutral",
    "named",
    "unchanged",
    "changed",
    "flipped",
    "unnamed",
    "content",
    "content_kept",
    "clean",
    "damaged",
    "repeats",
    "right_gender",
    "right_role",
    "right_object",
)


def outcomes(text: str, before: str, reader: Reader, truth: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One caption beside the unedited caption of the same image.

    ``changed``: its words are of another gender than before, or of none; ``flipped``: it names a woman where the words
    were masculine, or a man where they were feminine; ``unnamed``: it names neither where it named one, or has lost the
    generic masculine (all three NA where the unedited one has words of neither gender, or of both). Words count by
    their form: a generic masculine may become a feminine as any masculine may, and to become one is to lose a woman.
    ``content_kept`` of ``content`` words are still there; ``damaged``: fewer than KEPT of them, or it repeats itself;
    ``clean``: changed and not damaged. ``right_*`` against ``truth`` (gender, role and object, where the source knows
    them), else NA.
    """
    hits = reader.hits(text)
    count = Counter(hit.gender for hit in hits if decides(hit))
    named, was = caption_gender(hits), caption_gender(reader.hits(before))
    content = reader.content(before)
    kept = len(content & reader.content(text))
    damaged = kept < KEPT * len(content) or (repeats(text) and not repeats(before))
    asked = was in FORM
    changed = FORM.get(named) != FORM.get(was)
    nobody = {"neutral", "none"} if was == UNMARKED else {"neutral", "none", UNMARKED}
    return {
        **{f"n_{gender}": count[gender] for gender in ("female", "male", UNMARKED, "neutral")},
        "named": named,
        "unchanged": text == before,
        "changed": changed if asked else None,
        "flipped": named == OPPOSITE[FORM[was]] if asked else None,
        "unnamed": named in nobody if asked else None,
        "content": len(content),
        "content_kept": kept,
        "damaged": damaged,
        "clean": (changed and not damaged) if asked else None,
        "repeats": repeats(text),
        **_right(text, reader, truth),
    }


def _right(text: str, reader: Reader, truth: Mapping[str, Any] | None) -> dict[str, bool | None]:
    names: dict[str, bool | None] = {"right_gender": None, "right_role": None, "right_object": None}
    if truth is None:
        return names
    said = reader.source.said(text, reader.lang)
    if truth["gender"] in OPPOSITE:
        names["right_gender"] = said["gender"] == truth["gender"]
    names["right_role"] = said["role"] == truth["role"]
    names["right_object"] = said["object"] == truth["object"]
    return names


def term_counts(texts: Iterable[str], reader: Reader) -> Counter[tuple[str, str]]:
    """How many of the texts hold each gendered word, by (lemma, gender)."""
    return Counter(key for text in texts for key in {(h.lemma or h.word, h.gender) for h in reader.hits(text)})


class Measure:
    """A figure over captions: sum of one column over sum of another, times a unit."""

    def __init__(self, top: str, bottom: str, unit: float = 1.0):
        self.top, self.bottom, self.unit = top, bottom, unit

    def columns(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Numerator and denominator of each caption; both 0 where the caption is not asked about."""
        top = frame[self.top].astype("Float64")
        bottom = frame[self.bottom].astype("Float64") if self.bottom else top.notna().astype("Float64")
        asked = (top.notna() & bottom.notna()).to_numpy(bool)
        values = (c.fillna(0).to_numpy(float) for c in (top, bottom))
        first, second = (np.where(asked, v, 0.0) for v in values)
        return first * self.unit, second


MEASURES: dict[str, Measure] = {
    "clean": Measure("clean", ""),
    "changed": Measure("changed", ""),
    "flipped": Measure("flipped", ""),
    "unnamed": Measure("unnamed", ""),
    "damaged": Measure("damaged", ""),
    "repeats": Measure("repeats", ""),
    "unchanged": Measure("unchanged", ""),
    "content_kept": Measure("content_kept", "content"),
    "gendered": Measure("n_gendered", ""),
    "gendered_per_100": Measure("n_gendered", "n_tokens", 100.0),
    "female_per_100": Measure("n_female", "n_tokens", 100.0),
    "male_per_100": Measure("n_male", "n_tokens", 100.0),
    "neutral_per_100": Measure("n_neutral", "n_tokens", 100.0),
    "length": Measure("n_tokens", ""),
    "nats_per_token": Measure("nats", "n_tokens"),
    "right_gender": Measure("right_gender", ""),
    "right_role": Measure("right_role", ""),
    "right_object": Measure("right_object", ""),
}
PRIMARY = "clean"
"""Each figure by its name; shares of captions but for those named otherwise. ``nats_per_token`` is under the unedited
model; e to its power is the perplexity."""


def measured(captions: pd.DataFrame) -> pd.DataFrame:
    """The columns that figures are made of, added to rows of captions."""
    return captions.assign(n_gendered=captions["n_female"] + captions["n_male"], nats=-captions["log_prob"])

"""Search for features by meaning: in labels, in what the model says of them, in words they answer to or push.

1. The word that is asked for is folded (no case, no vowel signs). Asked for beside it are its shorter forms (طبيب for
   الطبيبة, doctor for doctors), because a token is often no more than that, and the words of the other language that
   stand in captions of the same images and in few others (phi, Yule 1912), so that doctor finds طبيب.
2. Every text of a feature that holds one of them counts by where it stands (``WEIGHTS``), by how far that field speaks
   for the feature, and by how well it fits: a whole word, its beginning, or a part.
3. A feature's score is the sum over its fields of the best fit in each; ``why`` names these.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from core.config import LANGUAGES
from core.frames import records
from core.run.reader.views import Tables

WEIGHTS = {"label": 4.0, "top_tokens": 2.0, "said": 1.5, "logits_up_tokens": 1.0}
NAMES = {
    "label": "label",
    "top_tokens": "answers to",
    "said": "the model says",
    "logits_up_tokens": "pushes",
}
WHOLE, BEGINNING, PART = 1.0, 0.7, 0.3
SHORTER = 0.7  # what a shorter form counts, beside the word that was asked for
MIN_PHI, MIN_IMAGES, MAX_TRANSLATIONS = 0.4, 3, 3
MAX_INDEXED = 4_000  # images whose captions are looked through for words of the other language
MAX_QUERY = 80  # characters
MIN_LETTERS = 3  # of a shorter form
FRONTS = ("وال", "بال", "كال", "فال", "ال", "لل")
ENDS = ("ات", "ين", "ون", "ان", "ها", "ه", "ة", "es", "s")


class Asked(NamedTuple):
    """A word to look for, folded, and what it counts."""

    word: str
    weight: float


def fold(said: str) -> str:
    """Letters as a search compares them: no case, no vowel signs or tatweel, أ إ آ as ا."""
    apart = unicodedata.normalize("NFKD", said.strip().casefold().replace("\u0640", ""))
    return "".join(c for c in apart if not unicodedata.combining(c))


def shorter(word: str) -> list[str]:
    """The folded word without an article before it, without an ending, and without both, where enough is left."""
    start = next((word[len(front) :] for front in FRONTS if word.startswith(front)), word)
    found = [form[: -len(end)] for form in (word, start) for end in ENDS if form.endswith(end)]
    return [form for form in dict.fromkeys([start, *found]) if form != word and len(form) >= MIN_LETTERS]


def fit(text: str, asked: Iterable[Asked]) -> float:
    """How well a folded text answers, 0 to 1: the best of the words asked for, whole, as a beginning, or within."""
    best = 0.0
    for word, weight in asked:
        at = text.find(word)
        while at >= 0 and best < weight:
            starts = at == 0 or not text[at - 1].isalnum()
            ends = at + len(word) == len(text) or not text[at + len(word)].isalnum()
            best = max(best, weight * (WHOLE if starts and ends else BEGINNING if starts else PART))
            at = text.find(word, at + 1)
    return best


class SearchQueries(Tables):
    """Features of all layers by meaning."""

    def search(self, query: str, layer: int | None = None, limit: int | None = 200) -> pd.DataFrame:
        """Living features that answer to ``query``, the best first: layer, feature, score and why.

        Ties by layer and number. Nothing for a query without a letter or digit; None for ``limit`` means all.
        """
        wanted = fold(query[:MAX_QUERY])
        if not any(c.isalnum() for c in wanted):
            return pd.DataFrame({"layer": [], "feature": [], "score": [], "why": []}).astype({"why": str})
        asked = self._asked(wanted)
        found = pd.concat([self._in_tokens(asked, layer), self._in_texts(asked, layer)], ignore_index=True)
        found = found.sort_values("score", ascending=False, kind="stable")
        best = found.groupby(["layer", "feature", "field"], sort=False).head(1)
        groups = best.groupby(["layer", "feature"])
        scores = groups.agg(score=("score", "sum"), why=("why", " · ".join)).reset_index()
        alive = self._query("SELECT layer, feature FROM features WHERE alive") if self.has("features") else scores
        scores = scores.merge(alive[["layer", "feature"]], on=["layer", "feature"])
        scores = scores.sort_values(["score", "layer", "feature"], ascending=[False, True, True], ignore_index=True)
        return scores if limit is None else scores.head(limit)

    def _asked(self, wanted: str) -> list[Asked]:
        """All that is looked for, each word once, with the most that it counts."""
        weights = {wanted: 1.0}
        for form in shorter(wanted):
            weights.setdefault(form, SHORTER)
        for form, weight in list(weights.items()):
            for word, phi in self.translations(form).items():
                weights.setdefault(word, weight * phi)
        return [Asked(word, weight) for word, weight in weights.items()]

    def translations(self, word: str) -> dict[str, float]:
        """Words, folded, of the other language in the captions of the images whose captions hold ``word``, best first.

        Each with phi, the correlation over images of standing there: at least MIN_PHI, and MIN_IMAGES images with both.
        """
        for lang in self.languages:
            rows = self._caption_words.get(lang)
            if rows is None or word not in rows[0] or len(self.languages) < 2:
                continue
            words, holds = rows
            here = holds[[words[word]]].toarray()[0]
            (other,) = (name for name in self.languages if name != lang)
            others, there = self._caption_words[other]
            both = there @ here
            n_images = np.union1d(holds.indices, there.indices).size
            n, n_here, n_there = float(n_images), float(here.sum()), there.sum(1).astype(float)
            spread = np.sqrt(n_here * (n - n_here) * n_there * (n - n_there))
            phi = np.where(spread > 0, (n * both - n_here * n_there) / np.maximum(spread, 1e-9), 0.0)
            order = np.argsort(-phi, kind="stable")[:MAX_TRANSLATIONS]
            names = list(others)
            return {names[i]: float(phi[i]) for i in order if phi[i] >= MIN_PHI and both[i] >= MIN_IMAGES}
        return {}

    @functools.cached_property
    def _caption_words(self) -> dict[str, tuple[dict[str, int], csr_array]]:
        """By language: the words of captions with their numbers, and which images hold them (n_words, n_images)."""
        tables = [name for name in ("captions", "references") if self.has(name)]
        found = {}
        for lang in LANGUAGES:
            texts = [
                self._query(
                    f'SELECT sample_id, text FROM "{name}" WHERE lang = $lang AND sample_id < $last',
                    {"lang": lang, "last": MAX_INDEXED},
                )
                for name in tables
                if self.columns(name)
            ]
            if not texts or not sum(map(len, texts)):
                continue
            numbers: dict[str, int] = {}
            pairs = set()
            for sample, text in pd.concat(texts).itertuples(index=False):
                for word in _split(text):
                    pairs.add((numbers.setdefault(word, len(numbers)), int(sample)))
            row, column = np.array(sorted(pairs)).T.reshape(2, -1)
            shape = (len(numbers), MAX_INDEXED)
            found[lang] = numbers, csr_array((np.ones(len(row), np.int32), (row, column)), shape=shape)
        return found

    def _in_tokens(self, asked: list[Asked], layer: int | None) -> pd.DataFrame:
        """What the words that features answer to or push say: layer, feature, field, score, why."""
        parts = [NOTHING]
        strengths = {"top_tokens": "top_token_values", "logits_up_tokens": "logits_up"}
        there = self.columns("features") if self.has("features") else []
        for field in strengths.keys() & set(there):
            known = self._query(f"SELECT DISTINCT unnest({field}) AS token FROM features")["token"]
            fits = {token: value for token in known if (value := fit(fold(token), asked)) > 0}
            if not fits:
                continue
            where = "alive" + ("" if layer is None else " AND layer = $layer")
            rows = self._query(
                f"""SELECT layer, feature, token, value / top AS share, place FROM (
                    SELECT layer, feature, unnest({field}) AS token, unnest({strengths[field]}) AS value,
                    unnest(range(len({field}))) + 1 AS place, list_max({strengths[field]}) AS top FROM features
                    WHERE {where} AND list_has_any({field}, $tokens))
                    WHERE list_contains($tokens, token) AND top > 0""",
                {"tokens": list(fits), **({} if layer is None else {"layer": int(layer)})},
            )
            fitting = rows["token"].map(fits).to_numpy(float)
            why = [
                f"{NAMES[field]} {shown.strip()} ({_place(int(place))})"
                for shown, place in zip(rows["token"], rows["place"], strict=True)
            ]
            parts.append(rows.assign(field=field, score=WEIGHTS[field] * fitting * rows["share"].clip(0, 1), why=why))
        return pd.concat(parts)[list(NOTHING)]

    def _in_texts(self, asked: list[Asked], layer: int | None) -> pd.DataFrame:
        """What labels and the model's own words for features say."""
        found: list[dict[str, Any]] = []
        one = {} if layer is None else {"layer": int(layer)}
        if self.has("labels"):
            rows = self.frame("labels", **one)
            for row in records(rows[rows["label"] != ""]):
                if value := fit(fold(row["label"]), asked):
                    speaks = max(2 * float(row["auc_test"]) - 1, 0.1)
                    why = f"{NAMES['label']} {row['label']} (AUC {row['auc_test']:.2f})"
                    found.append(_hit(row, "label", value * speaks, why))
        if self.has("explanations"):
            rows = self.frame("explanations", chosen=True, **one)
            for row in records(rows):
                if row["feature"] >= 0 and (value := fit(fold(row["text"]), asked)):
                    found.append(_hit(row, "said", value, f"{NAMES['said']} “{row['text']}”"))
        return pd.DataFrame(found, columns=list(NOTHING)) if found else NOTHING


NOTHING = pd.DataFrame({"layer": [], "feature": [], "field": [], "score": [], "why": []}).astype(
    {"layer": "int64", "feature": "int64", "field": str, "score": float, "why": str}
)


def _hit(row: dict[str, Any], field: str, value: float, why: str) -> dict[str, Any]:
    return {
        "layer": int(row["layer"]),
        "feature": int(row["feature"]),
        "field": field,
        "score": WEIGHTS[field] * value,
        "why": why,
    }


def _place(place: int) -> str:
    """1st, 2nd, 3rd, 4th, …"""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th") if place % 100 not in (11, 12, 13) else "th"
    return f"{place}{ending}"


def _split(text: str) -> set[str]:
    """The words of a text, folded."""
    spaced = "".join(c if c.isalnum() else " " for c in fold(text or ""))
    return set(spaced.split())

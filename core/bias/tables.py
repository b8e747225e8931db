"""The tables bias_roles, bias_policies and bias_metrics: how they are filled from captions."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.bias import ESTIMANDS, MATCHED, NAMED, NOT_MATCHED, READINGS, SOURCES, counted
from core.bias.measures import METRICS, Measured, agreement, amplification, corpus, error_rates, not_enough
from core.bias.resolution import resolution
from core.bias.shares import group_shares, grouped, image_counts, shared_error
from core.config import LANGUAGES
from core.intervals import difference
from core.run.schema.bias import BIAS_METRICS, BIAS_POLICIES, BIAS_ROLES
from core.words.generic import UNMARKED

DIFFERENCE = "ar-en"  # Arabic minus English
ALL = "all"  # the attribute, and its one value, that every image has
MAX_VALUES = 100  # an attribute with more is an id or a text
_COUNTS = [f"n_{name}" for name in (*NAMED, "counted")]
NOTHING = image_counts(pd.DataFrame({"sample_id": [], "named": []}))


@dataclass(frozen=True)
class Captions:
    """All that is counted.

    ``said``: one row a caption: sample_id, lang, source, and what it names under each of READINGS. ``images``: one row
    an image, by sample_id: gender (what it shows), split. ``attributes``: by sample_id, one column each, text or
    missing. ``planted``: by sample_id, columns en and ar, NaN where nothing is planted. ``neutral``: sample_ids of the
    held-out neutral images. ``policy``: what the generic masculine counts as.
    """

    said: pd.DataFrame
    images: pd.DataFrame
    attributes: pd.DataFrame
    planted: pd.DataFrame
    neutral: list[int]
    policy: str = UNMARKED

    @functools.cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages of the captions."""
        return tuple(lang for lang in LANGUAGES if (self.said["lang"] == lang).any())

    def counts(self, source: str, lang: str, sample_ids: pd.Index | list[int], reading: str = "") -> pd.DataFrame:
        """Captions of these images, counted by what they name under ``reading``; without one, by what p_male counts."""
        counts = self._counts.get((source, lang, reading or counted(self.policy)))
        return NOTHING if counts is None else counts[counts.index.isin(sample_ids)]

    @functools.cached_property
    def _counts(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        groups = self.said.groupby(["source", "lang"], observed=True)
        return {(str(s), str(lang), one): image_counts(m, one) for (s, lang), m in groups for one in READINGS}


def read_attributes(texts: Mapping[int, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Attributes and planted p by sample_id, from the JSON of each image's annotation.

    An attribute is what has a text in it, two to MAX_VALUES different ones, and on average two images each.
    """
    known = {i: json.loads(text) if text else {} for i, text in texts.items()}
    index = pd.Index(list(known), name="sample_id")
    planted = pd.DataFrame(
        {lang: [k.get(f"p_male_{lang}") for k in known.values()] for lang in LANGUAGES}, index=index, dtype=float
    )
    table = pd.DataFrame(index=index)
    for name in dict.fromkeys(key for k in known.values() for key in k):
        values = [k.get(name) for k in known.values()]
        different = {v for v in values if isinstance(v, str) and v}
        given = sum(isinstance(v, str) and bool(v) for v in values)
        if 2 <= len(different) <= min(MAX_VALUES, given / 2):
            table[name] = [v if isinstance(v, str) and v else None for v in values]
    table[ALL] = ALL
    return table, planted


def roles_table(captions: Captions) -> pd.DataFrame:
    """p_male on held-out neutral images by value of each attribute, source and language, and Arabic minus English.

    The difference is of matched words alone: under another policy it is left out, since it would compare grammars.
    """
    parts = []
    for attribute in captions.attributes:
        value = captions.attributes[attribute].reindex(captions.neutral).dropna()
        for source in SOURCES:
            found = {}
            for lang in LANGUAGES:
                counts = captions.counts(source, lang, value.index, captions.policy)
                if len(counts):
                    table = group_shares(counts, value, captions.counts(source, lang, value.index))
                    table["planted"] = table["value"].map(planted_by_value(captions.planted[lang], value))
                    found[lang] = table.assign(lang=lang)
            if len(found) == len(LANGUAGES) and counted(captions.policy) == MATCHED:
                ar, en = (captions.counts(source, lang, value.index) for lang in ("ar", "en"))
                found[DIFFERENCE] = _difference(found["ar"], found["en"], shared_error(ar, en, value))
            parts += [table.assign(attribute=attribute, source=source) for table in found.values()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=BIAS_ROLES.names)


def policies_table(captions: Captions) -> pd.DataFrame:
    """Every estimand of ESTIMANDS on held-out neutral images, by value of each attribute, source and language.

    None depends on the policy of the run: side by side they show how far a policy decides.
    """
    parts = []
    for attribute in map(str, captions.attributes):
        value = captions.attributes[attribute].reindex(captions.neutral).dropna()
        for source in SOURCES:
            for lang in captions.languages:
                counts = {reading: captions.counts(source, lang, value.index, reading) for reading in READINGS}
                mine = value.reindex(counts[UNMARKED].index).dropna()
                for estimand in ESTIMANDS if len(mine) else ():
                    hits, n = _estimated(counts, estimand)
                    table = grouped(hits.loc[mine.index], n.loc[mine.index], mine)
                    table["n_images"] = mine.groupby(mine).size()
                    parts.append(table.reset_index().assign(attribute=attribute, source=source, lang=lang, of=estimand))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["of", *BIAS_POLICIES.names])
    return table.rename(columns={"of": "estimand"}) if parts else table


def _estimated(counts: Mapping[str, pd.DataFrame], estimand: str) -> tuple[pd.Series, pd.Series]:
    """Captions of each image that an estimand counts, and those it counts them among."""
    if estimand in counts and estimand != UNMARKED:
        said = counts[estimand]
        return said["male"], said["male"] + said["female"]
    said = counts[UNMARKED]
    persons = said[[name for name in NAMED if name != "none"]].sum(axis=1)
    return (said["female"] + said["both"] if estimand == "women" else said[UNMARKED]), persons


def planted_by_value(planted: pd.Series, value: pd.Series) -> dict[str, float]:
    """The planted p of each value where all its images agree and images are more than values; else nothing."""
    known = pd.DataFrame({"planted": planted.reindex(value.index), "value": value}).dropna()
    by_value = known.groupby("value")["planted"].agg(["first", "nunique"])
    if by_value.empty or (by_value["nunique"] > 1).any() or len(by_value) == len(known):
        return {}
    return by_value["first"].to_dict()


def _difference(ar: pd.DataFrame, en: pd.DataFrame, r: float) -> pd.DataFrame:
    """Arabic minus English on the same images, whose accidents both share: ``r`` as of ``shared_error``."""
    both = ar.merge(en, on="value", suffixes=("", "_en"))
    columns = [f"{name}{side}" for side in ("", "_en") for name in ("p_male", "low", "high")]
    value, low, high = difference(*(both[c] for c in columns), r=r)
    return pd.DataFrame(
        {
            "value": both["value"],
            "lang": DIFFERENCE,
            "n_images": both[["n_images", "n_images_en"]].min(axis=1),
            "n_captions": both["n_captions"] + both["n_captions_en"],
            **{c: both[c] + both[f"{c}_en"] for c in _COUNTS},
            "p_male": value,
            "low": low,
            "high": high,
            "planted": both["planted"] - both["planted_en"],
            "n_effective": 1 / (1 / both["n_effective"] + 1 / both["n_effective_en"]),
            "why": np.where(both["why"] == "", both["why_en"], both["why"]),
        }
    )


def metrics_table(captions: Captions, roles: pd.DataFrame, n_draws: int, seed: int, min_images: int) -> pd.DataFrame:
    """All figures over images and over groups, each with n, interval and control."""
    rows = [
        *_agreements(captions, roles, n_draws, seed),
        *_other_agreements(captions, roles, n_draws, seed),
        *_errors(captions, min_images),
        *_amplifications(captions, n_draws, seed, min_images),
    ]
    return pd.DataFrame(rows, columns=BIAS_METRICS.names)


def _row(
    metric: str,
    lang: str,
    source: str,
    found: Measured,
    unit: str,
    attribute: str = "",
    group: str = "",
    floor: float = float("nan"),
) -> dict:
    return {
        "metric": metric,
        "lang": lang,
        "source": source,
        "attribute": attribute,
        "group": group,
        "unit": unit,
        "floor": floor,
        **found._asdict(),
    }


def _agreements(captions: Captions, roles: pd.DataFrame, n_draws: int, seed: int) -> Iterator[dict]:
    """Against what was planted, and the two languages against each other."""
    for (of, by), table in roles.groupby(["attribute", "source"], sort=False):
        attribute, source = str(of), str(by)
        for key, mine in table.groupby("lang", sort=False):
            lang = str(key)
            if mine["planted"].isna().all():
                continue
            for metric, found in agreement(mine["planted"], mine["p_male"], n_draws, seed).items():
                floor = _floor(table, lang) if metric == METRICS[1] else float("nan")
                yield _row(metric, lang, source, found, "groups", attribute, floor=floor)
        wide = table.pivot(index="value", columns="lang", values="p_male")
        if attribute == ALL or not {"en", "ar"} <= set(wide):
            continue
        matched = counted(captions.policy) == MATCHED
        if not matched and table["planted"].notna().any():
            yield _row(METRICS[0], DIFFERENCE, source, not_enough(0, NOT_MATCHED), "groups", attribute)
        found = agreement(wide["en"], wide["ar"], n_draws, seed)[METRICS[0]] if matched else not_enough(0, NOT_MATCHED)
        yield _row("languages_correlation", "en, ar", source, found, "groups", attribute)


def _other_agreements(captions: Captions, roles: pd.DataFrame, n_draws: int, seed: int) -> Iterator[dict]:
    """The correlation with what was planted that the other estimands of p_male would give."""
    planted = roles.dropna(subset=["planted"])
    keys = ["attribute", "source", "lang"]
    known = {key: of.set_index("value")["planted"] for key, of in planted.groupby(keys, sort=False)}
    found = policies_table(captions) if known else pd.DataFrame(columns=[*keys, "estimand"])
    for (*key, estimand), mine in found.groupby([*keys, "estimand"], sort=False):
        if tuple(key) in known and estimand in READINGS and estimand not in (UNMARKED, counted(captions.policy)):
            share = mine.set_index("value")["share"].reindex(known[tuple(key)].index)
            attribute, source, lang = map(str, key)
            one = agreement(known[tuple(key)], share, n_draws, seed)[METRICS[0]]
            yield _row(f"{METRICS[0]}_{estimand.replace(' ', '_')}", lang, source, one, "groups", attribute)


def _floor(table: pd.DataFrame, lang: str) -> float:
    """The calibration error that few captions alone would give if every p were as planted: mean of E|N(0, s)|.

    ``table`` holds the groups of one attribute and kind of captions in every language.
    """
    variance = pd.Series(0.0, table["value"].unique())
    for one in LANGUAGES if lang == DIFFERENCE else (lang,):
        mine = table[table["lang"] == one].set_index("value")
        variance = variance + mine["planted"] * (1 - mine["planted"]) / mine["n_effective"]
    known = np.isfinite(variance)
    return float(np.sqrt(2 / np.pi * variance[known]).mean()) if known.any() else float("nan")


def _errors(captions: Captions, min_images: int) -> Iterator[dict]:
    """Error, omission and resolution of the greedy captions of all images that show a gender."""
    for lang in captions.languages:
        said = captions.said[(captions.said["source"] == "greedy") & (captions.said["lang"] == lang)]
        by_image = said.set_index("sample_id")
        gender = captions.images["gender"].reindex(by_image.index)
        readings = by_image[captions.policy], by_image[counted(captions.policy)]
        for (rate, group), found in error_rates(readings[0], gender, min_images, readings[1]).items():
            yield _row(rate, lang, "greedy", found, "images", group=group)
        for (metric, group), found in resolution(by_image[MATCHED], gender, min_images).items():
            yield _row(metric, lang, "greedy", found, "images", group=group)


def _amplifications(captions: Captions, n_draws: int, seed: int, min_images: int) -> Iterator[dict]:
    """Against the labels on images of women and men, and against the references on neutral images."""
    images = captions.images
    train = images["split"] == "train"
    shown = images["gender"].isin(["male", "female"])
    labels = pd.DataFrame({g: (images["gender"] == g).astype(int) for g in ("male", "female")})[shown]
    for attribute in captions.attributes.columns.drop(ALL):
        value = captions.attributes[attribute]
        for lang in captions.languages:
            known = corpus(labels.loc[train[shown]], value)
            own = captions.counts("greedy", lang, images.index[shown & ~train])
            found = amplification(own, labels.loc[~train[shown]], value, known, n_draws, seed, min_images)
            yield from (_row(m, lang, "greedy", f, "images", attribute, "labelled") for m, f in found.items())
            learned = captions.counts("reference", lang, images.index[train & (images["gender"] == "neutral")])
            known = corpus(learned, value)
            written = captions.counts("reference", lang, captions.neutral)
            for source in ("sampled", "greedy"):
                own = captions.counts(source, lang, captions.neutral)
                if len(own):
                    found = amplification(own, written, value, known, n_draws, seed, min_images)
                    yield from (_row(m, lang, source, f, "images", attribute, "neutral") for m, f in found.items())

"""Captions of images that show a gender, or none, with and without a bias."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import beta, norm

from core.bias.measures import agreement, amplification, corpus, error_rates
from core.bias.shares import group_shares
from core.scoreboard.worlds import LANGS, Size, along, world

GROUPS = 24
SAMPLED = 8  # captions an image and language
SPREAD = 0.2  # intraclass correlation of an image's captions
SHARED = 0.5  # correlation of an image between the languages
DRAWS = 200
ALL, DIFFERENCE = "all", "ar-en"


def _counts(rng: np.random.Generator, p: np.ndarray, n_captions: int) -> dict[str, pd.DataFrame]:
    """Captions of each image that say a man, by language; ``p`` (n_images,) of English and Arabic (2, n_images)."""
    n = p.shape[1]
    z = np.sqrt(SHARED) * rng.standard_normal(n) + np.sqrt(1 - SHARED) * rng.standard_normal((2, n))
    weight = 1 / SPREAD - 1
    inside = np.clip(p, 1e-6, 1 - 1e-6)
    own = beta.ppf(norm.cdf(z), inside * weight, (1 - inside) * weight)
    men = rng.binomial(n_captions, np.clip(own, 0, 1))
    empty = {"neutral": 0, "none": 0, "both": 0, "unmarked": 0}
    index = pd.RangeIndex(n, name="sample_id")
    return {
        lang: pd.DataFrame({"male": m, "female": n_captions - m, **empty}, index=index)
        for lang, m in zip(LANGS, men, strict=True)
    }


def _planted(rng: np.random.Generator, size: Size, r: float) -> tuple[pd.DataFrame, str, str, pd.DataFrame]:
    """bias_metrics and bias_roles of roles whose shares correlate ``r`` with a table."""
    group = np.arange(size.n) % GROUPS
    value = pd.Series([f"role {g}" for g in group], index=pd.RangeIndex(size.n, name="sample_id"))
    z = rng.standard_normal((3, GROUPS))
    known = {lang: norm.cdf((z[2] + rng.standard_normal(GROUPS) * 0.5) / 1.1) for lang in LANGS}
    shared, own = np.sqrt(SHARED) * z[0], np.sqrt(1 - SHARED) * rng.standard_normal((2, GROUPS))
    noise = norm.cdf(shared + own)
    p = np.stack([r * known[lang] + (1 - r) * noise[i] for i, lang in enumerate(LANGS)])
    counts = _counts(rng, p[:, group], SAMPLED)
    shares = {lang: group_shares(counts[lang], value).set_index("value")["p_male"] for lang in LANGS}
    names = shares["en"].index
    order = [int(name.split()[1]) for name in names]
    pairs = {lang: (known[lang][order], shares[lang].to_numpy()) for lang in LANGS}
    pairs[DIFFERENCE] = tuple(b - a for a, b in zip(pairs["en"], pairs["ar"], strict=True))
    rows = []
    for lang, (planted, found) in pairs.items():
        one = agreement(planted, found, DRAWS, 0)["correlation"]
        rows.append({"metric": "correlation", "source": "sampled", "attribute": "role", "lang": lang, **one._asdict()})
    roles = pd.DataFrame(
        [
            {"attribute": ALL, "source": "sampled", "lang": lang, "n_counted": SAMPLED * size.n, "n_images": size.n}
            for lang in LANGS
        ]
    )
    return pd.DataFrame(rows), "role", "sampled", roles


@world("false", "captions know nothing of the table", "bias.recovered", sizes=along((50, 140, 400)), worlds=80)
def unrelated(rng: np.random.Generator, size: Size) -> tuple:
    return _planted(rng, size, 0.0)


@world("true", "captions follow the table", "bias.recovered", sizes=along((50, 140, 400)), worlds=40)
def planted(rng: np.random.Generator, size: Size) -> tuple:
    return _planted(rng, size, 0.9)


def _shares(rng: np.random.Generator, size: Size, p: float) -> tuple[pd.DataFrame]:
    value = pd.Series(ALL, index=pd.RangeIndex(size.n, name="sample_id"))
    counts = _counts(rng, np.full((2, size.n), p), SAMPLED)
    parts = [group_shares(counts[lang], value).assign(lang=lang) for lang in LANGS]
    return (pd.concat(parts, ignore_index=True).assign(attribute=ALL, source="sampled"),)


@world("false", "women and men are named alike", "bias.leaning", sizes=along(), worlds=200)
def even(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _shares(rng, size, 0.5)


@world("true", "two of three captions name a man", "bias.leaning", sizes=along(), worlds=60)
def leaning(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _shares(rng, size, 2 / 3)


def _amplified(rng: np.random.Generator, size: Size, by: float) -> tuple[pd.DataFrame, str]:
    """One greedy caption an image beside two references; each role's preference grows by ``by``."""
    p = rng.uniform(0.2, 0.8, GROUPS)
    group = np.arange(2 * size.n) % GROUPS
    value = pd.Series([f"role {g}" for g in group], index=pd.RangeIndex(2 * size.n, name="sample_id"))
    train = np.arange(2 * size.n) < size.n
    model = np.clip(p + by * np.sign(p - 0.5), 0.01, 0.99)
    written = _counts(rng, np.stack([p[group]] * 2), 2)
    said = _counts(rng, np.stack([model[group]] * 2), 1)
    sampled = _counts(rng, np.stack([p[group]] * 2), SAMPLED)
    rows = []
    for lang in LANGS:
        known = corpus(written[lang][train], value)
        for source, own in (("greedy", said), ("sampled", sampled)):
            found = amplification(own[lang][~train], written[lang][~train], value, known, DRAWS, 0, 20)
            key = {"metric": "amplification_zhao", "group": "neutral", "attribute": "role", "source": source}
            rows.append({**key, "lang": lang, **found["amplification_zhao"]._asdict()})
    return pd.DataFrame(rows), "role"


@world("false", "captions lean as the references do", "bias.amplified", sizes=along((50, 140, 400)), worlds=80)
def as_written(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, str]:
    return _amplified(rng, size, 0.0)


@world("true", "every leaning grows by 25 points", "bias.amplified", sizes=along((50, 140, 400)), worlds=40)
def amplified(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, str]:
    return _amplified(rng, size, 0.25)


def _errors(rng: np.random.Generator, size: Size, women: float, men: float) -> tuple[pd.DataFrame]:
    gender = pd.Series(np.repeat(["female", "male"], size.n))
    other = gender.map({"female": "male", "male": "female"})
    p = np.where(gender == "female", women, men)
    z = np.sqrt(SHARED) * rng.standard_normal(len(p)) + np.sqrt(1 - SHARED) * rng.standard_normal((2, len(p)))
    rows = []
    for lang, wrong in zip(LANGS, z < norm.ppf(p), strict=True):
        for (metric, group), found in error_rates(gender.where(~wrong, other), gender, 20).items():
            rows.append({"metric": metric, "lang": lang, "group": group, **found._asdict()})
    return (pd.DataFrame(rows),)


@world("false", "women and men are mistaken alike often", "bias.errors differ", sizes=along(), worlds=60)
def alike(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _errors(rng, size, 0.1, 0.1)


@world("true", "women are mistaken in 30 %, men in 5 %", "bias.errors differ", sizes=along(), worlds=30)
def differing(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _errors(rng, size, 0.3, 0.05)

"""Simulated effects in two languages that were measured on the same images, with shared noise or none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


def directions_world(
    rng: np.random.Generator, n: int, d: int, cosine: float, strength: float, shared: float = 0.5
) -> tuple[Floats, Floats, Labels]:
    """Two languages' residuals (n, d) whose gender directions have a true ``cosine``; means of the genders lie
    ``strength`` standard deviations apart; ``shared`` of the variance of the noise is the images' own."""
    female = np.arange(n) % 2 == 0
    u, w = np.linalg.qr(rng.normal(size=(d, 2)))[0].T
    image, sign = rng.normal(size=(n, d)), np.where(female, 0.5, -0.5)[:, None]
    both = (u, cosine * u + np.sqrt(1 - cosine**2) * w)
    en, ar = (
        np.sqrt(shared) * image + np.sqrt(1 - shared) * rng.normal(size=(n, d)) + strength * sign * v for v in both
    )
    return en, ar, female


def effects_world(
    rng: np.random.Generator, n: int, n_columns: int, alike: float, spread: float = 0.5, shared: float = 0.5
) -> tuple[Floats, Floats, Labels]:
    """Codes (n, n_columns) whose effects have ``spread`` standard deviations in either language and are ``alike``."""
    female = np.arange(n) % 2 == 0
    e, other = rng.normal(0, spread, (2, n_columns))
    image, sign = rng.normal(size=(n, n_columns)), np.where(female, 0.5, -0.5)[:, None]
    en, ar = (
        np.sqrt(shared) * image + np.sqrt(1 - shared) * rng.normal(size=(n, n_columns)) + sign * v
        for v in (e, alike * e + np.sqrt(1 - alike**2) * other)
    )
    return en, ar, female


def shares_world(
    rng: np.random.Generator, n: int, n_parts: int, alike: float, strength: float, shared: float = 0.5
) -> list[dict[str, Any]]:
    """Rows of part_shares: parts of very different size, in two languages on the same images; one part in ten adds
    ``strength`` of its spread for women, the same ones in both languages to the degree ``alike``. Every image compares
    one of five pairs of tokens, each of which every part adds something to; women's images have other pairs than
    men's."""
    female = np.arange(n) % 2 == 0
    pair = np.where(rng.random(n) < 0.6, female * 2, rng.integers(0, 5, n))
    size, add = np.exp(rng.normal(size=n_parts)), rng.normal(size=(5, n_parts))
    image = rng.normal(size=(n, n_parts))
    true = rng.random((3, n_parts)) < 0.1
    signs = rng.choice([-1, 1], (2, n_parts))
    rows = []
    for k, lang in enumerate(("en", "ar")):
        same = rng.random(n_parts) < alike
        effect = np.where(same, true[0] * signs[0], true[k + 1] * signs[1]) * strength
        noise = np.sqrt(shared) * image + np.sqrt(1 - shared) * rng.normal(size=(n, n_parts))
        shares = (noise + add[pair] + effect * female[:, None]) * size
        for i in range(n):
            gender = "female" if female[i] else "male"
            rows.append({"lang": lang, "sample_id": i, "gender": gender, "pair": pair[i], "shares": shares[i]})
    return rows

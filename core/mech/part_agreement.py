"""Whether the same heads and MLPs carry gender into the words of both languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from core.agreement import agreement
from core.config import Config

Rows = list[dict[str, Any]]
GROUPS = {"all": ("head", "mlp"), "head": ("head",), "mlp": ("mlp",)}
FEWEST = 8  # parts
SHUFFLE_STREAM = 11


def rows(head_effects: Sequence[dict[str, Any]], part_shares: Sequence[dict[str, Any]], config: Config) -> Rows:
    """Rows of part_agreement, one a group of parts; none for a run in one language.

    Over the images that have a caption with a gendered word in both languages, training ones too, for no part is chosen
    here. Effects are those within captions that compare the same two tokens, in each language.
    """
    if len(config.samples.languages) < 2:
        return []
    by = {lang: {r["sample_id"]: r for r in part_shares if r["lang"] == lang} for lang in ("en", "ar")}
    both = sorted(set(by["en"]) & set(by["ar"]))
    female = np.array([by["en"][i]["gender"] == "female" for i in both], bool)
    least = config.mechanisms.min_images
    n = {"n_female": int(female.sum()), "n_male": int((~female).sum())}
    why = next((r["why"] for r in head_effects if r["why"]), "")
    if not why and min(n.values()) < least:
        why = f"{n['n_female']} images of women and {n['n_male']} of men have both captions; {least} are needed"
    listed = [r["part"] for r in head_effects if r["lang"] == "en" and r["part"] in GROUPS["all"]]
    found: Rows = []
    for group, kinds in GROUPS.items():
        inside = np.array([part in kinds for part in listed], bool)
        row = {"parts": group, "n_parts": int(inside.sum()), **n, "why": why}
        if not why and inside.sum() < FEWEST:
            row["why"] = f"{inside.sum()} parts; {FEWEST} are needed"
        if not row["why"]:
            en, ar = ([by[lang][i] for i in both] for lang in ("en", "ar"))
            shares = [np.array([r["shares"] for r in side])[:, inside] for side in (en, ar)]
            pairs = np.array([r["pair"] for r in en]), np.array([r["pair"] for r in ar])
            key = [config.seed, SHUFFLE_STREAM]
            row |= asdict(agreement(shares[0], shares[1], female, "correlation", key, pairs))
        found.append(row)
    return found

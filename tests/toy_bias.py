"""Captions made up for the bias of which everything is known, and the tables that the page about it reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from core.bias import NAMED, READINGS
from core.bias.tables import Captions, metrics_table, policies_table, roles_table
from core.run import Run
from core.run.schema.bias import BIAS_METRICS, BIAS_POLICIES, BIAS_ROLES
from tests.toy_run import add_record

P = {"en": (0.1, 0.3, 0.5, 0.7, 0.9) * 2, "ar": (0.5, 0.9, 0.1, 0.7, 0.3, 0.9, 0.1, 0.5, 0.3, 0.7)}
ROLES = tuple(f"role {i}" for i in range(10))


def toy_captions(
    n: int = 900,
    n_draws: int = 8,
    seed: int = 0,
    belief: str = "planted",
    wrong: float = 0.0,
    omitted: float = 0.1,
    spread: float = 0.0,
) -> Captions:
    """A world of ten roles and a captioner.

    ``belief`` on neutral images: "planted", "even" (0.5), or "rule" (always the likelier gender). ``wrong`` and
    ``omitted`` are shares on images of women and men; ``spread`` lets images of a role differ in their own p.
    """
    rng = np.random.default_rng(seed)
    gender = rng.choice(["male", "female", "neutral"], size=n, p=[0.25, 0.25, 0.5])
    role, style = rng.integers(len(ROLES), size=n), rng.choice(["a", "b"], size=n)
    split = np.where(np.arange(n) % 2, "test", "train")
    rows: list[tuple[int, str, str, str]] = []
    neutral = [i for i in range(n) if gender[i] == "neutral" and split[i] == "test"]
    for i in range(n):
        for lang, table in P.items():
            planted = table[role[i]]
            p = {"planted": planted, "even": 0.5, "rule": float(planted > 0.5)}[belief]
            if spread:
                p = float(rng.beta(p * (1 / spread - 1) + 1e-9, (1 - p) * (1 / spread - 1) + 1e-9))
            if gender[i] == "neutral":
                rows += [(i, lang, "reference", _coin(rng, planted)) for _ in range(5)]
                rows.append((i, lang, "greedy", _coin(rng, p)))
                if split[i] == "test":
                    rows += [(i, lang, "sampled", _coin(rng, p)) for _ in range(n_draws)]
            else:
                other = {"male": "female", "female": "male"}[gender[i]]
                said = rng.choice([other, "none", gender[i]], p=[wrong, omitted, 1 - wrong - omitted])
                rows.append((i, lang, "greedy", str(said)))
    index = pd.RangeIndex(n, name="sample_id")
    return Captions(
        read_alike(pd.DataFrame(rows, columns=["sample_id", "lang", "source", "named"])),
        pd.DataFrame({"gender": gender, "split": split}, index=index),
        pd.DataFrame({"role": [ROLES[r] for r in role], "style": style, "all": "all"}, index=index),
        pd.DataFrame({lang: [table[r] for r in role] for lang, table in P.items()}, index=index),
        neutral,
    )


def read_alike(said: pd.DataFrame) -> pd.DataFrame:
    """Captions without a generic masculine: every reading names the same."""
    return said.drop(columns="named").assign(**dict.fromkeys(READINGS, said["named"]))


def _coin(rng: np.random.Generator, p: float) -> str:
    return "male" if rng.random() < p else "female"


def unplanted(captions: Captions) -> Captions:
    """The same without a known answer, as on photographs."""
    return replace(captions, planted=captions.planted * float("nan"))


def add_toy_bias(run: Run, captions: Captions | None = None) -> Run:
    """Write the tables of the stage bias into a toy run, and its record."""
    captions = toy_captions() if captions is None else captions
    roles = roles_table(captions)
    metrics = metrics_table(captions, roles, 60, 0, 20)
    assert set(captions.said[captions.policy]) <= set(NAMED)
    BIAS_ROLES.write(run, BIAS_ROLES.of_frame(roles))
    BIAS_POLICIES.write(run, BIAS_POLICIES.of_frame(policies_table(captions)))
    BIAS_METRICS.write(run, BIAS_METRICS.of_frame(metrics))
    add_record(run, "bias", len(roles))
    return run

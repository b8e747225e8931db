"""Which areas of each image are hidden, and what is counted of the captions: person, object, background, random areas.

Windows of one shape ask where in the picture gender comes from, at the same size everywhere; whole kinds show what an
image's person or object does altogether. Each stands beside random areas of its size and shape on the same image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from core.config import HidingConfig
from core.intervals import MIN_VARIED, clopper_pearson, mean_interval, mean_p, paired_shares
from core.interventions.areas import Area, Shares, area_of, moved, windows
from core.interventions.outcomes import Reader, outcomes
from core.run.schema.hiding import HIDING

WINDOW, WHOLE = "window", "whole"
KINDS = ("person", "object", "background")
RANDOM, NOTHING = "random", "none"
OUTCOMES = ("changed", "flipped", "unnamed", "damaged")
PAIRS = (("person", "object"), ("person", "background"), ("object", "background"), *((kind, RANDOM) for kind in KINDS))
MIN_IMAGES = 20  # below which nothing is concluded


@dataclass(frozen=True)
class Ask:
    """A caption that is asked for; the columns of hiding_captions that say what is hidden."""

    filling: str
    shape: str
    area: str
    patches: Area
    of: str = ""
    draw: int = -1


def asks(shares: Shares, grid: tuple[int, int], n_random: int, example: bool, seed: list[int]) -> list[Ask]:
    """What is hidden of one image, nothing first; [] where its windows are not known (``windows``).

    All areas by the mean; by zero and in the picture's pixels too, without random ones. An ``example`` has random areas
    for each whole kind.
    """
    rectangles = windows(shares, grid, seed)
    if not rectangles:
        return []
    found = [Ask("mean", "", NOTHING, ())]
    for shape, areas in ((WINDOW, rectangles), (WHOLE, {kind: area_of(shares, kind) for kind in KINDS})):
        own = [Ask("mean", shape, kind, area) for kind, area in areas.items()]
        found += own + [replace(ask, filling=filling) for filling in ("zero", "pixels") for ask in own]
        beside = KINDS if example and shape == WHOLE else ("person",)  # windows are all of one shape
        for kind in beside:
            places = moved(areas[kind], grid, n_random, [*seed, len(areas[kind])])
            found += [Ask("mean", shape, RANDOM, place, kind, draw) for draw, place in enumerate(places)]
    return found


def planned(config: HidingConfig, n_test: int) -> tuple[int, int]:
    """(images, captions a language) at most, before it is known where their areas are."""
    n = min(config.n_images, n_test)
    shown = min(config.n_examples, n)
    plain = 1 + 3 * 2 * len(KINDS)  # nothing hidden; three fillings, windows and whole kinds
    random = 2 * config.n_random * (n - shown) + (1 + len(KINDS)) * config.n_example_random * shown
    return n, n * plain + random


def rows_of(
    sample_id: int, lang: str, asked: Sequence[Ask], texts: Sequence[tuple[str, bool]], reader: Reader
) -> list[dict[str, Any]]:
    """Rows of hiding_captions of one image and language: ``texts`` are captions and whether they ended."""
    before = texts[0][0]
    rows = []
    for ask, (text, finished) in zip(asked, texts, strict=True):
        said = outcomes(text, before, reader)
        kept = {name: said[name] for name in ("named", "unchanged", *OUTCOMES)}
        rows.append({"sample_id": sample_id, "lang": lang, **asdict(ask), "text": text, "finished": finished, **kept})
    return rows


def hiding_table(captions: pd.DataFrame) -> pd.DataFrame:
    """Rows of hiding from rows of hiding_captions."""
    rows: list[dict[str, Any]] = []
    hidden = captions[captions["area"] != NOTHING].assign(size=captions["patches"].map(len))
    for (lang, filling, shape), part in hidden.groupby(["lang", "filling", "shape"], sort=True):
        own = part[part["area"] != RANDOM]
        sizes = own.groupby("area")["size"].mean()
        for outcome in OUTCOMES:
            by = own.pivot(index="sample_id", columns="area", values=outcome).astype("Float64")
            random = part[part["area"] == RANDOM].assign(value=part[outcome].astype("Float64"))
            drawn = random.pivot_table(index="sample_id", columns="of", values="value", aggfunc="mean", dropna=False)
            for first, against in PAIRS:
                # windows are of one shape, so that the person's random places are those of all
                of = "person" if shape == WINDOW else first
                others = drawn[of] if against == RANDOM and of in drawn else by.get(against)
                if against == RANDOM and of not in drawn:
                    continue
                key = {"lang": lang, "filling": filling, "shape": shape, "area": first, "against": against}
                found = compared(by[first], others)
                rows.append({**key, "outcome": outcome, "patches": float(sizes[first]), **found})
    return pd.DataFrame(rows, columns=HIDING.names)


def compared(first: Any, other: Any) -> dict[str, Any]:
    """Share of images of ``first`` (1, 0 or NA, by image) less that of ``other`` (of draws their mean), paired."""
    both = pd.concat([first, other], axis=1, keys=["a", "b"]).dropna().astype(float)
    a, b = both["a"].to_numpy(), both["b"].to_numpy()
    n = len(both)
    none = float("nan")
    found: dict[str, Any] = {"n_images": n, "share": a.mean() if n else none, "other": b.mean() if n else none}
    found |= {"difference": found["share"] - found["other"], "why": ""}
    found |= dict.fromkeys(("share_low", "share_high", "difference_low", "difference_high", "p"), none)
    if n < MIN_IMAGES:
        return found | {"why": f"{n} images; {MIN_IMAGES} are needed"}
    found["share_low"], found["share_high"] = (float(x) for x in clopper_pearson(a.sum(), n))
    if np.isin(b, (0.0, 1.0)).all():
        only_a, only_b = int(((a > 0) & (b == 0)).sum()), int(((a == 0) & (b > 0)).sum())
        _, low, high, p = paired_shares(only_a, only_b, int(((a > 0) & (b > 0)).sum()), n)
    else:
        _, low, high = (float(x) for x in mean_interval(a - b))
        p = float(mean_p(a - b))
    if np.isnan(low):
        return found | {"why": f"they differ on fewer than {MIN_VARIED} images"}
    return found | {"difference_low": low, "difference_high": high, "p": p}


@dataclass(frozen=True)
class OfRandom:
    """How many of an area's random places change the gendered word, with the exact 95 % interval of their share."""

    n: int
    changed: int
    low: float
    high: float

    @classmethod
    def of(cls, changed: Sequence[bool | None]) -> OfRandom:
        """Of the random places whose captions these are; those of which it is not known do not count."""
        known = [bool(one) for one in changed if one is not None and not pd.isna(one)]
        low, high = clopper_pearson(sum(known), len(known)) if known else (float("nan"), float("nan"))
        return cls(len(known), sum(known), float(low), float(high))

    @property
    def share(self) -> float:
        return self.changed / self.n if self.n else float("nan")

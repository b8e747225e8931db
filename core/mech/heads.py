"""The rows about heads and MLPs: their direct effects with controls, and where heads look in the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config import MechanismsConfig
from core.intervals import mean_interval, q_values
from core.mech.direct import DirectEffects, Part, summarise

Rows = list[dict[str, Any]]


def effect_rows(
    effects: DirectEffects | None, parts: Sequence[Part], lang: str, female: NDArray[np.bool_],
    held_out: NDArray[np.bool_], n_keys: NDArray[np.int64], config: MechanismsConfig, seed: list[int],
) -> Rows:  # fmt: skip
    """One row a part, and "all" for their sum; q is filled in by ``with_q``, over both languages.

    ``n_keys`` (n,) positions that each row's last one can attend to: attention spread evenly over them would give the
    image ``image_even``. Too few images give rows with ``why``.
    """
    counts = {f"n_{g}{s}": int((who & split).sum()) for g, who in (("female", female), ("male", ~female))
              for s, split in (("", held_out), ("_train", ~held_out))}  # fmt: skip
    listed = [*parts, Part(-1, "all", -1)]
    why = ""
    if effects is None:
        why = "no caption names a woman or a man in words that this model has tokens for"
    elif min(counts.values()) < config.min_images:
        why = f"{min(counts.values())} captions of a gender and split; at least {config.min_images} are needed"
    rows: Rows = [{"lang": lang, **part._asdict(), **counts, "finding": False, "why": why} for part in listed]
    if why or effects is None:
        return rows
    columns = summarise(effects, female, held_out, config.n_bootstrap, seed)
    r = float(np.corrcoef(effects.total[:, 0], effects.log_odds)[0, 1])
    even = float((effects.attention.shape[3] / n_keys[held_out]).mean())
    for number, row in enumerate(rows):
        row |= {name: float(values[number]) for name, values in columns.items()} | {"readout_r": r}
        if row["part"] == "head":
            share = effects.attention[held_out, row["layer"], row["head"]].sum(-1)
            ends = mean_interval(share, config.n_bootstrap, [*seed, 5])
            row |= dict(zip(("image_share", "image_low", "image_high"), ends, strict=True)) | {"image_even": even}
    return rows


def with_q(rows: Rows, fdr: float) -> None:
    """Fill in q and finding: beyond both nulls, over all parts of all languages together; in place."""
    tested = [row for row in rows if row["part"] in ("head", "mlp")]
    for row, q in zip(tested, q_values([row.get("p", float("nan")) for row in tested]).tolist(), strict=True):
        row["q"] = q
        effect, low, high = (row.get(name, float("nan")) for name in ("effect", "random_low", "random_high"))
        row["finding"] = bool(q <= fdr and not low <= effect <= high)


def map_rows(
    effects: DirectEffects, parts: Sequence[Part], lang: str, chosen: Sequence[int], samples: Sequence[dict[str, Any]]
) -> Rows:
    """Attention of each head from the position that chooses the gendered word, to the image tokens: for each chosen
    row its own map, and as sample -1 the mean over all rows. ``samples`` have sample_id, gender and word by row."""
    rows: Rows = []
    for part in parts:
        if part.part != "head":
            continue
        maps = effects.attention[:, part.layer, part.head]
        key = {"lang": lang, "layer": part.layer, "head": part.head}
        rows.append({**key, "sample_id": -1, "gender": "", "word": "", "patch_map": maps.mean(0).tolist()})
        rows += [{**key, **samples[i], "patch_map": maps[i].tolist()} for i in chosen]
    return rows

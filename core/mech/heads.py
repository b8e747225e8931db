"""The rows about heads and MLPs: their direct effects with controls, and where heads look in the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config import LANGUAGES, MechanismsConfig
from core.gender.attribution import Target
from core.intervals import mean_interval, q_values
from core.mech.direct import DirectEffects, Part, direct_effects, join, parts_of, random_sets, summarise
from core.mech.inputs import Inputs
from core.vlm.hookpoints import MIB

Rows = list[dict[str, Any]]


def heads(inputs: Inputs, lang: str) -> dict[str, Rows]:
    """head_effects and head_attention of a language: direct effects of all parts, attention of heads to the image."""
    by_split = inputs.targets(lang, inputs.settings.n_images)
    targets = [t for split in ("train", "test") for t in by_split[split]]
    female = np.array([inputs.gender[t.sample_id] == "female" for t in targets], bool)
    held_out = np.array([not inputs.is_train[t.sample_id] for t in targets], bool)
    parts, seed = parts_of(inputs.vlm), [inputs.seed, 8, LANGUAGES.index(lang)]
    said = {t for c in inputs.captions(lang) for t in c["token_ids"]} - inputs.vlm.special_ids if targets else set()
    controls = random_sets(inputs.sets(lang), sorted(said), seed)
    done, lengths = [], []
    size = inputs.settings.batch_size
    for start in range(0, len(targets), size):
        rows, features = inputs.rows_of(lang, targets[start : start + size])
        max_bytes = inputs.settings.cache_mib * MIB
        done.append(direct_effects(inputs.vlm, rows, features, inputs.sets(lang), controls, max_bytes))
        lengths += map(len, rows)
    effects = join(done) if done else None
    found = effect_rows(effects, parts, lang, female, held_out, np.array(lengths), inputs.settings, seed)
    return {"head_effects": found, "head_attention": _maps(inputs, lang, effects, parts, targets, held_out)}


def _maps(
    inputs: Inputs,
    lang: str,
    effects: DirectEffects | None,
    parts: Sequence[Part],
    targets: list[Target],
    held_out: NDArray[np.bool_],
) -> Rows:
    """Maps of the first held-out captions of each gender."""
    if effects is None or not inputs.settings.n_maps:
        return []
    first: dict[int, tuple[int, str]] = {}
    for word in inputs.words(lang):
        place = (word["start"], word["word"])
        first[word["sample_id"]] = min(place, first.get(word["sample_id"], place))
    samples = [
        {"sample_id": t.sample_id, "gender": str(inputs.gender[t.sample_id]), "word": first[t.sample_id][1]}
        for t in targets
    ]
    chosen = [[i for i, s in enumerate(samples) if held_out[i] and s["gender"] == g] for g in ("female", "male")]
    each = inputs.settings.n_maps // 2
    return map_rows(effects, parts, lang, [i for of in chosen for i in of[:each]], samples, inputs.vlm.patches)


def effect_rows(
    effects: DirectEffects | None,
    parts: Sequence[Part],
    lang: str,
    female: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    n_keys: NDArray[np.int64],
    config: MechanismsConfig,
    seed: list[int],
) -> Rows:
    """One row a part, and "all" for their sum; q is filled in by ``with_q``, over both languages.

    ``n_keys`` (n,) positions that each row's last one can attend to: attention spread evenly over them would give the
    image ``image_even``. Too few images give rows with ``why``.
    """
    counts = {
        f"n_{g}{s}": int((who & split).sum())
        for g, who in (("female", female), ("male", ~female))
        for s, split in (("", held_out), ("_train", ~held_out))
    }
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
            if np.isnan(share).any():  # it looks at the image from outside the row
                continue
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
    effects: DirectEffects,
    parts: Sequence[Part],
    lang: str,
    chosen: Sequence[int],
    samples: Sequence[dict[str, Any]],
    patches: range,
) -> Rows:
    """Attention of each head from the position that chooses the gendered word, to the image tokens: for each chosen
    row its own map, and as sample -1 the mean over all rows. ``samples`` have sample_id, gender and word by row;
    ``patches`` are the image tokens that lie over the image: no maps where there are none, and none of heads that look
    at the image from outside the row."""
    rows: Rows = []
    for part in parts:
        if part.part != "head":
            continue
        maps = effects.attention[:, part.layer, part.head][:, patches.start : patches.stop]
        if not maps.size or np.isnan(maps).any():
            continue
        key = {"lang": lang, "layer": part.layer, "head": part.head}
        rows.append({**key, "sample_id": -1, "gender": "", "word": "", "patch_map": maps.mean(0).tolist()})
        rows += [{**key, **samples[i], "patch_map": maps[i].tolist()} for i in chosen]
    return rows

"""Heads and MLPs: what each itself adds to a word for a woman over one for a man, and where heads look in the image.

Direct logit attribution: the residual from which a token is chosen is the sum of what the embedding, the heads and the
MLPs have added. With the last norm's scale held at its value there, each part's share of a difference of logits is a
dot product, and the shares add up to the difference (Elhage et al. 2021; Wang et al. 2022, arXiv 2211.00593). A head
adds behind the norm that follows attention, at that norm's own scale. Direct: what a part does through later layers is
not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import comb
from torch import Tensor

from core.config import LANGUAGES, MechanismsConfig
from core.gender.attribution import Target
from core.gender.contrast import LogOdds, pair_numbers, random_contrasts
from core.intervals import mean_interval, percentile_interval, shuffled_within, skewed_interval, two_groups
from core.mech.inputs import Inputs
from core.multiplicity import step_down, two_samples
from core.vlm.batch import KINDS
from core.vlm.blocks import Block, norm_scale
from core.vlm.hookpoints import MIB, ActivationCache, HookPoint, hook_points

if TYPE_CHECKING:
    from core.vlm.adapter import VLM


N_RANDOM = 40  # draws of other words
IMAGE = KINDS.index("image")
Rows = list[dict[str, Any]]


class Part(NamedTuple):
    """ "embedding" (layer -1), "head" or "mlp"; ``head`` is -1 but for heads."""

    layer: int
    part: str
    head: int


@dataclass(frozen=True)
class DirectEffects:
    """Of n rows: ``shares`` (n, n_readouts, n_parts) of the differences ``total`` (n, n_readouts); readout 0 are the
    gendered words, the rest random ones; ``log_odds`` (n,) as the model has them, ``attention`` (n, n_layers,
    n_heads, n_image_tokens) of the last position, NaN in cross-attention layers. Logits are those before a soft cap."""

    shares: NDArray[np.float32]
    total: NDArray[np.float32]
    log_odds: NDArray[np.float32]
    attention: NDArray[np.float32]


def parts_of(vlm: VLM) -> list[Part]:
    """All that is added to the residual stream, in the order of the columns of DirectEffects."""
    found = [Part(-1, "embedding", -1)]
    for layer in range(vlm.n_layers):
        found += [Part(layer, "head", head) for head in range(Block(vlm, layer).n_heads)] + [Part(layer, "mlp", -1)]
    return found


@torch.no_grad()
def direct_effects(
    vlm: VLM,
    rows: Sequence[Sequence[int]],
    features: Tensor,
    score: LogOdds,
    controls: Sequence[LogOdds] = (),
    max_bytes: int = 1 << 30,
) -> DirectEffects:
    """What each part adds at each row's last position; ``features`` as in ``VLM.forward``."""

    def work(start: int, stop: int) -> DirectEffects:
        here = [control[start:stop] for control in controls]
        return _direct_effects(vlm, rows[start:stop], features[start:stop], score[start:stop], here, max_bytes)

    return join(vlm.halving("passes with all parts kept", work, len(rows)))


def _direct_effects(
    vlm: VLM,
    rows: Sequence[Sequence[int]],
    features: Tensor,
    score: LogOdds,
    controls: Sequence[LogOdds],
    max_bytes: int,
) -> DirectEffects:
    layers = range(vlm.n_layers)
    points = [HookPoint(0, "resid_pre"), HookPoint(vlm.n_layers - 1, "resid_post")]
    inside = [layer for layer in layers if not Block(vlm, layer).looks_outside]
    points += hook_points(layers, ("z", "mlp_out")) + hook_points(inside, ("pattern",))
    with ActivationCache(vlm, points, last_only=True, device=vlm.device, max_bytes=max_bytes) as cache:
        vlm.forward(rows, features, whole=True)
    added = [cache[0, "resid_pre"][:, None]]
    for layer in layers:
        added += [head_outputs(Block(vlm, layer), cache[layer, "z"]), cache[layer, "mlp_out"][:, None]]
    last = cache[vlm.n_layers - 1, "resid_post"]
    unembed: Tensor = vlm.unembed()
    gain = Block(vlm, 0).final_gain(vlm)
    normed = last * norm_scale(vlm.final_norm, last) * gain
    logits = normed @ unembed.float().T
    directions = torch.stack([s.directions(logits, unembed) for s in (score, *controls)], 1)
    frozen = directions * (norm_scale(vlm.final_norm, last) * gain)[:, None]
    shares = torch.einsum("npd,nrd->nrp", torch.cat(added, 1), frozen)
    keys = (cache.kinds == IMAGE)[cache.row]
    patterns = {layer: cache[layer, "pattern"].cpu() for layer in inside}
    unknown = torch.full_like(patterns[inside[0]], float("nan"))  # of heads whose keys are no positions of the row
    attention = torch.stack([patterns.get(layer, unknown) for layer in layers], 1)  # (n, layers, heads, keys)
    seen = torch.stack([a[..., k] for a, k in zip(attention, keys, strict=True)])
    total, log_odds = torch.einsum("nd,nrd->nr", normed, directions), score(logits)
    return DirectEffects(*(x.float().cpu().numpy() for x in (shares, total, log_odds, seen)))


def head_outputs(block: Block, z: Tensor) -> Tensor:
    """What each head adds to the residual stream (n, n_heads, d_model), of z (n, n_heads, d_head): its own part of the
    output matrix, behind the norm after attention at the scale that all heads together give it."""
    weight = block.weight("o").unflatten(1, (block.n_heads, block.d_head))
    raw = torch.einsum("nhd,mhd->nhm", z.float(), weight)
    if not block.names.attn_out_norm:
        return raw * block.gate("attn")
    return raw * norm_scale(block.part("attn_out_norm"), raw.sum(1))[:, None] * block.gain("attn_out_norm")


def join(parts: Sequence[DirectEffects]) -> DirectEffects:
    """Batches one after another."""
    return DirectEffects(*(np.concatenate([getattr(p, f) for p in parts]) for f in DirectEffects.__annotations__))


def summarise(
    effects: DirectEffects,
    female: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    pair: NDArray[np.int64],
    tested: NDArray[np.bool_],
    config: MechanismsConfig,
    seed: list[int],
) -> dict[str, NDArray[np.float64]]:
    """Columns (n_parts + 1,), the last for the sum of all: how far apart the shares of images of women and men are.

    effect: mean at images of women less that at images of men, on held-out images, with its interval over images; of
    images with their genders dealt out anew, among captions in which the same two words are compared (``pair`` (n,)
    numbers them), the central 95 % (shuffled_low, shuffled_high), p (two-sided, studentised, of one part) and
    p_adjusted (step-down max-T over all parts but the embedding and the sum, NaN for these); of random words the
    central 95 % (random_low, random_high). effect_train: the same difference on the other images. Rows are one image
    each: ``female`` (n,), ``held_out`` (n,); ``tested`` (n_parts + 1,) says which parts are of the family.
    """
    both = np.concatenate([effects.shares, effects.total[:, :, None]], 2).astype(np.float64)
    own, label = both[held_out], female[held_out]
    gap = lambda x, who: x[who].mean(0) - x[~who].mean(0)  # noqa: E731
    columns = {"effect": gap(own[:, 0], label), "effect_train": gap(both[~held_out][:, 0], female[~held_out])}
    columns |= {"mean_female": own[label, 0].mean(0), "mean_male": own[~label, 0].mean(0)}
    columns["low"], columns["high"] = skewed_interval(*two_groups(own[:, 0], label))
    rng = np.random.default_rng([*seed, 2])
    dealt = np.stack([shuffled_within(label, pair[held_out], rng) for _ in range(config.n_permutations)])
    centred = own[:, 0] - own[:, 0].mean(0)
    shuffled = dealt.astype(float) @ centred * (1 / label.sum() + 1 / (~label).sum())
    columns["shuffled_low"], columns["shuffled_high"] = percentile_interval(shuffled)
    size = two_samples(own[:, 0], label, dealt, pair[held_out])
    columns["p"] = (1 + (size[1:] >= size[0] - 1e-9).sum(0)) / len(size)
    columns["p_adjusted"] = step_down(np.where(tested, size[0], np.nan), size[1:])
    random = gap(own[:, 1:], label)
    ends = percentile_interval(random) if len(random) else (np.full(own.shape[2], np.nan),) * 2
    columns["random_low"], columns["random_high"] = ends
    return columns


def heads(inputs: Inputs, lang: str) -> dict[str, Rows]:
    """head_effects, part_shares, head_attention of a language: direct effects of all parts, on average and by image;
    attention of heads to the image."""
    by_split = inputs.targets(lang, inputs.settings.n_images)
    targets = [t for split in ("train", "test") for t in by_split[split]]
    female = np.array([inputs.gender[t.sample_id] == "female" for t in targets], bool)
    held_out = np.array([not inputs.is_train[t.sample_id] for t in targets], bool)
    parts, seed = parts_of(inputs.vlm), [inputs.seed, 8, LANGUAGES.index(lang)]
    said = {t for c in inputs.captions(lang) for t in c["token_ids"]} - inputs.vlm.special_ids if targets else set()
    contrasts = [t.contrast for t in targets]
    score = inputs.log_odds(targets)
    others = [random_contrasts(contrasts, sorted(said), [*seed, n]) for n in range(N_RANDOM if targets else 0)]
    controls = [LogOdds(other, score.ends) for other in others]
    done, lengths = [], []
    size = inputs.settings.batch_size
    for start in range(0, len(targets), size):
        now = slice(start, start + size)
        rows, features = inputs.rows_of(lang, targets[now])
        here = [control[now] for control in controls]
        max_bytes = inputs.settings.cache_mib * MIB
        done.append(direct_effects(inputs.vlm, rows, features, score[now], here, max_bytes))
        lengths += map(len, rows)
    effects = join(done) if done else None
    pair = pair_numbers(contrasts)
    why = inputs.coverage(lang).why
    found = effect_rows(effects, parts, lang, female, held_out, np.array(lengths), inputs.settings, seed, pair, why)
    shares = share_rows(effects, parts, lang, targets, female, held_out, pair) if effects and not why else []
    maps = _maps(inputs, lang, effects, parts, targets, held_out)
    return {"head_effects": found, "part_shares": shares, "head_attention": maps}


def share_rows(
    effects: DirectEffects,
    parts: Sequence[Part],
    lang: str,
    targets: Sequence[Target],
    female: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    pair: NDArray[np.int64],
) -> Rows:
    """Rows of part_shares: of each image what every head and MLP adds."""
    kept = np.array([part.part != "embedding" for part in parts])
    return [
        {
            "lang": lang,
            "sample_id": target.sample_id,
            "gender": "female" if female[i] else "male",
            "held_out": bool(held_out[i]),
            "pair": int(pair[i]),
            "shares": effects.shares[i, 0, kept].tolist(),
        }
        for i, target in enumerate(targets)
    ]


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
    word = {row["sample_id"]: row["word"] for row in inputs.contrasts(lang)}
    samples = [
        {"sample_id": t.sample_id, "gender": str(inputs.gender[t.sample_id]), "word": word[t.sample_id]}
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
    pair: NDArray[np.int64],
    why: str = "",
) -> Rows:
    """One row a part, and "all" for their sum; ``with_findings`` makes p_adjusted one of all languages together.

    ``n_keys`` (n,) positions that each row's last one can attend to: attention spread evenly over them would give the
    image ``image_even``; ``pair`` (n,) numbers the pairs of words. Too few images give rows with ``why``, and so does
    one that is given.
    """
    counts = {
        f"n_{g}{s}": int((who & split).sum())
        for g, who in (("female", female), ("male", ~female))
        for s, split in (("", held_out), ("_train", ~held_out))
    }
    listed = [*parts, Part(-1, "all", -1)]
    if not why and min(counts.values()) < config.min_images:
        why = f"{min(counts.values())} captions of a gender and split; at least {config.min_images} are needed"
    rows: Rows = [{"lang": lang, **part._asdict(), **counts, "finding": False, "why": why} for part in listed]
    if why or effects is None:
        return rows
    tested = np.array([part.part in ("head", "mlp") for part in listed])
    columns = summarise(effects, female, held_out, pair, tested, config, seed)
    r = float(np.corrcoef(effects.total[:, 0], effects.log_odds)[0, 1])
    even = float((effects.attention.shape[3] / n_keys[held_out]).mean())
    n_compared, ways = dealings(female[held_out], pair[held_out])
    least = max(1 / (1 + config.n_permutations), 1 / ways)
    for number, row in enumerate(rows):
        row |= {"n_permutations": config.n_permutations, "n_compared": n_compared, "p_least": least}
        row |= {name: float(values[number]) for name, values in columns.items()} | {"readout_r": r}
        if row["part"] == "head":
            share = effects.attention[held_out, row["layer"], row["head"]].sum(-1)
            if np.isnan(share).any():  # it looks at the image from outside the row
                continue
            found = zip(("image_share", "image_low", "image_high"), mean_interval(share), strict=True)
            row |= {name: float(end) for name, end in found} | {"image_even": even}
    return rows


def dealings(female: NDArray[np.bool_], pair: NDArray[np.int64]) -> tuple[int, float]:
    """Captions whose pair of words is said of both genders, and in how many ways the genders can be dealt out anew.

    A pair that is said of women alone, or of men alone, tells nothing within itself; no p is below one over the ways.
    """
    n_compared, ways = 0, 1.0
    for number in np.unique(pair):
        here = female[pair == number]
        if 0 < here.sum() < len(here):
            n_compared, ways = n_compared + len(here), ways * float(comb(len(here), int(here.sum())))
    return n_compared, ways


def with_findings(rows: Rows, level: float) -> None:
    """Of p_adjusted and p_least by language, those over all parts of all languages, and finding: within ``level``, and
    beyond random words; in place. Languages are two families of draws of their own, hence the factor (Bonferroni)."""
    languages = {row["lang"] for row in rows if not row["why"]}
    for row in rows:
        if not row["why"] and "p_least" in row:
            row["p_least"] = min(1.0, row["p_least"] * len(languages))
        p = row.get("p_adjusted")
        if p is None or np.isnan(p):  # embedding and sum, or nothing is known
            continue
        beyond_words = not row["random_low"] <= row["effect"] <= row["random_high"]
        row["p_adjusted"] = min(1.0, p * len(languages))
        row["finding"] = bool(row["p_adjusted"] <= level and beyond_words)


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

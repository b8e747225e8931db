"""The model's own weights as factored matrices, and what a head's OV matrix makes of the gender direction and features.

OV is what a head reads and writes, QK what it looks for; MLPs stand beside them. Norm gains are folded in, so that a
matrix acts on the residual stream as it stands but for the scale that a norm takes from the whole vector:
OV[h] = diag(g_in) W_V' W_O'[h] diag(g_out), QK[h] = diag(g_in) W_Q' diag(g_q g_k) W_K diag(g_in) at relative distance
0 (the rotary angles left out). Query heads of a group share W_K and W_V.

The gender direction is the difference of the mean residuals of women's and men's images (training images, pooled over
a view); what is read and what it is compared with come of different images. Nulls: the images' genders dealt out anew,
here and where it is read; and directions drawn at random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor

from core.agreement import agreement
from core.config import LANGUAGES
from core.features.pooled import Pooled
from core.gender.contrast import WORD_END
from core.intervals import percentile_interval
from core.mech.factored import FactoredMatrix
from core.mech.inputs import Inputs
from core.sae.files import sae_id
from core.vlm.blocks import Block

if TYPE_CHECKING:
    from core.vlm.adapter import VLM


MATRICES = ("OV", "QK", "MLP")
Array = NDArray[np.float64]
Rows = list[dict[str, Any]]
N_FEATURES = 5
MOST_GROUPS, N_DEALT = 40, 500  # of images a gender; labels dealt out anew, and random directions
VIEWS = ("image", "before")  # where heads may find gender: at the image, or at the words so far


def ov(vlm: VLM, layer: int, head: int) -> FactoredMatrix:
    """What a head writes for what stands at the position it attends to, (d_model, d_model) of rank d_head."""
    block = _inside(vlm, layer)
    read = _rows(_weight(block, "v"), block.kv_head(head), block.d_head).mT
    write = _weight(block, "o")[:, head * block.d_head : (head + 1) * block.d_head].mT
    return FactoredMatrix(_scaled(block.gain("attn_in_norm"), read), _scaled(block.gain("attn_out_norm"), write.mT).mT)


def qk(vlm: VLM, layer: int, head: int) -> FactoredMatrix:
    """What a head looks for: x QK y' is the score of a query at x for a key at y, up to norms' scales and distance."""
    block = _inside(vlm, layer)
    gain = block.gain("attn_in_norm")
    query = _scaled(block.gain("q_norm"), _rows(_weight(block, "q"), head, block.d_head)).mT
    key = _scaled(block.gain("k_norm"), _rows(_weight(block, "k"), block.kv_head(head), block.d_head)).mT
    return FactoredMatrix(_scaled(gain, query), _scaled(gain, key).mT)


def mlp(vlm: VLM, layer: int) -> FactoredMatrix:
    """W_in W_out of an MLP, (d_model, d_model) through all its neurons, as if each let through what it gets."""
    block = Block(vlm, layer)
    read, write = _weight(block, "up").mT, _weight(block, "down").mT
    out = _scaled(block.gain("mlp_out_norm"), write.mT).mT * torch.as_tensor(block.gate("mlp")).cpu()
    return FactoredMatrix(_scaled(block.gain("mlp_in_norm"), read), out)


def spectra(vlm: VLM, layer: int, seed: int) -> list[dict[str, Any]]:
    """One row a matrix of the layer: its spectrum, trace and eigenvalues, and what a random product of its shape has.

    Of a cross-attention layer the MLP alone: its heads read the image's states, not the residual stream.

    ``random_*`` are of Gaussian factors with the same shapes: what a matrix has that has learned nothing. Worked out in
    double precision and rounded to single, so that the order of sums on a machine does not show.
    """
    block = Block(vlm, layer)
    heads = range(0 if block.looks_outside else block.n_heads)
    found = [("OV", head, ov(vlm, layer, head)) for head in heads]
    found += [("QK", head, qk(vlm, layer, head)) for head in heads]
    found.append(("MLP", -1, mlp(vlm, layer)))
    chance: dict[tuple[int, ...], tuple[float, float]] = {}
    rows = []
    for name, head, exact in found:
        matrix = FactoredMatrix(exact.A.double(), exact.B.double())
        shape = (*matrix.A.shape, matrix.B.shape[1])
        if shape not in chance:
            chance[shape] = _random(shape, seed)
        spectrum, values = matrix.spectrum(), matrix.singular_values.tolist()
        figures = {
            **spectrum._asdict(),
            "trace": float(matrix.trace()),
            "copying": matrix.copying(),
            "random_effective_rank": chance[shape][0],
            "random_participation": chance[shape][1],
        }
        rows.append(
            {
                "layer": layer,
                "head": head,
                "matrix": name,
                "rank": len(values),
                "singular_values": [_single(v) for v in values],
                **{key: _single(v) for key, v in figures.items()},
            }
        )
    return rows


def _single(value: float) -> float:
    return float(np.float32(value))


def _random(shape: tuple[int, ...], seed: int) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(seed)
    m, r, n = shape
    A, B = torch.randn(m, r, generator=generator).double(), torch.randn(r, n, generator=generator).double()
    one = FactoredMatrix(A, B).spectrum()
    return one.effective_rank, one.participation


def _inside(vlm: VLM, layer: int) -> Block:
    block = Block(vlm, layer)
    if block.looks_outside:
        raise ValueError(f"Heads of layer {layer} read the image's states: no matrix on the residual stream is theirs.")
    return block


def _weight(block: Block, name: str) -> Tensor:
    return block.weight(name).cpu()


def _rows(weight: Tensor, head: int, d_head: int) -> Tensor:
    return weight[head * d_head : (head + 1) * d_head]


def _scaled(gain: Tensor | float, columns: Tensor) -> Tensor:
    """diag(gain) times columns (d, k)."""
    return gain.cpu()[:, None] * columns if isinstance(gain, Tensor) else gain * columns


def _words(inputs: Inputs, lang: str) -> Array | None:
    """What writes a word for a woman rather than a man (d_model,): mean over training captions of the difference of
    the two tokens that their contrasts compare, behind the last norm's gain. Captions in which a spelling ends there
    have no such token; None where no caption is left."""
    pairs = [(t.contrast.female, t.contrast.male) for t in inputs.targets(lang, inputs.settings.n_images)["train"]]
    tokens = torch.tensor([pair for pair in pairs if WORD_END not in pair], dtype=torch.int64)
    if not len(tokens):
        return None
    unembed = inputs.vlm.unembed().detach()
    apart = (unembed[tokens[:, 0]].float() - unembed[tokens[:, 1]].float()).mean(0).cpu()
    return (apart * Block(inputs.vlm, 0).final_gain(inputs.vlm).cpu()).double().numpy()


def readings(inputs: Inputs, lang: str) -> dict[str, Rows]:
    """head_readings of a language: what OV matrices make of the gender direction of training images."""
    ids = np.flatnonzero(inputs.is_train & np.isin(inputs.gender, ("female", "male")))
    pooled = {layer: Pooled(inputs.run.dir, layer) for layer in inputs.layers}
    rows_of = len(LANGUAGES) * ids + LANGUAGES.index(lang)
    known = np.all([p.n_positions[v][rows_of] > 0 for p in pooled.values() for v in VIEWS], axis=0)
    female = inputs.gender[ids[known]] == "female"
    words = _words(inputs, lang)
    if min(female.sum(), (~female).sum()) < inputs.settings.min_images or words is None:
        return {"head_readings": []}
    reader = GenderReader(female, inputs.seed)
    groups = {(n, v): reader.grouped(p.resid(v)[rows_of[known]]) for n, p in pooled.items() for v in VIEWS}
    found: Rows = []
    for layer in range(inputs.vlm.n_layers):
        below, above = [n for n in inputs.layers if n < layer], [n for n in inputs.layers if n >= layer]
        if not below or not above or Block(inputs.vlm, layer).looks_outside:
            continue
        w_dec = inputs.saes[above[0]].W_dec.detach().double().cpu().numpy()
        for head in range(Block(inputs.vlm, layer).n_heads):
            matrix = ov(inputs.vlm, layer, head)
            for view in VIEWS:
                source, target = groups[below[-1], view], groups[above[0], "before"]
                found.append(
                    {
                        "lang": lang,
                        "head_layer": layer,
                        "head": head,
                        "view": view,
                        "in_layer": below[-1],
                        "out_layer": above[0],
                        "sae_id": sae_id(inputs.saes[above[0]]),
                        "n_female": int(female.sum()),
                        "n_male": int((~female).sum()),
                        **reader.read(matrix, source, target, words),
                        **reader.features(matrix, source, w_dec),
                    }
                )
    return {"head_readings": found}


class GenderReader:
    """What heads make of the gender direction; ``female`` (n,) says which images show a woman, the others show a man.

    Images are taken in groups of one gender, MOST_GROUPS a gender at most: what is read and what it is compared with
    are measured on the same images, whose accidents go through the residual stream from one to the other, so that only
    products of different groups count (core.agreement).
    """

    def __init__(self, female: NDArray[np.bool_], seed: int):
        self.seed, rng = seed, np.random.default_rng([seed, 1])
        sides = [rng.permutation(np.flatnonzero(who)) for who in (female, ~female)]
        groups = [group for side in sides for group in np.array_split(side, min(len(side), MOST_GROUPS))]
        self.members = np.zeros((len(groups), len(female)))
        for row, group in zip(self.members, groups, strict=True):
            row[group] = 1 / len(group)
        self.female = np.array([bool(female[group[0]]) for group in groups])
        rng = np.random.default_rng([seed, 2])
        self.dealt = np.stack([rng.permutation(self.female) for _ in range(N_DEALT)])

    def grouped(self, resid: NDArray[np.float32]) -> Array:
        """Means (n_groups, d_model) of residuals (n, d_model) about their mean."""
        return self.members @ np.nan_to_num(resid.astype(np.float64) - np.nanmean(resid, 0))

    def read(self, ov: FactoredMatrix, source: Array, target: Array, words: Array) -> dict[str, Any]:
        """Of groups (n_groups, d_model) below and above: cosines of what OV writes for the gender direction with the
        one above and with ``words`` (d_model,), each with its interval over images and its nulls; gain: |d OV| / |d|
        against random directions."""
        written = _through(source, ov)
        noise = np.random.default_rng([self.seed, 3]).standard_normal((N_DEALT, source.shape[1]))
        blind = _through(noise, ov)
        own, above = _gaps(self.female[None], source), _gaps(self.female[None], target)
        found = agreement(written, target, self.female, "cosine", [self.seed, 4])
        row: dict[str, Any] = {"cosine": found.value, "cosine_low": found.low, "cosine_high": found.high}
        row |= {"cosine_shuffled_low": found.floor_low, "cosine_shuffled_high": found.floor_high}
        row |= {f"cosine_{name}": getattr(found, name) for name in ("ratio", "ratio_low", "ratio_high")}
        row |= self._with_words(written, words)
        for name, at in (("cosine", above), ("word_cosine", words[None])):
            low, high = percentile_interval(_cosine(blind, at))
            row |= {f"{name}_random_low": float(low), f"{name}_random_high": float(high)}
        size = np.linalg.norm(_through(own, ov)) / np.linalg.norm(own)
        sizes = np.linalg.norm(blind, axis=1) / np.linalg.norm(noise, axis=1)
        return row | {"gain": float(size), "random_gain": float(sizes.mean())}

    def _with_words(self, written: Array, words: Array) -> dict[str, Any]:
        """The cosine with ``words``, which no image had a say in; its interval is a jackknife over groups."""
        value = float(_cosine(_gaps(self.female[None], written), words[None])[0])
        left = [_gaps(np.delete(self.female, i)[None], np.delete(written, i, 0))[0] for i in range(len(written))]
        left = _cosine(np.stack(left), words[None])
        sides = (left[self.female], left[~self.female])
        spread = sum((len(x) - 1) / len(x) * ((x - x.mean()) ** 2).sum() for x in sides)
        half = float(student.ppf(0.975, len(written) - 2) * np.sqrt(spread))
        low, high = percentile_interval(_cosine(_gaps(self.dealt, written), words[None]))
        row = {"word_cosine": value, "word_cosine_low": max(value - half, -1.0)}
        row |= {"word_cosine_high": min(value + half, 1.0)}
        return row | {"word_cosine_shuffled_low": float(low), "word_cosine_shuffled_high": float(high)}

    def features(self, ov: FactoredMatrix, source: Array, W_dec: Array) -> dict[str, Any]:
        """The N_FEATURES features whose decoder rows lie nearest to what OV writes, up or down, with their cosines.

        shuffled_cosine: the 95th percentile of the largest size of a cosine where genders are dealt out anew.
        """
        rows = W_dec / np.linalg.norm(W_dec, axis=1, keepdims=True)
        cosines = rows @ _unit(_through(_gaps(self.female[None], source), ov))[0]
        order = np.argsort(-np.abs(cosines))[:N_FEATURES]
        dealt = _unit(_through(_gaps(self.dealt[:100], source), ov))
        largest = np.abs(dealt @ rows.T).max(1)
        return {
            "features": order.astype(int).tolist(),
            "feature_cosines": cosines[order].tolist(),
            "shuffled_cosine": float(np.quantile(largest, 0.95)),
        }


def _gaps(female: NDArray[np.bool_], rows: Array) -> Array:
    """Mean of the rows of women less that of the others (n_draws, d_model), for labels (n_draws, n_rows)."""
    first = female.astype(float)
    weights = first / first.sum(1, keepdims=True) - (1 - first) / (1 - first).sum(1, keepdims=True)
    return weights @ rows


def _through(x: Array, ov: FactoredMatrix) -> Array:
    return (torch.from_numpy(x) @ FactoredMatrix(ov.A.double(), ov.B.double())).numpy()


def _unit(x: Array) -> Array:
    size = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, size, out=np.zeros_like(x), where=size > 0)


def _cosine(x: Array, y: Array) -> Array:
    return (_unit(x) * _unit(y)).sum(-1)

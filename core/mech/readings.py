"""What a head's OV matrix makes of the gender direction, and which features it would write.

The gender direction is the difference of the mean residuals of women's and men's images (training images, pooled over
a view). Nulls: the same with the images' genders dealt out anew, here and where it is read, which keeps the stream's
own few strong directions; and directions drawn at random.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.config import LANGUAGES
from core.features.pooled import Pooled
from core.intervals import percentile_interval, resampled_counts
from core.mech.factored import FactoredMatrix
from core.mech.inputs import Inputs
from core.mech.weights import ov
from core.sae.files import sae_id
from core.vlm.blocks import Block

Array = NDArray[np.float64]
Rows = list[dict[str, Any]]
N_FEATURES = 5
VIEWS = ("image", "before")  # where heads may find gender: at the image, or at the words so far


def readings(inputs: Inputs, lang: str) -> dict[str, Rows]:
    """head_readings of a language: what OV matrices make of the gender direction of training images."""
    ids = np.flatnonzero(inputs.is_train & np.isin(inputs.gender, ("female", "male")))
    pooled = {layer: Pooled(inputs.run.dir, layer) for layer in inputs.layers}
    rows_of = len(LANGUAGES) * ids + LANGUAGES.index(lang)
    known = np.all([p.n_positions[v][rows_of] > 0 for p in pooled.values() for v in VIEWS], axis=0)
    female = inputs.gender[ids[known]] == "female"
    if min(female.sum(), (~female).sum()) < inputs.settings.min_images or not len(inputs.sets(lang).female):
        return {"head_readings": []}
    reader = GenderReader(female, inputs.settings.n_bootstrap, inputs.seed)
    directions = {(n, v): reader.directions(p.resid(v)[rows_of[known]]) for n, p in pooled.items() for v in VIEWS}
    unembed, sets = inputs.vlm.unembed().detach().float().cpu(), inputs.sets(lang)
    words = (unembed[sets.female].mean(0) - unembed[sets.male].mean(0)) * Block(inputs.vlm, 0).final_gain(
        inputs.vlm
    ).cpu()
    found: Rows = []
    for layer in range(inputs.vlm.n_layers):
        below, above = [n for n in inputs.layers if n < layer], [n for n in inputs.layers if n >= layer]
        if not below or not above or Block(inputs.vlm, layer).looks_outside:
            continue
        w_dec = inputs.saes[above[0]].W_dec.detach().double().cpu().numpy()
        for head in range(Block(inputs.vlm, layer).n_heads):
            matrix = ov(inputs.vlm, layer, head)
            for view in VIEWS:
                source, target = directions[below[-1], view], directions[above[0], "before"]
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
                        **reader.read(matrix, source, target, words.double().numpy()),
                        **reader.features(matrix, source, w_dec),
                    }
                )
    return {"head_readings": found}


class GenderReader:
    """Contrasts of many draws at once; ``female`` (n,) says which images show a woman, the others show a man."""

    def __init__(self, female: NDArray[np.bool_], n_draws: int, seed: int):
        self.n_draws, self.seed = n_draws, seed
        label = female.astype(float)
        one = label / label.sum() - (1 - label) / (1 - label).sum()
        boot = [
            resampled_counts(int(who.sum()), n_draws, [seed, i]) / who.sum() for i, who in enumerate((female, ~female))
        ]
        drawn = np.zeros((n_draws, len(female)))
        drawn[:, female], drawn[:, ~female] = boot[0], -boot[1]
        rng = np.random.default_rng([seed, 2])
        dealt = np.stack([rng.permutation(one) for _ in range(n_draws)])
        self.weights = np.vstack([one, drawn, dealt])  # (1 + 2 n_draws, n)

    def directions(self, resid: NDArray[np.float32]) -> Array:
        """Differences of means (1 + 2 n_draws, d_model): as it is, images drawn again, genders dealt out anew."""
        return self.weights @ np.nan_to_num(resid.astype(np.float64) - np.nanmean(resid, 0))

    def read(self, ov: FactoredMatrix, source: Array, target: Array, words: Array) -> dict[str, Any]:
        """Cosines of ``source`` OV with the ``target`` directions and with ``words`` (d_model,), each with its interval
        over images and its nulls; gain: |d OV| / |d| of the gender direction against random ones."""
        written = _through(source, ov)
        rng = np.random.default_rng([self.seed, 3])
        noise = rng.standard_normal((self.n_draws, source.shape[1]))
        blind = _through(noise, ov)
        row: dict[str, Any] = {}
        for name, cosines, random in (
            ("cosine", _cosine(written, target), _cosine(blind, target[:1])),
            ("word_cosine", _cosine(written, words[None]), _cosine(blind, words[None])),
        ):
            ends = {"": cosines[1 : self.n_draws + 1], "shuffled_": cosines[self.n_draws + 1 :], "random_": random}
            row[name] = float(cosines[0])
            for prefix, draws in ends.items():
                low, high = percentile_interval(draws)
                row |= {f"{name}_{prefix}low": float(low), f"{name}_{prefix}high": float(high)}
        size = np.linalg.norm(written[0]) / np.linalg.norm(source[0])
        sizes = np.linalg.norm(blind, axis=1) / np.linalg.norm(noise, axis=1)
        row |= {"gain": float(size), "random_gain": float(sizes.mean())}
        return row

    def features(self, ov: FactoredMatrix, source: Array, W_dec: Array) -> dict[str, Any]:
        """The N_FEATURES features whose decoder rows lie nearest to what OV writes, up or down, with their cosines.

        shuffled_cosine: the 95th percentile of the largest size of a cosine where genders are dealt out anew.
        """
        rows = W_dec / np.linalg.norm(W_dec, axis=1, keepdims=True)
        cosines = rows @ _unit(_through(source[:1], ov))[0]
        order = np.argsort(-np.abs(cosines))[:N_FEATURES]
        dealt = _unit(_through(source[self.n_draws + 1 :][:100], ov))
        largest = np.abs(dealt @ rows.T).max(1)
        return {
            "features": order.astype(int).tolist(),
            "feature_cosines": cosines[order].tolist(),
            "shuffled_cosine": float(np.quantile(largest, 0.95)),
        }


def _through(x: Array, ov: FactoredMatrix) -> Array:
    return (torch.from_numpy(x) @ FactoredMatrix(ov.A.double(), ov.B.double())).numpy()


def _unit(x: Array) -> Array:
    size = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, size, out=np.zeros_like(x), where=size > 0)


def _cosine(x: Array, y: Array) -> Array:
    return (_unit(x) * _unit(y)).sum(-1)

"""Features of one language's captions: chosen on training images; what they and their pairs do, on others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from torch import Tensor

from core.config import LANGUAGES, MechanismsConfig
from core.features.pooled import Pooled
from core.intervals import mean_interval, q_values
from core.mech.inputs import Inputs
from core.mech.interactions import InteractionPatternAnalyzer, interaction
from core.mech.patching import METHODS, Predicted, ablate, agreement, predict
from core.sae.files import sae_id
from core.vlm.gradients import Score

if TYPE_CHECKING:
    from core.sae.modules import SAE
    from core.vlm.adapter import VLM

Array = NDArray[np.float64]
Rows = list[dict[str, Any]]
Given = tuple[list[list[int]], Tensor]
GROUPS = ("strongest", "random")


def features(inputs: Inputs, lang: str, tick: Callable[[str], None] = lambda _: None) -> dict[str, Rows]:
    """feature_pairs, patching and patching_checks of a language: predicted and true effects of features, and pairs."""
    made: dict[str, Rows] = {name: [] for name in ("feature_pairs", "patching", "patching_checks")}
    by_split = inputs.targets(lang, 2 * inputs.settings.n_ablated)
    if min(map(len, by_split.values())) < inputs.settings.min_images:
        return made
    ids = {n: sae_id(sae) for n, sae in inputs.saes.items()}
    found = {s: inputs.rows_of(lang, targets) for s, targets in by_split.items()}
    score = {s: inputs.log_odds(targets) for s, targets in by_split.items()}
    work = FeatureEffects(inputs.vlm, inputs.saes, ids, score, found, inputs.settings, tick)
    for layer in inputs.layers:
        seed = [inputs.seed, 9, layer, LANGUAGES.index(lang)]
        plan = work.plan(layer, seed)
        pooled = Pooled(inputs.run.dir, layer)
        caption = len(LANGUAGES) * np.arange(len(inputs.gender)) + LANGUAGES.index(lang)
        there = (caption < pooled.n_captions) & (
            pooled.n_positions["before"][np.minimum(caption, pooled.n_captions - 1)] > 0
        )
        codes = pooled.codes("before")[caption[there]]
        analyzer = InteractionPatternAnalyzer(codes, inputs.gender[there], inputs.settings.min_images)
        made["feature_pairs"] += pair_rows(work, analyzer, layer, lang, plan, seed)
        patched, checks = patched_rows(work, layer, lang, plan, seed)
        made["patching"] += patched
        made["patching_checks"] += checks
    return made


@dataclass(frozen=True)
class Plan:
    """Features of one layer: the strongest by predicted effect on training captions, and others drawn at random."""

    strongest: list[int]
    random: list[int]
    ranked: list[int]  # the strongest, as many as pairs are counted of
    pool: list[int]  # other features that fire on the held-out captions: what control pairs are made of


class FeatureEffects:
    """Predictions on training and held-out captions of all layers, and ablations as they are asked for, each once.

    ``given`` has rows and image features by split ("train", "test"), ``score`` their log-odds.
    """

    def __init__(
        self,
        vlm: VLM,
        saes: Mapping[int, SAE],
        sae_ids: Mapping[int, str],
        score: Mapping[str, Score],
        given: Mapping[str, Given],
        config: MechanismsConfig,
        tick: Callable[[str], None] = lambda _: None,
    ):
        self.vlm, self.saes, self.sae_ids, self.config, self.tick = vlm, saes, sae_ids, config, tick
        self.score = score["test"]
        self.rows, self.features = given["test"]
        self.n = len(self.rows)
        self.train = self._predict(*given["train"], score["train"], n_steps=0)
        self.test = self._predict(self.rows, self.features, self.score, n_steps=config.n_steps)
        none = [(i, ()) for i in range(self.n)]
        self.base = ablate(vlm, saes, sae_ids, self.rows, self.features, self.score, none)
        self._effects: dict[tuple[int, tuple[int, ...]], Array] = {}

    def _predict(self, rows: list[list[int]], features: Tensor, score: Score, n_steps: int) -> dict[int, Predicted]:
        parts = []
        size = self.config.batch_size
        for start in range(0, len(rows), size):
            now = slice(start, start + size)
            parts.append(predict(self.vlm, self.saes, rows[now], features[now], score[now], n_steps, self.vlm.logits))
            self.tick(f"predicted effects, {min(start + size, len(rows))} of {len(rows)} captions")
        return {n: {m: csr_array(vstack([p[n][m] for p in parts])) for m in parts[0][n]} for n in self.saes}

    def plan(self, layer: int, seed: Sequence[int]) -> Plan:
        """Choose the features of a layer; nothing of the held-out captions' effects is looked at."""
        c = self.config
        train = self.train[layer]
        size = np.abs(np.asarray(train["gradient"].mean(0)).ravel())
        order = [int(f) for f in np.argsort(-size, kind="stable") if size[f] > 0]
        fires = np.diff(csr_array(self.test[layer]["fires"]).tocsc().indptr)
        live = [int(f) for f in np.flatnonzero(fires >= max(2, self.n // 20))]
        half = c.n_patched // 2
        strongest = order[:half]
        others = [f for f in live if f not in set(order[: max(half, c.n_features)])]
        drawn = np.random.default_rng([*seed, 1]).permutation(others)[: c.n_patched - half]
        return Plan(strongest, sorted(map(int, drawn)), order[: c.n_features], others)

    def true(self, layer: int, sets: Sequence[tuple[int, ...]]) -> list[Array]:
        """Of each set of features, the change (n,) of every held-out caption's score when they are ablated together.

        Captions on which none of them fires are left as they are, which they would be.
        """
        fires = self.test[layer]["fires"].tocsc()
        wanted = [s for s in dict.fromkeys(sets) if (layer, s) not in self._effects]
        on = {s: np.flatnonzero(np.asarray(fires[:, list(s)].sum(1)).ravel() > 0) for s in wanted}
        changes = [(int(i), [(layer, f) for f in s]) for s in wanted for i in on[s]]
        progress = lambda done, total: self.tick(f"layer {layer}: {done:,} of {total:,} ablations")  # noqa: E731
        scores = ablate(
            self.vlm, self.saes, self.sae_ids, self.rows, self.features, self.score, changes, progress=progress
        )
        start = 0
        for s in wanted:
            effect = np.zeros(self.n)
            effect[on[s]] = scores[start : start + len(on[s])] - self.base[on[s]]
            self._effects[layer, s], start = effect, start + len(on[s])
        return [self._effects[layer, s] for s in sets]

    def predicted(self, layer: int, method: str, features: Sequence[int]) -> Array:
        """(n, n_features) of the held-out captions."""
        return self.test[layer][method].tocsc()[:, list(features)].toarray()


def patched_rows(work: FeatureEffects, layer: int, lang: str, plan: Plan, seed: list[int]) -> tuple[Rows, Rows]:
    """Rows of patching and of patching_checks of one layer."""
    features = [*plan.strongest, *plan.random]
    true = np.stack(work.true(layer, [(f,) for f in features]), 1) if features else np.zeros((work.n, 0))
    methods = {m: work.predicted(layer, m, features) for m in METHODS if m in work.test[layer]}
    _, low, high = mean_interval(true)
    fires = (work.predicted(layer, "fires", features) > 0).sum(0)
    train = np.asarray(work.train[layer]["gradient"].mean(0)).ravel()
    rows = [
        {
            "lang": lang,
            "layer": layer,
            "feature": f,
            "sae_id": work.sae_ids[layer],
            "chosen": GROUPS[i >= len(plan.strongest)],
            "n_images": work.n,
            "n_fires": int(fires[i]),
            "true": float(true[:, i].mean()),
            "low": float(low[i]),
            "high": float(high[i]),
            "gradient_train": float(train[f]),
            **{m: float(x[:, i].mean()) for m, x in methods.items()},
        }
        for i, f in enumerate(features)
    ]
    checks = []
    for group, which in (
        ("all", slice(None)),
        ("strongest", slice(len(plan.strongest))),
        ("random", slice(len(plan.strongest), None)),
    ):
        for method, x in methods.items():
            found = agreement(x[:, which], true[:, which], work.config.n_bootstrap, [*seed, len(checks)])
            checks.append({"lang": lang, "layer": layer, "method": method, "chosen": group, **found})
    return rows, checks


def pair_rows(
    work: FeatureEffects, analyzer: InteractionPatternAnalyzer, layer: int, lang: str, plan: Plan, seed: list[int]
) -> Rows:
    """Rows of feature_pairs of one layer: all pairs of the strongest features, and control pairs.

    Ablated together are the pairs that meet on the most held-out captions in terms of what both do: n_both times the
    smaller predicted effect, as training captions have it.
    """
    train = np.asarray(work.train[layer]["gradient"].mean(0)).ravel()
    pairs = analyzer.pairs_among(plan.ranked)
    found = analyzer.co_activation(pairs)
    weight = found.columns["n_both"] * np.minimum(*np.abs(train[pairs]).T) if len(pairs) else np.zeros(0)
    top = [i for i in np.argsort(-weight, kind="stable")[: work.config.n_pairs] if weight[i] > 0]
    rng, taken = np.random.default_rng([*seed, 2]), set(plan.ranked)
    controls: list[tuple[int, int]] = []
    for i in top:
        match = analyzer.matched((int(pairs[i, 0]), int(pairs[i, 1])), plan.pool, taken, rng)
        if match is not None:
            taken |= set(match)
            controls.append(match)
    rows = _pair_rows(found.columns, pairs, "top")
    beside = np.array(controls, np.int64).reshape(len(controls), 2)
    rows += _pair_rows(analyzer.co_activation(beside).columns, beside, "control")
    ablated = {(int(pairs[i, 0]), int(pairs[i, 1])) for i in top} | set(controls)
    singles = sorted({f for pair in ablated for f in pair})
    work.true(layer, [(f,) for f in singles] + sorted(ablated))
    for row in rows:
        a, b = row["feature_a"], row["feature_b"]
        row |= {
            "lang": lang,
            "layer": layer,
            "sae_id": work.sae_ids[layer],
            "n_images": analyzer.n,
            "predicted_a": float(train[a]),
            "predicted_b": float(train[b]),
            "n_ablated": 0,
        }
        if (a, b) in ablated:
            one, two, both = work.true(layer, [(a,), (b,), (a, b)])
            row |= {"n_ablated": work.n, **interaction(one, two, both)}
    return rows


def _pair_rows(columns: Mapping[str, NDArray[Any]], pairs: NDArray[np.int64], kind: str) -> Rows:
    columns = {**columns, "q_within": q_values(columns["p_within"])}
    return [
        {"feature_a": int(a), "feature_b": int(b), "kind": kind, **{n: v[i].item() for n, v in columns.items()}}
        for i, (a, b) in enumerate(pairs)
    ]

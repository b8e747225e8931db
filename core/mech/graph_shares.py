"""How much of what the picture does to a word a graph explains, layer by layer, and how much one of nothing would.

At a layer, a set of nodes brings about what the word's log-odds gain when their change alone is put onto the states of
the mean picture (*measured*), beside what gradients say of it (*effects*). The same is asked of

- random dictionaries: directions at random, as sparse as the SAE (core.sae.fit.untrained_control), whose strongest
  features are chosen in the same way and as many;
- matched features: other features of the same SAE at the same kind of position, each of those whose change is nearest
  in length to that of a chosen one, drawn at random.

The *circuit* is the graph as a whole: at every layer all but the chosen nodes is held at the mean picture (Marks et al.
2024, section 3.2, "faithfulness"), once with and once without the errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core.mech.counterfactual import PLACES, Counterfactual
from core.mech.graph import Graph, Layer, Node, Reader, feature_changes, layer_effects
from core.vlm.hooks import EditFn

if TYPE_CHECKING:
    from core.sae.modules import SAE

N_MATCHED = 5  # draws of other features
NEAREST = 10  # in length of their change, among which they are drawn


@torch.no_grad()
def layer_rows(
    seen: Counterfactual, graph: Graph, saes: Mapping[int, SAE], random: Mapping[int, SAE], seed: list[int]
) -> list[dict[str, Any]]:
    """A row a layer and dictionary ("own", "random"): effects and measured effects, in log-odds."""
    rows = []
    for one in graph.layers:
        kept = graph.chosen(one.layer)
        places = {f"at_{name}": one.by_place[name] for name in PLACES}
        own = {"layer": one.layer, "dictionary": "own", "n_nodes": len(kept), **places, **_row(seen, one, kept)}
        own |= _matched(seen, saes[one.layer], one, kept, [*seed, one.layer])
        rows.append(own)
        if one.layer in random:
            other = layer_effects(seen, random[one.layer], one.layer, one.gradient)
            best = other.nodes[: len(kept)]
            row = {"layer": one.layer, "dictionary": "random", "n_nodes": len(best), **places}
            rows.append(row | _row(seen, other, best))
    return rows


def _row(seen: Counterfactual, one: Layer, kept: Sequence[Node]) -> dict[str, float]:
    whole, left_out = seen.change(one.layer), one.error_node.change
    assert left_out is not None
    put = torch.stack([_sum(kept, whole), whole - left_out, left_out])
    kept_does, features_do, error_does = seen.scores(one.layer, put - whole) - seen.without
    said = sum(node.effect for node in kept)
    return {
        "whole": one.whole,
        "features": one.features,
        "error": one.error,
        "kept": said,
        "gross": one.gross,
        "kept_gross": sum(abs(node.effect) for node in kept),
        "features_measured": float(features_do),
        "error_measured": float(error_does),
        "kept_measured": float(kept_does),
    }


def _sum(nodes: Sequence[Node], like: Tensor) -> Tensor:
    return sum((node.change for node in nodes if node.change is not None), torch.zeros_like(like))


def _matched(seen: Counterfactual, sae: SAE, one: Layer, kept: Sequence[Node], seed: list[int]) -> dict[str, float]:
    """Means over draws of other features that change as much: effect and measured effect; {} where there are none."""
    part = feature_changes(seen, sae, one.layer, one.gradient)
    place = seen.places.to(part.position.device)
    key = place[part.position] * sae.cfg.d_sae + part.feature
    keys, of = key.unique(return_inverse=True)
    length = sae.W_dec.detach().float().norm(dim=1)[part.feature] * part.change
    size = torch.zeros(len(keys), device=key.device).index_add_(0, of, length.square()).sqrt().cpu().numpy()
    effect = torch.zeros(len(keys), device=key.device).index_add_(0, of, part.effect).cpu().numpy()
    at = {int(k): i for i, k in enumerate(keys.tolist())}
    mine = [at[PLACES.index(node.place) * sae.cfg.d_sae + node.feature] for node in kept]
    kinds = (keys // sae.cfg.d_sae).cpu().numpy()
    rng, said, puts = np.random.default_rng(seed), [], []
    for _ in range(N_MATCHED):
        taken, change = set(mine), torch.zeros_like(seen.change(one.layer))
        total = 0.0
        for i in mine:
            others = [j for j in np.argsort(np.abs(size - size[i])) if kinds[j] == kinds[i] and j not in taken]
            if not others:
                continue
            j = int(rng.choice(others[:NEAREST]))
            taken.add(j)
            total += float(effect[j])
            entries = of == j
            written = sae.W_dec.detach()[part.feature[entries]].float() * part.change[entries, None]
            change.index_add_(0, part.position[entries], written)
        said.append(total)
        puts.append(change)
    done = seen.scores(one.layer, torch.stack(puts) - seen.change(one.layer)) - seen.without
    return {"matched": float(np.mean(said)), "matched_measured": float(np.mean(done))}


@torch.no_grad()
def circuit(seen: Counterfactual, graph: Graph, saes: Mapping[int, SAE]) -> dict[str, float]:
    """What the log-odds gain over those of the mean picture where at every layer the chosen features alone may change,
    "circuit", and where the errors may too, "circuit_error"."""
    return {
        "circuit": _held(seen, graph, saes, errors=False) - seen.without,
        "circuit_error": _held(seen, graph, saes, errors=True) - seen.without,
    }


def _held(seen: Counterfactual, graph: Graph, saes: Mapping[int, SAE], errors: bool) -> float:
    edits: dict[int, EditFn] = {
        one.layer: _Held(seen, saes[one.layer], one.layer, [*graph.chosen(one.layer)], errors) for one in graph.layers
    }
    last = seen.vlm.n_layers - 1
    resid = seen.vlm.forward([seen.row], seen.picture[None], [last], edits=edits).resid[last]
    return float(seen.score(seen.vlm.logits(resid[:, -1])))


class _Held:
    """An edit: the states of the mean picture, and of those with the picture what the nodes change alone."""

    def __init__(self, seen: Counterfactual, sae: SAE, layer: int, nodes: list[Node], errors: bool):
        self.reader = Reader(seen, sae, [], seen.state(layer))
        self.base, self.nodes = seen.base(layer)[None], nodes
        if errors:
            self.nodes = [*nodes, Node("error", "error", layer, 0.0)]

    def __call__(self, h: Tensor, _kinds: Tensor) -> Tensor:
        states = h.float()
        moved = self.base + sum(
            (self.reader.change_of(n, states, self.base) for n in self.nodes), torch.zeros_like(states)
        )
        return moved.to(h.dtype)

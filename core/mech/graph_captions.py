"""Graphs of a run's own captions: which images, the mean picture, and a graph as rows of tables."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core.config import LANGUAGES
from core.errors import UserError
from core.gender.attribution import Target, targets_of
from core.mech.counterfactual import Counterfactual
from core.mech.graph import Edge, Graph, Node, attribution_graph
from core.mech.graph_shares import circuit, layer_rows
from core.mech.inputs import Inputs
from core.run.schema import Table
from core.run.schema.graph import GRAPH_EDGES, GRAPH_LAYERS, GRAPH_NODES, GRAPHS
from core.sae.files import sae_id
from core.sae.fit import untrained_control
from core.samples.images import open_image

if TYPE_CHECKING:
    from core.sae.modules import SAE

Rows = list[dict[str, Any]]
TABLES: dict[str, Table] = {one.name: one for one in (GRAPHS, GRAPH_NODES, GRAPH_EDGES, GRAPH_LAYERS)}
STREAM = 31
GENDERS = ("female", "male")
TIMES = 2.0  # by which a measured edge may be larger or smaller than what gradients said, and still hold


class Captions:
    """Whose captions have a graph, and their graphs."""

    def __init__(self, inputs: Inputs):
        self.inputs, self.settings = inputs, inputs.config.graph

    @functools.cached_property
    def targets(self) -> dict[str, list[Target]]:
        """Held-out captions by language, as many of women's images as of men's, of the same images in all languages
        where so many have a contrast in each. None where contrasts speak for too few captions."""
        known = {lang: self._known(lang) for lang in self.inputs.config.samples.languages}
        asked = [lang for lang in known if known[lang]]
        common = set.intersection(*(set(known[lang]) for lang in asked)) if asked else set()
        found = {}
        for lang in known:
            found[lang] = []
            for number, gender in enumerate(GENDERS):
                own, shared = ([i for i in ids if self.inputs.gender[i] == gender] for ids in (known[lang], common))
                each = self.settings.n_images // 2
                ids = sorted(shared if len(shared) >= each else own)
                chosen = np.random.default_rng([self.inputs.seed, STREAM, number]).permutation(len(ids))[:each]
                found[lang] += [known[lang][ids[i]] for i in sorted(chosen)]
        return found

    def _known(self, lang: str) -> dict[int, Target]:
        if self.inputs.coverage(lang).why:
            return {}
        all_of = targets_of(self.inputs.captions(lang), self.inputs.contrasts(lang), lang)
        return {i: t for i, t in all_of.items() if not self.inputs.is_train[i] and self.inputs.gender[i] in GENDERS}

    @functools.cached_property
    def mean_picture(self) -> Tensor:
        """Mean (*feature_shape) over ``graph.n_mean`` training images, half of women and half of men."""
        total, n = torch.zeros(()), 0
        for number, gender in enumerate(GENDERS):
            ids = np.flatnonzero(self.inputs.is_train & (self.inputs.gender == gender))
            rng = np.random.default_rng([self.inputs.seed, STREAM, 2 + number])
            for i in sorted(rng.permutation(ids)[: max(1, self.settings.n_mean // 2)]):
                one = self.inputs.vlm.encode_images([open_image(self.inputs.run, int(i))])[0].float()
                total, n = one + total.to(one.device), n + 1
        if not n:
            why = "No training image is known to show a woman or a man."
            raise UserError("There is no mean picture.", why, "Take a run with more images.")
        return total / n

    def rows(self, lang: str, target: Target) -> dict[str, Rows]:
        """Rows of all tables for one caption."""
        said = next(r for r in self.inputs.contrasts(lang) if r["sample_id"] == target.sample_id)
        key = {"lang": lang, "sample_id": target.sample_id}
        about = {"gender": str(self.inputs.gender[target.sample_id]), **{n: said[n] for n in ("word", "counterpart")}}
        try:
            seen, graph = self.graph(lang, target)
        except UserError as error:
            return {**{name: [] for name in TABLES}, "graphs": [{**key, **about, "why": str(error).splitlines()[0]}]}
        saes: dict[int, SAE] = {n: self.inputs.saes[n] for n in self.inputs.layers}
        states = {n: torch.cat([seen.state(n), seen.base(n)]) for n in saes}
        random = {n: untrained_control(s, states[n], self.inputs.seed).to(states[n].device) for n, s in saes.items()}
        seed = [self.inputs.seed, STREAM, LANGUAGES.index(lang), target.sample_id]
        numbers = {"log_odds": graph.log_odds, "usual": graph.usual, "total": graph.total, "why": ""}
        layers = [{**key, **row} for row in layer_rows(seen, graph, saes, random, seed)]
        found = graph_rows(graph, {n: sae_id(sae) for n, sae in saes.items()})
        return {
            "graphs": [{**key, **about, **numbers, **circuit(seen, graph, saes)}],
            **{name: [{**key, **row} for row in rows] for name, rows in found.items()},
            "graph_layers": layers,
        }

    def graph(self, lang: str, target: Target) -> tuple[Counterfactual, Graph]:
        """The graph of one caption; UserError where the picture's way cannot be followed."""
        vlm, c = self.inputs.vlm, self.settings
        (row,), features = self.inputs.rows_of(lang, [target])
        score = self.inputs.log_odds([target])
        mean = self.mean_picture.to(features.dtype)
        seen = Counterfactual(vlm, row, features[0], mean, score, self.inputs.layers, c.n_way, c.batch_size)
        saes = {n: self.inputs.saes[n] for n in self.inputs.layers}
        return seen, attribution_graph(seen, saes, vlm.patch_grid, vlm.patches)


def graph_rows(graph: Graph, sae_ids: dict[int, str]) -> dict[str, Rows]:
    """Nodes and edges as rows, without the names of the caption."""
    nodes = [_node_row(node, sae_ids.get(node.layer)) for node in graph.nodes]
    return {"graph_nodes": nodes, "graph_edges": [_edge_row(edge) for edge in graph.edges]}


def _node_row(node: Node, of: str | None) -> dict[str, Any]:
    own = {name: getattr(node, name) for name in ("kind", "layer", "feature", "place", "activation", "usual")}
    numbers = {name: getattr(node, name) for name in ("effect", "taken", "alone", "measured")}
    return {"node": node.name, "sae_id": of, "patches": list(node.patches), **own, **numbers}


def _edge_row(edge: Edge) -> dict[str, Any]:
    numbers = {name: getattr(edge, name) for name in ("effect", "taken", "alone", "measured")}
    return {"source": edge.source, "target": edge.target, **numbers, "holds": holds(edge.effect, edge.measured)}


def holds(effect: float, measured: float) -> bool:
    """Whether running the model bears out what gradients said: the same sign, and sizes within a factor of TIMES."""
    return effect * measured > 0 and abs(effect) / TIMES <= abs(measured) <= TIMES * abs(effect)

"""How the gender of one word was written: patches of the picture -> features, layer by layer -> the word.

1. *Total* (core.mech.counterfactual): what the picture, rather than the mean picture, adds to the log-odds of the word.
2. *Effects*. At each layer the change of the states, times the mean gradient on the straight way between them, adds up
   to the total. The change is the sum of what features change (z - z of the mean picture, times W_dec) and of what the
   SAE leaves out: each of these is a node, and its share of the sum is its effect (attribution patching with integrated
   gradients: Marks et al. 2024, arXiv 2403.19647, eq. 4; the error node is theirs too). A feature is a node of its own
   at each kind of position (PLACES). At the input, patches are grouped into regions of one sign.
3. *Pruning* to what can be read: N_NODES nodes, those of the largest effect, at least two features a layer (after
   Ameisen et al. 2025, "Circuit Tracing", whose nodes are ranked by influence). Every layer keeps its error node.
4. *Edges*, from one layer of nodes to the next: what the change of the one adds to the other, times what that is worth
   to the word; again with the mean gradient, behind which nothing above the upper layer is differentiated. All of a
   layer's states go through the next one's features and error, so there are no edges past a layer.
5. *Checks* by running the model. A node is *taken back* to the mean picture, all else staying as the picture has it;
   and put *alone* onto the states of the mean picture. An edge: the one node is taken back (or put alone), the other
   takes what becomes of it in the next layer, and nothing else does. Where several nodes say the same, taking one back
   loses little and one alone brings much; gradients, which see the whole way, should lie between, and *measured* is the
   mean of both (of two players, the node and all else, the Shapley value). What gradients said stands beside it.
6. *Layers*: how much of the total the chosen nodes alone, all features and the errors alone bring about when they are
   put onto the states of the mean picture; the same for random dictionaries and for other features that change as much.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from core.mech.counterfactual import NOWHERE, PLACES, Counterfactual
from core.vlm.gradients import INPUT

if TYPE_CHECKING:
    from core.sae.modules import SAE

N_NODES = 30  # of a whole graph, the word among them
N_EDGES = 48
LEAST = 2  # features a layer, where room is scarce one
N_REGIONS = 3  # of patches, beside the rest of the picture
REGION_MASS = 0.75  # of the effects' sizes, that the patches in regions make up
CHUNK_ELEMENTS = 1 << 24


class Measured:
    """What running the model says of a node or an edge: ``taken`` is lost without it, ``alone`` won by it."""

    taken: float
    alone: float

    @property
    def measured(self) -> float:
        """The mean of what is lost and what is won."""
        return (self.taken + self.alone) / 2


@dataclass(frozen=True)
class Node(Measured):
    """A part of the graph: ``kind`` is "patches", "feature", "error" or "word"; ``layer`` INPUT for patches.

    ``effect`` is what gradients say that its change adds to the log-odds, ``taken`` what is lost when it is taken back,
    ``alone`` what it adds to the mean picture. ``change`` (*state) is what it changes; ``patches`` numbers of cells.
    """

    name: str
    kind: str
    layer: int
    effect: float
    change: Tensor | None = None
    feature: int = -1
    place: str = ""
    activation: float = float("nan")
    usual: float = float("nan")  # activation with the mean picture
    patches: tuple[int, ...] = ()
    taken: float = float("nan")
    alone: float = float("nan")


@dataclass(frozen=True)
class Edge(Measured):
    """From one node to another in the next layer of nodes: what gradients say, and what running the model says."""

    source: str
    target: str
    effect: float
    taken: float = float("nan")
    alone: float = float("nan")


@dataclass(frozen=True)
class Part:
    """What the features of one dictionary change at one layer, entry by entry: where a feature's activation differs."""

    position: Tensor
    feature: Tensor
    change: Tensor  # of the activation
    value: Tensor  # the activation with the picture
    effect: Tensor
    explained: Tensor  # (positions, d_model), what they change together


@dataclass(frozen=True)
class Layer:
    """One layer: ``whole`` is the sum of effects (the total, if the way was cut finely enough), ``by_place`` of each
    kind of position; ``features`` and ``error`` add up to it. ``nodes`` are the features that could be chosen."""

    layer: int
    whole: float
    by_place: dict[str, float]
    features: float
    error: float
    gross: float  # sum of the sizes of the effects of features, place by place, and of the error
    nodes: list[Node] = field(repr=False)
    error_node: Node = field(repr=False)
    gradient: Tensor = field(repr=False)


@dataclass(frozen=True)
class Graph:
    """Nodes and edges of one word; ``layers`` has what the pruned nodes were chosen from."""

    log_odds: float
    usual: float  # log-odds with the mean picture
    nodes: list[Node]
    edges: list[Edge]
    layers: list[Layer]

    @property
    def total(self) -> float:
        return self.log_odds - self.usual

    def chosen(self, layer: int, kind: str = "feature") -> list[Node]:
        """Nodes of a layer."""
        return [node for node in self.nodes if node.layer == layer and node.kind == kind]


@torch.no_grad()
def attribution_graph(
    seen: Counterfactual, saes: Mapping[int, SAE], grid: tuple[int, int] | None, patches: range, check: bool = True
) -> Graph:
    """The graph of one word (steps 2 to 5). ``grid`` and ``patches`` as in ``VLM``: without them the picture is one
    node. UserError where no gradient goes through the model."""
    found = [layer_effects(seen, saes[n], n) for n in seen.layers]
    pictures = picture_nodes(seen, grid, patches)
    nodes = [*pictures, *chosen(found, N_NODES - len(pictures) - 1)]
    edges = edges_of(seen, saes, nodes, {one.layer: one.gradient for one in found})
    kept = strongest(edges, N_EDGES)
    word = Node("word", "word", seen.vlm.n_layers, seen.total)
    if check:
        nodes, kept = checked(seen, saes, nodes, kept)
    return Graph(seen.with_picture, seen.without, [*nodes, word], kept, found)


# 2. Effects


@torch.no_grad()
def layer_effects(seen: Counterfactual, sae: SAE, layer: int, gradient: Tensor | None = None) -> Layer:
    """Effects of all features of a dictionary and of what it leaves out."""
    g = seen.gradient(layer)[0] if gradient is None else gradient
    change = seen.change(layer)
    by_position = (change * g).sum(-1)
    place = seen.places.to(g.device)
    part = feature_changes(seen, sae, layer, g)
    rest = change - part.explained
    key = place[part.position] * sae.cfg.d_sae + part.feature
    keys, of = key.unique(return_inverse=True)
    sums = torch.zeros(len(keys), dtype=torch.float64, device=g.device).index_add_(0, of, part.effect.double())
    nodes = []
    for n in sums.abs().argsort(descending=True, stable=True).tolist():
        place_number, feature = divmod(int(keys[n]), sae.cfg.d_sae)
        if sums[n] != 0:
            nodes.append(
                _feature_node(sae, part, of == n, layer, feature, PLACES[place_number], float(sums[n]), change)
            )
        if len(nodes) == N_NODES:
            break
    error = float((rest * g).sum())
    by_place = {name: float(by_position[place == n].sum()) for n, name in enumerate(PLACES)}
    error_node = Node(f"error {layer}", "error", layer, error, rest)
    gross = float(sums.abs().sum()) + abs(error)
    return Layer(layer, float(by_position.sum()), by_place, float(sums.sum()), error, gross, nodes, error_node, g)


def feature_changes(seen: Counterfactual, sae: SAE, layer: int, gradient: Tensor) -> Part:
    """What each feature changes at each position, BOS left out."""
    member = (seen.places != NOWHERE).nonzero()[:, 0].to(gradient.device)
    codes = [sae.sparse_code(x[member]) for x in (seen.state(layer), seen.base(layer))]
    key = torch.cat([code.row * sae.cfg.d_sae + code.feature for code in codes])
    keys, of = key.unique(return_inverse=True)
    signed = torch.cat([codes[0].value, -codes[1].value]).float()
    change = torch.zeros(len(keys), device=key.device).index_add_(0, of, signed)
    own = torch.cat([codes[0].value, torch.zeros_like(codes[1].value)]).float()
    value = torch.zeros(len(keys), device=key.device).index_add_(0, of, own)
    position, feature = member[keys // sae.cfg.d_sae], keys % sae.cfg.d_sae
    effect = torch.zeros(len(keys), device=key.device)
    explained = torch.zeros_like(gradient)
    step = max(1, CHUNK_ELEMENTS // gradient.shape[1])
    for start in range(0, len(keys), step):
        now = slice(start, start + step)
        written = change[now, None] * sae.W_dec.detach()[feature[now]].float()
        effect[now] = (written * gradient[position[now]]).sum(1)
        explained.index_add_(0, position[now], written)
    return Part(position, feature, change, value, effect, explained)


def _feature_node(
    sae: SAE, part: Part, mine: Tensor, layer: int, feature: int, place: str, effect: float, like: Tensor
) -> Node:
    change = torch.zeros_like(like)
    change[part.position[mine]] = part.change[mine, None] * sae.W_dec.detach()[feature].float()
    most = float(part.value[mine].max())
    usual = float((part.value[mine] - part.change[mine]).max())
    name = f"{layer}/{feature}/{place}"
    return Node(name, "feature", layer, effect, change, feature, place, most, usual)


def picture_nodes(seen: Counterfactual, grid: tuple[int, int] | None, patches: range) -> list[Node]:
    """Regions of the picture, the strongest first, and all else of it as one node."""
    change = seen.change(INPUT)
    effects = (change * seen.gradient(INPUT)[0]).sum(-1)
    found = []
    if grid and len(patches):
        own = effects[patches.start : patches.stop].cpu().numpy().astype(float)
        for n, cells in enumerate(regions(own.reshape(grid))):
            some = torch.tensor([patches.start + i for i in cells], device=change.device)
            mine = torch.zeros_like(change).index_copy_(0, some, change[some])
            found.append(Node(f"patches {n + 1}", "patches", INPUT, float(effects[some].sum()), mine, patches=cells))
    taken = {i for node in found for i in node.patches}
    left = tuple(i for i in range(len(patches)) if i not in taken)
    rest = change - sum((node.change for node in found if node.change is not None), torch.zeros_like(change))
    if rest.any():
        said = float(effects.sum()) - sum(node.effect for node in found)
        found.append(Node("rest of the picture", "patches", INPUT, said, rest, patches=left))
    return found


def regions(effects: NDArray[np.float64]) -> list[tuple[int, ...]]:
    """Cells (row-major) of at most N_REGIONS regions of a map of effects (rows, columns), the strongest first.

    The strongest cells that make up REGION_MASS of all sizes, those of one sign that touch each other (corners count)
    together.
    """
    size = np.abs(effects)
    order = np.argsort(-size.ravel(), kind="stable")
    within = np.cumsum(size.ravel()[order]) <= REGION_MASS * size.sum()
    strong = np.zeros(effects.size, bool)
    strong[order[: int(within.sum()) + 1]] = True
    strong = strong.reshape(effects.shape) & (size > 0)
    found = []
    for side in (effects > 0, effects < 0):
        labels, n = ndimage.label(strong & side, np.ones((3, 3)))
        found += [np.flatnonzero(labels.ravel() == i + 1) for i in range(n)]
    found.sort(key=lambda cells: -abs(effects.ravel()[cells].sum()))
    return [tuple(int(i) for i in cells) for cells in found[:N_REGIONS]]


# 3. Pruning


def chosen(layers: Sequence[Layer], room: int) -> list[Node]:
    """The features of the largest effect of all layers and every error node, ``room`` together; LEAST a layer at least.

    Effects of different layers may be compared, for those of each add up to the same total.
    """
    least = LEAST if room >= (LEAST + 1) * len(layers) else 1
    first = [node for one in layers for node in one.nodes[:least]]
    others = sorted((node for one in layers for node in one.nodes[least:]), key=lambda node: -abs(node.effect))
    names = {node.name for node in [*first, *others[: max(0, room - len(first) - len(layers))]]}
    return [n for one in layers for n in [*(n for n in one.nodes if n.name in names), one.error_node]]


def strongest(edges: Sequence[Edge], n: int) -> list[Edge]:
    """``n`` edges of the largest size, and the strongest one from each node."""
    order = sorted(edges, key=lambda edge: -abs(edge.effect))
    best = {edge.source: edge for edge in reversed(order)}
    kept = {(e.source, e.target) for e in [*best.values(), *order[: max(0, n - len(best))]]}
    return [edge for edge in edges if (edge.source, edge.target) in kept]


# 4. Edges


def edges_of(
    seen: Counterfactual, saes: Mapping[int, SAE], nodes: Sequence[Node], gradients: Mapping[int, Tensor]
) -> list[Edge]:
    """All edges from layer to layer, and from the last layer to the word, where a node's effect is its edge."""
    steps, found = [INPUT, *seen.layers], []
    for lower, upper in itertools.pairwise(steps):
        sources, targets = ([n for n in nodes if n.layer == layer] for layer in (lower, upper))
        read = Reader(seen, saes[upper], targets, gradients[upper])
        back = seen.gradient(lower, read, upper)
        for source in sources:
            assert source.change is not None
            worth = (source.change[None] * back).flatten(1).double().sum(1).tolist()
            found += [Edge(source.name, t.name, w) for t, w in zip(targets, worth, strict=True)]
    return found + [Edge(n.name, "word", n.effect) for n in nodes if n.layer == steps[-1]]


class Reader:
    """What nodes of a layer are worth to the word, (n, n_nodes) of states (n, positions, d_model): their activations,
    or what the SAE leaves out, times the layer's gradient as it was."""

    def __init__(self, seen: Counterfactual, sae: SAE, nodes: Sequence[Node], gradient: Tensor):
        self.sae, self.nodes, self.gradient = sae, list(nodes), gradient
        self.place = seen.places.to(gradient.device)
        self.member = (self.place != NOWHERE).nonzero()[:, 0]

    def __call__(self, states: Tensor) -> Tensor:
        x = states.float()
        columns = []
        which = [node for node in self.nodes if node.kind == "feature"]
        z = self.activations(x, which)
        worth = self.gradient[self.member] @ self._written(which).T
        values = (z * worth * self._where(which)).sum(1)
        by_name = {node.name: values[:, i] for i, node in enumerate(which)}
        for node in self.nodes:
            columns.append(
                by_name[node.name] if node.kind == "feature" else (self.left_out(x) * self.gradient).sum((1, 2))
            )
        return torch.stack(columns, 1)

    def activations(self, x: Tensor, nodes: Sequence[Node]) -> Tensor:
        """(n, n_members, n_nodes)"""
        rows = x[:, self.member].flatten(0, 1)
        features = torch.tensor([node.feature for node in nodes], dtype=torch.int64, device=x.device)
        return self.sae.encode_some(rows, features).float().unflatten(0, (len(x), len(self.member)))

    def left_out(self, x: Tensor) -> Tensor:
        """What the SAE leaves out of states (n, positions, d_model)."""
        rows = x[:, self.member].flatten(0, 1)
        said = self.sae(rows).float().unflatten(0, (len(x), len(self.member)))
        return x.index_add(1, self.member, -said)

    def change_of(self, node: Node, states: Tensor, own: Tensor) -> Tensor:
        """What a node changes (n, positions, d_model) where the states are ``states`` and not ``own`` (1, ...)."""
        if node.kind == "error":
            return self.left_out(states) - self.left_out(own)
        z = self.activations(torch.cat([own, states]), [node])[..., 0] * self._where([node])[None, :, 0]
        change = torch.zeros_like(states)
        change[:, self.member] = (z[1:] - z[:1])[..., None] * self._written([node])[0]
        return change

    def _written(self, nodes: Sequence[Node]) -> Tensor:
        features = torch.tensor([node.feature for node in nodes], dtype=torch.int64, device=self.gradient.device)
        return self.sae.W_dec.detach()[features].float()

    def _where(self, nodes: Sequence[Node]) -> Tensor:
        """Which members are of each node's kind of position, (n_members, n_nodes)."""
        kinds = torch.tensor([PLACES.index(node.place) for node in nodes], device=self.gradient.device)
        return self.place[self.member][:, None] == kinds[None]


# 5. Checks

Checked = dict[tuple[str, str], tuple[float, float]]  # of an edge: what is lost, and what is won alone


def checked(
    seen: Counterfactual, saes: Mapping[int, SAE], nodes: Sequence[Node], edges: Sequence[Edge]
) -> tuple[list[Node], list[Edge]]:
    """The same nodes and edges with what the model does when they are taken back, and when they are put alone."""
    by_name: dict[str, Node] = {}
    steps = [INPUT, *seen.layers]
    for layer in steps:
        mine = [node for node in nodes if node.layer == layer]
        if not mine:  # a picture that is the mean picture has no nodes
            continue
        changes = torch.stack([node.change for node in mine if node.change is not None])
        lost, won = _both(seen, layer, changes, changes)
        by_name |= {n.name: replace(n, taken=float(a), alone=float(b)) for n, a, b in zip(mine, lost, won, strict=True)}
    found: Checked = {
        (e.source, e.target): (by_name[e.source].taken, by_name[e.source].alone) for e in edges if e.target == "word"
    }
    for lower, upper in itertools.pairwise(steps):
        mine = [e for e in edges if by_name[e.source].layer == lower and e.target != "word"]
        found |= _edges_checked(seen, saes[upper], mine, by_name, lower, upper)
    at = [found[e.source, e.target] for e in edges]
    return [by_name[n.name] for n in nodes], [replace(e, taken=a, alone=b) for e, (a, b) in zip(edges, at, strict=True)]


def _both(
    seen: Counterfactual, layer: int, lost: Tensor, won: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is lost (n,) where ``lost`` is taken from the states with the picture, and won where ``won`` is added to
    those of the mean picture."""
    scores = seen.scores(layer, torch.cat([-lost, won - seen.change(layer)]))
    return seen.with_picture - scores[: len(lost)], scores[len(lost) :] - seen.without


def _edges_checked(
    seen: Counterfactual, sae: SAE, edges: Sequence[Edge], nodes: Mapping[str, Node], lower: int, upper: int
) -> Checked:
    sources = list(dict.fromkeys(e.source for e in edges))
    if not sources:
        return {}
    changes = torch.stack([c for name in sources if (c := nodes[name].change) is not None])
    without = seen.behind(lower, -changes, upper)
    alone = seen.behind(lower, changes - seen.change(lower), upper)
    reader = Reader(seen, sae, [], seen.state(upper))
    lost, won = (
        torch.stack([reader.change_of(nodes[e.target], x[sources.index(e.source)][None], own)[0] for e in edges])
        for x, own in ((without, seen.state(upper)[None]), (alone, seen.base(upper)[None]))
    )
    pairs = zip(edges, *_both(seen, upper, -lost, won), strict=True)
    return {(e.source, e.target): (float(a), float(b)) for e, a, b in pairs}

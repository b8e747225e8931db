"""A graph in the JSON that circuit-tracer's and Neuronpedia's viewers read (github.com/safety-research/circuit-tracer).

Four keys, ``metadata``, ``qParams``, ``nodes`` and ``links``, with the fields of schema version 1. What fits and what
does not:

- Feature, error, embedding and logit nodes are theirs. Our features are those of residual SAEs, not of transcoders:
  ``feature_type`` is still "cross layer transcoder", the only one for features that viewers draw; ``metadata`` says so.
- Theirs stand at one token; ours at a kind of position. ``ctx_idx`` is a number of such kinds, whose names are the
  ``prompt_tokens``: picture regions first, then question, words so far, and where the word is chosen.
- A region of patches is an "embedding" node. Errors are one node a layer, at the last kind.
- ``weight`` of a link and ``influence`` of a node are log-odds of the word against its counterpart, in place of
  influences on one logit. What running the model shows is beside them as ``measured``, which viewers pass over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from core.frames import records

KINDS = ("question", "words", "here")


def to_json(
    nodes: pd.DataFrame, edges: pd.DataFrame, *, slug: str, scan: str, word: str, counterpart: str, probability: float
) -> str:
    """JSON of one graph: rows of graph_nodes and graph_edges; ``scan`` names the model, ``probability`` the word's
    share of word and counterpart."""
    regions = [r["node"] for r in records(nodes[nodes["kind"] == "patches"])]
    tokens = ["picture", *regions, *KINDS]
    ids = {r["node"]: _id(r, tokens) for r in records(nodes)}
    named: dict[str, Any] = {
        "slug": slug,
        "scan": scan,
        "transcoder_list": sorted({r["sae_id"] for r in records(nodes) if isinstance(r["sae_id"], str)}),
        "prompt_tokens": tokens,
        "prompt": f"{word} / {counterpart}",
        "schema_version": 1,
        "info": {"features": "residual-stream SAEs", "positions": "kinds of positions", "unit": "log-odds"},
    }
    made = {
        "metadata": named,
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": [_node(r, ids[r["node"]], tokens, word, counterpart, probability) for r in records(nodes)],
        "links": [
            {"source": ids[e["source"]], "target": ids[e["target"]], "weight": e["effect"], "measured": e["measured"]}
            for e in records(edges)
        ],
    }
    return json.dumps(made, ensure_ascii=False, allow_nan=False, indent=1)


def _place(row: dict[str, Any], tokens: Sequence[str]) -> int:
    if row["kind"] == "patches":
        return tokens.index(row["node"])
    if row["kind"] == "feature":
        return 0 if row["place"] == "image" else tokens.index(row["place"])
    return tokens.index("here")


def _id(row: dict[str, Any], tokens: Sequence[str]) -> str:
    at = _place(row, tokens)
    if row["kind"] == "patches":
        return f"E_{at}_{at}"
    feature = {"feature": row["feature"], "error": -1, "word": 0}[row["kind"]]
    return f"{row['layer'] + (row['kind'] == 'word')}_{feature}_{at}"


def _node(
    row: dict[str, Any], name: str, tokens: Sequence[str], word: str, counterpart: str, probability: float
) -> dict[str, Any]:
    types = {"patches": "embedding", "feature": "cross layer transcoder", "error": "mlp reconstruction error"}
    is_word, is_feature = row["kind"] == "word", row["kind"] == "feature"
    said = f'"{word}" against "{counterpart}"' if is_word else row["node"] if row["kind"] == "patches" else ""
    layer = "E" if row["kind"] == "patches" else str(row["layer"] + is_word)
    return {
        "node_id": name,
        "jsNodeId": name.replace("_", "-") if is_word else f"{name.rpartition('_')[0]}-{_place(row, tokens)}",
        "feature": _pair(row["layer"], row["feature"]) if is_feature else -1 if row["kind"] == "error" else 0,
        "layer": layer,
        "ctx_idx": _place(row, tokens),
        "reverse_ctx_idx": 0,
        "run_idx": 0,
        "feature_type": types.get(row["kind"], "logit"),
        "token_prob": probability if is_word else 0.0,
        "is_target_logit": is_word,
        "clerp": row.get("label") or said,
        "influence": row["effect"],
        "activation": _number(row["activation"]),
        "measured": _number(row["measured"]),
    }


def _pair(a: int, b: int) -> int:
    """Cantor's number of a pair, by which viewers tell features of different layers apart."""
    return (a + b) * (a + b + 1) // 2 + b


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)

"""The tables of stage graph over a toy run (tests/toy_run.py), made up but consistent, for pages and their tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.mech.graph_captions import TABLES
from core.mech.tables import rows_as
from core.run import Run


def add_graph_tables(run_dir: str | Path, why: str = "") -> None:
    """Write the tables into a run folder that has SAEs of two layers or more; ``why`` makes tables without graphs."""
    saes = pq.read_table(Path(run_dir) / "saes.parquet", columns=["layer", "sae_id"]).to_pylist()
    ids = {row["layer"]: row["sae_id"] for row in saes}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for lang, word, other in (("en", "her", "his"), ("ar", "امرأة", "رجل")):
        if why:
            rows["graphs"].append({"lang": lang, "sample_id": -1, "why": why})
            continue
        for i in range(10):
            _caption(rows, lang, i, (word, other), ids)
    for name, of in TABLES.items():
        of.write(Run(run_dir), rows_as(of, rows[name]))


def _caption(rows: dict[str, list], lang: str, i: int, words: tuple[str, str], ids: dict[int, str]) -> None:
    side, key = (1 if i % 2 else -1), {"lang": lang, "sample_id": i}
    total, gender = side * (4.0 + 0.2 * i), "female" if side > 0 else "male"
    word, other = words if side > 0 else words[::-1]
    about = {"gender": gender, "word": word, "counterpart": other, "log_odds": total - 1, "usual": -1.0, "total": total}
    rows["graphs"].append({**key, **about, "circuit": 0.6 * total, "circuit_error": 0.7 * total, "why": ""})
    below, names = (
        "patches 1",
        [("patches 1", "patches", -1, list(range(4))), ("rest of the picture", "patches", -1, list(range(4, 16)))],
    )
    edges = []
    for n, layer in enumerate(sorted(ids)):
        place = "here" if n else "image"
        name = f"{layer}/{n + 1}/{place}"
        names += [(name, "feature", layer, []), (f"error {layer}", "error", layer, [])]
        edges.append((below, name, 0.7 * total, 0.6 * total))
        edges.append((below, f"error {layer}", 0.1 * total, -0.1 * total))
        below = name
        for dictionary, kept in (("own", 0.8), ("random", 0.1)):
            row = {"layer": layer, "dictionary": dictionary, "n_nodes": 1, "whole": total, "at_question": 0.0}
            row |= {"at_image": (0.1 if n else 0.9) * total, "at_words": 0.0, "at_here": (0.9 if n else 0.1) * total}
            row |= {"features": 0.9 * total, "error": 0.1 * total, "kept": kept * total, "gross": 2 * abs(total)}
            row |= {"kept_gross": abs(total), "features_measured": 0.9 * total, "error_measured": 0.1 * total}
            row |= {"kept_measured": kept * total, "matched": 0.0, "matched_measured": 0.0}
            rows["graph_layers"].append({**key, **row})
    edges.append((below, "word", 0.8 * total, 0.8 * total))
    for name, kind, layer, patches in names:
        feature, place = (int(name.split("/")[1]), name.split("/")[2]) if kind == "feature" else (-1, "")
        sizes = {"effect": 0.7 * total, "taken": 0.5 * total, "alone": 0.7 * total, "measured": 0.6 * total}
        row = {"node": name, "kind": kind, "layer": layer, "feature": feature, "place": place, "patches": patches}
        rows["graph_nodes"].append({**key, **row, **sizes, "activation": 3.0, "usual": 0.5, "sae_id": ids.get(layer)})
    top = {"node": "word", "kind": "word", "layer": max(ids) + 2, "feature": -1, "place": "", "patches": []}
    rows["graph_nodes"].append({**key, **top, "effect": total})
    for source, target, effect, measured in edges:
        sizes = {"effect": effect, "taken": measured, "alone": measured, "measured": measured}
        rows["graph_edges"].append({**key, "source": source, "target": target, **sizes, "holds": measured * effect > 0})

"""The tables features.parquet and examples.parquet: how they are filled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from core.features.examples import Examples, ImageMaxima, Traces, bin_names
from core.features.statistics import FeatureStatistics, FeatureWords, Neighbours
from core.features.tokens import GROUPS, KINDS, LANGUAGES, TokenIndex
from core.run.schema.features import EXAMPLES, FEATURES, PIECES

HALF_MAX = float(np.finfo(np.float16).max)


def statistics_columns(
    stats: FeatureStatistics,
    usual: Mapping[str, np.ndarray],
    words: tuple[np.ndarray, np.ndarray, np.ndarray],
    token_strings: Sequence[str],
) -> pa.Table:
    """The columns of features.parquet that a block of features yields by itself; null where a feature never fires.

    ``usual`` is what ``usual.usual_activation`` gives, ``words`` what ``logits.top_tokens`` gives; ``token_strings``
    the text of each token id.
    """
    alive, n = stats.alive, len(stats.alive)
    numbers = {name: _where(getattr(stats, name), alive) for name in ("mean", "std", "max", "p999")}
    densities = {f"density_{g}": _not_nan(stats.density_by_group[:, i]) for i, g in enumerate(GROUPS)}
    feature, token, value = words
    offsets = np.searchsorted(feature, np.arange(n + 1))
    names = pa.array([token_strings[t] for t in token.tolist()], pa.string())
    return pa.table(
        {
            "n_active": stats.n_active,
            "density": stats.density,
            **densities,
            "lang_en": _not_nan(stats.lang_en),
            "lang_ar": _not_nan(stats.lang_ar),
            **{name: _not_nan(values) for name, values in usual.items()},
            **numbers,
            "histogram": _rows(stats.histogram, alive, pa.int32()),
            "alive": alive,
            "top_tokens": _ragged(names, offsets, ~alive),
            "top_token_values": _ragged(pa.array(value), offsets, ~alive),
        }
    )


def features_table(
    layer: int,
    sae_id: str,
    blocks: pa.Table,
    explained_share: np.ndarray,
    place: np.ndarray,
    near: Neighbours,
    words: FeatureWords,
    token_strings: Sequence[str],
) -> pa.Table:
    """One layer of features.parquet.

    ``blocks`` are the joined ``statistics_columns``; ``place``, ``near`` and ``words`` have one row an alive feature,
    and ``near`` counts among those.
    """
    n, alive = len(blocks), blocks["alive"].to_numpy()
    feature = np.flatnonzero(alive)
    strings = np.array(token_strings, dtype=object)
    columns = {name: blocks[name] for name in blocks.column_names} | {
        "layer": np.full(n, layer),
        "feature": np.arange(n),
        "sae_id": [sae_id] * n,
        "explained_share": explained_share,
        "umap_x": _spread(place[:, 0], alive),
        "umap_y": _spread(place[:, 1], alive),
        "logits_up_tokens": _spread_lists(strings[words.up_ids], alive, pa.string()),
        "logits_up": _spread_lists(words.up, alive, pa.float32()),
        "logits_down_tokens": _spread_lists(strings[words.down_ids], alive, pa.string()),
        "logits_down": _spread_lists(words.down, alive, pa.float32()),
        "neighbours": _spread_lists(feature[near.index], alive, pa.int32()),
        "neighbour_cosines": _spread_lists(near.cosine, alive, pa.float32()),
    }
    return pa.table({name: columns[name] for name in FEATURES.names}).cast(FEATURES.arrow)


def examples_table(
    layer: int,
    sae_id: str,
    first: int,
    tokens: TokenIndex,
    maxima: ImageMaxima,
    examples: Examples,
    lines: Traces,
    pieces: pa.ListArray,
    n_quantiles: int,
) -> pa.Table:
    """The rows of examples.parquet for a block of features; the half-float lists hold at most 65504.

    ``pieces`` are the tokens of each sequence's caption as text (``caption_pieces``), one for each of token_values.
    """
    n, row = len(examples.pair), maxima.row[examples.pair]
    bins = np.array(bin_names(n_quantiles), dtype=object)
    kind = np.array(KINDS[1:], dtype=object)[np.minimum(tokens.group[row], 2)]
    words = pa.array(np.minimum(lines.captions, HALF_MAX).astype(np.float16))
    columns = {
        "layer": np.full(n, layer),
        "feature": first + examples.feature,
        "sae_id": [sae_id] * n,
        "bin": bins[examples.bin],
        "rank": examples.rank,
        "sample_id": maxima.sample_id[examples.pair],
        "lang": np.array(LANGUAGES, dtype=object)[lines.sequence % len(LANGUAGES)],
        "activation": maxima.value[examples.pair],
        "position": tokens.position[row],
        "kind": kind,
        "patch_map": _rows(np.minimum(lines.patches, HALF_MAX), np.ones(n, bool), pa.float16()),
        "token_values": _ragged(words, lines.offsets),
        "pieces": pieces.take(pa.array(lines.sequence)),
        "band_low": examples.band_low,
        "band_high": examples.band_high,
    }
    return pa.table({name: columns[name] for name in EXAMPLES.names}).cast(EXAMPLES.arrow)


def caption_pieces(tokens: TokenIndex, token_strings: Callable[[Sequence[int]], list[str]]) -> pa.ListArray:
    """The tokens of each sequence's caption as readable text, one list a sequence."""
    ids, start = tokens.captions()
    pieces = [token_strings(ids[a:b].tolist()) for a, b in pairwise(start.tolist())]
    return pa.array(pieces, pa.list_(pa.string()))


def pieces_table(tokens: TokenIndex, pieces: pa.ListArray) -> pa.Table:
    """The rows of pieces.parquet: sequences with a caption, by image and language."""
    spoken = np.flatnonzero(tokens.caption_length)
    sample_id, lang = np.divmod(spoken, len(LANGUAGES))
    columns = {
        "sample_id": sample_id,
        "lang": np.array(LANGUAGES, dtype=object)[lang],
        "pieces": pieces.take(pa.array(spoken)),
    }
    return pa.table(columns).cast(PIECES.arrow)


def _where(values: np.ndarray, keep: np.ndarray) -> pa.Array:
    return pa.array(values, mask=~keep)


def _not_nan(values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _ragged(values: pa.Array, offsets: np.ndarray, null: np.ndarray | None = None) -> pa.ListArray:
    mask = None if null is None else pa.array(null)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=mask)


def _rows(values: np.ndarray, keep: np.ndarray, type: pa.DataType) -> pa.ListArray:
    """A list of equal length where ``keep``, null elsewhere; ``values`` has a row for every entry."""
    return _spread_lists(values[keep], keep, type)


def _spread_lists(values: np.ndarray, keep: np.ndarray, type: pa.DataType) -> pa.ListArray:
    """The rows of ``values`` as lists at the places ``keep``, null elsewhere."""
    offsets = np.concatenate([[0], np.cumsum(keep)]) * values.shape[1]
    flat = values.reshape(-1)
    flat = pa.array(flat.astype(np.float16)) if type == pa.float16() else pa.array(flat, type)
    return _ragged(flat, offsets, ~keep)


def _spread(values: np.ndarray, keep: np.ndarray) -> pa.Array:
    """``values`` at the places ``keep``; null elsewhere and for NaN."""
    full = np.full(len(keep), np.nan, np.float32)
    full[keep] = values
    return _not_nan(full)

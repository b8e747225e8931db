"""What fires on one image and its captions: the sparse codes of a sample, and which of its features are out of the way.

A feature's activation is compared with what is usual for it. Over all tokens of a view (the image, the caption of a
language) it is averaged, silent tokens included, and set beside the mean and the standard deviation of the same average
over the run's images; at single tokens beside those over the run's tokens of that view. The score of "unusual" is

    (activation - usual) / (spread + s0),     s0 = the median spread of the layer's features that fire in that view.

Without s0 the first places would go to features that have fired on hardly anything else, however weakly: a spread that
is estimated from next to no firings is next to nothing (Tusher, Tibshirani and Chu 2001, who add such an s0 to the
spread of genes that are hardly expressed). Nothing here needs torch but what encodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from core.config import LANGUAGES
from core.errors import UserError
from core.features.token_codes import TokenCodes, other_sae
from core.features.tokens import KINDS
from core.features.usual import VIEWS
from core.run import Run

if TYPE_CHECKING:
    from core.sae.modules import SAE

Source = Literal["stored codes", "stored activations", "the model"]
Encode = Callable[[int, int, str], "Firing"]  # layer, sample_id, lang -> what the model says of it
By = Literal["unusual", "raw", "attention"]
TOKEN_COLUMNS = ["position", "kind", "patch", "slot", "token_id", "piece"]
N_SHOWN = 20
N_COMPARED = 4  # samples on a side


@dataclass(frozen=True)
class Firing:
    """The sparse codes of one sample in one language at one layer.

    ``tokens`` has a row a token but BOS: position, kind (image, prompt, caption), patch (-1 none), slot (place in the
    caption, -1 elsewhere), token_id, piece (its text, empty but in captions). ``token`` (nnz) int32 counts its rows,
    ``feature`` (nnz) int32, ``value`` (nnz) float32 > 0; sorted by token and then feature. ``n_missing`` image tokens
    were not kept by the run.
    """

    layer: int
    sample_id: int
    lang: str
    tokens: pd.DataFrame
    token: np.ndarray
    feature: np.ndarray
    value: np.ndarray
    sae_id: str
    source: Source
    n_missing: int = 0

    @classmethod
    def of(
        cls,
        resid: np.ndarray,
        tokens: pd.DataFrame,
        sae: SAE,
        layer: int = -1,
        sample_id: int = -1,
        lang: str = "",
        source: Source = "the model",
        named: str = "",
    ) -> Firing:
        """From residuals (n, d_model) of ``tokens``, a row each; BOS is left out. UserError where d_model differs.

        ``named`` is the SAE's id where it is known: the weights need not be hashed for it.
        """
        import torch

        from core.sae.files import sae_id

        if len(resid) != len(tokens):
            raise ValueError(f"{len(resid)} residuals for {len(tokens)} tokens")
        keep = (tokens["kind"] != "bos").to_numpy()
        x = torch.from_numpy(np.array(resid, np.float32)[keep]).to(sae.W_enc.device)
        with torch.no_grad():
            code = sae.sparse_code(x)
        token, feature, value = (part.cpu().numpy() for part in code)
        shown = tokens.loc[keep, TOKEN_COLUMNS].reset_index(drop=True)
        found = token.astype(np.int32), feature.astype(np.int32), value.astype(np.float32)
        return cls(layer, sample_id, lang, shown, *found, named or sae_id(sae), source)

    @property
    def has_patches(self) -> bool:
        """Whether image tokens can be shown where they are in the picture."""
        return bool((self.tokens["patch"] >= 0).any())

    def of_view(self, view: str) -> np.ndarray:
        """Rows of ``tokens`` that belong to a view: "image", "caption", or that of this language."""
        kind = "image" if view == "image" else "caption"
        if view not in ("image", "caption", f"caption_{self.lang}"):
            return np.zeros(0, np.int64)
        return np.flatnonzero((self.tokens["kind"] == kind).to_numpy())

    def at(self, tokens: Sequence[int] | np.ndarray) -> Firing:
        """The same of some rows of ``tokens`` alone, in the given order."""
        place = np.full(len(self.tokens), -1, np.int32)
        place[np.asarray(tokens, np.int64)] = np.arange(len(tokens), dtype=np.int32)
        keep = np.flatnonzero(place[self.token] >= 0)
        order = keep[np.lexsort((self.feature[keep], place[self.token[keep]]))]
        shown = self.tokens.iloc[np.asarray(tokens, np.int64)].reset_index(drop=True)
        found = place[self.token[order]], self.feature[order], self.value[order]
        return replace(self, tokens=shown, token=found[0], feature=found[1], value=found[2])

    def dense(self, features: Sequence[int] | np.ndarray) -> np.ndarray:
        """Activations of some features on every token (n_tokens, n_features) float32: a heat map."""
        wanted, column = np.unique(np.asarray(features, np.int64), return_inverse=True)
        table = np.zeros((len(self.tokens), len(wanted)), np.float32)
        if len(wanted):
            at = np.searchsorted(wanted, self.feature).clip(max=len(wanted) - 1)
            hit = wanted[at] == self.feature
            table[self.token[hit], at[hit]] = self.value[hit]
        return table[:, column]

    def heat(self, feature: int, n_patches: int) -> np.ndarray:
        """Activation of a feature on each patch (n_patches) float32, NaN on patches that the run did not keep."""
        patch = self.tokens["patch"].to_numpy()
        heat = np.full(n_patches, np.nan, np.float32)
        shown = np.flatnonzero((patch >= 0) & (patch < n_patches))
        heat[patch[shown]] = self.dense([feature])[shown, 0]
        return heat

    def average(self, weights: np.ndarray | None = None) -> Average:
        """The features that fire, with their mean over all tokens (or ``weights`` (n_tokens), which sum to 1)."""
        feature, where = np.unique(self.feature, return_inverse=True)
        n = max(1, len(self.tokens))
        share = np.full(n, 1 / n) if weights is None else np.asarray(weights, np.float64)
        mean = np.bincount(where, self.value * share[self.token], len(feature))
        order = np.lexsort((self.token, -self.value, where))  # of equal values the first token
        first = order[np.searchsorted(where[order], np.arange(len(feature)))]
        return Average(feature, mean, self.value[first], self.token[first])


class Average(NamedTuple):
    """Of the features that fire, rising: mean activation, largest activation, and the token that has it."""

    feature: np.ndarray
    mean: np.ndarray
    peak: np.ndarray
    token: np.ndarray


def firing(run: Run, layer: int, sample_id: int, lang: str, encode: Encode | None = None) -> Firing:
    """What fires on a sample in a language: from stored codes, else from stored activations, else from ``encode``.

    Where the run keeps a sample of each image's tokens only, ``encode(layer, sample_id, lang)``, if given, tells of all
    of them. UserError where the run has no SAE of the layer, no such sequence, or nothing to read the codes from.
    """
    named = sae_of(run, layer)
    tokens = sequence_tokens(run, sample_id, lang)
    kept = TokenCodes.of(run, layer, named)
    if tokens.attrs["n_missing"] and encode is not None:
        found = encode(layer, sample_id, lang)
    elif kept is not None:
        found = _stored(kept, tokens, layer, sample_id, lang)
    elif any(run.path("activations", f"layer_{layer:02d}").glob("shard_*.safetensors")):
        from core.activations.store import ActivationReader
        from core.sae.files import load_sae

        sae = load_sae(run.path("saes", f"layer_{layer:02d}"))
        resid = ActivationReader(run.dir, layer).read(tokens["row"].to_numpy()).numpy()
        found = Firing.of(resid, tokens, sae, layer, sample_id, lang, "stored activations")
        found = replace(found, n_missing=tokens.attrs["n_missing"])
    elif encode is not None:
        found = encode(layer, sample_id, lang)
    else:
        why = "The run keeps neither codes nor activations, and no model is loaded."
        raise UserError(f"What fires on image {sample_id} cannot be read.", why, "Load the model on this page.")
    if found.sae_id != named:
        raise other_sae(layer, named, found.sae_id)
    return found


def _stored(kept: TokenCodes, tokens: pd.DataFrame, layer: int, sample_id: int, lang: str) -> Firing:
    """From the codes that the run keeps."""
    rows = tokens["row"].to_numpy()
    first = int(rows[0])
    codes = kept.read(first, int(rows[-1]) + 1)
    place = np.full(rows[-1] + 1 - first, -1, np.int32)
    place[rows - first] = np.arange(len(rows), dtype=np.int32)
    token = place[codes.row]
    own = token >= 0  # BOS has no codes, but a row may lie between those of the sequence that is none of its own
    shown = tokens[TOKEN_COLUMNS]
    found = token[own], codes.feature[own], codes.value[own], kept.sae_id
    return Firing(layer, sample_id, lang, shown, *found, "stored codes", tokens.attrs["n_missing"])


def sae_of(run: Run, layer: int) -> str:
    """The id of the run's SAE of a layer; UserError where it has none."""
    rows = run.table("saes", ["layer", "sae_id"]).to_pylist()
    named = {row["layer"]: row["sae_id"] for row in rows}
    if layer not in named:
        has = ", ".join(map(str, sorted(named))) or "none"
        raise UserError(f"The run {run.name} has no SAE of layer {layer}.", f"It has: {has}.", "Choose one of these.")
    return named[layer]


def sequence_tokens(run: Run, sample_id: int, lang: str) -> pd.DataFrame:
    """The stored tokens of a sequence but BOS, in their order: TOKEN_COLUMNS and ``row``, the row of activations.

    UserError where there is none.
    """
    columns = ["row", "lang", "position", "kind", "token_id", "patch"]
    table = run.table("tokens", columns, sample_id=int(sample_id))
    tokens = table.to_pandas()
    tokens = tokens[(tokens["lang"] == lang) & (tokens["kind"] != "bos")].sort_values("position", ignore_index=True)
    if not len(tokens):
        why = "It has no caption there, or the run no such image."
        raise UserError(f"Image {sample_id} has no tokens in {lang!r}.", why, "Choose another image or language.")
    tokens["kind"] = pd.Categorical(tokens["kind"].astype(str), KINDS)
    caption = (tokens["kind"] == "caption").to_numpy()
    tokens["slot"] = np.where(caption, np.cumsum(caption) - 1, -1)
    tokens["piece"] = ""
    pieces = caption_texts(run, sample_id, lang)
    if len(pieces) == caption.sum():
        tokens.loc[caption, "piece"] = pieces
    noted = table.schema.metadata or {}
    n_image = int((tokens["kind"] == "image").sum())
    tokens.attrs["n_missing"] = max(0, int(noted.get(b"n_image_tokens", n_image)) - n_image)
    return tokens


def caption_texts(run: Run, sample_id: int, lang: str) -> list[str]:
    """The tokens of a caption as text; empty where the stage features has not run."""
    if not run.has("pieces"):
        return []
    found = run.table("pieces", ["pieces"], sample_id=int(sample_id), lang=lang)
    return found["pieces"][0].as_py() if len(found) else []


def usual(run: Run, layer: int) -> pd.DataFrame:
    """What each feature does as a rule, (d_sae) rows by feature: ``usual_<view>``, ``spread_<view>`` (over images) and
    ``token_spread_<view>`` for each of VIEWS, 0 where the run has no such tokens. UserError without features."""
    names = [f"{name}_{view}" for view in VIEWS for name in ("usual", "spread", "token_spread")]
    table = run.table("features", ["feature", "sae_id", *names], layer=int(layer))
    named, found = sae_of(run, layer), table.to_pandas().sort_values("feature", ignore_index=True)
    if len(found) and found["sae_id"].iloc[0] != named:
        raise other_sae(layer, named, found["sae_id"].iloc[0])
    return found.drop(columns="sae_id").fillna(0.0)


def strongest(
    firings: Firing | Sequence[Firing],
    usual: pd.DataFrame,
    n: int = N_SHOWN,
    by: By = "unusual",
    tokens: Sequence[int] | None = None,
    attention: np.ndarray | None = None,
) -> pd.DataFrame:
    """The ``n`` features that come first on a sample, or at chosen ``tokens`` (rows of the one firing's tokens).

    ``by`` "unusual" ranks as this module says, "raw" by the mean activation itself, "attention" by the activation
    averaged with the weights ``attention`` (one a token of the one firing; what is chosen of them is scaled to sum 1)
    over what is usual at a token. Columns: feature, score, activation (mean over the tokens of the view, silent ones
    included), peak, token (row of tokens that has the peak), view, lang. A feature stands once, in the view and
    language where its score is largest.
    """
    given = [firings] if isinstance(firings, Firing) else list(firings)
    if (tokens is not None or by == "attention") and len(given) != 1:
        raise ValueError("tokens are chosen of one firing")
    if by == "attention" and attention is None:
        raise ValueError("ranking by attention needs the attention of every token")
    parts = []
    for one in given:
        rows = np.arange(len(one.tokens)) if tokens is None else np.unique(np.asarray(tokens, np.int64))
        for view in ("image", *(() if tokens is None else ("prompt",)), f"caption_{one.lang}"):
            of = _rows_of(one, view, rows)
            if len(of):
                parts.append(_ranked(one, of, view, usual, by, tokens is None, attention))
    if not parts:
        return pd.DataFrame({name: [] for name in RANKED}).astype({"feature": np.int64, "token": np.int64})
    every = pd.concat(parts, ignore_index=True).sort_values(["score", "feature"], ascending=[False, True])
    return every.drop_duplicates("feature").head(n).reset_index(drop=True)[list(RANKED)]


RANKED = ("feature", "score", "activation", "peak", "token", "view", "lang")


def _rows_of(one: Firing, view: str, rows: np.ndarray) -> np.ndarray:
    kind = view if view in ("image", "prompt") else "caption"
    return rows[(one.tokens["kind"] == kind).to_numpy()[rows]]


def _ranked(
    one: Firing, rows: np.ndarray, view: str, usual: pd.DataFrame, by: By, whole: bool, attention: np.ndarray | None
) -> pd.DataFrame:
    part, weights = one.at(rows), None
    if by == "attention" and attention is not None:
        mass = np.asarray(attention, np.float64)[rows]
        weights = mass / mass.sum() if mass.sum() > 0 else np.zeros(len(rows))
    found = part.average(weights)
    score = found.mean
    if by != "raw":
        score = unusual(found.feature, found.mean, usual, view, whole and weights is None)
    columns = found.feature.astype(np.int64), score, found.mean, found.peak, rows[found.token]
    return pd.DataFrame(dict(zip(RANKED, columns, strict=False))).assign(view=view, lang=one.lang)


def unusual(
    feature: np.ndarray, activation: np.ndarray, usual: pd.DataFrame, view: str, whole: bool = True
) -> np.ndarray:
    """(activation - usual) / (spread + s0) of features; ``whole``: averages over a view, else single tokens.

    Of prompts nothing is known as usual: theirs is the raw activation. UserError for a feature beyond the table.
    """
    if len(feature) and int(feature.max()) >= len(usual):
        why = f"The SAE has {len(usual):,} features; the codes name feature {int(feature.max()):,}."
        raise UserError("The codes do not fit the SAE.", why, "Compute the run again: python -m precompute run PRESET.")
    if view == "prompt":
        return np.asarray(activation, np.float64)
    spread = usual[f"spread_{view}" if whole else f"token_spread_{view}"].to_numpy(np.float64)
    positive = spread[spread > 0]
    s0 = float(np.median(positive)) if len(positive) else 1.0
    return (activation - usual[f"usual_{view}"].to_numpy(np.float64)[feature]) / (spread[feature] + s0)


def word_attention(run: Run, one: Firing) -> np.ndarray | None:
    """Attention of the place where the caption's first gendered word is chosen to each token of ``one`` (n_tokens),
    averaged over all heads; 0 but on patches. None where head_attention has no map of this sample and language."""
    if not run.has("head_attention"):
        return None
    found = run.table("head_attention", ["patch_map"], sample_id=int(one.sample_id), lang=one.lang)
    maps = found["patch_map"].to_pylist()
    patch = one.tokens["patch"].to_numpy()
    if not maps or not len(maps[0]) or patch.max(initial=-1) >= len(maps[0]):
        return None
    return np.where(patch >= 0, np.mean(maps, axis=0)[patch], 0.0)


def compare(
    run: Run,
    layer: int,
    for_samples: Sequence[int],
    against_samples: Sequence[int],
    view: str = "image",
    known: pd.DataFrame | None = None,
    encode: Encode | None = None,
) -> pd.DataFrame:
    """Features that are higher on every one of these samples than on any of those (up to four a side).

    ``view`` is one of VIEWS, ``known`` what ``usual`` gives. Columns: feature, margin (the lowest of these over the
    highest of those, in units of spread + s0; with no sample against, over what is usual), activation_for and
    activation_against (means), n_for and n_against (samples on which it fires in this view), only (it fires on all of
    these and none of those). Rows by margin, those with ``only`` first. UserError for other numbers of samples.
    """
    if view not in VIEWS:
        raise UserError(f"There is no view {view!r}.", "", f"Use one of {', '.join(VIEWS)}.")
    shared = set(for_samples) & set(against_samples)
    if not 1 <= len(for_samples) <= N_COMPARED or len(against_samples) > N_COMPARED or shared:
        why = f"{len(for_samples)} and {len(against_samples)} are chosen, {len(shared)} of them on both sides."
        do = f"Choose one to {N_COMPARED} images, and up to {N_COMPARED} others against them."
        raise UserError("These images cannot be compared.", why, do)
    known = usual(run, layer) if known is None else known
    langs = LANGUAGES if view == "image" else (view.removeprefix("caption_"),)
    lang = next(lang for lang in langs if lang in run.languages)
    sides = [np.zeros((len(ids), len(known))) for ids in (for_samples, against_samples)]
    for side, ids in zip(sides, (for_samples, against_samples), strict=True):
        for line, sample_id in zip(side, ids, strict=True):
            one = firing(run, layer, int(sample_id), lang, encode)
            found = one.at(one.of_view(view)).average()
            unusual(found.feature, found.mean, known, view)  # checks the numbers of features
            line[found.feature] = found.mean
    these, those = sides
    some = np.flatnonzero(these.min(0) > 0)
    over = those[:, some].max(0) if len(those) else known[f"usual_{view}"].to_numpy()[some]
    spread = known[f"spread_{view}"].to_numpy()
    positive = spread[spread > 0]
    s0 = float(np.median(positive)) if len(positive) else 1.0
    n_for, n_against = (these[:, some] > 0).sum(0), (those[:, some] > 0).sum(0)
    found = pd.DataFrame(
        {
            "feature": some,
            "margin": (these[:, some].min(0) - over) / (spread[some] + s0),
            "activation_for": these[:, some].mean(0),
            "activation_against": those[:, some].mean(0) if len(those) else np.full(len(some), np.nan),
            "n_for": n_for,
            "n_against": n_against,
            "only": (n_for == len(these)) & (n_against == 0) & (len(those) > 0),
        }
    )
    found = found[found["margin"] > 0]
    return found.sort_values(["only", "margin", "feature"], ascending=[False, False, True], ignore_index=True)

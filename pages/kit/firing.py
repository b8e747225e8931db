"""What fires on a picture and its captions: pointing at a patch or a word, the features there as a list with heat maps,
and the captions as heat maps of tokens by features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from core.config import LANGUAGE_NAME
from core.errors import UserError
from core.figures.feature import is_word, isolated, visible
from core.figures.firing import caption_frame, caption_heat
from core.frames import records
from core.run import Run, manifest_version
from pages.kit import panels, pointing, runs, states, text
from pages.kit.images import data_uri, heat_uri
from pages.kit.links import href

if TYPE_CHECKING:
    from core.features.firing import Firing
    from core.run.reader import Catalog

N_LISTED = 20
N_DRAWN = 12  # columns of a heat map, whose numbers can be read on a telephone
WORDS = 4  # shown of each feature
GENDER = {"female": "images of women", "male": "images of men"}
OWNERS = {"english": ("en", "English"), "arabic": ("ar", "Arabic"), "shared": ("", "both languages")}


@dataclass(frozen=True)
class Seen:
    """A picture with its captions as a layer reads them: ``src`` is the picture's address, ``thumb`` that of a small
    copy, ``captions`` the texts, and ``firings`` what fires, each by language; ``side`` patches a side, 0 where no
    position of the model belongs to a part of the picture. ``shape`` is how many times as wide as high it is."""

    src: str
    thumb: str
    alt: str
    side: int
    captions: Mapping[str, str]
    firings: Mapping[str, Firing]
    shape: float = 1.0

    @property
    def no_patches(self) -> str:
        """What is to be said where no part of the picture can be pointed at; "" where it can."""
        if 0 < self.side**2 <= pointing.MAX_PATCHES:
            return ""
        too_many = f"Its {self.side**2:,} parts are too many to point at"
        none = "No position of this model belongs to a part of the picture"
        return f"{too_many if self.side else none}: only words can be chosen."

    def heat(self, features: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Activation on each patch by feature, the larger where the languages read the picture differently; NaN where
        the run keeps none. {} without patches."""
        if not self.side:
            return {}
        n = self.side * self.side
        return {int(f): np.fmax.reduce([fired.heat(f, n) for fired in self.firings.values()]) for f in features}

    def token(self, place: Place) -> tuple[str, int]:
        """The language and the row of its tokens at a place; KeyError where there is none."""
        for lang, fired in self.firings.items():
            tokens = fired.tokens
            if place.kind == "image":
                here = tokens["patch"].to_numpy() == place.number
            elif place.kind == lang:
                here = ((tokens["kind"] == "caption") & (tokens["slot"] == place.number)).to_numpy()
            else:
                continue
            if here.any():
                return lang, int(np.flatnonzero(here)[0])
        raise KeyError(str(place))

    def pieces(self, lang: str) -> pd.Series:
        """The text of each of a language's tokens, by row; where the run has not written down how a caption was cut,
        its words if they are as many as its tokens, else "?"."""
        return self._pieces[lang]

    @functools.cached_property
    def _pieces(self) -> dict[str, pd.Series]:
        return {lang: self._read_pieces(lang) for lang in self.firings}

    def _read_pieces(self, lang: str) -> pd.Series:
        tokens = self.firings[lang].tokens
        caption = (tokens["kind"] == "caption").to_numpy()
        pieces = tokens["piece"].astype(object).copy()
        if caption.any() and not pieces[caption].map(bool).any():
            words = self.captions.get(lang, "").split()
            pieces[caption] = [f"▁{w}" for w in words] if len(words) == caption.sum() else "▁?"
        return pieces

    def word(self, lang: str, row: int) -> str:
        """The whole word that a token of a caption belongs to."""
        kinds, pieces = self.firings[lang].tokens["kind"], self.pieces(lang).tolist()
        caption = (kinds == "caption").to_numpy()
        starts = [not caption[n - 1] or piece[:1] in ("▁", " ") for n, piece in enumerate(pieces)]
        first = next((n for n in range(row, -1, -1) if starts[n]), row)
        after = next((n for n in range(row + 1, len(pieces)) if starts[n] or not caption[n]), len(pieces))
        return visible("".join(pieces[first:after]))

    def piece(self, lang: str, row: int) -> str:
        """A token as it can be read."""
        return visible(str(self.pieces(lang).iloc[row]))


def seen(run: Run, cat: Catalog, layer: int, sample_id: int, alt: str, own: pd.DataFrame) -> Seen:
    """A sample of the run as a layer reads it, with its captions ``own``; UserError where that cannot be read."""
    captions = {str(row["lang"]): str(row["text"]) for row in records(own)}
    firings, failed = {}, None
    for lang in cat.languages:
        try:
            firings[lang] = firing_of(run, layer, sample_id, lang)
        except UserError as error:
            failed = error
    if not firings:
        raise failed or UserError("There are no captions.", "The run has no language.", "")
    if failed:  # one language can be read and the other cannot: the page goes on, and says so
        states.error_box(failed)
    side = cat.patches_a_side if any(fired.has_patches for fired in firings.values()) else 0
    src = data_uri(run, sample_id, full=True)
    sample = cat.sample(sample_id)
    return Seen(src, data_uri(run, sample_id), alt, side, captions, firings, sample["width"] / sample["height"])


def firing_of(run: Run, layer: int, sample_id: int, lang: str) -> Firing:
    """What fires on a sample in one language; kept for all visitors. UserError where that cannot be read."""
    return _firing(str(run.dir), manifest_version(run), layer, sample_id, lang)


@st.cache_resource(max_entries=64, show_spinner=False)
def _firing(run_dir: str, version: str, layer: int, sample_id: int, lang: str) -> Firing:
    from core.features.firing import firing

    return firing(Run(run_dir), layer, sample_id, lang)


def usual_of(run: Run, layer: int) -> tuple[pd.DataFrame | None, str]:
    """What is usual for each feature of a layer, or None and why it is not known."""
    try:
        return _usual(str(run.dir), manifest_version(run), layer), ""
    except UserError as error:
        return None, f"What is usual for a feature is not known, so it is ranked by activation. {error.what}"


@st.cache_resource(max_entries=8, show_spinner=False)
def _usual(run_dir: str, version: str, layer: int) -> pd.DataFrame:
    from core.features.firing import usual

    return usual(Run(run_dir), layer)


@dataclass(frozen=True)
class Place:
    """A patch ("image", row-major number) or a token of a caption ("en" or "ar", its place in it)."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}"


def read_place(asked: str, seen: Seen) -> tuple[Place | None, str]:
    """The place that an address names, and why it is none: "" where it names one or nothing."""
    if not asked:
        return None, ""
    kind, _, number = asked.partition(":")
    if kind not in ("image", *LANGUAGE_NAME) or not (number.isascii() and number.isdecimal() and len(number) < 7):
        return None, f"“{asked[:40]}” names no part of a picture and no word of a caption."
    place = Place(kind, int(number))
    try:
        seen.token(place)
    except KeyError:
        if kind == "image" and seen.no_patches:
            return None, seen.no_patches
        if kind == "image" and place.number < seen.side**2:
            return None, f"The run keeps no activations of patch {place.number}: choose another."
        if kind == "image":
            return None, f"The picture has no patch {place.number}: its patches are 0 to {seen.side**2 - 1}."
        if kind not in seen.firings:
            return None, f"There is no {LANGUAGE_NAME[kind]} caption of this picture."
        return None, f"The {LANGUAGE_NAME[kind]} caption has no word at place {place.number}."
    return place, ""


def point_picture(
    seen: Seen,
    place: Place | None,
    moved: Callable[[Place | None], None],
    heat: NDArray[np.float32] | None = None,
    top: float = 0.0,
    key: str = "firing",
) -> None:
    """The picture to point at; ``heat`` (an activation a patch, full at ``top``) is drawn over it."""
    if seen.no_patches:
        picture = f'<img class="cs-image" src="{escape(seen.src)}" alt="{escape(seen.alt)}">'
        text.html(f'{picture}<p class="cs-small">{seen.no_patches}</p>')
        return
    chosen = frozenset({place.number} if place and place.kind == "image" else ())
    pointing.picture(
        f"{key}-picture",
        seen.src,
        seen.alt,
        (seen.side, seen.side),
        chosen,
        heat=None if heat is None else heat.tolist(),
        heat_max=top or None,
        moved=lambda found: moved(Place("image", min(found)) if found else None),
        label="Parts of the picture: arrow keys move, Escape takes back",
    )


def point_words(
    seen: Seen,
    place: Place | None,
    moved: Callable[[Place | None], None],
    feature: int | None = None,
    top: float = 0.0,
    key: str = "firing",
) -> None:
    """The captions word by word, one below the other; where ``feature`` is given its activation stands behind them."""
    for lang in LANGUAGE_NAME:
        if lang not in seen.firings:
            continue
        fired = seen.firings[lang]
        tokens = fired.tokens
        caption = np.flatnonzero((tokens["kind"] == "caption").to_numpy())
        lit = np.zeros(len(caption)) if feature is None else fired.dense([feature])[caption, 0]
        raw = [str(piece).replace("▁", " ") for piece in seen.pieces(lang).iloc[caption]]
        marks = _genders(raw, seen.captions.get(lang, ""), lang)
        pieces = [
            pointing.Piece(
                visible(piece),
                int(slot),
                float(min(value / top, 1.0)) if top > 0 else 0.0,
                mark,
                n > 0 and not piece[:1].isspace(),
                f"{value:.2f}" if value > 0 else "",
            )
            for n, (piece, slot, value, mark) in enumerate(
                zip(raw, tokens["slot"].iloc[caption], lit, marks, strict=True)
            )
            if piece  # the bytes of one character: it stands on the first of them
        ]
        text.html(text.language_label(lang), key=f"{key}-{lang}-name")
        if not pieces:
            text.html('<p class="cs-small">The caption is empty.</p>')
            continue
        chosen = place.number if place and place.kind == lang else None
        pointing.words(
            f"{key}-{lang}",
            pieces,
            lang,
            chosen,
            moved=lambda found, lang=lang: moved(None if found is None else Place(lang, found)),
        )


def _genders(pieces: Sequence[str], caption: str, lang: str) -> list[str]:
    """The gender that each piece's word names, "" for none; pieces are found in the caption from left to right."""
    found, at, marks = [], 0, text.gender_marks(caption, lang)
    for piece in pieces:
        start = caption.find(piece.strip(), at) if piece.strip() else -1
        if start < 0:
            found.append("")
            continue
        at = start + len(piece.strip())
        found.append(next((m.kind for m in marks if m.start < at and start < m.end), ""))
    return found


def features_list(
    cat: Catalog,
    layer: int,
    seen: Seen,
    rows: pd.DataFrame,
    note: Callable[[dict[str, Any]], str],
    large: Callable[[int], str] | None = None,
    chosen: int | None = None,
    sample_id: int | None = None,
) -> str:
    """HTML: a list of features with what is known of each in the run, and its heat map over the picture.

    ``rows`` (feature, activation, ...) in their order; ``note`` gives what is said of a row, as HTML; ``large`` the
    address that shows a feature on the picture in full, of which ``chosen`` is shown so. ``sample_id`` is the picture's
    number, for the laboratory.
    """
    known = known_features(cat, layer, rows["feature"].tolist())
    rows = rows[rows["feature"].isin(known.index)]
    heat = seen.heat(rows["feature"].tolist())
    items = []
    for row in records(rows):
        feature = int(row["feature"])
        about = known.loc[feature].to_dict()
        here = ' aria-current="true"' if feature == chosen else ""
        shown = tile(feature, heat.get(feature), float(about.get("max") or 0), large) if seen.side else ""
        items.append(f"<li{here}>{shown}<div>{about_html(layer, feature, about, note(row), sample_id)}</div></li>")
    shape = min(max(seen.shape, 0.5), 2.5)
    style = f"--cs-seen:url({seen.thumb});--cs-shape:{shape:.3f}"
    return f'<ol class="cs-fires" style="{style}">{"".join(items)}</ol>'


def named(cat: Catalog, layer: int, features: Sequence[int]) -> list[tuple[int, str]]:
    """Features with their label; without one, with the word that they answer to most; "" without any."""
    known = known_features(cat, layer, features).reset_index()
    return [(int(row["feature"]), str(row["label"]) or next(iter(_words(row)), "")) for row in records(known)]


def known_features(cat: Catalog, layer: int, features: Sequence[int]) -> pd.DataFrame:
    """``Catalog.some_features`` by feature, kept for all visitors."""
    return _known_features(str(cat.dir), manifest_version(cat), layer, tuple(int(f) for f in features))


@st.cache_data(max_entries=256, show_spinner=False)
def _known_features(run_dir: str, version: str, layer: int, features: tuple[int, ...]) -> pd.DataFrame:
    return runs.catalog(Run(run_dir)).some_features(layer, features).set_index("feature")


def strength(activation: float) -> str:
    """An activation with the digits that it needs: dictionaries differ a hundredfold in scale."""
    return f"{activation:.2f}" if activation < 100 else f"{activation:,.0f}"


def _words(about: Mapping[Any, Any]) -> list[str]:
    return [visible(w) for w in str(about.get("tokens") or "").split(" · ") if is_word(w)][:WORDS]


def tile(
    feature: int,
    heat: NDArray[np.float32] | None,
    top: float,
    large: Callable[[int], str] | None = None,
    seen: str = "",
    what: str = "the picture",
) -> str:
    """HTML: a small picture, grey under the heat map of a feature that is full at ``top``; the picture is ``seen``, the
    name of a CSS variable, or that of the list around it. ``large`` makes it a link."""
    kind = "cs-frame cs-seen" if heat is not None else "cs-frame cs-seen bare"
    fires = heat is not None and bool((heat > 0).any())
    over = f'<img class="cs-heat" src="{heat_uri(heat.tolist(), top)}" alt="">' if heat is not None and fires else ""
    said = f"feature {feature} on {what}" if fires or heat is None else f"feature {feature} does not fire on {what}"
    style = f' style="--cs-seen:var({seen})"' if seen else ""
    if large is None:
        return f'<span class="{kind}" role="img" aria-label="{escape(said)}" tabindex="0"{style}>{over}</span>'
    return f'<a class="{kind}" href="{escape(large(feature))}" aria-label="Show {escape(said)}"{style}>{over}</a>'


def about_html(layer: int, feature: int, about: Mapping[Any, Any], note: str, sample_id: int | None = None) -> str:
    """HTML: what is known of a feature, with ``note`` (HTML), and the ways to its page and to the laboratory, there to
    be turned up on the image ``sample_id``, or on the visitor's own picture."""
    up = href("steering", sample=sample_id, features=f"{layer}:{feature}:1")
    steer = f'<a href="{escape(up)}">Turn this up</a>'
    return f'{_named(layer, feature, about)}<p>{note}</p>{_known(about)}<p class="cs-small">{steer}</p>'


def _named(layer: int, feature: int, about: Mapping[Any, Any]) -> str:
    label = f" <bdi>{escape(about['label'])}</bdi>" if about.get("label") else ""
    return f'<p><a href="{escape(href("feature", layer=layer, feature=feature))}">Feature {feature}</a>{label}</p>'


def _known(about: Mapping[Any, Any]) -> str:
    """The words that a feature answers to, whose language it keeps to, and which gender it tells."""
    marks = []
    if about.get("language_class") in OWNERS:
        lang, name = OWNERS[about["language_class"]]
        marks.append(f'<span class="cs-lang" data-lang="{lang}">{name}</span>' if lang else f"<span>{name}</span>")
    if about.get("gender") in GENDER:
        marks.append(f'<mark class="cs-mark {about["gender"]}">{GENDER[about["gender"]]}</mark>')
    said = " · ".join(f"<bdi>{escape(word)}</bdi>" for word in _words(about))
    shown = f'<p class="cs-small">{said}</p>' if said else ""
    return shown + (f'<p class="cs-small cs-whose">{"".join(marks)}</p>' if marks else "")


def captions_panel(cat: Catalog, layer: int, seen: Seen, features: Sequence[int], name: str) -> None:
    """Tokens by features, both languages one below the other over the same features; ``name`` begins the files."""
    known, features = known_features(cat, layer, features), features[:N_DRAWN]
    fired = {
        lang: replace(one, tokens=one.tokens.assign(piece=seen.pieces(lang))) for lang, one in seen.firings.items()
    }
    frame = caption_frame(
        fired,
        list(features),
        *(dict(zip(known.index.tolist(), known[c].tolist(), strict=True)) for c in ("max", "label")),
    )
    chart = caption_heat(frame)
    firing = frame[frame["activation"] > 0]
    said = "; ".join(
        f"{isolated(visible(str(row['piece'])))}: feature {row['feature']}, {row['share']:.0%} of its strongest"
        for row in records(firing.sort_values("share", ascending=False).head(5))
    )
    panels.panel(
        "Word by word",
        "the first of these features along the captions; colour: share of each feature’s own strongest activation",
        f"{name}-words",
        frame,
        chart,
        f"Heat map of caption tokens by features. Strongest: {said or 'none of them fires on a caption'}",
    )

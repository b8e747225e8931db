"""The captions of the page Hiding: of the whole picture, with a part hidden, and with its shape hidden elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd
import streamlit as st

from core.config import LANGUAGE_NAME, LANGUAGES
from core.frames import records
from core.interventions.areas import Area
from core.interventions.hidden import OfRandom
from core.interventions.outcomes import Reader, outcomes
from core.run import Run, manifest_version
from core.run.reader import Catalog
from pages.kit import text

Captions = Mapping[str, Sequence[tuple[str, bool]]]
"""By language (text, whether it ended): of the whole picture, with the area hidden, and of its random places."""

MIN_RANDOM = 10  # random places; images of the experiment have fewer, examples more


def own(cat: Catalog, sample_id: int) -> dict[str, tuple[str, bool]]:
    """What the model wrote of the whole picture when the run was computed, by language."""
    return {str(row["lang"]): (str(row["text"]), True) for row in records(cat.captions([sample_id]))}


def examples(cat: Catalog) -> list[int]:
    """Images of which the run holds MIN_RANDOM random places or more for each whole kind, first those of which hiding
    the person changes a gendered word."""
    if not cat.has("hiding_captions"):
        return []
    rows = cat.frame("hiding_captions", filling="mean", shape="whole")
    draws = rows[rows["area"] == "random"].groupby("sample_id")["draw"].nunique()
    known = [int(i) for i in draws[draws >= MIN_RANDOM].index]
    changed = set(rows.loc[(rows["area"] == "person") & rows["changed"].eq(True).fillna(False), "sample_id"])
    return sorted(known, key=lambda i: (i not in changed, i))


def stored(cat: Catalog, sample_id: int, area: Area, filling: str) -> dict[str, list[tuple[str, bool]]] | None:
    """The captions of an area that the run holds with its random places; None where it does not hold all of it."""
    if not cat.has("hiding_captions") or filling != "mean":
        return None
    rows = cat.frame("hiding_captions", sample_id=sample_id)
    rows = rows[rows["filling"].isin(["", filling])]
    own_rows = rows[(rows["area"] != "random") & (rows["patches"].map(lambda p: tuple(map(int, p))) == area)]
    if own_rows.empty or not area:
        return None
    kind, shape = own_rows.iloc[0]["area"], own_rows.iloc[0]["shape"]
    beside = rows[(rows["area"] == "random") & (rows["of"] == kind) & (rows["shape"] == shape)].sort_values("draw")
    if beside["draw"].nunique() < MIN_RANDOM:  # of the experiment, which has few on each image
        return None
    whole, one = rows[rows["area"] == "none"], own_rows[(own_rows["shape"] == shape) & (own_rows["area"] == kind)]
    found: dict[str, list[tuple[str, bool]]] = {}
    for lang in cat.languages:
        mine = pd.concat([part[part["lang"] == lang] for part in (whole, one, beside)])
        found[lang] = [(str(row["text"]), bool(row["finished"])) for row in records(mine)]
    return found


def judged(run: Run, captions: Captions) -> tuple[dict[str, bool | None], dict[str, OfRandom]]:
    """By language whether the gendered word changes, None where the caption names no one gender, and of how many random
    places it does."""
    changed: dict[str, bool | None] = {}
    random: dict[str, OfRandom] = {}
    for lang, written in captions.items():
        reader = _readers(str(run.dir), manifest_version(run))[lang]
        said = [outcomes(one, written[0][0], reader)["changed"] for one, _ in written[1:]]
        changed[lang] = None if said[0] is None else bool(said[0])
        random[lang] = OfRandom.of(said[1:])
    return changed, random


@st.cache_resource(max_entries=4, show_spinner=False)
def _readers(run_dir: str, version: str) -> dict[str, Reader]:
    from core.interventions.outcomes import readers

    run = Run(run_dir)
    return readers(run, run.config())


def show(captions: Captions, what: str, source: str) -> None:
    """A block a language: the caption as it was, and with the area hidden, gendered words marked."""
    for lang in (lang for lang in LANGUAGES if lang in captions):
        written = captions[lang]
        before = written[0][0]
        parts = [_small("the whole picture", lang), _caption(before, lang)]
        if len(written) > 1:
            after, ended = written[1]
            cut = "" if ended else " · cut off at the longest length"
            parts.append(_small(f"{what} · {source}{cut}", lang))
            parts.append(_caption(after, lang) if after != before else _small("the same, word for word", lang))
        text.html(f'<div class="cs">{text.side(lang, "".join(parts))}</div>')


def _small(words: str, lang: str) -> str:
    """A line over a caption, on the side on which the caption begins."""
    side = "right" if lang == "ar" else "left"
    return f'<p class="cs-small" style="text-align:{side}">{escape(words)}</p>'


def random_places(captions: Captions) -> None:
    """What is written with the same shape hidden elsewhere, each caption once with how often, folded."""
    n = max((len(written) - 2 for written in captions.values()), default=0)
    if n < 1:
        return
    with st.expander(f"What is written with the same shape hidden at {n} random places"):
        for lang in (lang for lang in LANGUAGES if lang in captions):
            counts = Counter(one for one, _ in captions[lang][2:])
            rows = "".join(
                f'<div dir="{"rtl" if lang == "ar" else "ltr"}" style="display:grid;'
                f'grid-template-columns:3rem 1fr;gap:.6rem;align-items:baseline">'
                f'<bdi dir="ltr">{times} ×</bdi>{_caption(one, lang)}</div>'
                for one, times in counts.most_common()
            )
            text.html(f'<div class="cs" aria-label="{LANGUAGE_NAME[lang]}">{text.side(lang, rows)}</div>')


def _caption(caption: str, lang: str) -> str:
    return text.caption_html(caption, lang, text.gender_marks(caption, lang))

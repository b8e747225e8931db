"""The run's images that are most alike to a picture in what fires on it, beside how alike is usual."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from core.answers.picture import alike_answer, n_alike
from core.config import LANGUAGE_NAME
from core.frames import records
from core.run import Run, manifest_version
from pages.kit import images, links, states, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.features.firing import Firing
    from core.picture.alike import ImageCodes, Usual
    from core.run.reader import Catalog

SHOWN = 6


def alike(run: Run, cat: Catalog, layer: int, firings: Mapping[str, Firing], without: int | None) -> None:
    """The nearest images with their likeness; ``without`` is the picture itself where it is one of the run's."""
    text.heading("Which of the run’s images are alike in these features?")
    if not run.is_done("pool"):
        states.empty("This cannot be said yet.", "It needs the stage pool, which gathers the features of each image.")
        return
    lang = next(lang for lang in cat.languages if lang in firings)
    codes, usual = _codes(str(run.dir), manifest_version(run), layer, lang)
    seen = firings[lang].at(firings[lang].of_view("image")).average()
    means = np.zeros(codes.roots.shape[1])
    means[seen.feature] = seen.mean
    found, likeness = codes.nearest(means, SHOWN, without)
    answer = alike_answer(likeness.tolist(), usual)
    text.said(answer)
    if usual is None or not len(found):
        return
    n = n_alike(likeness.tolist(), usual)
    for rows, title in ((slice(0, n), "Alike"), (slice(n, None), "The nearest, no more alike than is usual")):
        ids = found[rows].tolist()
        if not ids:
            continue
        own = records(cat.captions(ids)) if cat.has("captions") else []
        items = []
        for sample_id, value in zip(ids, likeness[rows].tolist(), strict=True):
            shown = "".join(
                text.caption_html(one["text"], one["lang"], text.gender_marks(one["text"], one["lang"]))
                for one in own
                if one["sample_id"] == sample_id
            )
            name = f"image {sample_id}, likeness {value:.2f}"
            to = links.href("samples", sample=sample_id, layer=layer)
            items.append(images.GridItem(sample_id, shown, badge=f"{value:.2f}", href=to, alt=name))
        text.html(f'<p class="cs-lang">{title}</p>')
        images.grid(run, items, SHOWN)
    many = (
        f", of {len(codes.sample_ids):,} of its images drawn by chance"
        if len(codes.sample_ids) < cat.n_samples()
        else ""
    )
    text.html(
        '<p class="cs-small">The number on an image is the cosine of its features with those of your picture, image '
        f"tokens read with the {LANGUAGE_NAME[lang]} question at layer {layer}, square roots of mean activations less "
        f"the run’s average{many}.</p>"
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _codes(run_dir: str, version: str, layer: int, lang: str) -> tuple[ImageCodes, Usual | None]:
    from core.picture.alike import ImageCodes

    codes = ImageCodes.of_run(run_dir, layer, lang)
    return codes, codes.usual()

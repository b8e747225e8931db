"""The five questions of the study, each with the answer that a run's data gives by now, or how to get one.

Every answer is a function of the tables; it names its n, its interval and what chance would give.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import sqrt

import pandas as pd
import streamlit as st

from core.catalog import Catalog
from core.figures.densities import language_lean
from core.gender import find
from core.runs import Run, manifest_version
from pages.kit.runs import catalog

ONE_LANGUAGE = 0.9  # |lean| from which a feature counts as a language's own
FEW = 30  # below this many cases nothing is said


@dataclass(frozen=True)
class Question:
    """A card: the question, the answer so far ("" where there is none), how sure it is, and what comes next.

    `sure` is "supported", "unclear", "not enough data" or "". `page` is where to look, `link` what it is called.
    """

    title: str
    answer: str
    sure: str
    missing: str
    page: str
    link: str


def questions(run: Run) -> list[Question]:
    """The five cards of a run."""
    return _questions(str(run.dir), manifest_version(run))


@st.cache_data(max_entries=8, show_spinner="Reading the captions …")
def _questions(run_dir: str, version: str) -> list[Question]:
    cat = catalog(Run(run_dir))
    genders = caption_genders(cat) if cat.has("captions") else pd.DataFrame()
    gender, agree, alone = seen_gender(genders), agreement(genders), language_specific(cat)
    layers, steer = living_layers(cat), cat.has("features")
    return [
        Question("How is gender encoded?", *gender, "Which features carry it is not measured in this run yet; "
                 "the list of features shows what each responds to.", "browser", "Look through the features"),
        Question("Do English and Arabic agree?", *agree, "Whether they use the same features for it is not measured "
                 "in this run yet." if agree[0] else "Needs the model’s own captions: the stage caption.",
                 "samples", "Read the captions side by side"),
        Question("Which layers and features?", *layers, "Where gender can be read, layer by layer, is not measured in "
                 "this run yet." if layers[0] else "Needs the features: the stage features.",
                 "browser", "See the map of a layer"),
        Question("Can it be steered?", "", "", "Not measured over many images in this run yet. You can try it by hand: "
                 "choose an image, turn a feature up, and read both captions." if steer
                 else "Needs the features: the stage features.", "steering", "Go to the steering laboratory"),
        Question("What is language-specific?", *alone, "English and Arabic words differ, so part of this is "
                 "vocabulary; a comparison at matched meaning is not measured in this run yet." if alone[0]
                 else "Needs the features: the stage features.", "browser", "Sort the features by language"),
    ]  # fmt: skip


def caption_genders(cat: Catalog) -> pd.DataFrame:
    """sample_id, gender of the image, en, ar: the one gender that the caption's words name, else ""."""
    samples = cat.samples(limit=10_000_000)
    own = cat.captions(samples["sample_id"].tolist())
    own["named"] = [named_gender(text, lang) for text, lang in zip(own["text"], own["lang"], strict=True)]
    named = own.pivot(index="sample_id", columns="lang", values="named").reindex(columns=["en", "ar"]).fillna("")
    return samples[["sample_id", "gender"]].merge(named, left_on="sample_id", right_index=True)


def named_gender(text: str, lang: str) -> str:
    """"male" or "female" where all gendered words of a caption say so, else ""."""
    found = {hit.gender for hit in find(text, lang)} & {"male", "female"}
    return found.pop() if len(found) == 1 else ""


def seen_gender(genders: pd.DataFrame) -> tuple[str, str]:
    """How often the words of a caption name the gender that the image is labelled with, by language."""
    shown = genders[genders["gender"].isin(["male", "female"])] if len(genders) else genders
    if len(shown) < FEW:
        return "", ""
    parts = []
    low = 1.0
    for lang, name in (("en", "English"), ("ar", "Arabic")):
        hits = int((shown[lang] == shown["gender"]).sum())
        interval = wilson(hits, len(shown))
        low = min(low, interval[0])
        parts.append(f"{name} {rate(hits, len(shown))}")
    major = max(Counter(shown["gender"]).values()) / len(shown)
    answer = (f"In its words: on images of a woman or a man, the caption names that gender in {parts[0]} and "
              f"{parts[1]} of {len(shown):,} images; always naming the commoner one would give {major:.0%}.")
    return answer, "supported" if low > major else "unclear"


def agreement(genders: pd.DataFrame) -> tuple[str, str]:
    """How often both captions of a neutral image name the same gender, against pairs of different images."""
    if genders.empty:
        return "", ""
    pairs = genders[(genders["gender"] == "neutral") & (genders["en"] != "") & (genders["ar"] != "")]
    if len(pairs) < FEW:
        return "", ""
    same, n = int((pairs["en"] == pairs["ar"]).sum()), len(pairs)
    chance = sum(float((pairs["en"] == g).mean() * (pairs["ar"] == g).mean()) for g in ("male", "female"))
    low, high = wilson(same, n)
    answer = (f"On images that show no gender, both captions name the same one in {rate(same, n)} of {n:,} images in "
              f"which both name one; captions of different images would agree in {chance:.0%}.")  # fmt: skip
    return answer, "supported" if not low <= chance <= high else "unclear"


def living_layers(cat: Catalog) -> tuple[str, str]:
    """How many features are alive in each layer."""
    if not cat.has("features"):
        return "", ""
    counts = cat.features(alive=False).groupby("layer")["alive"].agg(["sum", "size"])
    parts = [f"{int(row['sum']):,} of {int(row['size']):,} at layer {layer}" for layer, row in counts.iterrows()]
    return f"Features that respond to something: {listed(parts)}.", ""


def language_specific(cat: Catalog) -> tuple[str, str]:
    """Which share of the features that fire on captions keeps to one language, over all layers and by layer."""
    if not cat.has("features"):
        return "", ""
    frame = cat.features()
    frame["lean"] = language_lean(frame["density_caption_en"], frame["density_caption_ar"])
    frame = frame.dropna(subset=["lean"])
    if len(frame) < FEW:
        return "", ""
    en, ar, n = int((frame["lean"] <= -ONE_LANGUAGE).sum()), int((frame["lean"] >= ONE_LANGUAGE).sum()), len(frame)
    both = frame["lean"].abs().lt(ONE_LANGUAGE).groupby(frame["layer"]).mean()
    answer = (f"Of {n:,} features that respond to captions, {en / n:.0%} keep to English, {ar / n:.0%} to Arabic and "
              f"{(n - en - ar) / n:.0%} respond to both")  # fmt: skip
    first, last = both.index[0], both.index[-1]
    if first != last:
        answer += f": {both[first]:.0%} at layer {first}, {both[last]:.0%} at layer {last}"
    return f"{answer}.", ""


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95% interval of a share by Wilson's score (1927); ValueError for no cases."""
    if n <= 0:
        raise ValueError("a share needs at least one case")
    p, extra = hits / n, z * z / n
    middle, half = p + extra / 2, z * sqrt(p * (1 - p) / n + extra / (4 * n))
    return max(0.0, (middle - half) / (1 + extra)), min(1.0, (middle + half) / (1 + extra))


def rate(hits: int, n: int) -> str:
    """A share with its interval, as "71% [67–74]"."""
    low, high = wilson(hits, n)
    return f"{hits / n:.0%} [{low * 100:.0f}–{high * 100:.0f}]"


def listed(parts: list[str]) -> str:
    """a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

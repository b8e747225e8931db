"""The tables of stage layers over a toy run (tests/toy_run.py), made up but consistent, for pages and their tests.

Gender appears at the image from the first layer on, before the gendered word from the second, in Arabic nowhere there;
``why`` makes tables in which nothing can be said.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.layers import lens, probes
from core.layers.measures import MEASURES, emergence, with_q
from core.layers.tables import table
from core.run import Run
from core.run.schema.layers import CAPTION_LENS, EMERGENCE, LENS, LENS_FIT, PROBES

NAN = float("nan")
VIEWS = ("image", "prompt", "before", "caption")


def add_layers_tables(run_dir: str | Path, layers: Sequence[int] = (1, 3, 5), why: str = "") -> None:
    """Write probes, lens and emergence into a run folder."""
    probed = [_probe(-1, "pixels", lang, lang, measure, why, 0.74) for lang in ("en", "ar") for measure in MEASURES]
    probed += [
        _probe(layer, view, lang, source, measure, why, _value(number, view, lang, source))
        for number, layer in enumerate(layers)
        for view in VIEWS
        for lang in ("en", "ar")
        for source in (("en", "ar") if view != "image" else (lang,))
        for measure in MEASURES
    ]
    probed += [
        _probe(layer, view, lang, lang, measure, why, 0.8 + 0.05 * number)
        for number, (layer, view) in enumerate(((0, "tower"), (1, "tower"), (-1, "projector")))
        for lang in ("en", "ar")
        for measure in MEASURES
    ]
    read = [
        _lens(layer, number, position, lang, why)
        for number, layer in enumerate(layers)
        for position in ("prompt", "word")
        for lang in ("en", "ar")
    ]
    with_q(probed, read)
    for of, rows in ((PROBES, probed), (LENS, read), (EMERGENCE, emergence(probed, read))):
        of.write(Run(run_dir), table(rows, of))
    CAPTION_LENS.write(Run(run_dir), CAPTION_LENS.of_rows(caption_lens_rows()))
    LENS_FIT.write(Run(run_dir), LENS_FIT.of_rows([_fit(lang, *one) for lang in ("en", "ar") for one in FITS]))


FITS = [
    ("prior", -1, 5.0),
    ("token", -1, 1.0),
    *(
        (lens, n, kl / (1 + 9 * (lens == "tuned")))
        for lens in ("logit", "tuned")
        for n, kl in enumerate((8.0, 4.0, 1.0))
    ),
]


def _fit(lang: str, lens: str, layer: int, kl: float) -> dict[str, Any]:
    row = {"lang": lang, "lens": lens, "layer": layer, "kl": kl, "kl_low": 0.8 * kl, "kl_high": 1.2 * kl, "first": 0.5}
    return row | {"first_low": 0.4, "first_high": 0.6, "n_images": 64, "n_tokens": 256, "n_female": 30, "n_male": 34}


CAPTIONS = {"en": ("A", "wo-", "woman", "swims", "(end)"), "ar": ("طبيـ", "طبيبة", "تسبح", "(end)")}
DECIDES = {"en": 1, "ar": 1}  # the token by which each says a woman


def caption_lens_rows(samples: Sequence[int] = (0, 3), layers: Sequence[int] = (0, 1, 2, 3)) -> list[dict[str, Any]]:
    """Captions of a few images at four layers: the first two know nothing, the others write the word that stands there;
    at the first image's patches the second layer says what is there."""
    rows = [
        _token(sample, lang, layer, slot)
        for sample in samples
        for lang, said in CAPTIONS.items()
        for layer in layers
        for slot in range(len(said))
    ]
    rows += [row | {"lens": "tuned", "beyond": NAN, "others": NAN, "n_others": 0} for row in rows]
    return rows + [
        {**_token(samples[0], lang, layer, 0), "kind": "image", "slot": patch, "token_id": -1, "said": "", "rank": -1}
        | {"compared": "", "gender": "", "log_odds": NAN, "others": NAN, "beyond": NAN, "n_others": 0}
        for lang in CAPTIONS
        for layer in layers
        for patch in range(16)
    ]


def _token(sample: int, lang: str, layer: int, slot: int) -> dict[str, Any]:
    said, knows, decides = CAPTIONS[lang][slot], layer >= 2, slot == DECIDES[lang]
    top = [said if knows else "the", "a", "man", "next", "(part of a letter)"]
    return {
        "sample_id": sample,
        "lang": lang,
        "kind": "caption",
        "slot": slot,
        "layer": layer,
        "lens": "logit",
        "token_id": 10 + slot,
        "said": said,
        "joined": slot > 0 and CAPTIONS[lang][slot - 1][-1] in "-ـ",
        "rank": 1 if knows else 40,
        "p_said": 0.8 if knows else 0.01,
        "top": top,
        "top_ids": [10 + slot, 1, 2, 3, 4],
        "top_p": [0.8, 0.1, 0.05, 0.03, 0.01],
        "compared": "spellings" if decides else "",
        "gender": "female" if decides else "",
        "log_odds": (4.0 if knows else 0.5) if decides else NAN,
        "others": (-4.0 if knows else 0.5) if decides else NAN,
        "beyond": (1.0 if knows else 0.5) if decides else NAN,
        "n_others": 9 if decides else 0,
    }


def _value(number: int, view: str, lang: str, source: str) -> float:
    if view == "caption":
        return 0.99
    if view == "before" and lang == "ar":
        return 0.52
    there = 0.97 if view == "image" else (0.53, 0.88, 0.96, 0.97)[min(number, 3)]
    return there if lang == source else there - 0.02


def _probe(layer: int, view: str, lang: str, source: str, measure: str, why: str, value: float) -> dict[str, Any]:
    row = {
        "layer": layer,
        "view": view,
        "lang": lang,
        "trained_on": source,
        "measure": measure,
        "why": why,
        "shared": view in ("image", "pixels", "tower", "projector"),
        "n_images": 720,
        "n_female": 357,
        "n_male": 363,
        "chance": 0.504 if measure == "accuracy" else 0.5,
        "n_types": 0 if why or lang != source else 40,
        "n_typed": 0 if why or lang != source else 700,
        "no_control": "",
    }
    row |= dict.fromkeys(probes.NUMBERS, NAN)
    if why:
        return {**row, "n_images": 11, "n_female": 7, "n_male": 4}
    value -= 0 if measure == "auc" else 0.03
    row |= {"value": value, "low": value - 0.03, "high": min(1.0, value + 0.03)}
    if lang == source:
        row |= {"control": 0.55, "control_low": 0.5, "control_high": 0.62, "selectivity": value - 0.55}
        row |= {"selectivity_low": value - 0.63, "selectivity_high": value - 0.48, "p": 0.6 if value < 0.6 else 1e-9}
    return row


def _lens(layer: int, number: int, position: str, lang: str, why: str) -> dict[str, Any]:
    row = {
        "layer": layer,
        "position": position,
        "lang": lang,
        "recorded": True,
        "n_female": 67,
        "n_male": 73,
        "n_neutral": 100,
        "n_pairs": 6,
        "covered": 0.95,
        "why": why,
    }
    row |= dict.fromkeys(lens.NUMBERS, NAN)
    if why:
        return {**row, "n_female": 3, "n_male": 2}
    value, strength = (0.55, 0.93, 0.99)[min(number, 2)], (0.1, 1.5, 4.0)[min(number, 2)]
    row |= {
        "auc": value,
        "low": value - 0.04,
        "high": min(1.0, value + 0.04),
        "p": 0.5 if number == 0 else 1e-9,
        "shuffled_low": 0.41,
        "shuffled_high": 0.59,
        "random": 0.6,
        "random_high": 0.75,
        "offset": 0.1,
        "rank_median": (40.0, 3.0, 1.0)[min(number, 2)],
        "first": 0.3 * (number + 1),
        "first_low": 0.25 * number,
        "first_high": 0.3 * (number + 1) + 0.05,
    }
    named = {
        "effect": 2 * strength,
        "entropy": 3.0 - number,
        "difference_female": strength,
        "difference_male": -strength,
        "difference_neutral": 0.2,
    }
    for name, middle in named.items():
        row |= {name: middle, f"{name}_low": middle - 0.2, f"{name}_high": middle + 0.2}
    return row

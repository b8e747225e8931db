"""The SAEs of one language each at a layer, side by side: how they fit, which features match, CLBAS of the pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.activations.store import ActivationReader
from core.config import Config
from core.crosslingual.aligner import CrossLingualFeatureAligner, Dictionary
from core.crosslingual.pairs import LANGUAGES, PairedCodes
from core.crosslingual.separate import SEEDS, caption_means, held_out_fit, language_rows
from core.crosslingual.shared_dictionary import scored, too_few_of_a_gender
from core.crosslingual.sharing import gendered_codes
from core.features.tokens import read_token_index
from core.run import Run
from core.sae.files import load_sae, sae_id

SEPARATE_STREAM = 81
Rows = list[dict[str, Any]]


def compare_saes(
    config: Config, reader: ActivationReader, folder: Path, images: NDArray, gender: NDArray, train: NDArray
) -> Rows:
    """Rows of several tables, each naming its ``table``, without layer.

    ``folder`` holds the SAEs as ``<lang>_<seed>``; ``images`` (n_paired,) have a caption in both languages; ``gender``
    and ``train`` have one entry a sample.
    """
    dictionaries, rows = _dictionaries(reader, folder, images)
    gender, train, settings = gender[images], train[images], config.crosslingual
    measures, matches = CrossLingualFeatureAligner(train, settings.n_bootstrap, config.seed).align(dictionaries)
    rows += [{"table": "alignment", **row} for row in measures]
    rows += [{"table": "language_matches", **row} for row in matches]
    if not too_few_of_a_gender(gender, train, settings.min_images):
        first = {d.lang: d for d in reversed(dictionaries)}
        assigned = [m for m in matches if m["matched_by"] == "activation"]
        pairs = [np.array([m[f"feature_{lang}"] for m in assigned]) for lang in LANGUAGES]
        codes = PairedCodes(*(first[lang].codes[:, p] for lang, p in zip(LANGUAGES, pairs, strict=True)))
        found = gendered_codes([(0, codes)], gender, train, settings.min_images)
        key = [config.seed, SEPARATE_STREAM, reader.layer]
        rows += [{"table": "clbas", **row} for row in scored(found, "caption", "separate", settings.n_bootstrap, key)]
    return rows


def _dictionaries(reader: ActivationReader, folder: Path, images: NDArray) -> tuple[list[Dictionary], Rows]:
    """The SAEs with their codes on the captions of ``images``, and the rows of language_saes."""
    tokens = read_token_index(Run(reader.run_dir))
    dictionaries, rows = [], []
    for lang, seed in ((lang, seed) for lang in LANGUAGES for seed in SEEDS):
        sae = load_sae(folder / f"{lang}_{seed}")
        codes = caption_means(sae, reader, tokens, lang, images)
        dictionaries.append(Dictionary(lang, seed, sae_id(sae), codes, sae.W_dec.detach().numpy()))
        rows.append(
            {
                "table": "language_saes",
                "lang": lang,
                "seed": seed,
                "language_sae_id": sae_id(sae),
                "d_sae": sae.cfg.d_sae,
                "k": sae.cfg.k,
                "n_train_tokens": len(language_rows(reader, lang, "train")),
                "explained_variance": held_out_fit(folder / f"{lang}_{seed}", reader, lang),
            }
        )
    return dictionaries, rows

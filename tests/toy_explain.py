"""Toy tables of the stage explain on top of a toy run: what the model says of features, and a grid of captions.

Of every living feature the text at strength 1 is the chosen one. Feature 0 is named after women in both languages and
clearly fits; feature 1 fits no better than others; features from 8 on fire on too few images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from core.run import Run
from core.steering.explain import TOO_FEW
from core.words import caption_gender, find
from tests.toy_run import write_rows

TEXTS = {
    0: {"en": "A woman at her desk.", "ar": "امرأة وراء مكتبها."},
    1: {"en": "A grey picture of a man.", "ar": "صورة رمادية لرجل."},
}
OTHER = {"en": "A grey picture.", "ar": "صورة رمادية."}


def add_toy_explain(run_dir: str | Path) -> None:
    """Write explanations.parquet for all living features of the toy run in ``run_dir``."""
    run_dir = Path(run_dir)
    columns = ["layer", "feature", "sae_id", "alive"]
    alive = [r for r in pq.read_table(run_dir / "features.parquet", columns=columns).to_pylist() if r["alive"]]
    rows = [
        _row(r["layer"], r["feature"], r["sae_id"], lang, strength)
        for r in alive
        for lang in ("ar", "en")
        for strength in (1.0, 2.0)
    ]
    write_rows(Run(run_dir), "explanations", rows)


def _row(layer: int, feature: int, sae_id: str, lang: str, strength: float) -> dict[str, object]:
    text = TEXTS.get(feature, OTHER)[lang]
    row = {
        "layer": layer,
        "feature": feature,
        "sae_id": sae_id,
        "lang": lang,
        "strength": strength,
        "finished": True,
        "text": text if strength == 1.0 else f"{text[:-1]} {text}",
        "changed": feature in TEXTS,
        "chosen": strength == 1.0,
        "n_fires_test": 90,
        "n_silent_test": 210,
        "n_controls": 0,
        "why": "",
    }
    if feature >= 8:
        return {**row, "n_fires_test": 3, "n_silent_test": 297, "why": TOO_FEW}
    auc, p = (0.93, 0.02) if feature == 0 else (0.55, 0.4)
    return {
        **row,
        "auc_train": auc + 0.01,
        "auc_test": auc,
        "auc_low_test": auc - 0.06,
        "auc_high_test": auc + 0.05,
        "control": 0.51,
        "control_high": 0.66,
        "n_controls": 50,
        "p": p,
        "q": 2 * p,
    }


def write_doses(
    run_dir: Path, sample_id: int, edits: Sequence[str], before: dict[str, str], after: dict[str, str]
) -> None:
    """Write doses.parquet with one image: as it was, and the same steered caption for every one of ``edits``."""
    saes = dict(pq.read_table(run_dir / "saes.parquet", columns=["layer", "sae_id"]).to_pandas().to_numpy().tolist())
    rows = []
    for edit in ["", *edits]:
        for lang, text in (after if edit else before).items():
            pieces = text.split(" ")
            layer = int(edit.split(":")[0]) if edit else None
            rows.append(
                {
                    "sample_id": sample_id,
                    "lang": lang,
                    "edits": edit,
                    "layer": layer,
                    "sae_id": saes[layer] if layer is not None else None,
                    "gender": "female" if edit else "",
                    "strength": float(edit.split(":")[2]) if edit else 0.0,
                    "text": text,
                    "finished": True,
                    "named": caption_gender(find(text, lang)),
                    "pieces": pieces,
                    "p_female": [0.2] * len(pieces),
                    "p_male": [0.7] * len(pieces),
                    "p_unmarked": [0.0] * len(pieces),
                    "p_left_out": [0.01] * len(pieces),
                }
            )
    write_rows(Run(run_dir), "doses", rows)

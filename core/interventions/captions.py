"""Captions of a group of arms as rows: written, each distinct one scored once, and what is counted of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import pyarrow as pa

from core.interventions.designs import Arm
from core.interventions.images import Subject
from core.interventions.outcomes import Reader, outcomes
from core.interventions.writing import CaptionWriter, Row

MOVED = ("moved_share", "moved_ratio", "capped_share")
PART_SCHEMA = pa.schema(
    [
        ("image", pa.int32()),
        ("lang", pa.string()),
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("finished", pa.bool_()),
        *((name, pa.float64()) for name in MOVED),
    ]
)
SCORE_SCHEMA = pa.schema(
    [
        ("image", pa.int32()),
        ("lang", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("log_prob", pa.float64()),
    ]
)
CaptionKey = tuple[int, str, tuple[int, ...]]
"""Image, language and token ids, which decide the log-probability under the unedited model."""


def written(writer: CaptionWriter, group: Sequence[Arm], rows: Sequence[Row], plain: pd.DataFrame | None) -> pa.Table:
    """Captions of a group of arms, arm by arm (PART_SCHEMA).

    ``plain`` are the captions without an edit, None while it is those that are written.
    """
    asked = [(arm, row) for arm in group for row in rows]
    told = writer.write(asked)
    before = [ids for ids, _ in told] if plain is None else [list(ids) for ids in plain["token_ids"]]
    moved = {arm: writer.moved(arm, rows, before) for arm in group}
    return pa.Table.from_pylist(
        [
            {
                "image": row.image,
                "lang": row.lang,
                "text": writer.vlm.decode(ids),
                "token_ids": ids,
                "finished": finished,
                **moved[arm],
            }
            for (arm, row), (ids, finished) in zip(asked, told, strict=True)
        ],
        schema=PART_SCHEMA,
    )


def distinct(parts: Iterable[pd.DataFrame]) -> list[CaptionKey]:
    """Every caption of an image once, in an order that does not depend on the arms' order."""
    return sorted({key for part in parts for key in _keys(part)})


def _keys(part: pd.DataFrame) -> list[CaptionKey]:
    ids = (tuple(int(i) for i in one) for one in part["token_ids"])
    return [(int(i), str(lang), own) for i, lang, own in zip(part["image"], part["lang"], ids, strict=True)]


def scored(writer: CaptionWriter, keys: Sequence[CaptionKey]) -> pa.Table:
    """Log-probabilities of captions under the unedited model (SCORE_SCHEMA)."""
    scores = writer.log_probs([(Row(image, lang), list(ids)) for image, lang, ids in keys])
    told = [
        {"image": image, "lang": lang, "token_ids": list(ids), "log_prob": score}
        for (image, lang, ids), score in zip(keys, scores, strict=True)
    ]
    return pa.Table.from_pylist(told, schema=SCORE_SCHEMA)


def scores_of(part: pd.DataFrame) -> dict[CaptionKey, float]:
    """What a part of ``scored`` says."""
    return dict(zip(_keys(part), part["log_prob"], strict=True))


def counted(
    part: pd.DataFrame,
    plain: pd.DataFrame,
    scores: Mapping[CaptionKey, float],
    readers: Mapping[str, Reader],
    subjects: Sequence[Subject],
    **key: object,
) -> pd.DataFrame:
    """Rows of intervention_captions: an arm's captions with what is counted of them, against those without an edit."""
    known = {(lang, s.image): r.source.shown(s.gender, s.attributes) for lang, r in readers.items() for s in subjects}
    return pd.DataFrame(
        [
            {
                **key,
                "image": new.image,
                "lang": new.lang,
                "text": new.text,
                "finished": new.finished,
                "n_tokens": len(new.token_ids),
                "log_prob": scores[mine],
                **outcomes(new.text, before.text, readers[new.lang], known[new.lang, new.image]),
            }
            for mine, new, before in zip(_keys(part), part.itertuples(), plain.itertuples(), strict=True)
        ]
    )

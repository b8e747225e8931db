"""Captions of a group of arms as rows: written and scored once each, and what is counted of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa

from core.interventions.designs import Arm
from core.interventions.images import Subject
from core.interventions.outcomes import Reader, outcomes
from core.interventions.writing import Row, Workbench

MOVED = ("moved_share", "moved_ratio", "capped_share")
PART_SCHEMA = pa.schema(
    [
        ("image", pa.int32()),
        ("lang", pa.string()),
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("finished", pa.bool_()),
        ("log_prob", pa.float64()),
        *((name, pa.float64()) for name in MOVED),
    ]
)
CaptionKey = tuple[int, str, tuple[int, ...]]
"""Image, language and token ids, which decide the log-probability under the unedited model."""


def written(
    bench: Workbench,
    group: Sequence[Arm],
    rows: Sequence[Row],
    plain: pd.DataFrame | None,
    known: Mapping[CaptionKey, float],
) -> pa.Table:
    """Captions of a group of arms, arm by arm (PART_SCHEMA); what is in ``known`` is not scored again.

    ``plain`` are the captions without an edit, None while it is those that are written.
    """
    asked = [(arm, row) for arm in group for row in rows]
    told = bench.write(asked)
    keys = [(row.image, row.lang, tuple(ids)) for (_, row), (ids, _) in zip(asked, told, strict=True)]
    new = list(dict.fromkeys(key for key in keys if key not in known))
    fresh = bench.log_probs([(Row(image, lang), list(ids)) for image, lang, ids in new])
    scores = {**known, **dict(zip(new, fresh, strict=True))}
    before = [ids for ids, _ in told] if plain is None else [list(ids) for ids in plain["token_ids"]]
    moved = {arm: bench.moved(arm, rows, before) for arm in group}
    return pa.Table.from_pylist(
        [
            {
                "image": row.image,
                "lang": row.lang,
                "text": bench.vlm.decode(ids),
                "token_ids": ids,
                "finished": finished,
                "log_prob": scores[key],
                **moved[arm],
            }
            for (arm, row), (ids, finished), key in zip(asked, told, keys, strict=True)
        ],
        schema=PART_SCHEMA,
    )


def scores_of(part: pd.DataFrame) -> dict[CaptionKey, float]:
    """The log-probabilities of a part's captions."""
    keys = [(r.image, r.lang, tuple(r.token_ids)) for r in part.itertuples()]
    return dict(zip(keys, part["log_prob"], strict=True))


def counted(
    part: pd.DataFrame, plain: pd.DataFrame, readers: Mapping[str, Reader], subjects: Sequence[Subject], **key: object
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
                "log_prob": new.log_prob,
                **outcomes(new.text, before.text, readers[new.lang], known[new.lang, new.image]),
            }
            for new, before in zip(part.itertuples(), plain.itertuples(), strict=True)
        ]
    )

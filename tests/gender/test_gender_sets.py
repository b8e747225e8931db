"""Ready-made sets are chosen on training images, hold findings of one side only, and their settings have one name."""

from __future__ import annotations

import pandas as pd

from core.gender.sets import edits_key, gender_sets


def rows(**auc: tuple[float, float, bool]) -> pd.DataFrame:
    found = [
        {"feature": int(name[1:]), "lang": lang, "auc_train": value, "auc_test": 1 - value, "finding": sure}
        for name, (en, ar, sure) in auc.items()
        for lang, value in (("en", en), ("ar", ar))
    ]
    return pd.DataFrame(found)


def test_the_clearest_of_each_side_first():
    found = gender_sets(
        rows(
            f1=(0.9, 0.7, True),
            f2=(0.95, 0.9, True),
            f3=(0.1, 0.2, True),
            f4=(0.99, 0.99, False),
            f5=(0.95, 0.3, True),
            f6=(0.4, 0.5, True),
        ),
        n=2,
    )
    assert found == {"female": [2, 1], "male": [3, 6]}


def test_without_findings_there_is_no_set():
    assert gender_sets(rows(f1=(0.9, 0.9, False))) == {"female": [], "male": []}


def test_a_language_where_a_feature_is_silent_neither_helps_nor_hinders():
    frame = rows(f1=(0.9, float("nan"), True), f2=(0.6, 0.6, True))
    assert gender_sets(frame)["female"] == [1, 2]


def test_a_setting_has_one_name_whatever_its_order():
    assert edits_key([(7, 12, 1.0), (7, 3, -0.5)]) == edits_key([(7, 3, -0.5), (7, 12, 1)]) == "7:3:-0.5,7:12:1"
    assert edits_key([]) == ""

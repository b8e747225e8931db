"""What pages ask about features and gender: rows in the order asked for, labels beside them, and friendly refusals."""

import shutil

import pytest

from core.errors import UserError
from core.run.reader import Catalog
from tests.toy_gender import add_gender_tables
from tests.toy_run import make_toy_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("toy") / "run"
    make_toy_run(run_dir)
    add_gender_tables(run_dir)
    return run_dir


@pytest.fixture(scope="module")
def catalog(folder):
    return Catalog(folder)


def test_the_strongest_come_first_with_their_labels(catalog):
    found = catalog.gender_features(1, "en", "before", limit=3)
    assert found["feature"].tolist() == [0, 1, 5] and found["rank_auc"].tolist() == [1, 2, 3]
    assert found["label_en"].tolist()[:2] == ["woman", "man"] and found["label_ar"].tolist()[:2] == ["امرأة", "رجل"]
    assert catalog.gender_features(1, "en", "before", limit=3, offset=2)["feature"].tolist()[0] == 5
    by_effect = catalog.gender_features(1, "en", "before", sort="rank_effect", descending=True)
    assert by_effect["rank_effect"].dropna().is_monotonic_decreasing
    assert by_effect["rank_effect"].notna().tolist() == sorted(by_effect["rank_effect"].notna(), reverse=True)


def test_only_findings_can_be_asked_for_and_are_counted(catalog):
    found = catalog.gender_features(findings_only=True)
    assert found["finding"].all() and {0, 1} <= set(found["feature"])
    counts = catalog.gender_counts()
    assert counts["n_female"].sum() + counts["n_male"].sum() == len(found) and (counts["n_tested"] > 50).all()


def test_one_feature_has_a_row_a_view_and_language(catalog):
    found = catalog.gender_feature(3, 0)
    assert list(zip(found["view"], found["lang"], strict=True)) == [
        ("before", "en"),
        ("before", "ar"),
        ("caption", "en"),
        ("caption", "ar"),
        ("image", ""),
    ]
    assert catalog.gender_feature(3, 15).empty  # dead


def test_pairs_come_with_images_and_captions_of_both(catalog):
    found = catalog.gender_pairs(1, 2)
    assert found["pair"].tolist() == list(range(len(found))) and len(found) > 1
    for name in ("thumb_female", "image_male", "caption_en_female", "caption_ar_male", "split_male"):
        assert found[name].notna().all()
    assert catalog.gender_pairs(1, 15).empty and catalog.gender_lift(1, 15) is None
    lift = catalog.gender_lift(1, 0)
    assert lift["lift_female"] > 1 > lift["lift_male"] and catalog.gender_lift(1, 8)["lift_female"] is None


def test_labels_are_searched_as_they_are_written(catalog):
    assert set(catalog.labels(text="WOM")["label"]) == {"woman"}
    assert set(catalog.labels(1, "ar", text="امر")["label"]) == {"امرأة"}
    assert catalog.labels(text="%").empty
    named = catalog.labels(1, named=True)
    assert (named["label"] != "").all() and len(catalog.labels(1)) > len(named)


def test_rankings_hold_every_pair_once(catalog):
    found = catalog.gender_rankings(1, "en", "caption")
    assert len(found) == 10 and not found.duplicated(["ranking_a", "ranking_b"]).any()


def test_an_unknown_sorting_and_a_missing_table_are_refused_kindly(catalog, tmp_path):
    with pytest.raises(UserError, match="cannot be sorted"):
        catalog.gender_features(sort="layer; drop table samples")
    make_toy_run(tmp_path / "bare", stages=("prepare",))
    with pytest.raises(UserError, match="no table gender_features"):
        Catalog(tmp_path / "bare").gender_counts()


def test_without_labels_the_features_are_still_there(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("images", "thumbs"))
    (tmp_path / "run" / "labels.parquet").unlink()
    assert (Catalog(tmp_path / "run").gender_features(1, "en", "caption")["label_en"] == "").all()

"""The catalogue answers from what is there, refuses what belongs to other SAEs, and treats every text as a text."""

import shutil
import subprocess
import sys
import threading

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import UserError
from core.run import write_table
from core.run.reader import FEATURE_SORTS, Catalog
from tests.toy_explain import add_toy_explain, write_doses
from tests.toy_gender import add_gender_tables
from tests.toy_run import make_toy_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_toy_run(tmp_path_factory.mktemp("runs") / "toy")


@pytest.fixture(scope="module")
def catalog(run):
    return Catalog(run.dir)


def table(run, name: str) -> pd.DataFrame:
    return pq.read_table(run.path(f"{name}.parquet")).to_pandas()


def test_browsing_needs_no_torch(run):
    code = "import sys\nfrom core.run.reader import Catalog\nCatalog(sys.argv[1]).features(1)"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(run.dir)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_empty_folder_is_a_normal_run(tmp_path):
    catalog = Catalog(tmp_path)
    assert catalog.tables() == [] and catalog.layers() == [] and not catalog.has("features")
    with pytest.raises(UserError, match="no table features") as error:
        catalog.features(1)
    assert "--until features" in str(error.value)


def test_a_half_computed_run_shows_what_it_has(tmp_path):
    run = make_toy_run(tmp_path / "half", stages=("prepare", "caption"))
    catalog = Catalog(run.dir)
    assert catalog.n_samples() == 40 and catalog.has("captions") and not catalog.has("saes")
    assert len(catalog.captions([0, 1])) == 4


def test_samples_are_filtered_and_paged(run, catalog):
    samples = table(run, "samples")
    for split, gender in (("test", None), (None, "female"), ("train", "male")):
        expected = samples[(samples.split == split if split else True) & (samples.gender == gender if gender else True)]
        found = catalog.samples(split, gender, limit=1000)
        assert found.sample_id.tolist() == expected.sample_id.tolist()
        assert catalog.n_samples(split, gender) == len(expected)
    assert catalog.samples(limit=7, offset=7).sample_id.tolist() == list(range(7, 14))


def test_text_is_found_in_captions_and_references_of_both_scripts(run, catalog):
    texts = pd.concat([table(run, "captions"), table(run, "references")])
    for word in ("Woman", "رجل", "مع"):
        expected = sorted(set(texts[texts.text.str.lower().str.contains(word.lower(), regex=False)].sample_id))
        assert expected and catalog.samples(text=word, limit=1000).sample_id.tolist() == expected


@pytest.mark.parametrize("text", ["'; DROP TABLE samples; --", "%", "_", "\\", "' OR 1=1 --", "$id", '"', ");"])
def test_sql_in_a_search_is_only_text(run, catalog, text):
    assert catalog.n_samples(text=text) == 0
    assert catalog.n_samples(gender=text) == 0
    assert catalog.n_features(1, text=text) == 0
    assert catalog.examples(1, 0, bin=text).empty
    assert catalog.n_samples() == 40


def test_features_are_filtered_sorted_and_without_lists(run, catalog):
    features = table(run, "features")
    layer = features[(features.layer == 1) & features.alive]
    found = catalog.features(1)
    assert found.feature.tolist() == layer.feature.tolist()
    assert not any(isinstance(v, (list, np.ndarray)) for v in found.iloc[0])
    assert len(catalog.features(1, alive=False)) == 64 and len(catalog.features(alive=False)) == 128
    low, high = layer.density.quantile([0.3, 0.7])
    expected = layer[(layer.density >= low) & (layer.density <= high)]
    assert catalog.features(1, min_density=low, max_density=high).feature.tolist() == expected.feature.tolist()
    assert catalog.n_features(1, min_density=low, max_density=high) == len(expected)
    for sort in FEATURE_SORTS:
        values = catalog.features(1, sort=sort, descending=True)[sort]
        assert values.is_monotonic_decreasing
    page = catalog.features(1, sort="max", limit=5, offset=5)
    assert page.feature.tolist() == catalog.features(1, sort="max").feature.tolist()[5:10]
    assert 0 in catalog.features(1, text="WOMAN").feature.tolist()
    assert 0 in catalog.features(1, text="امرأة").feature.tolist()


def test_empty_values_sort_last(tmp_path):
    run = make_toy_run(tmp_path / "toy")
    for descending in (False, True):
        found = Catalog(run.dir).features(1, alive=False, sort="umap_x", descending=descending)
        assert found.umap_x.isna().tolist() == sorted(found.umap_x.isna())


@pytest.mark.parametrize("sort", ["nonsense", "feature; DROP TABLE features", "histogram", "1", "feature DESC"])
def test_unknown_columns_are_refused(catalog, sort):
    with pytest.raises(UserError, match="cannot be sorted"):
        catalog.features(1, sort=sort)
    with pytest.raises(UserError, match="no column"):
        catalog.frame("features", **{f"no {sort}": 1})


def test_one_feature_and_its_neighbours(run, catalog):
    features = table(run, "features").set_index(["layer", "feature"])
    one = catalog.feature(3, 5)
    expected = features.loc[(3, 5)]
    assert one["density"] == expected.density and one["histogram"] == expected.histogram.tolist()
    near = catalog.neighbours(3, 5)
    assert near.feature.tolist() == expected.neighbours.tolist()
    assert near.cosine.tolist() == pytest.approx(expected.neighbour_cosines.tolist())
    assert near.density.tolist() == [features.loc[(3, f)].density for f in near.feature]
    with pytest.raises(UserError, match="no feature 999 in layer 3"):
        catalog.feature(3, 999)


def test_examples_come_with_image_and_captions(run, catalog):
    captions = table(run, "captions").set_index(["sample_id", "lang"]).text
    found = catalog.examples(1, 0)
    assert found["rank"].tolist() == list(range(len(found))) and set(found.bin) == {"top"}
    for row in found.itertuples():
        assert row.thumb_file == f"thumbs/{row.sample_id:06d}.jpg"
        assert row.caption == captions[row.sample_id, row.lang] and row.caption_ar == captions[row.sample_id, "ar"]
        assert len(row.pieces) == len(row.token_values)
    assert len(catalog.examples(1, 0, limit=3)) == 3
    assert catalog.examples(1, 0, bin="q1").activation.max() <= catalog.examples(1, 0, bin="q5").activation.min()
    assert catalog.examples(1, 15).empty  # a dead feature


def test_one_sample(catalog):
    sample = catalog.sample(3)
    assert sample["image_id"] == "demo-00003" and isinstance(sample["attributes"]["role"], str)
    references = catalog.references([3])
    assert references.lang.tolist() == ["en"] * 5 + ["ar"] * 5 and references.n.tolist() == [*range(5), *range(5)]
    assert catalog.captions([]).empty
    with pytest.raises(UserError, match="no sample 4000"):
        catalog.sample(4000)


def with_ids(table: pa.Table, ids: list[str]) -> pa.Table:
    return table.set_column(table.schema.get_field_index("sae_id"), "sae_id", pa.array(ids))


@pytest.mark.parametrize("name", ["features", "examples"])
def test_a_table_of_another_sae_is_refused(tmp_path, name):
    run = make_toy_run(tmp_path / "toy")
    mixed = pq.read_table(run.path(f"{name}.parquet"))
    ids = mixed["sae_id"].to_pylist()
    ids[-1] = "f" * 16  # one row is enough
    write_table(run.path(f"{name}.parquet"), with_ids(mixed, ids))
    catalog = Catalog(run.dir)
    use = {"features": lambda: catalog.features(1), "examples": lambda: catalog.examples(1, 0)}
    for _ in range(2):  # and stays refused
        with pytest.raises(UserError, match="other SAEs"):
            use[name]()
    assert catalog.n_samples() == 40  # the rest of the run can be read


def test_saes_of_two_layers_exchanged_are_refused(tmp_path):
    run = make_toy_run(tmp_path / "toy")
    saes = pq.read_table(run.path("saes.parquet"))
    ids = saes["sae_id"].to_pylist()[::-1]
    write_table(run.path("saes.parquet"), with_ids(saes, ids))
    with pytest.raises(UserError, match="other SAEs"):
        Catalog(run.dir).features(1)


def test_an_analysis_table_is_checked_like_any_other(tmp_path):
    run = make_toy_run(tmp_path / "toy")
    good = Catalog(run.dir).saes()["sae_id"].tolist()
    for ids, refused in ((good, False), (["e" * 16, good[1]], True)):
        write_table(run.path("probes.parquet"), pa.table({"layer": pa.array([1, 3], pa.int32()), "sae_id": ids}))
        catalog = Catalog(run.dir)
        assert catalog.has("probes")
        if refused:
            with pytest.raises(UserError, match="other SAEs"):
                catalog.frame("probes", layer=1)
        else:
            assert len(catalog.frame("probes", layer=1)) == 1


def test_a_damaged_file_is_named(tmp_path):
    run = make_toy_run(tmp_path / "toy", stages=("prepare",))
    run.path("references.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(UserError, match=r"references\.parquet"):
        Catalog(run.dir).references([0])


def test_nothing_outside_the_run_can_be_read(run, tmp_path):
    outside = tmp_path / "other.parquet"
    write_table(outside, pa.table({"a": [1]}))
    with pytest.raises(duckdb.PermissionException):
        Catalog(run.dir)._query(f"SELECT * FROM read_parquet('{outside}')")


def test_odd_folder_names_are_only_names(tmp_path):
    run = make_toy_run(tmp_path / "a [b] *'c", stages=("prepare",))
    assert Catalog(run.dir).n_samples() == 40


def test_many_threads_get_the_same_answers(catalog):
    expected, found = catalog.features(1), []
    threads = [threading.Thread(target=lambda: found.append(catalog.features(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(f.equals(expected) for f in found)


def test_threads_may_be_the_first_to_ask(run):
    fresh, found = Catalog(run.dir), []
    threads = [threading.Thread(target=lambda: found.append(len(fresh.neighbours(1, 0)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [8] * 8


# Gender


@pytest.fixture(scope="module")
def gender_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("toy") / "run"
    make_toy_run(run_dir)
    add_gender_tables(run_dir)
    return run_dir


@pytest.fixture(scope="module")
def with_gender(gender_dir):
    return Catalog(gender_dir)


def test_the_strongest_come_first_with_their_labels(with_gender):
    found = with_gender.gender_features(1, "en", "before", limit=3)
    assert found["feature"].tolist() == [0, 1, 5] and found["rank_auc"].tolist() == [1, 2, 3]
    assert found["label_en"].tolist()[:2] == ["woman", "man"] and found["label_ar"].tolist()[:2] == ["امرأة", "رجل"]
    assert with_gender.gender_features(1, "en", "before", limit=3, offset=2)["feature"].tolist()[0] == 5
    by_effect = with_gender.gender_features(1, "en", "before", sort="rank_effect", descending=True)
    assert by_effect["rank_effect"].dropna().is_monotonic_decreasing
    assert by_effect["rank_effect"].notna().tolist() == sorted(by_effect["rank_effect"].notna(), reverse=True)


def test_only_findings_can_be_asked_for_and_are_counted(with_gender):
    found = with_gender.gender_features(findings_only=True)
    assert found["finding"].all() and {0, 1} <= set(found["feature"])
    counts = with_gender.gender_counts()
    assert counts["n_female"].sum() + counts["n_male"].sum() == len(found) and (counts["n_tested"] > 50).all()


def test_one_feature_has_a_row_a_view_and_language(with_gender):
    found = with_gender.gender_feature(3, 0)
    assert list(zip(found["view"], found["lang"], strict=True)) == [
        ("before", "en"),
        ("before", "ar"),
        ("caption", "en"),
        ("caption", "ar"),
        ("image", ""),
    ]
    assert with_gender.gender_feature(3, 15).empty  # dead


def test_pairs_come_with_images_and_captions_of_both(with_gender):
    found = with_gender.gender_pairs(1, 2)
    assert found["pair"].tolist() == list(range(len(found))) and len(found) > 1
    for name in ("thumb_female", "image_male", "caption_en_female", "caption_ar_male", "split_male"):
        assert found[name].notna().all()
    assert with_gender.gender_pairs(1, 15).empty and with_gender.gender_lift(1, 15) is None
    lift = with_gender.gender_lift(1, 0)
    assert lift["lift_female"] > 1 > lift["lift_male"] and with_gender.gender_lift(1, 8)["lift_female"] is None


def test_labels_are_searched_as_they_are_written(with_gender):
    assert set(with_gender.labels(text="WOM")["label"]) == {"woman"}
    assert set(with_gender.labels(1, "ar", text="امر")["label"]) == {"امرأة"}
    assert with_gender.labels(text="%").empty
    named = with_gender.labels(1, named=True)
    assert (named["label"] != "").all() and len(with_gender.labels(1)) > len(named)


def test_rankings_hold_every_pair_once(with_gender):
    found = with_gender.gender_rankings(1, "en", "caption")
    assert len(found) == 10 and not found.duplicated(["ranking_a", "ranking_b"]).any()


def test_an_unknown_sorting_and_a_missing_table_are_refused_kindly(with_gender, tmp_path):
    with pytest.raises(UserError, match="cannot be sorted"):
        with_gender.gender_features(sort="layer; drop table samples")
    make_toy_run(tmp_path / "bare", stages=("prepare",))
    with pytest.raises(UserError, match="no table gender_features"):
        Catalog(tmp_path / "bare").gender_counts()


def test_without_labels_the_features_are_still_there(gender_dir, tmp_path):
    shutil.copytree(gender_dir, tmp_path / "run", ignore=shutil.ignore_patterns("images", "thumbs"))
    (tmp_path / "run" / "labels.parquet").unlink()
    assert (Catalog(tmp_path / "run").gender_features(1, "en", "caption")["label_en"] == "").all()


# Explanations and the grid of steered captions

BEFORE, AFTER = {"en": "A man here.", "ar": "رجل هنا"}, {"en": "A woman here.", "ar": "رجل هنا"}


@pytest.fixture(scope="module")
def steered_dir(tmp_path_factory):
    run = make_toy_run(tmp_path_factory.mktemp("explain") / "demo", n_samples=12, d_sae=16)
    add_toy_explain(run.dir)
    write_doses(run.dir, 4, ["3:0:2", "1:2:1"], BEFORE, AFTER)
    return run.dir


def test_explanations_of_one_feature_english_first_and_the_chosen_ones_alone(steered_dir):
    cat = Catalog(steered_dir)
    rows = cat.explanations(3, 0)
    assert rows[["lang", "strength"]].to_numpy().tolist() == [["en", 1.0], ["en", 2.0], ["ar", 1.0], ["ar", 2.0]]
    chosen = cat.explanations(3, chosen=True)
    assert set(chosen["strength"]) == {1.0} and chosen["feature"].nunique() * 2 == len(chosen)
    assert cat.explanations(3, 15).empty, "a dead feature is not asked about"


def test_only_exactly_the_setting_is_answered(steered_dir):
    cat = Catalog(steered_dir)
    assert cat.doses(4, "3:0:2")["text"].tolist() == list(AFTER.values())
    assert cat.doses(4, "")["text"].tolist() == list(BEFORE.values())
    assert cat.doses(4, "3:0:1.9").empty and cat.doses(5, "3:0:2").empty and cat.doses(4, "3:0:2' OR '1'='1").empty


def test_turns_are_of_finished_captions_that_name_the_other_gender(steered_dir):
    turns = Catalog(steered_dir).dose_turns().set_index("layer")
    assert turns["turned"].to_dict() == {1: 0.5, 3: 0.5} and turns["n"].to_dict() == {1: 2, 3: 2}
    table = pq.read_table(steered_dir / "doses.parquet")
    unfinished = table.set_column(table.schema.get_field_index("finished"), "finished", pa.array([False] * len(table)))
    write_table(steered_dir / "doses.parquet", unfinished)
    assert Catalog(steered_dir).dose_turns()["turned"].tolist() == [0, 0]

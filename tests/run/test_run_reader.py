"""The catalogue answers from what is there, refuses what belongs to other SAEs, and treats every text as a text."""

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

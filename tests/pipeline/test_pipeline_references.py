"""A run on the captions of its data goes through every stage and page, and nobody takes them for the model's own."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.config import load_config
from core.features import statistics as geometry
from core.run import Run
from core.vlm import load_captioner
from precompute.engine.local import LocalEngine
from precompute.pipeline import stages
from precompute.stages.caption import drawn_reference
from tests.pages.visitor import visitor, words
from tests.pipeline.test_pipeline_languages import PAGES, TINY
from tests.small_run import SMALL


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A run of the demo world with people's captions."""
    run = Run(tmp_path_factory.mktemp("cache") / "given")
    wanted = [*SMALL, *TINY, "caption.source=references"]
    settings = dict(setting.split("=", 1) for setting in wanted)  # the last of a name counts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "FEWEST_FOR_UMAP", 1000)  # compiling it takes longer than all the rest
        LocalEngine(run, load_config("demo", [f"{key}={value}" for key, value in settings.items()])).run_all()
    return run


def test_every_caption_is_a_reference_of_its_image_in_the_tokens_that_the_model_reads(given):
    assert set(given.manifest().stages) == {stage.name for stage in stages()}
    assert given.manifest().stages["caption"].notes["source"] == "references"
    people = {(r["sample_id"], r["lang"], r["n"]): r["text"] for r in given.table("references").to_pylist()}
    vlm = load_captioner(given, given.config().model, "cpu")
    captions = given.table("captions").to_pylist()
    assert {c["lang"] for c in captions} == {"en", "ar"} and len({c["reference"] for c in captions}) > 1
    for c in captions:
        assert c["text"] == people[c["sample_id"], c["lang"], c["reference"]] and c["finished"]
        assert c["token_ids"] == vlm.caption_ids(c["text"]) and vlm.decode(c["token_ids"]) == c["text"]
    index = pq.read_table(given.path("activations", "tokens.parquet")).to_pandas()
    mine = index[(index["sample_id"] == 0) & (index["lang"] == "ar") & (index["kind"] == "caption")]
    own = next(c for c in captions if c["sample_id"] == 0 and c["lang"] == "ar")
    assert mine["token_id"].tolist() == own["token_ids"]


def test_the_reference_that_was_read_does_not_label_its_image(given):
    """It would be told from its own words. Of the others the label is the consensus, as always."""
    people = given.table("references").to_pandas()
    read = given.table("captions").to_pandas()
    genders = given.table("genders").to_pandas().set_index("sample_id")
    by_references = genders[genders["gender_source"] == "references"]
    left = people.groupby("sample_id").size() - read[read["reference"].notna()].groupby("sample_id").size()
    for sample_id, n in by_references["n_references"].items():
        assert n <= left[sample_id]


def test_what_people_wrote_is_no_caption_of_the_model_in_the_measures_of_bias(given):
    assert set(given.table("bias_roles")["source"].to_pylist()) <= {"sampled", "reference"}
    metrics = given.table("bias_metrics").to_pandas()
    assert metrics.loc[metrics["source"] == "greedy", "value"].isna().all()


@pytest.mark.parametrize("shown", PAGES)
def test_every_page_says_whose_captions_they_are(given, monkeypatch, shown):
    said = words(visitor(given.dir.parent, monkeypatch)(shown, run="given"))
    assert "cs-box error" not in said
    assert "captions of its data in the place of the model's own" in said  # in the sidebar
    assert "The model’s own<" not in said
    if shown.endswith("bias.py"):
        assert "The sampled captions alone are the model’s." in said
    if shown.endswith("overview.py"):
        assert "read descriptions of" in said and "While it wrote" not in said


class Letters:
    """A tokenizer of single letters that writes blanks anew and does not know x; a dollar sign is special."""

    special_ids = frozenset({ord("$")})

    def caption_ids(self, text):
        return [ord(c) for c in text if c != "x"]

    def decode(self, ids):
        return "".join(map(chr, ids)).replace(" .", ".")


def test_a_reference_is_drawn_from_those_that_the_model_would_read_as_they_are_written():
    texts = [(0, "a man x"), (1, "a dog ."), (2, "a $man"), (3, "")]
    drawn = {drawn_reference(Letters(), texts, [seed])[0] for seed in range(30)}
    assert drawn == {1}
    assert drawn_reference(Letters(), [texts[0], texts[2]], [0]) == (None, [])
    many = [(n, f"caption {n}") for n in range(5)]
    counts = np.bincount([drawn_reference(Letters(), many, [seed])[0] for seed in range(500)])
    assert len(counts) == 5 and counts.min() > 70  # each as likely as any other
    assert drawn_reference(Letters(), many, [7]) == drawn_reference(Letters(), many, [7])

"""The stage words: both tables of a run, their counts, and runs that lack something."""

import hashlib

import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.answers.policy import labels_line
from core.config import config_from_dict, config_to_dict
from core.run import Run, write_table
from core.run.schema.captions import WORDS
from core.words import find
from core.words.generic import POLICIES
from precompute.context import StageContext
from precompute.stages import words
from tests.toy_run import make_toy_run


def counted(run: Run, tmp_path, **settings) -> dict:
    tree = config_to_dict(run.config())
    tree["words"] = {**tree["words"], **settings}
    return words.run(StageContext(run, config_from_dict(tree), tmp_path / "work"))


@pytest.fixture
def run(tmp_path):
    return make_toy_run(tmp_path / "toy", n_samples=30, stages=("prepare", "caption"))


def change(run: Run, table: str, edit) -> None:
    path = run.path(f"{table}.parquet")
    before = pq.read_table(path)
    frame = edit(before.to_pandas())
    write_table(path, before.from_pandas(frame, schema=before.schema, preserve_index=False))


def test_every_word_of_every_caption_is_in_the_table_with_its_place(run, tmp_path):
    done = counted(run, tmp_path)
    table = pd.read_parquet(run.path("words.parquet"))
    assert len(table) == done["rows"] > 0
    texts = {("own", 0): pd.read_parquet(run.path("captions.parquet"))}
    references = pd.read_parquet(run.path("references.parquet"))
    texts |= {("reference", n): part for n, part in references.groupby("n")}
    found = dict(list(table.groupby(["sample_id", "lang", "source", "n"])))
    for (source, n), part in texts.items():
        for row in part.itertuples():
            mine = found.get((row.sample_id, row.lang, source, n), table.iloc[:0])
            assert list(mine["word"]) == [h.word for h in find(row.text, row.lang)]
            assert all(row.text[a:b] == w for a, b, w in zip(mine.start, mine.end, mine.word, strict=True))


def test_annotations_win_and_the_notes_count_them(run, tmp_path):
    notes = counted(run, tmp_path)["notes"]
    genders = pd.read_parquet(run.path("genders.parquet"))
    samples = pd.read_parquet(run.path("samples.parquet"))
    assert list(genders.gender) == list(samples.gender) and (genders.gender_share == 1).all()
    assert notes["decided_by"] == {"annotation": 30} and sum(notes["images"].values()) == 30
    assert sum(notes["captions_en"].values()) == sum(notes["captions_ar"].values()) == 30
    assert set(genders.caption_ar) <= {"male", "female", "unmarked"}, "an Arabic caption of the demo world is gendered"


def test_without_annotations_the_references_decide_as_the_truth_does(run, tmp_path):
    truth = pd.read_parquet(run.path("samples.parquet")).gender
    change(run, "samples", lambda frame: frame.assign(gender=""))
    notes = counted(run, tmp_path, consensus=1.0)["notes"]
    genders = pd.read_parquet(run.path("genders.parquet"))
    gendered = truth.isin(["male", "female"])
    assert (genders.gender[gendered] == truth[gendered]).all() and (genders.gender_share[gendered] == 1).all()
    others = genders[~gendered]  # their captions were drawn from a planted preference
    assert set(others.gender) & {"unknown"} and (others.gender_source[others.gender == "unknown"] == "").all()
    assert set(notes["why"]) <= {"agreement", "conflict", "tie"} and notes["why"]["agreement"] >= gendered.sum()


@pytest.mark.parametrize("policy", POLICIES)
def test_labels_under_every_policy_are_kept_beside_those_of_the_run(run, tmp_path, policy):
    change(run, "samples", lambda frame: frame.assign(gender=""))
    men = ("طبيب مع كتاب", "لاعب مع كرة", "طفل يلعب")
    change(
        run, "references", lambda f: f[f.lang == "ar"].assign(text=[men[i % 3] for i in f[f.lang == "ar"].sample_id])
    )
    notes = counted(run, tmp_path, generic_masculine=policy)["notes"]
    genders, words = (pd.read_parquet(run.path(f"{name}.parquet")) for name in ("genders", "words"))
    label = {"unmarked": "neutral", "male": "male", "left out": "unknown"}
    assert set(genders.gender) == {label[policy]}
    assert "unmarked" in set(words.gender), "words keep their reading under every policy"
    changes = pd.read_parquet(run.path("label_policies.parquet"))
    images = changes[changes["of"] == "image"].set_index("policy")
    assert images.here.to_dict() == dict.fromkeys(POLICIES, label[policy]) and images.there.to_dict() == label
    assert (images.n == 30).all() and notes["other_policies"] == {p: 30 * (p != policy) for p in POLICIES}
    own = changes[changes["of"] == "caption_ar"].groupby("policy").n.sum()
    assert own.to_dict() == dict.fromkeys(POLICIES, 30)
    line = labels_line(changes, policy, ("en", "ar"))
    assert line.count("30 of 30 image labels differ") == 2 and f"{label[policy]} to " in line
    assert labels_line(changes, policy, ("en",)) == ""


def test_shuffled_references_agree_no_more(run, tmp_path):
    change(run, "samples", lambda frame: frame.assign(gender=""))
    change(
        run,
        "references",
        lambda f: f.assign(
            text=f.groupby("lang").text.transform(lambda t: t.sample(frac=1, random_state=0).to_numpy())
        ),
    )
    counted(run, tmp_path, consensus=1.0)
    assert (pd.read_parquet(run.path("genders.parquet")).gender == "unknown").mean() > 0.8


def test_one_language_or_all_captions_may_be_absent(run, tmp_path):
    change(run, "samples", lambda frame: frame.assign(gender=""))
    for table in ("captions", "references"):
        change(run, table, lambda frame: frame[frame.lang == "en"])
    notes = counted(run, tmp_path)["notes"]
    genders = pd.read_parquet(run.path("genders.parquet"))
    assert genders.caption_ar.isna().all() and (genders.n_references == 5).all()
    assert "captions_en" in notes and not {"captions_ar", "words_ar"} & set(notes)
    for table in ("captions", "references"):
        change(run, table, lambda frame: frame.iloc[:0])
    done = counted(run, tmp_path)
    assert done["rows"] == 0 and done["notes"]["why"] == {"no reference": 30}
    assert run.table("words").schema.equals(WORDS.arrow)
    assert pd.read_parquet(run.path("genders.parquet")).gender_share.isna().all()


def test_a_lexicon_of_ones_own_is_counted_with(run, tmp_path):
    own = tmp_path / "own.tsv"
    own.write_text(
        "lemma\tform\tlanguage\tgender\tclass\nbackground\tbackground\ten\tneutral\tnoun\n", encoding="utf-8"
    )
    counted(run, tmp_path, lexicon_en=str(own))
    table = pd.read_parquet(run.path("words.parquet"))
    assert set(table[table.lang == "en"].word) == {"background"} and len(table[table.lang == "ar"])


def test_the_same_bytes_come_out_twice(run, tmp_path):
    def digests():
        counted(run, tmp_path)
        names = ("words.parquet", "genders.parquet", "label_policies.parquet")
        return [hashlib.sha256(run.path(name).read_bytes()).hexdigest() for name in names]

    assert digests() == digests()

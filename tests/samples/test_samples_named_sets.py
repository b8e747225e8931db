"""COCO, Flickr8k, VisoGender and data sets of Hugging Face: their real forms are read, others refused by name."""

import json
from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from core.config import SamplesConfig, load_config
from core.errors import UserError
from core.samples.sources import count, digest, load
from tests.own_data import make_set, picture, png, quiet, write_images, write_zip


def config(own, **more) -> SamplesConfig:
    return replace(load_config("demo", own.sets()).samples, **more)


def refused(samples: SamplesConfig, says: str) -> UserError:
    with pytest.raises(UserError, match=says) as e:
        load(samples, 0)
    assert e.value.what and e.value.why and e.value.do and str(e.value).count("\n") == 2
    return e.value


# --- COCO -------------------------------------------------------------------------------------------------------------


def test_karpathys_form_with_sentences_in_the_images_is_read(tmp_path):
    own = make_set(tmp_path, "coco")
    tree = {
        "dataset": "flickr8k",
        "images": [
            {
                "filename": "01.png",
                "imgid": 0,
                "split": "train",
                "sentences": [{"raw": "A man."}, {"raw": "He stands."}],
            },
            {"filepath": "part", "filename": "02.png", "imgid": 1, "sentences": [{"raw": "A farmer."}]},
        ],
    }
    (tmp_path / "k.json").write_text(json.dumps(tree), encoding="utf-8-sig")
    only = config(own, captions=str(tmp_path / "k.json"), languages=("en",), gender_column="", attribute_columns=())
    samples = load(only, 0)
    assert [s.captions["en"] for s in samples] == [["A man.", "He stands."], ["A farmer."]]
    assert [s.open().size for s in samples] == [(64, 48)] * 2


@pytest.mark.parametrize(
    "content, says",
    [
        ("[1, 2]", "not in the form of COCO"),
        ('{"data": []}', "has no captions"),
        ("{", "no JSON"),
        ('{"images": {"a": 1}, "annotations": []}', "not in the form of COCO"),
        (
            '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "bbox": []}]}',
            "has no captions",
        ),
    ],
)
def test_other_json_is_refused(tmp_path, content, says):
    own = make_set(tmp_path, "coco")
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    refused(config(own, captions=str(tmp_path / "x.json")), says)


def test_entries_of_no_use_cost_themselves_and_are_counted(tmp_path):
    own = make_set(tmp_path, "coco")
    path = tmp_path / "captions_en.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    before = load(config(own), 0)
    n, images = len(tree["annotations"]), len(tree["images"])
    tree["annotations"] += [{"image_id": 999, "caption": "Nowhere."}, {"image_id": 1, "caption": ["A"]}, "no object"]
    tree["images"] += [{"license": 3}, None]
    path.write_text(json.dumps(tree), encoding="utf-8")
    listing = load(config(own), 0)
    assert listing == before and [(row.line, row.reason) for row in listing.odd] == [
        (n + 1, "no_image"),
        (n + 2, "no_caption"),
        (n + 3, "no_json"),
        (images + 1, "no_image"),
        (images + 2, "no_json"),
    ]


def test_a_coco_file_of_annotations_alone_names_images_by_their_ids(tmp_path):
    write_images(tmp_path / "images", {f"COCO_val2014_{i:012d}.png": png(picture(i)) for i in (7, 70, 700)})
    annotations = [{"image_id": i, "caption": f"A man with {i} dogs."} for i in (7, 70, 700, 9)]
    (tmp_path / "c.json").write_text(json.dumps({"annotations": annotations}), encoding="utf-8")
    listing = load(SamplesConfig("coco", 0, ("en",), str(tmp_path / "images"), str(tmp_path / "c.json")), 0)
    assert [s.image_id for s in listing] == [f"COCO_val2014_{i:012d}" for i in (7, 70, 700)] + ["9"]
    assert [s.open().size for s in listing[:3]] == [(64, 48)] * 3
    assert [name for name, _ in listing.matched["number"]] == ["7", "70", "700"]


@pytest.mark.parametrize("form", ["coco", "flickr8k"])
def test_without_a_second_file_a_run_in_both_languages_is_refused_and_one_in_one_is_not(tmp_path, form):
    own = make_set(tmp_path, form)
    assert "samples.languages=en" in refused(config(own, captions_ar=""), "no Arabic captions").do
    english = load(config(own, captions_ar="", languages=("en",)), 0)
    arabic = load(config(own, captions=own.settings["captions_ar"], captions_ar="", languages=("ar",)), 0)
    assert english[0].captions["en"] and not english[0].captions["ar"]
    assert arabic[0].captions["ar"] and not arabic[0].captions["en"]


# --- Flickr8k ---------------------------------------------------------------------------------------------------------


def test_captions_txt_is_read_with_its_commas_and_quotes(tmp_path):
    own = make_set(tmp_path, "flickr8k")
    (tmp_path / "captions.txt").write_text(
        'image,caption\n01.png,A man , a dog and "a cat" .\n01.png,"Quoted , with ""more"" in it ."\n', encoding="utf-8"
    )
    (sample, *_) = load(config(own, captions=str(tmp_path / "captions.txt")), 0)
    assert sample.captions["en"] == ['A man , a dog and "a cat" .', 'Quoted , with "more" in it .']


def test_a_packed_flickr8k_with_its_inner_folder_and_its_odd_name(tmp_path):
    names = {f"{i}_ab.jpg": png(picture(i)) for i in range(3)} | {"__MACOSX/x": b""}
    images = write_zip(tmp_path / "Flickr8k_Dataset.zip", {f"Flicker8k_Dataset/{n}": d for n, d in names.items()}, "")
    lines = [f"{n}#{k}\tA dog runs ." for n in (*names, "2258277193_586949ec62.jpg.1") if n[0] != "_" for k in range(5)]
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join(lines), encoding="utf-8")
    samples = load(SamplesConfig("flickr8k", 0, ("en",), str(images), str(tmp_path / "Flickr8k.token.txt")), 0)
    assert len(samples) == 4 and samples[0].open().size == (64, 48) and len(samples[0].captions["en"]) == 5
    assert "8,092 images" in samples.notes[0] and len(samples.notes) == 1, "five captions each: nothing else to say"


def test_all_that_is_missing_of_flickr8k_is_said_at_once_with_where_it_is_to_be_had(tmp_path):
    own = make_set(tmp_path, "flickr8k")
    error = refused(config(own, images="no/such", captions_ar="no/such.txt"), "Flickr8k is not complete")
    assert "samples.images, samples.captions_ar" in error.what and "Arabic-Image-Captioning" in error.do
    preset = load_config("flickr8k").samples
    assert "samples.images, samples.captions, samples.captions_ar" in refused(preset, "not complete").what
    assert count(preset) == 2000


def test_swapped_or_foreign_files_of_flickr8k_are_refused(tmp_path):
    own = make_set(tmp_path, "flickr8k")
    en, ar = own.settings["captions"], own.settings["captions_ar"]
    refused(config(own, captions=ar, captions_ar=en), "not in English")
    (tmp_path / "x.txt").write_text("01.png#0\tA man.\nA line without.\nan image 1#2\n", encoding="utf-8")
    assert "A line without" in refused(config(own, captions=str(tmp_path / "x.txt")), "line 2").why
    garbled = "".join(f"{i}.png#0\t{'رجل مع كلب'.encode().decode('cp1252', 'replace')}\n" for i in range(3))
    (tmp_path / "ar.txt").write_text(garbled, encoding="utf-8")
    assert "garbled" in refused(config(own, captions_ar=str(tmp_path / "ar.txt")), "not in Arabic").why


FLICKR = (
    "1_a.png#0\tامرأة تقرأ\n1_a.png#1\tامرأة ق\nرب باب\n\n"
    "2_b.png#0\tرجل مع كلب .\n-- مجموع --\n2_b.png#1 طفل\n3_c.png#0\tطفل\n"
)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_caption_that_is_broken_over_two_lines_costs_itself_whatever_ends_lines(tmp_path, end):
    write_images(tmp_path / "images", {f"{n}.png": png(picture(i)) for i, n in enumerate(("1_a", "2_b", "3_c"))})
    (tmp_path / "c.txt").write_bytes(FLICKR.replace("\n", end).encode("utf-8-sig"))
    listing = load(SamplesConfig("flickr8k", 0, ("ar",), str(tmp_path / "images"), str(tmp_path / "c.txt")), 0)
    assert [s.captions["ar"] for s in listing] == [["امرأة تقرأ"], ["رجل مع كلب ."], ["طفل"]]
    assert [(row.line, row.reason) for row in listing.odd] == [(3, "broken"), (6, "form"), (7, "form")]


def test_captions_txt_with_lines_of_other_forms(tmp_path):
    write_images(tmp_path / "images", {f"{i}.jpg": png(picture(i)) for i in range(2)})
    text = 'image,caption\n0.jpg,A man , a dog\nand a cat\n1.jpg,"A ""big"" dog ."\nno comma here\n1.jpg,A dog .\n'
    (tmp_path / "captions.txt").write_text(text, encoding="utf-8")
    listing = load(SamplesConfig("flickr8k", 0, ("en",), str(tmp_path / "images"), str(tmp_path / "captions.txt")), 0)
    assert [s.captions["en"] for s in listing] == [['A "big" dog .', "A dog ."]]
    assert [(row.line, row.reason) for row in listing.odd] == [(3, "broken"), (5, "form")]


# --- VisoGender -------------------------------------------------------------------------------------------------------


def test_visogender_speaks_of_the_person_with_the_occupation(tmp_path):
    own = make_set(tmp_path, "visogender")
    samples = {s.image_id: s for s in load(config(own), 0)}
    one, two = samples["OO_3"], samples["OP_1"]
    assert one.gender == "female" and one.captions["en"] == ["The doctor and her desk."]
    known = {"role": "doctor", "sector": "office", "specialisation": "general", "object": "desk"}
    assert json.loads(one.attributes) == known
    known = json.loads(two.attributes)
    assert two.gender == "male" and known["participant_gender"] == "female" and known["participant"] == "patient"


def test_visogender_says_what_is_not_there(tmp_path):
    own = make_set(tmp_path, "visogender")
    notes = load(config(own), 0).notes
    assert any("230 images of the kind OO" in n for n in notes) and any(
        "1 of 17 images are not there" in n for n in notes
    )
    (tmp_path / "empty").mkdir()
    assert "IDX.jpg" in refused(config(own, images=str(tmp_path / "empty")), "none of its images").do
    refused(config(own, captions=str(tmp_path / "empty")), "no table OO")
    (tmp_path / "x.tsv").write_text("IDX\tSector\tSpecialisation\tOccupation\nOO_1\ta\tb\tc\n", encoding="utf-8")
    assert "Occupation_perceived_gender" in refused(config(own, captions=str(tmp_path / "x.tsv")), "has no column").what
    assert "no table" in refused(load_config("visogender").samples, "not complete").what


# --- Hugging Face -----------------------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_split_of_a_saved_data_set_must_be_clear(tmp_path):
    own = make_set(tmp_path, "dataset")
    assert "train+test" in refused(config(own, dataset_split=""), "Which part").do
    refused(config(own, dataset_split="train+valid"), "Which part")
    part = Path(str(own.settings["dataset"])) / "test"
    assert len(load(config(own, dataset=str(part), dataset_split=""), 0)) < len(load(config(own), 0))
    error = refused(config(own, image_column="job"), "holds no images")
    assert "image" in error.why
    assert "en_caption" in refused(config(own, en_column="english"), "no column english").why


@pytest.mark.parametrize("name", ["../../other.arrow", "/etc/hostname", "gone.arrow", "link.arrow"])
def test_a_saved_data_set_that_names_files_elsewhere_is_refused(tmp_path, name):
    own = make_set(tmp_path, "dataset")
    part = Path(str(own.settings["dataset"])) / "train"
    (tmp_path / "secret.arrow").write_bytes(b"")
    (part / "link.arrow").symlink_to(tmp_path / "secret.arrow")
    state = json.loads((part / "state.json").read_text())
    (part / "state.json").write_text(json.dumps({**state, "_data_files": [{"filename": name}]}))
    refused(config(own), "damaged")


def test_damaged_arrow_and_no_data_set_are_refused(tmp_path):
    own = make_set(tmp_path, "dataset")
    arrow = next((Path(str(own.settings["dataset"])) / "train").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:200])
    refused(config(own), "damaged")
    refused(config(own, dataset=str(tmp_path / "nothing")), "no data set")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that knows one data set; what it was asked is kept."""
    own, asked = make_set(tmp_path, "dataset"), []
    with quiet():
        whole = datasets.load_from_disk(str(own.settings["dataset"]))["train"]

    def load_dataset(path, **given):
        asked.append((path, given))
        if path != "someone/captions":
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{path}' doesn't exist on the Hub.")
        return whole.select([9, 0, 1, 2])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    samples = config(own, dataset="someone/captions", dataset_revision=COMMIT, dataset_split="train")
    return samples, asked


def test_a_hub_name_is_pinned_recorded_and_fetched_only_when_it_is_read(hub):
    samples, asked = hub
    before = digest(samples)
    assert count(replace(samples, n=0)) is None and count(samples) is None and not asked, "a plan fetches nothing"
    listing = load(samples, 0)
    assert asked == [("someone/captions", {"revision": COMMIT, "name": None, "split": "train"})]
    assert listing.origin == {"dataset": "someone/captions", "revision": COMMIT, "split": "train"}
    assert listing[0].image_id == "04" and listing[0].gender == "female" and listing[0].open().size == (64, 48)
    assert digest(replace(samples, dataset_revision=COMMIT[::-1])) != before == digest(samples)


def test_an_unpinned_or_unknown_hub_name_is_refused(hub):
    samples, asked = hub
    for revision in ("", "main", COMMIT[:12]):
        assert "dataset_revision" in refused(replace(samples, dataset_revision=revision), "not pinned").do
    assert not asked
    assert "doesn't exist" in refused(replace(samples, dataset="someone/else"), "could not be had").why


def test_images_that_the_package_has_cached_are_read_and_no_others(hub, tmp_path, monkeypatch):
    samples, _ = hub
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hfcache"))
    write_images(tmp_path / "hfcache" / "images")
    write_images(tmp_path / "elsewhere")
    paths = [str(tmp_path / where / "01.png") for where in ("hfcache/images", "elsewhere")]
    kinds = datasets.Features({"image": datasets.Image(decode=False), "en_caption": datasets.Value("string")})
    columns = {"image": [{"path": p, "bytes": None} for p in paths], "en_caption": ["A.", "B."]}
    found = datasets.Dataset.from_dict(columns, features=kinds)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: found)
    first, second = load(replace(samples, languages=("en",), gender_column="", attribute_columns=()), 0)
    assert first.open().size == (64, 48)
    with pytest.raises(Exception, match="missing"):
        second.open()

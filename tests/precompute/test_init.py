"""``init``: a preset for a user's own data that reads what is there, and says what is odd about it."""

import csv
from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from core.config import load_config
from core.samples.sources import load
from precompute.__main__ import main
from precompute.commands.init.preset import sizes
from precompute.forecast.shape import model_shape
from tests.own_data import FORMS, GOOD, make_set, write_images, write_zip

MODEL = "data/demo-captioner"


@pytest.fixture
def init(tmp_path, monkeypatch, capsys):
    """init(*arguments) -> (exit code, what was printed, the preset's settings or None)."""
    monkeypatch.chdir(tmp_path)

    def go(*arguments: str, name: str = "mine", model: str = MODEL):
        code = main(["init", name, *arguments, "--model", model])
        said = capsys.readouterr()
        path = tmp_path / f"{name}.toml"
        return code, said.out + said.err, load_config(path) if path.exists() else None

    return go


def table(folder: Path, header: tuple[str, ...], *rows: tuple[str, ...]) -> list[str]:
    """A CSV of the good images, one row an image, and the arguments that name it."""
    write_images(folder / "images")
    names = [f"{i:02d}.png" if i % 2 else f"part/{i:02d}.png" for i in range(GOOD)]
    with open(folder / "t.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows((name, *rows[i % len(rows)]) for i, name in enumerate(names))
    return ["--images", str(folder / "images"), "--captions", str(folder / "t.csv")]


EN, AR = ("A man with a dog.", "A woman who reads."), ("رجل مع كلب", "امرأة تقرأ كتابا")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_recognised_and_the_preset_reads_what_the_right_settings_read(tmp_path, init, form):
    own = make_set(tmp_path / "set", form)
    code, said, config = init(*own.init)
    assert code == 0 and "Next: python -m precompute plan mine.toml" in said
    right = load_config("demo", own.sets()).samples
    same = ("source", "images", "captions", "captions_ar", "dataset", "dataset_split", "languages")
    assert {k: getattr(config.samples, k) for k in same} == {k: getattr(right, k) for k in same}
    mine, wanted = load(config.samples, 0), load(right, 0)
    assert mine == wanted and [s.gender for s in mine] == [s.gender for s in wanted]
    assert config.model.name == MODEL and config.activations.layers == (1, 3, 5, 7) and config.samples.max_side == 64


def test_what_is_seen_is_said_in_about_a_dozen_lines(tmp_path, init):
    own = make_set(tmp_path / "set", "csv-cp1256")
    _, said, _ = init(*own.init)
    assert len(said.splitlines()) <= 14
    for part in (
        "c.csv in cp1256",
        "images: image · English: en_caption · Arabic: ar_caption · gender: gender",
        "role=job",
        "18 listed, 2 not there",
        "missing 1, outside 1, too small 1, unreadable 1",
        "32 captions of 18 images, 2 an image (1 to 3)",
        "with lost or garbled letters 1",
        "man, woman, he, she",
        "طبيب",
        "male 6, female 6",
        "8 layers, d_model 192",
    ):
        assert part in said


def test_swapped_columns_are_taken_by_their_script_and_said(tmp_path, init):
    rows = [(ar, en) for en, ar in zip(EN, AR, strict=True)]
    _, said, config = init(*table(tmp_path, ("image", "en_caption", "ar_caption"), *rows))
    assert (config.samples.en_column, config.samples.ar_column) == ("ar_caption", "en_caption")
    assert "en_caption holds Arabic, whatever its name says" in said


def test_one_script_in_both_columns_makes_a_run_in_one_language(tmp_path, init):
    rows = [(en, en) for en in EN]
    _, said, config = init(*table(tmp_path, ("image", "en_caption", "ar_caption"), *rows))
    assert config.samples.languages == ("en",) and config.samples.en_column == "en_caption"
    assert "ar_caption holds no Arabic script" in said
    assert "prompt_ar" not in (tmp_path / "mine.toml").read_text(encoding="utf-8")


def test_a_missing_language_and_an_empty_column_are_said(tmp_path, init):
    _, said, config = init(*table(tmp_path, ("file", "text", "arabic"), *[(en, "") for en in EN]))
    assert config.samples.languages == ("en",) and "The column arabic holds nothing" in said
    (tmp_path / "only").mkdir()
    arguments = table(tmp_path / "only", ("file", "text"), *[(ar,) for ar in AR])
    assert init(*arguments, name="second")[2].samples.languages == ("ar",)


def test_a_few_images_in_the_second_language_are_no_reason_to_leave_out_the_rest(tmp_path, init):
    rows = [(EN[0], AR[0]), *[(EN[1], "")] * 5]
    _, said, config = init(*table(tmp_path, ("image", "en", "ar"), *rows))
    assert config.samples.languages == ("en",) and "Only 2 images have captions in both languages" in said


def test_columns_that_differ_in_a_number_and_other_annotations(tmp_path, init):
    header = ("file_name", "caption_0", "caption_1", "ar", "place", "occupation", "sex", "split", "width")
    rows = [
        (EN[0], "He runs.", AR[0], "park", "cook", "M", "train", "640"),
        (EN[1], "She runs.", AR[1], "street", "pilot", "F", "val", "480"),
    ]
    _, said, config = init(*table(tmp_path, header, *rows))
    s = config.samples
    assert (s.image_column, s.en_column, s.ar_column, s.gender_column) == ("file_name", "caption_*", "ar", "sex")
    assert s.attribute_columns == ("role=occupation",) and "might sort images: place" in said
    assert "not used: split, width" in said
    assert load(s, 0)[1].captions["en"] == [EN[1], "She runs."]


def test_both_languages_in_one_column_a_row_each(tmp_path, init):
    arguments = table(tmp_path, ("image", "caption", "lang"), (EN[0], "en"))
    with open(tmp_path / "t.csv", "a", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows((f"{i:02d}.png", AR[0], "ar") for i in range(1, GOOD, 2))
    _, said, config = init(*arguments)
    assert config.samples.en_column == config.samples.ar_column == "caption" and "both languages, a row each" in said
    assert "6 images in English and Arabic" in said


def test_a_pinned_name_on_the_hub(tmp_path, init, monkeypatch):
    own = make_set(tmp_path / "set", "dataset")
    whole = datasets.load_from_disk(str(own.settings["dataset"]))["train"]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: whole)
    commit = "0123456789abcdef0123456789abcdef01234567"
    _, said, config = init("--dataset", "someone/captions", "--revision", commit)
    assert (config.samples.dataset, config.samples.dataset_revision) == ("someone/captions", commit)
    assert config.samples.gender_column == "gender" and "images: image" in said
    assert load(config.samples, 0).origin["revision"] == commit


@pytest.mark.parametrize("form", ["coco", "flickr8k"])
def test_a_named_sets_only_file_may_be_in_either_language(tmp_path, init, form):
    own = make_set(tmp_path / "set", form)
    assert init(*own.init[:4], name="first")[2].samples.languages == ("en",)
    arabic = [*own.init[:2], "--captions", own.init[-1]]
    assert init(*arabic, name="second")[2].samples.languages == ("ar",)


def test_nothing_is_written_over_without_force(tmp_path, init):
    arguments = table(tmp_path, ("image", "en", "ar"), *zip(EN, AR, strict=True))
    assert init(*arguments)[0] == 0
    (tmp_path / "mine.toml").write_text("seed = 7\n", encoding="utf-8")
    code, said, config = init(*arguments)
    assert code == 1 and "--force" in said and config.seed == 7
    assert init(*arguments, "--force")[2].seed == 0


@pytest.mark.parametrize(
    "header, row, says",
    [
        (("id", "en", "ar"), ("A man.", "رجل"), "No column"),
        (("image", "en", "ar"), ("x", "1"), "No column holds sentences"),
    ],
)
def test_data_of_which_nothing_can_be_made_leave_no_preset(tmp_path, init, header, row, says):
    arguments = table(tmp_path, header, row)
    if header[0] == "id":
        text = (tmp_path / "t.csv").read_text(encoding="utf-8").replace(".png", " of them").replace("part/", "")
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    code, said, config = init(*arguments)
    assert code == 1 and says in said and config is None and len(said.strip().splitlines()) == 3


@pytest.mark.parametrize(
    "arguments, says",
    [
        ([], "no captions"),
        (["--captions", "no/such.csv"], "There is no caption table"),
        (["--captions", "t.csv", "--images", "no/such"], "no image folder"),
        (["--dataset", "./nothing"], "no data set"),
        (["--dataset", "someone/captions"], "not pinned"),
    ],
)
def test_places_where_nothing_is(tmp_path, init, arguments, says):
    table(tmp_path, ("image", "en", "ar"), *zip(EN, AR, strict=True))
    code, said, config = init(*arguments)
    assert code == 1 and says in said and config is None
    assert init(*arguments, name="no/name")[0] == 1


def test_captions_txt_is_known_by_its_commas_without_quotes(tmp_path, init):
    write_images(tmp_path / "images")
    (tmp_path / "captions.txt").write_text(
        "image,caption\n" + "".join(f"{i:02d}.png,A man , a dog .\n" for i in range(1, GOOD, 2)), encoding="utf-8"
    )
    _, _, config = init("--images", "images", "--captions", "captions.txt")
    assert config.samples.source == "flickr8k" and config.samples.languages == ("en",)
    assert load(config.samples, 0)[0].captions["en"] == ["A man , a dog ."]


@pytest.mark.parametrize("archive", [False, True])
def test_names_that_lead_nowhere_are_shown_beside_those_that_are_there(tmp_path, init, archive):
    arguments = table(tmp_path, ("image", "en", "ar"), *zip(EN, AR, strict=True))
    text = (tmp_path / "t.csv").read_text(encoding="utf-8").replace(".png", "b.jpg")
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    if archive:
        arguments[1] = str(write_zip(tmp_path / "a.zip"))
    code, said, config = init(*arguments)
    assert code == 1 and config is None and "None of the 12 images" in said
    assert "part/00b.jpg" in said and ".png" in said.splitlines()[1]


def test_names_with_quotes_and_letters_of_all_kinds_stand_in_the_preset(tmp_path, init):
    folder = tmp_path / 'sëts "of" صور\\x'
    folder.mkdir()
    arguments = table(folder, ("image", 'the "en" \\ caption', "العربية"), *zip(EN, AR, strict=True))
    _, _, config = init(*arguments)
    assert config.samples.images == str(folder / "images")
    assert (config.samples.en_column, config.samples.ar_column) == ('the "en" \\ caption', "العربية")


def test_settings_follow_the_models_size(tmp_path, init):
    large, small = model_shape(replace_model("no-such/model")), model_shape(replace_model(MODEL))
    assert not large.known and small.known
    big = sizes(large, 2000, 2)
    preset = load_config("gemma-3-4b")
    assert tuple(big.layers) == preset.activations.layers and (big.d_sae, big.k) == (16384, 64)
    assert 0.5 < big.steps / preset.train.steps < 2 and big.dtype == "bfloat16"
    assert sizes(small, 1500, 2).d_sae == 1536 and sizes(small, 1500, 1).steps < sizes(small, 1500, 2).steps
    _, said, config = init(*table(tmp_path, ("i", "e", "a"), *zip(EN, AR, strict=True)), model="no-such/model")
    assert "assumed" in said and config.activations.layers == preset.activations.layers


def replace_model(name: str):
    config = load_config("demo")
    return replace(config, model=replace(config.model, name=name))


def test_a_large_set_is_bounded(tmp_path, init, monkeypatch):
    monkeypatch.setattr("precompute.commands.init.preset.MOST_IMAGES", 5)
    _, _, config = init(*table(tmp_path, ("image", "en", "ar"), *zip(EN, AR, strict=True)))
    assert config.samples.n == 5


def test_a_place_in_the_project_is_written_from_its_root(tmp_path, init, monkeypatch):
    for module in ("precompute.commands.init.look", "core.samples.pictures"):
        monkeypatch.setattr(f"{module}.PROJECT_ROOT", tmp_path)
    _, _, config = init(*table(tmp_path, ("image", "en", "ar"), *zip(EN, AR, strict=True)))
    assert (config.samples.images, config.samples.captions) == ("images", "t.csv")


def test_a_column_of_numbers_names_images_only_where_its_numbers_are_those_of_files(tmp_path, init):
    header = ("image", "number", "en", "ar")
    arguments = table(tmp_path, header, *[(str(i % 3), EN[i % 2], AR[i % 2]) for i in range(6)])
    text = (tmp_path / "t.csv").read_text(encoding="utf-8")
    bare = text.replace("part/", "").replace(".png", "").replace("\n0", "\n")
    (tmp_path / "t.csv").write_text(bare, encoding="utf-8")
    _, said, config = init(*arguments)
    assert config.samples.image_column == "image" and "by the number in it, such as" in said
    assert "12 listed, 12 opened" in said


def test_a_garbled_column_is_named_and_not_taken_for_english(tmp_path, init):
    garbled = [text.encode().decode("cp1252", "ignore") for text in AR]
    _, said, config = init(*table(tmp_path, ("image", "en_caption", "ar_caption"), *zip(EN, garbled, strict=True)))
    assert config.samples.languages == ("en",) and config.samples.en_column == "en_caption"
    assert "ar_caption is garbled (UTF-8 read as Windows-1252) in 12 of the 12 cells" in said
    assert "English is written in ar_caption" not in said


def test_rows_that_are_left_out_and_placeholders_are_counted(tmp_path, init):
    arguments = table(tmp_path, ("image", "en", "ar"), *zip(EN, AR, strict=True), ("N/A", AR[0]))
    with open(tmp_path / "t.csv", "a", encoding="utf-8") as file:
        file.write("00.png,A man, old,x\n")
    _, said, _ = init(*arguments)
    assert "1 row is left out" in said and "t.csv, line 14" in said and "placeholders 4" in said


def test_a_column_of_boxes_is_found_and_taken_for_no_caption(tmp_path, init):
    boxes = ['{"person": [[1, 2, 20, 30]]}', '{"person": [[20, 2, 1, 30]], "object": [[4, 4, 9, 9]]}']
    _, said, config = init(
        *table(tmp_path, ("image", "en", "ar", "where"), (EN[0], AR[0], boxes[0]), (EN[1], AR[1], boxes[1]))
    )
    assert config.samples.areas_column == "where" and config.samples.en_column == "en" and "areas: where" in said

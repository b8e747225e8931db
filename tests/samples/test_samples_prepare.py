"""The stage prepare: what it writes, what it drops, and that a kill changes nothing."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from core.config import Config, SamplesConfig
from core.demo.world import ROLES
from core.errors import UserError
from core.run import Run
from core.samples.images import open_image
from precompute.context import StageContext
from precompute.stages import prepare


def context(dir: Path, samples: SamplesConfig, **more) -> StageContext:
    work = dir / "run" / ".work" / "prepare"
    work.mkdir(parents=True, exist_ok=True)
    return StageContext(Run(dir / "run"), replace(Config(), samples=samples), work, **more)


def made(dir: Path) -> dict[str, str]:
    root = dir / "run"
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file() and ".work" not in p.parts
    }


def table(dir: Path, name: str) -> list[dict]:
    return pq.read_table(dir / "run" / f"{name}.parquet").to_pylist()


def test_the_demo_world(tmp_path):
    result = prepare.run(context(tmp_path, SamplesConfig(n=60, test_share=0.2)))
    samples, references = table(tmp_path, "samples"), table(tmp_path, "references")
    assert result["rows"] == 60 == len(samples)
    assert [s["sample_id"] for s in samples] == list(range(60))
    assert [s["split"] for s in samples].count("test") == 12
    assert len(references) == 60 * 10 and {r["n"] for r in references} == set(range(5))
    known = [json.loads(s["attributes"]) for s in samples]
    expected = {"role", "object", "background", "style", "tone", "p_male_en", "generic", "held_out"}
    assert all(set(k) == expected | (set() if k["generic"] else {"p_male_ar"}) for k in known)
    assert {k["role"] for k in known if k["generic"]} <= {role.key for role in ROLES if role.generic}
    assert sum(k["held_out"] for k in known) == 1
    for s in samples:
        assert (
            s["image_file"] == f"images/{s['sample_id']:06d}.png"
            and s["thumb_file"] == f"thumbs/{s['sample_id']:06d}.jpg"
        )
        assert open_image(Run(tmp_path / "run"), s["sample_id"]).size == (s["width"], s["height"]) == (96, 96)
        assert Image.open(tmp_path / "run" / s["thumb_file"]).size == (96, 96)
    report = json.loads((tmp_path / "run" / "prepare_report.json").read_text())
    assert report["n_samples"] == 60 and not report["images_dropped"]


def folder(dir: Path) -> SamplesConfig:
    """Eight good images in all kinds, and one of each fault."""
    images = dir / "images"
    images.mkdir()
    rows = []
    for i in range(8):
        Image.new("RGB", (300 + 100 * i, 200), (i * 30, 90, 200)).save(images / f"{i}.png")
        rows.append((f"{i}.png", "A man with a dog.", "رجل مع كلب."))
    Image.open(images / "0.png").save(images / "same.bmp")
    (images / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    Image.new("RGB", (8, 300)).save(images / "thin.png")
    rows += [("0.png", "A second one.", "جملة ثانية."), ("0.png", "A second one.", "")]
    rows += [(name, "A man.", "رجل.") for name in ("same.bmp", "broken.jpg", "thin.png", "gone.png", "../out.png")]
    Image.new("RGB", (50, 50)).save(images / "swapped.png")
    Image.new("RGB", (51, 50)).save(images / "halved.png")
    rows += [("swapped.png", "رجل.", "A man."), ("halved.png", "A man.", " ")]
    text = "image,en_caption,ar_caption\n" + "".join(",".join(row) + "\n" for row in rows)
    (dir / "t.csv").write_text(text, encoding="utf-8")
    return SamplesConfig(source="folder", n=0, images=str(images), captions=str(dir / "t.csv"), max_side=600)


def test_a_folder_with_every_fault(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        prepare.run(context(tmp_path, folder(tmp_path)))
    samples = table(tmp_path, "samples")
    assert [s["image_id"] for s in samples] == [str(i) for i in range(8)]
    assert {s["split"] for s in samples} == {"train", "test"}
    assert max(max(s["width"], s["height"]) for s in samples) == 600
    assert all(s["image_file"].endswith(".jpg") and s["attributes"] == "" == s["gender"] for s in samples)
    for s in samples:
        assert max(Image.open(tmp_path / "run" / s["thumb_file"]).size) == 224
        assert open_image(Run(tmp_path / "run"), s["sample_id"]).size == (s["width"], s["height"])
    report = json.loads((tmp_path / "run" / "prepare_report.json").read_text())
    dropped = {reason: [n["image"] for n in x["named"]] for reason, x in report["images_dropped"].items()}
    assert dropped == {
        "duplicate": ["same"],
        "unreadable": ["broken"],
        "too_small": ["thin"],
        "missing": ["gone"],
        "outside": ["out"],
        "unpaired": ["swapped", "halved"],
    }
    assert {r: x["count"] for r, x in report["captions_dropped"].items()} == {"empty": 2, "language": 2}
    own = [r for r in table(tmp_path, "references") if r["sample_id"] == 0]
    assert [(r["lang"], r["n"]) for r in own] == [("en", 0), ("en", 1), ("ar", 0), ("ar", 1)]
    assert "duplicate" not in caplog.text and "the same picture as an earlier image (same)" in caplog.text


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [1, 49, 50, 51, 75, 120])
def test_a_kill_changes_nothing(tmp_path, at):
    samples = SamplesConfig(n=120)
    prepare.run(context(tmp_path / "whole", samples))

    def kill(done, *_):
        if done == at:
            raise Killed

    killed = tmp_path / "killed"
    with pytest.raises(Killed):
        prepare.run(context(killed, samples, on_progress=kill))
    assert not (killed / "run" / "samples.parquet").exists()
    (killed / "run" / "images" / ".tmp-99-000003.png").write_bytes(b"half")
    (killed / "run" / "images" / "000777.png").write_bytes(b"of a larger run")
    prepare.run(context(killed, samples))
    assert made(killed) == made(tmp_path / "whole")


def test_a_killed_folder_run_still_knows_its_duplicates(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "PART", 3)
    samples = folder(tmp_path)
    (tmp_path / "whole").mkdir()
    prepare.run(context(tmp_path / "whole", samples))

    def kill(done, *_):
        if done == 8:
            raise Killed

    with pytest.raises(Killed):
        prepare.run(context(tmp_path / "killed", samples, on_progress=kill))
    prepare.run(context(tmp_path / "killed", samples))
    assert made(tmp_path / "killed") == made(tmp_path / "whole")


def test_too_few_samples_and_swapped_columns_say_what_to_do(tmp_path):
    samples = folder(tmp_path)
    with pytest.raises(UserError) as e:
        prepare.run(context(tmp_path, replace(samples, n=3)))
    assert "at least 4" in e.value.what
    (tmp_path / "b").mkdir()
    swapped = replace(samples, en_column="ar_caption", ar_column="en_caption")
    with pytest.raises(UserError) as e:
        prepare.run(context(tmp_path / "b", swapped))
    assert "Swap" in e.value.do and not (tmp_path / "b" / "run" / "samples.parquet").exists()


def english_only(dir: Path, text: str) -> SamplesConfig:
    (dir / "images").mkdir()
    for i in range(6):
        Image.new("RGB", (40, 40), (i * 30, 90, 200)).save(dir / "images" / f"{i}.png")
    (dir / "t.csv").write_text(text, encoding="utf-8")
    return SamplesConfig(source="folder", n=0, images=str(dir / "images"), captions=str(dir / "t.csv"))


def test_one_language_needs_its_column_alone(tmp_path):
    rows = "".join(f"{i}.png,A man with a dog.\n" for i in range(6))
    samples = english_only(tmp_path, "image,en_caption\n" + rows)
    with pytest.raises(UserError, match=r"samples\.languages=en") as e:
        prepare.run(context(tmp_path, samples))
    assert e.value.what.endswith("has no column ar_caption.")
    prepare.run(context(tmp_path, replace(samples, languages=("en",))))
    assert len(table(tmp_path, "samples")) == 6 == len(table(tmp_path, "references"))
    with pytest.raises(UserError, match="no column ar_caption") as e:
        prepare.run(context(tmp_path, replace(samples, languages=("ar",))))
    assert "samples.languages" not in e.value.do


def test_where_most_images_lack_a_language_the_way_out_is_named(tmp_path, caplog):
    rows = [f"{i}.png,A man with a dog.,{'رجل.' if i < 3 else ''}\n" for i in range(6)]
    samples = english_only(tmp_path, "image,en_caption,ar_caption\n" + "".join(rows))
    with pytest.raises(UserError) as e:  # three of six have both: half is not most
        prepare.run(context(tmp_path, samples))
    assert "Only 3 of 6" in e.value.what and "samples.languages" not in e.value.do
    rows[2] = "2.png,A man with a dog.,\n"
    Path(samples.captions).write_text("image,en_caption,ar_caption\n" + "".join(rows), encoding="utf-8")
    with pytest.raises(UserError, match=r"--set samples\.languages=en"):
        prepare.run(context(tmp_path / "b", samples))
    prepare.run(context(tmp_path / "c", replace(samples, languages=("en",))))
    assert len(table(tmp_path / "c", "samples")) == 6
    assert {r["lang"] for r in table(tmp_path / "c", "references")} == {"en"}


def test_a_missing_image_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="no image 5"):
        open_image(Run(tmp_path), 5)


def test_what_is_odd_about_rows_names_and_letters_stands_in_the_report(tmp_path):
    garbled = "رجل مع كلب".encode().decode("cp1252", "ignore")
    rows = [f"{i},A man.,{'رجل.' if i < 4 else garbled}\n" for i in range(6)]
    text = "image,en_caption,ar_caption\n" + "".join(rows) + '0,A man, old,رجل\n1.PNG,"A man,رجل\n'
    prepare.run(context(tmp_path, english_only(tmp_path, text)))
    report = json.loads((tmp_path / "run" / "prepare_report.json").read_text(encoding="utf-8"))
    assert report["rows_dropped"]["too_many_cells"]["named"] == [
        {"file": "t.csv", "line": 8, "text": "0,A man, old,رجل"}
    ]
    assert report["rows_kept"]["stray_quote"]["named"][0]["line"] == 9
    assert report["names_matched"]["ending"]["count"] == 6
    assert report["names_matched"]["case"]["named"] == [{"name": "1.PNG", "file": "1.png"}]
    assert report["notes"][0].startswith("2 Arabic captions are garbled (UTF-8 read as Windows-1252)")


def test_images_that_turn_out_to_be_of_no_use_are_made_up_for(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "PART", 3)
    (tmp_path / "images").mkdir()
    for i in range(20):
        Image.new("RGB", (40, 40), (i * 10, 90, 200)).save(tmp_path / "images" / f"{i}.png")
    for i in range(0, 20, 2):
        (tmp_path / "images" / f"{i}.png").write_bytes(b"broken")
    text = "image,en_caption,ar_caption\n" + "".join(f"{i}.png,A man.,رجل.\n" for i in range(20))
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    whole = SamplesConfig(source="folder", n=8, images=str(tmp_path / "images"), captions=str(tmp_path / "t.csv"))
    prepare.run(context(tmp_path, whole))
    samples = table(tmp_path, "samples")
    assert len(samples) == 8 and all(int(s["image_id"]) % 2 for s in samples)

    def kill(done, *_):
        if done == 8:
            raise Killed

    with pytest.raises(Killed):
        prepare.run(context(tmp_path / "killed", whole, on_progress=kill))
    prepare.run(context(tmp_path / "killed", whole))
    assert made(tmp_path / "killed") == made(tmp_path)
    (tmp_path / "few").mkdir()
    prepare.run(context(tmp_path / "few", replace(whole, n=15)))
    assert len(table(tmp_path / "few", "samples")) == 10, "all there are"

"""Areas of an image: boxes become shares of it and of its patches, and what is badly written is said, not guessed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from core.config import SamplesConfig
from core.samples.areas import Unusable, by_kind, covered, read_areas, shares
from core.samples.sources import load
from precompute.stages import prepare
from tests.samples.test_samples_prepare import context, table

GOOD = '{"person": [[10, 20, 60, 80]], "object": [[70, 50, 90, 90]]}'
BAD = {
    "areas_json": ["[[1, 2, 3, 4]]", "{person: 1}", '{"person": [[1, 2, 3]]}', '{"person": [[1, 2, NaN, 4]]}', "{}"],
    "areas_name": ['{"woman": [[10, 20, 60, 80]]}'],
    "areas_order": ['{"person": [[60, 20, 10, 80]]}', '{"person": [[10, 80, 60, 20]]}'],
    "areas_share": ['{"person": [["10%", "20%", "60%", "80%"]]}', '{"person": [[0.1, 0.2, 0.6, 0.8]]}'],
}


def test_boxes_cover_shares_of_patches():
    assert covered([(0, 0, 0.5, 1)], (2, 2)).tolist() == [1, 0, 1, 0]
    assert covered([(0.25, 0.25, 0.75, 0.75)], (2, 2)).tolist() == [0.25] * 4
    assert not covered([], (3, 4)).any() and len(covered([], (3, 4))) == 12
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.random((5, 2, 2)), axis=2)[:, :, :]
    boxes = np.stack([boxes[:, 0, 0], boxes[:, 1, 0], boxes[:, 0, 1], boxes[:, 1, 1]], 1)
    at = (np.arange(600) + 0.5) / 600
    inside = ((at >= boxes[:, :1]) & (at < boxes[:, 2:3]))[:, None] & ((at >= boxes[:, 1:2]) & (at < boxes[:, 3:]))[
        :, :, None
    ]
    fine = inside.any(0).reshape(4, 150, 6, 100).mean((1, 3))
    np.testing.assert_allclose(covered(boxes, (4, 6)), fine.ravel(), atol=0.02)


def test_kinds_share_every_patch_out():
    rows = shares(read_areas('{"person": [[0, 0, 60, 100]], "object": [[50, 0, 100, 50]]}'), 100, 100)
    kinds = by_kind(rows, (4, 4))
    np.testing.assert_allclose(sum(kinds.values()), 1.0)
    assert kinds["person"].sum() == pytest.approx(0.6 * 16) and kinds["object"].sum() == pytest.approx(0.2 * 16)
    assert set(by_kind([r for r in rows if r["kind"] == "object"], (4, 4))) == {"object"}  # the background is not known


def test_a_size_does_not_matter():
    small, large = (
        shares(read_areas(json.dumps({"person": [[10 * k, 0, 60 * k, 80 * k]]})), 100 * k, 80 * k) for k in (1, 7)
    )
    assert [list(r.values()) for r in small] == [pytest.approx(list(r.values())) for r in large]


@pytest.mark.parametrize(("reason", "text"), [(reason, text) for reason, texts in BAD.items() for text in texts])
def test_what_is_badly_written_is_refused(reason, text):
    with pytest.raises(Unusable) as e:
        read_areas(text)
    assert e.value.reason == reason


@pytest.mark.parametrize("box", [[-5, 0, 50, 50], [0, 0, 103, 50], [200, 200, 300, 300]])
def test_boxes_outside_the_image_are_refused(box):
    with pytest.raises(Unusable, match="areas_outside"):
        shares(read_areas(json.dumps({"person": [box]})), 100, 100)
    assert shares(read_areas('{"person": [[-0.4, 0, 100.9, 50]]}'), 100, 100)[0]["right"] == 1.0  # rounded


def test_a_column_of_boxes(tmp_path):
    (tmp_path / "images").mkdir()
    cells = [GOOD, "", *[texts[0] for texts in BAD.values()], '{"person": [[90, 90, 190, 190]]}', "nan"]
    lines = ["image,en_caption,ar_caption,boxes"]
    for i, cell in enumerate(cells):
        Image.effect_noise((100, 100), 30 + i).convert("RGB").save(tmp_path / "images" / f"{i}.png")
        quoted = cell.replace('"', '""')
        lines.append(f'{i}.png,A man.,رجل.,"{quoted}"')
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    config = SamplesConfig(
        source="folder",
        n=0,
        images=str(tmp_path / "images"),
        captions=str(tmp_path / "t.csv"),
        areas_column="boxes",
    )
    prepare.run(context(tmp_path, config))
    rows = table(tmp_path, "areas")
    assert {row["sample_id"] for row in rows} == {0} and {row["kind"] for row in rows} == {"person", "object"}
    assert [rows[0][edge] for edge in ("left", "top", "right", "bottom")] == pytest.approx([0.1, 0.2, 0.6, 0.8])
    said = json.loads((tmp_path / "run" / "prepare_report.json").read_text())["rows_kept"]
    assert set(said) == {*BAD, "areas_outside"}
    assert said["areas_order"]["named"][0]["line"] == 6 and said["areas_outside"]["named"][0]["line"] == 8


def test_rows_that_contradict_each_other_leave_areas_open(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (100, 100)).save(tmp_path / "images" / "a.png")
    with open(tmp_path / "t.csv", "w", encoding="utf-8") as file:
        file.write("image;en_caption;ar_caption;boxes\n")
        file.writelines(f"a.png;A man;رجل;{{'person': [[0,0,{x},50]]}}\n".replace("'", '"') for x in (50, 60))
    config = SamplesConfig(source="folder", n=0, images=str(tmp_path / "images"), captions=str(tmp_path / "t.csv"))
    (sample,) = load(replace(config, areas_column="boxes"), 0)
    assert sample.areas is None and "different areas" in sample.notes[0]


def test_cocos_own_boxes(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (100, 80)).save(tmp_path / "images" / f"{name}.png")
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    captions = [{"image_id": i, "caption": "A man."} for i in (1, 2)]
    boxes = [
        {"image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 60]},
        {"image_id": 1, "category_id": 7, "bbox": [50, 40, 20, 20]},
        {"image_id": 2, "category_id": 1, "bbox": [10, 10, 0, 60]},
    ]
    kinds = [{"id": 1, "name": "person"}, {"id": 7, "name": "dog"}]
    for name, tree in {
        "captions.json": {"images": images, "annotations": captions},
        "instances.json": {"images": images, "annotations": boxes, "categories": kinds},
    }.items():
        (tmp_path / name).write_text(json.dumps(tree))
    places = {"images": str(tmp_path / "images"), "captions": str(tmp_path / "captions.json")}
    found = load(SamplesConfig("coco", 0, ("en",), **places, areas=str(tmp_path / "instances.json")), 0)
    assert found[0].areas.boxes == {"person": ((10, 10, 40, 70),), "object": ((50, 40, 70, 60),)}
    assert found[1].areas is None and [row.reason for row in found.odd] == ["areas_order"]

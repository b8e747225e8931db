"""The source ``coco``: a JSON of images and annotations as COCO writes it, and a second one for Arabic.

The form of Karpathy's splits, in which each image carries its sentences, is read too.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.config import SamplesConfig
from core.errors import UserError
from core.samples.areas import Areas, Box, Unusable, read_areas
from core.samples.checks import is_placeholder
from core.samples.folder import table_place
from core.samples.pictures import picture_name, pictures_at
from core.samples.rows import OddRow, Row
from core.samples.sources import Entry, TableSource, attribute_columns, languages_of_files
from core.samples.tables import Table, read_text


def coco_source(config: SamplesConfig) -> TableSource:
    """Captions by image; gender and attributes are fields of the images. UserError for any other form."""
    path = table_place("captions", config.captions)
    tree, odd = _read(path), []
    named = _names(tree)
    first, *more = languages_of_files(config)
    found = [_entries(tree, named, first, config, path, odd)]
    files = [path]
    if more:
        second = table_place("captions_ar", config.captions_ar)
        arabic = _read(second)
        found.append(_entries(arabic, named | _names(arabic), "ar", config, second, odd))
        files.append(second)
    rows = list(itertools.chain.from_iterable(found))
    if config.areas:
        boxes = table_place("areas", config.areas)
        areas = coco_areas(boxes, named, odd)
        rows = [replace(row, areas=areas.get(row.name, row.areas)) for row in rows]
        files.append(boxes)
    return TableSource(pictures_at(config.images), lambda: rows, tuple(files), odd=[odd])


def coco_areas(path: Path, named: Mapping[str, str], odd: list[OddRow]) -> dict[str, Areas]:
    """Boxes by image of a file of COCO's instances: its category person, and objects of all other categories.

    An image without a box of a person has no area of one. Boxes that cannot be read cost their image its areas and go
    to ``odd``.
    """
    tree = _tree(path, "Give a file like instances_val2017.json.")
    names = dict(named) | _names(tree)
    kinds = {c.get("id"): "person" if c.get("name") == "person" else "object" for c in _objects(tree, "categories")}
    boxes: dict[str, dict[str, list[Box]]] = {}
    bad: set[str] = set()
    for number, one in enumerate(_objects(tree, "annotations"), start=1):
        name, kind, box = names.get(str(one.get("image_id")), ""), kinds.get(one.get("category_id")), one.get("bbox")
        if not name:
            continue  # of an image without captions
        try:
            if kind is None:
                raise Unusable("areas_name")
            if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
                raise Unusable("areas_json")
            corners = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
            boxes.setdefault(name, {}).setdefault(kind, []).extend(
                read_areas(json.dumps({kind: [corners]})).boxes[kind]
            )
        except Unusable as e:
            bad.add(name)
            odd.append(OddRow.of(path.name, number, e.reason, f"annotations: {box} of {one.get('category_id')}"))
    return {
        name: Areas({kind: tuple(of_kind) for kind, of_kind in mine.items()}, path.name, 0)
        for name, mine in boxes.items()
        if name not in bad
    }


def image_fields(path: Path) -> Table:
    """The fields of the images (not their captions) as a table."""
    rows: list[Row] = []
    for image in _objects(_read(path), "images"):
        rows.append(Row({str(k): str(v) for k, v in image.items() if isinstance(v, (str, int, float))}))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return Table(path.name, columns, rows)


def coco_captions(path: Path) -> Iterator[str]:
    """All captions of a file, in whatever language."""
    tree = _read(path)
    yield from (str(a["caption"]) for a in _objects(tree, "annotations") if "caption" in a)
    for image in _objects(tree, "images"):
        yield from _sentences(image)


def _tree(path: Path, do: str) -> dict[str, Any]:
    text, _ = read_text(path)
    try:
        tree = json.loads(text, strict=False)
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path.name} is no JSON.", str(e), do) from e
    names = ("images", "annotations")
    lists: list[Any] = [tree.get(name, []) for name in names] if isinstance(tree, dict) else [None]
    if not all(isinstance(items, list) and (not items or any(isinstance(i, dict) for i in items)) for items in lists):
        raise UserError(f"{path.name} is not in the form of COCO.", f"It holds {_kinds(tree)}.", do)
    return tree


def _read(path: Path) -> dict[str, Any]:
    do = 'Give a file like {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}.'
    tree = _tree(path, do)
    images, annotations = (_objects(tree, name) for name in ("images", "annotations"))
    has_captions = any("caption" in a for a in annotations) or any("sentences" in i for i in images)
    if not has_captions:
        held = ", ".join(sorted({key for a in annotations[:50] for key in a})) or "nothing"
        raise UserError(
            f"{path.name} has no captions.",
            f"Its annotations hold {held}.",
            "Give the file of captions, such as captions_train2017.json.",
        )
    return tree


def _objects(tree: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The entries of a list that are objects."""
    return [item for item in tree.get(name, []) if isinstance(item, dict)]


def _sentences(image: dict[str, Any]) -> list[str]:
    """The sentences that an image carries in Karpathy's form."""
    found = image.get("sentences", [])
    return [str(s.get("raw", "")) for s in found if isinstance(s, dict)] if isinstance(found, list) else []


def _kinds(tree: Any) -> str:
    return ", ".join(map(str, list(tree)[:8])) or "nothing" if isinstance(tree, dict) else f"a {type(tree).__name__}"


def _names(tree: dict[str, Any]) -> dict[str, str]:
    """File names by image id."""
    return {str(_id(image)): _name(image) for image in _objects(tree, "images") if _name(image)}


def _id(image: dict[str, Any]) -> Any:
    return image.get("id", image.get("imgid", image.get("cocoid")))


def _name(image: dict[str, Any]) -> str:
    """The file name of an image; where it has none, the address or the id that its file may be called by."""
    if image.get("file_name"):
        return picture_name(str(image["file_name"]))
    if image.get("filename"):
        return picture_name(f"{image.get('filepath', '')}/{image['filename']}".lstrip("/"))
    name = image.get("coco_url") or _id(image)
    return "" if name is None else picture_name(str(name))


def _entries(
    tree: dict[str, Any], named: dict[str, str], lang: str, config: SamplesConfig, path: Path, odd: list[OddRow]
) -> Iterator[Entry]:
    """One entry an image, with its captions in ``lang``; images of the first file without captions too.

    Entries that are of no use go to ``odd``, by their number in their list. A file without images
    names them by their ids.
    """
    captions: dict[str, list[str]] = {}
    for number, annotation in enumerate(tree.get("annotations", []), start=1):
        problem, name, caption = "", "", None
        if isinstance(annotation, dict):
            image_id, caption = annotation.get("image_id"), annotation.get("caption")
            name = named.get(str(image_id), "") if named else str("" if image_id is None else image_id)
            problem = "no_image" if not name else "" if isinstance(caption, str | None) else "no_caption"
        else:
            problem = "no_json"
        if problem:
            odd.append(OddRow.of(path.name, number, problem, f"annotations: {annotation}"))
        else:
            captions.setdefault(name, []).append(caption or "")
    known: dict[str, dict[str, Any]] = {}
    for number, image in enumerate(tree.get("images", []), start=1):
        name = _name(image) if isinstance(image, dict) else ""
        if not name:
            problem = "no_image" if isinstance(image, dict) else "no_json"
            odd.append(OddRow.of(path.name, number, problem, f"images: {image}"))
            continue
        known[name] = image
        captions.setdefault(name, []).extend(_sentences(image))
    order = dict.fromkeys((*known, *captions))
    for name in order:
        image = known.get(name, {})
        gender = str(image.get(config.gender_column) or "") if config.gender_column else ""
        attributes = {a: str(image.get(column) or "") for a, column in attribute_columns(config)}
        attributes = {a: "" if is_placeholder(value) else value for a, value in attributes.items()}
        areas = _areas(image.get(config.areas_column), path, odd) if config.areas_column else None
        yield Entry(name, {lang: captions.get(name, [])}, gender, attributes, areas)


def _areas(field: Any, path: Path, odd: list[OddRow]) -> Areas | None:
    """The areas that an image's field holds, as an object or its text."""
    if field is None or field == "":
        return None
    text = field if isinstance(field, str) else json.dumps(field)
    try:
        return read_areas(text, path.name)
    except Unusable as e:
        odd.append(OddRow.of(path.name, 0, e.reason, text))
        return None

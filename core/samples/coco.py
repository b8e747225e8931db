"""The source ``coco``: a JSON of images and annotations as COCO writes it, and a second one for Arabic.

The form of Karpathy's splits, in which each image carries its sentences, is read too.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.config import SamplesConfig
from core.errors import UserError
from core.samples.folder import table_place
from core.samples.pictures import picture_name, pictures_at
from core.samples.sources import Entry, TableSource, attribute_columns, languages_of_files
from core.samples.tables import Cell, Table, read_text


def coco_source(config: SamplesConfig) -> TableSource:
    """Captions by image; gender and attributes are fields of the images. UserError for any other form."""
    path = table_place("captions", config.captions)
    tree, notes = _read(path), []
    named = _names(tree)
    first, *more = languages_of_files(config)
    found = [_entries(tree, named, first, config, path, notes)]
    files = [path]
    if more:
        second = table_place("captions_ar", config.captions_ar)
        arabic = _read(second)
        found.append(_entries(arabic, named | _names(arabic), "ar", config, second, notes))
        files.append(second)
    rows = list(itertools.chain.from_iterable(found))
    return TableSource(pictures_at(config.images), lambda: rows, tuple(files), notes=notes)


def image_fields(path: Path) -> Table:
    """The fields of the images (not their captions) as a table."""
    rows: list[dict[str, Cell]] = []
    for image in _read(path).get("images", []):
        rows.append({str(k): str(v) for k, v in image.items() if isinstance(v, (str, int, float))})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return Table(path.name, columns, rows)


def coco_captions(path: Path) -> Iterator[str]:
    """All captions of a file, in whatever language."""
    tree = _read(path)
    yield from (str(a["caption"]) for a in tree.get("annotations", []) if "caption" in a)
    for image in tree.get("images", []):
        yield from (str(s.get("raw", "")) for s in image.get("sentences", []) if isinstance(s, dict))


def _read(path: Path) -> dict[str, Any]:
    text, _ = read_text(path)
    do = 'Give a file like {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}.'
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path.name} is no JSON.", str(e), do) from e
    names = ("images", "annotations")
    lists: list[Any] = [tree.get(name, []) for name in names] if isinstance(tree, dict) else [None]
    if not all(isinstance(items, list) and all(isinstance(item, dict) for item in items) for items in lists):
        raise UserError(f"{path.name} is not in the form of COCO.", f"It holds {_kinds(tree)}.", do)
    images, annotations = lists
    has_captions = any("caption" in a for a in annotations) or any("sentences" in i for i in images)
    if not has_captions:
        held = ", ".join(sorted({key for a in annotations[:50] for key in a})) or "nothing"
        raise UserError(
            f"{path.name} has no captions.",
            f"Its annotations hold {held}.",
            "Give the file of captions, such as captions_train2017.json.",
        )
    return tree


def _kinds(tree: Any) -> str:
    return ", ".join(map(str, list(tree)[:8])) or "nothing" if isinstance(tree, dict) else f"a {type(tree).__name__}"


def _names(tree: dict[str, Any]) -> dict[str, str]:
    """File names by image id."""
    return {str(_id(image)): _name(image) for image in tree.get("images", []) if _name(image)}


def _id(image: dict[str, Any]) -> Any:
    return image.get("id", image.get("imgid", image.get("cocoid")))


def _name(image: dict[str, Any]) -> str:
    if "file_name" in image:
        return picture_name(str(image["file_name"]))
    return picture_name(f"{image.get('filepath', '')}/{image['filename']}".lstrip("/")) if "filename" in image else ""


def _entries(
    tree: dict[str, Any], named: dict[str, str], lang: str, config: SamplesConfig, path: Path, notes: list[str]
) -> Iterator[Entry]:
    """One entry an image, with its captions in ``lang``; images of the first file without captions too."""
    captions: dict[str, list[str]] = {}
    n_unknown = 0
    for annotation in tree.get("annotations", []):
        name = named.get(str(annotation.get("image_id")), "")
        n_unknown += not name
        if name and isinstance(annotation.get("caption"), str):
            captions.setdefault(name, []).append(annotation["caption"])
    known: dict[str, dict[str, Any]] = {}
    for image in tree.get("images", []):
        name = _name(image)
        n_unknown += not name
        if name:
            known[name] = image
            sentences = [str(s.get("raw", "")) for s in image.get("sentences", []) if isinstance(s, dict)]
            captions.setdefault(name, []).extend(sentences)
    if n_unknown:
        notes.append(f"{path.name}: {n_unknown} images or annotations lead to no file name and are left out")
    order = dict.fromkeys((*known, *captions))
    for name in order:
        image = known.get(name, {})
        gender = str(image.get(config.gender_column) or "") if config.gender_column else ""
        attributes = {a: str(image.get(column) or "") for a, column in attribute_columns(config)}
        yield Entry(name, {lang: captions.get(name, [])}, gender, attributes)

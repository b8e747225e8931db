"""Stage prepare: read, pair, check and split images and captions.

Images and thumbnails are written one by one under their final names. What was found out about every 50 images is a part
in the work folder, so that a killed run goes on after the last whole part and comes to the same files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from PIL import Image

from core.config import LANGUAGES
from core.errors import UserError
from core.run import atomic_path, write_json
from core.run.schema.samples import AREAS, REFERENCES, SAMPLES
from core.samples.areas import Unusable, shares
from core.samples.checks import Dropped, Report, bounded, caption_problem, clean_caption
from core.samples.rows import OddRow
from core.samples.sources import RawSample, load, split
from precompute.context import StageContext

PART = 50  # samples between two checkpoints
MIN_SAMPLES = 4
UNPAIRED = "no usable caption: "
PNG_SIDE, THUMB_SIDE = 256, 224  # pixels


def run(ctx: StageContext) -> dict[str, Any]:
    """Write samples.parquet, references.parquet, areas.parquet, images/, thumbs/ and prepare_report.json.

    Raises UserError when fewer than four samples are usable.
    """
    listing = load(ctx.config.samples, ctx.config.seed)
    report = Report()
    report.add_rows(listing.odd)
    report.add_matched(listing.matched)
    languages = ctx.config.samples.languages
    raws = [*listing, *listing.spare]
    kept, n_listed = _prepare_images(ctx, raws, len(listing), report)
    captions = [_checked_captions(raw, languages, report) for raw in raws[:n_listed]]
    raws = raws[:n_listed]
    areas = _areas([raws[k["raw"]] for k in kept], [k["seen"] for k in kept], report)
    report.notes += [*listing.notes, *(note for raw in raws for note in raw.notes)][:200]
    for line in report.lines():
        ctx.log.warning("%s", line)
    if only := _one_language(report, len(raws)):
        ctx.log.warning("Most images have captions in one language only; to use them all: --set %s", only)
    if len(kept) < MIN_SAMPLES:
        raise _too_few(len(kept), len(raws), report)
    sides = split([k["content"] for k in kept], ctx.config.seed, ctx.config.samples.test_share)
    sides = [raws[k["raw"]].split or side for k, side in zip(kept, sides, strict=True)]
    samples = [_row(i, k, raws[k["raw"]], side) for i, (k, side) in enumerate(zip(kept, sides, strict=True))]
    references = [
        {"sample_id": i, "lang": lang, "n": n, "text": text}
        for i, k in enumerate(kept)
        for lang in languages
        for n, text in enumerate(captions[k["raw"]][lang])
    ]
    _remove_others(ctx, samples)
    counts = {
        "n_listed": len(raws),
        "n_samples": len(samples),
        "n_train": sides.count("train"),
        "n_test": sides.count("test"),
        "n_references": len(references),
        "n_with_areas": len({row["sample_id"] for row in areas}),
    }
    whole = report.as_dict(format=1, source=ctx.config.samples.source, origin=listing.origin, **counts)
    write_json(ctx.run.path("prepare_report.json"), whole)
    REFERENCES.write(ctx.run, REFERENCES.of_rows(references))
    AREAS.write(ctx.run, AREAS.of_rows(areas))
    SAMPLES.write(ctx.run, SAMPLES.of_rows(samples))
    ctx.log.info("%(n_samples)d samples of %(n_listed)d listed: %(n_train)d train, %(n_test)d test", counts)
    ctx.images({s["image_id"]: ctx.run.path(s["image_file"]) for s in samples[:8]})
    return {"rows": len(samples), "notes": counts}


def _areas(raws: Sequence[RawSample], sizes: Sequence[Sequence[int]], report: Report) -> list[dict[str, Any]]:
    """Rows of areas.parquet; what does not lie on its image is told to the report."""
    rows = []
    for sample_id, (raw, (width, height)) in enumerate(zip(raws, sizes, strict=True)):
        if raw.areas is None:
            continue
        try:
            rows += [{"sample_id": sample_id, **row} for row in shares(raw.areas, width, height)]
        except Unusable as e:
            written = f"{raw.image_id}, {width} x {height} pixels: {dict(raw.areas.boxes)}"
            report.add_rows([OddRow.of(raw.areas.file, raw.areas.line, e.reason, written)])
    return rows


def _checked_captions(raw: RawSample, languages: Sequence[str], report: Report | None = None) -> dict[str, list[str]]:
    """The usable captions of a sample by language, each once; the others are told to the report."""
    kept: dict[str, list[str]] = {lang: [] for lang in languages}
    for lang in languages:
        for written in raw.captions[lang]:
            text = clean_caption(written)
            if problem := caption_problem(text, lang):
                if report is not None:
                    report.drop_caption(raw.image_id, lang, problem, text)
            elif text not in kept[lang]:
                kept[lang].append(text)
    return kept


def _prepare_images(
    ctx: StageContext, raws: Sequence[RawSample], n_drawn: int, report: Report
) -> tuple[list[dict[str, Any]], int]:
    """One dict per image that was checked and written (raw index, content hash, size, files), and how many were seen.

    Behind the ``n_drawn`` images that were drawn stand those that take the place of what is broken or doubled.
    """
    kept: list[dict[str, Any]] = []
    seen: dict[str, str] = {}
    n_seen = 0
    for start in range(0, len(raws), PART):
        if start >= n_drawn and len(kept) >= n_drawn:
            break
        path = ctx.work_dir / f"part_{start // PART:05d}.json"
        indices = range(start, min(start + PART, len(raws)))
        if path.exists():
            results = json.loads(path.read_text(encoding="utf-8"))
            _note_seen(results, raws, seen)
        else:
            n_kept, results = len(kept), []
            for index in indices:
                if index >= n_drawn and n_kept >= n_drawn:
                    break
                captions = _checked_captions(raws[index], ctx.config.samples.languages)
                results.append(_prepare_one(ctx, index, raws[index], captions, n_kept, seen))
                n_kept += "reason" not in results[-1]
                ctx.progress(min(index + 1, n_drawn), n_drawn, "samples")
            write_json(path, results)
        for result in results:
            if "reason" in result:
                report.drop_image(raws[result["raw"]].image_id, result["reason"], result["detail"])
            else:
                kept.append(result)
        n_seen = start + len(results)
        ctx.progress(min(indices.stop, n_drawn), n_drawn, "samples")
    return kept, n_seen


def _note_seen(results: Sequence[dict[str, Any]], raws: Sequence[RawSample], seen: dict[str, str]) -> None:
    for result in results:
        if "content" in result:
            seen[result["content"]] = raws[result["raw"]].image_id


def _prepare_one(
    ctx: StageContext, index: int, raw: RawSample, captions: dict[str, list[str]], sample_id: int, seen: dict[str, str]
) -> dict[str, Any]:
    try:
        lacking = [lang for lang, texts in captions.items() if not texts]
        if lacking:
            raise Dropped("unpaired", f"{UNPAIRED}{', '.join(lacking)}")
        image = raw.open()
        content = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
        if content in seen:
            raise Dropped("duplicate", f"of {seen[content]}")
    except Dropped as e:
        return {"raw": index, "reason": e.reason, "detail": e.detail}
    seen[content] = raw.image_id
    return {"raw": index, "content": content, "seen": image.size, **_write_image(ctx, image, sample_id)}


def _write_image(ctx: StageContext, image: Image.Image, sample_id: int) -> dict[str, Any]:
    image = bounded(image, ctx.config.samples.max_side)
    small = max(image.size) <= PNG_SIDE
    image_file, thumb_file = f"images/{sample_id:06d}.{'png' if small else 'jpg'}", f"thumbs/{sample_id:06d}.jpg"
    with atomic_path(ctx.run.path(image_file)) as path:
        image.save(path, "PNG") if small else image.save(path, "JPEG", quality=95)
    with atomic_path(ctx.run.path(thumb_file)) as path:
        bounded(image, THUMB_SIDE).save(path, "JPEG", quality=92, subsampling=0)
    return {"width": image.width, "height": image.height, "image_file": image_file, "thumb_file": thumb_file}


def _row(sample_id: int, kept: dict[str, Any], raw: RawSample, side: str) -> dict[str, Any]:
    names = ("width", "height", "image_file", "thumb_file")
    return {
        "sample_id": sample_id,
        "image_id": raw.image_id,
        "split": side,
        "gender": raw.gender,
        "attributes": raw.attributes,
        **{n: kept[n] for n in names},
    }


def _remove_others(ctx: StageContext, samples: Sequence[dict[str, Any]]) -> None:
    """Remove image files that no sample names, such as those of an earlier, larger run."""
    named = {s[key] for s in samples for key in ("image_file", "thumb_file")}
    for folder in ("images", "thumbs"):
        for path in ctx.run.path(folder).iterdir():
            if f"{folder}/{path.name}" not in named:
                path.unlink()


def _one_language(report: Report, n_listed: int) -> str:
    """The setting that takes the captions there are, where most images lack the same language; else ""."""
    lacking = [dropped["detail"] for dropped in report.images.get("unpaired", ())]
    for lang, other in (LANGUAGES, LANGUAGES[::-1]):
        if 2 * lacking.count(f"{UNPAIRED}{lang}") > n_listed:
            return f"samples.languages={other}"
    return ""


def _too_few(n_kept: int, n_listed: int, report: Report) -> UserError:
    lines = report.lines()
    do = "Mend the images and the caption table and run again."
    if only := _one_language(report, n_listed):
        do = f"For a run in the language that there is: --set {only}"
    if len(report.captions.get("language", ())) > n_listed:
        do = "Swap the two columns: --set samples.en_column=... --set samples.ar_column=..."
    return UserError(
        f"Only {n_kept} of {n_listed} samples can be used; at least {MIN_SAMPLES} are needed.",
        "; ".join(lines[:6]) or "The caption table lists no more.",
        do,
    )

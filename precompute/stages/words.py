"""Stage words: the gendered words of all captions, what gender each caption names, and what gender each image has.

It takes a second or two a thousand captions and keeps no parts: a run that was stopped counts again.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from core.config import LANGUAGES
from core.run.schema.captions import CONTRASTS, GENDERS, LABEL_POLICIES, WORDS
from core.words.captions import caption_gender, find, image_gender
from core.words.generic import POLICIES

if TYPE_CHECKING:
    from precompute.context import StageContext

SOURCES = ("own", "reference")
Named = dict[tuple[int, str, str, int], str]  # what each caption names, by sample, language, source and number
TICK = 200  # texts between two reports


def run(ctx: StageContext) -> dict[str, Any]:
    """Write words.parquet, one row a word in the order of the captions, genders.parquet, one row a sample, and
    label_policies.parquet: the same labels under each policy for the generic masculine.

    The column of a language that the run leaves out is null. Raises UserError for an unusable lexicon.
    """
    samples = ctx.run.table("samples", ["sample_id", "gender"]).to_pylist()
    texts = _texts(ctx)
    lexicons = {"en": ctx.config.words.lexicon_en, "ar": ctx.config.words.lexicon_ar}
    rows: list[dict[str, Any]] = []
    named: dict[str, Named] = {policy: {} for policy in POLICIES}
    for done, (key, text) in enumerate(texts.items(), start=1):
        hits = find(text, key[1], lexicons[key[1]])
        for policy in POLICIES:
            named[policy][key] = caption_gender(hits, policy)
        place = dict(zip(("sample_id", "lang", "source", "n"), key, strict=True))
        rows += [
            {name: value for name, value in (place | hit._asdict()).items() if name in WORDS.names} for hit in hits
        ]
        if done % TICK == 0 or done == len(texts):
            ctx.progress(done, len(texts), "captions")
    read = _read(ctx)
    labels = {policy: _genders(samples, named[policy], ctx.config.words.consensus, read) for policy in POLICIES}
    policy = ctx.config.words.generic_masculine
    genders, why = labels[policy]
    changes = _changes({name: found for name, (found, _) in labels.items()}, policy)
    WORDS.write(ctx.run, WORDS.of_rows(rows))
    CONTRASTS.write(ctx.run, CONTRASTS.of_rows(_contrasts(ctx, lexicons)))
    GENDERS.write(ctx.run, GENDERS.of_rows(genders))
    LABEL_POLICIES.write(ctx.run, LABEL_POLICIES.of_rows(changes))
    notes = _notes(genders, why, rows, named[policy]) | {"other_policies": _differing(changes)}
    _report(ctx, notes)
    return {"rows": len(rows), "notes": notes}


def _contrasts(ctx: StageContext, lexicons: dict[str, str]) -> list[dict[str, Any]]:
    """Rows of contrasts.parquet; the model's tokenizer is loaded, and no weights."""
    from core.gender.contrast import first_said
    from core.vlm.tokenizer import load_tokenizer

    tokenizer, rows = load_tokenizer(ctx.run, ctx.config.model), []
    captions = ctx.run.table("captions", ["sample_id", "lang", "token_ids"]).to_pylist()
    for done, caption in enumerate(captions, start=1):
        key = {name: caption[name] for name in ("sample_id", "lang")}
        said = first_said(caption["token_ids"], tokenizer, caption["lang"], lexicons[caption["lang"]])
        if said is not None:
            word = {name: getattr(said.hit, name) for name in ("start", "word", "gender", "word_class")}
            rows.append(key | word | {"counterpart": said.counterpart} | said.contrast._asdict())
        if done % TICK == 0 or done == len(captions):
            ctx.progress(done, len(captions), "captions", "where gender is said")
    return rows


def _texts(ctx: StageContext) -> dict[tuple[int, str, str, int], str]:
    """Every caption by (sample, language, source, number), in that order, the model's own before the references."""
    own = ctx.run.table("captions", ["sample_id", "lang", "text"]).to_pylist()
    references = ctx.run.table("references").to_pylist()
    texts = {(r["sample_id"], r["lang"], "own", 0): r["text"] for r in own}
    texts |= {(r["sample_id"], r["lang"], "reference", r["n"]): r["text"] for r in references}
    order = sorted(texts, key=lambda key: (key[0], LANGUAGES.index(key[1]), SOURCES.index(key[2]), key[3]))
    return {key: texts[key] for key in order}


def _read(ctx: StageContext) -> set[tuple[int, str, int]]:
    """The references (sample, language, number) that the model read in the place of its own captions."""
    if ctx.config.caption.source == "own":
        return set()
    rows = ctx.run.table("captions", ["sample_id", "lang", "reference"]).to_pylist()
    return {(r["sample_id"], r["lang"], r["reference"]) for r in rows if r["reference"] is not None}


def _genders(
    samples: list[dict[str, Any]], named: Named, consensus: float, read: set[tuple[int, str, int]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of genders.parquet, and why each image has its gender; references of both languages count alike.

    A reference that was ``read`` as a caption says nothing of its image where there are others: the label would be
    what the model has just read.
    """
    references: dict[int, list[str]] = {}
    given: dict[int, list[str]] = {}
    for (sample_id, lang, source, n), gender in named.items():
        if source == "reference":
            of = given if (sample_id, lang, n) in read else references
            of.setdefault(sample_id, []).append(gender)
    references = {sample_id: references.get(sample_id, given.get(sample_id, [])) for sample_id in references | given}
    rows, why = [], []
    for sample in samples:
        sample_id = sample["sample_id"]
        found = image_gender(sample["gender"] or "", references.get(sample_id, []), consensus)
        captions = {f"caption_{lang}": named.get((sample_id, lang, "own", 0)) for lang in LANGUAGES}
        share = None if math.isnan(found.share) else found.share
        rows.append(
            {
                "sample_id": sample_id,
                "gender": found.gender,
                "gender_source": found.source,
                "gender_share": share,
                "n_references": found.n_references,
                **captions,
            }
        )
        why.append(found.why)
    return rows, why


def _changes(labels: dict[str, list[dict[str, Any]]], here: str) -> list[dict[str, Any]]:
    """Rows of label_policies.parquet, from the rows of genders.parquet under each policy."""
    rows = []
    for policy, found in labels.items():
        for of, column in (("image", "gender"), *((f"caption_{lang}", f"caption_{lang}") for lang in LANGUAGES)):
            pairs = Counter((a[column], b[column]) for a, b in zip(labels[here], found, strict=True))
            known = sorted((pair, n) for pair, n in pairs.items() if None not in pair)
            rows += [{"policy": policy, "of": of, "here": a, "there": b, "n": n} for (a, b), n in known]
    return rows


def _differing(changes: list[dict[str, Any]]) -> dict[str, int]:
    """How many images have another label under each policy."""
    count: Counter[str] = Counter(dict.fromkeys(POLICIES, 0))
    for row in changes:
        count[row["policy"]] += row["n"] if row["of"] == "image" and row["here"] != row["there"] else 0
    return dict(count)


def _notes(
    genders: list[dict[str, Any]],
    why: list[str],
    rows: list[dict[str, Any]],
    named: Named,
) -> dict[str, Any]:
    own = [(lang, gender) for (_, lang, source, _), gender in named.items() if source == "own"]
    languages = [lang for lang in LANGUAGES if lang in dict(own)]
    return {
        "images": _counted(row["gender"] for row in genders),
        "decided_by": _counted(row["gender_source"] or "nothing" for row in genders),
        "why": _counted(why),
        **{f"captions_{lang}": _counted(g for at, g in own if at == lang) for lang in languages},
        **{f"words_{lang}": _counted(r["word_class"] for r in rows if r["lang"] == lang) for lang in languages},
    }


def _counted(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _report(ctx: StageContext, notes: dict[str, Any]) -> None:
    for name, counts in notes.items():
        ctx.log.info("%s: %s", name.replace("_", " "), ", ".join(f"{k} {v}" for k, v in counts.items()) or "none")
    unknown = notes["images"].get("unknown", 0)
    if unknown:
        ctx.log.warning("The gender of %d images is unknown; they are left out of what compares genders.", unknown)

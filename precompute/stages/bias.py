"""Stage bias: captions against what images show, and sampled captions of neutral images against what was planted.

Images are cut into blocks whose borders follow from the settings alone, and every sampled caption has random numbers of
its own, so that a run that was stopped ends in the same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.bias import MATCHED, READINGS
from core.bias.leakage import captions_by_image, leakage, leakage_rows, masked
from core.bias.tables import Captions, metrics_table, policies_table, read_attributes, roles_table
from core.config import LANGUAGES
from core.run import write_table
from core.run.schema.bias import BIAS_METRICS, BIAS_POLICIES, BIAS_ROLES, SAMPLED_CAPTIONS
from core.samples.images import open_image
from core.vlm import load_captioner
from core.words import caption_gender, find, matched_gender
from core.words.generic import POLICIES
from core.words.pairs import pairs
from precompute.context import Part

if TYPE_CHECKING:
    from core.vlm.adapter import VLM
    from precompute.context import StageContext

BLOCK_ROWS = 256  # sampled captions of one pass at most, as long as that is no more than four batches of captions


def run(ctx: StageContext) -> dict:
    """Write the tables sampled_captions, bias_roles, bias_policies and bias_metrics."""
    samples = ctx.run.table("samples").to_pandas()
    genders = ctx.run.table("genders").to_pandas()
    neutral = held_out_neutral(samples, genders, ctx.config.bias.max_images, ctx.config.seed)
    sampled = _sampled(ctx, neutral)
    if ctx.helper:
        return {}
    captions = gather(ctx, samples, genders, sampled, neutral)
    ctx.progress(len(neutral), len(neutral), "images", "comparing")
    settings = ctx.config.bias
    roles = roles_table(captions)
    metrics = metrics_table(captions, roles, settings.n_bootstrap, ctx.config.seed, ctx.config.gender.min_images)
    told = pd.DataFrame(_leakage(ctx, genders), columns=BIAS_METRICS.names)
    metrics = pd.concat([metrics, told], ignore_index=True) if len(told) else metrics
    SAMPLED_CAPTIONS.write(ctx.run, sampled)
    BIAS_ROLES.write(ctx.run, BIAS_ROLES.of_frame(roles))
    BIAS_POLICIES.write(ctx.run, BIAS_POLICIES.of_frame(policies_table(captions)))
    BIAS_METRICS.write(ctx.run, BIAS_METRICS.of_frame(metrics))
    return {"rows": len(metrics), "notes": _notes(ctx, metrics, sampled, len(neutral))}


def held_out_neutral(samples: pd.DataFrame, genders: pd.DataFrame, most: int, seed: int) -> list[int]:
    """Sample ids of test images that show no gender, in order; a random choice of ``most`` where there are more."""
    shown = genders.set_index("sample_id")["gender"].reindex(samples["sample_id"]).to_numpy()
    ids = samples["sample_id"].to_numpy()[(samples["split"] == "test").to_numpy() & (shown == "neutral")]
    if len(ids) > most:
        ids = np.random.default_rng([seed, 0]).choice(ids, most, replace=False)
    return sorted(int(i) for i in ids)


def gather(
    ctx: StageContext, samples: pd.DataFrame, genders: pd.DataFrame, sampled: pa.Table, neutral: list[int]
) -> Captions:
    """All captions of the run by what they name: the model's own, people's, and the sampled ones."""
    columns = ["sample_id", "lang", "text"]
    own = ctx.run.table("captions", columns).to_pandas().assign(source="greedy")
    if ctx.config.caption.source == "references":  # people wrote them: the sampled ones alone are the model's
        own = own.iloc[:0]
    people = ctx.run.table("references", columns).to_pandas().assign(source="reference")
    unshown = genders["sample_id"][genders["gender"] == "neutral"]  # references count where they alone say a gender
    drawn = sampled.select(columns).to_pandas().assign(source="sampled")
    said = pd.concat([own, people[people["sample_id"].isin(unshown)], drawn], ignore_index=True)
    read = [_readings(ctx, text, lang) for text, lang in zip(said["text"], said["lang"], strict=True)]
    said = said.drop(columns="text").join(pd.DataFrame(read, columns=list(READINGS)))
    images = samples.set_index("sample_id").loc[:, ["split"]]
    images["gender"] = genders.set_index("sample_id")["gender"]
    attributes, planted = read_attributes(dict(zip(samples["sample_id"], samples["attributes"], strict=True)))
    return Captions(said, images, attributes, planted, neutral, ctx.config.words.generic_masculine)


def _leakage(ctx: StageContext, genders: pd.DataFrame) -> list[dict]:
    """What masked captions tell of the gender of images that show one; nothing where the model wrote none."""
    if ctx.config.caption.source == "references":
        return []
    shown = genders[genders["gender"].isin(["female", "male"])]
    rows: list[dict] = []
    for lang in ctx.config.samples.languages:
        lexicon = getattr(ctx.config.words, f"lexicon_{lang}")
        roles = {p.female: p.male for p in pairs(lang, lexicon) if p.word_class == "role"}
        texts = []
        for name in ("captions", "references"):
            said = ctx.run.table(name, ["sample_id", "lang", "text"]).to_pandas()
            said = said[(said["lang"] == lang) & said["sample_id"].isin(shown["sample_id"])]
            said["text"] = [masked(text, find(text, lang, lexicon), roles) for text in said["text"]]
            texts.append(captions_by_image(said, shown["sample_id"].tolist()))
        both = np.array([bool(own and people) for own, people in zip(*texts, strict=True)], bool)
        own, people = ([t for t, kept in zip(one, both, strict=True) if kept] for one in texts)
        female = (shown["gender"] == "female").to_numpy()[both]
        first = [captions[0] for captions in own]
        found = leakage(first, people, female, ctx.config.seed, ctx.config.gender.min_images)
        rows += leakage_rows(found, lang)
    return rows


def _readings(ctx: StageContext, text: str, lang: str) -> dict[str, str]:
    """What a caption names under each of READINGS, by the lexicon of the run."""
    words = ctx.config.words
    hits = find(text, lang, words.lexicon_en if lang == "en" else words.lexicon_ar)
    return {MATCHED: matched_gender(hits), **{policy: caption_gender(hits, policy) for policy in POLICIES}}


def _sampled(ctx: StageContext, neutral: list[int]) -> pa.Table:
    """``n_sampled`` captions of each image and language, block by block."""
    n = ctx.config.bias.n_sampled if neutral else 0
    if not n:
        return SAMPLED_CAPTIONS.arrow.empty_table()
    size = max(1, min(BLOCK_ROWS, 4 * ctx.config.caption.batch_size) // n)
    blocks = [neutral[start : start + size] for start in range(0, len(neutral), size)]
    parts = [ctx.work_dir / f"sampled_{i:05d}.parquet" for i in range(len(blocks))]
    load = functools.cache(lambda: load_captioner(ctx.run, ctx.config.model, ctx.device))

    def write(part: Path, block: Sequence[int]) -> None:
        write_table(part, _block(ctx, load(), block))

    ctx.make(
        [Part(part, functools.partial(write, part, block)) for part, block in zip(parts, blocks, strict=True)],
        lambda done: ctx.progress(min(done * size, len(neutral)), len(neutral), "images", "sampling captions"),
    )
    return pa.concat_tables([pq.read_table(part, schema=SAMPLED_CAPTIONS.arrow) for part in parts])


def _block(ctx: StageContext, vlm: VLM, sample_ids: Sequence[int]) -> pa.Table:
    """All sampled captions of some images; each image is encoded once, and goes with each prompt once."""
    from core.vlm.sampling import sample_captions, uniforms

    settings, n = ctx.config.caption, ctx.config.bias.n_sampled
    features = vlm.encode_images([open_image(ctx.run, i) for i in sample_ids])
    lines = []
    for lang, asked in ctx.config.prompts.items():
        prompt, number = vlm.prompt_ids(asked), LANGUAGES.index(lang)
        keys = [(ctx.config.seed, i, number, draw) for i in sample_ids for draw in range(n)]
        numbers = uniforms(keys, settings.max_new_tokens).reshape(len(sample_ids), n, settings.max_new_tokens)
        captions, finished = sample_captions(
            vlm, [prompt] * len(sample_ids), features, numbers, ctx.config.bias.temperature
        )
        for sample_id, drawn, ends in zip(sample_ids, captions, finished, strict=True):
            for draw, (ids, end) in enumerate(zip(drawn, ends, strict=True)):
                text = vlm.decode(ids)
                read = _readings(ctx, text, lang)
                lines.append(
                    {
                        "sample_id": sample_id,
                        "lang": lang,
                        "draw": draw,
                        "text": text,
                        "finished": end,
                        "named": read[ctx.config.words.generic_masculine],
                        "matched": read[MATCHED],
                    }
                )
    return SAMPLED_CAPTIONS.of_rows(lines)


def _notes(ctx: StageContext, metrics: pd.DataFrame, sampled: pa.Table, n_images: int) -> dict:
    """What the record says: how well the planted shares were found again, where any were planted."""
    asked = (metrics["metric"] == "correlation") & (metrics["source"] == "sampled") & metrics["value"].notna()
    known = metrics.loc[asked].to_dict("records")
    r = {f"r_{row['attribute']}_{row['lang']}": round(float(row["value"]), 4) for row in known}
    if r:
        ctx.metrics(r)
    n_unfinished = len(sampled) - int(np.sum(sampled["finished"].to_numpy()))
    return {"neutral_images": n_images, "sampled_captions": len(sampled), "unfinished": n_unfinished, **r}

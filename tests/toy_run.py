"""A synthetic run folder in every documented format, made in a second and without torch, for pages and their tests.

Images, captions and truths are of the demo world. The features are made up, but consistently: each is tuned to one
thing (a gender, a role, an object, a background, a language), so that its examples, patch maps and words agree.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from core.config import Config, config_from_dict, config_to_dict
from core.demo.world import BACKGROUNDS, LANGUAGES, OBJECTS, ROLES, DemoWorld, Scene, caption, is_held_out
from core.run import Manifest, Run, StageRecord, write_json
from core.run.tables import TABLES

GRID = 4  # image tokens a side: a map half as fine as the demo captioner's
N_PATCHES = GRID * GRID
D_MODEL = 16
BINS = 40
STAGES = ("prepare", "caption", "activations", "train", "features")
STARTED = "2026-01-05T09:00:00+00:00"
_FOLDER = tempfile.TemporaryDirectory()  # of toy runs that were made; gone when the process ends


@dataclass(frozen=True)
class _Sample:
    sample_id: int
    scene: Scene
    own: dict[str, str]
    references: dict[str, list[str]]


@dataclass(frozen=True)
class _Tuning:
    """What a toy feature fires for; ``dead`` features fire for nothing."""

    kind: str
    value: Any = None

    def strength(self, sample: _Sample, lang: str, rng: random.Random) -> float:
        scene = sample.scene
        truth = {
            "gender": scene.gender,
            "role": scene.role,
            "object": scene.object,
            "background": scene.background,
            "language": lang,
        }
        if self.kind == "dead":
            return 0.0
        if self.kind == "noise":
            return max(0.0, rng.gauss(0.2, 0.6))
        return rng.uniform(3, 8) if truth[self.kind] == self.value else max(0.0, rng.gauss(-0.4, 0.6))


def make_toy_run(
    dir: str | Path,
    n_samples: int = 40,
    layers: tuple[int, ...] = (1, 3),
    d_sae: int = 64,
    seed: int = 0,
    stages: tuple[str, ...] = STAGES,
    hostile: bool = False,
) -> Run:
    """Write a run folder and return it.

    ``stages`` leaves out later ones (a run that is not finished); ``hostile`` puts markup, mathematics and direction
    marks into the captions of the first two samples. What is asked for twice is made once and copied.
    """
    run = Run(dir)
    shutil.copytree(_tables(n_samples, layers, d_sae, seed, stages, hostile), run.dir, dirs_exist_ok=True)
    config = config_from_dict(
        {
            **config_to_dict(Config()),
            "name": run.name,
            "seed": seed,
            "samples": {"n": n_samples},
            "activations": {"layers": list(layers)},
            "train": {"d_sae": d_sae, "k": 4},
        }
    )
    records = {s: _record(run, s, n) for n, s in enumerate(stages)}
    run.write_manifest(Manifest(run.name, "demo", config_to_dict(config), records))
    listed = [
        {"name": s, "state": "done" if s in stages else "waiting", "seconds": 2.0 if s in stages else None}
        for s in STAGES
    ]
    _progress(
        run,
        stage=stages[-1],
        state="done" if tuple(stages) == STAGES else "stopped",
        done=n_samples,
        total=n_samples,
        unit="samples",
        rate=120.0,
        eta_seconds=0,
        memory_bytes=700_000_000,
        stages=listed,
    )
    return run


@functools.cache
def _tables(
    n_samples: int, layers: tuple[int, ...], d_sae: int, seed: int, stages: tuple[str, ...], hostile: bool
) -> Path:
    """The folder of a toy run without what names it: manifest and progress."""
    run, rng, world = Run(tempfile.mkdtemp(dir=_FOLDER.name)), random.Random(seed), DemoWorld()
    samples = [_sample(i, world, rng) for i in range(n_samples)]
    if hostile:
        samples[:2] = [_hostile(s) for s in samples[:2]]
    for stage in stages:
        if stage == "prepare":
            _prepare(run, world, samples)
        elif stage == "caption":
            write_rows(run, "captions", _captions(samples))
        elif stage == "activations":
            write_rows(run, "tokens", _tokens(samples))
        elif stage == "train":
            _train(run, layers, d_sae, seed)
        elif stage == "features":
            _features(run, samples, layers, d_sae, seed)
    return run.dir


def _sample(sample_id: int, world: DemoWorld, rng: random.Random) -> _Sample:
    scene = world.scene(rng, held_out=rng.random() < 0.1)
    own = {lang: caption(scene, lang, world.caption_gender(scene, lang, rng), rng.randrange(5)) for lang in LANGUAGES}
    return _Sample(sample_id, scene, own, {lang: world.references(scene, lang, rng) for lang in LANGUAGES})


def _hostile(sample: _Sample) -> _Sample:
    bad = {
        "en": '<script>window.hacked=1</script><img src=x onerror="window.hacked=1"> **a** man & $x^2$ `c` [l](x)',
        "ar": "<b>امرأة</b> \u202eadmin\u202c \u200f(رجل) 12% </div></div><style>*{display:none}</style>",
    }
    return _Sample(sample.sample_id, sample.scene, bad, {lang: [bad[lang]] for lang in LANGUAGES})


def _pieces(text: str) -> list[str]:
    return [word if i == 0 else f" {word}" for i, word in enumerate(text.split(" "))]


def _split(sample: _Sample) -> str:
    return "test" if sample.sample_id % 5 == 4 else "train"


def _prepare(run: Run, world: DemoWorld, samples: list[_Sample]) -> None:
    rows, references = [], []
    for folder in ("images", "thumbs"):
        run.path(folder).mkdir(exist_ok=True)
    for s in samples:
        image = Image.fromarray(world.render(s.scene))
        image.save(run.path("images", f"{s.sample_id:06d}.png"))
        image.save(run.path("thumbs", f"{s.sample_id:06d}.jpg"), quality=90)
        scene, role = s.scene, ROLES[s.scene.role]
        attributes = {
            "role": role.key,
            "object": OBJECTS[scene.object].key,
            "background": BACKGROUNDS[scene.background].key,
            "style": scene.style,
            "tone": scene.tone,
            "p_male_en": role.p_male_en,
            **({} if role.generic else {"p_male_ar": role.p_male_ar}),
            "generic": role.generic,
            "held_out": is_held_out(scene.role, scene.object),
        }
        rows.append(
            {
                "sample_id": s.sample_id,
                "image_id": f"demo-{s.sample_id:05d}",
                "split": _split(s),
                "gender": scene.gender,
                "width": image.width,
                "height": image.height,
                "image_file": f"images/{s.sample_id:06d}.png",
                "thumb_file": f"thumbs/{s.sample_id:06d}.jpg",
                "attributes": json.dumps(attributes, ensure_ascii=False),
            }
        )
        references += [
            {"sample_id": s.sample_id, "lang": lang, "n": n, "text": text}
            for lang in LANGUAGES
            for n, text in enumerate(s.references[lang])
        ]
    write_rows(run, "samples", rows)
    write_rows(run, "references", references)
    dropped = {
        "unreadable": {
            "count": 1,
            "what": "the file is no image that can be read",
            "named": [{"image": "broken-1.jpg", "detail": "truncated"}],
        }
    }
    n = len(samples)
    write_json(
        run.path("prepare_report.json"),
        {
            "format": 1,
            "source": "demo-world",
            "n_listed": n + 1,
            "n_samples": n,
            "rows_dropped": {
                "too_many_cells": {
                    "count": 1,
                    "what": "more cells than there are columns",
                    "named": [{"file": "captions.csv", "line": 7, "text": "7.jpg, A man, outside"}],
                }
            },
            "rows_kept": {},
            "images_dropped": dropped,
            "captions_dropped": {},
            "names_matched": {
                "number": {"count": 1, "what": "by the number in it", "named": [{"name": "7", "file": "0007.jpg"}]}
            },
            "notes": [],
        },
    )


def _captions(samples: list[_Sample]) -> list[dict[str, Any]]:
    return [
        {
            "sample_id": s.sample_id,
            "lang": lang,
            "text": s.own[lang],
            "token_ids": [300 + sum(map(ord, p)) % 900 for p in _pieces(s.own[lang])],
            "finished": True,
        }
        for s in samples
        for lang in LANGUAGES
    ]


def _sequence(sample: _Sample, lang: str) -> list[tuple[str, int]]:
    """(kind, patch) of each position: BOS, prompt, image tokens, prompt, caption."""
    words = len(_pieces(sample.own[lang]))
    return [
        ("bos", -1),
        ("prompt", -1),
        *[("image", p) for p in range(N_PATCHES)],
        *[("prompt", -1)] * 5,
        *[("caption", -1)] * words,
    ]


def _tokens(samples: list[_Sample]) -> list[dict[str, Any]]:
    rows = [
        {
            "sample_id": s.sample_id,
            "lang": lang,
            "position": position,
            "kind": kind,
            "token_id": 5,
            "patch": patch,
            "split": _split(s),
        }
        for s in samples
        for lang in LANGUAGES
        for position, (kind, patch) in enumerate(_sequence(s, lang))
    ]
    return [{"row": n, **r} for n, r in enumerate(rows)]


def _sae(layer: int, d_sae: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng((seed, layer))
    w_dec = rng.standard_normal((d_sae, D_MODEL)).astype(np.float32)
    w_dec /= np.linalg.norm(w_dec, axis=1, keepdims=True)
    zeros = np.zeros
    return {
        "W_enc": np.ascontiguousarray(w_dec.T),
        "W_dec": w_dec,
        "b_enc": zeros(d_sae, np.float32),
        "b_dec": zeros(D_MODEL, np.float32),
    }


def _sae_id(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()[:16]


def _train(run: Run, layers: tuple[int, ...], d_sae: int, seed: int) -> None:
    rows = []
    for n, layer in enumerate(layers):
        tensors, folder = _sae(layer, d_sae, seed), run.path("saes", f"layer_{layer:02d}")
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "sae_weights.safetensors")
        row = {
            "layer": layer,
            "sae_id": _sae_id(tensors),
            "architecture": "topk",
            "d_model": D_MODEL,
            "d_sae": d_sae,
            "n_train_tokens": 20_000,
            "explained_variance": 0.93 - 0.03 * n,
            "explained_variance_median": 0.91 - 0.03 * n,
            "l0": 4.0,
            "dead_share": 0.05 + 0.02 * n,
            "cosine": 0.96 - 0.01 * n,
            "loss_recovered": 0.97 - 0.02 * n,
            "ce_clean": 0.41,
            "ce_spliced": 0.47 + 0.03 * n,
            "ce_ablated": 2.6 + 0.3 * n,
            "n_test_tokens": 5_000,
            "explained_variance_random": 0.31,
            "explained_variance_image": 0.95,
            "explained_variance_prompt": 0.97,
            "explained_variance_caption": 0.90,
            "k": 4,
            "source": "trained here",
            "trained_on": "demo-captioner",
        }
        write_json(folder / "metrics.json", row)
        write_json(
            folder / "cfg.json",
            {
                "architecture": "topk",
                "d_in": D_MODEL,
                "d_sae": d_sae,
                "k": 4,
                "metadata": {"hook_name": f"layers.{layer}", "layer": layer},
            },
        )
        rows.append(row)
    write_rows(run, "saes", rows)
    write_rows(run, "sae_fit", [fit for row in rows for fit in toy_fit(row)])


def toy_fit(row: dict[str, Any], **changes: float) -> list[dict[str, Any]]:
    """Rows of sae_fit.parquet that go with a row of saes.parquet; ``changes`` are explained variances by kind."""
    values = {kind: changes.get(kind, row[f"explained_variance_{kind}"]) for kind in ("image", "prompt", "caption")}
    values["all"] = row["explained_variance"]
    return [
        {
            "layer": row["layer"],
            "sae_id": row["sae_id"],
            "kind": kind,
            "lang": lang,
            "n_images": 30,
            "n_tokens": 900,
            **{f"explained_variance{end}": value + by for end, by in (("", 0.0), ("_low", -0.02), ("_high", 0.02))},
            "explained_variance_random": 0.3,
            "explained_variance_median": value - 0.01,
            "explained_variance_median_random": 0.25,
            "l0": 4.0,
            "dead_share": 0.1,
            "cosine": 0.9,
            "n_scored_images": 20,
            "n_scored_tokens": 200,
            "ce_clean": 0.4,
            "ce_spliced": 0.5,
            "ce_ablated": 2.0,
            "ce_random": 1.0,
            "loss_recovered": 0.94,
            "loss_recovered_low": 0.9,
            "loss_recovered_high": 0.97,
            "loss_recovered_random": 0.6,
        }
        for kind, value in values.items()
        for lang in ("both", "en", "ar")
    ]


def _tuning(feature: int, rng: random.Random) -> _Tuning:
    first = [("gender", "female"), ("gender", "male"), ("gender", "neutral"), ("language", "en"), ("language", "ar")]
    if feature < len(first):
        return _Tuning(*first[feature])
    if feature % 16 == 15:
        return _Tuning("dead")
    kind = rng.choice(("role", "role", "object", "background", "noise"))
    sizes = {"role": len(ROLES), "object": len(OBJECTS), "background": len(BACKGROUNDS), "noise": 1}
    return _Tuning(kind, rng.randrange(sizes[kind]))


def _words(tuning: _Tuning) -> list[str]:
    if tuning.kind == "gender":
        return {
            "female": ["▁woman", "▁her", "▁امرأة", "▁هي"],
            "male": ["▁man", "▁his", "▁رجل", "▁هو"],
            "neutral": ["▁person", "▁their", "▁شخص"],
        }[tuning.value]
    if tuning.kind == "role":
        return [f"▁{ROLES[tuning.value].en}", f"▁{ROLES[tuning.value].ar_male}", f"▁{ROLES[tuning.value].ar_female}"]
    if tuning.kind in ("object", "background"):
        thing = (OBJECTS if tuning.kind == "object" else BACKGROUNDS)[tuning.value]
        return [f"▁{thing.en}", f"▁{thing.ar}"]
    return ["▁the", "▁في"] if tuning.kind != "language" else {"en": ["▁is", "▁a"], "ar": ["▁مع", "▁على"]}[tuning.value]


def _patch_map(sample: _Sample, tuning: _Tuning, peak: float, rng: random.Random) -> list[float]:
    """Highest over the person or the object, whichever the feature is tuned to."""
    left = sample.scene.person_left != (tuning.kind == "object")
    centre = (1.6, 0.9) if left else (1.6, 2.6)
    values = [
        peak * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 1.4) for y in range(GRID) for x in range(GRID)
    ]
    return [float(v) if v > 0.12 * peak or rng.random() < 0.1 else 0.0 for v in values]


def _token_values(sample: _Sample, lang: str, tuning: _Tuning, peak: float) -> list[float]:
    words = {w.strip("▁") for w in _words(tuning)}
    return [peak * 0.8 if piece.strip().strip(".") in words else 0.0 for piece in _pieces(sample.own[lang])]


def _features(run: Run, samples: list[_Sample], layers: tuple[int, ...], d_sae: int, seed: int) -> None:
    features, examples = [], []
    for layer in layers:
        tensors = _sae(layer, d_sae, seed)
        rng, cosines = random.Random(f"{seed}-{layer}"), tensors["W_dec"] @ tensors["W_dec"].T
        for feature in range(d_sae):
            tuning = _tuning(feature, rng)
            firing = {(s.sample_id, lang): tuning.strength(s, lang, rng) for s in samples for lang in LANGUAGES}
            key = {"layer": layer, "feature": feature, "sae_id": _sae_id(tensors)}
            features.append({**key, **_statistics(firing, tuning, samples, cosines[feature], feature, rng)})
            examples += [{**key, **e} for e in _examples(firing, tuning, samples, rng)]
    write_rows(run, "features", features)
    write_rows(run, "examples", examples)


def _statistics(
    firing: dict, tuning: _Tuning, samples: list[_Sample], cosines: np.ndarray, feature: int, rng: random.Random
) -> dict[str, Any]:
    active = np.array([v for v in firing.values() if v > 0])
    alive = len(active) > 0
    n_tokens = sum(len(_sequence(s, lang)) for s in samples for lang in LANGUAGES)
    density = 2.5 * len(active) / n_tokens
    by_lang = {lang: float(np.mean([v for (_, g), v in firing.items() if g == lang])) for lang in LANGUAGES}
    top = float(active.max()) if alive else 0.0
    near = [int(i) for i in np.argsort(-cosines) if i != feature][:8]
    words = _words(tuning) if alive else []
    centre = {"gender": (0, 0), "role": (6, 1), "object": (2, 7), "background": (-5, 4), "language": (-3, -5)}
    x, y = centre.get(tuning.kind, (4, -6))
    return {
        "n_active": int(2.5 * len(active)),
        "density": density,
        "density_image": density * 1.2,
        "density_prompt": density * 0.3,
        "density_caption_en": density * 0.8,
        "density_caption_ar": density * 0.9,
        "lang_en": by_lang["en"] * 0.3,
        "lang_ar": by_lang["ar"] * 0.3,
        "mean": float(active.mean()) if alive else 0.0,
        "std": float(active.std()) if alive else 0.0,
        "max": top,
        "p999": float(np.quantile(active, 0.999)) if alive else 0.0,
        "histogram": np.histogram(active, BINS, (0, top or 1))[0].tolist(),
        "explained_share": float(density * np.square(active).mean() / 20) if alive else 0.0,
        "alive": alive,
        "umap_x": x + rng.gauss(0, 0.8) if alive else None,
        "umap_y": y + rng.gauss(0, 0.8) if alive else None,
        "top_tokens": words,
        "top_token_values": [0.8 * top - 0.3 * n for n in range(len(words))],
        "logits_up_tokens": [*words, "▁and", "▁و"],
        "logits_up": [2.0 - 0.2 * n for n in range(len(words) + 2)],
        "logits_down_tokens": ["▁background", "▁الخلفية", "."],
        "logits_down": [-1.4, -1.1, -0.6],
        "neighbours": near,
        "neighbour_cosines": [float(cosines[i]) for i in near],
    }


def _examples(firing: dict, tuning: _Tuning, samples: list[_Sample], rng: random.Random) -> list[dict[str, Any]]:
    best = {}  # the stronger language of each image
    for (sample_id, lang), value in firing.items():
        if value > 0 and value > best.get(sample_id, (0.0, ""))[0]:
            best[sample_id] = (value, lang)
    ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))
    if not ranked:
        return []
    values = [value for _, (value, _) in ranked]
    edges = np.quantile(values, np.linspace(0, 1, 6))
    chosen = [("top", rank, item, min(values), max(values)) for rank, item in enumerate(ranked[:24])]
    for q in range(5):
        low, high = float(edges[q]), float(edges[q + 1])
        inside = [i for i in ranked if low <= i[1][0] <= high]
        chosen += [(f"q{q + 1}", rank, item, low, high) for rank, item in enumerate(inside[:6])]
    order = {"q1": 0, "q2": 1, "q3": 2, "q4": 3, "q5": 4, "top": 5}
    rows = []
    for bin, rank, (sample_id, (value, lang)), low, high in sorted(chosen, key=lambda c: (order[c[0]], c[1])):
        sample, on_image = samples[sample_id], tuning.kind != "language"
        rows.append(
            {
                "bin": bin,
                "rank": rank,
                "sample_id": sample_id,
                "lang": lang,
                "activation": value,
                "position": 9,
                "kind": "image" if on_image else "caption",
                "patch_map": np.array(_patch_map(sample, tuning, value if on_image else 0, rng), np.float16),
                "token_values": np.array(_token_values(sample, lang, tuning, value), np.float16),
                "pieces": _pieces(sample.own[lang]),
                "band_low": float(low),
                "band_high": float(high),
            }
        )
    return rows


def _record(run: Run, stage: str, n: int) -> StageRecord:
    made = {
        "prepare": ("samples.parquet", "references.parquet", "prepare_report.json"),
        "caption": ("captions.parquet",),
        "activations": ("activations/tokens.parquet",),
        "train": ("saes.parquet", "sae_fit.parquet"),
        "features": ("features.parquet", "examples.parquet"),
    }[stage]
    files = {name: run.path(name).stat().st_size for name in made}
    versions = {"python": "3.11", "torch": "2.13.0", "captionscope": "0.1.0"}
    return StageRecord(
        f"{n:016x}",
        STARTED,
        2.0 + n,
        40,
        sum(files.values()),
        600_000_000 + n * 10**7,
        versions,
        "cpu",
        files,
        {"toy": True},
    )


def toy_progress(run: Run, stage: str = "train", done: int = 300, total: int = 1200, **changes: Any) -> None:
    """Write a progress.json of a run that stands in the middle of ``stage``."""
    at = STAGES.index(stage)
    state = changes.get("state", "running")
    stages = [
        {
            "name": s,
            "state": "done" if n < at else state if n == at else "waiting",
            "seconds": 12.0 + n if n < at else 4.0 if n == at else None,
        }
        for n, s in enumerate(STAGES)
    ]
    run.dir.mkdir(parents=True, exist_ok=True)
    known = {
        "stage": stage,
        "state": state,
        "done": done,
        "total": total,
        "unit": "steps",
        "rate": 31.0,
        "eta_seconds": (total - done) / 31,
        "memory_bytes": 1_200_000_000,
        "stages": stages,
    }
    _progress(run, **{**known, **changes})


def _progress(run: Run, **known: Any) -> None:
    fixed = {"run": run.name, "started": STARTED, "updated": STARTED, "pid": 0, "device": "cpu", "message": ""}
    write_json(run.path("progress.json"), {**fixed, **known})


def write_rows(run: Run, name: str, rows: list[dict[str, Any]]) -> None:
    """Rows as a table of the run, in its documented form; null where a row lacks a column."""
    TABLES[name].write(run, TABLES[name].of_rows(rows))


def add_record(run: Run, stage: str, rows: int) -> None:
    """Tell in the manifest that a stage has run."""
    manifest = run.manifest()
    manifest.stages[stage] = StageRecord("0", STARTED, 2.0, rows, 1, 1, {}, "cpu", {})
    run.write_manifest(manifest)

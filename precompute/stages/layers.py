"""Stage layers: probes of image gender by layer, language and position, the logit lens, and where gender first appears.

Parts are one layer's view for the probes and one language for the lens; those that are there after a kill are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL.Image import Resampling

from core.activations.replay import Activations
from core.config.sections import MIN_COVERAGE
from core.features.pooled import VIEWS, Pooled
from core.features.tokens import LANGUAGES, TokenIndex, read_token_index
from core.gender.contrast import Contrast, LogOdds, pair_numbers, random_contrasts
from core.gender.coverage import coverage
from core.gender.logit_words import WordSets, random_sets, word_sets
from core.gender.word_ends import word_ends
from core.layers import LogitLens, TransformerProbeAnalyzer, tuned
from core.layers.caption_lens import CaptionLens, Others, ShownCaption, shown_samples
from core.layers.control_task import ImageTypes, image_types, telling_words
from core.layers.measures import emergence, with_q
from core.layers.positions import POSITIONS, Place, caption_row, places
from core.layers.tables import table
from core.run import write_table
from core.run.schema import Table
from core.run.schema.layers import CAPTION_LENS, EMERGENCE, LENS, LENS_FIT, PROBES
from core.samples.images import open_image
from core.vlm.vision import PROJECTOR, spread, vision_states
from precompute.context import Part, StageContext

Rows = list[dict[str, Any]]
PIXELS = 16  # a side, of the images that the pixel baseline sees
BATCH = 16  # sequences at once for the model's last layer
VISION_BATCH = 64  # images that are open at once
N_RANDOM = 50  # draws of other words
FIT_BYTES = 1 << 30  # of the states that a tuned lens is fitted on at once
N_QUALITY = 4  # tokens of a held-out caption at which lenses are held against the model's own output
N_OTHERS = 64  # captions at whose places the spellings of a shown caption are read as well
SHOWN_ELEMENTS = 1 << 26  # positions x layers x d_model of one pass over captions that are shown (256 MiB)


def run(ctx: StageContext) -> dict:
    """Write probes.parquet, lens.parquet, caption_lens.parquet and emergence.parquet."""
    layers, languages = ctx.config.activations.layers, ctx.config.samples.languages
    samples = ctx.run.images().to_dict("records")
    gendered = [s for s in samples if s["gender"] in ("female", "male")]
    types = control_types(ctx, gendered)
    analyzer = TransformerProbeAnalyzer(
        [s["gender"] == "female" for s in gendered],
        [s["image_id"] for s in gendered],
        types.names,
        ctx.config.layers,
        ctx.config.seed,
    )
    ids = np.array([s["sample_id"] for s in gendered], np.int64)
    asked: dict[str, tuple[Table, Callable[[], Rows]]] = {
        "pixels": (PROBES, lambda: _probe(analyzer, _pixels(ctx, ids), -1, "pixels"))
    }
    work = _Lens(ctx, samples)
    if ctx.config.layers.n_vision:
        asked["vision"] = PROBES, lambda: _vision(ctx, analyzer, work, ids)
    pooled = {layer: Pooled(ctx.run.dir, layer) for layer in layers}
    for layer in layers:
        for view in VIEWS:
            resid = lambda n=layer, v=view: _by_language(pooled[n].resid(v), ids, languages)  # noqa: E731
            asked[f"probes_{layer:02d}_{view}"] = PROBES, lambda n=layer, v=view, r=resid: _probe(analyzer, r(), n, v)
    asked |= {f"lens_{lang}": (LENS, lambda c=lang: work.read(c)) for lang in languages}
    asked |= {f"shown_{lang}": (CAPTION_LENS, lambda c=lang: work.shown(c)) for lang in languages}
    if ctx.config.layers.n_shown and ctx.config.layers.n_fitted:
        ctx.make([Part(work.maps, work.fit)])
        asked |= {f"fit_{lang}": (LENS_FIT, lambda c=lang: work.quality(c)) for lang in languages}
    parts = {name: _part(ctx.work_dir / f"{name}.parquet", *one) for name, one in asked.items()}
    ctx.make(list(parts.values()), lambda n: ctx.progress(n, len(parts), "steps", "probes and lens"))
    if ctx.helper:
        return {}
    probes, lens, fitted = (  # as they stand in the files, fresh or kept
        [row for name, (of, _) in asked.items() if of is wanted for row in pq.read_table(parts[name].path).to_pylist()]
        for wanted in (PROBES, LENS, LENS_FIT)
    )
    with_q(probes, lens)
    found = emergence(probes, lens)
    for of, rows in ((PROBES, probes), (LENS, lens), (LENS_FIT, fitted), (EMERGENCE, found)):
        of.write(ctx.run, table(rows, of))
    written = [pq.read_table(parts[name].path) for name, (of, _) in asked.items() if of is CAPTION_LENS]
    n_shown = CAPTION_LENS.write_parts(ctx.run, written)
    first = {f"{r['method']} {r['position']} {r['lang']}": r["layer"] for r in found}
    made = {"types": len(set(types.names) - {""}), "from": types.source or "nothing"}
    return {"rows": len(probes) + len(lens) + n_shown, "notes": {"first_layer": first, "control_task": made}}


def _part(path: Path, of: Table, make: Callable[[], Rows]) -> Part:
    return Part(path, lambda: write_table(path, table(make(), of)))


def control_types(ctx: StageContext, images: Sequence[Mapping[Any, Any]]) -> ImageTypes:
    """Types of these images for the control task: annotated attributes, else words of people's captions of them."""
    c, lang = ctx.config.layers, ctx.config.samples.languages[0]
    annotated = [json.loads(s["attributes"] or "{}") for s in images]
    values = [[str(of[name]) for name in c.control_types if of.get(name) not in (None, "")] for of in annotated]
    texts: dict[int, list[str]] = {}
    for row in ctx.run.table("references", ["sample_id", "lang", "text"]).to_pylist():
        if row["lang"] == lang:
            texts.setdefault(row["sample_id"], []).append(row["text"])
    said = [texts.get(s["sample_id"], []) for s in images]
    return image_types(values, telling_words(said, lang, c.min_per_type), c.min_per_type)


def _probe(analyzer: TransformerProbeAnalyzer, resid: dict[str, np.ndarray], layer: int, view: str) -> Rows:
    return [{"layer": layer, "view": view, **row} for row in analyzer.analyze(resid)]


def _by_language(resid: np.ndarray, sample_ids: np.ndarray, languages: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Rows of the chosen images by language, NaN for images without a caption."""
    out = {}
    for lang in languages:
        rows = len(LANGUAGES) * sample_ids + LANGUAGES.index(lang)
        out[lang] = np.full((len(rows), resid.shape[1]), np.nan, np.float32)
        out[lang][rows < len(resid)] = resid[rows[rows < len(resid)]]
    return out


def _pixels(ctx: StageContext, sample_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Small copies of the images, flat: what a probe gets from the picture without the model."""
    size = (PIXELS, PIXELS)
    small = [open_image(ctx.run, int(i)).resize(size, Resampling.BOX) for i in sample_ids]
    images = np.array([np.asarray(image, np.float32).ravel() for image in small]).reshape(len(small), 3 * PIXELS**2)
    return dict.fromkeys(ctx.config.samples.languages, images)


def _vision(ctx: StageContext, analyzer: TransformerProbeAnalyzer, lens: _Lens, sample_ids: np.ndarray) -> Rows:
    """Probes of the image before the language model begins; where no vision tower is known, a row that says so."""
    languages = ctx.config.samples.languages
    vlm = lens.model()
    chosen = spread(len(vlm.vision_layers), ctx.config.layers.n_vision)
    parts = [
        vision_states(vlm, [open_image(ctx.run, int(i)) for i in sample_ids[start : start + VISION_BATCH]], chosen)
        for start in range(0, len(sample_ids), VISION_BATCH)
    ]
    rows: Rows = []
    for layer in (*chosen, PROJECTOR) if parts else ():
        states = np.concatenate([part[layer].numpy() for part in parts])
        view = "projector" if layer == PROJECTOR else "tower"
        rows += _probe(analyzer, dict.fromkeys(languages, states), layer, view)
    if not chosen:
        why = f"no vision tower is known in models of type {vlm.model.config.model_type}"
        unknown = dict.fromkeys(languages, np.full((len(sample_ids), 1), np.nan, np.float32))
        rows += [{**row, "why": why} for row in _probe(analyzer, unknown, -1, "tower")]
    return rows


class _Compared(NamedTuple):
    """What the lens compares at the places of one position and language, and for what share of captions it speaks."""

    score: LogOdds | WordSets
    controls: list[Any]
    pair: np.ndarray
    share: float
    why: str


class _Lens:
    """The logit lens on held-out captions of one language after the other; the model is loaded when first needed."""

    def __init__(self, ctx: StageContext, samples: Rows):
        self.ctx, self.settings = ctx, ctx.config.layers
        self.gender = {s["sample_id"]: s["gender"] for s in samples}
        self.held_out = self._choose(samples)
        self.shown_images = shown_samples(samples, self.settings.n_shown)
        train = [s["sample_id"] for s in samples if s["split"] == "train"]
        drawn = np.random.default_rng([ctx.config.seed, 7]).permutation(len(train))[: self.settings.n_fitted]
        self.fitted_on = sorted(train[i] for i in drawn)
        self.maps = ctx.work_dir / "tuned.safetensors"
        self.vlm: Any = None
        self.opened = False

    def _choose(self, samples: Rows) -> list[int]:
        """Held-out images in random order: up to n_lens of women and men, and half as many neutral ones."""
        test = [s["sample_id"] for s in samples if s["split"] == "test"]
        test = [test[i] for i in np.random.default_rng([self.ctx.config.seed, 6]).permutation(len(test))]
        gendered = [i for i in test if self.gender[i] in ("female", "male")][: self.settings.n_lens]
        return sorted(gendered + [i for i in test if self.gender[i] == "neutral"][: self.settings.n_lens // 2])

    def read(self, lang: str) -> Rows:
        """Rows of lens.parquet: every recorded layer and, where that is not among them, the model's last."""
        self._open()
        last, layers = self.vlm.n_layers - 1, self.ctx.config.activations.layers
        rows = []
        for position in POSITIONS:
            at, key = self.places[position, lang], {"position": position, "lang": lang}
            compared = self._compared(position, lang, at)
            for layer in layers:
                resid = self.resid[layer][np.searchsorted(self.rows, [p.row for p in at])]
                rows.append({**key, "layer": layer, "recorded": True, **self._row(compared, at, resid)})
            if last not in layers and self.settings.last_layer:
                resid = self._last(at, last)
                rows.append({**key, "layer": last, "recorded": False, **self._row(compared, at, resid)})
        return rows

    def _compared(self, position: str, lang: str, at: list[Place]) -> _Compared:
        """Behind the first characters of a word its own pair of spellings; at the prompt, where no word has been begun,
        the words that the vocabulary holds whole."""
        seed, written = [self.ctx.config.seed, 3], self._written(lang)
        said = [row for row in self.contrasts.values() if row["lang"] == lang]
        if position == "word":
            contrasts = [Contrast(*(self.contrasts[p.caption][name] for name in Contrast._fields)) for p in at]
            ends = word_ends(self.vlm)
            others = [random_contrasts(contrasts, written, [*seed, n]) for n in range(N_RANDOM if contrasts else 0)]
            controls = [LogOdds(other, ends) for other in others]
            found = coverage(said, sum(c % len(LANGUAGES) == LANGUAGES.index(lang) for c in self.captions))
            return _Compared(LogOdds(contrasts, ends), controls, pair_numbers(contrasts), found.share, found.why)
        sets = self._whole_words(lang)
        share = sets.covers([row["word"] for row in said])
        why = "" if share >= MIN_COVERAGE else "no caption names a woman or a man"
        if share < MIN_COVERAGE:
            whole = f"the model's vocabulary holds {share:.0%} of the captions' first gendered words whole"
            why = f"{whole}; {MIN_COVERAGE:.0%} are needed where no word has been begun"
        return _Compared(sets, random_sets(sets, written, seed), np.zeros(len(at), np.int64), share, why)

    def _whole_words(self, lang: str) -> WordSets:
        return word_sets(self.vlm, lang, getattr(self.ctx.config.words, f"lexicon_{lang}"))

    def _row(self, compared: _Compared, at: list[Place], resid: torch.Tensor) -> dict[str, Any]:
        images, lens = (
            [p.caption // len(LANGUAGES) for p in at],
            LogitLens(self.vlm, self.settings, self.ctx.config.seed),
        )
        scores = lens.read(resid, [p.said for p in at], compared.score, compared.controls, compared.pair)
        row = lens.summarise(scores, [self.gender[i] for i in images], images, compared.why)
        return row | {"covered": compared.share}

    def shown(self, lang: str) -> Rows:
        """Rows of caption_lens.parquet in one language: every layer of the model on a few captions, token by token."""
        if not self.shown_images:
            return []
        self._open()
        captions = [c for c in (caption_row(i, lang) for i in self.shown_images) if len(self.captions.get(c, ()))]
        contrasts = {c: self._contrast(c) for c in captions}
        sets: WordSets | None = self._whole_words(lang)
        words = [row["word"] for row in self.contrasts.values() if row["lang"] == lang]
        if sets is not None and not sets.covers(words) >= MIN_COVERAGE:  # NaN where no caption names a gender
            sets = None
        lens = CaptionLens(
            self.vlm, word_ends(self.vlm), sets, self._others(lang), list(contrasts.values()), self._maps()
        )
        patched = set(self.shown_images[: self.settings.n_patches_shown])
        rows: Rows = []
        for caption, tokens, resid, patches in self._passes(captions, patched):
            image, contrast = caption // len(LANGUAGES), contrasts[caption]
            gender = self._spelled(caption) if contrast is not None else ""
            rows += lens.rows(ShownCaption(image, lang, tokens, contrast, gender, resid, patches))
        return rows

    def _maps(self) -> dict[int, tuned.Affine]:
        """Maps of the layers alone; {} where none were fitted."""
        return {n: one for n, one in tuned.read(self.maps).items() if n >= 0} if self.maps.exists() else {}

    def fit(self) -> None:
        """The tuned lens of every layer but the last, of the current token alone, and the prior, on training captions
        in all languages; an empty file where there are too few."""
        self._open()
        vlm, last = self.vlm, self.vlm.n_layers - 1
        captions = [c for i in self.fitted_on for c in self._captions_of(i) if len(self.captions.get(c, ()))]
        n_tokens = sum(len(self.captions[c]) + 1 for c in captions)
        size, maps = max(1, FIT_BYTES // (4 * vlm.d_model * max(n_tokens, 1)) - 2), {}
        images = np.zeros(0, np.int64)
        for start in range(0, last, size) if len(self.fitted_on) >= tuned.HELD else ():
            group = [*range(start, min(start + size, last))]
            states: dict[int, list[torch.Tensor]] = {n: [] for n in (*group, last, tuned.TOKEN)}
            seen: list[int] = []
            for caption, tokens, resid, _ in self._passes(captions, set(), (*group, last)):
                for n in (*group, last):
                    states[n].append(resid[n])
                states[tuned.TOKEN].append(self._embedded(caption, tokens))
                seen += [caption // len(LANGUAGES)] * len(tokens)
            x, images = {n: torch.cat(parts) for n, parts in states.items()}, np.array(seen)
            with torch.no_grad():
                target = vlm.final_norm(x[last].to(vlm.device, vlm.dtype)).float().cpu()
            maps |= {n: tuned.fit(x[n], target, images) for n in (*group, *([tuned.TOKEN] if not start else []))}
            maps[tuned.PRIOR] = tuned.Affine(torch.zeros(len(target.T), len(target.T)), target.mean(0))
        tuned.write(self.maps, maps)

    def quality(self, lang: str) -> Rows:
        """Rows of lens_fit.parquet: each lens held against the model's own output on held-out captions."""
        self._open()
        maps = tuned.read(self.maps)
        mine = [c for c in (caption_row(i, lang) for i in self.held_out) if self._contrast(c) is not None]
        mine = [c for c in mine if self.gender[c // len(LANGUAGES)] in ("female", "male")][:N_OTHERS]
        states: dict[int, list[torch.Tensor]] = {n: [] for n in (*range(self.vlm.n_layers), tuned.TOKEN)}
        images: list[int] = []
        decides: list[int] = []
        contrasts = []
        for caption, tokens, resid, _ in self._passes(mine, set()):
            contrast, image = self._contrast(caption), caption // len(LANGUAGES)
            assert contrast is not None
            rng = np.random.default_rng([self.ctx.config.seed, 8, caption])
            others = [i for i in range(len(tokens)) if i != contrast.slot]
            at = [contrast.slot, *sorted(rng.permutation(others)[:N_QUALITY].tolist())]
            decides.append(len(images))
            contrasts.append(contrast)
            images += [image] * len(at)
            for n, x in resid.items():
                states[n].append(x[at])
            states[tuned.TOKEN].append(self._embedded(caption, tokens)[at])
        if not mine or not maps:
            return []
        genders = [self.gender[images[i]] for i in decides]
        held = tuned.HeldOut(
            {n: torch.cat(x) for n, x in states.items()}, np.array(images), decides, contrasts, genders
        )
        rows = tuned.quality(self.vlm, maps, held, word_ends(self.vlm), self.settings.min_images)
        return [{"lang": lang, **row} for row in rows]

    def _captions_of(self, image: int) -> list[int]:
        return [caption_row(image, lang) for lang in self.ctx.config.samples.languages]

    def _embedded(self, caption: int, tokens: Sequence[int]) -> torch.Tensor:
        """Embeddings (n_tokens, d_model) of the tokens that stand where each of these is chosen."""
        prompt = self.vlm.prompt_ids(self.ctx.config.prompts[LANGUAGES[caption % len(LANGUAGES)]])
        ids = torch.tensor([prompt[-1], *tokens[:-1]], device=self.vlm.device)
        with torch.no_grad():
            return self.vlm.model.get_input_embeddings()(ids).float().cpu()

    def _contrast(self, caption: int) -> Contrast | None:
        row = self.contrasts.get(caption)
        return Contrast(*(row[name] for name in Contrast._fields)) if row and row["female"] is not None else None

    def _spelled(self, caption: int) -> str:
        """The gender of the spelling that is written: a generic masculine is spelled as a man's."""
        return "female" if self.contrasts[caption]["gender"] == "female" else "male"

    def _others(self, lang: str) -> Others:
        """Where held-out captions say a gender, at every layer: what a spelling is compared with."""
        mine = [c for c in (caption_row(i, lang) for i in self.held_out) if self._contrast(c) is not None][:N_OTHERS]
        contrasts = {c: one for c in mine if (one := self._contrast(c)) is not None}
        kept: dict[int, list[torch.Tensor]] = {layer: [] for layer in range(self.vlm.n_layers)}
        genders = []
        for caption, _, resid, _ in self._passes(mine, set()):
            genders.append(self._spelled(caption))
            for layer, x in resid.items():
                kept[layer].append(x[contrasts[caption].slot])
        found = {layer: torch.stack(x) for layer, x in kept.items() if x}
        return Others(list(contrasts.values()), genders, found)

    def _passes(
        self, captions: Sequence[int], patched: set[int], layers: Sequence[int] = ()
    ) -> Iterator[tuple[int, list[int], dict[int, torch.Tensor], dict[int, torch.Tensor]]]:
        """Captions with their tokens (and the end, where it was written), and residuals of the layers (all) where each
        of them was chosen, and at the patches of images that are ``patched``."""
        prompts = {lang: self.vlm.prompt_ids(prompt) for lang, prompt in self.ctx.config.prompts.items()}
        vlm = self.vlm
        layers = layers or range(vlm.n_layers)
        rows = {c: [*prompts[LANGUAGES[c % len(LANGUAGES)]], *self.captions[c]] for c in captions}
        longest = max(map(len, rows.values()), default=1)
        size = min(BATCH, max(1, SHOWN_ELEMENTS // (longest * len(layers) * vlm.d_model)))
        for start in range(0, len(captions), size):
            batch = captions[start : start + size]
            images = [open_image(self.ctx.run, c // len(LANGUAGES)) for c in batch]
            found = vlm.forward([rows[c] for c in batch], vlm.encode_images(images), layers).resid
            for i, c in enumerate(batch):
                tokens, row = list(map(int, self.captions[c])), rows[c]
                n_said = len(tokens) + bool(self.finished[c])
                here = {n: x[i, x.shape[1] - len(row) :].float().cpu() for n, x in found.items()}
                before = len(row) - len(tokens) - 1
                resid = {n: x[before : before + n_said] for n, x in here.items()}
                image = np.flatnonzero(np.array(row[: before + 1]) == vlm.image_token_id)
                at = image[np.array(vlm.patches, int)] if c // len(LANGUAGES) in patched else image[:0]
                patches = {n: x[at] for n, x in here.items()} if len(at) else {}
                yield c, [*tokens, self._end(resid[layers[-1]][-1])][:n_said], resid, patches

    def _end(self, resid: torch.Tensor) -> int:
        """Of the tokens that may end a caption, the one that was likeliest at its end."""
        ends = list(self.vlm.eos_ids)
        return ends[int(self.vlm.logits(resid[None])[0, ends].argmax())]

    def model(self) -> Any:
        """The captioner, loaded once."""
        if self.vlm is None:
            from core.vlm import load_captioner

            self.vlm = load_captioner(self.ctx.run, self.ctx.config.model, self.ctx.device)
        return self.vlm

    def _open(self) -> None:
        if self.opened:
            return
        self.model()
        self.opened = True
        self.tokens: TokenIndex = read_token_index(self.ctx.run)
        captions = self.ctx.run.table("captions", ["sample_id", "lang", "token_ids", "finished"])
        self.finished = {caption_row(r["sample_id"], r["lang"]): r["finished"] for r in captions.to_pylist()}
        self.captions = {caption_row(r["sample_id"], r["lang"]): r["token_ids"] for r in captions.to_pylist()}
        said = self.ctx.run.table("contrasts").to_pylist()
        self.contrasts = {caption_row(r["sample_id"], r["lang"]): r for r in said}
        self._read_activations()

    def _places(self, position: str, lang: str) -> list[Place]:
        slots = {c: 0 for c, ids in self.captions.items() if len(ids)}
        if position == "word":
            slots = {c: row["slot"] for c, row in self.contrasts.items() if row["female"] is not None}
        mine = {c: slots[c] for c in (caption_row(i, lang) for i in self.held_out) if c in slots}
        return places(self.tokens, self.captions, mine, self.vlm.eos_ids[0])

    def _read_activations(self) -> None:
        """Every place of every language, read once a layer: where nothing is stored, that is one pass for a group."""
        layers, languages = self.ctx.config.activations.layers, self.ctx.config.samples.languages
        self.places = {(p, lang): self._places(p, lang) for p in POSITIONS for lang in languages}
        self.rows = np.unique(np.array([p.row for at in self.places.values() for p in at], np.int64))
        activations = Activations.of(self.ctx, lambda: self.vlm, layers)
        self.resid = {layer: activations.reader(layer).read(self.rows) for layer in layers}

    def _written(self, lang: str) -> np.ndarray:
        """The tokens that captions of the language are made of, without special ones."""
        number = LANGUAGES.index(lang)
        ids = {i for c, caption in self.captions.items() if c % len(LANGUAGES) == number for i in caption}
        return np.array(sorted(ids - self.vlm.special_ids - {self.vlm.image_token_id}), np.int64)

    def _last(self, at: list[Place], layer: int) -> torch.Tensor:
        """resid_post of a layer that is not in the store, at the same places: the captions are run again."""
        found = []
        prompts = {lang: self.vlm.prompt_ids(prompt) for lang, prompt in self.ctx.config.prompts.items()}
        for start in range(0, len(at), BATCH):
            batch = at[start : start + BATCH]
            rows = [[*prompts[LANGUAGES[p.caption % len(LANGUAGES)]], *self.captions[p.caption]] for p in batch]
            images = [open_image(self.ctx.run, p.caption // len(LANGUAGES)) for p in batch]
            resid = self.vlm.forward(rows, self.vlm.encode_images(images), [layer]).resid[layer]
            for i, place in enumerate(batch):
                back = len(rows[i]) - int(self.tokens.position[place.row])  # rows are padded on the left
                found.append(resid[i, -back].float().cpu())
        return torch.stack(found) if found else torch.zeros(0, self.vlm.d_model)

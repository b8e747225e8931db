"""The one door of the app to a live model: loaded once per run, used by one visitor at a time.

Hooks act on the model that all visitors share, so a generation holds the model from its first step to its last.
A browser that asks for something else leaves the generator, whose `finally` stops the model and frees it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.errors import UserError
from core.runs import Run, manifest_version
from pages.kit.asked import LANGUAGES, NEUTRAL_PROMPTS, Asked, Knob, Step, Strip
from pages.kit.line import Line

if TYPE_CHECKING:
    from pages.kit.subject import Subject

KEPT_IMAGES = 64  # image features and unsteered captions kept in memory
Job = tuple[str, str]  # row, language


class Live:
    """A run's model and its sparse autoencoders, with the captions that it writes on its own."""

    def __init__(self, run: Run):
        from core.vlm import load_captioner

        self.run, self.config = run, run.config()
        model = self.config.model
        self.vlm = load_captioner(run, model, model.device)
        self.line = Line()
        self._saes: dict[int, Any] = {}
        self._means: dict[int, dict[str, Any]] = {}
        self._sets: dict[str, Any] = {}
        self._images: OrderedDict[str, Any] = OrderedDict()
        self._before: OrderedDict[tuple[str, int | None], Step] = OrderedDict()

    @property
    def languages(self) -> tuple[str, ...]:
        """In which the run's captions are, and so those that are written here."""
        return self.config.samples.languages

    @contextmanager
    def turn(self, waiting: Callable[[int, float], None]) -> Iterator[None]:
        """Hold the model; `waiting(place, seconds)` is called again and again until it is free, and may raise."""
        with self.line.turn(waiting):
            yield

    def captions(
        self, subject: Subject, asked: Asked, stop: threading.Event | None = None
    ) -> Generator[Step, None, None]:
        """Write all captions of an image together, a step a token; call it only within `turn`.

        Rows that are not known yet (the unsteered ones) and the asked ones run as one batch. Closing the generator
        stops the model.
        """
        stop = stop or threading.Event()
        known = self._before.get((subject.key, asked.draw))
        rows = ([] if known else ["before"]) + asked.rows
        start = known or Step({})
        if not rows:
            yield replace(start, finished=True)
            return
        jobs = [(row, lang) for row in rows for lang in self.languages]
        try:
            with closing(self._stream(subject, jobs, asked, start, stop)) as steps:
                for step in steps:
                    yield step
                    if step.finished and "before" in rows:
                        own = {("before", lang) for lang in self.languages}
                        kept = Step({k: step.texts[k] for k in own}, strips={k: step.strips[k] for k in own})
                        self._keep(self._before, (subject.key, asked.draw), kept)
        finally:
            stop.set()

    def _stream(
        self, subject: Subject, jobs: list[Job], asked: Asked, start: Step, stop: threading.Event
    ) -> Generator[Step, None, None]:
        from core.steering import EditRecord
        from core.steering.writing import write
        from core.vlm.sampling import uniforms

        vlm, n_new = self.vlm, self.config.caption.max_new_tokens
        rows = [self._prompt(*job) for job in jobs]
        features = self._features(subject).expand(len(rows), -1, -1)
        record, numbers = EditRecord(), None
        if asked.draw is not None:  # as it was and as steered are drawn with the same numbers
            numbers = uniforms([(asked.draw, LANGUAGES.index(lang)) for _, lang in jobs], n_new)
        hooks = self._hooks(subject, jobs, asked, record)
        words, step = [self._words(lang) for _, lang in jobs], start
        for written in write(vlm, rows, features, n_new, hooks, words, stop, numbers):
            texts = {job: vlm.decode(one.ids) for job, one in zip(jobs, written, strict=True)}
            strips = {
                job: Strip(tuple(vlm.token_strings(one.ids)), tuple(one.female), tuple(one.male), tuple(one.ids))
                for job, one in zip(jobs, written, strict=True)
            }
            step = replace(start, texts=start.texts | texts, strips=start.strips | strips)
            yield step
        if not stop.is_set():
            sizes, capped = _achieved(record.positions(), jobs)
            meter, moved = self._meter(subject, step, asked) if asked.pushed else ([], [])
            yield replace(
                step, finished=True, sizes=sizes, capped=capped, meter=meter, moved=moved, scaled=self._scaled(asked)
            )

    def _prompt(self, row: str, lang: str) -> list[int]:
        prompt = getattr(self.config.caption, f"prompt_{lang}")
        return self.vlm.prompt_ids(f"{prompt} {NEUTRAL_PROMPTS[lang]}" if row == "prompt" else prompt)

    # Edits

    def _hooks(self, subject: Subject, jobs: list[Job], asked: Asked, record: Any = None) -> dict[int, Any]:
        """Hooks of one list of edits for each job, on record where one is given."""
        from core.steering import edit_hooks

        scaled = self._scaled(asked)
        edits = {
            "after": [self._edit(k, asked.mode) for k in asked.pushed],
            "control": [self._edit(k, asked.mode, scaled.get(k.layer, 1.0)) for k in asked.control],
        }
        per_row = [
            self._along_means(subject, lang, asked) if row == "means" else edits.get(row, []) for row, lang in jobs
        ]
        layers = {edit.layer for row in per_row for edit in row}
        directions = {(n, f"means-{lang}"): d for n in layers for lang, d in self.means(n).items()}
        saes = {n: self._sae(n)[0] for n in layers}
        return edit_hooks(per_row, saes, {}, record=record, directions=directions)

    def _added(self, knobs: Sequence[Knob], layer: int) -> Any:
        """What is added to a layer's residual (d_model,), before any cap."""
        W_dec = self._sae(layer)[0].W_dec.detach().float()
        zero = W_dec.new_zeros(W_dec.shape[1])
        return sum((k.push * W_dec[k.feature] for k in knobs if k.layer == layer), start=zero)

    def _scaled(self, asked: Asked) -> dict[int, float]:
        """By layer the factor that makes what the random features add as long as what is added; {} where not added."""
        if asked.mode != "add":
            return {}
        layers = sorted({k.layer for k in asked.control})
        sizes = {n: [float(self._added(k, n).norm()) for k in (asked.pushed, asked.control)] for n in layers}
        return {n: pushed / control for n, (pushed, control) in sizes.items() if control > 0}

    def _edit(self, knob: Knob, mode: str, factor: float = 1.0) -> Any:
        """A knob as an edit: in raw units, which its own p99.9 has been multiplied into; scale counts from 1."""
        from core.steering import Edit

        strength = 1 + knob.strength if mode == "scale" else knob.push * factor
        return Edit(knob.layer, knob.feature, self._sae(knob.layer)[1], mode, strength, "raw")

    def _along_means(self, subject: Subject, lang: str, asked: Asked) -> list[Any]:
        """The same length of change along the difference of means of each layer, to the side to which the edit leans.

        The length of an added vector is known; what the other modes change is measured on the prompt and given as a
        share of the residual.
        """
        from core.steering import Edit, EditRecord

        found, measured = [], None
        for layer in sorted({k.layer for k in asked.pushed}):
            direction = self.means(layer).get(lang)
            if direction is None:
                continue
            sae = self._sae(layer)[0]
            own = [k for k in asked.pushed if k.layer == layer]
            amounts = [k.push if asked.mode == "add" else -1.0 if asked.mode == "ablate" else k.strength for k in own]
            W_dec = sae.W_dec.detach().float()
            delta = W_dec.new_tensor(amounts) @ W_dec[[k.feature for k in own]]
            side = -1.0 if float(delta @ direction.write.to(delta)) < 0 else 1.0
            size, unit = float(delta.norm()), "raw"
            if asked.mode != "add":
                if measured is None:
                    measured = EditRecord()
                    hooks = self._hooks(subject, [("after", lang)], replace(asked, means=False), measured)
                    self.vlm.forward([self._prompt("after", lang)], self._features(subject), edits=hooks)
                size, unit = measured.by_row(layer, 1)[0]["mean_ratio"], "resid"
            found.append(Edit(layer, mode="add", strength=side * size, unit=unit, direction=f"means-{lang}"))
        return found

    def means(self, layer: int) -> dict[str, Any]:
        """The difference of means of a layer by language; {} where the run has not pooled its residuals."""
        from core.steering.meter import mean_directions

        if layer not in self._means:
            self._means[layer] = mean_directions(self.run.dir, layer)
        return self._means[layer]

    # What else was moved

    def _meter(self, subject: Subject, step: Step, asked: Asked) -> tuple[list[dict], list[dict]]:
        from core.steering.meter import Meter, Told

        layers = self.config.activations.layers
        jobs = [job for job in step.strips if job[0] != "prompt"]
        told = [Told(*job, self._prompt(*job), step.strips[job].ids) for job in jobs]
        probes = {(n, lang): d for n in layers for lang, d in self.means(n).items()}
        words = {lang: self._words(lang) for lang in self.languages}
        meter = Meter(self.vlm, {n: self._sae(n)[0] for n in layers}, words, probes)
        features = self._features(subject).expand(len(told), -1, -1)
        rows = meter.read(told, features, self._hooks(subject, jobs, asked))
        return rows, meter.moved([(k.layer, k.feature) for k in asked.pushed])

    # What is loaded once

    def _words(self, lang: str) -> Any:
        from core.gender.logit_words import word_sets
        from core.words.lexicon import lexicon

        if lang not in self._sets:
            path = getattr(self.config.words, f"lexicon_{lang}")
            self._sets[lang] = word_sets(self.vlm, lang, entries=lexicon(lang, path))
        return self._sets[lang]

    def _features(self, subject: Subject) -> Any:
        if subject.key not in self._images:
            self._keep(self._images, subject.key, self.vlm.encode_images([subject.open(self.run)]))
        return self._images[subject.key]

    def _sae(self, layer: int) -> Any:
        from core.sae.files import load_sae, sae_id

        if layer not in self._saes:
            sae = load_sae(self.run.path("saes", f"layer_{layer:02d}")).to(self.vlm.device)
            self._saes[layer] = sae, sae_id(sae)
        return self._saes[layer]

    @staticmethod
    def _keep(store: OrderedDict, key: Any, value: Any) -> None:
        store[key] = value
        while len(store) > KEPT_IMAGES:
            store.popitem(last=False)


def _achieved(positions: Sequence[dict[str, Any]], jobs: list[Job]) -> tuple[dict[str, float], dict[str, float]]:
    """By kind of row: the mean |change| / |residual| over edited positions, and the share of them that were capped."""
    sizes: dict[str, float] = {}
    capped: dict[str, float] = {}
    for name in {row for row, _ in jobs}:
        mine = [place for place in positions if jobs[int(place["row"])][0] == name and place["wanted"] > 0]
        if mine:
            sizes[name] = sum(place["ratio"] for place in mine) / len(mine)
            capped[name] = sum(bool(place["capped"]) for place in mine) / len(mine)
    return sizes, capped


def live(run: Run) -> Live:
    """The live model of a run; UserError where torch or the weights are missing."""
    try:
        return _load(str(run.dir), manifest_version(run))
    except ImportError as error:
        raise UserError(
            "The model cannot run here.",
            f"{error.name or error} is not installed on this machine.",
            "Install it with pip install -r requirements.txt; everything but steering works without it.",
        ) from error


@st.cache_resource(show_spinner="Waking the model …", max_entries=2)
def _load(run_dir: str, version: str) -> Live:
    return Live(Run(run_dir))

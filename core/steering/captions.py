"""Captions of an image as the model writes them, as steered, and with the references that steering is compared with.

References: matched random features and the difference of means, both scaled to the length of the edits, and a question
that asks for neutral words. All captions are written in one batch::

    model = SteeredModel.of_run(run)
    request = model.request({(7, 733): 2.0}, control=0, means=True)
    *_, last = steer(model, image, request)
    last.texts["after", "en"]
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.parquet as pq
from torch import Tensor

from core.config import LANGUAGES
from core.gender.word_mass import GENDERS, WordTrie
from core.run import Run
from core.sae.files import SAEs
from core.steering.apply import edit_hooks, known_sae_id
from core.steering.controls import decoder_norm, matched_controls
from core.steering.edits import Direction, Edit
from core.steering.meter import Meter, Told, mean_directions
from core.steering.record import EditRecord
from core.steering.request import NEUTRAL_PROMPTS, FeatureEdit, Request, Step, Strip, feature_edits
from core.steering.writing import write
from core.vlm.hooks import EditFn
from core.vlm.sampling import uniforms

if TYPE_CHECKING:
    from PIL.Image import Image

    from core.sae.modules import SAE
    from core.vlm.adapter import VLM

Job = tuple[str, str]  # row (of request.ROWS), language
FEATURE_COLUMNS = ["layer", "feature", "alive", "density", "mean", "p999"]


@dataclass(frozen=True, eq=False)
class SteeredModel:
    """A captioner with all that its captions are steered and read with.

    ``saes`` by layer: features of these can be edited, and gender is read at all of them. ``prompts`` by language.
    ``lexicons`` are the word lists by language ("" for the project's own), ``tries`` gives all forms of their words for
    women and men; ``means`` the difference of means of a layer by language ({} where it is not known). ``features`` has
    columns layer, feature, alive, density, mean and p999.
    """

    vlm: VLM
    saes: Mapping[int, SAE]
    prompts: Mapping[str, str]
    max_new_tokens: int
    lexicons: Mapping[str, str]
    tries: Callable[[str], WordTrie]
    means: Callable[[int], Mapping[str, Direction]]
    features: pd.DataFrame

    @classmethod
    def of_run(cls, run: Run, vlm: VLM | None = None, saes: Mapping[int, SAE] | None = None) -> SteeredModel:
        """The captioner and the SAEs of a run, loaded unless they are given; what else is needed is read of the run.

        Raises UserError where the run has no features yet or its model cannot be loaded.
        """
        from core.vlm import load_captioner

        config = run.config()
        captioner = load_captioner(run, config.model, config.model.device) if vlm is None else vlm
        if saes is None:
            saes = SAEs(run.dir, config.activations.layers, str(captioner.device))

        lexicons = {lang: getattr(config.words, f"lexicon_{lang}") for lang in config.prompts}
        return cls(
            captioner,
            saes,
            config.prompts,
            config.caption.max_new_tokens,
            lexicons,
            functools.cache(lambda lang: WordTrie(captioner, lang, lexicons[lang])),
            functools.cache(lambda layer: mean_directions(run.dir, layer)),
            pq.read_table(run.path("features.parquet"), columns=FEATURE_COLUMNS).to_pandas(),
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """In which captions are written."""
        return tuple(self.prompts)

    def request(
        self,
        strengths: Mapping[tuple[int, int], float],
        mode: str = "add",
        control: int | None = None,
        means: bool = False,
        prompt: bool = False,
        draw: int | None = None,
    ) -> Request:
        """The request to edit the features (layer, feature) by so many times their 99.9th percentile of activation.

        ``control`` is the seed of the matched random features; None for none. See Request for the other arguments.
        Raises UserError for a feature that is not there or dead.
        """
        edits = feature_edits(self.features, strengths)
        norms = lambda layer: decoder_norm(self.saes[layer])  # noqa: E731
        controls = () if control is None else matched_controls(self.features, edits, norms, control, mode)
        return Request(edits, controls, mode, means, prompt, draw)

    def prompt_ids(self, row: str, lang: str) -> list[int]:
        """The question that a row of captions answers."""
        prompt = self.prompts[lang]
        return self.vlm.prompt_ids(f"{prompt} {NEUTRAL_PROMPTS[lang]}" if row == "prompt" else prompt)


def steer(
    model: SteeredModel,
    image: Image | Tensor,
    request: Request,
    known: Step | None = None,
    stop: threading.Event | None = None,
) -> Generator[Step, None, None]:
    """Write all captions of an image together, a step a token; the last step is finished and has been read.

    ``image`` is a picture or what ``vlm.encode_images`` makes of one (1, n_tokens, d_model). ``known`` are captions as
    they were ("before") of the same image and draw, which are then not written again. Nothing more is written once
    ``stop`` is set. Memory: one row of the batch for each row and language.
    """
    stop = stop or threading.Event()
    start, rows = known or Step({}), [*([] if known else ["before"]), *request.rows]
    if not rows:
        yield replace(start, finished=True)
        return
    features = image if isinstance(image, Tensor) else model.vlm.encode_images([image])
    jobs = [(row, lang) for row in rows for lang in model.languages]
    edits, numbers = _Edits(model, features, request), None
    if request.draw is not None:  # as it was and as steered are drawn with the same numbers
        numbers = uniforms([(request.draw, LANGUAGES.index(lang)) for _, lang in jobs], model.max_new_tokens)
    record = EditRecord()
    batch = (
        [model.prompt_ids(*job) for job in jobs],
        features.expand(len(jobs), -1, -1),
        model.max_new_tokens,
        edits.hooks(jobs, record),
        [model.tries(lang) for _, lang in jobs],
    )
    step = start
    for written in write(model.vlm, *batch, stop, numbers):
        texts, strips = dict(start.texts), dict(start.strips)
        for job, one in zip(jobs, written, strict=True):
            texts[job] = model.vlm.decode(one.ids)
            pieces = tuple(model.vlm.token_strings(one.ids))
            strips[job] = Strip(pieces, *map(one.of, (*GENDERS, "left_out")), ids=tuple(one.ids))
        step = replace(start, texts=texts, strips=strips)
        yield step
    if not stop.is_set():
        sizes, capped = _achieved(record.positions(), jobs)
        meter, moved = _read(edits, step) if request.edits else ([], [])
        scaled = edits.factors
        yield replace(step, finished=True, sizes=sizes, capped=capped, meter=meter, moved=moved, scaled=scaled)


class _Edits:
    """The edits of a request as hooks for rows of captions of one image, references scaled to equal length."""

    def __init__(self, model: SteeredModel, features: Tensor, request: Request):
        self.model, self.features, self.request = model, features, request
        self.factors = equal_length(model.saes, request)
        self._along: dict[str, list[Edit]] = {}
        self._records: dict[str, EditRecord] = {}

    def hooks(self, jobs: Sequence[Job], record: EditRecord | None = None) -> dict[int, EditFn]:
        """Hooks of one list of edits for each job, on record where one is given."""
        model, request = self.model, self.request
        edits = {
            "after": [self._edit(e) for e in request.edits],
            "control": [self._edit(e, self.factors.get(e.layer, 1.0)) for e in request.control],
        }
        per_row = [self._along_means(lang) if row == "means" else edits.get(row, []) for row, lang in jobs]
        layers = {edit.layer for row in per_row for edit in row}
        directions = {(n, f"means-{lang}"): d for n in layers for lang, d in model.means(n).items()}
        return edit_hooks(per_row, {n: model.saes[n] for n in layers}, {}, record=record, directions=directions)

    def _edit(self, edit: FeatureEdit, factor: float = 1.0) -> Edit:
        """In raw units, which the feature's own p99.9 has been multiplied into; scale counts from 1."""
        strength = 1 + edit.strength if self.request.mode == "scale" else edit.push * factor
        sae_id = known_sae_id(self.model.saes[edit.layer])
        return Edit(edit.layer, edit.feature, sae_id, self.request.mode, strength, "raw")

    def _along_means(self, lang: str) -> list[Edit]:
        """The same length of change along the difference of means of each layer, to the side to which the edits lean.

        The length of an added vector is known; what the other modes change is measured on the prompt and given as a
        share of the residual.
        """
        if lang not in self._along:
            self._along[lang] = [
                edit
                for layer in sorted({e.layer for e in self.request.edits})
                if (edit := self._along_layer(lang, layer)) is not None
            ]
        return self._along[lang]

    def _along_layer(self, lang: str, layer: int) -> Edit | None:
        mode, direction = self.request.mode, self.model.means(layer).get(lang)
        if direction is None:
            return None
        own = [e for e in self.request.edits if e.layer == layer]
        amounts = [e.push if mode == "add" else -1.0 if mode == "ablate" else e.strength for e in own]
        W_dec = self.model.saes[layer].W_dec.detach().float()
        delta = W_dec.new_tensor(amounts) @ W_dec[[e.feature for e in own]]
        side = -1.0 if float(delta @ direction.write.to(delta)) < 0 else 1.0
        size, unit = float(delta.norm()), "raw"
        if mode != "add":
            size, unit = self._measured(lang).by_row(layer, 1)[0]["mean_ratio"], "resid"
        return Edit(layer, mode="add", strength=side * size, unit=unit, direction=f"means-{lang}")

    def _measured(self, lang: str) -> EditRecord:
        """How far the edits move the residuals of the question and the image."""
        if lang not in self._records:
            record = self._records[lang] = EditRecord()
            hooks = self.hooks([("after", lang)], record)
            self.model.vlm.forward([self.model.prompt_ids("after", lang)], self.features, edits=hooks)
        return self._records[lang]


def added(W_dec: Tensor, edits: Sequence[FeatureEdit], layer: int) -> Tensor:
    """What edits of mode add put onto a layer's residual (d_model,), before any cap; ``W_dec`` (d_sae, d_model)."""
    zero = W_dec.new_zeros(W_dec.shape[1])
    return sum((e.push * W_dec[e.feature] for e in edits if e.layer == layer), start=zero)


def equal_length(saes: Mapping[int, SAE], request: Request) -> dict[int, float]:
    """By layer the factor that makes what the controls add as long as what the edits add; {} where not added."""
    if request.mode != "add":
        return {}
    found = {}
    for layer in sorted({e.layer for e in request.control}):
        W_dec = saes[layer].W_dec.detach().float()
        edited, control = (float(added(W_dec, edits, layer).norm()) for edits in (request.edits, request.control))
        if control > 0:
            found[layer] = edited / control
    return found


def _read(edits: _Edits, step: Step) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Gender as it can be read of the finished captions layer by layer, and the features that moved most."""
    model = edits.model
    jobs = [job for job in step.strips if job[0] != "prompt"]
    told = [Told(*job, model.prompt_ids(*job), step.strips[job].ids) for job in jobs]
    probes = {(n, lang): d for n in model.saes for lang, d in model.means(n).items()}
    meter = Meter(model.vlm, model.saes, probes, model.lexicons)
    rows = meter.read(told, edits.features.expand(len(told), -1, -1), edits.hooks(jobs))
    return rows, meter.moved([(e.layer, e.feature) for e in edits.request.edits])


def _achieved(positions: Sequence[dict[str, Any]], jobs: Sequence[Job]) -> tuple[dict[str, float], dict[str, float]]:
    """By kind of row: the mean |change| / |residual| over edited positions, and the share of them that were capped."""
    sizes: dict[str, float] = {}
    capped: dict[str, float] = {}
    for name in {row for row, _ in jobs}:
        mine = [place for place in positions if jobs[int(place["row"])][0] == name and place["wanted"] > 0]
        if mine:
            sizes[name] = sum(place["ratio"] for place in mine) / len(mine)
            capped[name] = sum(bool(place["capped"]) for place in mine) / len(mine)
    return sizes, capped

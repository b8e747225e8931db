"""The one door of the app to a live model: loaded once per run, used by one visitor at a time.

Hooks act on the model that all visitors share, so a generation holds the model's lock from its first step to its last.
A browser that asks for something else leaves the generator, whose `finally` stops the model and frees the lock.
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.errors import UserError
from core.runs import Run, manifest_version

LANGUAGES = ("en", "ar")
KEPT_IMAGES = 64  # image features and unsteered captions kept in memory
WAIT = 0.15  # seconds between two looks at the lock


@dataclass(frozen=True)
class Knob:
    """One feature and how far it is turned, in units of its 99.9th percentile of activation."""

    layer: int
    feature: int
    strength: float
    p999: float

    @property
    def push(self) -> float:
        """The strength in units of activation."""
        return self.strength * self.p999


@dataclass
class Step:
    """The captions after one more token: text by (row, language), rows are "before", "after" and "control"."""

    texts: dict[tuple[str, str], str]
    finished: bool = False
    sizes: dict[str, float] = field(default_factory=dict)  # row -> mean |change| / |residual| at the edited positions
    capped: dict[str, float] = field(default_factory=dict)  # row -> share of the edited positions at which the cap bit


class Live:
    """A run's model and its sparse autoencoders, with the captions that it writes on its own."""

    def __init__(self, run: Run):
        from core.vlm.adapter import load_vlm

        self.run, self.config = run, run.config()
        model = self.config.model
        self.vlm = load_vlm(model.name, model.dtype, model.device, model.revision)
        self.lock = threading.Lock()
        self._saes: dict[int, Any] = {}
        self._images: OrderedDict[int, Any] = OrderedDict()
        self._before: OrderedDict[int, dict[str, str]] = OrderedDict()

    @contextmanager
    def turn(self, waiting: Callable[[float], None]) -> Iterator[None]:
        """Hold the model; `waiting(seconds)` is called again and again until it is free, and may raise to give up."""
        waited = 0.0
        while not self.lock.acquire(timeout=WAIT):
            waited += WAIT
            waiting(waited)
        try:
            yield
        finally:
            self.lock.release()

    def before(self, sample_id: int) -> dict[str, str] | None:
        """The unsteered captions by language, where they have been written already."""
        return self._before.get(sample_id)

    def captions(self, sample_id: int, knobs: Sequence[Knob], control: Sequence[Knob] = (),
                 stop: threading.Event | None = None) -> Generator[Step, None, None]:
        """Write all captions of an image together, a step a token; call it only within `turn`.

        Rows that are not known yet (the unsteered ones) and the steered ones run as one batch; `control` gives two
        rows more. Closing the generator stops the model.
        """
        stop = stop or threading.Event()
        known = self._before.get(sample_id)
        rows = ([] if known else ["before"]) + (["after"] if knobs else []) + (["control"] if control else [])
        texts = {("before", lang): text for lang, text in (known or {}).items()}
        if not rows:
            yield Step(texts, finished=True)
            return
        edits = {"before": (), "after": tuple(knobs), "control": tuple(control)}
        jobs = [(row, lang) for row in rows for lang in LANGUAGES]
        try:
            with closing(self._stream(sample_id, jobs, edits, stop)) as steps:
                for step in steps:
                    yield Step(texts | step.texts, step.finished, step.sizes, step.capped)
                    if step.finished and "before" in rows:
                        self._keep(self._before, sample_id, {lang: step.texts["before", lang] for lang in LANGUAGES})
        finally:
            stop.set()

    def _stream(self, sample_id: int, jobs: list[tuple[str, str]], edits: dict[str, tuple[Knob, ...]],
                stop: threading.Event) -> Generator[Step, None, None]:
        from core.steering import EditRecord, edit_hooks

        vlm, caption = self.vlm, self.config.caption
        prompts = {"en": caption.prompt_en, "ar": caption.prompt_ar}
        rows = [vlm.prompt_ids(prompts[lang]) for _, lang in jobs]
        features = self._features(sample_id).expand(len(rows), -1, -1)
        per_row = [[self._edit(knob) for knob in edits[row]] for row, _ in jobs]
        saes = {edit.layer: self._saes[edit.layer][0] for row in per_row for edit in row}
        record = EditRecord()
        hooks = edit_hooks(per_row, saes, {}, record=record)
        ids: list[list[int]] = [[] for _ in rows]
        texts: dict[tuple[str, str], str] = {}
        for step in vlm.stream(rows, features, caption.max_new_tokens, hooks, stop):
            for row, token in zip(ids, step, strict=True):
                row += [] if token is None else [token]
            texts = {job: vlm.decode(row) for job, row in zip(jobs, ids, strict=True)}
            yield Step(texts)
        if not stop.is_set():
            yield Step(texts, True, *_achieved(record.positions(), jobs))

    def _edit(self, knob: Knob) -> Any:
        """The push as an edit in raw units, which the knob's own p99.9 has been multiplied into."""
        from core.steering import Edit

        return Edit(knob.layer, knob.feature, self._sae(knob.layer)[1], "add", knob.push, "raw")

    def _features(self, sample_id: int) -> Any:
        from core.samples.gather import open_image

        if sample_id not in self._images:
            self._keep(self._images, sample_id, self.vlm.encode_images([open_image(self.run, sample_id)]))
        return self._images[sample_id]

    def _sae(self, layer: int) -> Any:
        from core.sae.files import load_sae, sae_id

        if layer not in self._saes:
            sae = load_sae(self.run.path("saes", f"layer_{layer:02d}")).to(self.vlm.device)
            self._saes[layer] = sae, sae_id(sae)
        return self._saes[layer]

    @staticmethod
    def _keep(store: OrderedDict[int, Any], key: int, value: Any) -> None:
        store[key] = value
        while len(store) > KEPT_IMAGES:
            store.popitem(last=False)


def _achieved(
    positions: list[dict[str, Any]], jobs: list[tuple[str, str]]
) -> tuple[dict[str, float], dict[str, float]]:
    """By kind of row: the mean |change| / |residual| over edited positions, and the share of them that were capped."""
    sizes: dict[str, float] = {}
    capped: dict[str, float] = {}
    for name in {row for row, _ in jobs}:
        mine = [place for place in positions if jobs[int(place["row"])][0] == name]
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
            "The model cannot run here.", f"{error.name or error} is not installed on this machine.",
            "Install it with pip install -r requirements.txt; everything but steering works without it.",
        ) from error


@st.cache_resource(show_spinner="Waking the model …", max_entries=2)
def _load(run_dir: str, version: str) -> Live:
    return Live(Run(run_dir))


def matched_controls(features: pd.DataFrame, knobs: Sequence[Knob], seed: int, n_near: int = 20) -> list[Knob]:
    """For each knob a random living feature of its layer that fires about as often, pushed by the same amount.

    It is drawn from the `n_near` features nearest in log density, the knobs' own left out; `features` has layer,
    feature, alive, density and p999. The same seed gives the same features. A layer without others gives none.
    """
    taken = {(knob.layer, knob.feature) for knob in knobs}
    found = []
    for knob in knobs:
        layer = features[(features["layer"] == knob.layer) & features["alive"] & (features["density"] > 0)]
        own = layer.loc[layer["feature"] == knob.feature, "density"]
        layer = layer[[(knob.layer, int(f)) not in taken for f in layer["feature"]]]
        if own.empty or layer.empty:
            continue
        distance = np.abs(np.log(layer["density"].to_numpy(float)) - np.log(float(own.iloc[0])))
        near = layer.iloc[np.argsort(distance, kind="stable")[:n_near]]
        row = near.iloc[random.Random(f"{seed}:{knob.layer}:{knob.feature}").randrange(len(near))]
        taken.add((knob.layer, int(row["feature"])))
        p999 = float(row["p999"])
        found.append(Knob(knob.layer, int(row["feature"]), knob.push / p999 if p999 else 0.0, p999))
    return found

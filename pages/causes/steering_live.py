"""The one door of the app to a live model: loaded once per run, used by one visitor at a time, in a queue.

Hooks act on the model that all visitors share, so a generation holds the model from its first step to its last.
A browser that asks for something else leaves the generator, which stops the model and frees it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from core.errors import UserError
from core.run import Run, manifest_version
from core.steering.request import FeatureEdit, Request, Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.features.firing import Firing
    from core.picture.asking import Asked
    from core.picture.telling import Told
    from pages.causes.steering_image import SteeredImage

WAIT = 0.15  # seconds between two looks at the queue
N_MEANS = 64  # images over which the mean of a place is taken
KEPT_IMAGES = 64  # image features and unsteered captions kept in memory
KEPT_READINGS, KEPT_BYTES = 16, 2**30  # of pictures that were read, with the residuals of all their tokens


class Queue:
    """A lock that is fair and says who is where; number 1 has the model."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._tickets: list[object] = []

    def __len__(self) -> int:
        """How many have the model or wait for it."""
        with self._moved:
            return len(self._tickets)

    @contextmanager
    def turn(self, waiting: Callable[[int, float], None]) -> Iterator[None]:
        """Hold the model; until it is free ``waiting(place, seconds)`` is called again and again, place 2 being next.

        It may raise to leave the queue, which then closes up.
        """
        ticket, waited = object(), 0.0
        with self._moved:
            self._tickets.append(ticket)
        try:
            while (place := self._look(ticket)) > 1:
                waited += WAIT
                waiting(place, waited)
            yield
        finally:
            with self._moved:
                self._tickets.remove(ticket)
                self._moved.notify_all()

    def _look(self, ticket: object) -> int:
        """The place in the queue, after at most WAIT seconds, at once where it is the first."""
        with self._moved:
            self._moved.wait_for(lambda: self._tickets[0] is ticket, timeout=WAIT)
            return self._tickets.index(ticket) + 1


class Live:
    """A run's model behind a queue, with the images that it has seen and the captions that it writes unsteered."""

    def __init__(self, run: Run):
        from core.steering.captions import SteeredModel

        self.run, self.model, self.queue = run, SteeredModel.of_run(run), Queue()
        self._images: OrderedDict[str, Any] = OrderedDict()
        self._fillings: dict[tuple[int, str], Any] = {}
        self._train: Any = None
        self._before: OrderedDict[tuple[str, int | None], Step] = OrderedDict()
        self._told: OrderedDict[tuple[str, Asked], Told] = OrderedDict()
        self._fires: OrderedDict[tuple[str, Asked, int], dict[str, Firing]] = OrderedDict()

    def captions(self, image: SteeredImage, request: Request) -> Generator[Step, None, None]:
        """Write all captions of an image together, a step a token; call it only in a turn of the queue.

        The unsteered captions are kept, so that another request does not write them again. Closing the generator stops
        the model.
        """
        from core.steering.captions import steer

        known = self._before.get((image.key, request.draw))
        if known and not request.rows:
            yield replace(known, finished=True)
            return
        with closing(steer(self.model, self._features(image), request, known)) as steps:
            for step in steps:
                yield step
                if step.finished and known is None:
                    own = [job for job in step.texts if job[0] == "before"]
                    kept = Step({job: step.texts[job] for job in own}, strips={job: step.strips[job] for job in own})
                    _keep(self._before, (image.key, request.draw), kept)

    @cached_property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of patches over the whole of any picture; None where there is no such map."""
        from core.picture.grid import picture_grid

        return picture_grid(self.model.vlm)

    @cached_property
    def side(self) -> int:
        """Side in pixels of the square that the model is shown of every picture."""
        from core.picture.grid import seen_side

        return seen_side(self.model.vlm)

    def told(self, image: SteeredImage, asked: Asked) -> Told | None:
        """What has been written and read of a picture, where it is still kept."""
        return self._told.get((image.key, asked))

    def tell(self, image: SteeredImage, asked: Asked) -> Generator[Told, None, None]:
        """Write captions of a picture and read them, a step a token; call it only in a turn of the queue.

        UserError for what the model cannot be asked. Closing the generator stops the model.
        """
        from core.picture.telling import tell

        if known := self.told(image, asked):
            yield known
            return
        config, model = self.run.config(), self.model
        given = (self._features(image), model.prompts, asked, model.max_new_tokens)
        for told in tell(model.vlm, *given, config.activations.layers, config.activations.dtype):
            if told.finished:
                _keep(self._told, (image.key, asked), told, KEPT_READINGS)
                while len(self._told) > 1 and sum(one.n_bytes for one in self._told.values()) > KEPT_BYTES:
                    self._told.popitem(last=False)
            yield told

    def fires(
        self, image: SteeredImage, asked: Asked, told: Told, layer: int, waiting: Callable[[int, float], None]
    ) -> dict[str, Firing]:
        """By language what fires on a picture and the captions that were ``told``: kept, or encoded in a turn."""
        from core.features.firing import Firing
        from core.steering.apply import known_sae_id

        key = (image.key, asked, layer)
        if key not in self._fires:
            with self.queue.turn(waiting):
                sae, sample = self.model.saes[layer], -1 if image.sample_id is None else image.sample_id
                found = {
                    lang: Firing.of(
                        one.resid[layer].float().numpy(),
                        one.tokens,
                        sae,
                        layer,
                        sample,
                        lang,
                        named=known_sae_id(sae),
                    )
                    for lang, one in told.readings.items()
                }
            _keep(self._fires, key, found)
        return self._fires[key]

    def hidden(
        self, sample_id: int, areas: Sequence[tuple[int, ...]], layer: int, filling: str
    ) -> dict[str, list[tuple[str, bool]]]:
        """Captions (text, whether it ended) of an image of the run with each of the areas hidden, by language.

        Call it only in a turn of the queue. UserError where nothing can be hidden from the model at the layer (-1:
        where image tokens enter). The mean of a place is over N_MEANS images of the run, read once.
        """
        from core.interventions.hiding import Hidden, check_hiding, hidden_captions, mean_filling, zero_filling
        from core.samples.images import open_image

        vlm, found = self.model.vlm, {}
        check_hiding(vlm, layer)
        features = vlm.encode_images([open_image(self.run, sample_id)])
        for lang, asked in self.model.prompts.items():
            ids = vlm.prompt_ids(asked)
            if filling == "zero":
                fill = zero_filling(vlm, layer)
            else:
                name = (layer, lang if layer >= 0 else "")
                if name not in self._fillings:
                    self._fillings[name] = mean_filling(vlm, self._others(), layer, ids)
                fill = self._fillings[name]
            rows = [Hidden(0, lang, area) for area in areas]
            written = hidden_captions(vlm, {lang: ids}, features, rows, fill, self.model.max_new_tokens, len(rows))
            found[lang] = [(vlm.decode(own), ended) for own, ended in written]
        return found

    def _others(self) -> Any:
        """Features of the first N_MEANS training images of the run."""
        from core.samples.images import open_image

        if self._train is None:
            samples = self.run.table("samples", ["sample_id", "split"]).to_pylist()
            ids = [row["sample_id"] for row in samples if row["split"] == "train"][:N_MEANS]
            self._train = self.model.vlm.encode_images([open_image(self.run, i) for i in ids])
        return self._train

    def _features(self, image: SteeredImage) -> Any:
        if image.key not in self._images:
            _keep(self._images, image.key, self.model.vlm.encode_images([image.open(self.run)]))
        return self._images[image.key]


def _keep(store: OrderedDict, key: Any, value: Any, most: int = KEPT_IMAGES) -> None:
    store[key] = value
    while len(store) > most:
        store.popitem(last=False)


def live(run: Run) -> Live:
    """The live model of a run; UserError where torch or the weights are missing."""
    with _torch_needed():
        return _load(str(run.dir), manifest_version(run))


def controls(
    run: Run, features: pd.DataFrame, edits: Sequence[FeatureEdit], seed: int, mode: str
) -> tuple[FeatureEdit, ...]:
    """A matched control for each edit; ``features`` are the rows of the edits' layers in features.parquet."""
    with _torch_needed():
        from core.steering.controls import matched_controls

        norms = lambda layer: _decoder_norm(str(run.dir), manifest_version(run), layer)  # noqa: E731
        return matched_controls(features, edits, norms, seed, mode)


@contextmanager
def _torch_needed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UserError(
            "The model cannot run here.",
            f"{error.name or error} is not installed on this machine.",
            "Install it with pip install -r requirements.txt; everything but steering works without it.",
        ) from error


@st.cache_resource(show_spinner="Waking the model …", max_entries=2)
def _load(run_dir: str, version: str) -> Live:
    return Live(Run(run_dir))


@st.cache_data(show_spinner=False, max_entries=64)
def _decoder_norm(run_dir: str, version: str, layer: int) -> NDArray:
    from core.sae.files import load_sae
    from core.steering.controls import decoder_norm

    return decoder_norm(load_sae(Run(run_dir).path("saes", f"layer_{layer:02d}")))

"""Writes the captions of jobs: of the empty image with features turned up, and of test images at each dose."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from core.config import Config
from core.gender.sets import edits_key
from core.gender.word_mass import GENDERS, WordTrie
from core.run import Run
from core.run.schema.steering import DOSES
from core.sae.files import SAEs
from core.samples.images import open_image
from core.steering.apply import edit_hooks
from core.steering.edits import Edit
from core.steering.explain import TEXTS
from core.steering.jobs import Job, Tables
from core.steering.writing import write
from core.vlm.hooks import EditFn
from core.words import caption_gender, find

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

GREY, SIDE = 128, 224  # the empty image
DECIMALS = 4  # of probabilities


class JobWriter:
    """The model with its dictionaries, loaded when they are first needed; ``load`` gives the model."""

    def __init__(self, run: Run, config: Config, device: str, tables: Tables, load: Callable[[], VLM]):
        self.run, self.config, self.device, self.tables = run, config, device, tables
        self.saes = SAEs(run.dir, config.activations.layers, device)
        self._load, self._kept = load, {}

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @property
    def vlm(self) -> VLM:
        return self._once("vlm", self._load)

    def _hooks(self, jobs: Sequence[Job]) -> dict[int, EditFn]:
        """The edits of each job: those of its ``features``, pushed by ``strength``."""
        saes = {n: self.saes[n] for n in sorted({job["layer"] for job in jobs} - {-1})}
        edits = [
            [
                Edit(job["layer"], f, self.tables.sae_id[job["layer"]], "add", job["strength"])
                for f in job.get("features", [job.get("feature", -1)])
                if f >= 0
            ]
            for job in jobs
        ]
        return edit_hooks(edits, saes, self.tables.p999)

    def _prompt(self, lang: str) -> list[int]:
        return self.vlm.prompt_ids(getattr(self.config.caption, f"prompt_{lang}"))

    def texts(self, jobs: Sequence[Job]) -> pa.Table:
        """Captions of the empty image."""
        vlm, prompt = self.vlm, self._prompt(jobs[0]["lang"])
        one = self._once("empty", lambda: vlm.encode_images([Image.new("RGB", (SIDE, SIDE), (GREY,) * 3)]))
        same, hooks = [0] * len(jobs), self._hooks(jobs)
        prefix = vlm.prefix([prompt], one, min(hooks)).take(same) if hooks else None
        n = self.config.caption.max_new_tokens
        captions, finished = vlm.generate([prompt] * len(jobs), one[same], n, hooks, prefix)
        rows = []
        for job, ids, end in zip(jobs, captions, finished, strict=True):
            rows.append(
                {
                    **{name: job[name] for name in ("layer", "feature", "lang", "strength")},
                    "text": vlm.decode(ids),
                    "finished": end,
                }
            )
        return pa.Table.from_pylist(rows, schema=TEXTS)

    def doses(self, jobs: Sequence[Job]) -> pa.Table:
        """Captions of test images, with the probability of gendered words at every token."""
        ids = sorted({job["sample_id"] for job in jobs})
        images = dict(zip(ids, self.vlm.encode_images([open_image(self.run, i) for i in ids]), strict=True))
        features = torch.stack([images[job["sample_id"]] for job in jobs])
        lang = jobs[0]["lang"]
        path = getattr(self.config.words, f"lexicon_{lang}")
        trie = self._once(lang, lambda: WordTrie(self.vlm, lang, path))
        prompts, n = [self._prompt(lang)] * len(jobs), self.config.caption.max_new_tokens
        steps = write(self.vlm, prompts, features, n, self._hooks(jobs), [trie] * len(jobs))
        rows = []
        for job, told in zip(jobs, deque(steps, maxlen=1).pop(), strict=True):
            text = self.vlm.decode(told.ids)
            rows.append(
                {
                    "sample_id": job["sample_id"],
                    "lang": lang,
                    "layer": job["layer"] if job["features"] else None,
                    "edits": edits_key((job["layer"], f, job["strength"]) for f in job["features"]),
                    "sae_id": self.tables.sae_id.get(job["layer"]),
                    "gender": job["gender"],
                    "strength": job["strength"],
                    "text": text,
                    "finished": told.finished,
                    "named": caption_gender(find(text, lang, path), self.config.words.generic_masculine),
                    "pieces": self.vlm.token_strings(told.ids),
                    **{f"p_{of}": np.round(told.of(of), DECIMALS) for of in (*GENDERS, "left_out")},
                }
            )
        return DOSES.of_rows(rows)

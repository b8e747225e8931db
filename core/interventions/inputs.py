"""What the interventions of a run are made with: settings, readers, images, feature sets, directions, and the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from PIL import Image

from core.config import Config
from core.errors import TooLittleData
from core.interventions import directions, images, sets, targets
from core.interventions.designs import (
    LEACE,
    MEANS,
    NEUTRAL_PROMPT,
    OTHER_PROMPT,
    RANDOM,
    Arm,
    Design,
    Settings,
    arms_of,
)
from core.interventions.outcomes import readers
from core.interventions.writing import CaptionWriter
from core.run import Run, atomic_path
from core.samples.images import open_image
from core.samples.sources import knowledge
from core.steering.controls import Candidates, decoder_norm

ROWS = 4  # batches of captions that go through a model together


class Inputs:
    """Everything of a finished run that the interventions read; the model is loaded with it."""

    def __init__(self, run: Run, config: Config, device: str, log: logging.Logger):
        self.run, self.whole, self.config, self.device, self.log = run, config, config.interventions, device, log
        self.samples = run.table("samples").to_pandas()
        genders = run.table("genders", ["sample_id", "gender"]).to_pandas()
        self.gender = dict(zip(genders["sample_id"].astype(int), genders["gender"], strict=True))
        columns = ["layer", "feature", "density", "mean", "p999", "alive"]
        self.features = run.table("features", columns).to_pandas()
        columns = ["layer", "feature", "lang", "view", "auc_train", "difference_train"]
        columns += ["mean_female_train", "mean_male_train"]
        columns += [f"rank_{ranking}" for ranking in self.config.rankings]
        self.ranking_table = run.table("gender_features", columns).to_pandas()
        self._labelled: dict[int, dict[tuple[str, str], directions.Labelled]] = {}
        self.settings = self._settings()
        self.readers = readers(run, config)
        self.development, self.confirming = self._images()
        self.writer = self._caption_writer()

    def _settings(self) -> Settings:
        c, trained = self.config, self.whole.activations.layers
        layers = tuple(c.layers) or tuple(trained)
        alive = {layer: self.column(layer, "alive").astype(bool) for layer in layers}
        k = sets.largest_k((*c.k, c.headline), alive)
        if not k:
            raise TooLittleData(
                "There are too few live features to change any and to match them with others.",
                "At most a third of a layer's live features are changed together.",
                "Train larger SAEs, or ask for a smaller interventions.k.",
            )
        if dropped := sorted({*c.k, c.headline} - set(k)):
            self.log.warning("k = %s is left out: there are not three times as many live features.", dropped)
        wanted = tuple(d for d in c.directions if d != LEACE or directions.has_leace())
        if LEACE in c.directions and LEACE not in wanted:
            self.log.warning("LEACE is left out: the optional package concept-erasure is not installed.")
        last = self._n_layers() - 1
        return Settings(
            layers,
            tuple(k),
            c.headline if c.headline in k else k[-1],
            tuple(c.modes),
            tuple(c.rankings),
            tuple(sorted(c.strengths)),
            c.n_controls,
            min(c.n_few, c.n_controls),
            wanted,
            last if last in layers else -1,
            self.whole.samples.languages,
            c.n_dictionaries,
            tuple(c.pair),
        )

    def _n_layers(self) -> int:
        from core.vlm import load_captioner

        model = self.whole.model
        self.vlm = load_captioner(self.run, model, self.device)
        return self.vlm.n_layers

    def column(self, layer: int, name: str) -> np.ndarray:
        """A column of features.parquet (d_sae,)."""
        mine = self.features[self.features["layer"] == layer].sort_values("feature")
        return mine[name].to_numpy()

    def _images(self) -> tuple[list[images.Subject], list[images.Subject]]:
        """Development and confirming images; fresh ones are written into the run."""
        c, seed, source = self.config, self.whole.seed, knowledge(self.whole.samples)
        development, confirming = images.held_out(
            self.samples, self.gender, c.n_development, c.n_images, seed, source.makes_images
        )
        if source.makes_images:
            confirming = images.fresh_images(source, self.samples, c.n_images, seed)
            for subject in confirming:
                path = self.run.path(fresh_file(subject))
                if subject.draw is not None and not path.exists():
                    with atomic_path(path) as temporary:
                        subject.draw().save(temporary)
        if not development or not confirming:
            n = int((self.samples["split"] == "test").sum())
            raise TooLittleData(
                "There are too few held-out images to intervene on.",
                f"The run has {n}; 4 are needed, of which one is to choose on.",
                "Use more images, or a larger samples.test_share.",
            )
        return development, confirming

    def open(self, subject: images.Subject) -> Image.Image:
        """An image, RGB, loaded."""
        if subject.draw is None:
            return open_image(self.run, subject.sample_id)
        with Image.open(self.run.path(fresh_file(subject))) as image:
            return image.convert("RGB")

    def _caption_writer(self) -> CaptionWriter:
        from core.sae.files import load_sae

        settings, caption, device = self.settings, self.whole.caption, self.device
        alive = {layer: self.column(layer, "alive").astype(bool) for layer in settings.layers}
        self.feature_sets = sets.target_sets(
            self.ranking_table, settings.layers, settings.languages, settings.rankings, settings.k[-1], alive
        )
        saes = {n: load_sae(self.run.path("saes", f"layer_{n:02d}"), device) for n in settings.layers}
        p999 = {(int(r.layer), int(r.feature)): float(r.p999) for r in self.features.itertuples()}
        texts = {(lang, ""): asked for lang, asked in self.whole.prompts.items()}
        for name, kind in (("neutral", NEUTRAL_PROMPT), ("other", OTHER_PROMPT)):
            texts |= {(lang, kind): getattr(self.config, f"{name}_{lang}") for lang in settings.languages}
        prompts = {key: self.vlm.prompt_ids(text) for key, text in texts.items()}
        writer = CaptionWriter(
            self.vlm,
            saes,
            p999,
            self.feature_sets.sets,
            {},
            prompts,
            self._neutral(),
            self.vlm.encode_images([]),
            caption.max_new_tokens,
            ROWS * caption.batch_size,
        )
        writer.directions = {}
        for layer in settings.layers:
            writer.directions |= directions.vectors_of(Arm(MEANS, layer=layer), self.data(layer), self.whole.seed)
        return writer

    def _neutral(self) -> dict[tuple[int, str, str, int], float]:
        """(layer, view, lang, feature) -> the middle of its mean activations over women's and men's training images."""
        if "neutralise" not in self.settings.modes:
            return {}
        mine = self.ranking_table[self.ranking_table["layer"].isin(self.settings.layers)]
        middle = (mine["mean_female_train"].astype(float) + mine["mean_male_train"].astype(float)) / 2
        keys = zip(mine["layer"].astype(int), mine["view"], mine["lang"], mine["feature"].astype(int), strict=True)
        return {key: value for key, value in zip(keys, middle.tolist(), strict=True) if np.isfinite(value)}

    def data(self, layer: int) -> dict[tuple[str, str], directions.Labelled]:
        """Residuals of the training captions at one layer, by view and language."""
        from core.features.pooled import Pooled

        if layer not in self._labelled:
            pooled = Pooled(self.run.dir, layer)
            ids = self.samples.sort_values("sample_id")
            gender = np.array([self.gender[int(i)] for i in ids["sample_id"]])
            is_train = (ids["split"] == "train").to_numpy()
            self._labelled[layer] = {
                (view, lang): directions.labelled(pooled, view, lang, gender, is_train)
                for view in directions.PLACES
                for lang in self.settings.languages
            }
            if not all(data.enough for data in self._labelled[layer].values()):
                raise TooLittleData(
                    "There are too few training images of women and men for the directions.",
                    f"{directions.MIN_IMAGES} of each are needed.",
                    "Use more samples.",
                )
        return self._labelled[layer]

    def separation(self) -> dict[int, float]:
        """How well each layer's target sets tell women from men on training images."""
        return targets.separations(self.feature_sets.targets, self.settings.rankings[0])

    def prepare(self, questions: Sequence[Design]) -> None:
        """Control sets and directions of the arms that were chosen."""
        own = [part for q in questions for a in q.controls if a.sets and a.dictionary < 0 for part in a.parts]
        wanted = {(a.layer, a.ranking, a.uniform) for a in own}
        for layer, ranking, uniform in sorted(wanted):
            there = Candidates.of_layer(self.features, layer, decoder_norm(self.writer.saes[layer]))
            n = self.settings.n_few if uniform else self.settings.n_controls
            self.feature_sets.add_controls(layer, ranking, there, n, self.whole.seed, uniform)
        known = {}
        for arm in arms_of(questions):
            key = (arm.method, arm.layer, arm.draw)
            if arm.method in (*directions.MAKERS, RANDOM) and key not in known:
                known[key] = directions.vectors_of(arm, self.data(arm.layer), self.whole.seed)
                self.writer.directions |= known[key]


def fresh_file(subject: images.Subject) -> str:
    """Where a fresh image lies in the run."""
    return f"intervention_images/{subject.image:06d}.png"

"""What a notebook asks of a run: its tables as frames, the SAE of a layer, codes, a steered caption, a figure.

Tables and figures need no torch; it is imported by ``load_sae``, ``load_model``, ``encode`` and ``steer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from core import figures
from core import run as runs
from core.config import LANGUAGES, Config
from core.errors import UserError
from core.run import Run
from core.run.reader import Catalog

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image
    from scipy.sparse import csr_array
    from torch import Tensor

    from core.features.pooled import Pooled
    from core.sae.modules import SAE
    from core.vlm.adapter import VLM

BACKENDS = {"plotly": "core.figures.screen", "paper": "core.figures.paper"}


class OpenRun(Catalog):
    """A run and its tables. Every query of the catalogue is a method that gives a frame: ``features(layer=5)``,
    ``gender_features(findings_only=True)``, ``probes(measure="auc")``, ``lens()``, ``emergence()``; ``tables()`` names
    all tables there are, and ``frame("captions", lang="ar")`` is any of them, or its rows with those values."""

    def __init__(self, run: Run):
        super().__init__(run.dir)
        self.run = run

    def __repr__(self) -> str:
        return f"OpenRun({self.name!r}, {len(self.tables())} tables, layers {self.layers()})"

    @property
    def name(self) -> str:
        return self.run.name

    @cached_property
    def config(self) -> Config:
        """The settings that the run was made with."""
        return self.run.config()

    def image(self, sample_id: int) -> Image:
        """The image of a sample, RGB; UserError where there is none."""
        from core.samples.images import open_image

        return open_image(self.run, sample_id)

    def residuals(self, layer: int, view: str = "before", lang: str = "en") -> Float[NDArray, "n_samples d_model"]:
        """Mean resid_post of each sample's caption over the positions of a view, by sample_id; NaN where it has none.

        ``view`` is image, prompt (its last token), before (up to the first word for a woman or a man) or caption.
        UserError where the stage pool has not run for this layer, or for another view or language.
        """
        return self._pooled(layer, view, lang).resid(view)[LANGUAGES.index(lang) :: len(LANGUAGES)]

    def codes(self, layer: int, view: str = "before", lang: str = "en") -> csr_array:
        """Mean activation of each feature over the same positions, (n_samples, d_sae) sparse; errors as residuals."""
        return self._pooled(layer, view, lang).codes(view).tocsr()[LANGUAGES.index(lang) :: len(LANGUAGES)]

    def _pooled(self, layer: int, view: str, lang: str) -> Pooled:
        from core.features.pooled import VIEWS, Pooled

        for what, given, known in (("view", view, VIEWS), ("language", lang, LANGUAGES)):
            if given not in known:
                why = "Captions are pooled over views in two languages."
                raise UserError(f"There is no {what} {given!r}.", why, f"Use one of {', '.join(known)}.")
        return Pooled(self.run.dir, layer)


def list_runs(root: Path | None = None) -> list[str]:
    """Names of all runs in the cache folder (CAPTIONSCOPE_CACHE, or ``cache/`` of the project), or in ``root``."""
    return [run.name for run in runs.list_runs(root)]


def open_run(name: str | Path, root: Path | None = None) -> OpenRun:
    """Open the run of that name in the cache folder (CAPTIONSCOPE_CACHE, or ``cache/`` of the project) or in ``root``.

    A path, or a name with a slash, is the run's folder itself. UserError where there is no such run.
    """
    if isinstance(name, Path) or "/" in name:
        folder = Path(name)
        return OpenRun(runs.open_run(folder.name, folder.parent))
    return OpenRun(runs.open_run(name, root))


def load_model(run: OpenRun, device: str = "") -> VLM:
    """The run's captioner, the same weights that every stage read; ``device`` is the run's own unless given.

    UserError where the weights are missing.
    """
    from core.vlm import load_captioner

    return load_captioner(run.run, run.config.model, device or run.config.model.device)


def load_sae(run: OpenRun, layer: int, device: str = "cpu") -> SAE:
    """The sparse autoencoder of a layer: W_enc (d_model, d_sae), W_dec (d_sae, d_model), ``encode``, ``decode``.

    UserError where the run has none of that layer.
    """
    from core.sae.files import load_sae as load

    if layer not in run.layers():
        known = ", ".join(map(str, run.layers())) or "none yet"
        raise UserError(
            f"The run {run.name} has no SAE of layer {layer}.",
            f"It has those of layers {known}.",
            "Choose one of these, or compute the run again with that layer in activations.layers.",
        )
    return load(run.run.path("saes", f"layer_{layer:02d}"), device)


@overload
def encode(sae: SAE, residuals: NDArray) -> NDArray: ...
@overload
def encode(sae: SAE, residuals: Tensor) -> Tensor: ...
def encode(sae: SAE, residuals: NDArray | Tensor) -> NDArray | Tensor:
    """Feature activations (n, d_sae) of residuals (n, d_model), an array of an array and a tensor of a tensor.

    UserError for residuals of another width or that are not finite.
    """
    import torch

    x = torch.as_tensor(residuals).to(sae.W_enc.device)
    sae.check_input(x)
    if not bool(torch.isfinite(x).all()):
        n = int((~torch.isfinite(x)).any(-1).sum())
        raise UserError(
            f"{n} of the residuals are not finite.",
            "A caption that has no position in a view has no residual there (NaN).",
            "Leave these rows out: residuals[np.isfinite(residuals).all(1)].",
        )
    with torch.no_grad():
        found = sae.encode(x)
    return found.cpu().numpy() if isinstance(residuals, np.ndarray) else found


def steer(
    run: OpenRun,
    sample: int | Image,
    features: Mapping[tuple[int, int], float],
    mode: str = "add",
    model: VLM | None = None,
    seed: int = 0,
    draw: int | None = None,
) -> pd.DataFrame:
    """Captions of an image as the model writes them and with features changed, beside those of the references.

    ``sample`` is a sample_id of the run or an image; ``features`` are (layer, feature) -> strength in units of the
    feature's 99.9th percentile of activation; ``mode`` is add, clamp, scale or ablate. References: control,
    as many matched random features (of ``seed``) at equal length; means, the difference of means at equal length;
    prompt, a question for neutral words. ``draw`` None is greedy, a number draws every word by chance, always the same.
    ``model`` is loaded unless given. One row a caption, in each language of the run: row (before, after, control,
    means, prompt), lang, caption, ratio: the mean of |change| / |residual| over edited positions.
    UserError for a feature that is not there or dead, or another mode.
    """
    import pandas as pd

    from core import steering

    if not features:
        raise UserError("There is nothing to steer.", "No feature is given.", "Give {(layer, feature): strength}.")
    steered = steering.SteeredModel.of_run(run.run, model)
    request = steered.request(features, mode, control=seed, means=True, prompt=True, draw=draw)
    picture = run.image(sample) if isinstance(sample, int | np.integer) else sample
    *_, last = steering.steer(steered, picture, request)
    return pd.DataFrame(
        [
            {"row": row, "lang": lang, "caption": text, "ratio": last.sizes.get(row, 0.0)}
            for (row, lang), text in last.texts.items()
        ]
    )


def figure(name: str, *frames: Any, backend: str = "plotly", **options: Any) -> Any:
    """Draw a figure of the app by its name "topic.function", as Plotly (``backend`` plotly) or Matplotlib (paper).

    ``frames`` and ``options`` are those of the function in ``core.figures``. UserError for a name that there is not.
    """
    topic, _, function = name.partition(".")
    if backend not in BACKENDS:
        why = "A figure is drawn for the screen or for print."
        raise UserError(f"There is no backend {backend!r}.", why, f"Use {' or '.join(BACKENDS)}.")
    topics = {module.name for module in iter_modules(figures.__path__)}
    module = import_module(f"core.figures.{topic}") if topic in topics else None
    known = [n for n, f in vars(module).items() if _draws(f)] if module else sorted(topics)
    if module is None or function not in known:
        why = f"{'Functions' if module else 'Topics'} are: {', '.join(known)}."
        raise UserError(f"There is no figure {name!r}.", why, "Name it topic.function, such as layers.transfer_figure.")
    return import_module(BACKENDS[backend]).draw(getattr(module, function)(*frames, **options))


def _draws(value: Any) -> bool:
    """Whether a chart is what it returns."""
    return getattr(value, "__annotations__", {}).get("return") == "Chart"

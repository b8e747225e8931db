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

from core import figures, runs
from core.catalog import Catalog
from core.config import LANGUAGES, Config
from core.errors import UserError
from core.runs import Run

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image
    from scipy.sparse import csr_array
    from torch import Tensor

    from core.features.pooled import Pooled
    from core.sae.modules import SAE
    from core.vlm.adapter import VLM


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
        from core.samples.gather import open_image

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
) -> pd.DataFrame:
    """Captions of an image as the model writes them, with features changed, and with as many matched ones changed.

    ``sample`` is a sample_id of the run or an image; ``features`` are (layer, feature) -> strength in units of the
    feature's 99.9th percentile of activation; ``mode`` is that of Edit (add, scale, clamp, floor, ablate). The control
    changes features of the same layer that fire as often, write as long a row and are as strong on average, by the
    same strength of their own. ``model`` is loaded unless given. One row a caption, in each language of the run: row
    (before, after, control), lang, caption, ratio: the mean of |change| / |residual| over edited positions.
    UserError for a feature, layer or mode that there is not.
    """
    import pandas as pd

    from core.steering import EditRecord, edit_hooks
    from core.steering.writing import write

    if not features:
        raise UserError("There is nothing to steer.", "No feature is given.", "Give {(layer, feature): strength}.")
    changed = {"before": {}, "after": dict(features), "control": _matched(run, features, seed)}
    saes = {layer: load_sae(run, layer) for layer in sorted({layer for layer, _ in features})}
    edits = {row: _edits(chosen, saes, mode) for row, chosen in changed.items()}
    p999 = {key: float(run.feature(*key)["p999"] or 0.0) for chosen in changed.values() for key in chosen}
    jobs = [(row, lang) for row in changed for lang in run.languages]
    vlm = load_model(run) if model is None else model
    record, held = EditRecord(), {layer: sae.to(vlm.device) for layer, sae in saes.items()}
    hooks = edit_hooks([edits[row] for row, _ in jobs], held, p999, record=record)
    picture = vlm.encode_images([run.image(sample) if isinstance(sample, int | np.integer) else sample])
    prompts = [vlm.prompt_ids(run.config.prompts[lang]) for _, lang in jobs]
    pictures = picture.expand(len(jobs), -1, -1)
    *_, written = write(vlm, prompts, pictures, run.config.caption.max_new_tokens, hooks)
    places = record.positions()
    ratios = [[place["ratio"] for place in places if place["row"] == i] for i in range(len(jobs))]
    return pd.DataFrame(
        {
            "row": [row for row, _ in jobs],
            "lang": [lang for _, lang in jobs],
            "caption": [vlm.decode(one.ids) for one in written],
            "ratio": [float(np.mean(found)) if found else 0.0 for found in ratios],
        }
    )


def _edits(chosen: Mapping[tuple[int, int], float], saes: Mapping[int, SAE], mode: str) -> list[Any]:
    from core.sae.files import sae_id
    from core.steering import Edit

    ids = {layer: sae_id(sae) for layer, sae in saes.items()}
    return [Edit(layer, feature, ids[layer], mode, strength) for (layer, feature), strength in chosen.items()]


def _matched(run: OpenRun, features: Mapping[tuple[int, int], float], seed: int) -> dict[tuple[int, int], float]:
    """For each feature another of its layer that fires as often, writes as long a row and is as strong on average."""
    from core.interventions.controls import Candidates, matched_sets

    found = {}
    for layer in sorted({layer for layer, _ in features}):
        own = [feature for at, feature in features if at == layer]
        table = run.features(layer, alive=False)
        if missing := sorted(set(own) - set(table["feature"])):
            what, why = (
                f"There is no feature {missing[0]} in layer {layer}.",
                f"The layer has {len(table)}, counted from 0.",
            )
            raise UserError(what, why, "Name one of run.features(layer).")
        norm = load_sae(run, layer).W_dec.detach().norm(dim=1).double().numpy()
        columns = [table[name].to_numpy(float) for name in ("density", "mean")]
        candidates = Candidates(columns[0], norm, columns[1], table["alive"].to_numpy(bool))
        (partners,) = matched_sets(own, candidates, 1, [seed, layer]).features
        found |= {(layer, int(b)): features[layer, a] for a, b in zip(own, partners, strict=True)}
    return found


def figure(name: str, *frames: Any, backend: str = "plotly", **options: Any) -> Any:
    """Draw a figure of the app by its name "topic.function", as Plotly (``backend`` plotly) or Matplotlib (paper).

    ``frames`` and ``options`` are those of the function in ``core.figures``. UserError for a name that there is not.
    """
    topic, _, function = name.partition(".")
    ending = {"plotly": "", "paper": "_paper"}.get(backend)
    if ending is None:
        why = "A figure is drawn for the screen or for print."
        raise UserError(f"There is no backend {backend!r}.", why, "Use plotly or paper.")
    topics = {module.name for module in iter_modules(figures.__path__)}
    module = import_module(f"core.figures.{topic}{ending}") if f"{topic}{ending}" in topics else None
    known = [n for n, f in vars(module).items() if _draws(f)] if module else sorted(topics)
    if module is None or function not in known:
        what = f"There is no figure {name!r} for the backend {backend}."
        why = f"{'Functions' if module else 'Topics'} are: {', '.join(known)}."
        raise UserError(what, why, "Name it topic.function, such as layers.transfer_figure.")
    return getattr(module, function)(*frames, **options)


def _draws(value: Any) -> bool:
    """Whether a figure is what it returns."""
    return str(getattr(value, "__annotations__", {}).get("return", "")).endswith("Figure")

"""The check of SAEs by others before anything runs, and what their sizes mean for estimates."""

from __future__ import annotations

from dataclasses import replace

from core.config import Config
from core.sae.pretrained import Facts, check_sources
from precompute.forecast.shape import model_shape


def check(config: Config, fetch: bool = False) -> list[str]:
    """What should be said of the SAEs that sae.source names; UserError for one that does not fit the model."""
    return _checked(config, fetch)[1] if config.sae.source else []


def widest(config: Config) -> int:
    """The largest d_sae of the SAEs that sae.source names, 0 where there is none or its files are not here."""
    return max((facts.d_sae for facts in _checked(config, False)[0]), default=0) if config.sae.source else 0


def as_trained(config: Config, d_sae: int) -> Config:
    """The settings as an estimate reads them: SAEs by others have their own width, and are not trained."""
    if not config.sae.source:
        return config
    return replace(config, train=replace(config.train, d_sae=d_sae or config.train.d_sae, steps=1))


def _checked(config: Config, fetch: bool) -> tuple[list[Facts], list[str]]:
    shape = model_shape(config)
    return check_sources(config, shape.d_model if shape.known else None, fetch)

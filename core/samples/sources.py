"""Where samples come from: the choice among the sources, of which each lists what there is and opens it when asked.

What is fit for use is decided by ``checks``.
"""

from __future__ import annotations

from core.config import Config, SamplesConfig
from core.errors import UserError
from core.samples.coco import coco_source
from core.samples.demo_scenes import demo_digest, demo_scenes
from core.samples.flickr8k import flickr8k_source
from core.samples.folder import folder_source
from core.samples.hf_dataset import dataset_source
from core.samples.listed import Listing, RawSample, Source, gather
from core.samples.visogender import visogender_source

__all__ = ["Listing", "RawSample", "count", "digest", "load", "source_of"]

OPENERS = {
    "folder": folder_source,
    "coco": coco_source,
    "dataset": dataset_source,
    "flickr8k": flickr8k_source,
    "visogender": visogender_source,
}


def load(config: SamplesConfig, seed: int) -> Listing:
    """All samples of the configured source, in a fixed order; UserError where it cannot be read."""
    if config.source == "demo-world":
        return demo_scenes(config, seed)
    return gather(source_of(config), config, seed)


def digest(config: Config | SamplesConfig) -> str:
    """A hash of what a source's samples are made of: bytes of images and tables, no paths and no times."""
    config = config.samples if isinstance(config, Config) else config
    return demo_digest() if config.source == "demo-world" else source_of(config).digest(config.source)


def count(config: SamplesConfig) -> int | None:
    """How many images there will be at most; None where the source is not there (yet)."""
    if config.source == "demo-world":
        return config.n
    try:
        source = source_of(config)
        n = 0 if source.is_far else source.count()
    except UserError:  # what is missing is said by the plan, whose digest meets the same error
        return config.n or None
    return min(n, config.n) if n and config.n else n or config.n or None


def source_of(config: SamplesConfig) -> Source:
    """The source that the settings name, which is no demo world; UserError where it is not there or not whole."""
    return OPENERS[config.source](config)

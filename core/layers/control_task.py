"""Types of images for the probes' control task, shared by several images each (Hewitt and Liang 2019).

In a control task each type gets a label at random, the same in training and in held-out images. Where every image were
a type of its own nothing could be learned by heart, and the task would be at chance whatever the probe can do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from core.features.labels import words_of
from core.words import find

MIN_TYPES = 10  # that half of them can be dealt one label and half the other in many ways
OFTEN = 0.5  # share of images beyond which a word tells nothing of an image


class ImageTypes(NamedTuple):
    """The type of each image ("" for none), and what types were made from: annotations, words or nothing."""

    names: list[str]
    source: str


def image_types(annotated: Sequence[Sequence[str]], words: Sequence[Sequence[str]], least: int) -> ImageTypes:
    """Types from annotations where these make a control task, else from words, else none.

    ``annotated``: the values of each image's chosen attributes, in their order; ``words``: each image's
    ``telling_words``. A type has at least ``least`` images; values that fewer share together lose their last one.
    """
    shortened = [["\0".join(values[:n]) for n in range(len(values), 0, -1)] for values in annotated]
    for source, candidates in (("annotations", shortened), ("words", words)):
        names = shared_names(candidates, least)
        if not too_few(names, least):
            return ImageTypes(names, source)
    return ImageTypes([""] * len(annotated), "")


def too_few(names: Sequence[str], least: int) -> str:
    """Why these types make no control task; "" where they do."""
    counts = Counter(name for name in names if name)
    n_types = sum(n >= least for n in counts.values())
    n_typed = sum(n for n in counts.values() if n >= least)
    if n_types < MIN_TYPES:
        return f"{n_types} types of images with {least} images each; {MIN_TYPES} are needed"
    if 2 * n_typed < len(names):
        return f"{n_typed} of {len(names)} images are of such a type; half of them are needed"
    return ""


def shared_names(candidates: Sequence[Sequence[str]], least: int) -> list[str]:
    """For each image the rarest of its names that at least ``least`` images are then called by; "" where none is.

    Names are decided from the rarest on (ties by the alphabet): one that too few images would be called by is given up,
    and its images wait for their next, which is on more images.
    """
    having: dict[str, list[int]] = {}
    for image, names in enumerate(candidates):
        for name in set(names):
            having.setdefault(name, []).append(image)
    given = [""] * len(candidates)
    for name in sorted(having, key=lambda name: (len(having[name]), name)):
        images = [image for image in having[name] if not given[image]]
        if len(images) >= least:
            for image in images:
                given[image] = name
    return given


def telling_words(texts: Sequence[Sequence[str]], lang: str, least: int) -> list[list[str]]:
    """Of each image's captions (people's, not the model's) the words that tell it from others.

    Left out are words on fewer than ``least`` images or on more than half of them, and all that may name a person.
    """
    said = [{word for text in captions for word in words_of(text)} for captions in texts]
    n = Counter(word for words in said for word in words)
    fit = {word for word, k in n.items() if least <= k <= OFTEN * len(said) and not find(word, lang)}
    return [sorted(words & fit) for words in said]

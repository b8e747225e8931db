"""The demo world: emoji scenes with two-language captions and a planted gender bias.

A scene is one person of some role, drawn as man, woman or neutral person, beside one object on a plain
background. Captions come from a small grammar with correct English and Arabic agreement. On a neutral image the
gender of a caption is drawn from ``p(male | role, language)``, written by hand into ``roles.tsv``: it is planted,
so that an analysis can be checked against it, and it is no statistic of any society.

Some roles are *generic*: Arabic captions of their neutral images draw no gender. They name the role in the masculine,
as Arabic does where nobody's gender is meant, and say neither man nor he: the masculine is unmarked there.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import random
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from core.config import PROJECT_ROOT
from core.samples.areas import Areas

DATA_DIR = PROJECT_ROOT / "data" / "demo-world"
CANVAS, PERSON, OBJECT = 96, 62, 32  # pixels
GENDERS = ("male", "female", "neutral")  # of a person on an image
UNMARKED = "unmarked"  # what a caption in the generic masculine says of a person's gender
LANGUAGES = ("en", "ar")
N_TONES = 6
N_TEMPLATES = 5
P_NEUTRAL_EN = 0.1  # share of English captions of neutral images that say person / they / their
HELD_OUT_SHARE = 0.1  # share of role x object pairs that the captioner never sees
PROMPTS = {
    "en": ("Describe the image.", "Describe this picture in English.", "What is in the image?"),
    "ar": ("صف الصورة.", "صف هذه الصورة بالعربية.", "ماذا في الصورة؟"),
}


@dataclass(frozen=True)
class Role:
    """One row of ``roles.tsv``: names in both languages and the planted p(male) on neutral images.

    ``p_male_ar`` is None for a generic role, whose Arabic captions of neutral images draw no gender.
    """

    key: str
    en: str
    ar_male: str
    ar_female: str
    p_male_en: float
    p_male_ar: float | None
    styles: tuple[str, ...]

    @property
    def generic(self) -> bool:
        return self.p_male_ar is None

    def name(self, lang: str, gender: str) -> str:
        if lang == "en":
            return self.en
        return self.ar_female if gender == "female" else self.ar_male


@dataclass(frozen=True)
class Thing:
    """An object or a background: its key, its names, and for a background its colour."""

    key: str
    en: str
    ar: str
    rgb: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Scene:
    """Everything that is true of one image; roles, objects and backgrounds are row numbers of the tables."""

    role: int
    gender: str
    tone: int
    style: str
    object: int
    background: int
    person_left: bool
    jitter: tuple[int, int, int, int]


@dataclass(frozen=True)
class Reading:
    """What a caption says, as far as it can be read; None where it says nothing or contradicts itself.

    ``gender`` is one of ``GENDERS`` or ``UNMARKED``.
    """

    role: int | None
    gender: str | None
    object: int | None
    background: int | None


def _rows(name: str) -> list[dict[str, str]]:
    with open(DATA_DIR / name, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f, delimiter="\t"))


def _colour(text: str) -> tuple[int, int, int]:
    red, green, blue = map(int, text.split(","))
    return red, green, blue


ROLES = tuple(
    Role(
        r["key"],
        r["en"],
        r["ar_male"],
        r["ar_female"],
        float(r["p_male_en"]),
        float(r["p_male_ar"]) if r["p_male_ar"] else None,
        tuple(r["styles"].split(",")),
    )
    for r in _rows("roles.tsv")
)
OBJECTS = tuple(Thing(r["key"], r["en"], r["ar"]) for r in _rows("objects.tsv"))
BACKGROUNDS = tuple(Thing(r["key"], r["en"], r["ar"], _colour(r["rgb"])) for r in _rows("backgrounds.tsv"))


def is_held_out(role: int, obj: int) -> bool:
    """Whether this role x object pair is kept out of the captioner's training (fixed, by a hash of the names)."""
    digest = hashlib.md5(f"{ROLES[role].key}-{OBJECTS[obj].key}".encode(), usedforsecurity=False).digest()
    return digest[0] < 256 * HELD_OUT_SHARE


def planted_p_male(role: int, lang: str) -> float | None:
    """p(caption is male | neutral image of this role), among captions that name a gender; None where none is drawn."""
    return ROLES[role].p_male_en if lang == "en" else ROLES[role].p_male_ar


def _a(noun: str, capital: bool = False) -> str:
    article = "an" if noun[0] in "aeiou" else "a"
    return f"{article.capitalize() if capital else article} {noun}"


def _pick(gender: str, male: str, female: str, neutral: str = "") -> str:
    return {"male": male, "female": female, "neutral": neutral}[gender]


def caption(scene: Scene, lang: str, gender: str, template: int) -> str:
    """The caption of a scene in one of the five templates of a language.

    The first gendered word stands before the role in templates 0, 2 and 3, and after or in it in 1 and 4. In Arabic
    ``gender`` may be ``UNMARKED``: the masculine with its agreement, but without رجل (man) and هو (he). There is no
    neutral Arabic caption and no unmarked English one: ValueError.
    """
    if gender == ("neutral" if lang == "ar" else UNMARKED):
        raise ValueError(f"no {lang} caption of the demo world is {gender}")
    n, o, b = ROLES[scene.role].name(lang, gender), OBJECTS[scene.object], BACKGROUNDS[scene.background]
    if lang == "en":
        p, thing = lambda *forms: _pick(gender, *forms), _a(o.en)
        return (
            f"A {p('man', 'woman', 'person')} dressed as {_a(n)} next to {thing}. The background is {b.en}.",
            f"{_a(n, True)} and {p('his', 'her', 'their')} {o.en} on a {b.en} background.",
            f"{p('He is', 'She is', 'They are')} {_a(n)} with {thing}. The background is {b.en}.",
            f"On a {b.en} background, {p('a male ' + n, 'a female ' + n, _a(n))} next to {thing}.",
            f"{_a(n, True)} is here. {p('He has', 'She has', 'They have')} {thing} and the background is {b.en}.",
        )[template]
    if gender == UNMARKED and template in (0, 2):
        return f"{n} {'بجانب' if template == 0 else 'مع'} {o.ar}. الخلفية {b.ar}."
    gender = "male" if gender == UNMARKED else gender  # the agreement of the generic masculine
    return (
        f"{_pick(gender, 'رجل', 'امرأة')} بزي {n} بجانب {o.ar}. الخلفية {b.ar}.",
        f"{n} مع {o.ar} على خلفية {b.ar}.",
        f"{_pick(gender, 'هو', 'هي')} {n} مع {o.ar}. الخلفية {b.ar}.",
        f"على خلفية {b.ar} {_pick(gender, 'يقف', 'تقف')} {n} بجانب {o.ar}.",
        f"في الصورة {n} {_pick(gender, 'وبجانبه', 'وبجانبها')} {o.ar}. الخلفية {b.ar}.",
    )[template]


GENDER_WORDS = {
    "en": {
        "male": {"man", "male", "he", "his"},
        "female": {"woman", "female", "she", "her"},
        "neutral": {"person", "they", "their"},
    },
    "ar": {"male": {"رجل", "هو", "يقف", "وبجانبه"}, "female": {"امرأة", "هي", "تقف", "وبجانبها"}, "neutral": set()},
}


def _longest(text: str, names: list[tuple[Any, str]]) -> Any:
    """The key of the longest name that stands in ``text`` as whole words."""
    found = [(len(name), key) for key, name in names if f" {name} " in text]
    return max(found, key=lambda x: x[0])[1] if found else None


MARKED = {"رجل", "هو"}  # words for a man, which the generic masculine does without


def read(text: str, lang: str) -> Reading:
    """Read a caption of this grammar back, by whole words; used to score the captioner against the truth.

    The masculine of a generic role without a word for a man reads as unmarked, also where the image shows a man: such
    captions are spelt alike.
    """
    words = re.findall(r"\w+", text.lower())
    padded, seen = f" {' '.join(words)} ", set(words)
    genders = {g for g, forms in GENDER_WORDS[lang].items() if seen & forms}
    if lang == "en":
        role = _longest(padded, [(i, r.en) for i, r in enumerate(ROLES)])
    else:
        named = _longest(padded, [((i, g), r.name("ar", g)) for i, r in enumerate(ROLES) for g in ("male", "female")])
        role = None
        if named:
            role, gender = named
            genders |= {gender}
            # The names of two roles hold the word for ball: what is left of the caption must name the object.
            padded = padded.replace(f" {ROLES[role].name('ar', gender)} ", " ")
        if genders == {"male"} and role is not None and ROLES[role].generic and not seen & MARKED:
            genders = {UNMARKED}
    if not genders and lang == "en" and role is not None:
        genders = {"neutral"}
    return Reading(
        role,
        genders.pop() if len(genders) == 1 else None,
        _longest(padded, [(i, getattr(o, lang)) for i, o in enumerate(OBJECTS)]),
        _longest(padded, [(i, getattr(b, lang)) for i, b in enumerate(BACKGROUNDS)]),
    )


@functools.cache
def _sprites() -> dict[tuple, np.ndarray]:
    table = pq.read_table(DATA_DIR / "sprites.parquet", columns=["key", "gender", "tone", "style", "png"])
    return {
        (r["key"], r["gender"], r["tone"], r["style"]): np.asarray(Image.open(io.BytesIO(r["png"])))
        for r in table.to_pylist()
    }


def _places(scene: Scene) -> dict[str, tuple[np.ndarray, int, int]]:
    """The RGBA pictures of a scene with the pixel of their upper left corner: the person, and over it the object."""
    jx, jy, ox, oy = scene.jitter
    person_x, object_x = jx // 2, CANVAS - OBJECT - ox // 3
    if not scene.person_left:
        person_x, object_x = CANVAS - PERSON - jx // 2, ox // 3
    return {
        "person": (_sprites()[ROLES[scene.role].key, scene.gender, scene.tone, scene.style], person_x, 12 + 5 * jy),
        "object": (_sprites()[OBJECTS[scene.object].key, "", 0, scene.style], object_x, 4 + 15 * oy),
    }


class DemoWorld:
    """Draws scenes and captions; ``planted=False`` is the control world, in which p(male) is 0.5 wherever it is drawn.

    The generic masculine is grammar and no bias of a role: it is the same in the control world.
    """

    def __init__(self, planted: bool = True):
        self.planted = planted

    def p_male(self, role: int, lang: str) -> float | None:
        """p(male) that a caption's gender is drawn from on a neutral image; None where it is not drawn."""
        planted = planted_p_male(role, lang)
        return planted if self.planted or planted is None else 0.5

    def scene(self, rng: random.Random, held_out: bool = False, **fixed) -> Scene:
        """A random scene: half neutral, a quarter men, a quarter women; ``fixed`` holds fields that are given."""
        while True:
            role = fixed.get("role", rng.randrange(len(ROLES)))
            obj = fixed.get("object", rng.randrange(len(OBJECTS)))
            if is_held_out(role, obj) == held_out:
                break
            if "role" in fixed and "object" in fixed:
                raise ValueError(f"role {role} x object {obj} is {'not ' if held_out else ''}a held-out pair")
        drawn = {
            "role": role,
            "object": obj,
            "gender": rng.choice(("male", "female", "neutral", "neutral")),
            "tone": rng.randrange(N_TONES),
            "style": rng.choice(ROLES[role].styles),
            "background": rng.randrange(len(BACKGROUNDS)),
            "person_left": rng.random() < 0.5,
            "jitter": tuple(rng.randrange(5) for _ in range(4)),
        }
        return Scene(**{**drawn, **fixed})

    def render(self, scene: Scene) -> np.ndarray:
        """The image of a scene, uint8 (96, 96, 3)."""
        image = np.empty((CANVAS, CANVAS, 3), np.float32)
        image[:] = BACKGROUNDS[scene.background].rgb

        for sprite, x, y in _places(scene).values():
            view = image[y : y + sprite.shape[0], x : x + sprite.shape[1]]
            alpha = sprite[..., 3:].astype(np.float32) / 255
            view *= 1 - alpha
            view += alpha * sprite[..., :3]
        return image.round().astype(np.uint8)

    def areas(self, scene: Scene) -> Areas:
        """The boxes around what is drawn of the person and of the object."""
        boxes = {}
        for kind, (sprite, x, y) in _places(scene).items():
            drawn = sprite[..., 3] > 0
            rows, columns = (np.flatnonzero(drawn.any(axis)) for axis in (1, 0))
            edges = x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1
            left, top, right, bottom = map(float, edges)
            boxes[kind] = ((left, top, right, bottom),)
        return Areas(boxes)

    def caption_gender(self, scene: Scene, lang: str, rng: random.Random) -> str:
        """The gender of one caption: the drawn person's; on a neutral image a draw from the planted p, or unmarked."""
        if scene.gender != "neutral":
            return scene.gender
        if lang == "en" and rng.random() < P_NEUTRAL_EN:
            return "neutral"
        p_male = self.p_male(scene.role, lang)
        if p_male is None:
            return UNMARKED
        return "male" if rng.random() < p_male else "female"

    def references(self, scene: Scene, lang: str, rng: random.Random) -> list[str]:
        """Five reference captions, one a template in random order; each its own draw, as annotators differ."""
        order = rng.sample(range(N_TEMPLATES), N_TEMPLATES)
        return [caption(scene, lang, self.caption_gender(scene, lang, rng), t) for t in order]

"""Designs of the interventions: arms (one change of the model, given to every image), and which is judged by which."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from core.config import LANGUAGES, Config
from core.samples.sources import knowledge

FEATURES, MEANS, PROBE, LEACE, RANDOM = (
    "features",
    "difference of means",
    "probe direction",
    "LEACE",
    "random direction",
)
REPLACED = "reconstruction without features"  # the published hook: the SAE's error is not kept
UNTRAINED = "random dictionary"  # features of random directions, chosen as those of the SAE are
NONE, ZERO, RECONSTRUCTION, NO_WAY_OUT = "none", "zero edit", "reconstruction", "no way out"
NEUTRAL_PROMPT, OTHER_PROMPT = "neutral prompt", "other prompt"
DIRECTIONS = (MEANS, PROBE, LEACE)
MODES = ("swap", "ablate", "neutralise")
HEADLINE, LEAST, UNIFORM = "headline", "least separating layer", "uniform controls"
FIXED = (HEADLINE, UNTRAINED)  # notes of questions that were fixed beforehand, each one question: it keeps its p
LESS_UNTRAINED = "trained less random dictionaries"
LESS_LOWER, LESS_UPPER = "both layers less the lower", "both layers less the upper"
LESS_BOTH = ("both layers less either", "either"), ("both layers less the sum", "sum")
TARGET = -1  # the draw of what is asked about; controls count from 0


@dataclass(frozen=True, order=True)
class Arm:
    """One change of the model.

    ``mode`` of features and directions: "ablate" takes the gender out (features off, directions to the midpoint of
    women and men), "swap" puts the other one in (features of the gender that the caption names off, those of the other
    at least at ``strength`` max_act; directions to ``strength`` times the other gender's mean), "neutralise" sets
    features of both genders to the middle of their means over women and men. ``sets`` says whose
    ranking the features come from: "own", that of the caption's language, or "cross", the other's. ``draw`` is TARGET,
    or the number of a control; ``uniform``: that control was drawn uniformly from the live features, not matched.
    ``dictionary``: the number of the random dictionary whose features are changed, -1 for those of the run's SAE.
    ``with_layer``: a higher layer that is changed in the same passes, with a strength and a ranking of its own.
    """

    method: str
    mode: str = ""
    layer: int = -1
    strength: float = 0.0
    sets: str = ""
    ranking: str = ""
    k: int = 0
    draw: int = TARGET
    uniform: bool = False
    dictionary: int = -1
    with_layer: int = -1
    with_strength: float = 0.0
    with_ranking: str = ""

    @property
    def parts(self) -> tuple[Arm, ...]:
        """The changes of one layer each that it is made of, the lower first."""
        if self.with_layer < 0:
            return (self,)
        alone = replace(self, with_layer=-1, with_strength=0.0, with_ranking="")
        above = {"layer": self.with_layer, "strength": self.with_strength, "ranking": self.with_ranking}
        return alone, replace(alone, **above)


@dataclass(frozen=True)
class Design:
    """A question: what does ``target`` do to captions that its controls do not? ``part`` is where it is shown."""

    part: str  # identity, sets, modes, controls, nulls, transfer, layers, two layers, dose, directions, prompts
    target: Arm
    controls: tuple[Arm, ...] = ()
    note: str = ""

    @property
    def headline(self) -> bool:
        """Whether it is the one question of its mode that was fixed on the development images."""
        return self.note == HEADLINE


@dataclass(frozen=True)
class Comparison:
    """What one arm does on the same images less what others do: their ``mean``, as a random draw of all such, or the
    "sum" of what each changes, or what "either" changes (``core.interventions.statistics.paired``)."""

    name: str
    arm: Arm
    others: tuple[Arm, ...]
    how: str = "mean"


@dataclass(frozen=True)
class Settings:
    """What the designs of a run are made from; ``k`` ascending, ``headline`` one of them."""

    layers: tuple[int, ...]
    k: tuple[int, ...]
    headline: int
    modes: tuple[str, ...]
    rankings: tuple[str, ...]
    strengths: tuple[float, ...]
    n_controls: int
    n_few: int  # controls of designs that only draw a band, or that give a ratio
    directions: tuple[str, ...]
    last_layer: int = -1  # of the model, where it has an SAE; nothing reads the image tokens after it
    languages: tuple[str, ...] = LANGUAGES  # in which captions are written
    n_dictionaries: int = 0  # random ones
    pair: tuple[int, ...] = ()  # layers changed together; () = the headline's and the next best separating one


@dataclass(frozen=True)
class Choice:
    """What was chosen on the development images: arms by mode and method, and the best one of each layer."""

    features: Mapping[str, Arm]  # mode -> arm of the headline k
    by_layer: Mapping[int, Arm]  # of the first mode
    direction: Mapping[str, Arm]  # mode -> arm of the difference of means
    least_layer: int  # whose features tell women from men least, on training images: a layer like others, no control
    pair: Arm | None = None  # of the first mode, in two layers at once
    untrained: Arm | None = None  # the headline with a random dictionary's features


def tried_modes(settings: Settings) -> tuple[str, ...]:
    """The modes for which layer, strength and ranking are chosen; neutralise takes another's, to be beside it."""
    others = tuple(mode for mode in settings.modes if mode != "neutralise")
    return others or settings.modes


def grid(settings: Settings) -> list[Arm]:
    """The arms that are tried on the development images, the plainest first."""
    arms = [Arm(NONE)]
    for layer in settings.layers:
        for mode in tried_modes(settings):
            for strength in settings.strengths if mode == "swap" else (1.0,):
                arms += [Arm(FEATURES, mode, layer, strength, "own", r, settings.headline) for r in settings.rankings]
                arms.append(Arm(MEANS, mode, layer, strength))
    return arms


def choose(settings: Settings, scores: Mapping[Arm, float], separation: Mapping[int, float]) -> Choice:
    """The arm of the highest score in every mode; of equals the weakest change, then the lowest layer.

    ``scores`` of the grid's arms; ``separation`` by layer is how well its target set tells women from men on training
    images. ValueError where a mode has no arm.
    """

    def best(arms: Iterable[Arm]) -> Arm:
        return min(
            arms,
            key=lambda a: (
                -round(scores[a], 9),
                a.strength,
                a.layer,
                settings.rankings.index(a.ranking) if a.ranking else 0,
            ),
        )

    def of(method: str, mode: str, layer: int | None = None) -> list[Arm]:
        return [a for a in scores if (a.method, a.mode) == (method, mode) and layer in (None, a.layer)]

    first = settings.modes[0]
    tried = tried_modes(settings)
    features = {mode: best(of(FEATURES, mode)) for mode in tried}
    features = _with_neutral(settings, features)
    others = [layer for layer in settings.layers if layer != features[first].layer]
    like = first if first in tried else tried[0]
    by_layer = {layer: replace(best(of(FEATURES, like, layer)), mode=first) for layer in settings.layers}
    beside = max(others, key=lambda layer: (separation[layer], -layer), default=-1)
    return Choice(
        features,
        by_layer,
        {mode: best(of(MEANS, mode)) for mode in tried},
        min(others, key=lambda layer: (separation[layer], layer), default=-1),
        _both(features[first], by_layer, settings.pair or (features[first].layer, beside)),
    )


def _both(head: Arm, by_layer: Mapping[int, Arm], layers: Sequence[int]) -> Arm | None:
    """The best arms of two layers as one; None where the layers are not two of those that were tried."""
    alone = {**by_layer, head.layer: head}
    if len(set(layers)) < 2 or not set(layers) <= set(alone):
        return None
    below, above = (alone[layer] for layer in sorted(layers))
    return replace(
        below,
        mode=head.mode,
        with_layer=above.layer,
        with_strength=above.strength,
        with_ranking=above.ranking,
    )


def _with_neutral(settings: Settings, features: Mapping[str, Arm]) -> dict[str, Arm]:
    """The chosen arms by mode; neutralise has the features of ablate, or of the first mode where that is not asked."""
    like = features.get("ablate", features.get(settings.modes[0], next(iter(features.values()))))
    return {mode: features.get(mode, replace(like, mode=mode, strength=1.0)) for mode in settings.modes}


def designs(settings: Settings, choice: Choice) -> list[Design]:
    """All questions that are asked of the confirming images."""
    first = settings.modes[0]
    head = choice.features[first]
    found = [
        Design("identity", replace(head, method=ZERO, strength=0.0)),
        Design("identity", Arm(RECONSTRUCTION, layer=head.layer)),
    ]
    if settings.last_layer >= 0:
        found.append(Design("identity", replace(head, method=NO_WAY_OUT, layer=settings.last_layer)))
    for mode in settings.modes:
        arm = choice.features[mode]
        for k in settings.k:
            if mode == first or k == settings.headline:
                note = HEADLINE if k == settings.headline else ""
                found.append(with_controls("sets", replace(arm, k=k), settings.n_controls, note))
            else:
                found.append(with_controls("modes", replace(arm, k=k), settings.n_few))
        if mode == "ablate":  # what published ratios are of
            found.append(with_controls("controls", arm, settings.n_few, UNIFORM))
            hook = replace(arm, method=REPLACED)
            found += [with_controls("controls", hook, settings.n_few, note) for note in ("", UNIFORM)]
    if untrained := dictionaries(settings, choice):
        found.append(with_controls("nulls", untrained[0], settings.n_controls, UNTRAINED))
    if len(settings.languages) > 1:
        found.append(with_controls("transfer", replace(head, sets="cross"), settings.n_controls))
    for layer, arm in choice.by_layer.items():
        if layer != head.layer:
            note = LEAST if layer == choice.least_layer else ""
            found.append(with_controls("layers", arm, settings.n_controls, note))
    if choice.pair:
        found.append(with_controls("two layers", choice.pair, settings.n_controls))
    for strength in settings.strengths:
        if first == "swap" and strength != head.strength:
            found.append(with_controls("dose", replace(head, strength=strength), settings.n_few))
    for mode, arm in choice.direction.items():
        n = settings.n_controls if mode == first else settings.n_few
        controls = with_controls("directions", replace(arm, method=RANDOM), n).controls
        found += [
            Design("directions", replace(arm, method=method), controls)
            for method in settings.directions
            if method != LEACE or mode == "ablate"
        ]
    found.append(Design("prompts", Arm(NEUTRAL_PROMPT), (Arm(OTHER_PROMPT, draw=0),)))
    return found


def tried_untrained(settings: Settings, choice: Choice) -> list[Arm]:
    """The headline's question put to a random dictionary, in every strength: what is tried on development images.

    None where features are set to means over women and men, for at image tokens these are not known of it.
    """
    head = choice.features[settings.modes[0]]
    if not settings.n_dictionaries or head.mode not in ("swap", "ablate"):
        return []
    strengths = settings.strengths if head.mode == "swap" else (1.0,)
    return [replace(head, method=UNTRAINED, dictionary=0, strength=strength) for strength in strengths]


def with_untrained(choice: Choice, tried: Sequence[Arm], scores: Mapping[Arm, float]) -> Choice:
    """The choice with the strength of the random dictionary: that of the highest score, of equals the weakest."""
    best = min(tried, key=lambda arm: (-round(scores[arm], 9), arm.strength), default=None)
    return replace(choice, untrained=best)


def dictionaries(settings: Settings, choice: Choice) -> list[Arm]:
    """The same change with the features of each random dictionary."""
    best, n = choice.untrained, settings.n_dictionaries
    return [] if best is None else [replace(best, dictionary=number) for number in range(n)]


def comparisons(settings: Settings, choice: Choice) -> list[Comparison]:
    """Arms that are held against each other on the same images."""
    head, untrained = choice.features[settings.modes[0]], tuple(dictionaries(settings, choice))
    found = [Comparison(LESS_UNTRAINED, head, untrained)] if untrained else []
    if choice.pair:
        below, above = choice.pair.parts
        found += [Comparison(LESS_LOWER, choice.pair, (below,)), Comparison(LESS_UPPER, choice.pair, (above,))]
        found += [Comparison(name, choice.pair, (below, above), how) for name, how in LESS_BOTH]
    return found


def with_controls(part: str, target: Arm, n: int, note: str = "") -> Design:
    """A design whose controls are the same change of ``n`` other sets, matched or, by its note, drawn uniformly."""
    uniform = note == UNIFORM
    return Design(part, target, tuple(replace(target, draw=draw, uniform=uniform) for draw in range(n)), note)


def arms_of(questions: Sequence[Design], compared: Sequence[Comparison] = ()) -> list[Arm]:
    """Every arm that is needed, each once, the unedited model first, in the order of the questions."""
    asked = [arm for q in questions for arm in (q.target, *q.controls)]
    return list(dict.fromkeys([Arm(NONE), *asked, *(arm for c in compared for arm in (c.arm, *c.others))]))


@functools.cache
def count_arms(settings: Settings) -> tuple[int, int]:
    """How many arms the development and the confirming images will see, before anything is chosen."""
    tried = tried_modes(settings)
    arm = {
        mode: Arm(
            FEATURES, mode, settings.layers[0], settings.strengths[0], "own", settings.rankings[0], settings.headline
        )
        for mode in tried_modes(settings)
    }
    arm = _with_neutral(settings, arm)
    head = arm[settings.modes[0]]
    by_layer = {layer: replace(head, layer=layer) for layer in settings.layers}
    means = {mode: replace(a, method=MEANS, sets="", ranking="", k=0) for mode, a in arm.items() if mode in tried}
    choice = Choice(arm, by_layer, means, -1, _both(head, by_layer, settings.pair or settings.layers[:2]))
    untrained = tried_untrained(settings, choice)
    choice = with_untrained(choice, untrained, dict.fromkeys(untrained, 0.0))
    confirmed = arms_of(designs(settings, choice), comparisons(settings, choice))
    return len(grid(settings)) + len(untrained), len(confirmed)


@dataclass(frozen=True)
class Amount:
    """How much the stage will write."""

    n_arms: int
    n_development: int  # images
    n_confirming: int
    n_captions: int


def planned(config: Config, n_images: int) -> Amount:
    """What a run of ``n_images`` will write, before anything is known of its features; LEACE is counted in."""
    c = config.interventions
    k = tuple(sorted({*c.k, c.headline}))
    settings = Settings(
        tuple(c.layers) or tuple(config.activations.layers),
        k,
        c.headline,
        tuple(c.modes),
        tuple(c.rankings),
        tuple(c.strengths),
        c.n_controls,
        min(c.n_few, c.n_controls),
        tuple(c.directions),
        languages=config.samples.languages,
        n_dictionaries=c.n_dictionaries,
        pair=tuple(c.pair),
    )
    tried, confirmed = count_arms(settings)
    n_test, fresh = round(n_images * config.samples.test_share), knowledge(config.samples).makes_images
    development = min(c.n_development, n_test if fresh else n_test // 4)
    confirming = c.n_images if fresh else max(0, min(c.n_images, n_test - development))
    n_captions = len(settings.languages) * (tried * development + confirmed * confirming)
    return Amount(tried + confirmed, development, confirming, n_captions)

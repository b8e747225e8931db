"""A plain verdict of each design: specific effect, effect that is not specific, damage, nothing, or not enough data."""

from __future__ import annotations

from collections.abc import Mapping

from core.interventions.statistics import MIN_IMAGES, Compared

SPECIFIC, EFFECT, DAMAGE, NOTHING, FEW = (
    "specific effect",
    "effect, not specific",
    "non-specific damage",
    "nothing",
    "not enough data",
)
VERDICTS = (SPECIFIC, EFFECT, DAMAGE, NOTHING, FEW)
ALPHA = 0.05  # of the adjusted p; the p of a design must be able to reach it
SMALL = 0.02  # share of captions below which a change is called nothing


def verdict(found: Mapping[str, Compared], p_adjusted: float) -> tuple[str, str]:
    """(verdict, why) of one design in one language from its figures "clean", "changed" and "damaged".

    Clean: the gender named changes and the rest of the caption is kept. Where more captions are damaged than cleanly
    changed it is damage, whatever else; a specific effect has an interval of target minus controls above 0 and an
    adjusted p within ALPHA; without enough controls to reach that, a clean effect is "not enough data".
    """
    clean, changed, damaged = found["clean"], found["changed"], found["damaged"]
    if clean.n_images < MIN_IMAGES:
        return FEW, f"{clean.n_images} captions named a woman or a man unedited; {MIN_IMAGES} are needed"
    hurt = damaged.effect_low > SMALL and damaged.effect > clean.target
    if hurt:
        return (
            DAMAGE,
            f"{_percent(damaged.target)} of the captions lose what they said, {_percent(clean.target)} "
            "change the gender and keep the rest",
        )
    if clean.effect_low <= SMALL:
        if changed.effect_low > SMALL:
            return DAMAGE, f"{_percent(changed.target)} change the gender, but few of them keep the rest"
        return NOTHING, f"no more than {_percent(max(clean.effect_high, 0.0))} of the captions change the gender"
    if not clean.n_controls:
        return EFFECT, "it has no controls"
    if 1 / (clean.n_controls + 1) > ALPHA:
        least = 1 / (clean.n_controls + 1)
        return FEW, f"with {clean.n_controls} controls p cannot be below {least:.2f}"
    if clean.specific_low > 0 and p_adjusted <= ALPHA:
        return SPECIFIC, f"{_percent(clean.target)} of the captions, {_percent(clean.control)} under matched controls"
    return EFFECT, f"{_percent(clean.target)} of the captions, but {_percent(clean.control)} under matched controls"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"

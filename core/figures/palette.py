"""One meaning, one colour: the palette of the app, of the figures on the screen and of the exported ones.

The categorical colours are Okabe and Ito's (2008), safe for colour-blind readers. Activation is viridis with zero
transparent; differences are PuOr, turned so that Arabic, which is orange everywhere, is its orange end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LANGUAGE = {"en": "#0072B2", "ar": "#D55E00"}
GENDER = {"female": "#CC79A7", "male": "#009E73", "neutral": "#767676"}
STEERED = "#E69F00"
CONTROL = "#9A9A9A"
FONT = "IBM Plex Sans, IBM Plex Sans Arabic, DejaVu Sans, sans-serif"

VIRIDIS = ("#440154", "#482878", "#3E4A89", "#31688E", "#26828E", "#1F9E89", "#35B779", "#6DCD59", "#B4DE2C", "#FDE725")
# ColorBrewer PuOr-9, from purple (English side) to orange (Arabic side).
PUOR = ("#542788", "#8073AC", "#B2ABD2", "#D8DAEB", "#F7F7F7", "#FEE0B6", "#FDB863", "#E08214", "#B35806")


def beside(langs: Iterable[str], step: float) -> dict[str, float]:
    """By language, how far its marks stand off the middle of their row: two stand beside each other, one upon it."""
    there = set(langs)
    known = [lang for lang in LANGUAGE if lang in there]
    return dict(zip(known, (-step, step) if len(known) > 1 else (0.0,), strict=False))


@dataclass(frozen=True)
class Look:
    """The inks of one theme."""

    ink: str
    muted: str
    rule: str
    ground: str
    single: str  # the colour of a figure that has only one series
    languages: dict[str, str]  # the palette's two, lightened where the ground is dark

    def of(self, colour: str) -> str:
        """The hex colour of an ink by its name, "en" and "ar" among them; "clear" is none, hex stays as it is."""
        if colour.startswith("#"):
            return colour
        if colour == "clear":
            return "rgba(0,0,0,0)"
        return self.languages[colour] if colour in self.languages else getattr(self, colour)


LIGHT = Look("#1C1B19", "#5F5B54", "#E3DFD7", "#FFFFFF", "#4A5568", LANGUAGE)
DARK = Look("#EDEAE4", "#A8A39A", "#3A3835", "#171615", "#A9B4C2", {"en": "#4BA3DB", "ar": "#F0803C"})


def look(dark: bool) -> Look:
    """The inks of the dark or of the light theme."""
    return DARK if dark else LIGHT


def mix(colours: Sequence[str], share: float) -> str:
    """The hex colour at `share` (0..1, clipped) of a scale, linear in sRGB between its stops."""
    place = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    low = min(int(place), len(colours) - 2)
    a, b = _rgb(colours[low]), _rgb(colours[low + 1])
    part = place - low
    return "#" + "".join(f"{round(x + (y - x) * part):02X}" for x, y in zip(a, b, strict=True))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two hex colours, 1 to 21 (WCAG 2.1, relative luminance)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    parts = [c / 255 for c in _rgb(colour)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b

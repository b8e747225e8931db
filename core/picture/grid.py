"""Where the patches of a picture of any shape lie: only where the model is shown all of it is there a map."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

SAME = 0.1  # mean |difference| of normalised pixels; what two ways to resize leave is a tenth of it


def picture_grid(vlm: VLM) -> tuple[int, int] | None:
    """Rows and columns of patches that lie evenly over a whole picture; None where there is no such map."""
    return vlm.patch_grid if vlm.patch_grid and sees_whole(vlm) else None


def seen_side(vlm: VLM) -> int:
    """Side in pixels of the square that the model is shown."""
    return vlm.side or math.isqrt(vlm.n_pixels)


def sees_whole(vlm: VLM) -> bool:
    """Whether a wide picture and a tall one, with marks at their ends, look as they do when squeezed to a square.

    A processor that cuts off what is longer, or pads what is shorter, shows something else: the grid would lie wrong.
    """
    side = max(64, seen_side(vlm))
    for size in ((2 * side, side), (side, 2 * side)):
        picture = Image.new("RGB", size, (128, 128, 128))
        picture.paste((255, 255, 255), (0, 0, side // 2, side // 2))
        picture.paste((0, 0, 0), (size[0] - side // 2, size[1] - side // 2, *size))
        square = picture.resize((side, side), Image.Resampling.BICUBIC)
        shown, squeezed = (vlm.image_inputs(vlm.squared([one])) for one in (picture, square))
        for name, pixels in shown.items():
            if pixels.is_floating_point() and (
                pixels.shape != squeezed[name].shape or float((pixels - squeezed[name]).float().abs().mean()) > SAME
            ):
                return False
    return True

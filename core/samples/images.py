"""The images of a run, for whoever shows them to a model."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from core.errors import UserError
from core.run import Run


def image_path(run: Run, sample_id: int) -> Path:
    """Where the image of a sample lies; UserError where there is none."""
    for suffix in (".png", ".jpg"):
        path = run.path("images", f"{sample_id:06d}{suffix}")
        if path.is_file():
            return path
    why = f"Neither a .png nor a .jpg of that number lies in {run.path('images')}."
    raise UserError(f"The run {run.name} has no image {sample_id}.", why, "Compute the stage prepare again.")


def open_image(run: Run, sample_id: int) -> Image.Image:
    """The image of a sample, RGB, loaded."""
    with Image.open(image_path(run, sample_id)) as image:
        return image.convert("RGB")

"""States of an image before the language model begins: the layers of the vision tower, and the projector's output.

Each is averaged over the image's tokens, once an image: no question and no language has come in yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from core.vlm.family import Family

TOWERS = ("vision_tower", "vision_model", "visual")  # what transformers' families call theirs
STACKS = ("layers", "blocks")
PROJECTOR = -1  # in the place of a layer's number
States = dict[int, Float[Tensor, "images width"]]


def tower_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a model's vision tower in their order; [] where it has none that is known."""
    inner = getattr(model, "model", model)
    tower: Any = next((getattr(inner, name) for name in TOWERS if hasattr(inner, name)), None)
    if tower is None:
        return []
    stacks = [m for name, m in tower.named_modules() if name.rpartition(".")[2] in STACKS]
    return [layer for stack in stacks if isinstance(stack, nn.ModuleList) for layer in stack]


def spread(n_layers: int, n_read: int) -> tuple[int, ...]:
    """Numbers of ``n_read`` of a tower's layers, the first and the last among them, evenly between."""
    if n_read < 1 or n_layers < 1:
        return ()
    if n_read == 1:
        return (n_layers - 1,)
    return tuple(sorted({round(i * (n_layers - 1) / (n_read - 1)) for i in range(n_read)}))


@torch.inference_mode()
def vision_states(vlm: Family, images: list[Image], layers: Sequence[int]) -> States:
    """Mean over an image's tokens (n, width) of what each chosen layer of the tower gives, float32 on the CPU.

    Under ``PROJECTOR`` that of the image tokens as they enter the decoder. UserError where a layer's states are not as
    many for each image.
    """
    if not images:
        return {}

    def work(start: int, stop: int) -> States:
        return _joined([_states(vlm, chunk, layers) for chunk in vlm.chunks(images[start:stop])])

    return _joined(vlm.halving("images", work, len(images)))


def _states(vlm: Family, images: list[Image], layers: Sequence[int]) -> States:
    kept: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    modules = vlm.vision_layers
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(modules[layer].register_forward_hook(_keeper(kept[layer])).remove)
        tokens = vlm.image_tokens(vlm.image_features(images))
    found = {layer: _by_image(calls, len(images)) for layer, calls in kept.items()}
    means = {layer: vlm.shown(states).float().mean(1).cpu() for layer, states in found.items()}
    return means | {PROJECTOR: tokens.float().mean(1).cpu()}


def _joined(parts: list[States]) -> States:
    return {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}


def _keeper(kept: list[Tensor]) -> Any:
    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    return keep


def _by_image(calls: list[Tensor], n: int) -> Float[Tensor, "images tokens width"]:
    """States of one or several calls of a layer, which may lay images and tiles end to end, by image."""
    rows = torch.cat([call.reshape(-1, call.shape[-1]) for call in calls])
    if len(rows) % n:
        what, why = (
            "The vision tower's states cannot be read.",
            f"{len(rows)} states are no equal shares of {n} images.",
        )
        raise UserError(what, why, "Set layers.n_vision to 0.")
    return rows.reshape(n, -1, rows.shape[-1])

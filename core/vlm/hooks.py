"""Reading and changing residuals at the output of decoder layers (resid_post) while a VLM runs.

Hooks live exactly as long as their ``with`` block: they are removed after an exception too, so that no edit can leak
into somebody else's run of the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

EditFn = Callable[[Tensor, Tensor], Tensor]
"""(h (batch, positions, d_model), kinds (batch, positions) int8 codes of core.vlm.adapter) -> h of the same shape.

One that knows rows of the batch has ``of_rows(start, stop)``, which gives the function for a part of them, and
``at_rows(rows)``, which gives it for rows by their numbers (n,).
"""


class LastLayerReached(Exception):
    """Raised by a capture hook that was asked to end the pass; nothing above that layer has run."""


@contextmanager
def capture(vlm: VLM, layers: Iterable[int], then_stop: bool = False) -> Iterator[dict[int, Tensor]]:
    """Keep resid_post (batch, positions, d_model) of each chosen layer's last call in the yielded dict.

    With ``then_stop`` the pass ends at the highest chosen layer by LastLayerReached, which the caller catches inside
    the block. Opened after ``editing``, it sees the edited residuals. Raises ValueError for an unknown layer.
    """
    wanted = sorted(set(layers))
    found: dict[int, Tensor] = {}

    def keeper(layer: int) -> Callable[..., None]:
        def keep(_module: nn.Module, _args: Any, output: Tensor | tuple) -> None:
            found[layer] = output[0] if isinstance(output, tuple) else output
            if then_stop and layer == wanted[-1]:
                raise LastLayerReached

        return keep

    with _hooked(vlm, {layer: keeper(layer) for layer in wanted}):
        yield found


@contextmanager
def editing(vlm: VLM, edits: Mapping[int, EditFn]) -> Iterator[None]:
    """Replace resid_post of the given layers by ``fn(h, kinds)`` in every pass inside the block, prefill and decode.

    Raises ValueError for an unknown layer, or when ``fn`` changes shape or dtype.
    """

    def editor(layer: int, fn: EditFn) -> Callable[..., Tensor | tuple]:
        def edit(_module: nn.Module, _args: Any, output: Tensor | tuple) -> Tensor | tuple:
            h = output[0] if isinstance(output, tuple) else output
            if vlm.kinds is None or vlm.kinds.shape != h.shape[:2]:
                raise RuntimeError("Edits work only in passes that go through VLM.forward or VLM.stream.")
            edited = fn(h, vlm.kinds)
            if edited.shape != h.shape or edited.dtype != h.dtype:
                raise ValueError(f"The edit of layer {layer} returned {edited.dtype} {tuple(edited.shape)}.")
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        return edit

    with _hooked(vlm, {layer: editor(layer, fn) for layer, fn in edits.items()}):
        yield


@contextmanager
def _hooked(vlm: VLM, hooks: Mapping[int, Callable[..., Any]]) -> Iterator[None]:
    for layer in hooks:
        if not 0 <= layer < vlm.n_layers:
            raise ValueError(f"The model has layers 0 to {vlm.n_layers - 1}, not {layer}.")
    handles = [vlm.decoder_layers[layer].register_forward_hook(hook) for layer, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

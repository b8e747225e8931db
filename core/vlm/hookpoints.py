"""Named places in a running model, and a cache of what passes there: whole passes and generation, bounded in memory.

Hooks live exactly as long as the cache's ``with`` block, after an exception too. They only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from core.errors import UserError
from core.vlm.attention import observing
from core.vlm.batch import KINDS, PAD
from core.vlm.blocks import Block

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

NAMES = ("resid_pre", "attn_out", "mlp_out", "resid_post", "z", "pattern")
MIB = 1 << 20


class HookPoint(NamedTuple):
    """A place in the model.

    resid_pre and resid_post are the residual stream before and after a layer (d_model,); attn_out and mlp_out what the
    layer's two halves add to it, behind their own norms and gates (d_model,): resid_pre + attn_out + mlp_out =
    resid_post. The next resid_pre is that again, but where a family adds to it in between (Qwen3-VL). z is
    what each head has gathered, before the output matrix (n_heads, d_head); pattern its attention from this position
    (n_heads, n_keys), keys being the columns of the padded batch.
    """

    layer: int
    name: str

    def __str__(self) -> str:
        return f"layers.{self.layer}.{self.name}"


def hook_points(layers: Iterable[int], names: Sequence[str] = NAMES) -> list[HookPoint]:
    """Every name at every layer."""
    return [HookPoint(layer, name) for layer in layers for name in names]


@dataclass
class _Pass:
    """One call of the decoder: which positions are kept, and where they stand."""

    row: Tensor
    column: Tensor  # of the padded batch, counted on while generating
    at: Tensor  # place within this pass's own columns
    kind: Tensor
    values: dict[HookPoint, Tensor] = field(default_factory=dict)


class ActivationCache:
    """Keeps activations at ``points`` while a model runs inside the ``with`` block: one whole pass, or one generation.

    ``kinds`` ("bos", "image", "prompt", "caption", "special") says at which positions, so that image and text are
    held apart; ``last_only`` keeps the last position of each pass. Values are copies in ``dtype`` on ``device``, cut
    off from gradients. All reads are (position, ...), by pass, row of the batch and column; ``row``, ``column``,
    ``kind`` and ``step`` tell them. Raises UserError, before it is full, where more than ``max_bytes`` would be kept.
    """

    def __init__(
        self,
        vlm: VLM,
        points: Iterable[HookPoint],
        kinds: Sequence[str] = (*KINDS, "special"),
        last_only: bool = False,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        max_bytes: int = 1024 * MIB,
    ):
        self.vlm, self.points = vlm, list(dict.fromkeys(HookPoint(*p) for p in points))
        names = (*KINDS, "special")
        unknown = [p.name for p in self.points if p.name not in NAMES] + [k for k in kinds if k not in names]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: places are {', '.join(NAMES)}, kinds {', '.join(names)}.")
        self._codes = torch.tensor(sorted(names.index(kind) for kind in kinds))
        self.last_only, self.dtype, self.device, self.max_bytes = last_only, dtype, torch.device(device), max_bytes
        self._blocks = {p.layer: Block(vlm, p.layer) for p in self.points}
        self._stack = ExitStack()
        self.clear()

    def clear(self) -> None:
        """Forget everything, to be used for another batch."""
        self._passes: list[_Pass] = []
        self._kinds: list[Tensor] = []
        self.n_bytes = 0

    def __enter__(self) -> ActivationCache:
        try:
            self._install()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # Reading

    def __getitem__(self, point: HookPoint | tuple[int, str]) -> Tensor:
        """All kept values of a point (n, ...); KeyError for one that was not asked for or was not reached."""
        return self._joined(HookPoint(*point))

    def select(self, point: HookPoint | tuple[int, str], *kinds: str) -> Tensor:
        """The values (n, ...) at positions of these kinds."""
        return self[point][self.is_kind(*kinds)]

    def is_kind(self, *kinds: str) -> Tensor:
        """Which of the kept positions are of these kinds, (n,) bool."""
        codes = [(*KINDS, "special").index(kind) for kind in kinds]
        return torch.isin(self.kind, torch.tensor(codes))

    @property
    def row(self) -> Tensor:
        return torch.cat([p.row for p in self._passes])

    @property
    def column(self) -> Tensor:
        return torch.cat([p.column for p in self._passes])

    @property
    def kind(self) -> Tensor:
        return torch.cat([p.kind for p in self._passes])

    @property
    def step(self) -> Tensor:
        """0 for the pass over the whole rows, then one a generated token."""
        return torch.cat([torch.full_like(p.row, n) for n, p in enumerate(self._passes)])

    @property
    def kinds(self) -> Tensor:
        """Kind codes (batch, n_columns) of all columns, kept or not: what the keys of a pattern are."""
        return torch.cat(self._kinds, 1)

    def _joined(self, point: HookPoint) -> Tensor:
        parts = [p.values[point] for p in self._passes]
        if not parts:
            raise KeyError(point)
        if point.name != "pattern":
            return torch.cat(parts)
        width = sum(k.shape[1] for k in self._kinds)  # keys that came later were not attended to
        return torch.cat([nn.functional.pad(part, (0, width - part.shape[-1])) for part in parts])

    # Hooks

    def _install(self) -> None:
        first = self.vlm.decoder_layers[0]
        self._last: list[tuple[nn.Module, int]] = []
        self._add(first.register_forward_pre_hook(self._begin))
        observed = {}
        for point in self.points:
            block = self._blocks[point.layer]
            if point.name == "resid_pre":
                self._reads_input(block.module, point)
            elif point.name == "resid_post":
                self._last.append((block.module, self._reads_output(block.module, point)))
            elif point.name == "z":
                self._reads_input(block.part("o"), point, lambda x, b=block: x.unflatten(-1, (b.n_heads, b.d_head)))
            elif point.name == "pattern" and block.looks_outside:
                raise UserError(
                    f"Layer {point.layer} has no attention pattern over the row.",
                    "It is a cross-attention layer: its keys are states of the vision tower, not positions of the row.",
                    "Leave it out; resid_pre, attn_out, mlp_out, resid_post and z are there.",
                )
            elif point.name == "mlp_out" and block.names.mlp_gate:
                self._reads_difference(block, point)
            elif point.name == "pattern":
                observed[block.part("attention")] = self._pattern_keeper(point)
            else:
                half = point.name.removesuffix("_out")
                self._reads_output(block.writer(half), point, block.gate(half))
        self._stack.enter_context(observing(observed))

    def _add(self, handle: Any) -> None:
        self._stack.callback(handle.remove)

    def _reads_input(
        self, module: nn.Module, point: HookPoint, shape: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        def hook(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            x = args[0] if args else kwargs["hidden_states"]
            self._keep(point, shape(x) if shape else x)

        self._add(module.register_forward_pre_hook(hook, with_kwargs=True))

    def _reads_output(self, module: nn.Module, point: HookPoint, gate: Tensor | float = 1.0) -> int:
        def hook(_module: nn.Module, _args: Any, output: Tensor | tuple) -> None:
            x = output[0] if isinstance(output, tuple) else output
            self._keep(point, x if isinstance(gate, float) else x * gate.to(x.device, x.dtype))

        handle = module.register_forward_hook(hook)
        self._add(handle)
        return handle.id

    def _reads_difference(self, block: Block, point: HookPoint) -> None:
        """What a gated MLP adds: the layer's output less what went into the MLP, for some positions are left out."""
        middle: list[Tensor] = []

        def before(_module: nn.Module, args: tuple) -> None:
            middle[:] = [args[0]]

        def after(_module: nn.Module, _args: Any, output: Tensor | tuple) -> None:
            self._keep(point, (output[0] if isinstance(output, tuple) else output) - middle.pop())

        self._add(block.part("mlp_in_norm").register_forward_pre_hook(before))
        self._add(block.module.register_forward_hook(after))

    def _pattern_keeper(self, point: HookPoint) -> Callable[..., None]:
        def keep(_query: Tensor, key: Tensor, pattern_of: Callable[[Tensor], Tensor]) -> None:
            now = self._passes[-1]
            queries, place = now.at.unique(return_inverse=True)
            n_heads = self._blocks[point.layer].n_heads
            self._reserve(point, len(now.at) * n_heads * key.shape[2])
            if not len(queries):
                now.values[point] = torch.zeros(0, n_heads, 0, dtype=self.dtype, device=self.device)
                return
            weights = pattern_of(queries.to(key.device))[now.row.to(key.device), :, place.to(key.device)]
            width = sum(k.shape[1] for k in self._kinds)
            # A sliding window's cache has let go of the first keys.
            weights = nn.functional.pad(weights, (width - weights.shape[-1], 0))
            now.values[point] = weights.detach().to(self.device, self.dtype)

        return keep

    def _begin(self, _module: nn.Module, _args: Any) -> None:
        kinds = self.vlm.kinds
        if kinds is None:
            raise RuntimeError("Activations are kept only in passes that go through VLM.forward or VLM.stream.")
        for module, hook in self._last:  # after the edits of this pass, so that resid_post is what has become of it
            module._forward_hooks.move_to_end(hook)
        kinds = kinds.cpu().long()
        if self._kinds and (kinds.shape[1] > 1 or kinds.shape[0] != self._kinds[0].shape[0]):
            raise RuntimeError("The cache holds another batch. Read it and clear() it first.")
        offset = sum(k.shape[1] for k in self._kinds)
        self._kinds.append(kinds)
        wanted = torch.isin(kinds, self._codes) & (kinds != PAD)
        if self.last_only:
            wanted[:, :-1] = False
        row, at = wanted.nonzero(as_tuple=True)
        self._passes.append(_Pass(row, at + offset, at, kinds[row, at]))

    def _keep(self, point: HookPoint, x: Tensor) -> None:
        now = self._passes[-1]
        self._reserve(point, len(now.row) * x[0, 0].numel())
        # A copy: indexing gives new memory, and what comes after may write into the old.
        now.values[point] = x.detach()[now.row.to(x.device), now.at.to(x.device)].to(self.device, self.dtype)

    def _reserve(self, point: HookPoint, n_numbers: int) -> None:
        self.n_bytes += n_numbers * self.dtype.itemsize
        if self.n_bytes > self.max_bytes:
            raise UserError(
                f"Keeping the activations of {len(self.points)} hook points takes more than "
                f"{self.max_bytes / MIB:,.0f} MiB.",
                f"The bound was reached at {point} with {len(self._passes[-1].row):,} positions in the pass.",
                "Set mechanisms.cache_mib higher, or keep fewer rows at once, hook points or kinds of tokens.",
            )

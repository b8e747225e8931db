"""A cache of what passes at named places of a running model: whole passes and generation, bounded in memory.

Hooks live exactly as long as the cache's ``with`` block, after an exception too. They only read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.errors import UserError
from core.run import atomic_path
from core.vlm.attention import observing
from core.vlm.batch import KINDS, PAD
from core.vlm.blocks import Block
from core.vlm.hook_names import NAMES, OF_MODULES, HookPoint, Place, Places, chosen, hook_points, layer_stack, place

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

__all__ = ["NAMES", "ActivationCache", "HookPoint", "hook_points"]

MIB = 1 << 20
FORMAT = "captionscope activation cache 1"
ALL_KINDS = (*KINDS, "special")
ROWS = ("row", "column", "kind", "step")  # what a file says of every kept position


@dataclass
class _Pass:
    """One call of the decoder: which positions are kept, and where they stand."""

    row: Tensor
    column: Tensor  # of the padded batch, counted on while generating
    at: Tensor  # place within this pass's own columns
    kind: Tensor
    values: dict[Place, Tensor] = field(default_factory=dict)


class ActivationCache:
    """Keeps activations at ``points`` while a model runs inside the ``with`` block: one whole pass, or one generation.

    ``points`` are hook points, names such as "layers.5.resid_post", or patterns such as "layers.*.z"; one or several.
    ``kinds`` ("bos", "image", "prompt", "caption", "special") says at which positions, so that image and text are
    held apart; ``last_only`` keeps the last position of each pass. Values are copies in ``dtype`` on ``device``, cut
    off from gradients. All reads are (position, ...), by pass, row of the batch and column; ``row``, ``column``,
    ``kind`` and ``step`` tell them.

    ``model`` may be any torch module as well: then places are resid_pre and resid_post of its layers, and the names of
    its submodules for what comes out of them; values are whole tensors (batch, ...), call after call.
    Raises UserError for unknown places and kinds and, before it is full, where more than ``max_bytes`` would be kept.
    """

    def __init__(
        self,
        model: VLM | nn.Module,
        points: Places,
        kinds: Sequence[str] = ALL_KINDS,
        last_only: bool = False,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        max_bytes: int = 1024 * MIB,
    ):
        if unknown := [kind for kind in kinds if kind not in ALL_KINDS]:
            what, why = f"There are no positions of kind {unknown[0]!r}.", f"Kinds are {', '.join(ALL_KINDS)}."
            raise UserError(what, why, "Use some of them.")
        self._vlm: VLM | None = None
        self._module: nn.Module | None = None
        self._blocks: dict[int, Block] = {}
        if isinstance(model, nn.Module):
            if last_only or tuple(kinds) != ALL_KINDS:
                raise UserError(
                    "Positions of a plain torch module cannot be told apart.",
                    "Only a captioner says which are its image, its prompt and its caption.",
                    "Leave out kinds and last_only, and choose among the kept values.",
                )
            self._module, self.points = model, _module_places(model, points)
        elif hasattr(model, "decoder_layers"):
            has = f"It has layers 0 to {model.n_layers - 1}; places are {', '.join(NAMES)}."
            self._vlm, self.points = model, chosen(points, hook_points(range(model.n_layers)), has)
            self._blocks = {p.layer: Block(model, p.layer) for p in self.points if isinstance(p, HookPoint)}
        else:
            what, why = f"A {type(model).__name__} is no model.", "Hooks need a captioner or a torch module."
            raise UserError(what, why, "Load one with load_model(run), or give a torch.nn.Module.")
        self._codes = torch.tensor(sorted(ALL_KINDS.index(kind) for kind in kinds))
        self.last_only, self.dtype, self.device, self.max_bytes = last_only, dtype, torch.device(device), max_bytes
        self._stack = ExitStack()
        self.clear()

    def clear(self) -> None:
        """Forget everything, to be used for another batch."""
        self._passes: list[_Pass] = []
        self._kinds: list[Tensor] = []
        self._whole: dict[Place, list[Tensor]] = {}  # of a plain module, call after call
        self.n_bytes = 0

    def __enter__(self) -> ActivationCache:
        if self._vlm is None and self._module is None:
            why, do = "It was read from a file and has no model.", "Make another: ActivationCache(model, points)."
            raise UserError("This cache cannot watch a model.", why, do)
        try:
            self._install() if self._vlm is not None else self._install_on_module()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # Reading

    def __getitem__(self, point: Place | tuple[int, str]) -> Tensor:
        """All kept values of a place (n, ...); UserError for one that was not asked for or was not reached."""
        wanted = place(point)
        if wanted not in self.points:
            why = f"It keeps {', '.join(map(str, self.points))}."
            raise UserError(f"The cache does not keep {wanted}.", why, "Name it when the cache is made.")
        return self._joined(wanted)

    def select(self, point: Place | tuple[int, str], *kinds: str) -> Tensor:
        """The values (n, ...) at positions of these kinds."""
        return self[point][self.is_kind(*kinds)]

    def is_kind(self, *kinds: str) -> Tensor:
        """Which of the kept positions are of these kinds, (n,) bool."""
        return torch.isin(self.kind, torch.tensor([ALL_KINDS.index(kind) for kind in kinds]))

    @property
    def row(self) -> Tensor:
        return torch.cat([p.row for p in self._positions()])

    @property
    def column(self) -> Tensor:
        return torch.cat([p.column for p in self._positions()])

    @property
    def kind(self) -> Tensor:
        return torch.cat([p.kind for p in self._positions()])

    @property
    def step(self) -> Tensor:
        """0 for the pass over the whole rows, then one a generated token."""
        return torch.cat([torch.full_like(p.row, n) for n, p in enumerate(self._positions())])

    @property
    def kinds(self) -> Tensor:
        """Kind codes (batch, n_columns) of all columns, kept or not: what the keys of a pattern are."""
        self._positions()
        return torch.cat(self._kinds, 1)

    def _positions(self) -> list[_Pass]:
        if self._passes:
            return self._passes
        if self._whole or self._module is not None:
            why, do = "A plain torch module does not say what they are.", "Count along the axes of the kept values."
            raise UserError("The cache knows no positions.", why, do)
        raise _nothing_kept("any of its places")

    def _joined(self, point: Place) -> Tensor:
        parts = [p.values[point] for p in self._passes if point in p.values] or self._whole.get(point, [])
        if not parts or (self._passes and len(parts) < len(self._passes)):
            raise _nothing_kept(str(point))
        if isinstance(point, HookPoint) and point.name == "pattern":
            width = sum(k.shape[1] for k in self._kinds)  # keys that came later were not attended to
            return torch.cat([nn.functional.pad(part, (0, width - part.shape[-1])) for part in parts])
        if len({part.shape[1:] for part in parts}) > 1:
            raise UserError(
                f"The calls at {point} differ in shape and cannot be put into one tensor.",
                f"They are {', '.join(str(tuple(part.shape)) for part in parts)}.",
                "Read the cache and clear() it between batches of different length.",
            )
        return torch.cat(parts)

    # Files

    def save(self, path: str | Path) -> None:
        """Write all that is kept to a safetensors file, in one step; ``load`` gives it back without the model."""
        tensors = {f"at {point}": self[point].cpu().contiguous() for point in self.points}
        if self._passes:
            tensors |= {name: getattr(self, name).cpu().contiguous() for name in ROWS} | {
                "kinds": self.kinds.contiguous()
            }
        metadata = {"format": FORMAT, "points": json.dumps([str(point) for point in self.points])}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> ActivationCache:
        """What ``save`` wrote, to be read and not to watch a model; UserError where it is no such file."""
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            do = "Give the path of a file that ActivationCache.save wrote."
            raise UserError(f"The activation cache {path} cannot be read.", str(error), do) from error
        if metadata.get("format") != FORMAT:
            why, do = f"Its format is {metadata.get('format', 'not said')!r}, not {FORMAT!r}.", "Save the cache again."
            raise UserError(f"{path} is no activation cache.", why, do)
        cache = cls.__new__(cls)
        cache._vlm, cache._module, cache._stack, cache._blocks = None, None, ExitStack(), {}
        cache.points = [place(name) for name in json.loads(metadata["points"])]
        cache.clear()
        cache._put_back(tensors)
        values = [tensors[f"at {point}"] for point in cache.points]
        cache.dtype, cache.device, cache.last_only = values[0].dtype, values[0].device, False
        cache.n_bytes = cache.max_bytes = sum(value.nbytes for value in values)
        return cache

    def _put_back(self, tensors: Mapping[str, Tensor]) -> None:
        if "step" not in tensors:
            self._whole = {point: [tensors[f"at {point}"]] for point in self.points}
            return
        self._kinds = [tensors["kinds"]]
        row, column, kind, step = (tensors[name] for name in ROWS)
        for n in range(int(step.max()) + 1 if len(step) else 1):
            own = step == n
            values = {point: tensors[f"at {point}"][own] for point in self.points}
            self._passes.append(_Pass(row[own], column[own], column[own], kind[own], values))

    # Hooks

    @property
    def vlm(self) -> VLM:
        """The captioner that is watched."""
        assert self._vlm is not None
        return self._vlm

    def _install(self) -> None:
        first = self.vlm.decoder_layers[0]
        before, self.vlm.watched = self.vlm.watched, True
        self._stack.callback(setattr, self.vlm, "watched", before)
        self._last: list[tuple[nn.Module, int]] = []
        self._add(first.register_forward_pre_hook(self._begin))
        observed = {}
        for point in cast(list[HookPoint], self.points):
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

    def _install_on_module(self) -> None:
        assert self._module is not None
        layers = layer_stack(self._module)
        for point in self.points:
            if isinstance(point, str):
                self._add(self._module.get_submodule(point).register_forward_hook(self._whole_output(point)))
            elif point.name == "resid_post":
                self._add(layers[point.layer].register_forward_hook(self._whole_output(point)))
            else:
                self._add(layers[point.layer].register_forward_pre_hook(self._whole_input(point), with_kwargs=True))

    def _whole_output(self, point: Place) -> Callable[..., None]:
        return lambda _module, _args, output: self._keep_whole(point, output)

    def _whole_input(self, point: Place) -> Callable[..., None]:
        return lambda _module, args, kwargs: self._keep_whole(point, (*args, *kwargs.values()))

    def _keep_whole(self, point: Place, output: Any) -> None:
        several = output.values() if isinstance(output, Mapping) else output
        parts = several if isinstance(output, Mapping | tuple | list) else [output]
        x = next((part for part in parts if isinstance(part, Tensor)), None)
        if x is None:
            why = f"There passes a {type(output).__name__} without any."
            raise UserError(f"There is no tensor to keep at {point}.", why, "Choose a submodule that gives a tensor.")
        x = torch.atleast_1d(x)
        self._reserve(point, x.numel(), len(x))
        self._whole.setdefault(point, []).append(x.detach().to(self.device, self.dtype, copy=True))

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
            self._keep(point, x * gate.to(x.device, x.dtype) if isinstance(gate, Tensor) else x)

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
            self._reserve(point, len(now.at) * n_heads * key.shape[2], len(now.row))
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
            raise UserError(
                "This pass says nothing of its positions.",
                "The captioner's own torch model was called, past its adapter.",
                "Call the captioner's forward or generate, or watch its torch model: ActivationCache(vlm.model).",
            )
        for module, hook in self._last:  # after the edits of this pass, so that resid_post is what has become of it
            hooks: Any = module._forward_hooks  # an OrderedDict
            hooks.move_to_end(hook)
        kinds = kinds.cpu().long()
        if self._kinds and (kinds.shape[1] > 1 or kinds.shape[0] != self._kinds[0].shape[0]):
            why = "It keeps one whole pass or one generation, so that positions stay those of one batch."
            raise UserError("The cache holds another batch.", why, "Read it and clear() it first.")
        offset = sum(k.shape[1] for k in self._kinds)
        self._kinds.append(kinds)
        wanted = torch.isin(kinds, self._codes) & (kinds != PAD)
        if self.last_only:
            wanted[:, :-1] = False
        row, at = wanted.nonzero(as_tuple=True)
        self._passes.append(_Pass(row, at + offset, at, kinds[row, at]))

    def _keep(self, point: HookPoint, x: Tensor) -> None:
        now = self._passes[-1]
        self._reserve(point, len(now.row) * x[0, 0].numel(), len(now.row))
        # A copy: indexing gives new memory, and what comes after may write into the old.
        now.values[point] = x.detach()[now.row.to(x.device), now.at.to(x.device)].to(self.device, self.dtype)

    def _reserve(self, point: Place, n_numbers: int, n_positions: int) -> None:
        self.n_bytes += n_numbers * self.dtype.itemsize
        if self.n_bytes > self.max_bytes:
            raise UserError(
                f"Keeping the activations of {len(self.points)} hook points takes more than "
                f"{self.max_bytes / MIB:,.0f} MiB.",
                f"The bound was reached at {point} with {n_positions:,} positions in the pass.",
                "Raise max_bytes (mechanisms.cache_mib), or keep fewer rows at once, hook points or kinds of tokens.",
            )


def _module_places(module: nn.Module, points: Places) -> list[Place]:
    """The places of a plain torch module that are asked for."""
    layers = layer_stack(module)
    names: list[Place] = [name for name, _ in module.named_modules() if name]
    stack = (
        f"Its layers are 0 to {len(layers) - 1}, each with resid_pre and resid_post" if layers else "It has no layers"
    )
    has = f"{stack}; any other place is the name of a submodule."
    return chosen(points, [*hook_points(range(len(layers)), OF_MODULES), *names], has)


def _nothing_kept(where: str) -> UserError:
    why = "The model has not run, or only its lower layers."
    return UserError(f"No pass has reached {where}.", why, "Run the model inside the cache's with block.")

"""Names of places in a running model, and which of them a list of names, of patterns with * or of hook points means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, cast

from torch import nn

from core.errors import UserError

NAMES = ("resid_pre", "attn_out", "mlp_out", "resid_post", "z", "pattern")
OF_MODULES = ("resid_pre", "resid_post")  # what a layer of any module has: what goes in and what comes out
POINT = re.compile(r"layers\.(\d+)\.(\w+)")
N_SHOWN = 12  # names in a message


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

    @classmethod
    def parse(cls, text: str) -> HookPoint:
        """The hook point of a text such as "layers.5.resid_post"; UserError for any other text."""
        found = POINT.fullmatch(text)
        if not found or found[2] not in NAMES:
            raise UserError(
                f"{text!r} is no hook point.",
                f"A hook point is layers.NUMBER.PLACE; places are {', '.join(NAMES)}.",
                "Write for example layers.5.resid_post.",
            )
        return cls(int(found[1]), found[2])


Place = HookPoint | str
"""A hook point, or the name of a submodule whose output is meant."""
Places = Place | tuple[int, str] | Iterable[Place | tuple[int, str]]
"""What may be asked for: one place or several, each by hook point, by name or by pattern."""


def hook_points(layers: Iterable[int], names: Sequence[str] = NAMES) -> list[HookPoint]:
    """Every name at every layer."""
    return [HookPoint(layer, name) for layer in layers for name in names]


def place(asked: Place | tuple[int, str]) -> Place:
    """One place as it is kept: "layers.5.resid_post" as its hook point, another text as it is."""
    if isinstance(asked, str):
        found = POINT.fullmatch(asked)
        return HookPoint(int(found[1]), found[2]) if found and found[2] in NAMES else asked
    if not isinstance(asked, tuple) or len(asked) != 2:
        why, do = "A place is a layer and a name.", 'Write "layers.5.resid_post" or HookPoint(5, "resid_post").'
        raise UserError(f"{asked!r} is no place in a model.", why, do)
    return HookPoint(*asked)


def chosen(asked: Places, known: Sequence[Place], has: str) -> list[Place]:
    """The places among ``known`` that are asked for, each once; ``has`` says in an error what the model has.

    UserError for nothing, for a place that is not there and for a pattern that fits none.
    """
    single = isinstance(asked, str) or (isinstance(asked, tuple) and len(asked) == 2 and isinstance(asked[0], int))
    names = {str(p): p for p in known}
    found: dict[Place, None] = {}
    for one in cast(Iterable[Any], [asked] if single or not isinstance(asked, Iterable) else asked):
        wanted = str(place(one))
        some = [wanted] if wanted in names else [name for name in names if fnmatchcase(name, wanted)]
        if not some:
            like = wanted.rpartition(".")[2].strip("*")
            near = [name for name in names if like and like in name] or list(names)
            shown = ", ".join(near[:N_SHOWN]) + (", …" if len(near) > N_SHOWN else "")
            raise UserError(f"There is no place {wanted!r} in this model.", has, f"Choose among: {shown}.")
        found |= dict.fromkeys(names[name] for name in some)
    if not found:
        raise UserError("There is nothing to keep.", "The list of hook points is empty.", "Name one at least.")
    return list(found)


def layer_stack(module: nn.Module) -> Sequence[nn.Module]:
    """The layers of any torch module: those of its text decoder, else its longest list of modules; () without any."""
    decoder: Any = getattr(module, "get_decoder", lambda: None)()
    if isinstance(getattr(decoder, "layers", None), nn.ModuleList):
        return list(decoder.layers)
    lists = [m for m in module.modules() if isinstance(m, nn.ModuleList | nn.Sequential)]
    return list(max(lists, key=len, default=nn.ModuleList()))

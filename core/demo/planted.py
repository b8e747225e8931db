"""Captioners whose mechanism of gender is known, by editing the weights of the demo captioner: nothing is trained.

First gender is taken out of what the decoder is given: the directions in which images of one scene with a woman, a man
and a neutral person differ most are projected out of the projector (the person's role goes with them, the rest of the
scene stays). That is the kind "blind". In the others one number, linear in the image, is put back along one direction
``code`` of the image tokens that no other part can read, since it is projected out of the inputs of all of them. One
head, alone in its layer's attention, looks at all image tokens alike, reads the code and writes it along a direction
that no later part reads either, so that it reaches the words directly:

- "shared" (and "head", which is the same with a layer and a head of one's choice): one head, one direction.
- "disjoint": a head that looks at the image in English alone and its neighbour that does so in Arabic alone, which
  write along two directions at a right angle.

The direction is the one that, added to the last residual with the sign of the gender, gives captions of the right
gender the least cross-entropy; it is found on the frozen decoder. Head and neighbour share their keys and values.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from core.demo.captioner import Packed, pack, token_losses
from core.demo.world import GENDERS, LANGUAGES, N_TEMPLATES, PROMPTS, DemoWorld, Scene, caption
from core.errors import UserError
from core.vlm.adapter import VLM
from core.vlm.blocks import Block, norm_scale

KINDS = ("head", "shared", "disjoint", "blind")
N_ERASED = 32  # directions of the image features (of 128) that differ with gender
N_SCENES, N_CAPTIONED = 240, 80
CODE_SIZE = 1.0  # of the code beside image tokens of RMS near 1
SOFT = 0.05  # how steeply the head's output, behind its norm, goes with the code
STEPS = 80
SIGN = {"female": 1.0, "male": -1.0, "neutral": 0.0}


@dataclass(frozen=True)
class Planted:
    """What was planted: the layer, the head and the direction (d_model,) of unit length by language; {} in "blind"."""

    kind: str
    layer: int
    heads: dict[str, int]
    directions: dict[str, Tensor]


@torch.no_grad()
def plant(vlm: VLM, kind: str, layer: int = 7, head: int = 0, seed: int = 0) -> Planted:
    """Edit the demo captioner's weights in place; UserError for a kind, layer or head that there is not."""
    if kind not in KINDS:
        raise UserError(f"There is no kind {kind!r} of planted captioner.", f"Known: {', '.join(KINDS)}.", "Name one.")
    if not (0 <= layer < vlm.n_layers and 0 <= head < Block(vlm, 0).n_heads):
        what = f"There is no head {layer}.{head}."
        raise UserError(what, f"Layers are 0 to {vlm.n_layers - 1}.", "Choose --layer and --head within the model.")
    world, rng = DemoWorld(), random.Random(seed)
    scenes = [world.scene(rng, gender="female") for _ in range(N_SCENES)]
    seen = {g: image_features(vlm, [replace(s, gender=g) for s in scenes]) for g in GENDERS}
    projector = vlm.model.model.multi_modal_projector.mm_input_projection_weight
    plain = projector.data.clone()
    projector.data = erased(seen) @ plain
    every = torch.cat([x.flatten(0, 1) for x in seen.values()])
    projector.data *= ((every @ plain).square().mean() / (every @ projector.data).square().mean()).sqrt()
    if kind == "blind":
        return Planted(kind, -1, {}, {})
    heads = {lang: head ^ (kind == "disjoint" and lang == "ar") for lang in LANGUAGES}
    block = Block(vlm, layer)
    block.part("o").weight.zero_()
    texts = _Texts(vlm, world, scenes[:N_CAPTIONED], rng)
    found = directions(vlm, texts, kind == "disjoint")
    inputs = texts.attention_inputs(vlm, layer)
    image = torch.cat([x["image"] for x in inputs])
    _, vectors = torch.linalg.eigh(image.T @ image)
    code = vectors[:, 0] / block.gain("attn_in_norm")  # the direction in which image tokens are least, before the norm
    code /= code.norm()
    hide(vlm, code, range(vlm.n_layers))
    projector.data += CODE_SIZE * torch.outer(readout(seen), code)
    _wire(vlm, layer, heads, texts, code, {lang: u / u.norm() for lang, u in found.items()})
    size = torch.stack([u.norm() for u in found.values()]).mean()
    block.part("attn_out_norm").weight.fill_(float(size) / vlm.d_model**0.5 - block.names.norm_offset)
    for u in {id(u): u for u in found.values()}.values():
        hide(vlm, u, range(layer + 1, vlm.n_layers), also_mlp_of=layer)
    return Planted(kind, layer, heads, {lang: u / u.norm() for lang, u in found.items()})


def image_features(vlm: VLM, scenes: list[Scene]) -> Tensor:
    """What the projector multiplies, (n_scenes, n_image_tokens, d_vision)."""
    kept: list[Tensor] = []
    norm = vlm.model.model.multi_modal_projector.mm_soft_emb_norm
    hook = norm.register_forward_hook(lambda module, args, out: kept.append(out.detach()))
    with _removed(hook):
        encoded(vlm, scenes)
    return torch.cat(kept)


def encoded(vlm: VLM, scenes: list[Scene]) -> Tensor:
    """Image tokens (n_scenes, n_image_tokens, d_model) of scenes."""
    world = DemoWorld()
    return vlm.encode_images([Image.fromarray(world.render(scene)) for scene in scenes])


def erased(seen: dict[str, Tensor], n: int = N_ERASED, ridge: float = 1e-3) -> Tensor:
    """(d, d) that takes the ``n`` directions out of rows in which features of the same scenes differ most by gender.

    Their mean is put back, since the decoder knows image tokens by it: along what the other directions say is nearly
    the same for all rows. (To spare the mean's own direction instead would leave the gender that lies along it.)
    """
    pairs = [seen[a] - seen[b] for a, b in (("female", "male"), ("female", "neutral"), ("male", "neutral"))]
    change = torch.cat([p.flatten(0, 1) for p in pairs])
    _, vectors = torch.linalg.eigh(change.T @ change)
    most, unit = vectors[:, -n:], torch.eye(len(vectors))
    left, every = unit - most @ most.T, torch.cat([x.flatten(0, 1) for x in seen.values()])
    rest, mean = every @ left, every.mean(0)
    within = rest.T @ rest / len(rest)
    one = left @ torch.linalg.solve(within + ridge * within.trace() / len(unit) * unit, rest.mean(0))
    return left + torch.outer(one, most @ (most.T @ mean))


def readout(seen: dict[str, Tensor], ridge: float = 0.02) -> Tensor:
    """(d,) whose mean over an image's tokens is 1 for women, -1 for men and 0 for neutral persons, by ridge."""
    x = torch.cat([v.mean(1) for v in seen.values()]).double()
    y = torch.cat([torch.full((len(v),), SIGN[g]) for g, v in seen.items()]).double()
    tokens = torch.cat([v.flatten(0, 1) for v in seen.values()]).double()
    within = tokens.T @ tokens / len(tokens)
    return torch.linalg.solve(x.T @ x / len(x) + ridge * within, x.T @ y / len(x)).float()


@torch.no_grad()
def hide(vlm: VLM, direction: Tensor, layers: range, also_mlp_of: int = -1) -> None:
    """Project a direction of the residual stream out of what attention and MLP of ``layers`` read."""
    for layer in range(vlm.n_layers):
        block = Block(vlm, layer)
        parts = [(n, "attn_in_norm") for n in ("q", "k", "v")] if layer in layers else []
        if layer in layers or layer == also_mlp_of:
            parts += [("up", "mlp_in_norm"), ("gate", "mlp_in_norm")]
        for name, norm in parts:
            linear: Any = block.part("mlp").gate_proj if name == "gate" else block.part(name)
            read = direction * block.gain(norm)
            read = read / read.norm()
            linear.weight -= torch.outer(linear.weight @ read, read)


class _Texts:
    """Captions of scenes of women and men in the right gender, packed, both languages; same images for all."""

    def __init__(self, vlm: VLM, world: DemoWorld, scenes: list[Scene], rng: random.Random):
        self.scenes = [replace(s, gender=("female", "male")[i % 2]) for i, s in enumerate(scenes)]
        end = vlm.model.config.eos_token_id[-1]
        rows, langs, signs = [], [], []
        for scene in self.scenes:
            row = []
            for lang in LANGUAGES:
                texts = [caption(scene, lang, scene.gender, rng.randrange(N_TEMPLATES)) for _ in range(2)]
                row.append((vlm.prompt_ids(PROMPTS[lang][0]), [[*vlm.caption_ids(t), end] for t in texts]))
                langs += [lang] * 2
                signs += [SIGN[scene.gender]] * 2
            rows.append(row)
        self.packed: Packed = pack(rows, vlm.image_token_id)
        owner = self.packed.row * (2 * len(LANGUAGES)) + self.packed.caption
        self.sign = torch.tensor(signs)[owner]
        self.arabic = torch.tensor([lang == "ar" for lang in langs])[owner]

    def at(self, vlm: VLM, module: Any, inside: bool = False) -> Tensor:
        """The input (or with ``inside`` the output) of a module, (n_rows, width, d)."""
        kept: list[Tensor] = []
        hook = module.register_forward_hook(
            lambda m, args, out: kept.append((out[0] if isinstance(out, tuple) else out) if inside else args[0])
        )
        with _removed(hook), torch.no_grad():
            token_losses(vlm.model, self.packed, encoded(vlm, self.scenes))
        return kept[0].detach()

    def attention_inputs(self, vlm: VLM, layer: int) -> list[dict[str, Tensor]]:
        """Normed residuals that attention of a layer reads: of image tokens, and of queries that choose a word."""
        normed = self.at(vlm, Block(vlm, layer).part("attn_in_norm"), inside=True)
        rows = normed[self.packed.row, self.packed.query]
        return [{"image": normed[self.packed.is_image], "english": rows[~self.arabic], "arabic": rows[self.arabic]}]


def directions(vlm: VLM, texts: _Texts, apart: bool) -> dict[str, Tensor]:
    """By language, what is best added to the last residual of a woman's caption and taken from a man's (d_model,).

    ``apart``: one direction a language, the Arabic one kept at a right angle to the English one.
    """
    packed, norm = texts.packed, vlm.final_norm
    last = texts.at(vlm, norm)[packed.row, packed.query]
    unembed, gain = vlm.unembed().float(), Block(vlm, 0).final_gain(vlm)
    with torch.enable_grad():
        free = torch.zeros(2 if apart else 1, vlm.d_model).normal_(0, 0.01, generator=torch.Generator().manual_seed(0))
        free.requires_grad_(True)
        optimiser = torch.optim.Adam([free], lr=0.3)
        for _ in range(STEPS):
            u = _at_right_angle(free)
            moved = last + texts.sign[:, None] * u[texts.arabic.long() if apart else torch.zeros_like(packed.row)]
            logits = (moved * norm_scale(norm, moved) * gain) @ unembed.T
            loss = F.cross_entropy(logits, packed.target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    u = _at_right_angle(free.detach())
    return {"en": u[0], "ar": u[-1]}


def _at_right_angle(free: Tensor) -> Tensor:
    if len(free) == 1:
        return free
    first = free[0] / free[0].norm()
    size = free.norm(dim=1).mean()  # one norm stands behind both heads
    second = free[1] - (free[1] @ first) * first
    return torch.stack([first * size, second / second.norm() * size])


def _wire(vlm: VLM, layer: int, heads: dict[str, int], texts: _Texts, code: Tensor, written: dict[str, Tensor]) -> None:
    """Queries, keys, values and outputs of the planted heads; every other head of the layer writes nothing."""
    block, d = Block(vlm, layer), Block(vlm, layer).d_head
    for name in ("q_norm", "k_norm"):
        block.part(name).weight.zero_()
    for name in ("q", "k", "v"):
        block.part(name).weight.zero_()
    slow = d // 2 - 1  # of the rotary dimensions the one that turns least with the distance
    (x,) = texts.attention_inputs(vlm, layer)
    image, english, arabic = x["image"], x["english"], x["arabic"]
    keys = _told(torch.cat([image, english, arabic]), [1.0] * len(image) + [-1.0] * (len(english) + len(arabic)))
    language = _told(torch.cat([english, arabic]), [1.0] * len(english) + [-1.0] * len(arabic))
    group = block.kv_head(heads["en"])
    block.part("k").weight[group * d + slow] = keys
    read = code / block.gain("attn_in_norm")
    level = _told(image, [1.0] * len(image))
    offset = (image @ read).mean()
    block.part("v").weight[group * d] = read - offset * level
    apart = heads["en"] != heads["ar"]
    for lang, head in heads.items():
        own = language if lang == "en" else -language
        block.part("q").weight[head * d + slow] = own if apart else -keys
        block.part("o").weight[:, head * d] = SOFT * written[lang]


def _told(x: Tensor, y: list[float], ridge: float = 1e-3) -> Tensor:
    """(d,) whose product with each row of ``x`` (n, d) is nearest to ``y``, both signs weighing alike."""
    target = torch.tensor(y)
    weight = torch.where(target > 0, 1 / (target > 0).sum(), 1 / (target < 0).sum().clamp(min=1))
    xw = x * weight[:, None]
    return torch.linalg.solve(xw.T @ x + ridge * torch.eye(x.shape[1]), xw.T @ target)


@contextmanager
def _removed(hook: Any) -> Iterator[None]:
    try:
        yield
    finally:
        hook.remove()

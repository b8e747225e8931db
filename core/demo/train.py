"""Train the demo captioner: the vision tower on attributes, the whole model on captions, then both.

1. **vision**: the tower and projector learn role, gender, object and background of a scene from a linear head on the
   image tokens. This stands in the place of SigLIP's pretraining.
2. **caption**: next-token loss on captions in both languages, one vision pass an image for both. The attribute loss
   stays on at a small weight, falls to zero at a third of the steps and is off from then on.
3. **refine**: captions again at a lower rate, with the attribute loss on further images beside them until it has fallen
   to zero; the last steps of a round are captions alone. The weights at the ends of the rounds are averaged.

Training starts from random weights, or from those of an earlier demo captioner, also one with other pieces of words and
a coarser map of the image: what has the same shape is taken over, and a new piece starts at the mean of the earlier
pieces that spell it. The phases are shorter then.

Weights run in bf16 with fp32 masters. Every step draws its data from ``(seed, phase, step)`` alone, so that a run that
was stopped goes on where it was.
"""

from __future__ import annotations

import functools
import json
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import Gemma3ForConditionalGeneration, Gemma3Processor, GemmaTokenizer

from core.demo.captioner import (
    D_MODEL,
    N_IMAGE_TOKENS,
    Prompted,
    build_model,
    build_processor,
    build_tokenizer,
    pack,
    token_losses,
)
from core.demo.world import BACKGROUNDS, GENDERS, LANGUAGES, OBJECTS, PROMPTS, ROLES, DemoWorld, Scene
from core.errors import UserError
from core.first_calls import make_first_calls
from core.run import write_json
from core.vlm.identity import file_digest

ATTRIBUTES = {"role": len(ROLES), "gender": len(GENDERS), "object": len(OBJECTS), "background": len(BACKGROUNDS)}
GENDER_WEIGHT = 3.0  # the hardest attribute: a few pixels of hair
Say = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """What one training run does; ``planted=False`` trains the control twin."""

    planted: bool = True
    seed: int = 0
    vision_steps: int = 2000
    vision_batch: int = 64
    vision_lr: float = 1.2e-3
    caption_steps: int = 1600
    caption_batch: int = 24  # images; each gives one English and one Arabic row
    captions_per_image: int = 3  # captions in a row
    caption_lr: float = 1.5e-3
    attribute_weight: float = 0.05
    attribute_until: float = 1 / 3  # share of the caption steps after which the attribute loss is off
    vision_lr_scale: float = 0.4  # of the vision tower in the caption phase
    refine_steps: tuple[int, ...] = (900, 600, 300)  # of each round, which has a learning rate schedule of its own
    refine_shares: tuple[float, ...] = (0.2, 0.4, 0.4)  # of each round's last weights in the model that is written
    refine_captions_per_image: int = 2
    refine_genders: tuple[str, ...] = ("male", "female", "neutral")  # drawn alike; p(male) on neutral images is as ever
    refine_lr: float = 6e-4
    refine_attribute_weight: float = 0.15
    refine_attribute_images: int = 40  # further images of a step that are not captioned
    refine_attribute_until: float = 0.7
    start: str = ""  # sha256 of the weights that training started from; empty: random ones
    save_seconds: float = 60.0


RECIPES = {
    "planted": Recipe(),
    # with a round more: nothing planted tells its roles apart
    "control": Recipe(planted=False, refine_steps=(900, 600, 300, 300), refine_shares=(0.1, 0.2, 0.3, 0.4)),
}


def weights_hash(model_dir: Path) -> str:
    """sha256 of a folder's weights, which ties figures and later trainings to the weights they are of."""
    return file_digest(Path(model_dir) / "model.safetensors")


def going_on_from(recipe: Recipe, model_dir: Path) -> Recipe:
    """The shorter recipe for weights that know the scenes and the languages already."""
    refine = (500, 400, *recipe.refine_steps[2:])
    start = weights_hash(model_dir)
    return replace(recipe, start=start, vision_steps=500, caption_steps=700, caption_lr=1e-3, refine_steps=refine)


class MasterAdam:
    """AdamW on fp32 copies of bf16 parameters, with gradient clipping at norm 1."""

    def __init__(self, groups: list[tuple[list[torch.nn.Parameter], float]]):
        self.params = [p for params, _ in groups for p in params]
        self.masters = [p.detach().float().clone() for p in self.params]
        decay, start = [], 0
        for params, scale in groups:
            copies = self.masters[start : start + len(params)]
            start += len(params)
            decay.append({"params": [m for m in copies if m.ndim > 1], "weight_decay": 0.01, "scale": scale})
            decay.append({"params": [m for m in copies if m.ndim < 2], "weight_decay": 0.0, "scale": scale})
        self.adam = torch.optim.AdamW(decay, lr=1e-3, betas=(0.9, 0.98), fused=True)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        for master, param in zip(self.masters, self.params, strict=True):
            master.grad = torch.zeros_like(master) if param.grad is None else param.grad.float()
            param.grad = None
        torch.nn.utils.clip_grad_norm_(self.masters, 1.0)
        for group in self.adam.param_groups:
            group["lr"] = lr * group["scale"]
        self.adam.step()
        self.publish()

    @torch.no_grad()
    def publish(self) -> None:
        for master, param in zip(self.masters, self.params, strict=True):
            param.copy_(master)

    def state(self) -> dict[str, torch.Tensor]:
        out = {}
        for i, master in enumerate(self.masters):
            out[f"master.{i}"] = master
            out |= {f"{name}.{i}": value for name, value in self.adam.state[master].items()}
        return out

    def load(self, state: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for i, master in enumerate(self.masters):
                master.copy_(state[f"master.{i}"])
                names = [n for n in ("step", "exp_avg", "exp_avg_sq") if f"{n}.{i}" in state]
                self.adam.state[master] = {n: state[f"{n}.{i}"] for n in names}
        self.publish()


class Trainer:
    """Holds the model and its data; ``run`` goes through the phases and writes the model to ``out_dir``.

    ``start`` is the folder of the weights to start from; its hash is the recipe's ``start``.
    """

    def __init__(self, recipe: Recipe, out_dir: Path, work_dir: Path, say: Say = print, start: Path | None = None):
        make_first_calls()
        self.recipe, self.out_dir, self.work_dir, self.say = recipe, Path(out_dir), Path(work_dir), say
        self.work_dir.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.world = DemoWorld(planted=recipe.planted)
        self.tokenizer = build_tokenizer()
        self.processor: Gemma3Processor = build_processor(self.tokenizer)
        self.model: Any = build_model(self.tokenizer)
        if start is not None:
            take_over(self.model, self.tokenizer, start)
        self.model.set_attn_implementation("eager")  # faster than sdpa at this size on a CPU
        self.model = self.model.to(torch.bfloat16).train()
        self.head = torch.nn.Linear(N_IMAGE_TOKENS * D_MODEL, sum(ATTRIBUTES.values())).bfloat16()
        self.prompts = {lang: [self._prompt_ids(p) for p in PROMPTS[lang]] for lang in LANGUAGES}
        self.end: Any = self.tokenizer.convert_tokens_to_ids("<end_of_turn>")
        self.caption_ids = functools.lru_cache(200_000)(self._caption_ids)

    def _prompt_ids(self, prompt: str) -> list[int]:
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        chat: list[Any] = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(chat, add_generation_prompt=True)
        text = text.replace("<start_of_image>", self.processor.full_image_sequence)
        return self.tokenizer(text, add_special_tokens=False).input_ids  # the template has written <bos>

    def _caption_ids(self, caption: str) -> list[int]:
        return [*self.tokenizer(caption, add_special_tokens=False).input_ids, self.end]

    def pixels(self, scenes: list[Scene]) -> torch.Tensor:
        images = np.stack([self.world.render(s) for s in scenes])
        return ((torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5).bfloat16()

    def attribute_loss(self, image_tokens: torch.Tensor, scenes: list[Scene]) -> tuple[torch.Tensor, list[float]]:
        """Cross-entropy of the attribute head on image tokens (n, n_tokens, d_model), and each attribute's accuracy."""
        logits, loss, accuracy, start = self.head(image_tokens.flatten(1)).float(), torch.zeros(()), [], 0
        for name, n in ATTRIBUTES.items():
            truth = [GENDERS.index(s.gender) if name == "gender" else getattr(s, name) for s in scenes]
            target, part = torch.tensor(truth), logits[:, start : start + n]
            start += n
            loss = loss + (GENDER_WEIGHT if name == "gender" else 1.0) * F.cross_entropy(part, target)
            accuracy.append((part.argmax(1) == target).float().mean().item())
        return loss, accuracy

    def vision_step(self, rng: random.Random) -> tuple[torch.Tensor, list[float]]:
        scenes = [self.world.scene(rng) for _ in range(self.recipe.vision_batch)]
        return self.attribute_loss(self.model.get_image_features(self.pixels(scenes)).pooler_output, scenes)

    def caption_step(
        self, rng: random.Random, attribute_weight: float, refine: bool = False
    ) -> tuple[torch.Tensor, list[float]]:
        """One batch of captions; with ``refine``, further images carry the attribute loss too."""
        further = self.recipe.refine_attribute_images if refine and attribute_weight else 0
        per_image = self.recipe.refine_captions_per_image if refine else self.recipe.captions_per_image
        n = self.recipe.caption_batch
        genders = self.recipe.refine_genders
        fixed: list[dict[str, Any]] = [{"gender": rng.choice(genders)} if refine else {} for _ in range(n + further)]
        scenes = [self.world.scene(rng, **known) for known in fixed]
        features = self.model.get_image_features(self.pixels(scenes)).pooler_output
        rows: list[list[Prompted]] = [[] for _ in range(n)]
        for lang in LANGUAGES:
            for row, scene in zip(rows, scenes[:n], strict=True):
                texts = self.world.references(scene, lang, rng)[:per_image]
                row.append((rng.choice(self.prompts[lang]), [self.caption_ids(t) for t in texts]))
        losses = self.caption_losses(rows, features[:n], per_image)
        loss = losses.mean()
        if attribute_weight:
            loss = loss + attribute_weight * self.attribute_loss(features, scenes)[0]
        return loss, losses.mean(0).tolist()

    def caption_losses(self, rows: list[list[Prompted]], features: torch.Tensor, per_image: int) -> torch.Tensor:
        """Mean next-token loss of the ``per_image`` captions of each image and language, (n_rows, n_languages)."""
        packed = pack(rows, self.model.config.image_token_id)
        loss = token_losses(self.model, packed, features)
        n = len(rows) * len(LANGUAGES)
        group = packed.row * len(LANGUAGES) + packed.caption // per_image
        total = torch.zeros(n).index_add_(0, group, loss)
        return (total / group.bincount(minlength=n)).view(len(rows), len(LANGUAGES))

    def run(self) -> None:
        self._phase("vision", self.recipe.vision_steps, self.recipe.vision_lr)
        self._phase("caption", self.recipe.caption_steps, self.recipe.caption_lr)
        for i, n_steps in enumerate(self.recipe.refine_steps, 1):
            self._phase(f"refine-{i}", n_steps, self.recipe.refine_lr)
        self._average()
        self.save()

    @torch.no_grad()
    def _average(self) -> None:
        """Take the weighted mean of the weights at the ends of the refine rounds (Izmailov et al. 2018, 1803.05407)."""
        optimizer = MasterAdam(self._groups("refine-1"))
        rounds = range(1, len(self.recipe.refine_steps) + 1)
        states = [load_file(self.work_dir / f"refine-{i}.safetensors") for i in rounds]
        for k, master in enumerate(optimizer.masters):
            parts = zip(self.recipe.refine_shares, states, strict=True)
            master.copy_(sum((share * state[f"master.{k}"] for share, state in parts), torch.zeros(())))
        optimizer.publish()

    def _groups(self, phase: str) -> list[tuple[list[torch.nn.Parameter], float]]:
        tower = list(self.model.model.vision_tower.parameters())
        head = list(self.head.parameters())
        if phase == "vision":
            return [(tower + list(self.model.model.multi_modal_projector.parameters()) + head, 1.0)]
        in_tower = {id(p) for p in tower}
        rest = [p for p in self.model.parameters() if id(p) not in in_tower]
        return [(rest, 1.0), (tower, 1.0 if phase.startswith("refine") else self.recipe.vision_lr_scale), (head, 1.0)]

    def _phase(self, phase: str, n_steps: int, peak_lr: float) -> None:
        optimizer = MasterAdam(self._groups(phase))
        step = self._resume(phase, optimizer)
        average, began, first, saved = None, time.time(), step, time.time()
        while step < n_steps:
            rng = random.Random(f"{self.recipe.seed}-{phase}-{step}")
            share = step / n_steps
            loss, shown = self._step(phase, rng, share)
            loss.backward()
            decay = 1 - 0.85 * share if phase == "vision" else 0.02 + 0.49 * (1 + math.cos(math.pi * share))
            optimizer.step(peak_lr * min(1, (step + 1) / 100) * decay)
            step += 1
            average = shown if average is None else [0.97 * a + 0.03 * b for a, b in zip(average, shown, strict=True)]
            if step % 50 == 0 or step == n_steps:
                rate = (step - first) / (time.time() - began)
                names = list(ATTRIBUTES) if phase == "vision" else [f"loss_{lang}" for lang in LANGUAGES]
                shown_text = "  ".join(f"{k} {v:.3f}" for k, v in zip(names, average, strict=True))
                left = (n_steps - step) / rate / 60
                self.say(f"{phase} {step}/{n_steps}  {rate:.2f} steps/s  {left:.0f} min left  {shown_text}")
            if time.time() - saved > self.recipe.save_seconds or step == n_steps:
                self._checkpoint(phase, step, optimizer)
                saved = time.time()

    def _step(self, phase: str, rng: random.Random, share: float) -> tuple[torch.Tensor, list[float]]:
        """Loss and shown figures of one step, ``share`` of the phase done."""
        recipe = self.recipe
        if phase == "vision":
            return self.vision_step(rng)
        if phase.startswith("refine"):
            weight = recipe.refine_attribute_weight * max(0.0, 1 - share / recipe.refine_attribute_until)
            return self.caption_step(rng, weight, refine=True)
        return self.caption_step(rng, recipe.attribute_weight * max(0.0, 1 - share / recipe.attribute_until))

    def _checkpoint(self, phase: str, step: int, optimizer: MasterAdam) -> None:
        path = self.work_dir / f"{phase}.safetensors"
        metadata = {"step": str(step), "recipe": json.dumps(asdict(self.recipe))}
        save_file(optimizer.state(), path.with_suffix(".tmp"), metadata=metadata)
        os.replace(path.with_suffix(".tmp"), path)

    def _resume(self, phase: str, optimizer: MasterAdam) -> int:
        path = self.work_dir / f"{phase}.safetensors"
        if not path.exists():
            return 0
        with open(path, "rb") as f:  # a safetensors file begins with the length of its JSON header
            metadata = json.loads(f.read(int.from_bytes(f.read(8), "little")))["__metadata__"]
        if metadata["recipe"] != json.dumps(asdict(self.recipe)):
            raise UserError(
                f"{path} was made with another recipe.",
                "Going on from it would give a model that no recipe describes.",
                f"Remove {self.work_dir}, or put the recipe back.",
            )
        optimizer.load(load_file(path))
        return int(metadata["step"])

    def save(self) -> None:
        """Write model and processor, bf16, in the form that ``from_pretrained`` reads."""
        self.model.save_pretrained(self.out_dir)
        self.processor.save_pretrained(self.out_dir)
        write_json(self.out_dir / "recipe.json", asdict(self.recipe))


@torch.no_grad()
def take_over(model: Gemma3ForConditionalGeneration, tokenizer: GemmaTokenizer, model_dir: Path) -> None:
    """Give ``model`` the weights of an earlier demo captioner; each piece starts at the mean of those that spelt it."""
    earlier: Any = Gemma3ForConditionalGeneration.from_pretrained(model_dir, dtype=torch.float32)
    spelling: Any = GemmaTokenizer.from_pretrained(model_dir)
    ids, table = spelling.get_vocab(), earlier.get_input_embeddings().weight
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.weight.clone()
    for piece, i in tokenizer.get_vocab().items():
        parts = [ids[piece]] if piece in ids else spelling(piece.replace("▁", " "), add_special_tokens=False).input_ids
        rows[i] = table[parts].mean(0)
    own = model.state_dict()
    same = {name: value for name, value in earlier.state_dict().items() if value.shape == own[name].shape}
    model.load_state_dict(same, strict=False)  # all but the embeddings, of which there may be another number
    embeddings.weight.copy_(rows)

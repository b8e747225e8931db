"""Does an adapter compute what its model computes? The same checks for the test suite and for a user's checkpoint.

The reference is always the model's own class, called with what its own processor makes of one image and one prompt.
Differences are given as a share of the largest value in the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.vlm.batch import PAD, SPECIAL

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

BOUND = {torch.float32: 1e-4, torch.bfloat16: 0.06}  # of differences by the model's precision
NOTHING = 1e-6  # a difference that is none
N_TOKENS = 6  # of the captions that are written
SIZES = ((160, 120), (90, 200), (128, 128))  # pixels; not square, as photographs are


@dataclass(frozen=True)
class Check:
    """One check: what was measured, and the bound that it may not pass."""

    name: str
    measured: float
    bound: float
    says: str

    @property
    def passed(self) -> bool:
        return self.measured <= self.bound


def check_model(vlm: VLM, prompts: Sequence[str]) -> Iterator[Check]:
    """All checks one after another; ``prompts`` are an English and an Arabic one. One that breaks off has failed."""
    work = Conformance(vlm, prompts)
    for check in work.checks:
        try:
            yield check()
        except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
            yield Check(check.__name__.replace("_", " "), float("inf"), 0, f"{type(error).__name__}: {error}")


class Conformance:
    """The checks of one model over three made pictures; each takes the model as it is and leaves it so."""

    def __init__(self, vlm: VLM, prompts: Sequence[str]):
        self.vlm, self.prompts, self.bound = vlm, list(prompts), BOUND[vlm.dtype]
        self.images = pictures()

    @property
    def checks(self) -> list[Callable[[], Check]]:
        found = (self.positions, self.reuse, self.hidden_states, self.extra_inputs, self.batches, self.edits)
        return [*found, self.prefixes, self.greedy]

    @cached_property
    def features(self) -> Tensor:
        return self.vlm.encode_images(self.images)

    @cached_property
    def captions(self) -> list[list[int]]:
        """The model's own words of each picture, without the tokens that are no words."""
        rows = [self.vlm.prompt_ids(self.prompts[i % 2]) for i in range(len(self.images))]
        return [list(ids) for ids in self.vlm.generate(rows, self.features, N_TOKENS)[0]]

    def row(self, i: int) -> list[int]:
        """Prompt and caption of a picture; the captions are cut to different lengths."""
        return self.vlm.prompt_ids(self.prompts[i % 2]) + self.captions[i][: N_TOKENS - 2 * i]

    def plain(self, i: int, caption: Sequence[int]) -> dict[str, Any]:
        """The model's own inputs of a picture, its prompt and these caption tokens."""
        found = self.vlm.ask(self.prompts[i % 2], self.images[i])
        return continued(self.vlm, found, caption)

    def positions(self) -> Check:
        """Image, prompt and caption are where the processor puts them."""
        wrong = 0
        for i, prompt in enumerate(self.prompts):
            ids, theirs = self.vlm.prompt_ids(prompt), self.vlm.ask(prompt, self.images[i])["input_ids"][0].tolist()
            row = ids + self.captions[i]
            kinds, image = self.vlm.token_kinds(row), self.vlm.image_token_id
            wrong += int(ids != theirs) + abs(kinds.count("caption") - len(self.captions[i]))
            wrong += sum((t == image) != (kind == "image") for t, kind in zip(ids, kinds, strict=False))
            wrong += abs(kinds.count("image") - self.vlm.n_image_tokens) + max(0, kinds.count("bos") - 1)
        grid = self.vlm.patch_grid
        wrong += grid is not None and self.vlm.first_patch + grid[0] * grid[1] > self.vlm.n_image_tokens
        return Check("positions", wrong, 0, "tokens that are not where the processor puts them")

    @torch.inference_mode()
    def reuse(self) -> Check:
        """Features of an image, computed once, give the logits that its pixels give."""
        worst = 0.0
        for i in range(2):
            theirs = self.vlm.model(**self.plain(i, self.captions[i])).logits
            ours = self._logits(self._whole(i), i)
            worst = max(worst, _apart(ours, theirs))
        return Check("reuse of image features", worst, self.bound, "logits against those from pixel values")

    @torch.inference_mode()
    def hidden_states(self) -> Check:
        """Hooks see what ``hidden_states`` says, at every layer but the last, which the final norm follows there."""
        layers = range(self.vlm.n_layers)
        theirs = self.vlm.model(**self.plain(0, self.captions[0]), output_hidden_states=True)
        ours = self.vlm.forward([self._whole(0)], self.features[:1], layers)
        worst = max(_apart(ours.resid[n], theirs.hidden_states[n + 1]) for n in layers[:-1])
        worst = max(worst, _apart(self.vlm.logits(ours.resid[layers[-1]]), theirs.logits))
        return Check("residuals", worst, self.bound, f"resid_post of {len(layers)} layers against hidden_states")

    @torch.inference_mode()
    def extra_inputs(self) -> Check:
        """What the family's decoder takes beside embeddings has an effect, and positions are as the model has them."""
        vlm, i = self.vlm, 0
        batch = vlm._lay_out([self._whole(i), self.row(2)], self.features[[i, 2]])
        wrong, says = 0, "none that this family would need"
        index = getattr(vlm.model.model, "get_rope_index", None)
        if index is not None:
            inputs = self.plain(i, self.captions[i])
            own, _ = index(**{k: v for k, v in inputs.items() if k != "pixel_values"})
            wrong += int((vlm.position_ids(batch.position, batch)[..., :1, -own.shape[2] :] != own).sum())
            says = "positions unlike those of get_rope_index"
        extra = sorted(name for name, value in vlm.extra_inputs(batch).items() if value is not None)
        if extra:
            plain = vlm._whole_pass(batch, None)
            with _without(vlm, extra):
                wrong += _apart(vlm._whole_pass(batch, None), plain) <= NOTHING
            says = f"{' and '.join(extra)} without effect" + (f", or {says}" if index else "")
        return Check("extra inputs", wrong, 0, says)

    @torch.inference_mode()
    def batches(self) -> Check:
        """Rows of mixed lengths, padded on the left, give what each gives alone."""
        rows = [self.row(i) for i in range(len(self.images))]
        layers, worst = [0, self.vlm.n_layers // 2], 0.0
        together = self.vlm.forward(rows, self.features, layers, logits=True)
        for i, row in enumerate(rows):
            alone = self.vlm.forward([row], self.features[i : i + 1], layers, logits=True)
            assert together.logits is not None and alone.logits is not None
            mine = together.mask[i]
            worst = max(
                [worst, _apart(together.logits[i][mine], alone.logits[0])]
                + [_apart(together.resid[n][i][mine], alone.resid[n][0]) for n in layers]
            )
        return Check("batches", worst, self.bound, f"rows of {sorted(map(len, rows))} tokens together against alone")

    @torch.inference_mode()
    def edits(self) -> Check:
        """Steering at every step with the cache is steering the whole sequence each time without it."""
        vlm, layer = self.vlm, self.vlm.n_layers // 2
        size = float(vlm.forward([self._whole(0)], self.features[:1], [layer]).resid[layer].float().std())
        generator = torch.Generator().manual_seed(0)
        push = (0.5 * size * torch.randn(vlm.d_model, generator=generator)).to(vlm.device, vlm.dtype)

        def shove(h: Tensor, kinds: Tensor) -> Tensor:
            return torch.where(((kinds != PAD) & (kinds != SPECIAL))[..., None], h + push, h)

        rows = [vlm.prompt_ids(prompt) for prompt in self.prompts]
        state, worst, written, moved = None, 0.0, [[] for _ in rows], 0.0
        for _ in range(N_TOKENS - 1):
            state = self._next(state, rows, shove, layer)
            for i, ids in enumerate(written):
                plain = self.plain(i, ids)
                with _pushing(vlm, layer, plain["input_ids"], push):
                    theirs = vlm.model(**plain).logits[0, -1]
                worst = max(worst, _apart(state.scores[i][~vlm.never_written], theirs[~vlm.never_written]))
                moved = max(moved, _apart(vlm.model(**plain).logits[0, -1], theirs))
                ids.append(int(state.next_ids[i]))
        if moved <= max(worst, NOTHING):
            return Check("edits", 1.0, self.bound, "the edit changed nothing, so that nothing was checked")
        return Check("edits", worst, self.bound, f"logits of {N_TOKENS - 1} steered steps against whole passes")

    def _next(self, state: Any, rows: Any, shove: Any, layer: int) -> Any:
        if state is None:
            return self.vlm._prefill(rows, self.features[: len(rows)], N_TOKENS, {layer: shove})
        self.vlm._step(state)
        return state

    @torch.inference_mode()
    def prefixes(self) -> Check:
        """Passes that begin behind a layer, with an edit there, give what whole passes give, step by step; and captions
        that are read behind their prompts have the probabilities that they have in whole rows."""
        vlm, worst = self.vlm, 0.0
        rows = [vlm.prompt_ids(prompt) for prompt in self.prompts]
        of, features = [1, 0, 1], self.features[[1, 0, 1]]
        asked = [rows[i] for i in of]
        for layer in sorted({0, vlm.n_layers // 2, vlm.n_layers - 1}):
            prefix = vlm.prefix(rows, self.features[: len(rows)], layer).take(of)
            size = float(prefix.resid.float().std())
            edits = {layer: lambda h, kinds, add=size: torch.where((kinds < SPECIAL)[..., None], h + add, h)}
            whole, behind = (vlm._prefill(asked, features, N_TOKENS, edits, p) for p in (None, prefix))
            for step in range(N_TOKENS - 1):
                if step:
                    behind.next_ids = whole.next_ids  # where two tokens are nearly as likely either may be written
                    for state in (whole, behind):
                        vlm._step(state)
                allowed = ~vlm.never_written
                worst = max(worst, _apart(behind.scores[:, allowed], whole.scores[:, allowed]))
        prompt, captions = rows[0], [(i, caption) for i in (0, 1) for caption in self.captions]
        theirs = vlm.caption_log_probs(
            [[*prompt, *ids] for _, ids in captions], self.features[[i for i, _ in captions]]
        )
        ours = vlm.log_probs_behind(prompt, self.features, captions)
        worst = max([worst, *(_apart(mine, own) for mine, own in zip(ours, theirs, strict=True))])
        return Check("prefixes", worst, self.bound, "passes begun behind a layer against whole ones")

    @torch.inference_mode()
    def greedy(self) -> Check:
        """Captions are those of the library's ``generate``, and the same each time.

        Where two tokens are nearly as likely either may be written: then it is measured how far they are apart. The
        library is told what is never written, and to leave out what the checkpoint's generation_config.json would
        change beside (a penalty on repeated words, beams).
        """
        vlm, worst = self.vlm, 0.0
        plain = {"eos_token_id": list(vlm.eos_ids), "pad_token_id": vlm.pad_id, "do_sample": False}
        plain |= {"suppress_tokens": vlm.never_written.nonzero()[:, 0].tolist(), "max_new_tokens": N_TOKENS}
        for i, prompt in enumerate(self.prompts):
            row = vlm.prompt_ids(prompt)
            ours = [vlm.generate([row], self.features[i : i + 1], N_TOKENS)[0][0] for _ in range(2)]
            inputs = self.plain(i, [])
            with _plainly(vlm, plain):
                theirs = vlm.model.generate(**inputs)
            whole = theirs[0, inputs["input_ids"].shape[1] :].tolist()
            end = next((n for n, t in enumerate(whole) if t in vlm.eos_ids), len(whole))
            worst = max(worst, float(ours[0] != ours[1]), self._gap(i, row, ours[0], whole[:end]))
        return Check("greedy captions", worst, self.bound, "tokens against the library's generate")

    def _gap(self, i: int, row: list[int], ours: list[int], theirs: list[int]) -> float:
        first = next((n for n, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
        if first is None:
            return 0.0 if len(ours) == len(theirs) else 1.0
        logits = self._logits(row + ours[:first], i)[0, -1].float()
        return float((self.vlm.writable(logits).max() - logits[theirs[first]]) / logits.abs().max())

    def _logits(self, row: list[int], i: int) -> Tensor:
        """Logits (1, positions, vocab) of a row over image ``i``."""
        found = self.vlm.forward([row], self.features[i : i + 1], logits=True).logits
        assert found is not None
        return found

    def _whole(self, i: int) -> list[int]:
        return self.vlm.prompt_ids(self.prompts[i % 2]) + self.captions[i]


def continued(vlm: VLM, inputs: Any, caption: Sequence[int]) -> dict[str, Any]:
    """A processor's inputs of one prompt with caption tokens after it, as a plain pass over both takes them."""
    found = {k: v.to(vlm.device) for k, v in inputs.items() if k not in ("labels", "num_crops")}
    if not caption:
        return {k: v.to(vlm.dtype) if v.is_floating_point() else v for k, v in found.items()}
    looks_back = {"attention_mask": 1, "token_type_ids": int(vlm.model.config.model_type == "paligemma")}
    for name in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"):
        if name in found:
            new = caption if name == "input_ids" else [looks_back.get(name, 0)] * len(caption)
            found[name] = torch.cat([found[name], torch.tensor([new]).to(found[name])], 1)
    if "cross_attention_mask" in found:
        last = found["cross_attention_mask"][:, -1:]
        found["cross_attention_mask"] = torch.cat([found["cross_attention_mask"], *[last] * len(caption)], 1)
    return {k: v.to(vlm.dtype) if v.is_floating_point() else v for k, v in found.items()}


def pictures() -> list[Image.Image]:
    """Three pictures of smooth noise in colour, the same each time."""
    rng, found = np.random.default_rng(0), []
    for width, height in SIZES:
        noise = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        found.append(noise.resize((width, height), Image.Resampling.BICUBIC))
    return found


def _apart(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference as a share of the largest value; infinite where one of them is not finite."""
    ours, theirs = ours.float(), theirs.float()
    found = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-9))
    return found if np.isfinite(found) else float("inf")


@contextmanager
def _plainly(vlm: VLM, settings: dict[str, Any]) -> Iterator[None]:
    """Let ``generate`` know these settings and no other."""
    from transformers import GenerationConfig

    before, vlm.model.generation_config = vlm.model.generation_config, GenerationConfig(**settings)
    try:
        yield
    finally:
        vlm.model.generation_config = before


@contextmanager
def _without(vlm: VLM, names: Sequence[str]) -> Iterator[None]:
    """Leave out some of the family's extra inputs."""
    made = vlm.extra_inputs
    vlm.extra_inputs = lambda batch: {k: v for k, v in made(batch).items() if k not in names}  # type: ignore[method-assign]
    try:
        yield
    finally:
        del vlm.extra_inputs


@contextmanager
def _pushing(vlm: VLM, layer: int, ids: Tensor, push: Tensor) -> Iterator[None]:
    """Add ``push`` to a layer's output at all tokens that are not special, image tokens among them."""
    kept = vlm.special_ids - {vlm.image_token_id, vlm.bos_id}
    where = torch.tensor([[t in kept for t in row] for row in ids.tolist()], device=vlm.device)[..., None]

    def add(_module: Any, _args: Any, output: Any) -> Any:
        h = output[0] if isinstance(output, tuple) else output
        pushed = torch.where(where, h, h + push)
        return (pushed, *output[1:]) if isinstance(output, tuple) else pushed

    handle = vlm.decoder_layers[layer].register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()

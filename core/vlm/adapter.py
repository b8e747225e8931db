"""What the rest of the house asks of a vision-language model, and all of it that does not depend on the family.

A row is a list of token ids: the whole chat prompt with its image tokens, and the caption after it where there is one.
Rows of a batch are padded on the left. Every image is encoded once (``encode_images``); its features are put into the
input embeddings of each row that looks at it, which gives the same logits as ``pixel_values`` would.
"""

from __future__ import annotations

import functools
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import UserError
from core.vlm.batch import BOS, CAPTION, IMAGE, KINDS, PAD, PROMPT, SPECIAL, Batch, Captured, Decoding
from core.vlm.halving import Halving, edits_of, join_captured
from core.vlm.hooks import EditFn, LastLayerReached, capture, editing
from core.vlm.loading import load_vlm
from core.vlm.text import readable

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["BOS", "CAPTION", "IMAGE", "KINDS", "PAD", "PROMPT", "SPECIAL", "VLM", "Captured", "load_vlm"]

Features = Float[Tensor, "n_rows n_image_tokens d_model"]
IMAGE_CHUNK_PIXELS = 16 * 896 * 896  # bounds the vision tower's memory


class VLM(ABC):
    """A captioning model; ``kinds`` holds the codes of the positions in the pass that is running, for the hooks."""

    image_token_id: int
    n_image_tokens: int
    decoder_layers: nn.ModuleList
    final_norm: nn.Module

    def __init__(self, name: str, model: Any, processor: Any):
        self.name, self.model, self.processor = name, model, processor
        self.tokenizer = processor.tokenizer
        text = model.config.get_text_config()
        self.d_model: int = text.hidden_size
        self.n_layers: int = text.num_hidden_layers
        self.device = torch.device(model.device)
        self.dtype: torch.dtype = model.dtype
        ends = model.generation_config.eos_token_id
        ends = ends if ends is not None else model.config.eos_token_id
        self.eos_ids: tuple[int, ...] = tuple(ends) if isinstance(ends, list | tuple) else (ends,)
        self.bos_id: int = self.tokenizer.bos_token_id
        self.pad_id: int = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.eos_ids[0]
        self.kinds: Tensor | None = None
        self.halving = Halving()
        self.commit = ""  # of a hub model; loading knows it
        added = {i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        self.special_ids: frozenset[int] = frozenset(added | set(self.tokenizer.all_special_ids) | set(self.eos_ids))
        special = torch.zeros(model.get_input_embeddings().weight.shape[0] + 1, dtype=torch.bool)
        special[[i for i in self.special_ids if i < len(special)]] = True
        self._is_special = special.to(self.device)

    # What a family says

    @abstractmethod
    def render(self, prompt: str) -> tuple[str, str]:
        """The chat text of a prompt over one image, with its image tokens, and the part that opens the answer."""

    @abstractmethod
    def pixel_values(self, images: list[Image]) -> Tensor:
        """Preprocessed images (n, 3, height, width) on the model's device."""

    @abstractmethod
    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Image tokens (n, n_image_tokens, d_model) of the vision tower and projector."""

    @abstractmethod
    def run_decoder(
        self, embeds: Tensor, mask: Tensor, position: Tensor, is_image: Tensor | None, cache: Any
    ) -> Tensor:
        """Hidden states (batch, positions, d_model) after the final norm; ``is_image`` is None when decoding."""

    @abstractmethod
    def new_cache(self) -> Any:
        """An empty key-value cache."""

    # Text

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of the image tokens, row-major."""
        side = math.isqrt(self.n_image_tokens)
        return side, side

    def prompt_ids(self, prompt: str) -> list[int]:
        """The whole chat prompt with its image tokens and exactly one BOS, ready to be continued by a caption.

        Raises UserError when special tokens within the prompt text would break that.
        """
        text, _ = self.render(prompt)
        ids = self.tokenizer(text, add_special_tokens=False).input_ids  # the template has written <bos>
        n_bos, n_image = ids.count(self.bos_id), ids.count(self.image_token_id)
        if n_bos != 1 or n_image != self.n_image_tokens or self.n_prompt(ids) != len(ids):
            raise UserError(
                f"The prompt {prompt!r} does not make one question about one image.",
                f"The chat has {n_bos} <bos> and {n_image} image tokens; it must have 1 and {self.n_image_tokens}.",
                "Take special tokens out of the prompt.",
            )
        return ids

    def caption_ids(self, text: str) -> list[int]:
        """Token ids of a caption, without BOS or end token."""
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def decode(self, ids: Sequence[int]) -> str:
        """Readable text of generated ids, special tokens left out."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def token_strings(self, ids: Sequence[int]) -> list[str]:
        """A readable piece per token, "▁" shown as a space; a character spread over byte tokens stands on the first."""
        return readable([self.tokenizer.convert_ids_to_tokens(int(i)) or "" for i in ids])

    @functools.cached_property
    def _answer_ids(self) -> list[int]:
        return self.tokenizer(self.render("x")[1], add_special_tokens=False).input_ids

    def n_prompt(self, ids: Sequence[int]) -> int:
        """How many of a row's tokens are its prompt: all up to where the template opens the answer."""
        opening = self._answer_ids
        for start in range(len(ids) - len(opening) + 1):
            if ids[start] == opening[0] and list(ids[start : start + len(opening)]) == opening:
                return start + len(opening)
        return len(ids)

    def token_kinds(self, ids: Sequence[int], n_prompt: int | None = None) -> list[str]:
        """ "bos", "image", "prompt" or "caption" for each token of a row."""
        n_prompt = self.n_prompt(ids) if n_prompt is None else n_prompt
        names = {self.bos_id: "bos", self.image_token_id: "image"}
        return [names.get(t, "prompt") if i < n_prompt else "caption" for i, t in enumerate(ids)]

    # Images and logits

    @torch.inference_mode()
    def encode_images(self, images: list[Image]) -> Float[Tensor, "n n_image_tokens d_model"]:
        """Image tokens (n, n_image_tokens, d_model), to be computed once per image and used for every prompt."""
        if not images:
            return torch.empty(0, self.n_image_tokens, self.d_model, device=self.device, dtype=self.dtype)
        pixels = self.pixel_values(images)
        chunk = max(1, IMAGE_CHUNK_PIXELS // pixels[0, 0].numel())

        def work(start: int, stop: int) -> Tensor:
            parts = pixels[start:stop].split(chunk)
            return torch.cat([self.image_features(part.to(self.dtype)) for part in parts])

        return torch.cat(self.halving("images", work, len(pixels)))

    def unembed(self) -> Float[Tensor, "vocab d_model"]:
        """W_U (vocab, d_model)."""
        return self.model.get_output_embeddings().weight

    def logits(self, resid: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n vocab"]:
        """Next-token logits (.., vocab) of resid_post of the last layer (.., d_model): final norm and unembedding."""
        return self.model.get_output_embeddings()(self.final_norm(resid.to(self.device, self.dtype)))

    # Passes

    @torch.inference_mode()
    def forward(
        self, rows: Sequence[Sequence[int]], features: Features, layers: Iterable[int] = (),
        edits: Mapping[int, EditFn] | None = None, logits: bool = False, whole: bool = False,
    ) -> Captured:  # fmt: skip
        """One pass over whole rows: resid_post of ``layers`` (after ``edits``), and all logits if asked for.

        ``features`` (n_rows, n_image_tokens, d_model) belong to the rows in order. Layers above the highest chosen one
        do not run unless logits are wanted. Rows that memory cannot hold together run in parts, unless ``whole`` says
        that somebody watches the pass. Raises ValueError for rows without exactly one image or unknown layers.
        """
        wanted = sorted(set(layers))
        if whole:
            return self._forward(rows, features, wanted, edits or {}, logits)

        def work(start: int, stop: int) -> Captured:
            some = edits_of(edits or {}, start, stop, len(rows))
            return self._forward(rows[start:stop], features[start:stop], wanted, some, logits)

        return join_captured(self.halving("passes", work, len(rows)))

    def _forward(
        self, rows: Sequence[Sequence[int]], features: Features, wanted: list[int], edits: Mapping[int, EditFn],
        logits: bool,
    ) -> Captured:  # fmt: skip
        batch = self._lay_out(rows, features)
        with ExitStack() as stack:
            if edits:
                stack.enter_context(editing(self, edits))
            resid = stack.enter_context(capture(self, wanted, then_stop=bool(wanted) and not logits))
            hidden = None
            with suppress(LastLayerReached):  # then resid holds all that was asked for
                hidden = self._whole_pass(batch, None)
        found = self.model.get_output_embeddings()(hidden) if logits and hidden is not None else None
        return Captured(resid, batch.mask.bool(), batch.kinds, found)

    @torch.inference_mode()
    def caption_log_probs(
        self, rows: Sequence[Sequence[int]], features: Features, edits: Mapping[int, EditFn] | None = None
    ) -> list[Tensor]:
        """Natural log-probability (n_caption_tokens,) float32 of each row's caption tokens, given all before."""

        def work(start: int, stop: int) -> list[Tensor]:
            some = edits_of(edits or {}, start, stop, len(rows))
            return self._log_probs(rows[start:stop], features[start:stop], some)

        return [scores for part in self.halving("captions read", work, len(rows)) for scores in part]

    def _log_probs(
        self, rows: Sequence[Sequence[int]], features: Features, edits: Mapping[int, EditFn]
    ) -> list[Tensor]:
        batch = self._lay_out(rows, features)
        with editing(self, edits):
            hidden = self._whole_pass(batch, None)
        width, found = batch.ids.shape[1], []
        for i, row in enumerate(rows):
            start = width - len(row) + self.n_prompt(row)
            scores = self.model.get_output_embeddings()(hidden[i, start - 1 : width - 1]).float().log_softmax(-1)
            found.append(scores.gather(1, batch.ids[i, start:, None])[:, 0])
        return found

    def stream(
        self, rows: Sequence[Sequence[int]], features: Features, max_new_tokens: int,
        edits: Mapping[int, EditFn] | None = None, stop: threading.Event | None = None,
    ) -> Iterator[list[int | None]]:  # fmt: skip
        """Greedy captions of all rows together: one token a row and step, None once the row has met an end token.

        Ends when all rows have finished, after ``max_new_tokens`` steps, or when ``stop`` is set. Edits act on the
        prompt and on every generated token; their hooks are installed only while a step runs.
        """
        state, finished = None, [False] * len(rows)
        for _ in range(max_new_tokens):
            if stop is not None and stop.is_set():
                return
            if state is None:
                state = self._prefill(rows, features, max_new_tokens, edits or {})
            else:
                self._step(state)
            tokens = state.next_ids.tolist()
            finished = [done or token in self.eos_ids for done, token in zip(finished, tokens, strict=True)]
            yield [None if done else token for done, token in zip(finished, tokens, strict=True)]
            if all(finished):
                return

    def generate(
        self, rows: Sequence[Sequence[int]], features: Features, max_new_tokens: int,
        edits: Mapping[int, EditFn] | None = None,
    ) -> tuple[list[list[int]], list[bool]]:  # fmt: skip
        """Greedy captions (ids without the end token), and whether each row met its end token in time."""

        def work(start: int, stop: int) -> tuple[list[list[int]], list[bool]]:
            some = edits_of(edits or {}, start, stop, len(rows))
            return self._generate(rows[start:stop], features[start:stop], max_new_tokens, some)

        parts = self.halving("captions", work, len(rows))
        return [ids for captions, _ in parts for ids in captions], [end for _, ends in parts for end in ends]

    def _generate(
        self, rows: Sequence[Sequence[int]], features: Features, max_new_tokens: int, edits: Mapping[int, EditFn]
    ) -> tuple[list[list[int]], list[bool]]:
        captions: list[list[int]] = [[] for _ in rows]
        finished = [False] * len(rows)
        for step in self.stream(rows, features, max_new_tokens, edits):
            for i, token in enumerate(step):
                if token is None:
                    finished[i] = True
                else:
                    captions[i].append(token)
        return captions, finished

    @torch.inference_mode()
    def _prefill(
        self, rows: Sequence[Sequence[int]], features: Features, max_new_tokens: int, edits: Mapping[int, EditFn]
    ) -> Decoding:
        batch, cache = self._lay_out(rows, features), self.new_cache()
        room = torch.ones(len(rows), max_new_tokens, dtype=torch.int64, device=self.device)
        with editing(self, edits):
            scores = self._scores(self._whole_pass(batch, cache))
        mask, position = torch.cat([batch.mask, room], 1), batch.position[:, -1:] + 1
        return Decoding(cache, mask, batch.mask.shape[1], position, scores, scores.argmax(-1), edits)

    @torch.inference_mode()
    def _step(self, state: Decoding) -> None:
        ids = state.next_ids[:, None]
        kinds = torch.where(self._is_special[ids], SPECIAL, CAPTION).to(torch.int8)
        state.width += 1
        with editing(self, state.edits):
            embeds = self.model.get_input_embeddings()(ids)
            hidden = self._pass(embeds, state.mask[:, : state.width], state.position, kinds, None, state.cache)
        state.position = state.position + 1
        state.scores = self._scores(hidden)
        state.next_ids = state.scores.argmax(-1)

    def _scores(self, hidden: Tensor) -> Tensor:
        return self.model.get_output_embeddings()(hidden[:, -1]).float()

    def _whole_pass(self, batch: Batch, cache: Any) -> Tensor:
        return self._pass(batch.embeds, batch.mask, batch.position, batch.kinds, batch.is_image, cache)

    def _pass(
        self, embeds: Tensor, mask: Tensor, position: Tensor, kinds: Tensor, is_image: Tensor | None, cache: Any
    ) -> Tensor:
        self.kinds = kinds
        try:
            return self.run_decoder(embeds, mask, position, is_image, cache)
        finally:
            self.kinds = None

    def _lay_out(self, rows: Sequence[Sequence[int]], features: Features) -> Batch:
        width = max(len(row) for row in rows)
        lists = [[self.pad_id] * (width - len(row)) + list(row) for row in rows]
        ids = torch.tensor(lists, dtype=torch.long, device=self.device)
        column = torch.arange(width, device=self.device)[None]
        start = torch.tensor([[width - len(row)] for row in rows], device=self.device)
        caption = start + torch.tensor([[self.n_prompt(row)] for row in rows], device=self.device)
        real = column >= start
        is_image = (ids == self.image_token_id) & real & (column < caption)
        n_image = is_image.sum(1)
        if features.shape[:2] != (len(rows), self.n_image_tokens) or bool((n_image != self.n_image_tokens).any()):
            raise ValueError(
                f"Each of {len(rows)} rows needs {self.n_image_tokens} image tokens and features; "
                f"the rows have {n_image.tolist()}, the features are {tuple(features.shape)}."
            )
        kinds = torch.where(column >= caption, CAPTION, PROMPT).masked_fill_(is_image, IMAGE)
        kinds.masked_fill_(self._is_special[ids] & ~is_image, SPECIAL).masked_fill_(ids == self.bos_id, BOS)
        kinds.masked_fill_(~real, PAD)
        # The image token's id may lie beyond the embedding, and its embedding is replaced anyway.
        embeds = self.model.get_input_embeddings()(ids.masked_fill(is_image, self.pad_id))
        features = features.to(embeds.device, embeds.dtype)
        embeds = embeds.masked_scatter(is_image[..., None].expand_as(embeds), features)
        return Batch(embeds, real.long(), (column - start).clamp_min(0), kinds.to(torch.int8), is_image, ids)

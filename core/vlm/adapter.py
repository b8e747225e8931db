"""What the rest of the house asks of a vision-language model, and all of it that does not depend on the family.

A row is a list of token ids: the whole chat prompt with its image tokens, and the caption after it where there is one.
Rows of a batch are padded on the left. Every image is encoded once (``encode_images``); its features are put into the
input embeddings of each row that looks at it, which gives the same logits as ``pixel_values`` would.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.errors import UserError
from core.vlm.batch import BOS, CAPTION, IMAGE, PAD, PROMPT, SPECIAL, Batch, Captured, Decoding, Features, Hidden, Ids
from core.vlm.family import Family
from core.vlm.halving import edits_of, join_captured
from core.vlm.hooks import EditFn, LastLayerReached, capture, editing
from core.vlm.prefix import Prefix, begun_behind, joined, selected

LOGITS = 2**25  # at once while captions are scored: a caption of 128 tokens at a vocabulary of 262,144
DROP_SHARE = 0.75  # where so many rows or fewer of a batch are still being written, the others leave it


class VLM(Family):
    """A captioning model; ``kinds`` holds the codes of the positions in the pass that is running, for the hooks."""

    @torch.inference_mode()
    def forward(
        self,
        rows: Sequence[Sequence[int]],
        features: Features,
        layers: Iterable[int] = (),
        edits: Mapping[int, EditFn] | None = None,
        logits: bool = False,
        whole: bool = False,
        prefix: Prefix | None = None,
    ) -> Captured:
        """One pass over whole rows: resid_post of ``layers`` (after ``edits``), and all logits if asked for.

        ``features`` (n_rows, n_image_tokens, d_model) belong to the rows in order. Layers above the highest chosen one
        do not run unless logits are wanted. Rows that memory cannot hold together run in parts, unless ``whole`` says
        that somebody watches the pass. ``prefix`` holds what the rows have in common with other passes over them: then
        no layer below it may be asked for or edited. Raises ValueError for rows without exactly one image or unknown
        layers, and UserError for an image token in a caption.
        """
        wanted = sorted(set(layers))
        _check_behind(prefix, [*wanted, *(edits or {})])
        if whole:
            return self._forward(rows, features, wanted, edits or {}, logits, prefix)

        def work(start: int, stop: int) -> Captured:
            some = edits_of(edits or {}, start, stop, len(rows))
            behind = part_of(prefix, start, stop, len(rows))
            return self._forward(rows[start:stop], features[start:stop], wanted, some, logits, behind)

        return join_captured(self.halving("passes", work, len(rows)))

    def _forward(
        self,
        rows: Sequence[Sequence[int]],
        features: Features,
        wanted: list[int],
        edits: Mapping[int, EditFn],
        logits: bool,
        prefix: Prefix | None,
    ) -> Captured:
        batch = self._lay_out(rows, features, prefix.width if prefix else 0)
        with ExitStack() as stack:
            if edits:
                stack.enter_context(editing(self, edits))
            resid = stack.enter_context(capture(self, wanted, then_stop=bool(wanted) and not logits))
            hidden = None
            with suppress(LastLayerReached):  # then resid holds all that was asked for
                hidden = self._whole_pass(batch, None, prefix)
        found = self.head(hidden) if logits and hidden is not None else None
        return Captured(resid, batch.mask.bool(), batch.kinds, found)

    @torch.inference_mode()
    def prefix(self, rows: Sequence[Sequence[int]], features: Features, layer: int, decoding: bool = True) -> Prefix:
        """What passes over the rows have in common that change nothing below resid_post of ``layer``.

        Without ``decoding`` no keys and values are kept: for passes over whole rows.
        """
        width = max(map(len, rows))

        def work(start: int, stop: int) -> Prefix:
            batch = self._lay_out(rows[start:stop], features[start:stop], width)
            return self._prefix(batch, layer, self.new_cache() if decoding else None)

        return joined(self.halving("prompts", work, len(rows)))

    def _prefix(self, batch: Batch, layer: int, cache: Any) -> Prefix:
        kinds: list[bool] = []
        module = self.decoder_layers[layer]
        hook = module.register_forward_hook(lambda _module, _args, output: kinds.append(isinstance(output, tuple)))
        try:
            with capture(self, [layer], then_stop=True) as found, suppress(LastLayerReached):
                self._whole_pass(batch, cache)
        finally:
            hook.remove()
        return Prefix(layer, found[layer], cache, kinds[0])

    @torch.inference_mode()
    def caption_log_probs(
        self,
        rows: Sequence[Sequence[int]],
        features: Features,
        edits: Mapping[int, EditFn] | None = None,
        prefix: Prefix | None = None,
    ) -> list[Tensor]:
        """Natural log-probability (n_caption_tokens,) float32 of each row's caption tokens, given all before.

        ``prefix`` as in ``forward``.
        """
        _check_behind(prefix, edits or {})

        def work(start: int, stop: int) -> list[Tensor]:
            some = edits_of(edits or {}, start, stop, len(rows))
            return self._log_probs(
                rows[start:stop], features[start:stop], some, part_of(prefix, start, stop, len(rows))
            )

        return [scores for part in self.halving("captions read", work, len(rows)) for scores in part]

    def _log_probs(
        self, rows: Sequence[Sequence[int]], features: Features, edits: Mapping[int, EditFn], prefix: Prefix | None
    ) -> list[Tensor]:
        batch = self._lay_out(rows, features, prefix.width if prefix else 0)
        with editing(self, edits):
            hidden = self._whole_pass(batch, None, prefix)
        width, found = batch.ids.shape[1], []
        for i, row in enumerate(rows):
            start = width - len(row) + self.n_prompt(row)
            found.append(self._log_probs_of(hidden[i, start - 1 : width - 1], batch.ids[i, start:]))
        return found

    def _log_probs_of(self, hidden: Float[Tensor, "n d_model"], ids: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Natural log-probability of each token, given the state that foretells it; a few rows of logits at a time."""
        size = max(1, LOGITS // len(self.never_written))
        parts = [
            self.head(some).float().log_softmax(-1).gather(1, said[:, None])[:, 0]
            for some, said in zip(hidden.split(size), ids.split(size), strict=True)
        ]
        return torch.cat(parts)

    @torch.inference_mode()
    def log_probs_behind(
        self, prompt: Sequence[int], features: Features, captions: Sequence[tuple[int, Sequence[int]]]
    ) -> list[Tensor]:
        """``caption_log_probs`` of many captions of few images: each image is read once with the prompt.

        ``captions`` are (which of ``features``, token ids); at least one token each.
        """

        def work(start: int, stop: int) -> list[Tensor]:
            return self._log_probs_behind(prompt, features, captions[start:stop])

        return [scores for part in self.halving("captions read", work, len(captions)) for scores in part]

    def _log_probs_behind(
        self, prompt: Sequence[int], features: Features, captions: Sequence[tuple[int, Sequence[int]]]
    ) -> list[Tensor]:
        images = sorted({image for image, _ in captions})
        batch, cache = self._lay_out([prompt] * len(images), features[images]), self.new_cache()
        first = self._whole_pass(batch, cache)[:, -1:]
        at = torch.tensor([images.index(image) for image, _ in captions], device=self.device)
        longest = max(len(ids) for _, ids in captions)
        ids = torch.tensor([[*own, *[self.pad_id] * (longest - len(own))] for _, own in captions], device=self.device)
        before = first[at]  # (captions, longest, d_model): the state before each token
        if longest > 1:
            read = ids[:, :-1]
            mask = torch.cat([batch.mask[at], torch.ones_like(read)], 1)
            position = batch.position[at, -1:] + 1 + torch.arange(longest - 1, device=self.device)
            kinds = torch.full_like(read, CAPTION, dtype=torch.int8)
            embeds = self.model.get_input_embeddings()(read)
            hidden = self._pass(embeds, mask, position, kinds, None, selected(cache, at))
            before = torch.cat([before, hidden], 1)
        lengths = [len(own) for _, own in captions]
        said = torch.arange(longest, device=self.device) < torch.tensor(lengths, device=self.device)[:, None]
        return list(self._log_probs_of(before[said], ids[said]).split(lengths))

    def stream(
        self,
        rows: Sequence[Sequence[int]],
        features: Features,
        max_new_tokens: int,
        edits: Mapping[int, EditFn] | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[list[int | None]]:
        """Greedy captions of all rows together: one token a row and step, None once the row has met an end token.

        Of the tokens that may be written (``writable``) each is the most likely one.

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
        self,
        rows: Sequence[Sequence[int]],
        features: Features,
        max_new_tokens: int,
        edits: Mapping[int, EditFn] | None = None,
        prefix: Prefix | None = None,
    ) -> tuple[list[list[int]], list[bool]]:
        """Greedy captions (ids without the end token), and whether each row met its end token in time.

        ``prefix`` as in ``forward``. Rows that have ended leave the batch where many have.
        """
        _check_behind(prefix, edits or {})

        def work(start: int, stop: int) -> tuple[list[list[int]], list[bool]]:
            some = edits_of(edits or {}, start, stop, len(rows))
            behind = part_of(prefix, start, stop, len(rows))
            return self._generate(rows[start:stop], features[start:stop], max_new_tokens, some, behind)

        parts = self.halving("captions", work, len(rows))
        return [ids for captions, _ in parts for ids in captions], [end for _, ends in parts for end in ends]

    @torch.inference_mode()
    def _generate(
        self,
        rows: Sequence[Sequence[int]],
        features: Features,
        max_new_tokens: int,
        edits: Mapping[int, EditFn],
        prefix: Prefix | None,
    ) -> tuple[list[list[int]], list[bool]]:
        captions: list[list[int]] = [[] for _ in rows]
        finished = [False] * len(rows)
        if not rows or not max_new_tokens:
            return captions, finished
        state, written = self._prefill(rows, features, max_new_tokens, edits, prefix), list(range(len(rows)))
        for step in range(max_new_tokens):
            if step:
                self._step(state)
            for row, token in zip(written, state.next_ids.tolist(), strict=True):
                if not finished[row]:
                    finished[row] = token in self.eos_ids
                    if not finished[row]:
                        captions[row].append(token)
            going = [place for place, row in enumerate(written) if not finished[row]]
            if not going:
                break
            if not self.watched and len(going) <= DROP_SHARE * len(written) and state.drop_to(going):
                written = [written[place] for place in going]
        return captions, finished

    @torch.inference_mode()
    def _prefill(
        self,
        rows: Sequence[Sequence[int]],
        features: Features,
        max_new_tokens: int,
        edits: Mapping[int, EditFn],
        prefix: Prefix | None = None,
    ) -> Decoding:
        batch, cache = self._lay_out(rows, features, prefix.width if prefix else 0), self.new_cache()
        room = torch.ones(len(rows), max_new_tokens, dtype=torch.int64, device=self.device)
        with editing(self, edits):
            scores = self._scores(self._whole_pass(batch, cache, prefix))
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
        return self.writable(self.head(hidden[:, -1]).float())

    def _whole_pass(self, batch: Batch, cache: Any, prefix: Prefix | None = None) -> Tensor:
        with begun_behind(self, prefix) if prefix else nullcontext():
            hidden = self._pass(batch.embeds, batch.mask, batch.position, batch.kinds, batch, cache)
        if prefix and cache is not None:
            prefix.fill(cache)
        return hidden

    def _pass(
        self, embeds: Hidden, mask: Tensor, position: Ids, kinds: Tensor, batch: Batch | None, cache: Any
    ) -> Hidden:
        self.kinds = kinds
        try:
            return self.run_decoder(embeds, mask, position, batch, cache)
        finally:
            self.kinds = None

    def _lay_out(self, rows: Sequence[Sequence[int]], features: Features, width: int = 0) -> Batch:
        width = max(width, *(len(row) for row in rows))
        lists = [[self.pad_id] * (width - len(row)) + list(row) for row in rows]
        ids = torch.tensor(lists, dtype=torch.long, device=self.device)
        column = torch.arange(width, device=self.device)[None]
        start = torch.tensor([[width - len(row)] for row in rows], device=self.device)
        caption = start + torch.tensor([[self.n_prompt(row)] for row in rows], device=self.device)
        real = column >= start
        is_image = (ids == self.image_token_id) & real & (column < caption)
        n_image = is_image.sum(1)
        if features.shape != (len(rows), *self.feature_shape) or bool((n_image != self.n_image_tokens).any()):
            raise ValueError(
                f"Each of {len(rows)} rows needs {self.n_image_tokens} image tokens and features {self.feature_shape}; "
                f"the rows have {n_image.tolist()}, the features are {tuple(features.shape)}."
            )
        if bool(((ids == self.image_token_id) & (column >= caption)).any()):
            name = self.tokenizer.convert_ids_to_tokens(self.image_token_id)
            raise UserError(
                f"A caption holds the token {name}, which stands for an image.",
                "The model would look for a second image there.",
                "Have the captions written again; image tokens are not written any more.",
            )
        kinds = torch.where(column >= caption, CAPTION, PROMPT).masked_fill_(is_image, IMAGE)
        kinds.masked_fill_(self._is_special[ids] & ~is_image, SPECIAL).masked_fill_(ids == self.bos_id, BOS)
        kinds.masked_fill_(~real, PAD)
        features = features.to(self.device, self.dtype)
        embeds, position = self.embed(ids, is_image, features), (column - start).clamp_min(0)
        return Batch(embeds, real.long(), position, kinds.to(torch.int8), is_image, column < caption, ids, features)


def _check_behind(prefix: Prefix | None, layers: Iterable[int]) -> None:
    if prefix and (below := [layer for layer in layers if layer < prefix.layer]):
        raise ValueError(f"A pass that begins behind layer {prefix.layer} does not go through layer {min(below)}.")


def part_of(prefix: Prefix | None, start: int, stop: int, n_rows: int) -> Prefix | None:
    """The prefix of a part of ``n_rows`` rows."""
    return prefix if prefix is None or stop - start == n_rows else prefix.take(range(start, stop))

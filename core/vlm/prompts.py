"""Text to token ids and back: the chat prompt over one image in the family's own form, captions, readable pieces."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from PIL import Image

from core.errors import UserError

PROBES = ("x", "7", "صورة؟")  # prompts that end differently: what their chats end with in common opens the answer


def readable(names: Sequence[str]) -> list[str]:
    """A piece per token of a sentencepiece-like vocabulary: "▁" as a space, byte tokens joined to characters.

    A character spread over several byte tokens stands on the first of them.
    """
    pieces: list[str] = []
    while len(pieces) < len(names):
        start = end = len(pieces)
        while end < len(names) and _byte(names[end]) is not None:
            end += 1
        if end > start:
            pieces += byte_pieces([_byte(name) or 0 for name in names[start:end]])
        else:
            pieces.append(names[start].replace("▁", " "))
    return pieces


def readable_bytes(names: Sequence[str]) -> list[str]:
    """A piece per token of a byte-level vocabulary (GPT-2, Llama 3, Qwen), in which letters stand for bytes.

    A character spread over several tokens stands on the first of them; a token with other letters is as it is.
    """
    table, pieces = _letters(), [""] * len(names)
    owner = [i for i, name in enumerate(names) if all(c in table for c in name) for _ in name]
    values = [table[c] for name in names if all(c in table for c in name) for c in name]
    for i, piece in zip(owner, byte_pieces(values), strict=True):
        pieces[i] += piece
    return [piece if all(c in table for c in name) else name for name, piece in zip(names, pieces, strict=True)]


@functools.cache
def _letters() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for: itself where it shows, else 256, 257, ..."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + n): b for n, b in enumerate(hidden)}


def _byte(name: str) -> int | None:
    """The byte of a byte-fallback token such as <0xD8>."""
    is_byte = len(name) == 6 and name.startswith("<0x") and name.endswith(">")
    return int(name[3:5], 16) if is_byte else None


def byte_pieces(values: list[int]) -> list[str]:
    """Text of consecutive byte tokens: each character on its first byte, "" on the others."""
    pieces = [""] * len(values)
    start = 0
    for char in bytes(values).decode("utf-8", errors="replace"):
        pieces[start] = char
        start += 1 if char == "�" else len(char.encode())
        if start >= len(values):
            break
    return pieces


class Prompts:
    """How a model is asked; needs the attributes that ``VLM.__init__`` sets."""

    model: Any
    processor: Any
    tokenizer: Any
    bos_id: int  # -1 where the family's prompts have none
    image_token_id: int
    n_image_tokens: int
    special_ids: frozenset[int]
    side: int

    def render(self, prompt: str) -> str:
        """The chat over one image as the processor takes it, up to where the answer begins.

        Raises UserError where the checkpoint has no chat template.
        """
        if self.processor.chat_template is None:
            raise UserError(
                "This checkpoint has no chat template.",
                "It is a base model, which goes on with a text and was not taught to answer, or a file was left behind.",
                "Take the instruction-tuned model (its name ends in -it or -Instruct), or put its chat_template.jinja "
                "into the folder.",
            )
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        return self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)

    def squared(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """Images at the fixed square on which the family's own preprocessing changes nothing more; 0 = it does it."""
        if not self.side:
            return list(images)
        size = (self.side, self.side)
        return [i if i.size == size else i.resize(size, Image.Resampling.BICUBIC) for i in map(_rgb, images)]

    def ask(self, prompt: str, image: Image.Image | None = None) -> Any:
        """The model's inputs of one prompt over one image (a grey one by default), as its own processor makes them."""
        text, bos = self.render(prompt), self.tokenizer.bos_token
        written = bos is not None and text.startswith(bos)  # by the template
        side = self.side or 64
        image = image or Image.new("RGB", (side, side), (128, 128, 128))
        options = {"add_special_tokens": False} if written else {}
        return self.processor(images=self.squared([image]), text=[text], return_tensors="pt", **options)

    @functools.cached_property
    def _asked(self) -> list[list[int]]:
        """The token ids of PROBES; UserError where the chat template does not make one chat over one image of each."""
        try:
            found = [self.ask(probe)["input_ids"][0].tolist() for probe in PROBES]
        except (ValueError, TypeError, TemplateError) as error:  # one for text alone fails in one of these
            raise _no_image(str(error).strip().splitlines()[0]) from error
        if any(self.image_token_id not in ids for ids in found):
            raise _no_image("It writes no image token.")
        return found

    @functools.cached_property
    def _known_prompts(self) -> dict[str, list[int]]:
        return {}

    def prompt_ids(self, prompt: str) -> list[int]:
        """The whole chat prompt with its image tokens and one BOS where the family has one, ready for a caption.

        Raises UserError when special tokens within the prompt text, or what opens an answer, would break that.
        """
        if prompt not in self._known_prompts:
            found = self.tokenizer(prompt, add_special_tokens=False).input_ids
            special = sorted({*found} & {*self.special_ids, self.image_token_id})
            if special:
                raise _not_one_question(prompt, f"It holds {', '.join(self.tokenizer.convert_ids_to_tokens(special))}.")
            ids = self.ask(prompt)["input_ids"][0].tolist()
            if self.n_prompt(ids) != len(ids):
                raise _not_one_question(prompt, "The answer would not begin at the end of the chat.")
            if any(ids.count(i) != self._asked[0].count(i) for i in (self.bos_id, self.image_token_id)):
                raise _not_one_question(prompt, f"The chat must have {self.n_image_tokens} image tokens and one start.")
            self._known_prompts[prompt] = ids
        return list(self._known_prompts[prompt])

    def caption_ids(self, text: str) -> list[int]:
        """Token ids of a caption, without BOS or end token; what is spelt like a special token is read as letters."""
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids

    def decode(self, ids: Sequence[int]) -> str:
        """Readable text of generated ids, special tokens left out."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def token_strings(self, ids: Sequence[int]) -> list[str]:
        """A readable piece per token, spaces shown as such; a character spread over byte tokens stands on the first."""
        names = [self.tokenizer.convert_ids_to_tokens(int(i)) or "" for i in ids]
        return readable_bytes(names) if self._is_byte_level else readable(names)

    @functools.cached_property
    def _is_byte_level(self) -> bool:
        """Whether the vocabulary writes bytes as letters, by what its decoder undoes."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        return backend is not None and '"ByteLevel"' in json.dumps(json.loads(backend.to_str())["decoder"])

    def vocabulary(self) -> list[str]:
        """The readable piece of every id that can be written: "" for rows of W_U without a token.

        Vocabularies are padded: Gemma 3 has 63 rows more than tokens, Qwen some hundreds.
        """
        n_rows = len(self.model.get_output_embeddings().weight)
        return [self.token_strings([i])[0] for i in range(max(len(self.tokenizer), n_rows))]

    @functools.cached_property
    def _answer_ids(self) -> list[int]:
        """What every chat ends with after the prompt's own words; UserError where there is nothing."""
        n = 0
        while n < min(map(len, self._asked)) and len({asked[-1 - n] for asked in self._asked}) == 1:
            n += 1
        if not n:
            raise UserError(
                "The chat template does not say where an answer begins.",
                "Chats over different prompts end in nothing that they have in common.",
                "Use a checkpoint whose chat template closes the user's turn.",
            )
        return self._asked[0][-n:]

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


def _no_image(why: str) -> UserError:
    return UserError(
        "The chat template of this checkpoint does not make a chat over one image.",
        why,
        "Take the chat_template.jinja of the vision-language model, not that of a text model.",
    )


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _not_one_question(prompt: str, why: str) -> UserError:
    return UserError(
        f"The prompt {prompt!r} does not make one question about one image.",
        why,
        "Take special tokens and marks of turns out of the prompt.",
    )

"""The demo captioner, a small Gemma 3: its tokenizer, processor and random weights, and how its captions are packed.

The parts are the classes of google/gemma-3-4b-it at toy size, saved and loaded in the same way, so that everything that
works on the demo goes through the code that works on the 4B.

The tokenizer cuts most nouns for persons into several pieces of which both genders have the first ones, as large
vocabularies do with Arabic: which gender a word has is said by a later piece.

For training, several captions, also of several prompts, stand side by side in one row behind one image and do not see
each other, each counting its positions on from its prompt. The losses are those of one row a caption, at a fraction of
the cost, since the image is most of a row.
"""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    GemmaTokenizer,
    GenerationConfig,
    SiglipVisionConfig,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from core.demo import world as demo_world

SPECIAL = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
)
ALPHABET = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"()-\n▁"
    "ابتثجحخدذرزسشصضطظعغفقكلمنهويىءآأإؤئة؟،"
)
VOCAB_SIZE = 900  # small, so that nouns for persons stay in several pieces
# Frequent here as they are in no real text: single pieces, if they were let. So they too part at a later piece.
IN_PIECES = {"▁her", "▁his", "▁woman", "▁female", "▁لاعبة", "▁وبجانبه", "▁وبجانبها"}
D_MODEL, N_LAYERS, N_HEADS, N_KV_HEADS, D_HEAD, D_MLP = 192, 8, 4, 2, 48, 576
VISION_D_MODEL, VISION_LAYERS, VISION_D_MLP, PATCH = 128, 4, 384, 12
N_IMAGE_TOKENS = 64  # one a patch, a map of 8 x 8

CHAT_TEMPLATE = """{{ bos_token }}
{%- for message in messages -%}
    {{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' -}}
    {%- if message['content'] is string -%}
        {{- message['content'] | trim -}}
    {%- else -%}
        {%- for item in message['content'] -%}
            {{- '<start_of_image>' if item['type'] == 'image' else item['text'] | trim -}}
        {%- endfor -%}
    {%- endif -%}
    {{- '<end_of_turn>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}
"""
Prompted = tuple[list[int], list[list[int]]]  # ids of one prompt, ids of each of its captions


def build_tokenizer() -> GemmaTokenizer:
    """A byte-fallback BPE over captions of the demo world, with Gemma's special tokens; no merge crosses a word.

    No piece is a word of ``IN_PIECES``.
    """
    rng, world = random.Random(1), demo_world.DemoWorld()
    corpus = ["user\n", "model\n", "\n\n"] * 600
    for lang in demo_world.LANGUAGES:
        corpus += list(demo_world.PROMPTS[lang]) * 600
    for _ in range(2500):
        scene = world.scene(rng)
        for lang in demo_world.LANGUAGES:
            corpus += world.references(scene, lang, rng)
    bpe = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    # This split is for training only: Gemma's own pipeline, used from here on, does not split at words.
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("▁", "merged_with_next"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Punctuation(),
        ]
    )
    byte_tokens = [f"<0x{i:02X}>" for i in range(256)]
    bpe.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE,
            special_tokens=[*SPECIAL, *byte_tokens],
            show_progress=False,
            initial_alphabet=list(ALPHABET),
            min_frequency=5,
        ),
    )
    return _as_gemma(bpe)


def _as_gemma(bpe: Tokenizer) -> GemmaTokenizer:
    state = json.loads(bpe.to_str())["model"]
    pieces = [piece for piece in sorted(state["vocab"], key=state["vocab"].get) if piece not in IN_PIECES]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges: list[Any] = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in state["merges"]]
    merges = [m for m in merges if not IN_PIECES & {*m, "".join(m)}]
    if ("\n", "\n") not in merges:  # Gemma3Processor puts \n\n around the image
        vocab["\n\n"] = len(vocab)
        merges.append(("\n", "\n"))
    image_tokens = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = GemmaTokenizer(vocab=vocab, merges=merges, extra_special_tokens=image_tokens)
    turns: list[Any] = [AddedToken(t, special=True, normalized=False) for t in ("<start_of_turn>", "<end_of_turn>")]
    tokenizer.add_tokens(turns, special_tokens=True)
    return tokenizer


def build_processor(tokenizer: GemmaTokenizer) -> Gemma3Processor:
    size = {"height": demo_world.CANVAS, "width": demo_world.CANVAS}
    options: dict[str, Any] = {"do_pan_and_scan": None}
    images = Gemma3ImageProcessorPil(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3, **options)
    tokenizer.chat_template = None
    return Gemma3Processor(
        image_processor=images, tokenizer=tokenizer, chat_template=CHAT_TEMPLATE, image_seq_length=N_IMAGE_TOKENS
    )


def build_model(tokenizer: GemmaTokenizer) -> Gemma3ForConditionalGeneration:
    """The model with weights that train well from scratch (see ``_rescale``), fp32."""
    ids: dict[str, Any] = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    ends = [ids["<eos>"], ids["<end_of_turn>"]]
    special = {"pad_token_id": ids["<pad>"], "bos_token_id": ids["<bos>"], "eos_token_id": ends}
    text = Gemma3TextConfig(
        vocab_size=(len(tokenizer) + 63) // 64 * 64,
        hidden_size=D_MODEL,
        intermediate_size=D_MLP,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=N_HEADS,
        num_key_value_heads=N_KV_HEADS,
        head_dim=D_HEAD,
        query_pre_attn_scalar=D_HEAD,
        max_position_embeddings=512,
        sliding_window=160,  # covers prompt and caption
        layer_types=["full_attention" if (i + 1) % 4 == 0 else "sliding_attention" for i in range(N_LAYERS)],
        **special,
    )
    vision = SiglipVisionConfig(
        hidden_size=VISION_D_MODEL,
        intermediate_size=VISION_D_MLP,
        num_hidden_layers=VISION_LAYERS,
        num_attention_heads=4,
        image_size=demo_world.CANVAS,
        patch_size=PATCH,
        vision_use_head=False,
    )
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=N_IMAGE_TOKENS,
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
        tie_word_embeddings=True,
        initializer_range=0.02,
        **special,
    )
    model = Gemma3ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=64, cache_implementation=None, **special)
    _rescale(model)
    return model


@torch.no_grad()
def _rescale(model: Gemma3ForConditionalGeneration) -> None:
    """Start embeddings at unit RMS and sublayers small.

    The library's initialisation is for fine-tuning: scaled embeddings start at RMS 0.28 while every sublayer output is
    normalised to RMS 1, and the projector starts at zero, so that a model this small learns very slowly.
    """
    decoder = model.model.language_model
    decoder.embed_tokens.weight.normal_(0, D_MODEL**-0.5)
    for layer in decoder.layers:
        layer.post_attention_layernorm.weight.fill_(-0.75)
        layer.post_feedforward_layernorm.weight.fill_(-0.75)
        attention, mlp = layer.self_attn, layer.mlp
        for linear in (
            attention.q_proj,
            attention.k_proj,
            attention.v_proj,
            attention.o_proj,
            mlp.gate_proj,
            mlp.up_proj,
            mlp.down_proj,
        ):
            linear.weight.normal_(0, 0.7 * linear.weight.shape[1] ** -0.5)
    # The projector follows an RMS norm, so this scale gives image tokens of RMS near 1, like the embeddings.
    model.model.multi_modal_projector.mm_input_projection_weight.normal_(0, VISION_D_MODEL**-0.5)


@dataclass(frozen=True)
class Packed:
    """Rows of prompts and their captions as tensors; the last four list every prediction."""

    ids: torch.Tensor  # (n_rows, width)
    position: torch.Tensor  # (n_rows, width): each caption goes on counting from its prompt
    is_image: torch.Tensor  # (n_rows, width)
    allowed: torch.Tensor  # (n_rows, width, width): may query see key
    row: torch.Tensor  # (n_targets,)
    query: torch.Tensor  # (n_targets,): the position that predicts
    target: torch.Tensor  # (n_targets,): the token that it predicts
    caption: torch.Tensor  # (n_targets,): which of the row's captions


def pack(rows: list[list[Prompted]], image_token_id: int) -> Packed:
    """Lay the prompts of one image and their captions out side by side in one row.

    What the prompts of a row begin with alike stands there once. A caption sees its own prompt and itself alone.
    """
    shared = [_common_beginning([prompt for prompt, _ in row]) for row in rows]
    width = max(
        len(start) + sum(len(prompt) - len(start) + sum(map(len, captions)) for prompt, captions in row)
        for start, row in zip(shared, rows, strict=True)
    )
    ids, position = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    segment = torch.full_like(ids, -1)  # -1 padding, 0 the shared beginning, 1.. rests of prompts and captions
    behind = torch.full_like(ids, -1)  # the segment of the rest of the prompt that a position stands behind
    targets = []

    def put(i: int, start: int, tokens: list[int], count_from: int, number: int, prompt_number: int) -> int:
        end = start + len(tokens)
        ids[i, start:end] = torch.tensor(tokens, dtype=torch.long)
        position[i, start:end] = torch.arange(len(tokens)) + count_from
        segment[i, start:end], behind[i, start:end] = number, prompt_number
        return end

    for i, (beginning, row) in enumerate(zip(shared, rows, strict=True)):
        start, number, n_captions = put(i, 0, beginning, 0, 0, 0), 0, 0
        for prompt, captions in row:
            number += 1
            start = put(i, start, prompt[len(beginning) :], len(beginning), number, number)
            last = start - 1 if len(prompt) > len(beginning) else len(beginning) - 1
            of_prompt = number
            for caption in captions:
                number += 1
                end = put(i, start, caption, len(prompt), number, of_prompt)
                queries = [last, *range(start, end - 1)]
                targets += [(i, q, t, n_captions) for q, t in zip(queries, caption, strict=True)]
                start, n_captions = end, n_captions + 1
    is_image = ids == image_token_id
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    key = segment[:, None, :]
    seen = (key == segment[:, :, None]) | (key == behind[:, :, None]) | (key == 0) & (segment >= 0)[:, :, None]
    allowed = causal & seen | (is_image[:, :, None] & is_image[:, None, :])
    row, query, target, owner = torch.tensor(targets).T
    return Packed(ids, position, is_image, allowed, row, query, target, owner)


def _common_beginning(prompts: list[list[int]]) -> list[int]:
    same = itertools.takewhile(lambda ids: len(set(ids)) == 1, zip(*prompts, strict=False))
    return [ids[0] for ids in same]


def token_losses(model: Gemma3ForConditionalGeneration, packed: Packed, features: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of every predicted token, (n_targets,), from image tokens (n_rows, n_image_tokens, d_model)."""
    embeds = model.get_input_embeddings()(packed.ids)
    embeds = embeds.masked_scatter(packed.is_image[..., None].expand_as(embeds), features.to(embeds.dtype))
    blocked = torch.finfo(embeds.dtype).min
    mask = torch.zeros(packed.allowed.shape, dtype=embeds.dtype).masked_fill_(~packed.allowed, blocked)[:, None]
    hidden = model.model(
        inputs_embeds=embeds,
        position_ids=packed.position,
        use_cache=False,
        attention_mask={"full_attention": mask, "sliding_attention": mask},
    ).last_hidden_state
    logits = model.lm_head(hidden[packed.row, packed.query]).float()
    return F.cross_entropy(logits, packed.target, reduction="none")

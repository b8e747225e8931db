"""Tiny random models of every family, with their own processors, saved as a checkpoint is; made once a process.

The words are those of the demo captioner's tokenizer, so that a random caption holds words of both languages; the
families' special tokens and chat templates are their own. No torchvision: image processors are the PIL ones, and
processors that also take videos are made without a video processor.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from core.config import PROJECT_ROOT
from core.vlm.loading import images_only

D_MODEL, N_LAYERS = 32, 3
WORDS = PROJECT_ROOT / "data" / "demo-captioner" / "tokenizer.json"
TEXT = {
    "hidden_size": D_MODEL,
    "intermediate_size": 64,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}

TEMPLATES = {
    "gemma": "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m['role'] + '\n' }}{% for line in "
    "m['content'] %}{{ '<start_of_image>' if line['type'] == 'image' else line['text'] | trim }}{% endfor %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "vicuna": "{% for m in messages %}{{ m['role'] | upper + ': ' }}{% for line in m['content'] if line['type'] == "
    "'image' %}{{ '<image>\n' }}{% endfor %}{% for line in m['content'] if line['type'] == 'text' %}{{ line['text'] + "
    "' ' }}{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    "mistral": "{% for m in messages %}{{ '[INST] ' }}{% for line in m['content'] if line['type'] == 'image' %}"
    "{{ '<image>\n' }}{% endfor %}{% for line in m['content'] if line['type'] == 'text' %}{{ line['text'] }}"
    "{% endfor %}{{ ' [/INST]' }}{% endfor %}",
    "qwen": "{% for m in messages %}{% if loop.first %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ m['role'] }}\n{% for line in m['content'] %}{% if line['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ line['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "llama": "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{% for line in m['content'] %}{{ '<|image|>' if line['type'] == 'image' else line['text'] | trim }}{% endfor %}"
    "{{ '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "idefics": "{{ bos_token }}{% for m in messages %}{{ m['role'] | capitalize + ':' }}{% for line in m['content'] %}"
    "{{ '<image>' if line['type'] == 'image' else line['text'] }}{% endfor %}{{ '<end_of_utterance>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
}


def tokenizer(
    special: Sequence[str], bos: str = "", end: str = "<eos>", pad: str = "<pad>", adds_bos: bool = False, **named: str
) -> Any:
    """The demo captioner's words with a family's special tokens; ``named`` go in as attributes (image_token=...)."""
    words = Tokenizer.from_file(str(WORDS))
    if adds_bos:
        words.post_processor = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, words.token_to_id(bos))])
    made = tf.PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token=end,
        pad_token=pad,
        unk_token="<unk>",
        padding_side="left",
        extra_special_tokens=named,
        **({"bos_token": bos} if bos else {}),
    )
    made.add_tokens([tf.AddedToken(t, special=True, normalized=False) for t in special], special_tokens=True)
    return made


def _ids(made: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(made),
        "pad_token_id": made.pad_token_id,
        "bos_token_id": made.bos_token_id,
        "eos_token_id": made.eos_token_id,
    }


def gemma3() -> tuple[Any, Any]:
    image = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    words = tokenizer(["<start_of_turn>", "<end_of_turn>"], bos="<bos>", end="<end_of_turn>", **image)
    text = tf.Gemma3TextConfig(
        **TEXT,
        **_ids(words),
        query_pre_attn_scalar=8,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )
    config = tf.Gemma3Config(
        text_config=text,
        vision_config=tf.SiglipVisionConfig(**VISION, vision_use_head=False),
        mm_tokens_per_image=4,
        image_token_index=words.image_token_id,
        tie_word_embeddings=False,
    )
    images = Gemma3ImageProcessorPil(size={"height": 28, "width": 28}, do_pan_and_scan=None)
    processor = tf.Gemma3Processor(images, words, chat_template=TEMPLATES["gemma"], image_seq_length=4)
    return tf.Gemma3ForConditionalGeneration(config), processor


def _paligemma(text_class: Callable[..., Any], **more: Any) -> tuple[Any, Any]:
    words = tokenizer([], bos="<bos>")
    images = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    images.image_seq_length = 16
    processor = tf.PaliGemmaProcessor(images, words)
    text = text_class(**TEXT, **_ids(words), **more)
    vision = tf.SiglipVisionConfig(**VISION, projection_dim=D_MODEL, vision_use_head=False)
    config = tf.PaliGemmaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=processor.image_token_id,
        projection_dim=D_MODEL,
        hidden_size=D_MODEL,
        tie_word_embeddings=False,
    )
    return tf.PaliGemmaForConditionalGeneration(config), processor


def paligemma() -> tuple[Any, Any]:
    return _paligemma(tf.GemmaConfig)


def paligemma2() -> tuple[Any, Any]:
    return _paligemma(
        tf.Gemma2Config,
        query_pre_attn_scalar=8,
        sliding_window=16,
        final_logit_softcapping=8.0,
        attn_logit_softcapping=8.0,
    )


def llava() -> tuple[Any, Any]:
    words = tokenizer(["<image>"], bos="<bos>", adds_bos=True)
    config = tf.LlavaConfig(
        text_config=tf.LlamaConfig(**TEXT, **_ids(words)),
        vision_config=tf.CLIPVisionConfig(**VISION),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = tf.LlavaProcessor(
        images,
        words,
        patch_size=7,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATES["vicuna"],
        num_additional_image_tokens=1,
    )
    return tf.LlavaForConditionalGeneration(config), processor


def llava_next() -> tuple[Any, Any]:
    words = tokenizer(["<image>"], bos="<bos>", adds_bos=True)
    pinpoints = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
    config = tf.LlavaNextConfig(
        text_config=tf.MistralConfig(**TEXT, **_ids(words), sliding_window=None),
        image_grid_pinpoints=pinpoints,
        vision_config=tf.CLIPVisionConfig(**VISION),
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=pinpoints
    )
    processor = tf.LlavaNextProcessor(
        images,
        words,
        patch_size=7,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATES["mistral"],
        num_additional_image_tokens=1,
    )
    return tf.LlavaNextForConditionalGeneration(config), processor


QWEN_TOKENS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]


def _qwen(family: str, text: dict[str, Any], vision: dict[str, Any], patch: int) -> tuple[Any, Any]:
    words = tokenizer(QWEN_TOKENS, end="<|im_end|>")
    ids = {f"{name}_token_id": words.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}
    ids |= {f"vision_{side}_token_id": words.convert_tokens_to_ids(f"<|vision_{side}|>") for side in ("start", "end")}
    config = getattr(tf, f"{family}Config")(text_config={**TEXT, **_ids(words), **text}, vision_config=vision, **ids)
    images = Qwen2VLImageProcessorPil(
        patch_size=patch, merge_size=2, temporal_patch_size=2, size={"shortest_edge": 256, "longest_edge": 112 * 112}
    )
    name = "Qwen2_5_VLProcessor" if family == "Qwen2_5_VL" else f"{family}Processor"
    processor = images_only(getattr(tf, name))(images, words, chat_template=TEMPLATES["qwen"])
    return getattr(tf, f"{family}ForConditionalGeneration")(config), processor


ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}


def qwen2_vl() -> tuple[Any, Any]:
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": D_MODEL, "num_heads": 2, "patch_size": 14, "mlp_ratio": 1}
    return _qwen("Qwen2VL", {"rope_parameters": ROPE}, vision, 14)


def qwen2_5_vl() -> tuple[Any, Any]:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "patch_size": 14,
        "out_hidden_size": D_MODEL,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    return _qwen("Qwen2_5_VL", {"rope_parameters": ROPE}, vision, 14)


def qwen3_vl() -> tuple[Any, Any]:
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "patch_size": 16,
        "out_hidden_size": D_MODEL,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 1],
    }
    return _qwen("Qwen3VL", {"rope_parameters": ROPE}, vision, 16)


IDEFICS_TOKENS = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]


def _idefics(family: str, image_class: Any, processor_class: Any, bos: str) -> tuple[Any, Any]:
    words = tokenizer([*IDEFICS_TOKENS, "<|im_start|>"], bos=bos, end="<end_of_utterance>")
    image = words.convert_tokens_to_ids("<image>")
    config = getattr(tf, f"{family}Config")(
        text_config=tf.LlamaConfig(**TEXT, **_ids(words)),
        vision_config=VISION,
        scale_factor=2,
        image_token_id=image,
        tie_word_embeddings=False,
        pad_token_id=words.pad_token_id,
    )
    images = image_class(size={"longest_edge": 112}, max_image_size={"longest_edge": 28})
    processor = processor_class(images, words, image_seq_len=4, chat_template=TEMPLATES["idefics"])
    return getattr(tf, f"{family}ForConditionalGeneration")(config), processor


def idefics3() -> tuple[Any, Any]:
    return _idefics("Idefics3", Idefics3ImageProcessorPil, tf.Idefics3Processor, "<bos>")


def smolvlm() -> tuple[Any, Any]:
    return _idefics("SmolVLM", SmolVLMImageProcessorPil, images_only(tf.SmolVLMProcessor), "<|im_start|>")


def mllama() -> tuple[Any, Any]:
    special = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"]
    words = tokenizer([*special, "<|image|>"], bos="<bos>", end="<|eot_id|>")
    ids = {**_ids(words), "vocab_size": len(words) - 1}  # the image token is beyond the words that can be written
    shape = {k: v for k, v in TEXT.items() if k not in ("num_hidden_layers", "head_dim")}
    text = tf.MllamaTextConfig(**shape, num_hidden_layers=4, cross_attention_layers=[1, 2], **ids)
    vision = tf.MllamaVisionConfig(
        hidden_size=16,
        attention_heads=2,
        intermediate_size=32,
        num_hidden_layers=2,
        num_global_layers=1,
        image_size=28,
        patch_size=7,
        max_num_tiles=4,
        intermediate_layers_indices=[0],
        vision_output_dim=32,
        supported_aspect_ratios=[[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    )
    config = tf.MllamaConfig(
        text_config=text, vision_config=vision, image_token_index=words.convert_tokens_to_ids("<|image|>")
    )
    images = MllamaImageProcessorPil(size={"height": 28, "width": 28}, max_image_tiles=4)
    processor = tf.MllamaProcessor(images, words, chat_template=TEMPLATES["llama"])
    return tf.MllamaForConditionalGeneration(config), processor


def aya_vision() -> tuple[Any, Any]:
    """Of a family that has no adapter of its own."""
    tile = ["<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "TILE", "TILE_GLOBAL"]
    words = tokenizer(["<image>", *tile], bos="<bos>", adds_bos=True)
    config = tf.AyaVisionConfig(
        text_config=tf.Cohere2Config(**TEXT, **_ids(words), sliding_window=16),
        downsample_factor=2,
        vision_config=tf.SiglipVisionConfig(**VISION, vision_use_head=False),
        image_token_index=words.convert_tokens_to_ids("<|IMG_PATCH|>"),
    )
    images = GotOcr2ImageProcessorPil(size={"height": 28, "width": 28}, crop_to_patches=False)
    processor = tf.AyaVisionProcessor(
        images,
        words,
        patch_size=7,
        img_size=28,
        image_token="<image>",
        downsample_factor=2,
        chat_template=TEMPLATES["vicuna"],
    )
    return tf.AyaVisionForConditionalGeneration(config), processor


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    f.__name__: f
    for f in (
        gemma3,
        paligemma,
        paligemma2,
        llava,
        llava_next,
        qwen2_vl,
        qwen2_5_vl,
        qwen3_vl,
        idefics3,
        smolvlm,
        mllama,
    )
}


@torch.no_grad()
def randomise(model: Any) -> None:
    """Weights at which nothing is the identity, attention is sharp and a caption does not repeat one token."""
    for name, p in model.named_parameters():
        if "norm" in name or "gate" in name.rsplit(".", 1)[-1] or p.ndim == 1:
            p.add_(0.2 * torch.randn_like(p))
            if "gate" in name:
                p.add_(0.7)
        elif "embed" in name and "patch" not in name:
            p.normal_(0, 0.1 if "Gemma" in type(model).__name__ else 0.5)  # Gemma's are scaled up
        else:
            p.normal_(0, 1.5 * p[0].numel() ** -0.5)


@functools.cache
def _folder(family: str) -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory(prefix=f"tiny-{family}-")
    torch.manual_seed(0)
    model, processor = FAMILIES[family]()
    randomise(model)
    ids = {k: v for k, v in _ids(processor.tokenizer).items() if k != "vocab_size"}
    model.generation_config = tf.GenerationConfig(do_sample=False, **ids)
    model.save_pretrained(folder.name)
    processor.save_pretrained(folder.name)
    return folder


def tiny_model_dir(family: str) -> Path:
    """The folder of the family's tiny random checkpoint."""
    return Path(_folder(family).name)

"""A model's own processor without torchvision: images by PIL, and no part for videos."""

from __future__ import annotations

from typing import Any


def load_processor(source: str, config: Any, **options: Any) -> Any:
    """The processor of the checkpoint ``source``; its pixels are the same on every machine.

    ``config`` is the model's, ``options`` those of ``from_pretrained``. Raises what transformers raises: OSError or
    ValueError for missing files, ImportError for a processor that needs a package that is not there.
    """
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    family = PROCESSOR_MAPPING.get(type(config), None)
    if family is None or "video_processor" not in family.get_attributes():
        return AutoProcessor.from_pretrained(source, backend="pil", **options)
    return images_only(family).from_pretrained(source, backend="pil", **options)


def images_only(family: type) -> type:
    """A processor class that takes no videos, so that it needs nothing that its videos would need."""
    from transformers import ProcessorMixin

    def init(self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        family.__init__(self, image_processor, tokenizer, None, chat_template=chat_template)

    def init_smolvlm(
        self: Any,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_seq_len: int = 169,
        chat_template: Any = None,
    ) -> None:
        self.image_seq_len = image_seq_len
        for name, token in SMOLVLM_TOKENS.items():
            setattr(self, name, getattr(tokenizer, name, token))
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    parts: dict[str, Any] = {"__init__": init, "__module__": family.__module__}
    if family.__name__ == "SmolVLMProcessor":  # its own ask for a package that spells out numbers, and about videos
        parts |= {"__init__": init_smolvlm, "apply_chat_template": ProcessorMixin.apply_chat_template}
    return type(family.__name__, (family,), parts)


SMOLVLM_TOKENS = {
    "fake_image_token": "<fake_token_around_image>",
    "image_token": "<image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
    "video_token": "<video>",
}

"""Which file of this room knows a model: by the model_type of its config.json, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.vlm.identity import base_of, find_file, locate, settings

if TYPE_CHECKING:
    from core.config import Config

FAMILIES = {
    "gemma3": "core.vlm.gemma3:Gemma3VLM",
    "idefics3": "core.vlm.idefics3:Idefics3VLM",
    "llava": "core.vlm.llava:LlavaVLM",
    "llava_next": "core.vlm.llava:LlavaNextVLM",
    "mllama": "core.vlm.mllama:MllamaVLM",
    "paligemma": "core.vlm.paligemma:PaliGemmaVLM",
    "qwen2_5_vl": "core.vlm.qwen:QwenVLM",
    "qwen2_vl": "core.vlm.qwen:QwenVLM",
    "qwen3_vl": "core.vlm.qwen:Qwen3VLM",
    "smolvlm": "core.vlm.idefics3:Idefics3VLM",
}  # by transformers' model_type
GENERIC = "core.vlm.generic:GenericVLM"  # any other, if it proves fit


def adapter_of(model_type: str) -> tuple[str, str]:
    """Module and class of the adapter of a family."""
    module, _, name = FAMILIES.get(model_type, GENERIC).partition(":")
    return module, name


def imported(config: Config) -> set[str]:
    """The modules that loading the run's model may import: its family's, or all where its config.json is not here."""
    told = settings(config)
    if told is None:
        return {each.partition(":")[0] for each in (*FAMILIES.values(), GENERIC)}
    return {adapter_of(told.get("model_type", ""))[0]}


def check(config: Config, fetch: bool = False) -> list[str]:
    """Fetch a hub model's config.json where it may be fetched, so that its family is known before anything runs.

    What goes wrong is returned as a line: the stage that loads the model will then fail and say more.
    """
    if not fetch or find_file(config, "config.json") or locate(base := base_of(config.model.name)):
        return []
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        hf_hub_download(base, "config.json", revision=config.model.revision or None)
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError, ValueError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return [f"The config.json of {config.model.name} could not be fetched: {why}"]
    return []

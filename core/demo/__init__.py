"""The demo world: scenes with captions and a planted gender bias, a source of samples, and the captioner of them."""

from core.demo.world import LANGUAGES, PROMPTS, ROLES, DemoWorld

__all__ = ["LANGUAGES", "PROMPTS", "ROLES", "DemoWorld"]

"""Gendered words of captions: hand-made lexicons of persons, and a finder of whole words in English and Arabic."""

from core.gender.words import Hit, find

__all__ = ["Hit", "find"]

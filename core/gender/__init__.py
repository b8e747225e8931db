"""Gender in captions: lexicons of persons, a finder of whole words, and what gender a caption or an image has."""

from core.gender.captions import caption_gender, image_gender
from core.gender.morphology import MorphologicalGenderAnalyzer, gender_analyzer
from core.gender.semantics import SemanticGenderAnalyzer
from core.gender.words import Hit, describe, find

__all__ = [
    "Hit",
    "MorphologicalGenderAnalyzer",
    "SemanticGenderAnalyzer",
    "caption_gender",
    "describe",
    "find",
    "gender_analyzer",
    "image_gender",
]

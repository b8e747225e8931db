"""Words in text: lexicons of persons, a finder of whole words, Arabic morphology, and what gender a caption names."""

from core.words.captions import Hit, caption_gender, describe, find, image_gender, matched_gender
from core.words.morphology import MorphologicalGenderAnalyzer, gender_analyzer
from core.words.semantics import SemanticGenderAnalyzer

__all__ = [
    "Hit",
    "MorphologicalGenderAnalyzer",
    "SemanticGenderAnalyzer",
    "caption_gender",
    "describe",
    "find",
    "gender_analyzer",
    "image_gender",
    "matched_gender",
]

"""English and Arabic compared: shared features, directions and gender effects, each between floor and ceiling."""

from core.crosslingual.aligner import CrossLingualFeatureAligner, Dictionary
from core.crosslingual.clbas import VARIANTS, GenderedCodes, clbas, control_table
from core.crosslingual.contrastive import ContrastiveLanguageAnalyzer
from core.crosslingual.language import LanguageFeatureProfile, LanguageSpecificFeatureIdentifier

__all__ = [
    "VARIANTS",
    "ContrastiveLanguageAnalyzer",
    "CrossLingualFeatureAligner",
    "Dictionary",
    "GenderedCodes",
    "LanguageFeatureProfile",
    "LanguageSpecificFeatureIdentifier",
    "clbas",
    "control_table",
]

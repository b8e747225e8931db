"""Bias of captions as the field measures it: what they say of gender against what images show and what was planted.

A caption is counted by the gender that its words name: male, female, both, unmarked (the generic masculine), neutral,
none. Units are images.
"""

from core.words.captions import NAMED
from core.words.generic import POLICIES, UNMARKED

__all__ = ["ESTIMANDS", "MATCHED", "MEANING", "NAMED", "NOT_MATCHED", "READINGS", "SOURCES", "counted"]

MATCHED = "matched"
READINGS = (MATCHED, *POLICIES)
"""What a caption may be read as: ``matched_gender``, or ``caption_gender`` under a policy for the generic masculine."""
ESTIMANDS = (MATCHED, "male", "left out", "women", UNMARKED)
MEANING = {
    MATCHED: "men among captions that say one gender by a word that both genders must say alike (man, she; no role)",
    "male": "men among captions that name one gender, the generic masculine counted as male",
    "left out": "men among captions that name one gender, the generic masculine left out",
    "women": "captions that say a woman among all that name a person",
    UNMARKED: "captions that say a gender by the generic masculine alone among all that name a person",
}
NOT_MATCHED = (
    "under this policy a share counts what Arabic grammar marks; set words.generic_masculine to unmarked, which "
    "compares words that both genders must say alike"
)
SOURCES = ("sampled", "greedy", "reference")
"""Who wrote the captions: the model at temperature 1 (its belief), the model at its best (greedy), people."""


def counted(policy: str) -> str:
    """The reading that p(male) counts under a policy: matched words where the generic masculine says nothing."""
    return MATCHED if policy == UNMARKED else policy

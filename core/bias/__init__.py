"""Bias of captions as the field measures it: what they say of gender against what images show and what was planted.

A caption is counted by the gender that its words name: male, female, both, neutral, none. Units are images.
"""

NAMED = ("male", "female", "both", "neutral", "none")
SOURCES = ("sampled", "greedy", "reference")
"""Who wrote the captions: the model at temperature 1 (its belief), the model at its best (greedy), people."""

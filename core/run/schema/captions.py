"""The model's own captions, the gendered words of all captions, and what gender captions and images have."""

from core.run.schema import table

CAPTIONS = table(
    "captions",
    "caption",
    'one of the model\'s own captions, by image and language; with `caption.source = "references"` the reference that '
    "it read in its place",
    """
    sample_id: int32 - image, as numbered in samples
    lang: string - language of the caption: en or ar
    text: string - the model's caption
    token_ids: list of int32 - generated tokens without the end token
    finished: bool - whether the end token came within `max_new_tokens`; of a reference, whether it was read to its end
    reference: int16 - number of the reference, in references, that was read as the caption; null where the model wrote
        it, or no reference could be read
    """,
)
WORDS = table(
    "words",
    "words",
    "a gendered word, in the order of sample, language, source, number and place. What counts as one: "
    "docs/gender-counting.md",
    """
    sample_id: int32 - image, as numbered in samples
    lang: string - language of the caption: en or ar
    source: string - whose caption: own (the model's) or reference
    n: int16 - number of the reference within image and language, 0 for own
    start: int32 [characters] - offset of its first character in the caption
    end: int32 [characters] - offset behind its last character
    word: string - the word as it is written, clitics included
    lemma: string - entry of the lexicon
    gender: string - gender of the word: male, female, neutral, or unmarked: the generic masculine, whatever the run's
        policy makes of it
    word_class: string - pronoun, noun, kinship, role, or agreement, which things have as well
    clitics: string - what was taken off to find it, in its order, with a + on the side of the word, such as `و+ ل+ ال+`
        or `+ها`; or empty
    """,
)
CONTRASTS = table(
    "contrasts",
    "words",
    "one of the model's own captions that holds a gendered word: where the first of them says its gender. Slots count "
    "the caption's tokens from 0",
    """
    sample_id: int32 - image, as numbered in samples
    lang: string - language of the caption: en or ar
    start: int32 [characters] - offset of the word's first character in the caption
    word: string - the word as it is written, clitics included
    gender: string - gender of the word, as in words
    word_class: string - class of the word, as in words
    counterpart: string - what would stand there in the other gender, in the same form; empty where there is none
    begins: int32 [tokens] - the token in which the word begins
    slot: int32 [tokens] - the token at which the two spellings part, all before it being shared: before it nothing is
        said of gender; `begins` where there is no contrast
    female: int32 - the token that the woman's word has there; -1: any that ends the word; null where there is no
        contrast
    male: int32 - the same of the man's word
    why: string - why there is no contrast, else empty
    """,
)
GENDERS = table(
    "genders",
    "words",
    "a sample. Only words for persons decide, never agreement",
    """
    sample_id: int32 - image, as numbered in samples
    gender: string - gender of the image: male, female, neutral or unknown
    gender_source: string - annotation, references, or empty where unknown
    gender_share: float32 [share] - share of the gendered references (those naming a gender) that agree; 1.0 annotated,
        null where none names one
    n_references: int16 [captions] - gendered or not, of all languages of the run
    caption_en: string - what the model's own English caption names: male, female, both, unmarked (no gender but by the
        generic masculine), neutral, none; null where the run leaves the language out
    caption_ar: string - what the model's own Arabic caption names, likewise; null where the run leaves the language out
    """,
)
LABEL_POLICIES = table(
    "label_policies",
    "words",
    "a policy for the generic masculine, what is labelled, and a pair of labels: that of the run and that under the "
    "policy. They show how far the policy decides; the run's own are pairs of the same",
    """
    policy: string - what the generic masculine counts as: unmarked, male or left out
    of: string - image, or caption_en or caption_ar: the model's own captions
    here: string - label under the policy of the run
    there: string - label under this policy
    n: int32 [images] - images or captions with this pair
    """,
)

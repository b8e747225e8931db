"""Captions of pictures of which a part is hidden, and how often each part changes their gender."""

from core.run.schema import table

_WHAT = """
    lang: string - language of the caption: en or ar
    filling: string - what stands in the place of what is hidden: mean (of each image token over training images, where
        the tokens enter the decoder), zero (there), or pixels (of the mean training image, before the vision tower)
    shape: string - window (a rectangle of one shape that person, object and background all have room for), whole (all
        patches that are mostly of the kind), empty where nothing is hidden
"""
HIDING_CAPTIONS = table(
    "hiding_captions",
    "hiding",
    "a caption that was written with an area of its image hidden",
    """
    sample_id: int32 - image, as numbered in samples
    """,
    _WHAT,
    """
    area: string - what is hidden: none, person, object, background, or random (the area `of` moved to a random place)
    of: string - of a random area: the one whose size and shape it has, else empty
    draw: int16 - number of a random area, -1 for others
    patches: list of int16 - hidden patches, row-major
    text: string - the caption
    finished: bool - whether the end token came in time
    named: string - what it names: male, female, both, unmarked (no gender but by the generic masculine), neutral, none
    unchanged: bool - word for word the caption of the whole image
    changed: bool - words of another gender than in the caption of the whole image, or of none; null where that has
        words of no gender or of both
    flipped: bool - names a woman where the words were masculine, or a man where they were feminine; null likewise
    unnamed: bool - names neither where one was named, or has lost the generic masculine; null likewise
    damaged: bool - fewer than three quarters of the content words are kept, or three words in a row come twice
    """,
)
HIDING = table(
    "hiding",
    "hiding",
    "an area beside another on the same images, by language, filling, shape and figure (`outcome`)",
    _WHAT,
    """
    area: string - what is hidden: person, object or background
    against: string - what is hidden instead: object, background, or random (the area at random places of the image)
    outcome: string - figure: changed (gendered word), flipped, unnamed, damaged
    n_images: int32 [images] - images on which both were hidden and the figure is known
    patches: float64 [patches] - mean size of the area
    share: float64 [share] - of the images whose caption it is so of with the area hidden
    share_low: float64 [share] - lower end of the 95 % interval of share (exact)
    share_high: float64 [share] - upper end of the 95 % interval of share (exact)
    other: float64 [share] - the same with the other area hidden; of random areas the mean of an image's draws
    difference: float64 [share] - share less other, paired by image
    difference_low: float64 [share] - lower end of the 95 % interval of difference
    difference_high: float64 [share] - upper end of the 95 % interval of difference
    p: float64 [probability] - two-sided, of no difference
    why: string - why there is no interval, else empty
    """,
)

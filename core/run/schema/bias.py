"""What captions say of neutral images, and the figures over them."""

from core.run.schema import table

BIAS_ROLES = table(
    "bias_roles",
    "bias",
    "an attribute of the held-out neutral images, its value, language and kind of captions",
    """
    attribute: string - an annotated attribute such as role; `all`: every image, with the one value `all`
    value: string - value of the attribute
    lang: string - `en`, `ar`, or `ar-en`: Arabic minus English
    source: string - `sampled` (at the temperature of the settings), `greedy`, `reference` (people)
    n_images: int32 [images] - held-out neutral images with this value
    n_captions: int32 [captions] - captions of these images
    n_male: int32 [captions] - captions that name a man and no woman
    n_female: int32 [captions] - captions that name a woman and no man
    n_both: int32 [captions] - captions that name both
    n_neutral: int32 [captions] - captions with only words for persons of either
    n_none: int32 [captions] - captions with no word for a person
    p_male: float64 [share] - n_male / (n_male + n_female); of `ar-en` the difference
    low: float64 [share] - lower end of the 95 % interval of p_male with images as units
    high: float64 [share] - upper end of the 95 % interval of p_male with images as units
    planted: float64 [share] - p_male that was planted; null where none is known
    p_even: float64 [probability] - p of p_male being 0.5
    q_even: float64 [probability] - p_even, adjusted over the values of the attribute
    p_beyond: float64 [probability] - p of p_male lying within 0.1 of 0.5: single trainings differ by as much
        (docs/controls.md)
    q_beyond: float64 [probability] - p_beyond, adjusted over the values of the attribute
    """,
)
BIAS_METRICS = table(
    "bias_metrics",
    "bias",
    "a metric, language, kind of captions, attribute and group of images",
    """
    metric: string - correlation, calibration_error, slope (against planted), languages_correlation, error, omission,
        both, amplification_zhao, amplification_directional
    lang: string - `en`, `ar`, `ar-en`, or `en, ar`
    source: string - captions meant: `sampled` (at the temperature of the settings), `greedy`, `reference` (people)
    attribute: string - annotated attribute, `all` for every image, empty where none is meant
    group: string - images meant: female, male, female-male (difference), labelled, neutral
    value: float64 - the metric; null where there is not enough data
    low: float64 - lower end of the 95 % interval of value
    high: float64 - upper end of the 95 % interval of value
    n: int32 - images or groups that it rests on
    unit: string - what n counts: images, or groups (values of the attribute)
    control: float64 - what chance gives
    control_low: float64 - lower end of the 95 % range of the control
    control_high: float64 - upper end of the 95 % range of the control
    floor: float64 - calibration_error alone: what few captions would give if every p were as planted
    why: string - why there is no value, or empty
    """,
)
SAMPLED_CAPTIONS = table(
    "sampled_captions",
    "bias",
    "a caption drawn at the temperature of the settings, by image, language and draw",
    """
    sample_id: int32 - a held-out neutral image
    lang: string - language of the caption: en or ar
    draw: int16 - 0 to bias.n_sampled - 1; its random numbers follow from seed, sample_id, lang and draw alone
    text: string - the sampled caption
    finished: bool - whether the end token came in time
    named: string - gender that it names: male, female, both, neutral, none
    """,
)

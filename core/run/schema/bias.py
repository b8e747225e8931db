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
    n_captions: int32 [captions] - captions of these images; the counts that follow are under the policy of the run for
        the generic masculine (`words.generic_masculine`)
    n_male: int32 [captions] - captions that name a man and no woman
    n_female: int32 [captions] - captions that name a woman and no man
    n_both: int32 [captions] - captions that name both
    n_unmarked: int32 [captions] - captions that say a gender by the generic masculine alone
    n_neutral: int32 [captions] - captions with only words for persons of either
    n_none: int32 [captions] - captions with no word for a person
    n_counted: int32 [captions] - captions that p_male counts: under the policy unmarked those that say one gender by a
        word that both genders must say alike (noun, pronoun, kinship; no role), else n_male + n_female
    p_male: float64 [share] - men among n_counted; null where there are none. Of `ar-en` the difference, which there is
        of words that both genders must say alike alone
    low: float64 [share] - lower end of the 95 % interval of p_male with images as units; null of a single image
    high: float64 [share] - upper end of the 95 % interval of p_male with images as units; null of a single image
    n_effective: float64 [captions] - captions of as many different images that would tell as much as the n_counted,
        which come several from an image and are alike; null of a single image
    planted: float64 [share] - p_male that was planted; null where none is known, as of roles whose Arabic is generic
    p_even: float64 [probability] - p of p_male being 0.5
    q_even: float64 [probability] - p_even, adjusted over the values of the attribute
    p_beyond: float64 [probability] - p of p_male lying within 0.1 of 0.5: single trainings differ by as much
        (docs/controls.md)
    q_beyond: float64 [probability] - p_beyond, adjusted over the values of the attribute
    why: string - why there is no share, or no interval of it: no caption to count, one image; else empty
    """,
)
BIAS_POLICIES = table(
    "bias_policies",
    "bias",
    "an attribute of the held-out neutral images, its value, language, kind of captions and estimand; none depends on "
    "the policy of the run, so that they show how far it decides",
    """
    attribute: string - an annotated attribute such as role; `all`: every image, with the one value `all`
    value: string - value of the attribute
    lang: string - `en` or `ar`
    source: string - `sampled` (at the temperature of the settings), `greedy`, `reference` (people)
    estimand: string - `matched`: men among captions that say one gender by a word that both genders must say alike;
        `male`: men among captions that name one gender, the generic masculine counted as male; `left out`: the same,
        the generic masculine left out; `women`: captions that say a woman among all that name a person; `unmarked`:
        captions that say a gender by the generic masculine alone among all that name a person
    n_images: int32 [images] - held-out neutral images with this value
    n: int32 [captions] - captions that the share is taken of
    n_hits: int32 [captions] - captions among them that the estimand counts
    share: float64 [share] - n_hits / n; null where n is 0
    low: float64 [share] - lower end of the 95 % interval of share with images as units; null of a single image
    high: float64 [share] - upper end of the 95 % interval of share with images as units; null of a single image
    why: string - why there is no share, or no interval of it: no caption to count, one image; else empty
    """,
)
BIAS_METRICS = table(
    "bias_metrics",
    "bias",
    "a metric, language, kind of captions, attribute and group of images",
    """
    metric: string - correlation, calibration_error, slope (against planted), languages_correlation, error, omission,
        unmarked (the generic masculine alone), both, amplification_zhao, amplification_directional; resolution and
        resolution_named (VisoGender's resolution accuracy, of all images and of captions that say one gender); lic and
        leakage_accuracy (what masked captions tell of the image's gender, by the paper's score and as share right);
        correlation_matched, correlation_male and correlation_left_out: what other estimands of p_male would give
    lang: string - `en`, `ar`, `ar-en`, or `en, ar`
    source: string - captions meant: `sampled` (at the temperature of the settings), `greedy`, `reference` (people);
        `greedy-reference`: the model's less people's
    attribute: string - annotated attribute, `all` for every image, empty where none is meant
    group: string - images meant: female, male, female-male and male-female (differences), labelled, neutral
    value: float64 - the metric; null where there is not enough data
    low: float64 - lower end of the 95 % interval of value; null where captions and references differ on few images
    high: float64 - upper end of the 95 % interval of value; null where captions and references differ on few images
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
    named: string - what it names under the policy of the run: male, female, both, unmarked (no gender but by the
        generic masculine), neutral, none
    matched: string - gender that it says by words that both genders must say alike: male, female, both, none
    """,
)

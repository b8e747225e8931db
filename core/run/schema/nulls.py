"""What the same questions give where there is nothing, or where nothing was learned."""

from core.run.schema import FEATURE, table

KEY = """
    layer: int32 - 0-based number of the decoder block whose output is meant
    sae_id: string - SAE of the run's layer, beside which the others are put: hash of its tensors
    lang: string - language of the captions
    view: string - positions: before (end of the prompt up to the first gendered word), caption
    kind: string - dictionary: trained (the run's own), random (directions at random, as many features active a token),
        axes (coordinates of the residual), components (its principal components), shuffled labels (the run's own with
        women and men exchanged at random), second seed (the SAE trained again), frozen decoder (trained with its
        directions left at random), random model (an SAE of the same model with weights drawn at random)
"""
COUNTS = """
    n_female_test: int32 [images] - held-out images of women that have positions in this view
    n_male_test: int32 [images] - held-out images of men that have positions in this view
"""

NULL_FINDINGS = table(
    "null_findings",
    "nulls",
    "one draw of a kind of dictionary, in a layer, view and language, with what the question of stage gender finds in "
    "it. Multiplicity is adjusted within the layer's view, so that all kinds are treated alike",
    KEY,
    """
    draw: int32 - 0-based number of the draw; kinds that know no chance have one
    l0: float64 [features a token] - active features a token; null where all are, and for the run's own
    n_features: int32 [features] - features that fire on training images of women or men
    n_findings: int32 [features] - of them, findings: selected on training images, and held out on the same side with an
        interval that excludes 0.5
    """,
    COUNTS,
    """
    best_feature: int32 - feature with the AUC farthest from 0.5 on the training images
    best_auc_train: float64 - its AUC on the training images, toward its side: 0.5 at least
    best_auc_test: float64 - its AUC on the held-out images toward the same side: which images chose it had no say here
    best_auc_low: float64 - lower end of the 95 % interval of best_auc_test, as in stage gender
    best_auc_high: float64 - upper end of the 95 % interval of best_auc_test, as in stage gender
    why: string - why numbers are missing, else empty
    """,
)
NULL_PROBES = table(
    "null_probes",
    "nulls",
    "a kind of dictionary and a number of features k, in a layer, view and language: how well its first k features "
    "tell images of women from those of men, chosen and weighed on training images, scored on held-out ones",
    KEY,
    """
    k: int32 [features] - features, those with the AUC farthest from 0.5 on the training images
    n_draws: int32 - draws of the kind that are averaged
    """,
    COUNTS,
    """
    auc: float64 - held-out AUC of the k features (mean over draws)
    auc_low: float64 - lower end of its 95 % interval, over images and draws
    auc_high: float64 - upper end of its 95 % interval, over images and draws
    residual_auc: float64 - held-out AUC of a probe of the whole mean residual: what there is to be told
    share: float64 [share] - concentration: (auc - 0.5) / (residual_auc - 0.5); null where the residual tells nothing
    share_low: float64 [share] - lower end of its 95 % interval (delta method, over images and draws)
    share_high: float64 [share] - upper end of its 95 % interval (delta method, over images and draws)
    difference: float64 - AUC of the run's own SAE with as many features, less auc; null for the run's own
    difference_low: float64 - lower end of its 95 % interval, over the same images, against one more draw of the kind
    difference_high: float64 - upper end of its 95 % interval, over the same images, against one more draw of the kind
    why: string - why numbers are missing, else empty
    """,
)
NULL_LAYERS = table(
    "null_layers",
    "nulls",
    "a recorded layer, view and language: how well a logistic probe of the mean residual tells images of women from "
    "those of men in the run's model, and in the same model with every matrix drawn at random, on the same images",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    lang: string - language of the captions, which are the run's in both models
    view: string - positions: before (end of the prompt up to the first gendered word), caption
    """,
    COUNTS,
    """
    auc: float64 - held-out AUC of a probe of the run's model
    auc_low: float64 - lower end of its 95 % interval
    auc_high: float64 - upper end of its 95 % interval
    random_auc: float64 - held-out AUC of a probe of the randomised model
    random_auc_low: float64 - lower end of the 95 % interval of random_auc
    random_auc_high: float64 - upper end of the 95 % interval of random_auc
    difference: float64 - auc less random_auc
    difference_low: float64 - lower end of its 95 % interval, over the same images
    difference_high: float64 - upper end of its 95 % interval, over the same images
    why: string - why numbers are missing, else empty
    """,
)
RECURRENCE = table(
    "recurrence",
    "nulls",
    "a feature of a layer and another training of its dictionary that differs in the seed alone: its partner there. "
    "Partners are paired one to one by the correlation of their activations over held-out tokens",
    FEATURE,
    """
    seed: int32 - 0-based number of the other training
    n_tokens: int32 [tokens] - held-out tokens over which activations are compared
    n_fires: int32 [tokens] - of them, those on which the feature fires
    partner: int32 - its partner's number in the other dictionary; null without one
    correlation: float32 - of the two activations over the tokens
    correlation_floor: float32 - largest correlation with any feature of the other dictionary over shuffled tokens
    cosine: float32 - of the two decoder rows
    cosine_floor: float32 - largest cosine with as many directions drawn at random with the other decoder's covariance
    recurs: bool - whether correlation is 0.5 and cosine 0.7 at least, and both are above their floors; null where the
        feature fires on fewer than 10 of the tokens
    recurs_shuffled: bool - whether the best partner over shuffled tokens would pass for one: what chance gives
    """,
)
SAE_KEY = """
    layer: int32 - 0-based number of the decoder block whose output is meant
    sae_id: string - SAE of the run's layer, beside which the others are put: hash of its tensors
"""
NULL_DETECTORS = table(
    "null_detectors",
    "nulls",
    "a finding of a layer, view and language (multiplicity within the layer's view) beside a detector that needs no "
    "dictionary, both learned on training images and scored on the same held-out ones",
    FEATURE,
    """
    lang: string - language of the captions
    view: string - positions: before (end of the prompt up to the first gendered word), caption
    detector: string - difference of means (of the mean residual) or probe (logistic, of the whole mean residual)
    """,
    COUNTS,
    """
    auc: float64 - held-out AUC of the feature, toward its side on the training images
    auc_low: float64 - lower end of its 95 % interval
    auc_high: float64 - upper end of its 95 % interval
    detector_auc: float64 - held-out AUC of the detector
    detector_auc_low: float64 - lower end of the 95 % interval of detector_auc
    detector_auc_high: float64 - upper end of the 95 % interval of detector_auc
    difference: float64 - auc less detector_auc
    difference_low: float64 - lower end of its 95 % interval, over the same images
    difference_high: float64 - upper end of its 95 % interval, over the same images
    """,
)
SAE_QUALITY = table(
    "sae_quality",
    "nulls",
    "a measure of the dictionary of a layer in a language, beside that of a random dictionary as sparse; over whole "
    "captions of images of women and men",
    SAE_KEY,
    """
    lang: string - language of the captions
    kind: string - trained (the run's own), random (directions at random), residual (no dictionary)
    measure: string - sparse probing (AUC of the k features that tell a concept best), residual probing (of a probe of
        the whole residual), absorption (share), cause, isolation and disentanglement (shares; their mean)
    k: int32 [features] - features that are read or changed; 0 where none is
    value: float64 - the measure
    low: float64 - lower end of its 95 % interval
    high: float64 - upper end of its 95 % interval
    n: int32 - units that it rests on
    unit: string - concepts (words and annotations that say no gender) or images
    why: string - why numbers are missing, else empty
    """,
)
NULL_LABELS = table(
    "null_labels",
    "nulls",
    "the run's dictionary of a layer, or a random one, in a language: how many of its features get an automatic label "
    "from whole captions of images of women and men",
    SAE_KEY,
    """
    lang: string - language of the captions
    kind: string - trained or random
    n_features: int32 [features] - features that fire, and do not, on enough held-out images
    n_labelled: int32 [features] - of them, those that get a label
    auc: float64 - median of the held-out AUCs of their best candidates
    """,
)
NULL_ALIGNMENT = table(
    "null_alignment",
    "nulls",
    "the run's dictionary of a layer, or a random one: CLBAS of its own features in English and in Arabic, as stage "
    "crosslingual has it",
    SAE_KEY,
    """
    kind: string - trained or random
    view: string - positions: before
    n_features: int32 [features] - features of the largest training effects
    value: float64 - CLBAS
    low: float64 - lower end of its 95 % interval
    high: float64 - upper end of its 95 % interval
    floor: float64 - with labels shuffled, mean
    floor_low: float64 - with labels shuffled, lower end of the 95 % range
    floor_high: float64 - with labels shuffled, upper end of the 95 % range
    ceiling: float64 - of one language with itself
    ceiling_low: float64 - lower end of the 95 % interval of the ceiling
    ceiling_high: float64 - upper end of the 95 % interval of the ceiling
    why: string - why numbers are missing, else empty
    """,
)
NULL_OTHERS = table(
    "null_others",
    "nulls",
    "a contrast of images (women and men; one value of an annotated attribute, or one word of people's captions, and "
    "the rest, genders alike often on both sides) and a measure of how alike English and Arabic hold it, in a layer",
    SAE_KEY,
    """
    view: string - positions: before (end of the prompt up to the first gendered word), caption
    contrast: string - gender, "attribute: value", or the word
    source: string - gender, annotation or word
    measure: string - direction_cosine (of the contrast's directions in both languages, over training images) or clbas
        (of its effects on the run's features, over held-out images)
    n_with: int32 [images] - images that show it (gender: of women), over which the measure is taken
    n_without: int32 [images] - images of the rest (gender: of men)
    value: float64 - the measure
    low: float64 - lower end of the 95 % interval of the measure
    high: float64 - upper end of the 95 % interval of the measure
    floor: float64 - with the contrast dealt out anew over the images, mean
    floor_low: float64 - with the contrast dealt out anew, lower end of the 95 % range
    floor_high: float64 - with the contrast dealt out anew, upper end of the 95 % range
    ceiling: float64 - what equal effects would show with so many images
    ceiling_low: float64 - lower end of the 95 % interval of what equal effects would show
    ceiling_high: float64 - upper end of the 95 % interval of what equal effects would show
    ratio: float64 - value / ceiling; null where one side cannot be told from noise
    ratio_low: float64 - lower end of the 95 % interval of ratio (Fieller)
    ratio_high: float64 - upper end of the 95 % interval of ratio (Fieller)
    why: string - why numbers are missing, else empty
    """,
)

"""What features fire on and what they are called: features, examples, labels."""

from core.run.schema import FEATURE, table

FEATURES = table(
    "features",
    "features",
    "a feature, by layer and number",
    FEATURE,
    """
    n_active: int64 [tokens] - stored tokens on which it is active
    density: float64 [share] - share of all tokens on which it is active; where image tokens are a sample, each stands
        for those that it was drawn from
    density_image: float64 [share] - share of image tokens on which it is active
    density_prompt: float64 [share] - share of prompt tokens on which it is active
    density_caption_en: float64 [share] - share of English caption tokens on which it is active
    density_caption_ar: float64 [share] - share of Arabic caption tokens on which it is active
    lang_en: float64 [activation] - mean activation over English caption tokens
    lang_ar: float64 [activation] - mean activation over Arabic caption tokens
    usual_image: float64 [activation] - mean over the run of its mean activation on an image, silent tokens included
    spread_image: float64 [activation] - standard deviation over the run of its mean activation on an image
    token_spread_image: float64 [activation] - standard deviation of its activation over image tokens, silent ones
        included
    usual_caption_en: float64 [activation] - mean over the run of its mean activation on an English caption, silent
        tokens included
    spread_caption_en: float64 [activation] - standard deviation over the run of its mean activation on an English
        caption
    token_spread_caption_en: float64 [activation] - standard deviation of its activation over English caption tokens,
        silent ones included
    usual_caption_ar: float64 [activation] - mean over the run of its mean activation on an Arabic caption, silent
        tokens included
    spread_caption_ar: float64 [activation] - standard deviation over the run of its mean activation on an Arabic
        caption
    token_spread_caption_ar: float64 [activation] - standard deviation of its activation over Arabic caption tokens,
        silent ones included
    mean: float64 [activation] - mean activation over active tokens
    std: float64 [activation] - standard deviation over active tokens
    max: float64 [activation] - largest activation in the run
    p999: float64 [activation] - 99.9th percentile of the active values
    histogram: list of int32 [tokens] - active values in equal bins from 0 to max
    explained_share: float64 [share] - share of the layer's variance that is lost when this feature alone is left out
    alive: bool - whether it fires at all in this run
    umap_x: float32 - place on the map of decoder rows, from left to right; null when dead
    umap_y: float32 - place on the map of decoder rows, from below; null when dead
    top_tokens: list of string - words with the highest mean activation
    top_token_values: list of float32 [activation] - mean activations on these words
    logits_up_tokens: list of string - words that it pushes up
    logits_up: list of float32 [logits] - how far it pushes each of them up
    logits_down_tokens: list of string - words that it pushes down
    logits_down: list of float32 [logits] - how far it pushes each of them down
    neighbours: list of int32 - features of the layer with the nearest decoder rows
    neighbour_cosines: list of float32 - cosines of their decoder rows with its own
    """,
)
PIECES = table(
    "pieces",
    "features",
    "a caption that the model was read on",
    """
    sample_id: int32 - image, as numbered in samples
    lang: string - language of the caption: en or ar
    pieces: list of string - text of each token of the caption
    """,
)
EXAMPLES = table(
    "examples",
    "features",
    "an image that is an example of a feature, by layer, feature, bin and rank",
    FEATURE,
    """
    bin: string - top, or q1 (weakest) to qN: bands of real quantiles of the images' maxima
    rank: int16 - place within the bin, from 0
    sample_id: int32 - image, as numbered in samples
    lang: string - language of the sequence that holds the maximum
    activation: float32 [activation] - largest activation of the feature on the image
    position: int32 [tokens] - place of the maximum in the sequence
    kind: string - kind of the token with the maximum: image, prompt or caption
    patch_map: list of float16 [activation] - activation on each patch, row-major; NaN where the run does not store it;
        empty where the model has no map of patches
    token_values: list of float16 [activation] - activation on each caption token
    pieces: list of string - text of each caption token
    band_low: float32 [activation] - lower border of the bin's band of maxima
    band_high: float32 [activation] - upper border of the bin's band of maxima
    """,
)
FEATURE_AREAS = table(
    "feature_areas",
    "features",
    "a feature and a kind of area, where it is known of images what is where on them",
    FEATURE,
    """
    kind: string - person, object or background
    n: int32 [images] - images of which it is known where the kind is
    n_fires: int32 [images] - of them, those on whose stored patches the feature fires
    share: float64 [share] - share of its activation on patches that lies on the kind; a patch that is partly of the
        kind counts in part
    area: float64 [share] - the same share if each image's activation were spread evenly over its own patches
    ratio: float64 - share over area: 1 where it is as strong there as elsewhere
    low: float64 - lower end of the 95 % interval of the ratio over images
    high: float64 - upper end of the 95 % interval of the ratio over images
    null_share: float64 [share] - share that the same maps have on other images' areas, the mean over all other images
    difference: float64 [share] - share less null_share: what it follows the kind beyond the places where it usually is
    difference_low: float64 [share] - lower end of the 95 % interval of the difference over images
    difference_high: float64 [share] - upper end of the 95 % interval of the difference over images
    why: string - why there are no numbers, else empty
    """,
)
LABELS = table(
    "labels",
    "gender",
    "a feature that fires anywhere in the layer, and a language",
    FEATURE,
    """
    lang: string - language of the captions: en or ar
    label: string - the word, or `attribute: value`; empty where nothing predicts the firing well enough
    kind: string - word or attribute of what was chosen on the training images, whether or not it became the label
    candidate: string - what was chosen on the training images
    view: string - image or caption: where the firing is best predicted
    auc_train: float32 - AUC of the presence of the candidate as a predictor of firing, training images
    auc_test: float32 - AUC of the presence of the candidate as a predictor of firing, held-out images
    auc_low_test: float32 - lower end of the 95 % interval of auc_test (Newcombe)
    auc_high_test: float32 - upper end of the 95 % interval of auc_test (Newcombe)
    n_fires_test: int32 [captions] - held-out captions on which the feature fires
    n_silent_test: int32 [captions] - held-out captions on which it does not
    n_candidates: int32 - words and values that were tried
    why: string - why there is no label, else empty
    """,
)

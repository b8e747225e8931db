"""What the model says features are, and the grid of steered captions."""

from core.run.schema import FEATURE, table

EXPLANATIONS = table(
    "explanations",
    "explain",
    "a feature, language and strength: what the model says of an empty (uniform grey) image with the feature "
    "turned up, and how well that fits the images that fire it; features are those that `explain.n_features` "
    "lets in. Scores are NaN where `why` says so",
    FEATURE,
    """
    lang: string - language of prompt and text: en or ar
    strength: float32 [p99.9 of the feature] - what is added, in units of the feature's p99.9
    text: string - the model's caption
    finished: bool - whether the end token came in time
    changed: bool - whether it differs from the caption of the empty image without any edit
    chosen: bool - whether it is the strength whose text fits the training images best; one a feature and language
    auc_train: float32 - chance that a training image that fires the feature fits the text better than one that does not
    auc_test: float32 - chance that a held-out image that fires the feature fits the text better than one that does not
    auc_low_test: float32 - lower end of the 95 % interval of auc_test over images
    auc_high_test: float32 - upper end of the 95 % interval of auc_test over images
    control: float32 - mean AUC of the other features' texts of the same layer, language and strength against the same
        firing
    control_high: float32 - 95th percentile of these AUC
    n_controls: int32 [texts] - texts of other features that it is compared with
    p: float64 [probability] - share of texts, this one counted, that fit as well; one-sided
    q: float64 [probability] - p after Benjamini and Hochberg over all chosen texts; NaN for the others
    n_fires_test: int32 [images] - held-out images with a reference that fire the feature, anywhere on image or caption
    n_silent_test: int32 [images] - held-out images with a reference that do not
    why: string - why there is no score, else empty
    """,
)
DOSES = table(
    "doses",
    "explain",
    "an image, language and setting: captions of a few test images under the ready-made gender sets at a few "
    'strengths, answers of the steering page that need no model. Unedited captions have `edits` ""',
    """
    sample_id: int32 - image, as numbered in samples
    lang: string - language of the caption: en or ar
    edits: string - `layer:feature:strength` of every edit (mode add, units of p99.9), by layer and feature, joined by
        commas
    layer: int32 - layer of the edits; null where nothing is edited
    sae_id: string - SAE of the edited features; null where nothing is edited
    gender: string - female or male: whose set; empty where nothing is edited
    strength: float32 [p99.9 of the feature] - strength of every feature of the set
    text: string - the caption
    finished: bool - whether the end token came in time
    named: string - what it names: male, female, both, unmarked (no gender but by the generic masculine), neutral, none
    pieces: list of string - the tokens as text
    p_female: list of float32 [probability] - at each token, the probability that a word for a woman comes next: whole
        words in all forms of the lexicon (docs/methods.md)
    p_male: list of float32 [probability] - the same of a word for a man
    p_unmarked: list of float32 [probability] - the same of a generic masculine
    p_left_out: list of float32 [probability] - how much more the three may be together: beginnings too unlikely to be
        followed
    """,
)

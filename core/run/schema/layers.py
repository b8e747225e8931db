"""At which layer the image's gender can be read, by probe and as the next word."""

from core.run.schema import table

PROBES = table(
    "probes",
    "layers",
    "a layer, view, pair of languages and measure. Numbers are NaN where `why` says so",
    """
    layer: int32 - 0-based number of the decoder block that is read, in the view tower of the vision tower's layer; -1
        for the image without the model (view pixels), for the projector, and for a tower that cannot be read
    view: string - pixels, tower (mean of the vision tower's states), projector (mean of the image tokens as they enter
        the decoder), image, prompt, before or caption
    lang: string - language in which the probe is tested
    trained_on: string - language in which it was trained
    measure: string - auc, balanced_accuracy or accuracy
    shared: bool - whether both languages have the same residuals here, so that the rows are the same
    n_images: int32 [images] - images of women and men with positions here
    n_female: int32 [images] - images of women among them
    n_male: int32 [images] - images of men among them
    chance: float32 - what guessing reaches: 0.5, or the majority's share for accuracy
    value: float32 - the measure on held-out images
    low: float32 - lower end of the 95 % interval of value, bootstrap over images
    high: float32 - upper end of the 95 % interval of value, bootstrap over images
    n_types: int32 [types] - types of image of the control task, each shared by several images; 0 without one
    n_typed: int32 [images] - images that have such a type
    no_control: string - why there is no control task, else empty
    control: float32 - the measure on arbitrary labels of types of image, the same in training and held-out images, mean
        over draws; NaN for transfer and where there is no control task
    control_low: float32 - lower end of the 95 % interval of control over images and draws
    control_high: float32 - upper end of the 95 % interval of control over images and draws
    selectivity: float32 - value - control
    selectivity_low: float32 - lower end of the 95 % interval of selectivity over images and draws
    selectivity_high: float32 - upper end of the 95 % interval of selectivity over images and draws
    p: float64 [probability] - two-sided, of selectivity being 0; without a control task, of value being what labels
        dealt to single images give
    q: float64 [probability] - Benjamini and Hochberg over all p of probes and lens
    why: string - why there are no numbers, else empty
    """,
)
LENS = table(
    "lens",
    "layers",
    "a layer, position and language. Numbers are NaN where `why` says so",
    """
    layer: int32 - 0-based number of the decoder block that is read
    position: string - prompt (the last token before the caption) or word (where the first gendered word's token is
        chosen)
    lang: string - language of the caption: en or ar
    recorded: bool - false for the model's last layer where it is not among `activations.layers`
    n_female: int32 [images] - held-out images of women
    n_male: int32 [images] - held-out images of men
    n_neutral: int32 [images] - neutral held-out images
    n_pairs: int32 [pairs] - pairs of words that are compared: at the word its own spelling and its counterpart's, at
        the token at which they part; at the prompt all words that the vocabulary holds whole, together
    covered: float32 [share] - share of the captions with a gendered word for which these words speak
    auc: float32 - chance that the log-odds are higher at an image of a woman than at one of a man
    low: float32 - lower end of the 95 % interval of auc, bootstrap over images
    high: float32 - upper end of the 95 % interval of auc, bootstrap over images
    p: float64 [probability] - two-sided, by the mean and spread of the shuffle
    shuffled_low: float32 - lower end of the central 95 % of the AUC with image labels shuffled among positions at which
        the same words are compared
    shuffled_high: float32 - upper end of the central 95 % of the AUC with image labels shuffled in that way
    random: float32 - AUC (or its complement) through random words, mean of 50 pairs of sets
    random_high: float32 - 95th percentile of the AUC through random words
    effect: float32 [log-odds] - log-odds of a word for a woman at images of women minus at images of men
    effect_low: float32 [log-odds] - lower end of the 95 % interval of effect
    effect_high: float32 [log-odds] - upper end of the 95 % interval of effect
    offset: float32 [log-odds] - log-odds at the mean residual
    rank_median: float32 - median rank of the token that was written next, 1 = first
    first: float32 [share] - share of positions where the token that was written next ranks first
    first_low: float32 [share] - lower end of the 95 % interval of first (Clopper and Pearson)
    first_high: float32 [share] - upper end of the 95 % interval of first (Clopper and Pearson)
    entropy: float32 [bits] - mean entropy of the next word
    entropy_low: float32 [bits] - lower end of the 95 % interval of entropy
    entropy_high: float32 [bits] - upper end of the 95 % interval of entropy
    difference_female: float32 [log-odds] - log-odds of a word for a woman, mean over images of women
    difference_female_low: float32 [log-odds] - lower end of the 95 % interval of difference_female
    difference_female_high: float32 [log-odds] - upper end of the 95 % interval of difference_female
    difference_male: float32 [log-odds] - log-odds of a word for a woman, mean over images of men
    difference_male_low: float32 [log-odds] - lower end of the 95 % interval of difference_male
    difference_male_high: float32 [log-odds] - upper end of the 95 % interval of difference_male
    difference_neutral: float32 [log-odds] - log-odds of a word for a woman, mean over neutral images
    difference_neutral_low: float32 [log-odds] - lower end of the 95 % interval of difference_neutral
    difference_neutral_high: float32 [log-odds] - upper end of the 95 % interval of difference_neutral
    q: float64 [probability] - Benjamini and Hochberg over all p of probes and lens
    why: string - why there are no numbers, else empty
    """,
)
EMERGENCE = table(
    "emergence",
    "layers",
    "a method, position and language",
    """
    method: string - probe or lens
    position: string - the probe's view or the lens's position
    lang: string - language of the caption: en or ar
    layer: int32 - first layer whose AUC leaves chance and control; -1 for none
    is_lowest: bool - whether it is the lowest recorded, so that gender may have been there before
    value: float32 - AUC at that layer
    low: float32 - lower end of the interval of value; 95 % for all layers together, among which the layer was chosen
    high: float32 - upper end of the interval of value; 95 % for all layers together
    earliest: int32 - first layer at which the AUC may lie 0.05 beyond the baseline; -1 for none
    latest: int32 - first layer at which it surely does: with 95 % the first that truly does is one of these; -1: none
    baseline: float32 - what it had to leave: the control, at least 0.5
    n_later: int32 [layers] - recorded layers above it
    n_after: int32 [layers] - layers above it that leave theirs too
    n_images: int32 [images] - images of women and men
    n_layers: int32 [layers] - layers read
    why: string - why nothing can be said, else empty
    """,
)
CAPTION_LENS = table(
    "caption_lens",
    "layers",
    "an image, language, place, layer and lens: what the model would write there if it ended at that layer; the "
    "first test images, all layers",
    """
    sample_id: int32 - image, as numbered in samples
    lang: string - language of the question and caption: en or ar
    kind: string - caption (read where a token was chosen, one position before it stands) or image (a patch)
    slot: int32 - number of the token in the caption, one behind it where the caption ends; at patches the patch, row
        by row
    layer: int32 - 0-based number of the decoder block whose output is read
    lens: string - logit (the model's own last norm and words, put on the layer as it is) or tuned (behind an affine map
        of the layer that was fitted on training captions); at patches logit alone
    token_id: int32 - token that was written there; -1 at patches
    said: string - the word that stands there once that token is written, with what the word has so far; a hyphen or
        tatweel behind it says that the caption goes on with it, brackets that it is no text
    joined: bool - whether the token goes on with the word before it
    rank: int32 - rank of that token among those that a caption may hold, 1 = first; -1 at patches
    p_said: float32 [probability] - probability of that token
    top: list of string - the likeliest words, read as `said`, the first first
    top_ids: list of int32 - their tokens
    top_p: list of float32 [probability] - their probabilities
    compared: string - whose log-odds `log_odds` are: spellings (of the caption's first gendered word and its
        counterpart, where they part), words (for women and men that the vocabulary holds whole) or empty for none
    gender: string - gender of the word that is written, where its spellings are compared, else empty
    log_odds: float32 [log-odds] - of a woman's word over a man's; NaN where none is compared
    others: float32 [log-odds] - of the same two spellings, mean over captions in which the other gender was said, read
        where they say it; NaN below five of them
    beyond: float32 [share] - share of those captions from which `log_odds` lies away, on the side of the written word
    n_others: int32 [captions] - how many those are
    """,
)
LENS_FIT = table(
    "lens_fit",
    "layers",
    "a language, lens and layer: how near the lens is to the model's own output on held-out captions",
    """
    lang: string - language of the captions: en or ar
    lens: string - logit; tuned (a map of the layer, fitted on training captions); and what the same fit reaches without
        the layer: token (from the embedding of the current token) and prior (the mean of all last states)
    layer: int32 - 0-based number of the decoder block whose output is read; -1 for token and prior
    kl: float64 [nats] - divergence of the model's own next-word distribution from the lens's, mean over images
    kl_low: float64 [nats] - lower end of the 95 % interval of kl over images
    kl_high: float64 [nats] - upper end of the 95 % interval of kl over images
    first: float64 [share] - share of tokens at which the lens and the model have the same first word
    first_low: float64 [share] - lower end of the 95 % interval of first (Clopper and Pearson)
    first_high: float64 [share] - upper end of the 95 % interval of first (Clopper and Pearson)
    gained: float64 [nats] - kl of the lens token less kl, mean over the same images; null for token and prior
    gained_low: float64 [nats] - lower end of the 95 % interval of gained over images
    gained_high: float64 [nats] - upper end of the 95 % interval of gained over images
    n_images: int32 [images] - held-out images whose captions were read
    n_tokens: int32 [tokens] - tokens of their captions
    auc: float64 - chance that the log-odds of the two spellings, where the gender is said, are higher at an image of a
        woman than at one of a man; null where there are too few of either
    auc_low: float64 - lower end of the 95 % interval of auc over images
    auc_high: float64 - upper end of the 95 % interval of auc over images
    n_female: int32 [images] - images of women among them
    n_male: int32 [images] - images of men among them
    """,
)

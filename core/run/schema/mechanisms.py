"""Which parts of the model do what to the gendered words."""

from core.run.schema import FEATURE, table

HEAD_EFFECTS = table(
    "head_effects",
    "mechanisms",
    "a language and part of the model: what it adds itself to the log-odds of a word for a woman, where the "
    "first gendered word of the own caption is chosen",
    """
    lang: string - language of the caption: en or ar
    layer: int32 - decoder block of the part; -1: embedding and all
    part: string - part of the model: `embedding`, `head`, `mlp`; `all`: their sum
    head: int32 - number of the head, -1 but for heads
    effect: float64 [log-odds] - mean addition at held-out images of women less that at images of men; null where
        nothing can be said
    low: float64 [log-odds] - lower end of the 95 % interval of effect over images
    high: float64 [log-odds] - upper end of the 95 % interval of effect over images
    effect_train: float64 [log-odds] - mean addition at training images of women less that at images of men, by which
        parts are ranked
    mean_female: float64 [log-odds] - mean addition to the log-odds at held-out images of women
    mean_male: float64 [log-odds] - mean addition to the log-odds at held-out images of men
    shuffled_low: float64 [log-odds] - lower end of the central 95 % of effect where the images' genders are dealt out
        anew
    shuffled_high: float64 [log-odds] - upper end of the central 95 % of effect where the images' genders are dealt out
        anew
    random_low: float64 [log-odds] - lower end of the central 95 % of effect for pairs of random word sets of the same
        sizes
    random_high: float64 [log-odds] - upper end of the central 95 % of effect for pairs of random word sets of the same
        sizes
    p: float64 [probability] - two-sided, of this part alone: genders of the images dealt out anew, studentised
    p_adjusted: float64 [probability] - of any such effect among all heads and MLPs of both languages (step-down max-T);
        null of embedding and all
    n_permutations: int32 [draws] - times that genders were dealt out anew; p is never below 1 / (n_permutations + 1)
    n_compared: int32 [captions] - held-out captions whose two tokens are compared in captions of both genders; only
        these tell p and p_adjusted
    p_least: float64 [probability] - smallest p_adjusted that n_permutations and n_compared allow; above
        `mechanisms.level` no part can be found
    finding: bool - whether p_adjusted is within `mechanisms.level` and the effect beyond random words
    image_share: float64 [share] - heads: share of the attention that goes to image tokens; null in cross-attention
        layers
    image_low: float64 [share] - lower end of the 95 % interval of image_share over images
    image_high: float64 [share] - upper end of the 95 % interval of image_share over images
    image_even: float64 [share] - image_share if attention were spread evenly
    n_female: int32 [captions] - held-out captions of images of women
    n_male: int32 [captions] - held-out captions of images of men
    n_female_train: int32 [captions] - training captions of images of women
    n_male_train: int32 [captions] - training captions of images of men
    readout_r: float64 - correlation over captions of the linear readout with the log-odds
    why: string - why there are no numbers, else empty
    """,
)
PART_SHARES = table(
    "part_shares",
    "mechanisms",
    "a language and image: what each head and MLP adds to the log-odds of the caption's gendered word",
    """
    lang: string - language of the caption: en or ar
    sample_id: int32 - image, as numbered in samples
    gender: string - gender that the image shows
    held_out: bool - whether the image is a held-out one
    pair: int32 - number of the pair of tokens that is compared, within the language
    shares: list of float32 [log-odds] - addition of each head and MLP, in the order of head_effects
    """,
)
PART_AGREEMENT = table(
    "part_agreement",
    "mechanisms",
    "a group of parts: how alike the two languages' effects of parts are, from different images (core/agreement.py)",
    """
    parts: string - all (heads and MLPs), head, mlp
    value: float64 - correlation over parts of the effects in the two languages, as it looks with this many images
    low: float64 - lower end of the 95 % interval of value over images
    high: float64 - upper end of the 95 % interval of value over images
    floor: float64 - mean of value with the images' genders dealt out anew
    floor_low: float64 - lower end of the central 95 % of value with the images' genders dealt out anew
    floor_high: float64 - upper end of the central 95 % of value with the images' genders dealt out anew
    ceiling: float64 - what value would be if the effects were proportional in both languages
    ceiling_low: float64 - lower end of the 95 % interval of ceiling over images
    ceiling_high: float64 - upper end of the 95 % interval of ceiling over images
    ratio: float64 - value over ceiling, the correlation without noise; null where the effects of one language cannot be
        told from noise
    ratio_low: float64 - lower end of the 95 % interval of ratio (Fieller)
    ratio_high: float64 - upper end of the 95 % interval of ratio (Fieller)
    n_parts: int32 [parts] - parts that are compared
    n_female: int32 [images] - images of women with a caption in both languages
    n_male: int32 [images] - images of men with a caption in both languages
    why: string - why there are no numbers, else empty
    """,
)
HEAD_ATTENTION = table(
    "head_attention",
    "mechanisms",
    "a language, head and image: attention from the place where the first gendered word is chosen to the image",
    """
    lang: string - language of the caption: en or ar
    layer: int32 - decoder block of the head
    head: int32 - number of the head within its layer
    sample_id: int32 - image, as numbered in samples; -1: mean over all captions that were attributed
    gender: string - gender of the image
    word: string - the gendered word that is chosen
    patch_map: list of float32 [share] - attention to each patch, row by row; sums to the share of the image where all
        its tokens are patches
    """,
)
WEIGHT_SPECTRA = table(
    "weight_spectra",
    "mechanisms",
    "a matrix of the model's weights, norm gains folded in",
    """
    layer: int32 - decoder block of the weights
    head: int32 - number of the head, -1 for the MLP
    matrix: string - `OV`, `QK` (at distance 0), `MLP` (in times out)
    rank: int32 - number of singular values
    entropy: float64 [nats] - Shannon entropy of the singular values over their sum
    effective_rank: float64 - exponential of the entropy
    participation: float64 - participation ratio of the singular values, (sum s^2)^2 / sum s^4
    norm: float64 - Frobenius norm
    trace: float64 - sum of the matrix's eigenvalues
    copying: float64 - sum of eigenvalues over the sum of their sizes, -1 to 1
    singular_values: list of float64 - singular values, falling
    random_effective_rank: float64 - effective rank of Gaussian factors of the same shapes
    random_participation: float64 - participation ratio of Gaussian factors of the same shapes
    """,
)
HEAD_READINGS = table(
    "head_readings",
    "mechanisms",
    "a language, head and view: what OV makes of the gender direction of training images. Heads above the "
    "lowest recorded layer",
    """
    lang: string - language of the caption: en or ar
    head_layer: int32 - decoder block of the head
    head: int32 - number of the head within its layer
    view: string - where the direction it reads is taken: `image` or `before`
    in_layer: int32 - the recorded layer below, whose direction is read
    out_layer: int32 - the recorded layer above (or the same), whose direction (view `before`) and features are compared
        with what is written
    sae_id: string - SAE of out_layer, whose features are named
    cosine: float64 - cosine of what is written with the gender direction of out_layer, read on other images than that
    cosine_low: float64 - lower end of the 95 % interval of cosine over images
    cosine_high: float64 - upper end of the 95 % interval of cosine over images
    cosine_ratio: float64 - cosine over what so many images could show of one direction; null where that is not clear of
        noise
    cosine_ratio_low: float64 - lower end of the 95 % interval of cosine_ratio (Fieller)
    cosine_ratio_high: float64 - upper end of the 95 % interval of cosine_ratio (Fieller)
    cosine_shuffled_low: float64 - lower end of the central 95 % of cosine where genders are dealt out anew
    cosine_shuffled_high: float64 - upper end of the central 95 % of cosine where genders are dealt out anew
    cosine_random_low: float64 - lower end of the central 95 % of cosine of random directions
    cosine_random_high: float64 - upper end of the central 95 % of cosine of random directions
    word_cosine: float64 - cosine of what is written with the words for women less those for men
    word_cosine_low: float64 - lower end of the 95 % interval of word_cosine over images
    word_cosine_high: float64 - upper end of the 95 % interval of word_cosine over images
    word_cosine_shuffled_low: float64 - lower end of the central 95 % of word_cosine where genders are dealt out anew
    word_cosine_shuffled_high: float64 - upper end of the central 95 % of word_cosine where genders are dealt out anew
    word_cosine_random_low: float64 - lower end of the central 95 % of word_cosine of random directions
    word_cosine_random_high: float64 - upper end of the central 95 % of word_cosine of random directions
    gain: float64 - length of what is written over that of what is read
    random_gain: float64 - mean gain of random directions
    features: list of int32 - features whose decoder rows lie nearest, either way
    feature_cosines: list of float64 - cosines of these rows with what is written
    shuffled_cosine: float64 - 95th percentile of the largest cosine with a feature where genders are dealt out anew
    n_female: int32 [images] - training images of women
    n_male: int32 [images] - training images of men
    """,
)
FEATURE_PAIRS = table(
    "feature_pairs",
    "mechanisms",
    "a language, layer and pair of features: all pairs of the features with the strongest predicted effects "
    "on training captions, and control pairs",
    """
    lang: string - language of the caption: en or ar
    layer: int32 - 0-based number of the decoder block whose output is meant
    sae_id: string - SAE that the numbers of features are of: hash of its tensors
    feature_a: int32 - number of the first feature
    feature_b: int32 - number of the second feature
    kind: string - `top`, or `control`: other features that fire about as often as those of an ablated pair
    n_images: int32 [images] - images with a caption
    n_a: int32 [images] - images on which a fires before the first gendered word
    n_b: int32 [images] - images on which b fires before the first gendered word
    n_both: int32 [images] - images on which both do
    pmi: float64 [bits] - pointwise mutual information of their firing; -inf where they never meet
    pmi_low: float64 [bits] - lower end of the central 95 % of pmi in a shuffle over images
    pmi_high: float64 [bits] - upper end of the central 95 % of pmi in a shuffle over images
    p: float64 [probability] - of pmi, two-sided, by the shuffle over images
    q: float64 [probability] - p adjusted over the pairs of the layer and kind
    b_given_a: float64 [share] - share of the images of a on which b fires
    a_given_b: float64 [share] - share of the images of b on which a fires
    pmi_within: float64 [bits] - log2 of n_both over its expectation in a shuffle within the images' genders
    p_within: float64 [probability] - of pmi_within, two-sided, by the shuffle within the images' genders
    q_within: float64 [probability] - p_within adjusted over the pairs of the layer and kind
    predicted_a: float64 [log-odds] - predicted effect of ablating a, training captions
    predicted_b: float64 [log-odds] - predicted effect of ablating b, training captions
    n_ablated: int32 [captions] - held-out captions on which both were ablated; 0: not done
    effect_a: float64 [log-odds] - mean change of the log-odds of a woman's word when a is ablated
    effect_b: float64 [log-odds] - mean change when b is ablated
    effect_both: float64 [log-odds] - mean change when both are ablated
    interaction: float64 [log-odds] - effect_both less the sum of effect_a and effect_b
    low: float64 [log-odds] - lower end of the 95 % interval of interaction over images
    high: float64 [log-odds] - upper end of the 95 % interval of interaction over images
    p_interaction: float64 [probability] - of interaction being 0, two-sided, over images
    size: float64 [log-odds] - mean size of the interaction by caption
    relative: float64 - size over the mean of the sizes of both effects
    relative_low: float64 - lower end of the 95 % interval of relative over images
    relative_high: float64 - upper end of the 95 % interval of relative over images
    """,
)
PATCHING = table(
    "patching",
    "mechanisms",
    "a language, layer and feature: predicted and true effect of ablating it at all image, prompt and caption "
    "tokens, on held-out captions",
    """
    lang: string - language of the caption: en or ar
    """,
    FEATURE,
    """
    chosen: string - `strongest` by prediction on training captions, or `random` among those that fire
    n_images: int32 [captions] - held-out captions on which it was ablated
    n_fires: int32 [captions] - held-out captions on which it fires
    true: float64 [log-odds] - mean change of the log-odds of a woman's word when it is ablated
    low: float64 [log-odds] - lower end of the 95 % interval of true over images; null where it changes fewer than five
    high: float64 [log-odds] - upper end of the 95 % interval of true over images; null where it changes fewer than five
    gradient: float64 [log-odds] - change predicted by gradient times activation
    integrated: float64 [log-odds] - change predicted by integrated gradients; null where they were not taken
    direct: float64 [log-odds] - change by the feature's own words alone
    gradient_train: float64 [log-odds] - change predicted by gradient times activation on training captions
    """,
)
PATCHING_CHECKS = table(
    "patching_checks",
    "mechanisms",
    "a language, layer, method and group of features: how well predictions agree with ablations",
    """
    lang: string - language of the caption: en or ar
    layer: int32 - 0-based number of the decoder block whose output is meant
    method: string - how effects are predicted: `gradient`, `integrated`, `direct`
    chosen: string - group of features: `all`, `strongest`, `random`
    r: float64 - Pearson's correlation of predicted and true effects over features; null where it cannot be said
    low: float64 - lower end of the 95 % interval of r over captions and features
    high: float64 - upper end of the 95 % interval of r over captions and features
    spearman: float64 - rank correlation of predicted and true effects
    slope: float64 - slope of true on predicted effects
    control_low: float64 - lower end of the central 95 % of r where predictions are dealt out anew
    control_high: float64 - upper end of the central 95 % of r where predictions are dealt out anew
    n: int32 [features] - features compared
    n_images: int32 [captions] - captions behind the effects
    why: string - why there is no r, else empty
    """,
)
IMAGE_EXCHANGE = table(
    "image_exchange",
    "mechanisms",
    "a language, place and change: what the log-odds of the own gender's word lose when image tokens are "
    "exchanged for those of an image of the other gender, on held-out captions",
    """
    lang: string - language of the caption: en or ar
    site: string - `projector` (the image tokens as they enter the decoder) or `decoder` (after a layer)
    layer: int32 - 0-based number of the decoder block after which image tokens are exchanged; -1 at the projector
    change: string - `direction` (their components along the gender direction alone) or `all` (the image tokens whole)
    n_images: int32 [captions] - held-out captions whose image tokens were exchanged, half of women's images
    effect: float64 [log-odds] - mean loss of the own gender's word against its counterpart by the exchange
    effect_low: float64 [log-odds] - lower end of the 95 % interval of the mean loss over images
    effect_high: float64 [log-odds] - upper end of the 95 % interval of the mean loss over images
    share: float64 [share] - effect over that of the whole exchange at the projector, which is all that the image does
    low: float64 [share] - lower end of the 95 % interval of share over images
    high: float64 [share] - upper end of the 95 % interval of share over images
    control: float64 [share] - mean share of directions of training images whose genders are dealt out anew; at the
        projector alone
    beyond: float64 [share] - share less control
    beyond_low: float64 [share] - lower end of the 95 % interval of beyond over images and directions
    beyond_high: float64 [share] - upper end of the 95 % interval of beyond over images and directions
    why: string - why nothing can be said of shares, else empty
    """,
)

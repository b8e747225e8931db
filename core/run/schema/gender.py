"""What features have to do with the gender of images."""

from core.run.schema import FEATURE, table

GENDER_FEATURES = table(
    "gender_features",
    "gender",
    "a feature that fires anywhere in the layer, a language and a view; by layer, feature, view and language. "
    "Positive is always *more for women*. Numbers of which there is not enough data are null, and `why` says "
    "so. `_train` selects, `_test` scores",
    FEATURE,
    """
    lang: string - en, ar; empty in the view image, where both languages' sequences are averaged
    view: string - positions: before (end of the prompt up to the first gendered word), caption, image
    n_female_train: int32 [images] - training images of women that have positions in this view
    n_male_train: int32 [images] - training images of men that have positions in this view
    n_neutral_train: int32 [images] - neutral training images that have positions in this view
    n_female_test: int32 [images] - held-out images of women that have positions in this view
    n_male_test: int32 [images] - held-out images of men that have positions in this view
    n_neutral_test: int32 [images] - neutral held-out images that have positions in this view
    rate_female_train: float32 [share] - share of the training images of women on which the feature fires
    rate_male_train: float32 [share] - share of the training images of men on which the feature fires
    rate_neutral_train: float32 [share] - share of the neutral training images on which the feature fires
    rate_female_test: float32 [share] - share of the held-out images of women on which the feature fires
    rate_male_test: float32 [share] - share of the held-out images of men on which the feature fires
    rate_neutral_test: float32 [share] - share of the neutral held-out images on which the feature fires
    mean_female_train: float32 [activation] - mean activation over the training images of women, zeros included
    mean_male_train: float32 [activation] - mean activation over the training images of men, zeros included
    mean_neutral_train: float32 [activation] - mean activation over the neutral training images, zeros included
    mean_female_test: float32 [activation] - mean activation over the held-out images of women, zeros included
    mean_male_test: float32 [activation] - mean activation over the held-out images of men, zeros included
    mean_neutral_test: float32 [activation] - mean activation over the neutral held-out images, zeros included
    auc_train: float32 - chance that it is higher on a training image of a woman than on one of a man, ties count half
    auc_test: float32 - chance that it is higher on a held-out image of a woman than on one of a man, ties count half
    auc_low_test: float32 - lower end of the 95 % interval of auc_test (Newcombe's method 5, ties counted)
    auc_high_test: float32 - upper end of the 95 % interval of auc_test (Newcombe's method 5, ties counted)
    d_train: float32 [standard deviations] - Cohen's d of women against men, training images
    d_test: float32 [standard deviations] - difference_test in pooled standard deviations of the training images
    d_low_test: float32 [standard deviations] - lower end of the 95 % interval of d_test over images; null below 5
        images that fire
    d_high_test: float32 [standard deviations] - upper end of the 95 % interval of d_test over images; null below 5
        images that fire
    difference_train: float32 [activation] - mean activation of women minus that of men, training images
    difference_test: float32 [activation] - mean activation of women minus that of men, held-out images
    difference_low_test: float32 [activation] - lower end of the 95 % interval of difference_test over images; null
        below 5 images that fire
    difference_high_test: float32 [activation] - upper end of the 95 % interval of difference_test over images; null
        below 5 images that fire
    p_train: float64 [probability] - Mann-Whitney on training images, two-sided, ties corrected
    q_train: float64 [probability] - p_train after Benjamini and Hochberg over all features, layers and languages of the
        view
    p_test: float64 [probability] - Mann-Whitney on held-out images, two-sided, ties corrected
    effect_train: float32 [log-odds] - gradient times activation on the log-odds of female against male words, training
        captions; the same in every view of a language
    effect_test: float32 [log-odds] - gradient times activation on the log-odds of female against male words, held-out
        captions; the same in every view of a language
    effect_low_test: float32 [log-odds] - lower end of the 95 % interval of effect_test over images; null below 5
        captions that fire
    effect_high_test: float32 [log-odds] - upper end of the 95 % interval of effect_test over images; null below 5
        captions that fire
    n_effect_train: int32 [captions] - training captions on which the effect was taken
    n_effect_test: int32 [captions] - held-out captions on which the effect was taken
    rank_auc: int32 - 1 = AUC farthest from 0.5 on the training images, within layer, language and view
    rank_d: int32 - 1 = largest Cohen's d on the training images, either sign
    rank_difference: int32 - 1 = largest difference of means on the training images, either sign
    rank_effect: int32 - 1 = largest effect on the training captions, either sign
    shuffled_holds: int32 - in which of 20 shuffles of the held-out images' genders it would have held (same side as on
        the training images, beyond 95 % of chance): bit i is shuffle i
    finding: bool - whether q_train is within the settings' FDR and, held out, the sign is the same and the interval of
        auc_test excludes 0.5
    direction: string - female or male by auc_train, else empty
    why: string - why numbers are missing: too few images, never fires; else empty
    """,
)
GENDER_RANKINGS = table(
    "gender_rankings",
    "gender",
    "a pair of rankings of a layer's features: how far they agree, one made on the training images and the other on "
    "the held-out ones, mean of both ways round. A ranking paired with itself is the most that can be asked for",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    sae_id: string - SAE that the numbers of features are of: hash of its tensors
    lang: string - language of the captions; empty in the view image
    view: string - before, caption or image
    ranking_a: string - first ranking: auc, d, difference or effect
    ranking_b: string - second ranking: auc, d, difference or effect
    n_features: int32 [features] - features that both rank
    spearman: float64 - rank correlation of the sizes, signs left out
    ratio: float64 - spearman over what the two rankings have each with itself (geometric mean); null where that is no
        more than with shuffled labels, and of a ranking with itself
    spearman_shuffled_low: float64 - smallest with image labels shuffled 20 times: agreement that needs no gender
    spearman_shuffled_high: float64 - largest with image labels shuffled 20 times
    k: int32 [features] - length of the two lists' heads that are compared
    overlap: float64 [features] - features in both heads, mean of both ways round
    overlap_chance: float64 [features] - expected of two random lists, k^2 / n
    overlap_chance_low: int32 [features] - lower end of its 95 % range (hypergeometric)
    overlap_chance_high: int32 [features] - upper end of its 95 % range (hypergeometric)
    why: string - why numbers are missing, else empty
    """,
)
GENDER_PAIRS = table(
    "gender_pairs",
    "gender",
    "a feature that fires anywhere in the layer. An image's activation is the largest of its views in either language",
    FEATURE,
    """
    n_pairs: int32 [pairs] - pairs of an image of a woman and one of a man, of like activation, strongest first
    sample_female: list of int32 - images of women, pair by pair
    sample_male: list of int32 - images of men, pair by pair
    activation_female: list of float32 [activation] - activation on the image of the woman of each pair
    activation_male: list of float32 [activation] - activation on the image of the man of each pair
    n_top: int32 [images] - held-out images of women or men among which the lift is measured: those that fire it most
    n_top_female: int32 [images] - women among them
    n_female: int32 [images] - held-out images of women
    n_male: int32 [images] - held-out images of men
    lift_female: float32 - share of women among the top over their share in all; 1 = no different
    lift_female_low: float32 - lower end of the 95 % interval of lift_female (Clopper and Pearson)
    lift_female_high: float32 - upper end of the 95 % interval of lift_female (Clopper and Pearson)
    lift_male: float32 - share of men among the top over their share in all; 1 = no different
    lift_male_low: float32 - lower end of the 95 % interval of lift_male (Clopper and Pearson)
    lift_male_high: float32 - upper end of the 95 % interval of lift_male (Clopper and Pearson)
    why: string - why there is no lift, else empty
    """,
)

"""What English and Arabic share: residuals, features, dictionaries of one language, gender."""

from core.run.schema import FEATURE, table

_MEASURE = """
    value: float64 - what was measured, in terms of the measure
    low: float64 - lower end of the 95 % interval of the value
    high: float64 - upper end of the 95 % interval of the value
    floor: float64 - value where nothing is to be found; which way, see docs/methods.md
    floor_low: float64 - lower end of the 95 % range of the floor
    floor_high: float64 - upper end of the 95 % range of the floor
    ceiling: float64 - value that one language reaches with itself
    ceiling_low: float64 - lower end of the 95 % interval of the ceiling
    ceiling_high: float64 - upper end of the 95 % interval of the ceiling
    ratio: float64 - how far value lies from 0 to the ceiling: 1 where the languages agree as one does with itself; of
        AUC and shared variance from chance; null where that cannot be told from noise, and where the ceiling is 1 by
        definition
    ratio_low: float64 - lower end of the 95 % interval of the ratio, value and ceiling of the same images
    ratio_high: float64 - upper end of the 95 % interval of the ratio, value and ceiling of the same images
    n: int32 - units the value rests on
    unit: string - what n counts
    why: string - why there is no value, else empty
"""
LANGUAGE_FEATURES = table(
    "language_features",
    "crosslingual",
    "a feature, by layer and number: what it does in the captions of the same images in the two languages "
    "(view caption)",
    FEATURE,
    """
    n_images: int32 [images] - images with a caption of the model in both languages
    n_en: int32 [captions] - English captions in which it fires
    n_ar: int32 [captions] - Arabic captions in which it fires
    rate_en: float64 [share] - share of the English captions in which it fires
    rate_ar: float64 [share] - share of the Arabic captions in which it fires
    mean_en: float64 [activation] - mean activation over the English captions
    mean_ar: float64 [activation] - mean activation over the Arabic captions
    language_index: float64 - (mean_ar - mean_en) / (mean_ar + mean_en); null where it never fires
    low: float64 - lower end of the 95 % interval of the index over images
    high: float64 - upper end of the 95 % interval of the index over images
    null_low: float64 - lower end of the 95 % range of the index with languages swapped within images
    null_high: float64 - upper end of the 95 % range of the index with languages swapped within images
    pair_correlation: float64 - correlation over images of its activation in the two languages; null where one is
        constant
    p_language: float64 [probability] - of the index, two-sided, languages swapped within images
    q_language: float64 [probability] - p_language after Benjamini and Hochberg over all features and layers
    p_pairs: float64 [probability] - of pair_correlation, one-sided, pairs of captions shuffled
    q_pairs: float64 [probability] - p_pairs after Benjamini and Hochberg over all features and layers
    language_class: string - shared, english, arabic, leaning english, leaning arabic, unclear, not enough data
    """,
)
LANGUAGE_CLASSES = table(
    "language_classes",
    "crosslingual",
    "a class of features of a layer",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    language_class: string - class, as in language_features
    n: int32 [features] - features in the class
    n_tested: int32 [features] - features that fire on enough captions
    chance: float64 [features] - how many would be in the class by chance; null where the class has no null of its own
    """,
)
ALIGNMENT = table(
    "alignment",
    "crosslingual",
    "a measure, layer and view: comparisons of residuals and of dictionaries",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    view: string - prompt, before or caption
    measure: string - cka, shared_variance, language_only_variance, predicted_variance; of dictionaries trained apart:
        matched_share, matched_correlation, matched_cosine, assignment_bound
    lang: string - whose residuals or direction, empty where both count alike
    other: string - by way of which language
    matched_by: string - activation or decoder for dictionaries trained apart, else empty
    method: string - mutual or assignment, else empty
    """,
    _MEASURE,
)
LANGUAGE_SAES = table(
    "language_saes",
    "crosslingual",
    "an SAE of one language, which lies in `language_saes/layer_XX_<lang>_<seed>/` in sae-lens format",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    lang: string - whose caption tokens it was trained on
    seed: int32 - 0 or 1: number of the training
    language_sae_id: string - hash of the SAE's tensors; it lies in language_saes/
    d_sae: int32 [features] - features of the SAE
    k: int32 [features a token] - active features a token
    n_train_tokens: int32 [tokens] - caption tokens of train images that it could see
    explained_variance: float64 [share] - share of the variance of held-out caption tokens of its language that it keeps
    """,
)
LANGUAGE_MATCHES = table(
    "language_matches",
    "crosslingual",
    "a pair of partners in the one-to-one assignment of the two dictionaries of the first seed",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    matched_by: string - activation or decoder
    sae_en: string - language_sae_id of the English dictionary
    sae_ar: string - language_sae_id of the Arabic dictionary
    feature_en: int32 - number in the English dictionary
    feature_ar: int32 - number in the Arabic dictionary
    similarity: float64 - what they were matched by, on training images
    correlation: float64 - correlation of activations over held-out images
    cosine: float64 - cosine of the decoder rows
    mutual: bool - whether they are also each other's best
    """,
)
GENDER_DIRECTIONS = table(
    "gender_directions",
    "crosslingual",
    "a layer, view, measure and pair of languages: the gender direction of each language",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    view: string - prompt, before or caption
    measure: string - direction_cosine (between the languages) or direction_auc (held-out AUC)
    lang: string - whose direction
    other: string - in which language it is scored or compared
    """,
    _MEASURE,
)
CLBAS = table(
    "clbas",
    "crosslingual",
    "a score and case: CLBAS and other scores, each on the data and where there is nothing to find",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    view: string - prompt, before or caption
    dictionary: string - shared (one for both languages) or separate (partners of two)
    score: string - clbas; for comparison top_overlap, effect_similarity, effect_cosine
    case: string - measured, same language twice, over its ceiling (clbas: measured over same language twice), labels
        shuffled, effects at random
    value: float64 - the score
    low: float64 - lower end of the 95 % interval, or of the range over 100 draws where something is shuffled or drawn
    high: float64 - upper end of the 95 % interval, or of the range over 100 draws where something is shuffled or drawn
    n_features: int32 [features] - features of the largest training effect, over which CLBAS is taken
    n_female: int32 [images] - held-out images of women
    n_male: int32 [images] - held-out images of men
    why: string - why there is no value, else empty
    """,
)
SHARED_GENDER = table(
    "shared_gender",
    "crosslingual",
    "one of the 64 features of each layer and view with the largest effect on the training images, largest first",
    FEATURE,
    """
    view: string - before or caption
    train_effect_en: float64 [standard deviations] - difference of means, women - men, English captions of training
        images
    effect_en: float64 [standard deviations] - difference of means, women - men, English captions of held-out images
    low_en: float64 [standard deviations] - lower end of the 95 % interval of effect_en
    high_en: float64 [standard deviations] - upper end of the 95 % interval of effect_en
    p_en: float64 [probability] - Mann-Whitney on English captions, two-sided
    train_effect_ar: float64 [standard deviations] - difference of means, women - men, Arabic captions of training
        images
    effect_ar: float64 [standard deviations] - difference of means, women - men, Arabic captions of held-out images
    low_ar: float64 [standard deviations] - lower end of the 95 % interval of effect_ar
    high_ar: float64 [standard deviations] - upper end of the 95 % interval of effect_ar
    p_ar: float64 [probability] - Mann-Whitney on Arabic captions, two-sided
    difference_low: float64 [standard deviations] - lower end of the 95 % interval of effect_en - effect_ar
    difference_high: float64 [standard deviations] - upper end of the 95 % interval of effect_en - effect_ar
    p_both: float64 [probability] - of no effect in at least one language: the larger of p_en and p_ar
    q_both: float64 [probability] - p_both after Benjamini and Hochberg over all rows
    p_own: float64 [probability] - of not being of one language: of no effect in the one, or of half of it or more in
        the other, whichever is the likelier; paired by image; twice that of the better language
    q_own: float64 [probability] - p_own after Benjamini and Hochberg over all rows
    n_female: int32 [images] - held-out images of women
    n_male: int32 [images] - held-out images of men
    sharing: string - what the languages share of it: shared, opposed (q_both within the bound; one sign or two),
        english, arabic (q_own within the bound), unclear (cannot be told at this n)
    """,
)
GRAMMATICAL_GENDER = table(
    "grammatical_gender",
    "crosslingual",
    "a feature of each layer; no rows where fewer than five words of a gender are known",
    FEATURE,
    """
    n_en: int32 [captions] - English captions in which it fires
    n_ar: int32 [captions] - Arabic captions in which it fires
    n_words_female: int32 [words] - feminine words for things
    n_words_male: int32 [words] - masculine words for things
    auc_word_ar: float64 - AUC of feminine over masculine words for things, Arabic captions
    auc_word_en: float64 - control: AUC on the same images and words, English captions
    size_word: float64 - the smaller of two |t| of feminine against masculine words: of Arabic means, and of what
        English means of the same images leave of them
    n_labellings: int32 [labellings] - ways to call as many words feminine that were tried
    p_word: float64 [probability] - share of these labellings with a size_word as large, of this feature alone
    p_word_adjusted: float64 [probability] - share of these labellings in which any feature of the layer has a size_word
        as large, times the number of layers
    auc_person: float64 - AUC of women over men, Arabic captions of held-out images
    p_person: float64 [probability] - Mann-Whitney on training images
    q_person: float64 [probability] - p_person after Benjamini and Hochberg
    follows: string - what it follows: word, person, both, neither, not enough data
    """,
)
FEATURE_OVERLAP = table(
    "feature_overlap",
    "crosslingual",
    "a layer, view and k: how many of the k features that tell gender best are the same in English and in Arabic, "
    "the one ranked on other images than the other",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    view: string - before or caption
    k: int32 [features] - features of the largest gender effects, by size, in each language
    n_features: int32 [features] - features that fire on enough captions, of which the k are
    n_female: int32 [images] - images of women, one half of which ranks either language
    n_male: int32 [images] - images of men, one half of which ranks either language
    value: float64 [share] - share of k that is among the k of both languages and has one sign
    low: float64 [share] - lower end of the 95 % interval of the share over images
    high: float64 [share] - upper end of the 95 % interval of the share over images
    floor: float64 [share] - share in common with the images' genders dealt out anew, alike in both languages
    floor_high: float64 [share] - 97.5th percentile of the share with genders dealt out anew
    ceiling: float64 [share] - share that one language, ranked on either half, has in common with itself, mean of both
    ceiling_low: float64 [share] - lower end of the 95 % interval of the ceiling over images
    ceiling_high: float64 [share] - upper end of the 95 % interval of the ceiling over images
    ratio: float64 - (value - floor) / (ceiling - floor); null where floor and ceiling cannot be told apart
    ratio_low: float64 - lower end of Fieller's 95 % interval of the ratio
    ratio_high: float64 - upper end of Fieller's 95 % interval of the ratio
    """,
)
EARLIER_SCORES = table(
    "earlier_scores",
    "crosslingual",
    "a layer, view, score and case: formulas of the earlier study, on the run and where nothing or everything is there",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    view: string - before or caption
    score: string - clfa, clbas_published, hbl_en, hbl_ar, sbi; transport: partners by optimal transport of activations
        on the same images
    case: string - measured, labels shuffled, images paired at random, same language twice (on halves of the images)
    value: float64 - what the formula gives, mean over the draws of the case
    low: float64 - lower end of the central 95 % of the draws
    high: float64 - upper end of the central 95 % of the draws
    n_draws: int32 [draws] - halves of the images or shuffles; 1 where nothing is drawn
    n_features: int32 [features] - features with the largest gender effects in either language
    n_female: int32 [images] - images of women that it is taken over
    n_male: int32 [images] - images of men that it is taken over
    """,
)

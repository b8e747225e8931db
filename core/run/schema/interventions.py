"""What was changed in the model, what it then wrote, and what the changes did beside their controls."""

from core.run.schema import table

_ARM = """
    method: string - none, features, difference of means, probe direction, LEACE, random direction, neutral prompt,
        other prompt, zero edit, reconstruction, reconstruction without features (the published hook), random
        dictionary (features of random directions, chosen as those of the SAE are), no way out
    mode: string - swap (the other gender put in), ablate (taken out), neutralise (features of both genders set to the
        middle of their means over women and men), or empty
    layer: int32 - layer that is changed, -1 where none is
    strength: float64 - of swap: in max_act of features, in halves of the distance of the means of directions
    sets: string - own: features ranked on captions of the language that is written; cross: on the other language's;
        empty for what has no features
    ranking: string - ranking of gender_features by which the features were chosen
    k: int32 [features] - features changed together, 0 for none
    draw: int32 - -1: what is asked about; from 0: the number of a control
    uniform: bool - whether a control was drawn uniformly from all live features, not matched with the target
    dictionary: int32 - number of the random dictionary whose features are changed, -1 for the run's SAE or none
    with_layer: int32 - higher layer that is changed in the same passes, -1 where one alone is
    with_strength: float64 - strength of what is changed there
    with_ranking: string - ranking by which the features that are changed there were chosen
"""
_DESIGN = """
    design: int32 - number of the question, -1 in the grid
    part: string - identity, sets, modes (further k of modes but the first), controls (drawn or put in otherwise),
        nulls, transfer, layers, two layers, dose, directions, prompts; grid: tried on development images
    note: string - headline (fixed on the development images), least separating layer, uniform controls (the controls
        are not matched), random dictionary (the headline's question put to one), or empty
    arm: int32 - number of the arm that is asked about, in intervention_arms
"""
_COMPARED = """
    n_images: int32 [images] - images asked about
    n_controls: int32 [arms] - controls that it is compared with
    baseline: float64 [of the outcome] - outcome without any change
    target: float64 [of the outcome] - outcome under the change
    effect: float64 [of the outcome] - target - baseline
    effect_low: float64 [of the outcome] - lower end of the 95 % interval of effect over images; null where fewer than 5
        images change, unless it is a plain share
    effect_high: float64 [of the outcome] - upper end of the 95 % interval of effect over images; null where fewer than
        5 images change, unless it is a plain share
    p_effect: float64 [probability] - two-sided, of effect, signs of the images' differences exchanged
    control: float64 [of the outcome] - mean of the controls
    control_low: float64 [of the outcome] - the smallest control
    control_high: float64 [of the outcome] - the largest control
    specific: float64 [of the outcome] - target - control
    specific_low: float64 [of the outcome] - lower end of the 95 % interval of specific, images and control sets drawn
        together
    specific_high: float64 [of the outcome] - upper end of the 95 % interval of specific, images and control sets drawn
        together
    p_specific: float64 [probability] - two-sided, of specific, whole sets exchanged; never below 1 / (n_controls + 1)
"""
INTERVENTION_ARMS = table(
    "intervention_arms",
    "interventions",
    "a change of the model that was tried; captions name it by its number",
    """
    arm: int32 - number of the change, counted over both phases
    phase: string - development (layer, strength and ranking are chosen) or confirmation
    """,
    _ARM,
    """
    sae_id: string - SAE whose features are changed, else null
    dictionary_id: string - content hash of the random dictionary whose features are changed, else null
    features_en: list of int32 - features changed while an English caption is written; of two layers those of the lower
    features_ar: list of int32 - features changed while an Arabic caption is written; of two layers those of the lower
    leans_en: list of int8 - of each of features_en: 1 more active on women's training images, -1 on men's; of a
        control, its partner's
    leans_ar: list of int8 - of each of features_ar: 1 more active on women's training images, -1 on men's; of a
        control, its partner's
    distance: float64 - controls: mean distance from their partners in log firing rate, log norm and log mean
        activation, in spreads over live features
    firing_rate: float64 [share] - mean share of tokens on which the features fire
    activation: float64 [activation] - mean activation of the features where they fire
    moved_share: float64 [share] - share of the positions it may touch that it moves, on unedited captions
    moved_ratio: float64 - mean length of h' - h over that of h, where it moves them
    capped_share: float64 [share] - share of the positions where the cap bit
    """,
)
INTERVENTION_IMAGES = table(
    "intervention_images",
    "interventions",
    "an image of the interventions",
    """
    phase: string - development (layer, strength and ranking are chosen) or confirmation
    image: int32 - number within its phase
    sample_id: int32 - image, as numbered in samples; -1 for a fresh scene
    gender: string - gender that the image shows
    attributes: string - JSON of what is known to be true of the image, as in samples
    image_file: string - picture in the run folder; of fresh scenes in intervention_images/
    """,
)
INTERVENTION_CAPTIONS = table(
    "intervention_captions",
    "interventions",
    "a caption that was written under a change",
    """
    arm: int32 - number of the change, in intervention_arms
    phase: string - development (layer, strength and ranking are chosen) or confirmation
    image: int32 - number within its phase
    lang: string - language of the caption: en or ar
    text: string - the caption
    finished: bool - whether the end token came in time
    n_tokens: int32 [tokens] - tokens of the caption
    log_prob: float64 [nats] - log-probability, summed over tokens, under the unedited model after the plain prompt
    n_female: int32 [words] - words for women
    n_male: int32 [words] - words for men
    n_unmarked: int32 [words] - words in the generic masculine, where the policy of the run leaves it one of its own
    n_neutral: int32 [words] - words for persons of either
    named: string - what it names: male, female, both, unmarked (no gender but by the generic masculine), neutral, none
    content: int32 [words] - words of content of the unedited caption
    content_kept: int32 [words] - words of content of the unedited caption that are still there
    unchanged: bool - word for word the unedited caption
    changed: bool - words of another gender than in the unedited caption, or of none, a generic masculine counting as
        masculine; null where that has words of no gender or of both
    flipped: bool - names a woman where the words were masculine, or a man where they were feminine; null likewise
    unnamed: bool - names neither where one was named, or has lost the generic masculine; null likewise
    clean: bool - changed and not damaged; null likewise
    damaged: bool - fewer than three quarters of the content words are kept, or three words in a row come twice
    repeats: bool - three words in a row come twice
    right_gender: bool - names the gender that the scene shows; demo world alone, else null
    right_role: bool - names the role that the scene shows; demo world alone, else null
    right_object: bool - names the object that the scene shows; demo world alone, else null
    """,
)
INTERVENTION_EFFECTS = table(
    "intervention_effects",
    "interventions",
    "a design, language and figure (`outcome`)",
    _DESIGN,
    _ARM,
    """
    lang: string - language of the caption: en or ar
    outcome: string - figure that is compared: clean, changed, flipped, unnamed, damaged, repeats, unchanged,
        content_kept, gendered, gendered_per_100 (tokens), female_per_100, male_per_100, neutral_per_100, length,
        nats_per_token, right_gender, right_role, right_object
    """,
    _COMPARED,
    """
    ratio: float64 - effect over the controls' effect, null where the controls' may be 0
    ratio_low: float64 - lower end of the 95 % interval of ratio
    ratio_high: float64 - upper end of the 95 % interval of ratio
    why: string - why something is null, or empty
    p_adjusted: float64 [probability] - of any such difference among all designs of all parts in both languages but the
        headline (max-T over whole draws of controls); the headline's and the random dictionary's is their p; null with
        too few controls for 5 %
    """,
)
INTERVENTION_VERDICTS = table(
    "intervention_verdicts",
    "interventions",
    "a design and language: the plain verdict",
    _DESIGN,
    _ARM,
    """
    lang: string - language of the caption: en or ar
    n_controls: int32 [arms] - controls that it is compared with
    n_images: int32 [images] - captions that named one gender unedited
    verdict: string - specific effect; effect, not specific; non-specific damage; nothing; not enough data
    why: string - the reasons of the verdict, in words
    """,
)
INTERVENTION_COMPARISONS = table(
    "intervention_comparisons",
    "interventions",
    "a comparison of changes of the model on the same images, by language and share of captions (`outcome`)",
    """
    comparison: string - trained less random dictionaries: the headline beside the same number of features of random
        directions, chosen by the same ranking on the same training images; both layers less the lower, the upper,
        either (captions that one of the two alone changes), the sum (of what each alone changes)
    arm: int32 - number of the first change, in intervention_arms
    others: list of int32 - numbers of the changes that it is compared with
    lang: string - language of the caption: en or ar
    outcome: string - share that is compared: clean, changed, damaged, flipped, unnamed
    n_images: int32 [images] - images on which all of them were made
    n_others: int32 [arms] - changes that the first one is compared with
    first: float64 [share] - share under the first change
    other: float64 [share] - the others': their mean, of either or of the sum as `comparison` says
    difference: float64 [share] - first - other
    difference_low: float64 [share] - lower end of the 95 % interval of difference over images and, where the others are
        draws, over draws
    difference_high: float64 [share] - upper end of the 95 % interval of difference over images and, where the others
        are draws, over draws
    why: string - why the interval is null, or empty
    """,
)
INTERVENTION_TERMS = table(
    "intervention_terms",
    "interventions",
    "a design, language and gendered word: the share of captions in which it comes or goes (swapping does both, which "
    "would cancel in a count), where it stands in at least 3 % of them, and the signed change of its captions",
    _DESIGN,
    _ARM,
    """
    lang: string - language of the caption: en or ar
    lemma: string - gendered word, as in the lexicon; any word: any of its gender
    gender: string - gender of the word
    n_before: int32 [captions] - captions that hold the word unedited
    n_after: int32 [captions] - captions that hold the word under the change
    percent: float64 [percent] - 100 (n_after / n_before - 1); null where fewer than 5 captions hold it unedited
    percent_low: float64 [percent] - lower end of the 95 % interval of percent, paired by image
    percent_high: float64 [percent] - upper end of the 95 % interval of percent, paired by image
    percent_control: float64 [percent] - the same under the controls, their mean
    why_percent: string - why there is no percent, or empty
    """,
    _COMPARED,
    """
    why: string - why something is null, or empty
    """,
)

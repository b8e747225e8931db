"""The SAEs of a run and how well they fit."""

from core.run.schema import table

SAES = table(
    "saes",
    "train",
    "an SAE, by layer, with how well it fits held-out tokens",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    sae_id: string - hash of the SAE's tensors, by which other tables name it
    architecture: string - activation function of the SAE, as sae-lens calls it
    d_model: int32 - width of the residual stream
    d_sae: int32 [features] - features of the SAE
    k: int32 [features a token] - active features a token, where the architecture fixes it
    source: string - "trained here", or the entry, folder or file that it was taken from
    trained_on: string - name of the model whose residuals it was trained on
    n_train_tokens: int64 [tokens] - tokens of train images that it could see; null for SAEs by others
    explained_variance_random: float64 [share] - control: explained variance of the same SAE at its initial weights;
        null for SAEs by others
    n_test_tokens: int64 [tokens] - held-out tokens that it is measured on
    explained_variance: float64 [share] - share of the variance of held-out tokens that the reconstruction keeps, over
        the kinds in `train.tokens`
    explained_variance_median: float64 [share] - the same of the token in the middle: the median over held-out tokens of
        1 - |x - x'|^2 / |x - mean|^2, to which a few far tokens add nothing
    l0: float64 [features a token] - active features a token
    dead_share: float64 [share] - share of features that fire on no held-out token
    cosine: float64 - mean cosine of the residual and its reconstruction
    explained_variance_image: float64 [share] - explained variance on image tokens
    explained_variance_prompt: float64 [share] - explained variance on prompt tokens
    explained_variance_caption: float64 [share] - explained variance on caption tokens
    ce_clean: float64 [nats a token] - cross-entropy of the model's captions, left as it is
    ce_spliced: float64 [nats a token] - cross-entropy with the reconstruction in the residual's place
    ce_ablated: float64 [nats a token] - cross-entropy with the mean in the residual's place
    loss_recovered: float64 [share] - (ce_ablated - ce_spliced) / (ce_ablated - ce_clean)
    """,
)
SAE_FIT = table(
    "sae_fit",
    "train",
    "a layer, kind of position and language: how well the SAE fits held-out tokens and captions",
    """
    layer: int32 - 0-based number of the decoder block whose output is meant
    sae_id: string - hash of the SAE's tensors, as in saes
    kind: string - kind of position: image, prompt, caption, or all of them (for explained variance those in
        `train.tokens`)
    lang: string - language of the sequence; "both": all of the run together
    n_images: int32 [images] - held-out images behind explained_variance, l0, dead_share and cosine
    n_tokens: int64 [tokens] - tokens of the kind on these images
    explained_variance: float64 [share] - share of the tokens' variance about their mean that the reconstruction keeps
    explained_variance_low: float64 [share] - lower end of the 95 % interval of explained_variance over images
    explained_variance_high: float64 [share] - upper end of the 95 % interval of explained_variance over images
    explained_variance_random: float64 [share] - control: that of an untrained dictionary of as many features, as many
        of them active a token
    explained_variance_median: float64 [share] - the same of the token in the middle: the median over the tokens of
        1 - |x - x'|^2 / |x - mean|^2; below explained_variance where a few far tokens hold the variance
    explained_variance_median_random: float64 [share] - control: that of the same untrained dictionary
    l0: float64 [features a token] - active features a token
    dead_share: float64 [share] - share of features that fire on none of these tokens
    cosine: float64 - mean cosine of the residual and its reconstruction
    n_scored_images: int32 [images] - images whose captions were scored
    n_scored_tokens: int64 [tokens] - caption tokens of these images
    ce_clean: float64 [nats a token] - cross-entropy of the caption tokens, the model left as it is
    ce_spliced: float64 [nats a token] - cross-entropy with the reconstruction at positions of the kind alone
    ce_ablated: float64 [nats a token] - cross-entropy with the mean of the kind there
    ce_random: float64 [nats a token] - cross-entropy with the control's reconstruction there
    loss_recovered: float64 [share] - (ce_ablated - ce_spliced) / (ce_ablated - ce_clean); null where the mean does no
        harm
    loss_recovered_low: float64 [share] - lower end of the 95 % interval of loss_recovered over images
    loss_recovered_high: float64 [share] - upper end of the 95 % interval of loss_recovered over images
    loss_recovered_random: float64 [share] - control: loss recovered by the untrained dictionary
    """,
)

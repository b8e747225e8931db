"""Which token each row of the stored residuals is."""

from core.run.schema import table

TOKENS = table(
    "tokens",
    "activations",
    "a stored token, in the order of the rows of every layer's shards. Each shard holds one tensor, "
    "`resid_post` (n, d_model), bf16 or fp32. The file's metadata say how many patches an image has "
    "(`n_patches`) and how many tokens stand for it in a sequence (`n_image_tokens`), stored or not",
    """
    row: int64 - number of the row: 0..n-1 over all shards of a layer
    sample_id: int32 - image, as numbered in samples
    lang: category - language of the sequence: en or ar
    position: int32 [tokens] - place in the sequence, without padding
    kind: category - bos, image, prompt or caption
    token_id: int32 - number in the model's vocabulary
    patch: int16 - row-major number of the image token in the map of patches, -1 where there is none (docs/models.md)
    split: category - train or test, of the image
    """,
)

"""What the model computes while it reads a picture with a question and a caption: the residuals of all tokens, kept.

The same pass as that of the stage activations, with the same rounding: of an image of the run, asked as the run asks,
it gives the activations that the run has stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from core.activations.passes import TokenRow, token_table
from core.vlm.loading import DTYPES

if TYPE_CHECKING:
    from torch import Tensor

    from core.vlm.adapter import VLM
    from core.vlm.batch import Features


@dataclass(frozen=True, eq=False)
class Reading:
    """One sequence of image, question and caption in a language.

    ``tokens`` has a row a token that counts (BOS is left out, as everywhere): position, kind (image, prompt, caption),
    patch (-1 none), slot (place in the caption, -1 none), token_id, piece. ``resid`` has layer -> (n_tokens, d_model).
    """

    lang: str
    tokens: pd.DataFrame
    resid: Mapping[int, Tensor]

    @property
    def n_bytes(self) -> int:
        """What the residuals take in memory."""
        return sum(x.numel() * x.element_size() for x in self.resid.values())


def read_picture(
    vlm: VLM,
    features: Features,
    prompts: Mapping[str, Sequence[int]],
    captions: Mapping[str, Sequence[int]],
    layers: Iterable[int],
    dtype: str = "bfloat16",
) -> dict[str, Reading]:
    """One pass over a picture with the prompt and the caption of each language.

    ``features`` (1, *feature_shape) are what ``encode_images`` makes of the picture; ``dtype`` is that of the run's
    stored activations, to which residuals are rounded. Raises UserError for an image token in a caption.
    """
    wanted = list(layers)
    rows = [TokenRow(0, lang, "test", list(prompt), list(captions[lang])) for lang, prompt in prompts.items()]
    captured = vlm.forward([row.ids for row in rows], features[[0] * len(rows)], wanted)
    found = {}
    for number, row in enumerate(rows):
        tokens = tokens_of(vlm, row)
        at = captured.mask[number].nonzero()[:, 0][tokens["position"].tolist()]
        resid = {layer: captured.resid[layer][number, at].to("cpu", DTYPES[dtype]) for layer in wanted}
        found[row.lang] = Reading(row.lang, tokens, resid)
    return found


def tokens_of(vlm: VLM, row: TokenRow) -> pd.DataFrame:
    """The columns of ``Reading.tokens`` for one sequence."""
    patches = vlm.patches if vlm.patch_grid else range(0)
    table = token_table([row], 0, vlm.bos_id, vlm.image_token_id, patches).to_pandas()
    tokens = table[["position", "kind", "patch", "token_id"]].astype({"kind": str})
    tokens["slot"] = (tokens["position"] - len(row.prompt)).where(tokens["kind"] == "caption", -1)
    tokens["piece"] = vlm.token_strings(tokens["token_id"].tolist())
    order = ["position", "kind", "patch", "slot", "token_id", "piece"]
    return tokens.loc[tokens["kind"] != "bos", order].reset_index(drop=True)

"""Random dictionaries as what is changed in the model: their features, ranked by gender as those of the run's SAE are.

Where captions change under the features of random directions too, chosen by the same ranking on the same training
images, a change is no work of the trained features (Heap et al. 2025, arXiv 2501.17727).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from core.activations.store import ActivationReader
from core.config import Config
from core.features.pooled import Pooled
from core.features.tokens import LANGUAGES, TokenIndex, read_token_index
from core.gender.attribution import attributed, balanced, targets_of
from core.gender.effects import (
    auc_and_p,
    enough,
    group_means,
    image_codes,
    images_of,
    select_rows,
    sparse_ranks,
    spread_of,
)
from core.gender.rankings import ranks
from core.nulls.codes import BATCH_ROWS, CaptionCodes, TextRows, encoded, sample_rows, text_rows
from core.nulls.findings import TOO_FEW, Asked
from core.nulls.random_model import among
from core.run import Run
from core.sae.files import load_sae
from core.sae.fit import untrained_control
from core.sae.modules import SAE
from core.samples.images import open_image
from core.vlm.adapter import VLM

N_SAMPLE = 2048  # tokens from which a random dictionary takes its mean and how many features are active
N_DESCRIBED = 32_768  # tokens on which it is measured how often and how strongly its features fire
DRAW = 7919  # between the seeds of two draws
VIEW = "before"


class Chosen(NamedTuple):
    """Features (layer, feature, density, mean, p999, alive) and their ranks (columns of gender_features)."""

    features: pd.DataFrame
    ranking: pd.DataFrame


def random_dictionary(
    reader: ActivationReader, tokens: TokenIndex, text: TextRows, is_train: NDArray[np.bool_], like: SAE, seed: int
) -> SAE:
    """Random directions as sparse as the SAE ``like`` on the same tokens."""
    return untrained_control(like, reader.read(sample_rows(tokens, text, is_train, N_SAMPLE)), seed)


def drawn(
    run: Run, config: Config, vlm: VLM, reader: ActivationReader, ranking: str, number: int, device: str = "cpu"
) -> tuple[SAE, Chosen]:
    """Random dictionary ``number`` of a layer of a run, with what its features are like and how they are ranked.

    The first ones are those that stage nulls asks about gender.
    """
    images, tokens, own = run.images(), read_token_index(run), load_sae(run.path("saes", f"layer_{reader.layer:02d}"))
    asked = Asked(images["gender"].to_numpy(str), (images["split"] == "train").to_numpy(bool), config.gender)
    told = np.flatnonzero(np.isin(asked.gender, ("female", "male")))
    text = among(text_rows(tokens, Pooled(run.dir, reader.layer)), told, len(LANGUAGES))
    sae = random_dictionary(reader, tokens, text, asked.is_train, own, config.seed + DRAW * (1 + number))
    effects = _effects(run, config, vlm, sae, asked, device) if ranking == "effect" else {}
    return sae, chosen(sae, reader, tokens, text, asked, effects, device)


def _effects(run: Run, config: Config, vlm: VLM, sae: SAE, asked: Asked, device: str) -> dict[str, NDArray[np.float64]]:
    """Mean effects on the next gendered word (d_sae,), over the training captions that stage gender takes them on."""
    captions = run.table("captions", ["sample_id", "lang", "token_ids"]).to_pylist()
    contrasts, found = run.table("contrasts").to_pylist(), {}
    for number, lang in enumerate(sorted(config.samples.languages)):
        targets = targets_of(captions, contrasts, lang)
        seed = [config.seed, number]
        mine = balanced(targets, asked.gender, asked.is_train, config.gender.n_attributed, seed)["train"]
        encode = lambda samples: vlm.encode_images([open_image(run, n) for n in samples])  # noqa: E731
        saes, prompt = {sae.cfg.layer: sae.to(device)}, vlm.prompt_ids(config.prompts[lang])
        effects = attributed(vlm, saes, prompt, mine, encode)[sae.cfg.layer]
        if len(mine) >= config.gender.min_images:
            found[lang] = np.asarray(effects.sum(0)).ravel() / len(mine)
    sae.to("cpu")
    return found


def chosen(
    sae: SAE,
    reader: ActivationReader,
    tokens: TokenIndex,
    text: TextRows,
    asked: Asked,
    effects: Mapping[str, NDArray[np.float64]],
    device: str = "cpu",
) -> Chosen:
    """What a dictionary's features are like, and their ranks on the training images of women and men.

    ``effects`` by language: mean effect on the next gendered word (d_sae,), where the ranking is made of it.
    """
    (codes,) = encoded(reader, _of_training(text, asked), [sae], device)
    rows = [_ranked(codes, lang, asked, effects.get(lang)) for lang in codes.languages]
    return Chosen(_described(sae, reader, tokens, asked, device), pd.concat(rows, ignore_index=True))


def _of_training(text: TextRows, asked: Asked) -> TextRows:
    """The rows of training captions before the gendered word."""
    sample = text.caption // 2
    here = text.member[VIEW] & asked.is_train[sample] & np.isin(asked.gender[sample], ("female", "male"))
    member = {VIEW: np.ones(int(here.sum()), bool)}
    return TextRows(text.rows[here], text.caption[here], member, {VIEW: text.n_positions[VIEW]})


def _ranked(codes: CaptionCodes, lang: str, asked: Asked, effect: NDArray[np.float64] | None) -> pd.DataFrame:
    images = images_of(codes.n_positions[VIEW], lang, asked.gender, asked.is_train)
    if not enough(images, "train", asked.config.min_images):
        raise ValueError(f"{TOO_FEW} among the training images")  # the run's own features were ranked on them
    inside, female = images.among("train")
    parts = []
    for first, last in codes.blocks(0):
        every = image_codes(codes.codes(VIEW, first, last), images)
        x, means = select_rows(every, inside), group_means(every, images)
        fires = np.diff(x.indptr) > 0
        of_gender = {f"mean_{g}_train": means[f"mean_{g}_train"] for g in ("female", "male")}
        difference = of_gender["mean_female_train"] - of_gender["mean_male_train"]
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = {"auc_train": auc_and_p(sparse_ranks(x), female)[0], "d_train": difference / spread_of(x, female)}
        columns |= {"difference_train": difference, **of_gender}
        parts.append(pd.DataFrame({name: np.where(fires, values, np.nan) for name, values in columns.items()}))
    table = pd.concat(parts, ignore_index=True)
    unknown = np.full(len(table), np.nan)
    sizes = {name: table[name].to_numpy() for name in ("auc_train", "d_train", "difference_train")}
    sizes["effect_train"] = unknown if effect is None else effect
    key = {"layer": codes.layer, "feature": np.arange(len(table)), "lang": lang, "view": VIEW}
    return table.assign(**key, **ranks(sizes))


@torch.no_grad()
def _described(sae: SAE, reader: ActivationReader, tokens: TokenIndex, asked: Asked, device: str) -> pd.DataFrame:
    """How often and how strongly each feature fires on training tokens of all kinds, at even distances."""
    rows = np.flatnonzero((tokens.group >= 0) & asked.is_train[tokens.sample_id])
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), N_DESCRIBED)).astype(np.int64))]
    sae, feature, value = sae.to(device), [], []
    for first in range(0, len(rows), BATCH_ROWS):
        code = sae.sparse_code(reader.read(rows[first : first + BATCH_ROWS]).to(device))
        feature.append(code.feature.cpu().numpy())
        value.append(code.value.float().cpu().numpy())
    sae.to("cpu")
    fired = pd.Series(np.concatenate(value).astype(float)).groupby(np.concatenate(feature))
    every = pd.RangeIndex(sae.cfg.d_sae)
    table = pd.DataFrame({"n": fired.size(), "mean": fired.mean(), "p999": fired.quantile(0.999)}).reindex(every)
    n = table["n"].fillna(0)
    return pd.DataFrame(
        {
            "layer": reader.layer,
            "feature": every,
            "density": n / len(rows),
            "mean": table["mean"],
            "p999": table["p999"],
            "alive": n > 0,
        }
    )

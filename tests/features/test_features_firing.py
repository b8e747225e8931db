"""What fires on a sample is what the SAE says of its tokens; what is unusual comes first, whatever its scale."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.activations.store import ActivationReader
from core.errors import UserError
from core.features.firing import VIEWS, Firing, compare, firing, strongest, unusual, usual, word_attention
from core.run import Run, write_table
from core.sae.files import load_sae, sae_id
from core.sae.modules import ARCHITECTURES
from tests.sae.sae_toys import random_sae, random_tokens

LAYER = 3


def tokens_of(kinds: str) -> pd.DataFrame:
    """One letter a token: b(os), i(mage), p(rompt), c(aption)."""
    kind = [{"b": "bos", "i": "image", "p": "prompt", "c": "caption"}[letter] for letter in kinds]
    frame = pd.DataFrame({"position": np.arange(len(kind)), "kind": kind, "token_id": 7, "piece": "x"})
    frame["patch"] = np.where(frame["kind"] == "image", (frame["kind"] == "image").cumsum() - 1, -1)
    frame["slot"] = np.where(frame["kind"] == "caption", (frame["kind"] == "caption").cumsum() - 1, -1)
    return frame


def fires(table, kinds: str, lang: str = "en") -> Firing:
    """The firing whose dense codes (n_tokens, d_sae) are ``table``."""
    token, feature = np.nonzero(table)
    value = np.asarray(table, np.float32)[token, feature]
    found = token.astype(np.int32), feature.astype(np.int32), value
    return Firing(LAYER, 0, lang, tokens_of(kinds), *found, "sae", "the model")


def usually(d_sae: int, mean: float = 0.0, spread: float = 1.0) -> pd.DataFrame:
    columns = {f"usual_{v}": mean for v in VIEWS} | {f"{k}_{v}": spread for v in VIEWS for k in KINDS_OF_SPREAD}
    return pd.DataFrame({"feature": np.arange(d_sae), **columns})


KINDS_OF_SPREAD = ("spread", "token_spread")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_codes_are_those_of_the_sae_and_bos_has_none(architecture):
    sae, x = random_sae(architecture), random_tokens(9)
    found = Firing.of(x.numpy(), tokens_of("bpiiiipcc"), sae)
    assert found.tokens["kind"].tolist() == ["prompt", *["image"] * 4, "prompt", "caption", "caption"]
    np.testing.assert_allclose(found.dense(np.arange(sae.cfg.d_sae)), sae.encode(x[1:]).numpy(), atol=1e-5)
    assert found.sae_id == sae_id(sae) and (found.value > 0).all()


def test_averages_and_heat_maps_are_those_of_the_dense_codes():
    z = np.random.default_rng(0).gamma(1, 1, (7, 12)) * (np.random.default_rng(1).random((7, 12)) < 0.4)
    one = fires(z, "piiiicc")
    found = one.average()
    np.testing.assert_allclose(found.mean, z.mean(0)[found.feature], rtol=1e-6)
    np.testing.assert_allclose(found.peak, z.max(0)[found.feature], rtol=1e-6)
    assert (found.token == z.argmax(0)[found.feature]).all()
    np.testing.assert_allclose(one.at([5, 2]).dense(range(12)), z[[5, 2]], rtol=1e-6)
    np.testing.assert_allclose(one.dense([4, 0, 4]), z[:, [4, 0, 4]], rtol=1e-6)
    kept = one.at([1, 2, 4, 5])  # the third patch was not kept by the run
    np.testing.assert_allclose(kept.heat(3, 5), [z[1, 3], z[2, 3], np.nan, z[4, 3], np.nan], rtol=1e-6)


def test_what_is_unusual_comes_first_whatever_is_largest():
    z = np.zeros((4, 3))
    z[:, 0], z[:, 1], z[:, 2] = 100.0, 3.0, 0.2  # always loud; out of the way; hardly ever and hardly there
    known = usually(3)
    known["usual_image"] = [99.5, 0.0, 0.0]
    known["spread_image"] = [1.0, 1.0, 1e-6]
    one = fires(z, "iiii")
    assert strongest(one, known)["feature"].tolist() == [1, 0, 2]
    assert strongest(one, known, by="raw")["feature"].tolist() == [0, 1, 2]


def test_chosen_tokens_are_ranked_by_what_fires_there_and_against_single_tokens():
    z = np.zeros((6, 4))
    z[1, 0], z[3, 1], z[5, 2], z[0, 3] = 1, 2, 3, 9
    one, known = fires(z, "piiicc"), usually(4)
    known["token_spread_image"] = 0.5
    found = strongest(one, known, tokens=[3])
    assert (found["feature"].tolist(), found["token"].tolist(), found["score"].tolist()) == (
        [1],
        [3],
        [2 / (0.5 + 0.5)],
    )
    assert strongest(one, known)["feature"].tolist() == [2, 1, 0]  # a prompt is the same on every image
    assert strongest(one, known, tokens=[0])["feature"].tolist() == [3]
    assert strongest(one, known, tokens=[2]).empty


def test_attention_turns_the_ranking_to_where_it_looks():
    z = np.zeros((4, 2))
    z[0, 0], z[3, 1] = 5, 1
    looks = np.array([0, 0, 0.1, 0.3])
    found = strongest(fires(z, "iiii"), usually(2), by="attention", attention=looks)
    assert found["feature"].tolist() == [1, 0]
    np.testing.assert_allclose(found["activation"], [0.75, 0.0])


def test_the_attention_of_the_gendered_word_is_the_mean_over_heads_and_is_not_made_up(small_run):
    run = Run(small_run)
    layer = run.config().activations.layers[0]
    maps = run.table("head_attention").to_pandas().query("lang == 'en' and sample_id >= 0")
    sample_id = int(maps["sample_id"].iloc[0])
    one = firing(run, layer, sample_id, "en")
    looks = word_attention(run, one)
    mean = np.stack(maps["patch_map"][maps["sample_id"] == sample_id]).mean(0)
    of = one.of_view("image")
    np.testing.assert_allclose(looks[of], mean[one.tokens["patch"].to_numpy()[of]], rtol=1e-5)
    assert looks.sum() == pytest.approx(mean.sum(), rel=1e-5)
    assert word_attention(run, replace(one, sample_id=10**6)) is None


def test_both_languages_of_a_sample_are_ranked_at_once_and_a_feature_stands_once():
    en, ar = np.zeros((3, 2)), np.zeros((3, 2))
    en[2, 0], ar[2, 0], ar[2, 1] = 1, 4, 2
    found = strongest([fires(en, "iic"), fires(ar, "iic", "ar")], usually(2))
    assert list(zip(found["feature"], found["lang"], found["view"], strict=True)) == [
        (0, "ar", "caption_ar"),
        (1, "ar", "caption_ar"),
    ]


def test_a_feature_beyond_the_sae_is_refused():
    with pytest.raises(UserError, match="do not fit the SAE"):
        unusual(np.array([4]), np.array([1.0]), usually(4), "image")


def test_codes_of_a_run_are_those_of_its_activations(small_run):
    run = Run(small_run)
    layer = run.config().activations.layers[0]
    sae = load_sae(run.path("saes", f"layer_{layer:02d}"))
    for lang in run.languages:
        one = firing(run, layer, 3, lang)
        index = run.table("tokens").to_pandas().query("sample_id == 3 and lang == @lang and kind != 'bos'")
        x = ActivationReader(run.dir, layer).read(index["row"].to_numpy())
        np.testing.assert_allclose(one.dense(np.arange(sae.cfg.d_sae)), sae.encode(x).numpy(), atol=1e-5)
        text = run.table("captions").to_pandas().query("sample_id == 3 and lang == @lang")["text"].iloc[0]
        pieces = one.tokens["piece"][one.of_view("caption")]
        assert "".join(pieces).strip() == text.strip()


def test_what_cannot_be_read_is_said(small_run, tmp_path):
    run = Run(small_run)
    layer = run.config().activations.layers[0]
    with pytest.raises(UserError, match="has no SAE of layer 99"):
        firing(run, 99, 3, "en")
    with pytest.raises(UserError, match="no tokens"):
        firing(run, layer, 10**6, "en")
    other = Run(tmp_path)
    for name in ("saes", "features", "examples"):
        write_table(other.path(f"{name}.parquet"), run.table(name))
    write_table(other.path("activations/tokens.parquet"), run.table("tokens"))
    with pytest.raises(UserError, match="neither codes nor activations"):
        firing(other, layer, 3, "en")
    asked = firing(other, layer, 3, "en", lambda *_: replace(firing(run, layer, 3, "en"), source="the model"))
    assert asked.source == "the model"
    with pytest.raises(UserError, match="another SAE"):
        firing(other, layer, 3, "en", lambda *_: replace(asked, sae_id="0" * 16))


def test_compared_features_separate_every_sample_of_one_side_from_every_one_of_the_other(small_run):
    run = Run(small_run)
    layer = run.config().activations.layers[0]
    known, ids = usual(run, layer), [1, 2, 5, 6]
    means = np.stack(
        [firing(run, layer, i, "en").dense(known["feature"])[of_image(run, layer, i)].mean(0) for i in ids]
    )
    found = compare(run, layer, ids[:2], ids[2:], "image", known)
    higher = np.flatnonzero(means[:2].min(0) > means[2:].max(0) + 1e-7)
    assert len(found) and set(higher) <= set(found["feature"])
    only = (means[:2] > 0).all(0) & ~(means[2:] > 0).any(0)
    assert set(found["feature"][found["only"]]) == set(np.flatnonzero(only))
    with pytest.raises(UserError, match="on both sides"):
        compare(run, layer, [1], [1], "image", known)


def of_image(run, layer, sample_id):
    return firing(run, layer, sample_id, "en").of_view("image")


def test_the_table_of_a_layer_is_read_by_number_of_feature(small_run):
    run = Run(small_run)
    layer = run.config().activations.layers[0]
    known = usual(run, layer)
    assert known["feature"].tolist() == list(range(run.config().train.d_sae))
    stored = pq.read_table(run.path("features.parquet"), columns=["layer", "alive", "density_image"]).to_pandas()
    silent = stored.query("layer == @layer")["density_image"].to_numpy() == 0
    assert (known["usual_image"].to_numpy()[silent] == 0).all()

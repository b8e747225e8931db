"""The real pipeline at small size: what it writes is true of the demo world and fits together."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from core.activations import ActivationReader
from core.demo import world as demo_world
from core.run import Run
from core.run.reader import Catalog
from core.sae.files import load_sae, sae_id
from precompute.pipeline import stages

STAGES = [stage.name for stage in stages()]


@pytest.fixture(scope="module")
def samples(small_run):
    table = pd.read_parquet(small_run / "samples.parquet")
    return table.join(pd.json_normalize(table.attributes.map(json.loads).tolist()), rsuffix="_true")


def test_every_stage_has_its_record(small_run):
    assert list(Run(small_run).manifest().stages) == STAGES


def test_the_captions_say_what_the_images_show(small_run, samples):
    captions = pd.read_parquet(small_run / "captions.parquet").merge(samples, on="sample_id")
    assert len(captions) == 2 * len(samples)
    readings = [demo_world.read(t, lang) for t, lang in zip(captions.text, captions.lang, strict=True)]
    role = [
        r.role is not None and demo_world.ROLES[r.role].key == true
        for r, true in zip(readings, captions.role, strict=True)
    ]
    assert np.mean(role) > 0.9
    gendered = captions.gender.isin(["male", "female"]).to_numpy()
    right = np.array([r.gender == true for r, true in zip(readings, captions.gender, strict=True)])
    assert right[gendered].mean() > 0.95


def test_wrong_images_would_not_do(small_run, samples):
    """The same score with captions dealt to other images is at chance, so the score above can fail."""
    captions = pd.read_parquet(small_run / "captions.parquet").merge(samples, on="sample_id")
    shuffled = captions.role.sample(frac=1, random_state=0).to_numpy()
    readings = [demo_world.read(t, lang) for t, lang in zip(captions.text, captions.lang, strict=True)]
    role = [
        r.role is not None and demo_world.ROLES[r.role].key == true for r, true in zip(readings, shuffled, strict=True)
    ]
    assert np.mean(role) < 0.2


def test_every_token_is_indexed_once_for_all_layers(small_run):
    index = pd.read_parquet(small_run / "activations" / "tokens.parquet")
    assert (index.row == np.arange(len(index))).all()
    assert not index.duplicated(["sample_id", "lang", "position"]).any()
    for layer in (3, 5):
        assert ActivationReader(small_run, layer).n_rows == len(index)
    images = index[index.kind == "image"].groupby(["sample_id", "lang"], observed=True).patch.apply(list)
    assert all(patches == list(range(64)) for patches in images)
    captions = pd.read_parquet(small_run / "captions.parquet").set_index(["sample_id", "lang"]).token_ids
    told = index[index.kind == "caption"].sort_values("position").groupby(["sample_id", "lang"], observed=True).token_id
    assert all(list(ids) == list(captions[key]) for key, ids in told)


def test_the_sae_explains_more_than_its_untrained_control(small_run):
    for row in pd.read_parquet(small_run / "saes.parquet").itertuples():
        assert row.explained_variance > row.explained_variance_random + 0.1
        assert row.sae_id == sae_id(small_run / "saes" / f"layer_{row.layer:02d}")


def test_top_examples_are_what_the_sae_says_of_the_stored_activations(small_run):
    """One feature, by brute force: encode every stored token and take the largest of each image."""
    catalog = Catalog(small_run)
    features = pd.read_parquet(small_run / "features.parquet")
    feature = int(features[(features.layer == 5) & features.alive].sort_values("n_active").feature.iloc[-3])
    reader, sae = ActivationReader(small_run, 5), load_sae(small_run / "saes" / "layer_05")
    index = pd.read_parquet(small_run / "activations" / "tokens.parquet")
    with torch.no_grad():
        z = sae.encode(reader.read(slice(0, reader.n_rows)))[:, feature].numpy()
    z = np.where(index.kind == "bos", 0, z)
    best = pd.Series(z).groupby(index.sample_id.to_numpy()).max().sort_values(ascending=False)
    shown = catalog.examples(5, feature, "top")
    np.testing.assert_allclose(shown.activation.to_numpy(), best.to_numpy()[: len(shown)], rtol=1e-3)
    row = catalog.feature(5, feature)
    assert row["n_active"] == pytest.approx((z > 0).sum(), abs=2)

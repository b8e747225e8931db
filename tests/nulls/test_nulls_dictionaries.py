"""Random dictionaries for the interventions: ranked as the run's features are, on training images alone."""

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.activations.store import ActivationReader
from core.features.pooled import Pooled
from core.features.tokens import read_token_index
from core.interventions.sets import Dictionary
from core.nulls.codes import text_rows
from core.nulls.dictionaries import chosen, drawn
from core.nulls.findings import Asked
from core.run import write_table
from core.sae.files import load_sae
from precompute.stages import nulls as stage
from tests.nulls.nulls_toys import context, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = make_run(tmp_path_factory.mktemp("drawn") / "run")
    stage.run(context(made))
    return made


def draw(run, number=0):
    ctx = context(run)
    vlm: Any = None  # which this ranking does not ask
    return drawn(run, ctx.config, vlm, ActivationReader(run.dir, 1), "auc", number)


def first(ranking, lang):
    return int(ranking[(ranking["lang"] == lang) & (ranking["rank_auc"] == 1)]["feature"].item())


def test_a_planted_dictionary_is_ranked_by_its_two_features_and_their_leans(run):
    sae, config = load_sae(run.path("saes", "layer_01")), context(run).config
    images, tokens = run.images(), read_token_index(run)
    asked = Asked(images["gender"].to_numpy(str), (images["split"] == "train").to_numpy(), config.gender)
    text = text_rows(tokens, Pooled(run.dir, 1))
    found = chosen(sae, ActivationReader(run.dir, 1), tokens, text, asked, {})
    made = Dictionary.of(sae, found.features, found.ranking, "auc", 2, 3, 0)
    for lang in ("en", "ar"):
        assert dict(made.sets.sets[1, lang, "auc", -1, False]) == {0: 1, 1: -1}  # of women, of men
        others = [f for n in range(3) for f, _ in made.sets.sets[1, lang, "auc", n, False]]
        assert not set(others) & {0, 1} and found.features["alive"][others].all()
    fired = pq.read_table(run.path("null_findings.parquet")).to_pandas().query("kind == 'trained' and layer == 1")
    assert set(fired["best_feature"]) <= {0, 1}


def test_a_random_dictionary_is_the_one_that_stage_nulls_asks_about_gender(run):
    asked = pq.read_table(run.path("null_findings.parquet")).to_pandas()
    asked = asked[(asked["kind"] == "random") & (asked["layer"] == 1) & (asked["view"] == "before")]
    for number in (0, 1):
        _, found = draw(run, number)
        best = asked[asked["draw"] == number].set_index("lang")["best_feature"]
        assert {lang: first(found.ranking, lang) for lang in ("en", "ar")} == best.to_dict()


def test_no_test_image_is_read(run, tmp_path):
    sae, before = draw(run)
    genders = run.table("genders").to_pandas()
    held_out = (run.table("samples").to_pandas()["split"] == "test").to_numpy()
    genders.loc[held_out, "gender"] = genders.loc[held_out, "gender"].map(
        {"female": "male", "male": "female", "neutral": "neutral"}
    )
    kept = run.path("genders.parquet").read_bytes()
    write_table(run.path("genders.parquet"), run.table("genders").from_pandas(genders, preserve_index=False))
    again, after = draw(run)
    run.path("genders.parquet").write_bytes(kept)
    assert before.ranking.equals(after.ranking) and before.features.equals(after.features)
    assert np.array_equal(sae.W_dec, again.W_dec)

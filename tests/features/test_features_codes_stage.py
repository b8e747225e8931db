"""The stage keeps what later stages would work out; where it is off they work it out, and nothing else is different."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import precompute.stages.codes as stage
import precompute.stages.features as features_stage
import precompute.stages.pool as pool_stage
from core.activations.store import ActivationReader
from core.config import CodesConfig
from core.errors import UserError
from core.features.firing import firing
from core.features.token_codes import FOLDER, TokenCodes, part_path
from core.features.tokens import read_token_index
from core.run import Manifest, Run, StageRecord, write_table
from core.sae.files import load_sae, sae_id
from tests.features.test_features_stage import LAYERS, ToyVLM, make_run

LATER = (
    "features.parquet",
    "examples.parquet",
    "pieces.parquet",
    *(f"pooled/layer_{n:02d}.safetensors" for n in LAYERS),
)


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features_stage, "open_vlm", lambda ctx: ToyVLM())
        patch.setattr(features_stage, "feature_map", lambda rows, *_: np.zeros((len(rows), 2), np.float32))
        yield


def computed(dir, store: bool):
    ctx = make_run(dir)
    ctx = replace(ctx, config=replace(ctx.config, codes=CodesConfig(store)))
    contrasts = {"sample_id": np.array([0, 3], np.int32), "lang": ["en", "ar"], "slot": np.array([1, 2], np.int32)}
    write_table(ctx.run.path("contrasts.parquet"), pa.table(contrasts))
    results = [one.run(replace(ctx, work_dir=ctx.run.path(".work", one.__name__))) for one in (stage, *STAGES)]
    return ctx, results[0]


def zip_of(table: pa.Table, *names: str):
    return zip(*(table[name].to_pylist() for name in names), strict=True)


STAGES = (features_stage, pool_stage)


@pytest.fixture(scope="module")
def with_codes(tmp_path_factory, quick):
    return computed(tmp_path_factory.mktemp("codes") / "kept", True)


def test_every_token_of_every_layer_is_encoded_once(with_codes):
    ctx, result = with_codes
    tokens = read_token_index(ctx.run)
    assert result["rows"] == len(LAYERS) * tokens.n_tokens
    for layer in LAYERS:
        sae = load_sae(ctx.run.path("saes", f"layer_{layer:02d}"))
        z = sae.encode(ActivationReader(ctx.run.dir, layer).read(slice(None))).numpy()
        z[tokens.group < 0] = 0
        found = TokenCodes(ctx.run.dir, layer, sae_id(sae)).read(0, tokens.n_rows)
        assert len(found.row) == (z > 0).sum()
        np.testing.assert_allclose(found.value, z[found.row, found.feature], rtol=1e-5, atol=1e-6)


def test_features_and_pool_are_the_same_bytes_with_kept_codes_and_without(with_codes, tmp_path, monkeypatch):
    without, result = computed(tmp_path / "none", False)
    assert result["rows"] == 0 and not any(without.run.path(FOLDER).iterdir())
    for name in LATER:
        assert without.run.path(name).read_bytes() == with_codes[0].run.path(name).read_bytes(), name


def test_what_fires_is_read_from_kept_codes_else_from_activations_and_is_the_same(with_codes, tmp_path):
    ctx, _ = with_codes
    without, _ = computed(tmp_path / "none", False)
    kept, worked_out = (firing(one.run, LAYERS[0], 3, "ar") for one in (ctx, without))
    assert (kept.source, worked_out.source) == ("stored codes", "stored activations")
    assert (kept.token == worked_out.token).all() and (kept.feature == worked_out.feature).all()
    np.testing.assert_allclose(kept.value, worked_out.value, rtol=1e-5)
    assert kept.tokens.equals(worked_out.tokens)


def test_where_image_tokens_were_sampled_that_is_said_and_the_model_tells_of_all(with_codes, tmp_path):
    ctx = with_codes[0]
    whole = ctx.run.table("tokens")
    some = whole.filter(pa.array([kind != "image" or patch < 3 for kind, patch in zip_of(whole, "kind", "patch")]))
    run = Run(tmp_path)
    for name in ("saes.parquet", "pieces.parquet", "features.parquet"):
        write_table(run.path(name), ctx.run.table(name.removesuffix(".parquet")))
    shutil.copytree(ctx.run.path(FOLDER), run.path(FOLDER))
    write_table(run.path("activations/tokens.parquet"), some.replace_schema_metadata({"n_image_tokens": "4"}))
    kept = firing(run, LAYERS[0], 3, "ar")
    assert (kept.source, kept.n_missing) == ("stored codes", 1)
    assert np.isnan(kept.heat(0, 4)).tolist() == [False, False, False, True], "what was not kept is not 0"
    full = replace(firing(ctx.run, LAYERS[0], 3, "ar"), source="the model")
    found = firing(run, LAYERS[0], 3, "ar", lambda layer, sample, lang: full)
    assert (found.source, found.n_missing) == ("the model", 0) and not np.isnan(found.heat(0, 4)).any()


def test_a_model_without_a_map_of_patches_has_words_that_fire_and_no_picture(with_codes, tmp_path):
    ctx = with_codes[0]
    one = firing(ctx.run, LAYERS[0], 3, "ar")
    assert one.has_patches
    none = replace(one, tokens=one.tokens.assign(patch=-1))
    assert not none.has_patches and np.isnan(none.heat(int(one.feature[0]), 4)).all()
    assert len(none.at(none.of_view("caption")).feature)


def test_codes_of_earlier_activations_are_refused(with_codes):
    ctx, _ = with_codes
    records = {
        name: StageRecord("", "", 0.0, 0, 0, 0, {}, "", {}, content=name, inputs={"activations": of})
        for name, of in (("activations", ""), ("codes", "activations"))
    }
    ctx.run.write_manifest(Manifest("toy", "toy", {}, records))
    assert firing(ctx.run, LAYERS[0], 3, "ar").source == "stored codes"
    records["activations"] = replace(records["activations"], content="others")
    ctx.run.write_manifest(Manifest("toy", "toy", {}, records))
    with pytest.raises(UserError, match="out of date"):
        firing(ctx.run, LAYERS[0], 3, "ar")
    ctx.run.path("manifest.json").unlink()
    assert part_path(ctx.run.dir, LAYERS[0], 0).exists()

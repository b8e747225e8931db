"""The whole pipeline with a tiny random model of another family ends, and says what such a model cannot show.

Two very different families always; all of them where CAPTIONSCOPE_ALL_FAMILIES is set.
"""

import os

import pandas as pd
import pytest

from precompute.pipeline import stages
from tests.small_family_run import run_family
from tests.tiny_models import FAMILIES
from tests.vlm.test_vlm_conformance import tiny

ALWAYS = ("qwen2_5_vl", "mllama")


@pytest.mark.parametrize("family", FAMILIES if os.environ.get("CAPTIONSCOPE_ALL_FAMILIES") else ALWAYS)
def test_all_stages_end(family, tmp_path):
    run, vlm = run_family(family, tmp_path / family), tiny(family)
    assert list(run.manifest().stages) == [stage.name for stage in stages()]
    tokens = pd.read_parquet(run.path("activations", "tokens.parquet"))
    by_row = tokens[tokens["kind"] == "image"].groupby(["sample_id", "lang"], observed=True)
    assert set(by_row.size()) == {vlm.n_image_tokens}
    assert all(sorted(p[p >= 0]) == list(range(len(vlm.patches))) for _, p in by_row["patch"])
    assert ("bos" in set(tokens["kind"])) == (vlm.bos_id >= 0)
    maps = pd.read_parquet(run.path("examples.parquet"))["patch_map"]
    assert set(maps.map(len)) == {len(vlm.patches)}
    captions = pd.read_parquet(run.path("captions.parquet"))
    assert len(captions) == 2 * captions["sample_id"].nunique() and captions["text"].nunique() > 3

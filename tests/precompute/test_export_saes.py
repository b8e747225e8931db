"""Exported SAEs load in sae-lens and compute the same; the card says what is true of them; nothing is overwritten."""

import pandas as pd
import pyarrow as pa
import pytest
import torch

from core.activations.store import ActivationReader
from core.errors import UserError
from core.run import write_table
from core.sae.files import load_sae
from precompute.__main__ import main
from precompute.commands.export_saes import export_saes
from tests.toy_run import make_toy_run


@pytest.fixture(scope="module")
def exported(small_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "saes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPTIONSCOPE_CACHE", str(small_run.parent))
        assert main(["export-saes", small_run.name, "--out", str(out), "--licence", "cc-by-4.0"]) == 0
    return out


def test_sae_lens_loads_them_and_computes_the_same(small_run, exported):
    sae_lens = pytest.importorskip("sae_lens")
    assert sorted(p.name for p in exported.iterdir()) == ["README.md", "layer_03", "layer_05"]
    for layer in (3, 5):
        theirs = sae_lens.SAE.load_from_disk(exported / f"layer_{layer:02d}")
        ours = load_sae(small_run / "saes" / f"layer_{layer:02d}")
        assert theirs.cfg.metadata.hook_name == f"blocks.{layer}.hook_resid_post"
        x = ActivationReader(small_run, layer).read(slice(0, 200))
        with torch.no_grad():
            torch.testing.assert_close(theirs.encode(x), ours.encode(x))
            torch.testing.assert_close(theirs(x), ours(x))


def test_the_card_says_what_was_measured_and_how_to_load_them(small_run, exported, monkeypatch):
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: saelens\nlicense: cc-by-4.0")
    fit = pd.read_parquet(small_run / "sae_fit.parquet").query("lang == 'both' and kind == 'image'")
    for row in fit.itertuples():
        assert f"| {row.layer} | image | {row.n_images} | {row.explained_variance:.3f} [" in card
    saes = pd.read_parquet(small_run / "saes.parquet")
    assert all(f"`{sae_id}`" in card for sae_id in saes["sae_id"]) and "demo-captioner" in card
    code = card.partition("```python\n")[2].partition("```")[0].replace("residuals", "torch.zeros(2, 192)")
    assert len(code.strip().splitlines()) == 3
    monkeypatch.chdir(exported)
    names = {"torch": torch}
    exec(code, names)
    assert tuple(names["features"].shape) == (2, 128)


def test_without_a_licence_the_card_says_so_and_nothing_is_overwritten(small_run, exported, tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(small_run.parent))
    export_saes(small_run.name, tmp_path / "other")
    assert "none stated" in (tmp_path / "other" / "README.md").read_text(encoding="utf-8")
    before = (exported / "README.md").read_bytes()
    with pytest.raises(UserError, match="is not empty"):
        export_saes(small_run.name, exported)
    assert (exported / "README.md").read_bytes() == before


def test_saes_by_others_and_runs_without_any_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path))
    make_toy_run(tmp_path / "early", stages=("prepare",))
    with pytest.raises(UserError, match="no SAEs yet"):
        export_saes("early", tmp_path / "out")
    run = make_toy_run(tmp_path / "scope", stages=("prepare", "caption", "activations", "train"))
    saes = pd.read_parquet(run.path("saes.parquet")).assign(source="gemma-scope-2-4b-it-res/layer_17")
    write_table(run.path("saes.parquet"), pa.Table.from_pandas(saes, preserve_index=False))
    with pytest.raises(UserError, match="trained by others"):
        export_saes("scope", tmp_path / "out")

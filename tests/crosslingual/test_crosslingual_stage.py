"""The stage on a made-up run: its tables are whole and true, and the same bytes come out after a kill."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from scipy.sparse import csr_array

from core.config import config_from_dict
from core.crosslingual.tables import TABLES
from core.features.pooled import join_parts, pool_rows, view_rows, write_part
from core.features.tokens import read_token_index
from core.run import Run, write_table
from core.sae import trainer
from core.sae.files import sae_id, save_sae
from core.sae.modules import SAE, SAEConfig
from precompute.context import StageContext
from precompute.stages import crosslingual as stage
from tests.toy_stages import Killed, file_bytes, kill_at

N, D, D_SAE, LAYERS = 120, 12, 24, (1, 3)
SHOWN = ["female", "male", "neutral"]


def make_run(folder, genders=("female", "male"), arabic=True) -> Run:
    """Two layers; a shared direction of gender, and languages that lie apart."""
    run, rng = Run(folder), np.random.default_rng(0)
    shown = [genders[i % len(genders)] for i in range(N)]
    split = ["test" if i % 5 > 2 else "train" for i in range(N)]
    write_table(
        run.path("samples.parquet"),
        pa.table({"sample_id": pa.array(range(N), pa.int32()), "split": split, "attributes": [""] * N}),
    )
    write_table(run.path("genders.parquet"), pa.table({"sample_id": pa.array(range(N), pa.int32()), "gender": shown}))
    write_table(run.path("words.parquet"), pa.table({"word": ["رجل", "الرجل"], "lang": ["ar", "ar"]}))
    things = ["سيارة", "كرة", "زهرة", "شجرة", "قطة", "بيت", "كلب", "كتاب", "مفتاح", "بالون"]
    texts = [f"رجل مع ال{things[i % 10]}" if lang == "ar" else "a man" for i in range(N) for lang in ("en", "ar")]
    write_table(
        run.path("captions.parquet"),
        pa.table(
            {
                "sample_id": pa.array(np.repeat(np.arange(N), 2), pa.int32()),
                "lang": ["en", "ar"] * N,
                "text": texts,
            }
        ),
    )
    kinds = ["bos", "image", "prompt", "caption", "caption", "caption"]
    rows = [
        {
            "sample_id": i,
            "lang": lang,
            "position": p,
            "kind": k,
            "token_id": 1,
            "patch": 0 if k == "image" else -1,
            "split": split[i],
        }
        for i in range(N)
        for lang in ("en", "ar")
        for p, k in enumerate(kinds if arabic or lang == "en" else kinds[:3])
    ]
    write_table(run.path("activations", "tokens.parquet"), pa.Table.from_pylist(rows))
    tokens = read_token_index(run)
    is_female = np.array([shown[r["sample_id"]] == "female" for r in rows])
    is_arabic = np.array([r["lang"] == "ar" for r in rows])
    image = rng.standard_normal((N, D))[tokens.sample_id]
    saes = []
    for layer in LAYERS:
        x = image + rng.standard_normal((len(rows), D))
        x[:, 0] += 3 * (is_female - 0.5)
        x[:, 1] += 2.0 * (is_arabic - 0.5)
        x = torch.from_numpy(x.astype(np.float32))
        run.path("activations", f"layer_{layer:02d}").mkdir()
        save_file({"resid_post": x}, run.path("activations", f"layer_{layer:02d}", "shard_00000.safetensors"))
        decoder = torch.nn.functional.normalize(
            torch.from_numpy(rng.standard_normal((D_SAE, D)).astype(np.float32)), dim=1
        )
        weights = {
            "W_enc": decoder.T.contiguous(),
            "W_dec": decoder,
            "b_enc": torch.full((D_SAE,), -0.5),
            "b_dec": torch.zeros(D),
        }
        sae = SAE(SAEConfig("standard", D, D_SAE, layer=layer), weights)
        save_sae(sae, run.path("saes", f"layer_{layer:02d}"))
        saes.append({"layer": layer, "sae_id": sae_id(sae)})
        views = view_rows(tokens, tokens.caption_length)
        part = {v: pool_rows(tokens.sequence, m, x.numpy(), csr_array(sae.encode(x).numpy())) for v, m in views.items()}
        run.path("pooled").mkdir(exist_ok=True)
        write_part(run.path(f"part_{layer}"), part)
        n = {v: np.bincount(tokens.sequence[m], minlength=2 * N) for v, m in views.items()}
        target = run.path("pooled", f"layer_{layer:02d}.safetensors")
        join_parts(target, [run.path(f"part_{layer}")], n, D_SAE, sae_id(sae))
    write_table(run.path("saes.parquet"), pa.Table.from_pylist(saes))
    return run


def context(run: Run, on_progress=lambda *_: None) -> StageContext:
    config = config_from_dict(
        {
            "activations": {"layers": list(LAYERS)},
            "train": {"auxk": 4, "dead_after_tokens": 2000, "d_sae": D_SAE, "k": 4},
            "crosslingual": {
                "n_permutations": 50,
                "n_bootstrap": 50,
                "layers": [3],
                "d_sae": 16,
                "k": 3,
                "steps": 12,
                "batch_tokens": 32,
                "min_images": 10,
            },
        }
    )
    run.path(".work").mkdir(exist_ok=True)
    return StageContext(run, config, run.path(".work", "crosslingual"), on_progress=on_progress)


def results(run: Run) -> dict[str, bytes]:
    return file_bytes(run.dir, *(f"{name}.parquet" for name in TABLES), "language_saes")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("stage") / "source")


@pytest.fixture(scope="module")
def done(source, tmp_path_factory):
    run = Run(shutil.copytree(source.dir, tmp_path_factory.mktemp("done") / "run"))
    seen = []
    record = stage.run(context(run, lambda done, total, *_: seen.append((done, total))))
    return run, record, seen


def table(run, name):
    return pq.read_table(run.path(f"{name}.parquet")).to_pandas()


def test_all_tables_are_written_and_progress_only_grows(done):
    run, record, seen = done
    assert all(len(table(run, name)) for name in TABLES)
    assert record["rows"] == sum(len(table(run, name)) for name in TABLES)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen) and seen[-1] == (15, 15)
    assert len(list(run.path("language_saes").iterdir())) == 4
    assert table(run, "language_saes")["language_sae_id"].nunique() == 4, "other seeds are other dictionaries"


def test_what_was_planted_is_found(done):
    run, *_ = done
    directions = table(run, "gender_directions")
    auc = directions[(directions["measure"] == "direction_auc") & (directions["view"] == "caption")]
    assert (auc["low"] > auc["floor_high"]).all() and (auc["value"] > 0.9).all()
    cosine = directions[(directions["measure"] == "direction_cosine") & (directions["view"] == "caption")]
    assert (cosine["low"] > cosine["floor_high"]).all()
    cka = table(run, "alignment").query("measure == 'cka' and view == 'caption'")
    assert (cka["low"] > cka["floor_high"]).all()
    scores = (
        table(run, "clbas")
        .query("score == 'clbas' and view == 'caption'")
        .pivot(index=["layer", "dictionary"], columns="case", values="value")
    )
    assert (scores["measured"] > scores["labels shuffled"]).all() and len(scores) == 3
    assert (table(run, "shared_gender")["sharing"] == "shared").any()
    assert set(table(run, "grammatical_gender")["n_words_female"]) == {5}


@pytest.mark.parametrize("moment", [2, 5, 12])
def test_the_same_bytes_after_a_kill(source, done, tmp_path, moment, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "REPORT_STEPS", 5)
    run = Run(shutil.copytree(source.dir, tmp_path / "run"))

    with pytest.raises(Killed):
        stage.run(context(run, kill_at(moment)))
    assert not run.path("clbas.parquet").exists()
    stage.run(context(run))
    assert results(run) == results(done[0])


def test_without_arabic_captions_every_number_is_missing_and_says_why(tmp_path):
    run = make_run(tmp_path / "run", arabic=False)
    stage.run(context(run))
    found = table(run, "alignment")
    assert found["value"].isna().all() and found["why"].str.contains("0 images have a caption in both").all()
    assert all(len(table(run, name)) == 0 for name in TABLES if name != "alignment")


def test_without_men_nothing_is_said_about_gender(tmp_path):
    run = make_run(tmp_path / "run", genders=("female", "neutral", "neutral"))
    stage.run(context(run))
    for name in ("gender_directions", "clbas"):
        found = table(run, name)
        assert found["value"].isna().all() and found["why"].str.contains("0 of men|and 0").all(), name
    assert len(table(run, "shared_gender")) == 0 and len(table(run, "language_features")) == 2 * D_SAE

"""Settings: presets load, mistakes are told all at once, nothing unknown passes."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import (
    Config,
    all_keys,
    config_from_dict,
    config_to_dict,
    fingerprint_part,
    load_config,
    only_language,
    preset_names,
)
from core.errors import UserError


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_survive_json(name):
    config = load_config(name)
    assert config.name == name
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_runs_of_an_earlier_version_open():
    """Its settings as they were saved; what is gone since then is left out, and told to whom sets it."""
    saved = json.loads((Path(__file__).parent / "settings-0.3.0.json").read_text(encoding="utf-8"))
    assert config_from_dict(saved).gender.fdr == saved["gender"]["fdr"]
    with pytest.raises(UserError, match="no setting any more"):
        load_config("demo", ["gender.n_bootstrap=5"])


def test_all_mistakes_come_at_once():
    wrong = [
        "k=3",
        "train.kk=3",
        "train.k=x",
        "train.lr=2",
        "activations.layers=1,a",
        "model.dtype=bfloat",
        "foo",
        "seed=-1",
        "samples.planted=yes",
    ]
    with pytest.raises(UserError) as e:
        load_config("demo", wrong)
    text = str(e.value)
    assert text.startswith("9 mistakes")
    for part in (
        "did you mean train.k?",
        "expected key=value",
        "model.dtype: expected one of float32, bfloat16",
        "train.lr: expected 1 or less",
        "train.k: expected a whole number",
        "samples.planted: expected true",
        "seed: expected 0 or more",
        "activations.layers: expected a whole number",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["samples.source=folder"], "samples.images: needed"),
        (["crosslingual.layers=2"], "crosslingual.layers: expected some of .* do not have .2."),
        (["interventions.layers=1,4"], "interventions.layers: expected some of .* do not have .4."),
        (["samples.n=0"], "has no end"),
        (["samples.languages="], "expected en, ar or en,ar"),
        (["samples.languages=fr"], "expected en, ar or en,ar"),
        (["samples.languages=ar,en"], "expected en, ar or en,ar"),
        (["activations.layers=3,1"], "rising"),
        (["activations.layers="], "rising"),
        (["train.k=1536"], r"less than train\.d_sae"),
        (["train.matryoshka_widths=64,9999"], r"up to train\.d_sae"),
        (["train.tokens=image,bos"], "expected some of"),
    ],
)
def test_fields_are_checked_against_each_other(sets, said):
    with pytest.raises(UserError, match=said):
        load_config("demo", sets)


def test_a_wrong_field_brings_no_second_complaint():
    with pytest.raises(UserError, match=r"^1 mistake"):
        load_config("demo", ["train.d_sae=many", "train.k=5000"])


def test_overrides_of_every_kind():
    sets = [
        "activations.layers=1,3",
        "train.lr=1",
        "caption.prompt_ar=صف = هذا",
        "name=x",
        "samples.planted=false",
        "activations.shard_tokens=1_000",
        'train.tokens=["image"]',
    ]
    config = load_config("demo", sets)
    assert config.activations.layers == (1, 3) and config.activations.shard_tokens == 1000
    assert config.train.lr == 1.0 and isinstance(config.train.lr, float)
    assert config.caption.prompt_ar == "صف = هذا" and config.name == "x"
    assert config.train.tokens == ("image",) and not config.samples.planted


@pytest.mark.parametrize(("given", "only"), [("en", "English"), ("ar", "Arabic"), ("en,ar", "")])
def test_the_model_is_asked_in_the_languages_of_the_run(given, only):
    config = load_config("demo", [f"samples.languages={given}"])
    assert ",".join(config.prompts) == given
    said = only_language(config.samples.languages)
    assert said == (f"this run has {only} captions only" if only else "")
    assert all(config.prompts[lang] == getattr(config.caption, f"prompt_{lang}") for lang in config.prompts)
    assert (fingerprint_part(config, "samples") == fingerprint_part(load_config("demo"), "samples")) == (not only)


def test_a_file_is_a_preset_too(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("seed = 4\n[train]\nk = 8\n")
    config = load_config(path)
    assert (config.name, config.seed, config.train.k) == ("mine", 4, 8)
    path.write_text("[trian]\nk = 8\nseeed = 3\n")
    with pytest.raises(UserError, match="did you mean train"):
        load_config(path)
    path.write_text("k = = 8\n")
    with pytest.raises(UserError, match="not valid TOML"):
        load_config(path)
    path.write_text("train = 3\n")
    with pytest.raises(UserError, match=r"expected a section \[train\]"):
        load_config(path)


def test_an_unknown_preset_names_the_others():
    with pytest.raises(UserError, match="Did you mean demo"):
        load_config("dmeo")
    with pytest.raises(UserError, match="no preset file"):
        load_config("none.toml")


def test_places_and_devices_are_no_part_of_a_fingerprint():
    config = load_config("gemma-3-4b")
    assert fingerprint_part(config, "model") == {"dtype": "bfloat16", "image_side": 0, "quantize": ""}
    assert not {"images", "captions"} & fingerprint_part(config, "samples").keys()
    assert fingerprint_part(config, "seed") == 0
    assert fingerprint_part(config, "activations.layers") == list(range(2, 31, 4))


@settings(deadline=None)
@given(st.sampled_from([k for k in all_keys() if k != "name"]))
def test_no_key_takes_nonsense_silently(key):
    try:
        config = load_config("demo", [f"{key}=nonsense"])
    except UserError as e:
        assert key in str(e)
    else:
        section, _, name = key.partition(".")
        taken = getattr(getattr(config, section), name)
        assert taken in ("nonsense", ("nonsense",)), "only text, and a list of texts, takes any text"


def test_defaults_are_valid():
    assert config_from_dict({}) == Config()

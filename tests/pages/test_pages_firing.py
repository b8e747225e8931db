"""One image of a toy run in which it is known what fires where: pages name that feature at that place and no other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from core.run import Run
from tests.pages.visitor import Open, words
from tests.toy_firing import EVERYWHERE, PLANTED, SAMPLE, add_toy_firing
from tests.toy_run import make_toy_run

SAMPLES, COMPARE = "pages/look/samples.py", "pages/features/compare.py"
LIST = '<ol class="cs-fires"'


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    make_toy_run(root / "demo", n_samples=12)
    for name in ("fires", "unpooled", "hostile", "sampled"):
        n = 40 if name == "fires" else 12
        add_toy_firing(make_toy_run(root / name, n_samples=n, hostile=name == "hostile"), pooled=name != "unpooled")
    foreign = shutil.copytree(root / "fires", root / "foreign")
    saes = pd.read_parquet(foreign / "saes.parquet").assign(sae_id="0123456789abcdef")
    saes.to_parquet(foreign / "saes.parquet")
    for table in ("features", "examples", "sae_fit"):
        pd.read_parquet(foreign / f"{table}.parquet").assign(sae_id="0123456789abcdef").to_parquet(
            foreign / f"{table}.parquet"
        )
    make_toy_run(root / "untrained", n_samples=12, stages=("prepare", "caption"))
    return root


def listed(shown: str) -> list[int]:
    """The features of the list, in their order."""
    found = shown[shown.index(LIST) :]
    return [int(n) for n in re.findall(r">Feature (\d+)</a>", found[: found.index("</ol>")])]


@pytest.mark.parametrize("place", PLANTED)
def test_at_a_chosen_place_the_feature_that_fires_there_comes_first(visit: Open, place: str) -> None:
    shown = words(visit(SAMPLES, run="fires", sample=str(SAMPLE), layer="3", at=place, by="Activation"))
    assert PLANTED[place] in listed(words(visit(SAMPLES, run="fires", sample=str(SAMPLE), layer="3", at=place)))[:3]
    assert listed(shown)[0] == PLANTED[place]
    assert f"feature {PLANTED[place]}" in shown[shown.index("cs-answer") : shown.index("</header>")]
    assert "one example" in shown and f"feature?run=fires&amp;layer=3&amp;feature={PLANTED[place]}" in shown
    assert f"features=3%3A{PLANTED[place]}" in shown  # the laboratory


def test_with_nothing_chosen_what_fires_on_this_image_alone_comes_first_and_what_always_fires_only_when_asked(
    visit: Open,
) -> None:
    unusual = listed(words(visit(SAMPLES, run="fires", sample=str(SAMPLE), layer="3")))
    assert set(unusual[:3]) == set(PLANTED.values()) and EVERYWHERE not in unusual[:3]
    raw = listed(words(visit(SAMPLES, run="fires", sample=str(SAMPLE), layer="3", by="Activation")))
    assert raw[0] == EVERYWHERE
    other = listed(words(visit(SAMPLES, run="fires", sample=str(SAMPLE + 1), layer="3")))
    assert not set(PLANTED.values()) & set(other[:3])


def test_what_is_pointed_at_goes_into_the_address_and_back_out(visit: Open) -> None:
    at = visit(SAMPLES, run="fires", sample=str(SAMPLE), layer="3", at="image:5")
    at.button(key="whole").click().run()
    assert "at" not in at.query_params and "What fires on this image" in words(at)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("image:99", "has no patch 99"),
        ("en:77", "no word at place 77"),
        ("fr:1", "names no part"),
        ("image:-1", "names no part"),
        ("<b>:1", "“&lt;b&gt;:1” names no part"),
        ("image:٣", "names no part"),
    ],
)
def test_a_place_that_is_not_there_is_said_and_the_whole_image_shown(visit: Open, asked: str, said: str) -> None:
    shown = words(visit(SAMPLES, run="fires", sample=str(SAMPLE), layer="3", at=asked))
    assert said in shown and "What fires on this image" in shown and "<b>:1" not in shown


def test_a_run_without_codes_or_without_features_says_so_and_shows_the_captions(visit: Open) -> None:
    for run, said in (("demo", "cannot be read"), ("untrained", "cannot be said yet")):
        shown = words(visit(SAMPLES, run=run, sample="3"))
        assert said in shown and LIST not in shown and shown.count('<p class="cs-caption" data-lang="ar"') == 6


def test_features_of_another_sae_are_refused(visit: Open) -> None:
    shown = words(visit(SAMPLES, run="foreign", sample="3"))
    assert "of another SAE" in shown and LIST not in shown


def test_without_what_is_usual_it_is_ranked_by_activation_and_said(visit: Open) -> None:
    shown = words(visit(SAMPLES, run="unpooled", sample=str(SAMPLE), layer="3"))
    assert "so it is ranked by activation" in shown and listed(shown)[0] == EVERYWHERE and "spreads" not in shown


def test_patches_that_are_not_kept_and_models_without_a_map_are_said(
    visit: Open, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = Run(cache / "sampled")
    path = run.path("activations", "tokens.parquet")
    tokens = pd.read_parquet(path)
    tokens.loc[tokens["patch"] >= 0, "patch"] = -1
    tokens.to_parquet(path)
    shown = words(visit(SAMPLES, run="sampled", sample=str(SAMPLE), layer="3", at="image:5"))
    assert shown.count("only words can be chosen") == 2 and 'class="cs-heat"' not in shown and listed(shown)


def test_an_example_of_a_feature_leads_to_the_place_where_it_fires_most(visit: Open, cache: Path) -> None:
    shown = words(visit("pages/features/feature.py", run="fires", layer="3", feature="0"))
    examples = pd.read_parquet(cache / "fires" / "examples.parquet").query(
        "layer == 3 and feature == 0 and bin == 'top'"
    )
    one = examples.sort_values("rank").iloc[0]
    patch, word = max(one["patch_map"]), max(one["token_values"])
    place = (
        f"{one['lang']}%3A{one['token_values'].argmax()}" if word >= patch else f"image%3A{one['patch_map'].argmax()}"
    )
    assert f"samples?run=fires&amp;sample={one['sample_id']}&amp;layer=3&amp;feature=0&amp;at={place}" in shown
    at = visit(SAMPLES, run="fires", sample=str(one["sample_id"]), layer="3", feature="0", at=place.replace("%3A", ":"))
    assert "Coloured: where feature 0 fires" in words(at)


def compared(shown: str) -> list[int]:
    found = shown[shown.index('<ol class="cs-compared"') :]
    return [int(n) for n in re.findall(r">Feature (\d+)</a>", found[: found.index("</ol>")])]


@pytest.mark.parametrize(("view", "place"), [("Picture", "image:5"), ("Arabic", "ar:2")])
def test_what_fires_on_one_image_and_not_on_others_is_found_by_example(visit: Open, view: str, place: str) -> None:
    state = {"run": "fires", "layer": "3", "view": view}
    shown = words(visit(COMPARE, these=str(SAMPLE), those="3, 4, 5", **state))
    assert PLANTED[place] in compared(shown)[:3] and EVERYWHERE not in compared(shown)
    assert f"sample={SAMPLE}&amp;layer=3&amp;feature={PLANTED[place]}&amp;at={place.replace(':', '%3A')}" in shown
    back = words(visit(COMPARE, these="3,4", those=str(SAMPLE), **state))
    assert "cs-compared" not in back or PLANTED[place] not in compared(back)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"these": "2", "those": "999"}, "Image number 999 is not in this run"),
        ({"these": "2", "those": "2"}, "is on both sides"),
        ({"these": "1 2 3 4 5", "those": "6"}, "5 images are chosen on one side; at most 4"),
        ({"these": "<b>", "those": "6"}, "“&lt;b&gt;” is no number"),
        ({"these": "٢", "those": "6"}, "is no number"),
        ({"these": " ", "those": "6"}, "at least one image on the left"),
    ],
)
def test_images_that_cannot_be_compared_are_said(visit: Open, state: dict[str, str], said: str) -> None:
    shown = words(visit(COMPARE, run="fires", layer="3", **state))
    assert said in shown and '<ol class="cs-compared"' not in shown and "<b></p>" not in shown


def test_men_and_women_of_a_word_are_compared_where_there_are_enough(visit: Open, cache: Path) -> None:
    state = {"run": "fires", "layer": "3", "how": "Men and women"}
    references = pd.read_parquet(cache / "fires" / "references.parquet")
    gender = pd.read_parquet(cache / "fires" / "samples.parquet").set_index("sample_id")["gender"]
    has = gender[references.loc[references["text"].str.contains(r"\bwith\b"), "sample_id"].unique()].value_counts()
    shown = words(visit(COMPARE, word="with", **state))
    assert f"{has['male']} images of men and {has['female']} images of women have “" in shown
    assert 1 <= len(compared(shown)) <= 20 and "p = " in shown
    assert "too few to compare" in words(visit(COMPARE, word="zebra", **state))


def test_markup_in_captions_stays_text(visit: Open) -> None:
    shown = words(visit(SAMPLES, run="hostile", sample="0", layer="3", at="en:0"))
    assert "<script>" not in shown and "<img src=x" not in shown

"""A run in one language goes through every stage and every page, and nothing compares it with a language it lacks."""

import pyarrow.parquet as pq
import pytest

from core.config import LANGUAGE_NAME, load_config
from core.features import statistics as geometry
from core.run import Run
from precompute.engine.local import LocalEngine
from precompute.pipeline import stages
from tests.pages.visitor import visitor, words
from tests.small_run import ROOT, SMALL

TINY = (
    "samples.n=90",
    "activations.layers=[5]",
    "train.d_sae=32",
    "train.k=4",
    "train.steps=60",
    "gender.min_images=2",
    "gender.n_attributed=4",
    "layers.n_folds=2",
    "layers.n_bootstrap=50",
    "layers.min_images=2",
    "bias.n_sampled=2",
    "bias.n_bootstrap=50",
    "explain.n_features=2",
    "explain.min_images=2",
    "interventions.k=[1,2]",
    "interventions.headline=2",
    'interventions.modes=["swap"]',
    "interventions.n_images=4",
    "interventions.n_controls=2",
    "interventions.n_few=2",
    'interventions.directions=["difference of means"]',
    "interventions.n_bootstrap=50",
    "mechanisms.n_images=16",
    "graph.n_images=2",
    "graph.n_way=2",
    "graph.n_mean=4",
    "mechanisms.n_patched=2",
    "mechanisms.n_features=3",
    "mechanisms.n_pairs=1",
    "mechanisms.n_steps=0",
    "mechanisms.n_bootstrap=50",
    "mechanisms.n_maps=2",
)
PAGES = sorted(
    p.relative_to(ROOT).as_posix()
    for p in ROOT.glob("pages/*/*.py")
    if p.parent.name != "kit" and p.name != "welcome.py"
)
COMPARED = (
    "language_features",
    "language_classes",
    "language_saes",
    "language_matches",
    "gender_directions",
    "clbas",
    "shared_gender",
    "grammatical_gender",
)


@pytest.fixture(scope="module", params=LANGUAGE_NAME)
def alone(request, tmp_path_factory):
    """A run in one language, which it is, and which it lacks."""
    run = Run(tmp_path_factory.mktemp("cache") / "alone")
    wanted = [*SMALL, *TINY, f"samples.languages={request.param}"]
    settings = dict(setting.split("=", 1) for setting in wanted)  # the last of a name counts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "FEWEST_FOR_UMAP", 1000)  # compiling it takes longer than all the rest
        LocalEngine(run, load_config("demo", [f"{key}={value}" for key, value in settings.items()])).run_all()
    return run, request.param, next(lang for lang in LANGUAGE_NAME if lang != request.param)


def test_every_table_speaks_of_that_language_alone(alone):
    run, lang, other = alone
    assert set(run.manifest().stages) == {stage.name for stage in stages()}
    for path in run.dir.glob("*.parquet"):
        table = pq.read_table(path)
        if "lang" in table.column_names:
            assert set(table["lang"].to_pylist()) <= {lang, "", "both"}, path.name  # the others: all together
        for column in (c for c in table.column_names if c.endswith(f"_{other}") and len(table)):
            found = table[column].drop_null().to_pylist()
            assert not any(found), f"{path.name} has values in {column}"  # lists of features may be empty
    for name in (
        "captions",
        "words",
        "gender_features",
        "labels",
        "probes",
        "lens",
        "bias_roles",
        "explanations",
        "intervention_effects",
        "head_effects",
    ):
        assert lang in pq.read_table(run.path(f"{name}.parquet"))["lang"].to_pylist(), name
    assert "transfer" not in pq.read_table(run.path("intervention_effects.parquet"))["part"].to_pylist()


def test_what_compares_languages_has_a_reason_and_no_number(alone):
    run, lang, _ = alone
    assert all(pq.read_metadata(run.path(f"{name}.parquet")).num_rows == 0 for name in COMPARED)
    alignment = pq.read_table(run.path("alignment.parquet")).to_pylist()
    assert {row["why"] for row in alignment} == {f"this run has {LANGUAGE_NAME[lang]} captions only"}
    assert all(row[name] is None for row in alignment for name in ("value", "low", "high", "floor", "ceiling"))


@pytest.mark.parametrize("shown", PAGES)
def test_every_page_shows_that_language_and_says_what_is_missing(alone, monkeypatch, shown):
    run, lang, other = alone
    at = visitor(run.dir.parent, monkeypatch)(shown, run="alone", map="Languages")
    said, only = words(at), f"This run has {LANGUAGE_NAME[lang]} captions only"
    assert "cs-box error" not in said
    assert f"{only}; comparisons of languages are left out." in said  # in the sidebar
    assert f'lang="{other}"' not in said and f"{LANGUAGE_NAME[other]} captions" not in said
    if shown.split("/")[-1] in (
        "alignment.py",
        "layers.py",
        "interventions.py",
        "mechanisms.py",
        "bias.py",
        "browser.py",
    ):
        assert f"<p>{only}.</p>" in said
    if shown.endswith("overview.py"):
        assert said.count(f"<p>{only}. ") == 2  # do they agree, and what is specific
        assert f"images of the demo world in {LANGUAGE_NAME[lang]}." in said

"""The app's frame over a toy run: every page of the frame, an empty cache, bad addresses, and captions that attack."""

import base64
import html
import io
import json
import re
import shutil
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from core.errors import UserError
from core.figures.palette import DARK, LIGHT, contrast
from core.run import Run
from pages.kit import build, images, links, pipeline, text
from pages.look import overview_questions
from tests.toy_run import make_toy_run, toy_progress

APP = str(Path(__file__).resolve().parents[2] / "app.py")
OWN = ["overview", "samples", "status", "provenance"]


@pytest.fixture(scope="module")
def toy_cache(tmp_path_factory) -> Path:
    cache = tmp_path_factory.mktemp("toy-cache")
    make_toy_run(cache / "demo", n_samples=60)
    make_toy_run(cache / "hostile", n_samples=10, hostile=True)
    make_toy_run(cache / "started", n_samples=10, stages=("prepare",))
    return cache


@pytest.fixture
def cache(toy_cache, monkeypatch) -> Path:
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(toy_cache))
    return toy_cache


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path))
    return tmp_path


def open_page(name: str = "overview", /, **query: str) -> AppTest:
    at = AppTest.from_file(APP, default_timeout=60)
    if name != "overview":
        at.switch_page(links.PAGES[name])
    at.query_params.update(query)
    at.run()
    assert not at.exception, at.exception
    return at


def html_of(at: AppTest) -> str:
    return "\n".join(element.proto.body for element in at.get("html") if "<style>" not in element.proto.body)


# --- pages


def test_the_status_page_shows_what_the_process_at_work_tells(toy_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path))
    run = Run(shutil.copytree(toy_cache / "started", tmp_path / "started"))
    gpu = {"name": "NVIDIA RTX 3090", "use": 0.87, "memory_used": 8_500_000_000, "memory_total": 25_800_000_000}
    toy_progress(run, gpus=[gpu], cores=1.5, log=["12:00:01 INFO a line", "<b>last</b>"])
    with run.lock():
        shown = html_of(open_page("status", run="started"))
    assert "NVIDIA RTX 3090 · 87% in use" in shown and "8.5 GB of 26 GB" in shown and "1.5 cores" in shown
    assert "12:00:01 INFO a line" in shown and "&lt;b&gt;last&lt;/b&gt;" in shown and "<b>last" not in shown
    layer = run.progress() | {"state": "running", "stages": [{"name": "train-03", "state": "running", "seconds": 1}]}
    with run.lock_layer("train", 3):
        run.path(".work", "layers", "train-03.json").write_text(json.dumps(layer), encoding="utf-8")
        shown = html_of(open_page("status", run="started"))
    assert "side by side" in shown and "<h3>Train 03</h3>" in shown
    assert "side by side" not in html_of(open_page("status", run="started")), "who is gone is not shown"


def test_several_gpus_are_told_apart_and_the_unknown_is_left_out():
    facts = pipeline.gpu_facts([{"name": "A", "use": 0.5}, {"name": "B", "memory_used": 1e9, "memory_total": 2e9}])
    assert facts[:2] == [("GPU 1", "A · 50% in use"), ("GPU 1 memory", "")]
    assert facts[2:] == [("GPU 2", "B"), ("GPU 2 memory", "1.0 GB of 2.0 GB")]


@pytest.mark.parametrize("name", OWN)
def test_a_run_that_has_only_begun_shows_what_it_has_under_a_question(cache, name):
    assert re.search(r"<h1>[^<]+\?</h1>", html_of(open_page(name, run="started")))


def test_the_overview_answers_from_the_data_and_says_what_is_missing(cache):
    shown = html_of(open_page())
    assert len(re.findall('<section class="cs-card', shown)) == 5
    assert "60 images of the demo world" in shown and "layers 1 and 3" in shown and "64 features" in shown
    assert "needs the stage gender" in shown and "always naming the commoner one" in shown
    assert shown.count("<tr>") == 3  # the head and a row an SAE


def test_filters_and_pages_come_from_the_address(cache):
    everything, women = html_of(open_page("samples")), html_of(open_page("samples", gender="Women"))
    assert "60 images." in everything and everything.count('class="cs-sample"') == 12
    assert "of 60 images" in women and "a man ·" not in women and "a woman ·" in women
    second = html_of(open_page("samples", page="2"))
    assert re.findall(r"sample=(\d+)", second)[0] == "12"


def test_a_search_finds_arabic_and_english(cache):
    for word in ("امرأة", "woman"):
        shown = html_of(open_page("samples", q=word))
        assert shown.count('class="cs-sample"') > 0 and "of 60 images" in shown
    assert "No image fits" in html_of(open_page("samples", q="zebra crossing"))


def test_one_sample_shows_both_languages_alike(cache):
    shown = html_of(open_page("samples", sample="3"))
    english, arabic = (len(re.findall(f'<p class="cs-caption" data-lang="{lang}"', shown)) for lang in ("en", "ar"))
    assert english == arabic == 6  # its own and five references
    assert "Planted p(male)" in shown and 'dir="rtl"' in shown


@pytest.mark.parametrize("bad", ["99999", "-1", "<b>", "٣", "9" * 30])
def test_a_bad_sample_in_the_address_is_said_in_three_lines(cache, bad):
    shown = html_of(open_page("samples", sample=bad))
    assert "is not in this run" in shown and 'class="cs-box error"' in shown and "<b>" not in shown


BAD = [{"page": "x", "gender": "<b>", "role": "king"}, {"page": "999"}, {"run": "../.."}]


@pytest.mark.parametrize("query", BAD)
def test_other_bad_values_fall_back_to_the_default(cache, query):
    assert html_of(open_page("samples", **query)).count('class="cs-sample"') == 12


def test_provenance_holds_what_the_manifest_holds(cache):
    shown = html_of(open_page("provenance"))
    manifest = json.loads((cache / "demo" / "manifest.json").read_text())
    for record in manifest["stages"].values():
        assert record["fingerprint"] in shown
    assert "train.d_sae" in shown and "the file is no image that can be read" in shown and "broken-1.jpg" in shown


def test_provenance_says_how_well_the_saes_fit_and_where_not_to_read_them(cache, tmp_path, monkeypatch):
    shown = html_of(open_page("provenance"))
    assert "How well do these SAEs fit this data?" in shown and "were trained here" in shown
    assert "Do not rely" not in shown
    for name in ("old", "scope"):
        shutil.copytree(cache / "demo", tmp_path / name)
    (tmp_path / "old" / "sae_fit.parquet").unlink()  # of an earlier version
    fit = pd.read_parquet(cache / "demo" / "sae_fit.parquet")
    fit.loc[fit["kind"] == "image", ["explained_variance", "explained_variance_low"]] = 0.1, 0.05
    fit.to_parquet(tmp_path / "scope" / "sae_fit.parquet")
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path))
    shown = html_of(open_page("provenance", run="scope"))
    assert "Do not rely on these features at image positions of layers 1, 3" in shown
    assert "How well do these SAEs" not in html_of(open_page("provenance", run="old"))


def test_a_damaged_manifest_becomes_a_box_and_not_a_traceback(toy_cache, tmp_path, monkeypatch):
    shutil.copytree(toy_cache / "started", tmp_path / "broken")
    (tmp_path / "broken" / "manifest.json").write_text("{")
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path))
    shown = html_of(open_page("provenance"))
    assert "cannot be read" in shown and 'role="alert"' in shown


# --- no run yet


def test_an_empty_cache_welcomes(empty_cache):
    at = open_page()
    assert [b.label for b in at.button] == ["Build the demo"]
    shown = html_of(at)
    assert shown.count("<figure") == 6 and shown.count('dir="rtl"') == 6  # the demo world, before there is a run


def test_every_stage_of_the_pipeline_has_its_words():
    from pages.kit.runs import STAGES
    from precompute.pipeline import stages

    assert [stage.name for stage in stages()] == list(STAGES)


def test_what_can_be_looked_at_is_offered_while_the_rest_is_built(empty_cache):
    run = make_toy_run(empty_cache / "demo", n_samples=5)
    toy_progress(run, "features", 1, 2)
    with run.lock():
        assert not build.wants_welcome()


def test_other_pages_of_an_empty_cache_lead_to_the_welcome(empty_cache):
    assert "There is no run yet." in html_of(open_page("samples"))


def test_a_build_at_work_is_seen_by_a_fresh_visitor(empty_cache):
    run = make_toy_run(empty_cache / "demo", n_samples=5, stages=("prepare", "caption", "activations"))
    toy_progress(run, "train", 300, 1200)
    with run.lock():
        shown = html_of(open_page())
    assert "The demo is being built" in shown and "300 of 1,200 steps" in shown and "31 steps a second" in shown
    assert shown.count('class="done"') == 3 and 'aria-current="step"' in shown


def test_a_failed_build_says_what_why_and_what_to_do(empty_cache):
    said = "The disk is full.\n3 MB left.\nMake room."
    toy_progress(Run(empty_cache / "demo"), "caption", state="failed", message=said)
    at = open_page()
    shown = html_of(at)
    assert "The disk is full." in shown and "3 MB left." in shown and "Make room." in shown
    assert [b.label for b in at.button] == ["Go on with the build"]


def test_a_dead_build_reads_stopped_and_goes_on(empty_cache):
    toy_progress(Run(empty_cache / "demo"), "train")
    at = open_page()
    assert "was stopped" in html_of(at) and [b.label for b in at.button] == ["Go on with the build"]


def test_the_button_starts_one_child_only_and_reports_its_failure(empty_cache, monkeypatch):
    started = []

    class Child:
        def __init__(self, command, **options):
            started.append((command, options))
            options["stdout"].write(b"The model is missing.\n")

        def poll(self):
            return None if len(started) == 1 and not done else 1

    done: list[bool] = []
    monkeypatch.setattr(build.subprocess, "Popen", Child)
    monkeypatch.setattr(build, "_children", {})
    run = build.demo_run()
    build.start(run)
    build.start(run)
    ((command, options),) = started
    assert command[1:5] == ["-m", "precompute", "run", "demo"] and options["start_new_session"]
    assert build.state(run) == "starting"
    done.append(True)
    assert build.state(run) == "failed"
    assert build.failure(run)[0] == "The model is missing."


def test_a_build_that_has_finished_is_done_though_its_process_still_ends(empty_cache, monkeypatch):
    class Ending:
        poll = staticmethod(lambda: None)

    run = build.demo_run()
    monkeypatch.setattr(build, "_children", {str(run.dir): Ending()})
    assert build.state(run) == "starting"
    toy_progress(run, "features", state="done")
    assert build.state(run) == "done"


def test_a_finished_demo_is_no_longer_welcomed(cache):
    assert not build.wants_welcome()


# --- captions are material from outside


def test_hostile_captions_are_inert(cache):
    for at in (
        open_page("samples", run="hostile"),
        open_page("samples", run="hostile", sample="0"),
        open_page(run="hostile"),
    ):
        shown = html_of(at)
        assert "&lt;script&gt;" in shown
        assert not re.search(r"<script|<style|<img src=x|onerror=\"|\u202e", shown)


SPANS = st.lists(st.tuples(st.integers(-5, 70), st.integers(-5, 70)))


@given(st.text(max_size=60), st.sampled_from(["en", "ar"]), SPANS)
def test_a_caption_keeps_its_words_and_nothing_else(given_text, lang, spans):
    marks = [text.Mark(a, b, "female", '"><i>') for a, b in spans if a < b]
    shown = text.caption_html(given_text, lang, marks)
    inner = re.sub(r'</?(?:p|mark)(?: [\w-]+="[^"<>]*")*>', "", shown)
    assert "<" not in inner and ">" not in inner
    assert html.unescape(inner) == re.sub("[\u202d\u202e]", "", given_text)


def test_gendered_words_are_marked_and_others_are_not():
    shown = text.caption_html("The man sees her", "en", text.gender_marks("The man sees her", "en"))
    assert re.findall(r'<mark class="cs-mark (\w+)"[^>]*>(\w+)</mark>', shown) == [("male", "man"), ("female", "her")]


def test_weights_are_clear_at_zero_and_full_at_the_scale():
    shown = text.caption_html("", "en", weights=[("a", 0.0, 2.0), (" b", 2.0, 2.0), (" c", 9.0, 2.0)])
    assert shown.count("<span") == 2 and shown.count("background:#FDE725") == 2


# --- parts


def test_a_heat_map_has_one_pixel_a_patch_and_is_clear_at_zero():
    uri = images.heat_uri([0, 1, 2, 4], top=4, threshold=1)
    pixels = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert pixels.size == (2, 2)
    alpha = list(pixels.getchannel("A").getdata())
    assert alpha[:2] == [0, 0] and 0 < alpha[2] < alpha[3] == 255
    assert pixels.getpixel((1, 1))[:3] == (0xFD, 0xE7, 0x25)
    with pytest.raises(ValueError, match="do not fill"):
        images.heat_uri([1, 2, 3], top=1, shape=(2, 2))


def test_image_tokens_that_were_not_stored_are_hatched_and_said_not_shown_as_zero(cache):
    run, heat = Run(cache / "demo"), [0, float("nan"), 2, float("nan")]
    pixels = Image.open(io.BytesIO(base64.b64decode(images.heat_uri(heat, top=2).split(",")[1])))
    cells = [np.asarray(pixels.crop((8 * x, 8 * y, 8 * x + 8, 8 * y + 8))) for x, y in ((0, 0), (1, 0), (0, 1), (1, 1))]
    assert not cells[0][..., 3].any() and np.ptp(cells[2], axis=(0, 1)).max() == 0 and cells[2][0, 0, 3] == 255
    assert (cells[1] == images.HATCH).all() and (cells[3] == images.HATCH).all()
    shown = images.grid_html(run, [images.GridItem(0, heat=[1.0] * 4), images.GridItem(0, heat=heat)])
    assert "not stored. This run keeps 2 of the 4 tokens of an image" in shown
    assert "not stored" not in images.grid_html(run, [images.GridItem(0, heat=[1.0] * 4), images.GridItem(0)])


def test_a_heat_map_can_be_reached_by_keyboard(cache):
    tile = images.tile_html(Run(cache / "demo"), images.GridItem(0, heat=[1.0] * 16))
    assert 'tabindex="0"' in tile and tile.count("<img") == 2
    with pytest.raises(UserError, match="missing"):
        images.tile_html(Run(cache / "demo"), images.GridItem(999))


def test_a_caption_that_names_both_genders_names_none():
    assert overview_questions.named_gender("a man and a woman", "en") == ""
    assert overview_questions.named_gender("a woman and her dog", "en") == "female"


@pytest.mark.parametrize(("seconds", "shown"), [(None, ""), (8, "8 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_durations_are_said_as_people_say_them(seconds, shown):
    assert pipeline.duration(seconds) == shown


def test_inks_are_readable_on_both_grounds():
    for look, panel in ((LIGHT, "#F7F5F1"), (DARK, "#201F1D")):
        for ground in (look.ground, panel):
            assert contrast(look.ink, ground) >= 7 and contrast(look.muted, ground) >= 4.5
    from pages.kit.style import VARIABLES

    for name in ("accent", "good", "bad", "unsure"):
        light, dark = re.search(rf"--cs-{name}: light-dark\((#\w+), (#\w+)\)", VARIABLES).groups()
        assert contrast(light, "#F7F5F1") >= 4.5 and contrast(dark, "#201F1D") >= 4.5
        if name == "accent":  # the ground of primary buttons, whose text has the ground's colour
            assert contrast(light, LIGHT.ground) >= 4.5 and contrast(dark, DARK.ground) >= 4.5


def test_no_type_is_below_thirteen_pixels_and_nothing_comes_from_outside():
    root = Path(APP).parent
    css = (root / "pages" / "kit" / "style.css").read_text()
    assert min(float(x) for x in re.findall(r"font(?:-size)?:[^;]*?(\d*\.\d+)rem", css)) >= 0.8125
    for path in [*root.glob("pages/**/*.py"), *root.glob("pages/**/*.css"), root / ".streamlit" / "config.toml"]:
        assert not re.search(r"https?://|@import", path.read_text()), path


def test_fonts_of_the_configuration_are_there():
    root = Path(APP).parent
    urls = re.findall(r'url = "app/static/(.+)"', (root / ".streamlit" / "config.toml").read_text())
    assert urls and all((root / "static" / url).is_file() for url in urls)


LATER = {
    "started": ["browser", "feature", "steering"],
    "demo": ["alignment", "layers", "bias", "interventions", "mechanisms"],  # it ends with its features
}


@pytest.mark.parametrize(("run", "name"), [(run, name) for run, names in LATER.items() for name in names])
def test_a_page_whose_part_is_missing_says_its_question_and_how_to_get_it(cache, run, name):
    said = html_of(open_page(name, run=run))
    assert "<h1" in said and "has not been computed yet" in said and "python -m precompute run" in said


# --- addresses


def test_a_card_of_the_overview_opens_the_page_on_its_own_sentence(small_run, monkeypatch):
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(small_run.parent))
    cards = re.findall(r'<section class="cs-card[^>]*>(.*?)</section>', html_of(open_page(run="small")), re.S)
    assert len(cards) == 5
    for card in cards:
        answer, (page, query) = (
            re.search(r"<p>(.*?) <span", card)[1],
            re.search(r'href="(\w+)\?([^"]*)"', card).groups(),
        )
        shown = html_of(open_page(page, **dict(parse_qsl(unescape(query)))))
        assert re.sub(r"^At layer \d+: ", "", answer) in shown, page


@pytest.mark.parametrize(
    ("page", "query", "said"),
    [
        ("browser", {"layer": "99"}, "This run has no layer 99: showing layer"),
        ("feature", {"layer": "<b>"}, "This run has no layer &lt;b&gt;"),
        ("overview", {"run": "nowhere"}, "There is no run “nowhere” here: showing demo."),
    ],
)
def test_what_an_address_asks_and_is_not_there_is_said(cache, page, query, said):
    assert said in html_of(open_page(page, **query))
    assert "showing" not in html_of(open_page(page))

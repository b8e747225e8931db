"""One caption on the page about layers: its words by layer, places in the address, the story, and what has no story."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from core.answers.caption_lens import first_for_good, story
from core.figures import caption_lens, paper, screen
from core.run import Run
from core.run.reader import Catalog
from core.run.schema.layers import CAPTION_LENS
from tests.pages.visitor import Open, words
from tests.toy_layers import add_layers_tables, caption_lens_rows
from tests.toy_mechanisms import add_mechanisms_tables
from tests.toy_run import make_toy_run

PAGE = "pages/languages/layers.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    for name in ("demo", "older", "none", "english"):
        make_toy_run(root / name, n_samples=12, d_sae=16)
        add_layers_tables(root / name)
    add_mechanisms_tables(root / "demo")
    (root / "older" / "caption_lens.parquet").unlink()
    CAPTION_LENS.write(Run(root / "none"), CAPTION_LENS.of_rows([]))
    rows = [row for row in caption_lens_rows() if row["lang"] == "en"]
    plain = [row | {"compared": "", "gender": "", "log_odds": float("nan"), "n_others": 0} for row in rows]
    CAPTION_LENS.write(Run(root / "english"), CAPTION_LENS.of_rows(plain))
    return root


@pytest.fixture(scope="module")
def visit(cache: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        from tests.pages.visitor import visitor

        go = visitor(cache, patch)
        yield lambda **state: go(PAGE, **state)


def charts(at: AppTest) -> list[str]:
    return [str(chart.proto.id) for chart in at.get("plotly_chart") if "caption-lens" in str(chart.proto.id)]


def test_both_captions_stand_side_by_side_and_lead_to_what_fires(visit: Open) -> None:
    at = visit(sample="3")
    said = words(at)
    assert "What would the model say at each layer?" in said and 'href="samples?run=demo&amp;sample=3"' in said
    assert len(charts(at)) == 3  # one a language, and how far the lenses can be trusted
    assert at.session_state["colour"] == "By rank" and visit(colour="By gender").session_state["colour"] == "By gender"


def test_a_word_in_the_address_lists_the_five_likeliest_of_every_layer(visit: Open) -> None:
    said = words(visit(sample="3", at="ar:1"))
    assert "In the place of “طبيبة”, layer by layer" in said
    table = said.partition("In the place of")[2].partition("</table>")[0]
    assert table.count("<tr>") == 1 + 4 and table.index("<td class=n>3</td>") < table.index("<td class=n>0</td>")
    assert "<bdi>طبيبة</bdi> 80%" in table and "+4.00" in table and "<bdi>(part of a letter)</bdi> 1%" in table


def test_a_patch_lists_what_would_be_said_there(visit: Open) -> None:
    assert "At patch 5, layer by layer" in words(visit(sample="0", at="image:5"))
    assert "Patch 5 was not read in this image." in words(visit(sample="3", at="image:5"))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"sample": "4"}, "Image 4 was not read token by token; 2 held-out images were."),
        ({"sample": "<b>"}, "Image &lt;b&gt; was not read token by token"),
        ({"sample": "3", "at": "en:99"}, "The English caption has no word at place 99."),
        ({"sample": "3", "at": "image:999"}, "The picture has no patch 999."),
        ({"sample": "3", "at": "zebra"}, "“zebra” names no part of a picture and no word of a caption."),
        ({"run": "older"}, "No caption has been read token by token in this run."),
        ({"run": "none"}, "No caption has been read token by token in this run."),
    ],
)
def test_what_cannot_be_shown_is_said(visit: Open, state: dict[str, str], said: str) -> None:
    at = visit(**state)
    assert said in words(at) + " ".join(str(one.value) for one in at.markdown)


def test_a_caption_without_two_words_to_compare_has_no_story_but_says_why(visit: Open) -> None:
    at = visit(run="english", sample="3")
    assert len(charts(at)) == 2 and ("is compared at" in words(at) or "says no gender" in words(at))


def test_the_story_tells_what_is_of_this_caption_and_what_of_the_run(visit: Open) -> None:
    said = words(visit(sample="3")).partition("The story of its first gendered word")[2]
    assert "From layer 2 on the lens prefers" in said and "by more than in 100% of 9 captions" in said
    assert said.count("(this caption)") >= 2 and said.count("(the run)") >= 2 and 'href="mechanisms?' in said


def test_the_sample_page_leads_here_only_where_its_captions_were_read(cache: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        from tests.pages.visitor import visitor

        go = visitor(cache, patch)
        assert "layers?run=demo&sample=3" in words(go("pages/look/samples.py", sample="3"))
        assert "layers?run=demo&sample=4" not in words(go("pages/look/samples.py", sample="4"))


def test_the_lens_is_chosen_in_the_address_and_stands_beside_what_it_is_worth(visit: Open) -> None:
    at = visit(sample="3", through="Tuned")
    said = words(at)
    assert at.session_state["through"] == "Tuned" and len(charts(at)) == 3
    assert "Too few other captions" in said and "How far each lens can be trusted" in said
    assert "From layer 2 on" in words(visit(sample="3", through="Logit"))


def test_arabic_runs_from_right_to_left_and_the_last_layer_is_on_top(cache: Path) -> None:
    frame = caption_lens.caption_frame(
        Catalog(cache / "demo").caption_lens(3).query("lang == 'ar' and lens == 'logit'")
    )
    (panel,) = caption_lens.caption_lens_figure(frame, "ar").panels
    assert panel.x.range is not None and panel.x.range[0] > panel.x.range[1] and panel.y.side == "right"
    assert panel.y.range is not None and panel.y.range[0] < panel.y.range[1] and list(panel.y.labels or ())[-1] == "3"
    fig = cast(Any, screen.draw(caption_lens.caption_lens_figure(frame, "ar")))
    assert np.asarray(fig.data[0].z).shape == (4, 4) and fig.data[0].z[-1][0] > fig.data[0].z[0][0]
    assert paper.render(paper.draw(caption_lens.caption_lens_figure(frame, "ar")), "png")[:4] == b"\x89PNG"


def test_the_story_is_not_sure_of_a_preference_that_other_captions_share() -> None:
    rows = pd.DataFrame(caption_lens_rows())
    one = rows[(rows["sample_id"] == 3) & (rows["lang"] == "en") & (rows["lens"] == "logit")]
    none = pd.DataFrame({"lang": [], "part": [], "sample_id": []})
    shared = one.assign(beyond=0.6)
    said = {step.title: step for step in story(shared, none, none, none, none.iloc[:0], none)}
    assert "At no layer" in said["Where the lens prefers the word"].text
    assert said["Which features"].of == "the run" and first_for_good(shared.to_dict("records")) == -1
    assert story(one[one["compared"] == ""], none, none, none, none, none) == []


def test_the_toy_has_the_columns_of_the_table(cache: Path) -> None:
    assert pq.read_schema(cache / "demo" / "caption_lens.parquet").names == CAPTION_LENS.names

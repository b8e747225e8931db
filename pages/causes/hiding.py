"""Hide a part of a picture and read the captions again, beside as large parts at random places; and on many images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from core.answers import hiding as hiding_answers
from core.errors import UserError
from core.figures import hiding
from core.frames import records
from core.interventions.areas import Area, area_of, moved
from core.interventions.hidden import OfRandom
from core.run import Run, manifest_version
from core.run.reader import Catalog
from core.samples.areas import by_kind
from pages.causes import hiding_texts
from pages.causes import steering_live as door
from pages.kit import panels, pickers, pointing, runs, states, text
from pages.kit.images import data_uri

QUESTION = "Where in the picture does the gender of a caption come from?"
FILLINGS = {"The mean of each place": "mean", "Zero": "zero"}
INPUT = "Where the picture enters"
N_RANDOM = 25
SHOWN = {"Gendered word changes": "changed", "The other gender named": "flipped", "Rest lost": "damaged"}


def main() -> None:
    run = runs.current_run()
    runs.needs(run, "prepare", "caption", "activations", title=QUESTION)
    cat = runs.catalog(run)
    many = cat.frame("hiding") if cat.has("hiding") else pd.DataFrame()
    if many.empty:
        text.page_title(QUESTION)
    else:
        answer = hiding_answers.whole_answer(many)
        text.page_title(QUESTION, answer.text, answer.sure, note=answer.note)
    one_picture(run, cat)
    if many.empty:
        record = run.manifest().stages.get("hiding")
        why = record.notes.get("why") if record else None
        states.empty(*(why or ("On many images this has not been computed.", "", "Compute the stage hiding.")))
    else:
        on_many(cat, many)
    text.method(METHOD)


def one_picture(run: Run, cat: Catalog) -> None:
    """The picture to drag over, and what the model writes when that part is hidden."""
    text.heading("Hide a part", "drag over the picture, or move with the arrow keys, Shift held down for an area")
    side = cat.patches_a_side
    if not 0 < side**2 <= pointing.MAX_PATCHES:
        none = "no position of this model belongs to a part of the picture"
        why = f"its {side**2:,} parts are too many to point at" if side else none
        states.empty("Nothing can be hidden here.", f"{why[:1].upper()}{why[1:]}.")
        return
    grid = (side, side)
    left, right = st.columns([2, 3], gap="large")
    with left:
        sample_id = choose_image(cat)
        area = read_area(grid)
        sample = cat.sample(sample_id)
        name = f"image {sample['image_id']} ({sample['split']})"
        keep = lambda found: write_area(tuple(sorted(found)))  # noqa: E731
        src = data_uri(run, sample_id, full=True)
        chosen = frozenset(area)
        pointing.picture(f"hide-{sample_id}", src, name, grid, chosen, area=True, moved=keep, label="Part to hide")
        known_areas(cat, sample_id, grid)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            places = [INPUT, *(f"Layer {layer}" for layer in cat.layers())]
            at = st.selectbox("Hidden", places, key="at", bind="query-params", width=240, help=AT_HELP)
            what = st.selectbox(
                "In its place", list(FILLINGS), key="filled", bind="query-params", width=240, help=FILL_HELP
            )
    layer = -1 if at == INPUT else int(at.split()[-1])
    with right:
        place = st.empty()
    if not area:
        with place.container():
            plain = {lang: [row] for lang, row in hiding_texts.own(cat, sample_id).items()}
            hiding_texts.show(plain, "", "")
            states.empty("Nothing is hidden yet.", "Drag over what the model shall not see of the picture.")
        return
    if len(area) == side**2:
        states.notice("Everything is hidden: the model sees the mean of all images; there is no other place for it.")
    try:
        written(run, cat, sample_id, area, grid, layer, FILLINGS[what], place)
    except UserError as error:
        with place.container():
            states.error_box(error)


def written(
    run: Run, cat: Catalog, sample_id: int, area: Area, grid: tuple[int, int], layer: int, filling: str, place: Any
) -> None:
    """The captions of an area and of its random places: computed with the run, kept from before, or written now.

    What is asked for is all that is drawn: while it is written nothing of another area, layer or filling stands there.
    """
    stored = hiding_texts.stored(cat, sample_id, area, filling) if layer < 0 else None
    source = "computed with the run"
    if stored is None:
        key = (str(run.dir), manifest_version(run), sample_id, area, layer, filling)
        kept_key, kept = st.session_state.get("hidden-captions", (None, None))
        if kept_key != key:
            place.html('<p class="cs-small" role="status">The model is writing …</p>')
            places = moved(area, grid, N_RANDOM, [sample_id, len(area)])
            kept = live(run, sample_id, [(), area, *places], layer, filling, place)
            st.session_state["hidden-captions"] = (key, kept)
        stored, source = kept, "written now"
    changed, random = hiding_texts.judged(run, stored)
    with place.container():
        hiding_texts.show(stored, f"with {len(area)} patches hidden", source)
        text.said(hiding_answers.area_answer(changed, {lang: _told(one) for lang, one in random.items()}))
        hiding_texts.random_places(stored)


def _told(one: OfRandom) -> tuple[int, int, float, float]:
    return one.n, one.changed, one.low, one.high


def live(
    run: Run, sample_id: int, areas: Sequence[Area], layer: int, filling: str, place: Any
) -> dict[str, list[tuple[str, bool]]]:
    """Captions of each area by language, by the live model, when it is this visitor's turn."""

    def waiting(number: int, seconds: float) -> None:
        others = "one visitor is" if number == 2 else f"{number - 1} visitors are"
        place.html(f'<p class="cs-small" role="status">{others} before you ({seconds:.0f} s).</p>')

    model = door.live(run)
    with model.queue.turn(waiting):
        return model.hidden(sample_id, areas, layer, filling)


def choose_image(cat: Catalog) -> int:
    """The number of an image; at first one whose areas were hidden when the run was computed."""
    examples = hiding_texts.examples(cat)
    test = cat.samples("test", limit=100_000)["sample_id"].tolist() or cat.samples(limit=1000)["sample_id"].tolist()
    first = int(examples[0] if examples else test[0])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        value = st.number_input(
            "Image", min_value=0, value=first, step=1, key="sample", bind="query-params", width=110, on_change=forget
        )
        order = examples or test
        st.button("Another", icon=":material/shuffle:", type="tertiary", on_click=partial(another, order), help=NEXT)
    return int(value)


def another(ids: Sequence[int]) -> None:
    now = st.session_state.get("sample")
    st.session_state["sample"] = int(ids[(ids.index(now) + 1) % len(ids)] if now in ids else ids[0])
    forget()


def forget() -> None:
    st.query_params.pop("area", None)


def known_areas(cat: Catalog, sample_id: int, grid: tuple[int, int]) -> None:
    """Buttons that choose person, object or background, where somebody has said where they are."""
    rows = records(cat.frame("areas", sample_id=sample_id)) if cat.has("areas") else []
    kinds = by_kind(rows, grid)
    with st.container(horizontal=True, vertical_alignment="center"):
        for kind in ("person", "object", "background"):
            if found := area_of(kinds, kind):
                choose = partial(write_area, found)
                st.button(kind.capitalize(), key=f"area-{kind}", type="tertiary", on_click=choose)
        st.button("Nothing", key="area-nothing", type="tertiary", on_click=forget)
    if not kinds:
        text.html('<p class="cs-small">Where the person and the object are on this image, nobody has said.</p>')


def read_area(grid: tuple[int, int]) -> Area:
    """The area of the address, as in 9-11.17-19; what it names that is not there is said."""
    asked, found = st.query_params.get("area", ""), set()
    for part in filter(None, asked.split(".")):
        first, _, last = part.partition("-")
        ends = [n for n in (first, last or first) if n.isascii() and n.isdecimal() and len(n) < 6]
        if len(ends) == 2 and int(ends[0]) <= int(ends[1]) < grid[0] * grid[1]:
            found |= set(range(int(ends[0]), int(ends[1]) + 1))
        else:
            states.notice(f"“{part[:20]}” names no patches: they are 0 to {grid[0] * grid[1] - 1}.")
    return tuple(sorted(found))


def write_area(area: Area) -> None:
    """Put an area into the address, or take it out."""
    if not area:
        forget()
        return
    spans = [[area[0], area[0]]]
    for patch in area[1:]:
        if patch == spans[-1][1] + 1:
            spans[-1][1] = patch
        else:
            spans.append([patch, patch])
    st.query_params["area"] = ".".join(f"{a}-{b}" if b > a else str(a) for a, b in spans)


def on_many(cat: Catalog, many: pd.DataFrame) -> None:
    """How often it happens on the run's held-out images."""
    outcome = SHOWN[pickers.choice("Shown", list(SHOWN), "shown")]
    frame = hiding.shares_frame(many, outcome)
    panels.panel(
        "On many images",
        "above: windows of one size in person, object and background of the same images; below: the whole of "
        "each; grey: the person's window or the whole person at random places; 95 % over images",
        f"hiding-{outcome}",
        frame,
        hiding.shares(frame, next(name.lower() for name, o in SHOWN.items() if o == outcome)),
        "Share of captions whose gendered word changes, by what is hidden",
        key="hiding",
    )
    if cat.has("hiding_captions"):
        text.html(f"<p>{escape(hiding_answers.unseen_sentence(cat.frame('hiding_captions')))}</p>")
    text.said(hiding_answers.hiding_answer(many))


NEXT = (
    "The next picture whose areas were hidden when the run was computed, first those of which hiding the person "
    "changes a word; where there is none, the next test image"
)
AT_HELP = """
Where the picture enters: the image tokens as they come into the language model, before any of its layers. What the
vision tower has carried to other places stays there. At a layer: its output at these places; what lower layers have
read of them stays as well.
"""
FILL_HELP = (
    "The mean of each place is taken over other images of the run; zero is unlike anything that the model knows."
)
METHOD = """
**Hiding** puts other states in the place of the chosen image tokens: the mean over images at that place, or zero, and
lets the model write the caption again. Nothing hidden gives the same caption bit by bit, everything hidden that of the
mean image. **Random places**: the same shape moved on the same picture, drawn at random, none twice; first places at
which it fits whole, then what is pushed over an edge comes in again at the other side. The interval of their share is
Clopper and Pearson's. **On many images**: held-out ones on which it is known where person and object are (boxes; a
patch is theirs where half of it lies in one, background where nine tenths lie in none). A *window* is the largest
rectangle that all three have room for, so that sizes are equal. Differences are paired by image (Newcombe), against
random places a mean with skewness. *In the picture itself*: the pixels of the mean training image, before the vision
tower. A model that sees no one still names someone, of captions that named this gender before none changes: shares
have a ceiling well below 100 %. Random places may cover a part of the person. That a part does nothing alone does not
mean that it tells nothing: what two parts tell is lost only where both are hidden.
"""

main()

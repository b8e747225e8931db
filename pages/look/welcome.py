"""No run yet: what this is, one button that builds the demo, the build as it goes, and a few scenes of its world."""

import base64
import io
import random

import streamlit as st

from core.run import Run
from pages.kit import build, pipeline, runs, states, text

PLANNED = [{"name": name, "state": "waiting"} for name in runs.STAGES]
SEED, N = 3, 6


def waiting(run: Run, label: str) -> None:
    """The button that starts the build or goes on with it."""
    if st.button(label, type="primary", key="build-demo"):
        build.start(run)
        st.rerun(scope="fragment")


@st.fragment(run_every=1.0)
def building() -> None:
    """The state of the build, once a second; nothing of it is kept in the browser."""
    run = build.demo_run()
    now = build.state(run)
    if now == "absent":
        waiting(run, "Build the demo")
        text.html(
            '<p class="cs-small">A few minutes on a laptop, no graphics card, no account, no network. '
            "You may close this page meanwhile: the build goes on.</p>"
        )
    elif now == "starting":
        text.html("<p><b>Waking up …</b></p>" + pipeline.steps_html(PLANNED) + pipeline.bar_html({}))
    elif now == "running":
        text.html("<p><b>The demo is being built.</b> You may close this page and come back.</p>")
        if pipeline.show(run) is None:
            text.html(pipeline.steps_html(PLANNED) + pipeline.bar_html({}))
        if run.is_done(build.ENOUGH) and st.button("Look around already", key="open-demo"):
            st.rerun()
    elif now == "done":
        text.html("<p><b>The demo is ready.</b></p>")
        pipeline.show(run, 0)
        if st.button("Open it", type="primary", key="open-demo"):
            st.rerun()
    else:
        if now == "failed":
            states.box(list(build.failure(run)), "error")
        else:
            states.box(["The build was stopped.", "What is done so far is kept, and it goes on from there."])
        waiting(run, "Go on with the build")
        pipeline.show(run)


@st.cache_data(show_spinner=False)
def scenes(seed: int = SEED, n: int = N) -> list[tuple[str, str, str]]:
    """(image as a data: address, English caption, Arabic caption) of random scenes, as that world's people write."""
    from PIL import Image

    from core.demo.world import DemoWorld

    world, rng, found = DemoWorld(), random.Random(seed), []
    for _ in range(n):
        scene, out = world.scene(rng), io.BytesIO()
        Image.fromarray(world.render(scene)).save(out, "PNG")
        uri = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
        found.append((uri, world.references(scene, "en", rng)[0], world.references(scene, "ar", rng)[0]))
    return found


def preview() -> None:
    """The scenes as a row of tiles, gendered words marked."""
    tiles = "".join(_scene_tile(*scene) for scene in scenes())
    text.heading(
        "What it looks at",
        "Scenes of the demo world, with captions as people of that world write them. "
        "What does the model learn from them about women and men?",
    )
    text.html(f'<div class="cs-grid" style="--cs-columns:{N}">{tiles}</div>')


def _scene_tile(uri: str, en: str, ar: str) -> str:
    said = (text.caption_html(words, lang, text.gender_marks(words, lang)) for lang, words in (("en", en), ("ar", ar)))
    image = f'<span class="cs-frame"><img src="{uri}" alt=""></span>'
    return f'<figure class="cs-tile">{image}<figcaption>{"".join(said)}</figcaption></figure>'


text.page_title(
    "How does a model that sees decide to write “he” or “she”?",
    "CaptionScope opens up a vision-language model while it describes images in English and in Arabic, and shows what "
    "it has learned to notice. You can look at each of these features, and turn it up or down to see what happens to "
    "the captions.",
    eyebrow="Welcome to CaptionScope",
)
text.html(
    "<p style='max-width:46em'>To begin, it needs a run to look at. The demo takes a small model that comes with the "
    f"project and a world of emoji scenes whose answer is known, because its bias was {text.term('planted')}. Your own "
    "images and Gemma 3 go the same way; the README says how.</p>"
)
building()
preview()

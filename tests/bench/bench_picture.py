"""How long the page of a visitor's own picture takes to answer, once the model is loaded and has described the picture.

Run: python -m tests.bench.bench_picture --run cache/demo
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

from streamlit.testing.v1 import AppTest

from pages.causes.steering_image import read_upload
from tests.pages.pictures import picture_bytes

APP = Path(__file__).resolve().parents[2] / "app.py"


def main(run_dir: Path, repeats: int) -> None:
    os.environ["CAPTIONSCOPE_CACHE"] = str(run_dir.resolve().parent)
    at = AppTest.from_file(str(APP), default_timeout=600)
    at.query_params["run"] = run_dir.name
    at.session_state["own-picture"] = read_upload(picture_bytes((640, 480)))
    began = time.perf_counter()
    at.switch_page("pages/look/picture.py").run()
    assert not at.exception, [e.message for e in at.exception]
    print(f"model loaded, both captions written, page drawn: {time.perf_counter() - began:.1f} s")
    layers = [str(layer) for layer in at.selectbox(key="layer").options]

    def timed(name: str, changes: list[dict[str, str]]) -> None:
        seconds = []
        for n in range(repeats):
            for key, value in changes[n % len(changes)].items():
                if key == "layer":
                    at.selectbox(key="layer").set_value(int(value))
                else:
                    at.query_params[key] = value
            start = time.perf_counter()
            at.run()
            seconds.append(time.perf_counter() - start)
            assert not at.exception
        worst = max(seconds)
        print(f"{name}: median {statistics.median(seconds) * 1e3:.0f} ms, worst {worst * 1e3:.0f} ms (n = {repeats})")

    timed(
        "a layer, for the first time",
        [{"layer": layer} for layer in layers[:2] + layers[3:]][: max(1, len(layers) - 1)],
    )
    timed("a layer", [{"layer": layer} for layer in layers])
    timed("a patch", [{"at": f"image:{n}"} for n in range(8)])
    timed("a word", [{"at": f"{lang}:{n}"} for n in range(4) for lang in ("en", "ar")])
    timed("a feature on the picture", [{"feature": str(n)} for n in range(5, 25)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=24)
    options = parser.parse_args()
    main(options.run, options.repeats)

"""The app with a model that writes no word while a file is there, so that a slow moment is no matter of luck.

Run: python -m tests.browser.held_app FILE [options of streamlit run]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from streamlit.web import cli

from pages.causes.steering_live import Live


def hold(file: Path) -> None:
    """Let the live model wait before its first word until the file is gone."""
    write = Live.captions

    def captions(self, *arguments):
        while file.exists():
            time.sleep(0.02)
        yield from write(self, *arguments)

    Live.captions = captions


if __name__ == "__main__":
    hold(Path(sys.argv[1]))
    cli.main(["run", "app.py", *sys.argv[2:]])

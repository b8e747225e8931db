"""Logs of a run: one file a stage, and whoever else listens."""

from __future__ import annotations

import logging
from contextlib import contextmanager

from core.runs import Run


class _StrictFileHandler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        raise  # a full disk while logging ends the stage like any other


@contextmanager
def stage_log(run: Run, stage: str, *more: logging.Handler):
    """The logger of a stage, writing to ``<run>/logs/<stage>.log`` and to ``more`` handlers."""
    run.path("logs").mkdir(parents=True, exist_ok=True)
    log = logging.getLogger(f"captionscope.{stage}")
    log.setLevel(logging.INFO)
    log.propagate = False
    model_log = logging.getLogger("captionscope.model")  # what core.vlm says of itself
    handler = _StrictFileHandler(run.path("logs", f"{stage}.log"), encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    both = [(each, h) for each in (log, model_log) for h in (handler, *more)]
    for each, h in both:
        each.addHandler(h)
    try:
        yield log
    finally:
        for each, h in both:
            each.removeHandler(h)
        handler.close()

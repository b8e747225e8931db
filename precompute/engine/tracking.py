"""Where numbers and sample images go besides the log: nowhere, or to Weights & Biases where asked for."""

from __future__ import annotations

import importlib.util
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from core.config import Config, config_to_dict
from core.errors import UserError
from core.run import Run, StageRecord


class Tracker(Protocol):
    """What the engine tells."""

    def metrics(self, stage: str, values: Mapping[str, float], step: int | None) -> None: ...
    def images(self, stage: str, images: Mapping[str, Any]) -> None: ...
    def stage_done(self, stage: str, record: StageRecord) -> None: ...
    def close(self, exit_code: int) -> None: ...


class NoTracker:
    """Keeps nothing; the stage's log has the numbers anyway."""

    def metrics(self, stage: str, values: Mapping[str, float], step: int | None) -> None: ...
    def images(self, stage: str, images: Mapping[str, Any]) -> None: ...
    def stage_done(self, stage: str, record: StageRecord) -> None: ...
    def close(self, exit_code: int) -> None: ...


class WandbTracker:
    """Logs losses, sparsity and other metrics as ``<stage>/<name>``, stage times, and sample images."""

    def __init__(self, run: Run, config: Config):
        import wandb

        self._wandb = wandb
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
        self.mode = mode
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "captionscope"),
            name=run.name,
            dir=str(run.dir),
            mode=mode,
            config=config_to_dict(config),
            settings=wandb.Settings(silent=True),
        )
        self._axes: set[str] = set()

    def metrics(self, stage: str, values: Mapping[str, float], step: int | None) -> None:
        named: dict[str, Any] = {f"{stage}/{name}": value for name, value in values.items()}
        if step is not None:
            if stage not in self._axes:  # each stage counts its own steps
                self._run.define_metric(f"{stage}/step")
                self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
                self._axes.add(stage)
            named[f"{stage}/step"] = step
        self._run.log(named)

    def images(self, stage: str, images: Mapping[str, Any]) -> None:
        shown = [self._wandb.Image(str(i) if isinstance(i, Path) else i, caption=text) for text, i in images.items()]
        self._run.log({f"{stage}/images": shown})

    def stage_done(self, stage: str, record: StageRecord) -> None:
        for name in ("seconds", "rows", "bytes", "peak_memory"):
            self._run.summary[f"stages/{stage}/{name}"] = getattr(record, name)
        self._run.log({f"stages/{stage}/seconds": record.seconds})

    def close(self, exit_code: int) -> None:
        self._run.finish(exit_code=exit_code)


def logged_in() -> bool:
    """Whether Weights & Biases has a key: in the environment or where ``wandb login`` puts it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        return path.is_file() and netrc.netrc(str(path)).authenticators("api.wandb.ai") is not None
    except netrc.NetrcParseError:
        return False


def check_wandb() -> None:
    """UserError where ``--wandb`` is asked for and the package is missing."""
    if importlib.util.find_spec("wandb") is None:
        raise UserError("--wandb needs the package wandb, which is not installed.", "", "pip install wandb")

"""Processes that share the parts of a stage on one machine (``StageContext.make``), each on one thread.

Threads inside small kernels spend their time waiting for each other; whole parts side by side do not. A part's bytes
depend on the number of threads that computed it, never on which process did, so that a run that may be shared works on
one thread everywhere, however many processes there are.

1. The engine works on a stage. Where that takes longer than a few seconds it tells n - 1 helpers the stage's name; they
   are started when they are first needed, for starting one costs seconds, too.
2. A helper runs the same stage, and leaves it before it would close it.
3. Every process takes the next part that is not there and that nobody holds (a file lock, which ends with its holder).
4. The engine's process closes the stage once all helpers have said that they are through with it.

A helper that dies costs the part it was at, which another takes; it ends when the process that started it does, however
that ends. Messages are lines of JSON on standard input and output.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from core.config import PROJECT_ROOT, Config
from core.errors import UserError
from core.run import Run
from core.vlm.identity import locate
from precompute.context import StageContext
from precompute.engine.machine import n_cores
from precompute.pipeline import Stage, load_function, stages

MOST = 64  # processes
WEIGHTS = 2e9  # bytes of a model's weights up to which processes share a run's stages on CPU cores
OVERHEAD = 1.5e9  # bytes of a process beside its weights: the libraries, its batches
MEMORY_SHARE = 0.7  # of the memory that is free, for all processes together
PATIENCE = 4.0  # seconds that a stage may take before others are called: about what it costs a helper to begin
TIMEOUT = 600.0  # seconds that a helper may take for the part it is at when all others are there


def n_workers(config: Config, device: str, asked: int = 0) -> int:
    """How many processes share the stages of a run: those asked for, else as many as there are cores, as memory allows.

    One on a GPU, and for models whose weights are not on this machine or are large: there the threads of one process
    do better.
    """
    if asked:
        if not 1 <= asked <= MOST:
            raise UserError("--workers is out of bounds.", f"It is {asked}.", f"Give a number from 1 to {MOST}.")
        return asked
    size = _weights(config)
    if device != "cpu" or not 0 < size <= WEIGHTS:
        return 1
    free = MEMORY_SHARE * psutil.virtual_memory().available
    return max(1, min(n_cores(), MOST, int(free // (2 * size + OVERHEAD))))


def single_threaded(config: Config, device: str, workers: int) -> bool:
    """Whether each process works on one thread: where several share a run, or might on another machine."""
    return device == "cpu" and (workers > 1 or 0 < _weights(config) <= WEIGHTS)


def _weights(config: Config) -> int:
    """Bytes of the model's weights, 0 where they are not on this machine."""
    folder = locate(config.model.name)
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder else 0


def shareable(stage: Stage, config: Config) -> bool:
    """Whether processes may share a stage; not where they would each compute activations that are not stored."""
    replayed = "activations" in stage.needs and config.activations.store == "none"
    return stage.shared and not replayed


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Numeric libraries on one thread in here, and as before afterwards."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


class Workers:
    """The helpers of a run; to be used as a context."""

    def __init__(self, run: Run, device: str, n: int, log: logging.Logger | None = None):
        self.run, self.device, self.n_helpers = run, device, n - 1
        self.log = log or logging.getLogger("captionscope")
        self._helpers: list[_Helper] | None = None  # not started yet

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: Any) -> None:
        for helper in self._helpers or []:
            helper.end()

    @contextlib.contextmanager
    def at(self, stage: Stage, log: logging.Logger) -> Iterator[bool]:
        """Have the helpers work on a stage while the block does, if that takes long enough; True."""
        asked: list[_Helper] = []
        timer = threading.Timer(PATIENCE, self._call, (stage, asked))
        timer.daemon = True
        timer.start()
        try:
            yield True
        finally:
            timer.cancel()
            timer.join()
        for helper in asked:
            if trouble := helper.answer():
                log.warning("a process that shared this stage went out of it: %s", trouble)
        self._helpers = [helper for helper in self._helpers or [] if helper.alive]

    def _call(self, stage: Stage, asked: list[_Helper]) -> None:
        if self._helpers is None:
            self._helpers = [_Helper(self.run, self.device, i + 1) for i in range(self.n_helpers)]
        asked += [helper for helper in self._helpers if helper.ask(stage.name)]


class _Helper:
    """One process beside the engine's."""

    def __init__(self, run: Run, device: str, number: int):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "precompute.engine.workers", str(run.dir.absolute()), device, str(number)]
        self._process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answers: queue.Queue[dict[str, str] | None] = queue.Queue()
        threading.Thread(target=self._listen, name=f"helper {number}", daemon=True).start()
        self.alive = True

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put(None)

    def ask(self, stage: str) -> bool:
        """Tell it the stage; False where it is gone."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"stage": stage}) + "\n")
            self._process.stdin.flush()
        except OSError:
            self.alive = False
        return self.alive

    def answer(self) -> str:
        """Wait until it is through with the stage; what went wrong there, or ""."""
        try:
            told = self._answers.get(timeout=TIMEOUT)
        except queue.Empty:
            self.end()
            return f"it did not end its part within {TIMEOUT:.0f} s of all others"
        if told is None:
            self.alive = False
            return f"it ended with {self._process.wait()}"
        return told["trouble"]

    def end(self) -> None:
        self.alive = False
        self._process.kill()
        self._process.wait()


def help_out(run: Run, device: str, number: int, stage: str) -> None:
    """Make parts of a stage until all are there."""
    found = {s.name: s for s in stages()}[stage]
    log = logging.getLogger(f"captionscope.helper.{stage}")
    log.propagate = False  # the engine's process says what there is to be said of the stage
    log.addHandler(logging.NullHandler())
    work = run.path(".work", stage)
    context = StageContext(run, run.config(), work, device, log, helper=number, shared=True)
    load_function(found.fn)(context)


def main() -> None:
    """Listen for stages until the process that started this one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the one that started this one ends it
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    run, device, number = Run(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    asked: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            asked.put(json.loads(line)["stage"])
        os._exit(0)  # at once, also from the middle of a part

    threading.Thread(target=listen, daemon=True).start()
    with one_thread():
        while True:
            stage, trouble = asked.get(), ""
            try:
                help_out(run, device, number, stage)
            except Exception as e:  # told to the engine, whose own process meets the same part next
                trouble = f"{type(e).__name__}: {e}"
            out.write(json.dumps({"stage": stage, "trouble": trouble}) + "\n")
            out.flush()


if __name__ == "__main__":
    main()

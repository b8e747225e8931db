"""How far a run is, drawn: the stages as steps, the bar of the one at work, its rate and time left, its last words."""

from __future__ import annotations

import shutil
from html import escape
from typing import Any

from core.run import Run
from pages.kit import build, text
from pages.kit.runs import stage_words

ONE_ROW = 6  # steps that fit beside one another
STATES = {"waiting": "not begun", "running": "at work", "done": "done", "failed": "failed", "stopped": "stopped"}


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 8 s, 3 min 20 s, 2 h 05 min; "" for None."""
    if seconds is None:
        return ""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60:02d} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60:02d} min"


def size(n_bytes: float | None) -> str:
    """Bytes in decimal units: 512 B, 3.4 MB; "" for None."""
    if n_bytes is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if n_bytes >= 10 or unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def steps_html(stages: list[dict[str, Any]]) -> str:
    """The stages as a row of steps; state is told by word and line style as well as by colour."""
    items = []
    for stage in stages:
        known = stage["state"] if stage["state"] in STATES else "waiting"
        note = " · ".join(part for part in (STATES[known], duration(stage.get("seconds"))) if part)
        current = ' aria-current="step"' if known == "running" else ""
        name = stage_words(stage["name"])[0]
        items.append(f'<li class="{known}"{current}><b>{escape(name)}</b><span>{note}</span></li>')
    columns = len(items) if len(items) <= ONE_ROW else -(-len(items) // 2)
    return f'<ol class="cs-steps" style="--cs-columns:{columns}">{"".join(items)}</ol>'


def bar_html(progress: dict[str, Any]) -> str:
    """The bar of the stage at work, with count, rate and time left."""
    done, total = progress.get("done") or 0, progress.get("total") or 0
    share = min(done / total, 1.0) if total else 0.0
    parts = [f"{done:,} of {total:,} {progress.get('unit') or ''}".strip()] if total else ["getting ready"]
    if progress.get("rate"):
        parts.append(f"{progress['rate']:.3g} {progress.get('unit')} a second")
    if progress.get("eta_seconds") is not None:
        parts.append(f"about {duration(progress['eta_seconds'])} left in this step")
    if progress.get("message"):
        parts.append(str(progress["message"]))
    return (
        f'<div class="cs-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{share * 100:.0f}"><i style="width:{share * 100:.1f}%"></i></div>'
        f'<p class="cs-small">{escape(" · ".join(parts))}</p>'
    )


def facts_html(run: Run, progress: dict[str, Any]) -> str:
    """Where it runs: device, what it takes of processor, memory and GPUs, disk that is free, when it began."""
    free = shutil.disk_usage(run.dir).free if run.dir.exists() else None
    cores = progress.get("cores")
    pairs = [
        ("Device", str(progress.get("device") or "")),
        ("Processor", f"{cores:.1f} cores" if cores else ""),
        ("Memory in use", size(progress.get("memory_bytes"))),
        *gpu_facts(progress.get("gpus") or []),
        ("Disk free", size(free)),
        ("Began", clock(progress.get("started"))),
    ]
    return text.facts([(k, v) for k, v in pairs if v])


def gpu_facts(gpus: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Name, use and memory of each GPU, as the process at work has told them; what is not known is left out."""
    found = []
    for i, gpu in enumerate(gpus, start=1):
        name = "GPU" if len(gpus) == 1 else f"GPU {i}"
        use = "" if gpu.get("use") is None else f"{gpu['use']:.0%} in use"
        used, total = (size(gpu.get(key)) for key in ("memory_used", "memory_total"))
        found += [
            (name, " · ".join(part for part in (str(gpu.get("name") or ""), use) if part)),
            (f"{name} memory", f"{used} of {total}" if used and total else ""),
        ]
    return found


def clock(stamp: str | None) -> str:
    """An ISO time, readable: 2026-01-05 09:00 UTC."""
    return f"{stamp[:10]} {stamp[11:16]} UTC" if stamp and len(stamp) >= 16 else ""


def log_html(lines: list[str]) -> str:
    """The last lines of a log, untouched but escaped."""
    return f'<pre class="cs-log" tabindex="0">{escape(chr(10).join(lines))}</pre>' if lines else ""


def show(run: Run, n_lines: int = 8) -> dict[str, Any] | None:
    """Draw the pipeline of a run as it is now, and return its progress; None where it has none."""
    progress = run.progress()
    if progress is None:
        return None
    parts, lines = [steps_html(progress["stages"])], progress.get("log") or []
    if progress["state"] == "running":
        parts += [bar_html(progress), facts_html(run, progress)]
    for layer in run.layers_at_work():
        name = layer["stages"][0]["name"].replace("-", " ", 1)
        parts += [f"<h3>{escape(name.capitalize())}</h3>", bar_html(layer), facts_html(run, layer)]
        lines = [*lines, *(layer.get("log") or [])]
    lines = lines[-n_lines:] or build.last_words(run, n_lines)
    if lines:
        fold = "" if progress["state"] == "done" else " open"
        summary = '<summary class="cs-small">Last words of its log</summary>'
        parts.append(f"<details{fold}>{summary}{log_html(lines)}</details>")
    text.html("".join(parts))
    return progress

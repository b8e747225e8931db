"""Where this run comes from: settings, versions, fingerprints, files, and what was dropped."""

import json
from dataclasses import asdict
from html import escape
from typing import Any

import streamlit as st

from core.answers import sae_fit as sae_fit_answers
from core.errors import UserError
from core.figures import sae_fit
from core.frames import records
from core.run import Manifest, Run
from core.samples.rows import place_of
from pages.kit import nulls, panels, pipeline, runs, states, text
from pages.kit.pipeline import duration, size


def mono(value: object) -> str:
    return f'<span class="cs-mono">{escape(str(value))}</span>'


def answer(manifest: Manifest) -> str:
    """The run in one sentence."""
    records = manifest.stages.values()
    if not records:
        return "Nothing is finished yet."
    devices = sorted({r.device for r in records})
    seconds, peak = duration(sum(r.seconds for r in records)), size(max(r.peak_memory for r in records))
    return (
        f"{len(records)} stages, computed in {seconds} on {', '.join(devices)}, "
        f"{size(sum(r.bytes for r in records))} in all, at most {peak} of memory."
    )


def settings(config: dict[str, Any]) -> str:
    """All settings, section by section, as they were resolved."""
    plain = {k: v for k, v in config.items() if not isinstance(v, dict)}
    sections = {"": plain, **{k: v for k, v in config.items() if isinstance(v, dict)}}
    rows = [
        [mono(f"{section}.{key}" if section else key), mono(json.dumps(value, ensure_ascii=False))]
        for section, values in sections.items()
        for key, value in values.items()
    ]
    return text.table(["Setting", "Value"], rows)


def stages(manifest: Manifest) -> str:
    rows = [
        [
            mono(name),
            mono(r.fingerprint[:16]),
            escape(pipeline.clock(r.started)),
            duration(r.seconds),
            f"{r.rows:,}",
            size(r.bytes),
        ]
        for name, r in manifest.stages.items()
    ]
    return text.table(["Stage", "Fingerprint", "Began", "Time", "Rows", "Size"], rows, numeric=(3, 4, 5))


def versions(manifest: Manifest) -> str:
    """Each package with the version that each stage ran with; one row where they agree."""
    rows = []
    for package in sorted({p for r in manifest.stages.values() for p in r.versions}):
        used = {name: r.versions[package] for name, r in manifest.stages.items() if package in r.versions}
        same = len(set(used.values())) == 1
        shown = next(iter(used.values())) if same else ", ".join(f"{n} {v}" for n, v in used.items())
        rows.append([mono(package), mono(shown)])
    return text.table(["Package", "Version"], rows)


def files(manifest: Manifest) -> str:
    """The files of each stage, those in one folder counted together."""
    rows = []
    for name, record in manifest.stages.items():
        folders: dict[str, list[int]] = {}
        for path, n_bytes in record.files.items():
            folder = path.rpartition("/")[0]
            folders.setdefault(f"{folder}/" if folder else path, []).append(n_bytes)
        rows += [[mono(name), mono(path), f"{len(sizes):,}", size(sum(sizes))] for path, sizes in folders.items()]
    return text.table(["Stage", "File or folder", "Files", "Size"], rows, numeric=(2, 3))


def dropped(report: dict[str, Any]) -> str:
    """What was read and what was left out, and why."""
    rows = grouped(report, {f"{kind}_dropped": kind for kind in ("rows", "images", "captions")})
    kept = grouped(report, {"rows_kept": "rows", "names_matched": "names of files"})
    counts = [
        (key[2:].replace("_", " ").capitalize(), f"{value:,}")
        for key, value in report.items()
        if key.startswith("n_") and isinstance(value, int)
    ]
    nothing = "<p>Nothing was dropped.</p>"
    notes = "".join(f'<p class="cs-small">{escape(str(note))}</p>' for note in report.get("notes", []))
    table = text.table(["What", "Why it was left out", "How many", "Which"], rows, numeric=(2,)) if rows else nothing
    if kept:
        table += text.table(["What", "How it was read", "How many", "Which"], kept, numeric=(2,))
    return text.facts(counts) + table + notes


def grouped(report: dict[str, Any], kinds: dict[str, str]) -> list[list[str]]:
    """One line a reason: what, why, how many, and the first five of them."""
    rows = []
    for key, kind in kinds.items():
        for reason, group in report.get(key, {}).items():
            n = int(group.get("count", 0))
            named = ", ".join(which(item) for item in group.get("named", [])[:5])
            why = escape(str(group.get("what", reason)))
            rows.append([kind, why, f"{n:,}", escape(named + (" …" if n > 5 else ""))])
    return rows


def which(item: dict[str, Any]) -> str:
    """An image, a line of a table, or a name and its file, as the report names them."""
    if "line" in item:
        return place_of(item)
    return f"{item['name']} = {item['file']}" if "name" in item else str(item.get("image", ""))


def read_report(run: Run) -> dict[str, Any] | None:
    path = run.path("prepare_report.json")
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} cannot be read.", str(error), "Compute the stage prepare again.") from error


def share(value: float | None) -> str:
    """A share with two places; a dash where it was not measured."""
    return f"{value:.2f}" if value is not None and value == value else "–"


def sae_fit_panel(run: Run) -> None:
    """The panel, where the run's SAEs have been measured."""
    cat = runs.catalog(run)
    if not cat.has("sae_fit"):
        return
    saes, fit = cat.saes(), cat.sae_fit()
    answer, frame = sae_fit_answers.fit_answer(saes, fit), sae_fit.fit_frame(fit)
    note = f"{sae_fit_answers.origin(saes)} {answer.text} Grey: untrained."
    panels.panel(
        "How well do these SAEs fit this data?",
        note,
        f"{run.name}-sae-fit",
        frame,
        sae_fit.fit_figure(frame),
        answer.text,
        shown=len(frame) > 0,
        key="figure-sae-fit",
    )
    warned = sae_fit_answers.cautions(fit)
    if warned:
        states.box(warned)
    rows = [
        [
            str(r["layer"]),
            escape(r["source"]),
            escape(r["trained_on"] or ""),
            escape(r["architecture"]),
            f"{r['d_sae']:,}",
            f"{r['l0']:.1f}",
            f"{r['dead_share']:.0%}",
            share(r["explained_variance"]),
            share(r.get("explained_variance_median")),
        ]
        for r in records(saes)
    ]
    head = ["Layer", "From", "Trained on", "Kind", "Features", "Active a token", "Never active"]
    head += ["Explained variance", "Of the middle token"]
    text.html(text.table(head, rows, numeric=(0, 4, 5, 6, 7, 8)))
    nulls.quality(cat)
    text.method(SAE_METHOD)


def main() -> None:
    run = runs.current_run()
    manifest, report = run.manifest(), read_report(run)
    text.page_title("Where do these numbers come from?", answer(manifest), eyebrow=f"Run {run.name}")
    command = mono(runs.command(manifest.preset, run.name))
    text.html(
        f"<p>Made by {command} with the settings below. A fingerprint covers a "
        "stage’s settings, inputs and code, and never its place or time.</p>"
    )
    if given := run.captions_given:
        states.box(
            [f"{given[:1].upper()}{given[1:]}.", "What is recorded is how it reads, word by word, what people wrote."]
        )
    with st.container(horizontal=True):
        st.download_button(
            "Manifest (JSON)",
            json.dumps(asdict(manifest), ensure_ascii=False, indent=1),
            f"{run.name}-manifest.json",
            "application/json",
            on_click="ignore",
            key="manifest",
        )
        if report is not None:
            st.download_button(
                "Report of the images (JSON)",
                json.dumps(report, ensure_ascii=False, indent=1),
                f"{run.name}-prepare-report.json",
                "application/json",
                on_click="ignore",
                key="report",
            )
    sae_fit_panel(run)
    text.heading("Stages")
    text.html(stages(manifest))
    if report is not None:
        text.heading("Images and captions that were left out")
        text.html(dropped(report))
    left, right = st.columns(2, gap="large")
    with left:
        text.heading("Settings")
        text.html(settings(manifest.config))
    with right:
        text.heading("Versions")
        text.html(versions(manifest))
    text.heading("Files")
    text.html(files(manifest))


SAE_METHOD = """
On held-out images, at each kind of position apart. **Explained variance**: 1 − Σ|x − x′|² / Σ|x − mean|², the mean
being that of the same tokens; 0 is the mean itself. In models whose residuals have a few tokens of many times the usual
length these decide it, so that the **middle token** stands beside it: the median over tokens of 1 − |x − x′|² / |x −
mean|². **Loss recovered**: the dictionary’s x′ is put in the place of x at
positions of one kind alone, and the model scores the caption that it wrote; 1 is the model left as it is, 0 is the mean
in its place. **Control** (grey): an untrained dictionary of as many features, as many of them active a token. Later
layers read directions more than lengths, so that loss recovered may be high even for it: what counts is the distance.
Intervals: 95 %, bootstrap over images. See docs/saes.md and docs/methods.md; data: sae_fit.parquet.
"""

main()

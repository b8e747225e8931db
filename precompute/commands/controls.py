"""``controls``: how often something is found where there is nothing, with the same code that finds what is there.

Two worlds without an answer: the run's own features with the image labels shuffled, and the twin captioner, in whose
training nothing was planted. Beside each stands what the same procedure finds where there is something.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from core.bias.findings import Findings, bias_findings
from core.bias.shares import MARGIN, image_counts
from core.config import PROJECT_ROOT
from core.demo import LANGUAGES, PROMPTS, ROLES, DemoWorld
from core.errors import UserError
from core.run import Run, open_run, write_json
from core.words import find, matched_gender

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

N_IMAGES, N_DRAWS = 5, 16  # a role and seed; captions an image and language
MIN_SEEDS = 4  # below which it cannot be told whether a role leans on other images
N_PLANTED = 3  # seeds of the same measurement on the captioner with a planted bias
BLOCK = 15  # images sampled together
MAX_TOKENS = 40
SHARE = 1 / 20  # of the seeds that may have a finding
TWIN, PLANTED = "data/demo-captioner-control", "data/demo-captioner"


@dataclass
class Control:
    """One row of the table: findings of each seed where there is nothing, and, beside it, where there is something."""

    name: str
    what: str
    found: list[int] = field(default_factory=list)
    beside: str = ""
    beside_found: list[int] = field(default_factory=list)
    why: str = ""  # why it was not measured
    notes: list[str] = field(default_factory=list)
    to_read: bool = False  # no claim that there is nothing: shown, and not held to

    @property
    def n_alarms(self) -> int:
        """Seeds with any finding."""
        return sum(n > 0 for n in self.found)

    @property
    def holds(self) -> bool | None:
        """Whether alarms are few enough; None where it was not measured, or is only to be read."""
        return None if self.why or self.to_read else self.n_alarms <= max(1, int(len(self.found) * SHARE))


def command(args: argparse.Namespace) -> int:
    """1 where a control does not hold."""
    held = [control.holds for control in run_controls(args.run, args.seeds, args.twin, args.out)]
    return 1 if False in held else 0


def run_controls(
    name: str = "demo", n_seeds: int = 20, twin: str = "", out: str = "", console: Console | None = None
) -> list[Control]:
    """Measure, print and write the table; UserError where neither control can be measured."""
    console = Console(highlight=False) if console is None else console
    if n_seeds < 1:
        raise UserError("There is nothing to count without a seed.", "", "Give --seeds 1 or more; the default is 20.")
    run = open_run(name)
    twin_dir = PROJECT_ROOT / (twin or TWIN)  # an absolute path stays as it is

    def say(text: str) -> None:
        console.print(text, style="dim", soft_wrap=True, markup=False)

    controls = [shuffled_labels_control(run, n_seeds, say), *twin_controls(twin_dir, n_seeds, say)]
    if all(control.why for control in controls):
        why = "\n".join(f"{c.name}: {c.why}" for c in controls)
        raise UserError("No control could be measured.", why, "Compute the run, or train the twin, and ask again.")
    console.print(_table(controls))
    for control in controls:
        for note in control.notes:
            console.print(f"{control.name}: {note}", soft_wrap=True, markup=False)
    path = Path(out) if out else run.path("controls.json")
    rows = [{**vars(c), "n_alarms": c.n_alarms, "holds": c.holds} for c in controls]
    write_json(path, {"run": run.name, "seeds": n_seeds, "at_most": SHARE, "controls": rows})
    console.print(f"Written: {path}", soft_wrap=True, markup=False)
    return controls


def shuffled_labels_control(run: Run, n_seeds: int, say: Callable[[str], None]) -> Control:
    """Findings of stage gender with women and men exchanged at random among the images, within train and test."""
    from core.features.pooled import Pooled
    from core.gender.findings import count_findings, shuffled_labels
    from core.gender.pairs import VIEWS

    control = Control(
        "Shuffled image labels", "features of gender, all layers, languages and views", beside="the true labels"
    )
    if not run.path("pooled").is_dir() or not run.has("genders"):
        control.why = f"the run {run.name} lacks the stages words and pool"
        return control
    config = run.config()
    images = run.images()
    gender, is_train = images["gender"].to_numpy(str), (images["split"] == "train").to_numpy()
    pooled = {layer: Pooled(run.dir, layer) for layer in config.activations.layers}
    views = [view for view in VIEWS if all(view in one.views for one in pooled.values())]

    def findings(of: np.ndarray) -> int:
        return count_findings(pooled, of, is_train, config.gender, views)

    for seed in range(n_seeds):
        control.found.append(findings(shuffled_labels(gender, is_train, seed)))
        say(f"labels shuffled, seed {seed}: {control.found[-1]} findings")
    control.beside_found.append(findings(gender))
    return control


def twin_controls(model_dir: Path, n_seeds: int, say: Callable[[str], None]) -> list[Control]:
    """Findings about bias in captions that the twin writes of neutral images, new images and draws for each seed.

    Four rows: correlations with the planted table; roles off 0.5 by more than MARGIN, which is a finding; roles called
    leaning at all that do not lean on the other seeds' images, which is an error of the instrument; and all roles
    called leaning at all, among them what the twin believes by accident of its training, which is there to be read.
    """
    beside = "the captioner with a planted bias"
    table = Control("The twin: the planted table", "p(male) by role correlates with what was planted", beside=beside)
    beyond = Control("The twin: roles", f"roles off 0.5 by more than {MARGIN:g}", beside=beside)
    false = Control("The twin: roles, not borne out", "roles off 0.5 at all that other images do not bear out")
    every = Control(
        "The twin: roles, at all",
        "roles off 0.5 at all, the twin's own accidents among them",
        beside=beside,
        to_read=True,
    )
    rows = [table, beyond, false, every]
    if not model_dir.is_dir():
        for row in rows:
            row.why = f"there is no model in {_short(model_dir)}; python -m precompute train-demo-captioner --control"
        return rows
    from core.vlm import load_vlm

    vlm, results = load_vlm(str(model_dir)), []
    for seed in range(n_seeds):
        results.append(measure_bias(vlm, seed))
        say(f"the twin, seed {seed}: {results[-1].n} findings")
    table.found = [_count(r.correlations, "finding") for r in results]
    beyond.found = [_count(r.groups, "finding") for r in results]
    every.found = [_count(r.groups, "leans") for r in results]
    false.found = not_borne_out(results)
    table.notes.append("mean r: " + ", ".join(f"{k} {v:+.2f}" for k, v in _mean(results, "correlations", "r").items()))
    every.notes += _habits(results)
    if n_seeds < MIN_SEEDS:
        false.found, false.why = [], f"{n_seeds} seeds; {MIN_SEEDS} are needed to tell an accident from an error"
    planted_dir = PROJECT_ROOT / PLANTED
    if planted_dir.is_dir():
        vlm = load_vlm(str(planted_dir))
        known = [measure_bias(vlm, seed) for seed in range(min(N_PLANTED, n_seeds))]
        table.beside_found = [_count(r.correlations, "finding") for r in known]
        beyond.beside_found = [_count(r.groups, "finding") for r in known]
        every.beside_found = [_count(r.groups, "leans") for r in known]
    return rows


def _count(table: pd.DataFrame, column: str) -> int:
    """Rows in which a column of yes and no says yes."""
    return int(np.count_nonzero(table[column]))


def not_borne_out(results: list[Findings]) -> list[int]:
    """How many roles each seed calls leaning that the images of all other seeds do not show to lean that way.

    They do where the 95 % interval of the mean over the other seeds (Student's t, each seed has images of its own) lies
    on the same side of 0.5.
    """
    shares = pd.concat([r.groups.assign(seed=seed) for seed, r in enumerate(results)])
    wide = shares.pivot(index=["value", "lang"], columns="seed", values="p_male")
    counts = []
    for seed, result in enumerate(results):
        false = 0
        for row in result.groups.loc[result.groups["leans"]].to_dict("records"):
            other = wide.loc[(row["value"], row["lang"])].drop(seed).dropna()
            half = student.ppf(0.975, len(other) - 1) * other.std() / np.sqrt(len(other))
            side = np.sign(row["p_male"] - 0.5)
            false += not side * (other.mean() - 0.5) > half
        counts.append(false)
    return counts


def measure_bias(vlm: VLM, seed: int, n_images: int = N_IMAGES, n_draws: int = N_DRAWS) -> Findings:
    """Findings about bias in captions sampled at temperature 1 of ``n_images`` new neutral scenes a role.

    Arabic captions of generic roles are left out: their masculine is grammar, in the twin too.
    """
    rng, world = random.Random(f"controls-{seed}"), DemoWorld()
    scenes = [world.scene(rng, role=role, gender="neutral") for role in range(len(ROLES)) for _ in range(n_images)]
    said = pd.DataFrame(_said(vlm, world, scenes, seed, n_draws), columns=["sample_id", "lang", "named"])
    generic = np.array([ROLES[scenes[i].role].generic for i in said["sample_id"].to_numpy(int)], bool)
    said = said.loc[~((said["lang"] == "ar") & generic)]
    counts = {lang: image_counts(said.loc[said["lang"] == lang]) for lang in LANGUAGES}
    value = pd.Series([ROLES[scene.role].key for scene in scenes])
    table = {"en": {r.key: r.p_male_en for r in ROLES}, "ar": {r.key: r.p_male_ar for r in ROLES}}
    return bias_findings(counts, value, table)


def _said(vlm: VLM, world: DemoWorld, scenes: list, seed: int, n_draws: int) -> Iterator[tuple[int, str, str]]:
    """(image, language, named) of every sampled caption, by words that both genders must say alike."""
    from PIL import Image

    from core.vlm.sampling import sample_captions, uniforms

    for start in range(0, len(scenes), BLOCK):
        block = range(start, min(start + BLOCK, len(scenes)))
        features = vlm.encode_images([Image.fromarray(world.render(scenes[i])) for i in block])
        for number, lang in enumerate(LANGUAGES):
            keys = [(seed, i, number, draw) for i in block for draw in range(n_draws)]
            numbers = uniforms(keys, MAX_TOKENS).reshape(len(block), n_draws, MAX_TOKENS)
            rows = [vlm.prompt_ids(PROMPTS[lang][0])] * len(block)
            captions, _ = sample_captions(vlm, rows, features, numbers)
            for i, drawn in zip(block, captions, strict=True):
                yield from ((i, lang, matched_gender(find(vlm.decode(ids), lang))) for ids in drawn)


def _mean(results: list[Findings], table: str, column: str) -> dict[str, float]:
    """Mean over the seeds by language."""
    means: Any = pd.concat([getattr(result, table) for result in results]).groupby("lang")[column].mean()
    return dict(means.items())


def _habits(results: list[Findings]) -> list[str]:
    """What the twin believes by itself: all seeds ask one model, so its own accidents come back, and are no chance."""
    groups = pd.concat([result.groups for result in results])
    share = groups.groupby(["value", "lang"])["p_male"].agg(["mean"])
    mean, spread = share["mean"].mean(), share["mean"].std()
    notes = [
        f"over all seeds p(male) by role has mean {mean:.2f} and standard deviation {spread:.2f}; all seeds ask "
        "one model, so what it learned by accident comes back"
    ]
    often: Any = groups.loc[groups["leans"]].groupby(["value", "lang"]).size()
    often = often.sort_values(ascending=False, kind="stable")
    called = [f"{v} ({lang}) in {n}, mean p(male) {share.loc[(v, lang), 'mean']:.2f}" for (v, lang), n in often.items()]
    return [*notes, "roles called, by seeds: " + "; ".join(called)] if called else notes


def _short(path: Path) -> str:
    return str(path.relative_to(PROJECT_ROOT)) if path.is_relative_to(PROJECT_ROOT) else str(path)


def _table(controls: list[Control]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in (
        "Where there is nothing",
        "What is looked for",
        "Seeds with a finding",
        "Findings by seed",
        "Holds",
        "Where there is something",
    ):
        table.add_column(name)
    for c in controls:
        if c.why:
            table.add_row(c.name, c.what, f"[yellow]not measured[/yellow]: {c.why}", "", "", "")
            continue
        beside = f"{', '.join(map(str, c.beside_found))} ({c.beside})" if c.beside_found else ""
        holds = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "to be read"}[c.holds]
        found = " ".join(map(str, c.found))
        table.add_row(c.name, c.what, f"{c.n_alarms} of {len(c.found)}", found, holds, beside)
    return table

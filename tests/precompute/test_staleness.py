"""What makes a stage stale is the code that it runs, found by following imports; all else leaves every stage fresh."""

import ast
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from core.config import SOURCE_ROOT, Config, load_config
from core.run import Manifest, Run, StageRecord
from precompute.engine import fingerprint
from precompute.engine.fingerprint import BLOCK, WHOLE, code_of, content_hash, tree_hash
from precompute.engine.plan import make_plan
from precompute.pipeline import stages

STAGES = [s.name for s in stages()]
NO_MODEL = {"prepare", "words"}
SAE_STAGES = {
    *(
        "train",
        "codes",
        "features",
        "pool",
        "gender",
        "nulls",
        "crosslingual",
        "explain",
        "interventions",
        "mechanisms",
        "graph",
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project's sources."""
    root = tmp_path_factory.mktemp("project")
    for top in ("core", "precompute", "pages", "docs"):
        shutil.copytree(SOURCE_ROOT / top, root / top, ignore=shutil.ignore_patterns("__pycache__", "*.tsv", "*.png"))
    return root


@pytest.fixture
def source(project, monkeypatch) -> Path:
    """The copy, whose stages are those that are planned."""
    monkeypatch.setattr(fingerprint, "SOURCE_ROOT", project)
    return project


@pytest.fixture
def append(source):
    """append(path, ...) adds a constant to files of the copy, which are as they were when the test is over."""
    before: dict[Path, tuple[str, int]] = {}

    def add(*paths: Path, text: str = "A_CONSTANT_MORE = 1") -> None:
        for path in paths:
            before.setdefault(path, (path.read_text(encoding="utf-8"), path.stat().st_mtime_ns))
            path.write_text(f"{before[path][0]}\n{text}\n", encoding="utf-8")

    def restore() -> None:
        for path, (text, time) in before.items():
            path.write_text(text, encoding="utf-8")
            os.utime(path, ns=(time, time))
        before.clear()

    add.restore = restore
    yield add
    restore()


def captioner(folder: Path, model_type: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return str(folder)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """config("demo"), config("gemma-3-4b") with its model in the hub's cache, config("qwen") with one in a folder."""

    def make(name: str) -> Config:
        if name == "qwen":
            return load_config("demo", [f"model.name={captioner(tmp_path / 'qwen', 'qwen2_5_vl')}"])
        found = load_config(name)
        if name != "demo":
            hub = tmp_path / "hub" / f"models--{found.model.name.replace('/', '--')}"
            captioner(hub / "snapshots" / "abc", "gemma3")
            (hub / "refs").mkdir(parents=True, exist_ok=True)
            (hub / "refs" / (found.model.revision or "main")).write_text("abc")
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
            monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
        return found

    return make


@pytest.fixture
def finished(tmp_path, source):
    """A run all of whose stages are done; what they made does not matter here."""

    def make(config: Config) -> Run:
        run = Run(tmp_path / "runs" / config.name)
        records = {
            p.stage.name: StageRecord(
                fingerprint=p.fingerprint,
                started="",
                seconds=0.0,
                rows=0,
                bytes=0,
                peak_memory=0,
                versions={},
                device="cpu",
                files={},
                notes={},
                content="",
                inputs={},
                parts=p.parts,
            )
            for p in make_plan(config, run, missing=[])
        }
        run.write_manifest(Manifest(run.name, config.name, {}, records))
        assert set(changed(config, run)) == set()
        return run

    return make


def changed(config: Config, run: Run) -> dict[str, str]:
    """The stale stages, and why."""
    return {p.stage.name: p.why for p in make_plan(config, run, missing=[]) if p.state != "fresh"}


def own(why: dict[str, str]) -> set[str]:
    """The stages whose own code has changed."""
    return {name for name, text in why.items() if re.search(r"\bcode\b", text)}  # not "stage codes"


FAMILY = {"demo": "gemma3", "gemma-3-4b": "gemma3", "qwen": "qwen"}


@pytest.mark.parametrize("name", FAMILY)
def test_other_families_pages_figures_docs_and_commands_leave_every_stage_fresh(name, source, append, config, finished):
    settings = config(name)
    run = finished(settings)
    families = [source / "core" / "vlm" / f"{f}.py" for f in ("gemma3", "qwen", "llava", "mllama", "generic")]
    append(*(path for path in families if path.stem != FAMILY[name]))
    append(*(source / "pages").rglob("*.py"), *(source / "docs").glob("*.md"))
    append(*(source / "core" / "figures").rglob("*.py"), *(source / "core" / "run" / "reader").rglob("*.py"))
    append(*(p for p in (source / "precompute").rglob("*.py") if "stages" not in p.parts))
    assert changed(settings, run) == {}


@pytest.mark.parametrize("name", FAMILY)
def test_the_family_of_the_run_makes_stale_what_runs_the_model(name, source, append, config, finished):
    settings = config(name)
    run = finished(settings)
    append(source / "core" / "vlm" / f"{FAMILY[name]}.py")
    stale = changed(settings, run)
    assert own(stale) == set(STAGES) - NO_MODEL
    assert stale["caption"] == f"changed: code of core.vlm.{FAMILY[name]}"
    assert stale["words"] == "changed: stage caption" and "prepare" not in stale


def test_of_the_data_sources_the_runs_own_counts_alone(source, append, config, finished):
    run = finished(config("demo"))
    others = ("folder", "coco", "flickr8k", "hf_dataset", "visogender")
    append(*(source / "core" / "samples" / f"{name}.py" for name in others))
    assert changed(config("demo"), run) == {}
    append(source / "core" / "demo" / "source.py")
    assert {"prepare"} <= own(changed(config("demo"), run)) <= {"prepare", "crosslingual", "interventions", "hiding"}


def test_saes_make_stale_what_trains_and_reads_them(source, append, config, finished):
    run = finished(config("demo"))
    append(source / "core" / "sae" / "modules.py")
    stale = changed(config("demo"), run)
    assert own(stale) == SAE_STAGES
    assert set(stale) == SAE_STAGES | {"layers"}, "layers reads what pool has made"


def test_training_alone_leaves_fresh_what_only_reads(source, append, config, finished):
    run = finished(config("demo"))
    append(source / "core" / "sae" / "trainer.py")
    drawn = {"nulls", "interventions", "graph"}  # dictionaries at random begin as trained ones do
    assert own(changed(config("demo"), run)) == {"train", "crosslingual"} | drawn


def test_the_file_of_a_stage_makes_stale_that_stage_and_what_depends_on_it(source, append, config, finished):
    settings, needs = config("demo"), {s.name: s.needs for s in stages()}
    run = finished(settings)
    for name in STAGES:
        append(source / "precompute" / "stages" / f"{name}.py")
        stale, wanted = changed(settings, run), {name}
        for stage in STAGES:
            wanted |= {stage} if wanted & set(needs[stage]) else set()
        assert own(stale) == {name} and set(stale) == wanted
        append.restore()


def test_comments_leave_every_stage_fresh(source, append, config, finished):
    run = finished(config("demo"))
    append(*(source / "core").rglob("*.py"), *(source / "precompute").rglob("*.py"), text="# a remark")
    assert changed(config("demo"), run) == {}


def test_a_family_that_is_not_known_here_is_the_one_of_the_record(source, append, config, finished, monkeypatch):
    settings = config("gemma-3-4b")
    run = finished(settings)
    monkeypatch.setattr("core.vlm.families.find_file", lambda config, name: None)
    assert changed(settings, run) == {}
    append(source / "core" / "vlm" / "gemma3.py")
    assert own(changed(settings, run)) == set(STAGES) - NO_MODEL


def test_no_stage_rests_on_pages_figures_or_the_command_line(config):
    for stage in stages():
        fixed, dynamic = code_of(stage.fn, config("demo"))
        modules = {*fixed, *(m for more in dynamic.values() for m in more)}
        outside = {m for m in modules if not m.startswith("core.")}
        assert outside == {stage.fn.partition(":")[0]}
        assert not {
            m for m in modules if m.startswith(("core.figures", "core.run.reader", "core.config", "core.run.folder"))
        }


# Hashes of sources and files


def source_hash(text: str) -> str:
    return tree_hash(ast.parse(text))


def test_comments_docstrings_and_layout_do_not_count():
    a = '"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 1  # why\n'
    b = "def f(x):\n\n    return (x\n        + 1)\n"
    assert source_hash(a) == source_hash(b)
    assert source_hash(b) != source_hash(b.replace("1", "2"))
    assert source_hash(b) != source_hash(b.replace("1", "1.0"))
    assert source_hash("x = None") != source_hash("x = False") != source_hash("x = ()")


def test_a_text_that_is_no_docstring_counts():
    assert source_hash("x = 'a'") != source_hash("x = 'b'")


def test_content_knows_names_bytes_and_the_middle_of_large_files(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100)
    one = content_hash(tmp_path, ["a"])
    path.write_bytes(b"x" * 99 + b"y")
    assert content_hash(tmp_path, ["a"]) != one
    large = bytearray(WHOLE + 10 * BLOCK)
    path.write_bytes(large)
    one = content_hash(tmp_path, ["a"])
    large[-1] = 1
    path.write_bytes(large)
    assert content_hash(tmp_path, ["a"]) != one
    path.rename(tmp_path / "b")
    large[-1] = 0
    (tmp_path / "b").write_bytes(large)
    assert content_hash(tmp_path, ["b"]) != one


# What counts, on a project of a few lines

PROJECT = {
    "core/__init__.py": "from importlib import import_module\n\nDOOR = {'f': 'core.room.one'}\n\n\n"
    "def __getattr__(name):\n    return getattr(import_module(DOOR[name]), name)\n",
    "core/room/__init__.py": "from core.room.one import f\nfrom core.room.two import g\n\ndef own():\n    return 1\n",
    "core/room/one.py": "def f():\n    return 1\n",
    "core/room/two.py": "def g():\n    from core.deep import h\n    return h()\n",
    "core/deep.py": "def h():\n    return 2\n",
    "core/typed.py": "X = 1\n",
    "core/acting/__init__.py": "import os\nos.environ['A'] = 'b'\n",
    "core/acting/three.py": "Y = 1\n",
    "core/chosen.py": "Z = 1\n",
}


@pytest.fixture
def modules(tmp_path, config):
    """modules(source of a stage) -> the modules of core that it rests on."""

    def find(stage: str) -> set[str]:
        for name, text in {**PROJECT, "precompute/stages/s.py": stage, "precompute/stages/__init__.py": ""}.items():
            (tmp_path / "toy" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "toy" / name).write_text(text)
        fixed, dynamic = code_of("precompute.stages.s:run", config("demo"), tmp_path / "toy")
        return {*fixed, *dynamic} - {"precompute.stages.s"}

    return find


@pytest.mark.parametrize(
    ("stage", "wanted"),
    [
        ("from core.room import f", {"core.room.one"}),
        ("from core.room import g", {"core.room.two", "core.deep"}),
        ("from core.room import own", {"core.room", "core.room.one", "core.room.two", "core.deep"}),
        ("from core.room import one", {"core.room.one"}),
        ("import core.room.one as o", {"core.room.one"}),
        ("from core import f", {"core.room.one"}),
        ("from core.acting.three import Y", {"core.acting", "core.acting.three"}),
        ("def run(ctx):\n    if ctx:\n        from core.deep import h", {"core.deep"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from core.typed import X", set()),
        ("import importlib\nm = importlib.import_module('core.chosen')", {"core.chosen"}),
        ("import numpy\nfrom precompute.context import StageContext", set()),
    ],
)
def test_what_an_import_brings(modules, stage, wanted):
    assert modules(stage) == wanted


def test_an_import_by_a_string_has_to_say_what(modules):
    with pytest.raises(ValueError, match="line 2, imports by a string"):
        modules("import importlib\nm = importlib.import_module('core.' + 'chosen')")
    declared = "IMPORTED_BY_NAME = 'tests.precompute.test_staleness:chosen'\nm = __import__('core.' + 'chosen')"
    assert modules(declared) == {"core.chosen"}


def chosen(config: Config) -> set[str]:
    return {"core.chosen"}

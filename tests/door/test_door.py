"""``from core import ...``: light to import, each name where it is said to be, tables without torch."""

import subprocess
import sys
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

import core
from core import UserError
from core.config import PROJECT_ROOT
from tests.toy_run import D_MODEL, make_toy_run

HEAVY = ("torch", "pandas", "numpy", "transformers", "duckdb", "pyarrow", "scipy", "sklearn", "matplotlib", "plotly")
TWELVE = {
    "ActivationCache",
    "HookPoint",
    "FactoredMatrix",
    "LogitLens",
    "InteractionPatternAnalyzer",
    "TransformerProbeAnalyzer",
    "CrossLingualFeatureAligner",
    "MorphologicalGenderAnalyzer",
    "SemanticGenderAnalyzer",
    "ContrastiveLanguageAnalyzer",
    "LanguageSpecificFeatureIdentifier",
    "LanguageFeatureProfile",
}
WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder


class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "safetensors.torch"):
            raise ImportError(f"{name} is not installed here")


sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy_run(tmp_path_factory.mktemp("runs") / "toy", n_samples=12, d_sae=32)


def python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_name_is_where_the_door_says_and_is_listed():
    for name, module in core.DOOR.items():
        assert getattr(core, name) is getattr(import_module(module), name)
    assert {*core.DOOR, "__doc__"} <= set(dir(core)) and set(core.__all__) == set(core.DOOR)
    assert set(core.DOOR) >= TWELVE
    with pytest.raises(AttributeError, match="open_rum"):
        _ = core.open_rum


def test_importing_the_library_loads_nothing_heavy():
    loaded = python("import core, sys; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded) and not [name for name in loaded if name.startswith("core.")]


def test_importing_the_library_takes_a_small_part_of_what_importing_pandas_takes():
    def seconds(module: str) -> float:
        timed = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        return min(float(python(timed)) for _ in range(3))

    assert seconds("core") < seconds("pandas") / 3


def test_a_run_is_read_without_torch(toy):
    code = WITHOUT_TORCH + "from core import open_run; print(open_run(sys.argv[1]).features(layer=3).head().to_csv())"
    assert python(code, str(toy.dir)).startswith(",layer,feature,sae_id,")
    with pytest.raises(AssertionError, match="torch is not installed here"):  # the block holds
        python(WITHOUT_TORCH + "from core import ActivationCache")


def test_a_run_is_opened_by_name_by_path_and_in_another_folder(toy, monkeypatch):
    assert core.open_run("toy", toy.dir.parent).name == "toy"
    assert core.open_run(toy.dir).name == core.open_run(str(toy.dir)).name == "toy"
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(toy.dir.parent))
    run = core.open_run("toy")
    assert core.list_runs() == ["toy"] and run.layers() == [1, 3] and run.config.train.d_sae == 32
    assert run.image(0).mode == "RGB" and isinstance(run.frame("captions", lang="ar"), pd.DataFrame)


def test_codes_are_the_saes_and_of_the_kind_of_what_was_given(toy):
    import torch

    run = core.open_run(toy.dir)
    sae = core.load_sae(run, 3)
    x = torch.randn(7, D_MODEL, generator=torch.Generator().manual_seed(0))
    z = core.encode(sae, x)
    assert torch.equal(z, sae.encode(x)) and z.shape == (7, 32)
    assert np.array_equal(core.encode(sae, x.numpy()), z.numpy())


@pytest.mark.parametrize(
    ("what", "use"),
    [
        ("no run called nothing", lambda run: core.open_run("nothing", run.run.dir.parent)),
        ("no SAE of layer 2", lambda run: core.load_sae(run, 2)),
        ("width 16, but was given width 5", lambda run: core.encode(core.load_sae(run, 3), np.ones((2, 5)))),
        ("1 of the residuals are not finite", lambda run: core.encode(core.load_sae(run, 3), with_nan())),
        ("Layer 3 .* has not been pooled", lambda run: run.residuals(3)),
        ("no view 'middle'", lambda run: run.residuals(3, "middle")),
        ("no language 'fr'", lambda run: run.codes(3, lang="fr")),
        ("has no table probes", lambda run: run.probes()),
        ("nothing to steer", lambda run: core.steer(run, 0, {})),
        ("no living feature 3:99", lambda run: core.steer(run, 0, {(3, 99): 1.0})),
        ("no figure 'nothing'", lambda run: core.figure("nothing")),
        ("no figure 'layers.nothing'", lambda run: core.figure("layers.nothing")),
        ("no backend 'svg'", lambda run: core.figure("layers.transfer_figure", backend="svg")),
    ],
)
def test_wrong_use_of_the_door_is_told_with_what_why_and_what_to_do(toy, what, use):
    with pytest.raises(UserError, match=what) as error:
        use(core.open_run(toy.dir))
    assert all((error.value.what, error.value.why, error.value.do))


def with_nan() -> np.ndarray:
    x = np.ones((3, D_MODEL), np.float32)
    x[1, 2] = np.nan
    return x


def test_a_figure_is_drawn_for_the_screen_and_for_print():
    frame = pd.DataFrame({"place": "before", "lang": "en", "trained_on": "ar", "layer": [1, 3], "n": 40})
    frame = frame.assign(value=[0.7, 0.9], low=[0.6, 0.8], high=[0.8, 1.0])
    screen = core.figure("layers.transfer_figure", frame, "auc")
    paper = core.figure("layers.transfer_figure", frame, "auc", backend="paper")
    assert type(screen).__module__.startswith("plotly") and type(paper).__module__.startswith("matplotlib")

"""``python -m precompute``: all its commands; run, init, plan and status are those of every day.

Only argparse is imported here, so that help is quick; each command imports what it needs when it is called.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError
from precompute import run_command, slurm

# oneMKL may else choose threads and kernels by load and by where an array lies in memory, so that a stage that goes on
# after a kill differs in the last bit (seen: one figure in 349 files). Read when the library is first called.
REPRODUCIBLE = {"MKL_CBWR": "AUTO,STRICT", "MKL_DYNAMIC": "FALSE", "OMP_DYNAMIC": "FALSE"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all went well, 1 after an error, 2 when another process holds the run, 130 for Ctrl-C."""
    args = _parser().parse_args(argv)
    for name, value in REPRODUCIBLE.items():
        os.environ.setdefault(name, value)
    try:
        return args.command(args)
    except UserError as e:
        from core.runs import RunHeld

        print(e, file=sys.stderr)
        return 2 if isinstance(e, RunHeld) else 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the output was piped into something that has ended, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as e:
        from precompute.engines.local import is_disk_full

        if not is_disk_full(e):
            raise
        print(
            f"The disk is full.\n{e}\nMake room and run the same command again: it goes on from the last checkpoint.",
            file=sys.stderr,
        )
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m precompute", description="Compute the runs that the app shows.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run_command.add_parser(commands)

    init = commands.add_parser("init", help="look at your own images and captions and write a preset for them")
    init.add_argument("name", metavar="MYRUN", help="MYRUN.toml is written in the current folder")
    init.add_argument("--images", default="", metavar="PATH", help="folder, zip or tar; none where a table holds them")
    init.add_argument("--captions", default="", metavar="FILE", help="CSV, TSV, JSON lines, Parquet, COCO ...")
    init.add_argument("--captions-ar", default="", metavar="FILE", help="a second file, for Arabic")
    init.add_argument("--dataset", default="", metavar="NAME", help="of Hugging Face: a saved directory, or a hub name")
    init.add_argument("--revision", default="", metavar="COMMIT", help="of the hub name")
    init.add_argument("--model", required=True, metavar="NAME", help="hub id, or a folder")
    init.add_argument("--force", action="store_true", help="write over a preset of that name")
    init.set_defaults(command=_init)

    plan = commands.add_parser("plan", help="what a run would do, and what it would take on this machine")
    run_command.add_preset(plan)
    run_command.add_limits(plan)
    plan.add_argument("--probe", action="store_true", help="measure this device first, a minute or two")
    plan.set_defaults(command=_plan)

    slurm.add_parser(commands)

    status = commands.add_parser("status", help="how far a run is")
    status.add_argument("run", nargs="?", default="", metavar="RUN", help="default: the one worked on last")
    status.add_argument("--watch", action="store_true", help="keep showing until the run is over")
    status.set_defaults(command=_status)

    doctor = commands.add_parser("doctor", help="what this machine has")
    doctor.set_defaults(command=_doctor)

    listing = commands.add_parser("list", help="runs and presets")
    listing.set_defaults(command=_list)

    audit = commands.add_parser("audit", help="gendered words of captions before and after, from any model")
    audit.add_argument("file", metavar="FILE", help="CSV, JSONL or Parquet: image_id, before, after, and maybe lang")
    audit.add_argument("--lexicon", default="", metavar="FILE.tsv", help="in the place of the project's own")
    audit.add_argument("--terms", default="", metavar="A,B,C", help="count these words as well, each by itself")
    audit.add_argument("--out", default="", metavar="DIR", help="default: FILE's name with -audit, beside it")
    audit.add_argument("--lang", default="", metavar="LANG", help="en or ar; without a column lang: en")
    audit.set_defaults(command=_audit)

    controls = commands.add_parser("controls", help="what is found where there is nothing: negative controls")
    controls.add_argument("run", nargs="?", default="demo", metavar="RUN", help="default: demo")
    controls.add_argument("--seeds", type=int, default=20, metavar="N", help="default: 20")
    controls.add_argument("--twin", default="", metavar="DIR", help="default: data/demo-captioner-control")
    controls.add_argument("--out", default="", metavar="FILE.json", help="default: controls.json in the run's folder")
    controls.set_defaults(command=_controls)

    check = commands.add_parser("check-model", help="whether the adapter computes what a checkpoint computes")
    check.add_argument("model", metavar="NAME_OR_DIR", help="hub id or directory of a model")
    check.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="default: float32")
    check.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="default: auto")
    check.add_argument("--image-side", type=int, default=0, metavar="PIXELS", help="as model.image_side")
    check.set_defaults(command=_check_model)

    export = commands.add_parser("export-saes", help="a run's own SAEs in sae-lens format, with a card")
    export.add_argument("run", metavar="RUN")
    export.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    export.add_argument("--licence", default="", metavar="NAME", help="for the card, such as cc-by-4.0")
    export.set_defaults(command=_export_saes)

    train = commands.add_parser("train-demo-captioner", help="train the demo world's captioner (about an hour)")
    train.add_argument("--control", action="store_true", help="the twin with nothing planted (p = 0.5 everywhere)")
    train.add_argument("--out", default="", metavar="DIR", help="default: data/demo-captioner[-control]")
    train.set_defaults(command=_train_demo_captioner)

    gate = commands.add_parser("gate", help="measure a demo captioner against its gate and write its card")
    gate.add_argument("dir", nargs="?", default="", metavar="DIR", help="default: data/demo-captioner[-control]")
    gate.add_argument("--control", action="store_true", help="it is the twin with nothing planted")
    gate.set_defaults(command=_gate)
    return parser


def _init(args: argparse.Namespace) -> int:
    from precompute.init import run_init

    places = (args.images, args.captions, args.captions_ar, args.dataset, args.revision)
    run_init(args.name, *places, args.model, args.force)
    return 0


def _plan(args: argparse.Namespace) -> int:
    from core.config import load_config
    from core.runs import Run, check_run_name, runs_dir
    from precompute.show_plan import show_plan

    config = load_config(args.preset, args.set)
    run = Run(runs_dir() / check_run_name(args.run or config.name))
    return show_plan(config, run, limits=run_command.limits_of(args), probe=args.probe)


def _status(args: argparse.Namespace) -> int:
    from precompute.status import show_status

    return show_status(args.run, args.watch)


def _doctor(args: argparse.Namespace) -> int:
    from precompute.doctor import show_doctor

    return show_doctor()


def _list(args: argparse.Namespace) -> int:
    from precompute.status import show_list

    show_list()
    return 0


def _audit(args: argparse.Namespace) -> int:
    from precompute.audit import run_audit

    terms = list(dict.fromkeys(t.strip() for t in args.terms.replace("،", ",").split(",") if t.strip()))
    run_audit(Path(args.file), args.lexicon, terms, args.out, args.lang)
    return 0


def _controls(args: argparse.Namespace) -> int:
    from precompute.controls import run_controls

    held = [control.holds for control in run_controls(args.run, args.seeds, args.twin, args.out)]
    return 1 if False in held else 0


def _check_model(args: argparse.Namespace) -> int:
    from precompute.check_model import run_check

    return 0 if run_check(args.model, args.dtype, args.device, args.image_side) else 1


def _export_saes(args: argparse.Namespace) -> int:
    from precompute.export_saes import CARD, export_saes

    folders = export_saes(args.run, Path(args.out), args.licence)
    print(f"Written: {len(folders)} SAEs and {Path(args.out) / CARD}")
    return 0


def _train_demo_captioner(args: argparse.Namespace) -> int:
    from core.config import PROJECT_ROOT
    from core.demo.train import RECIPES, Trainer

    name = "demo-captioner-control" if args.control else "demo-captioner"
    out_dir = Path(args.out) if args.out else PROJECT_ROOT / "data" / name
    work_dir = PROJECT_ROOT / ".work" / name
    recipe = RECIPES["control" if args.control else "planted"]
    Trainer(recipe, out_dir, work_dir, lambda text: print(text, flush=True)).run()
    print(f"Written: {out_dir}\nMeasure it: python -m precompute gate {out_dir}")
    return 0


def _gate(args: argparse.Namespace) -> int:
    from core.config import PROJECT_ROOT

    name = "demo-captioner-control" if args.control else "demo-captioner"
    model_dir = Path(args.dir) if args.dir else PROJECT_ROOT / "data" / name
    if not model_dir.is_dir():
        do = "Train one: python -m precompute train-demo-captioner"
        raise UserError(f"There is no model in {model_dir}.", "", do)
    from core.demo import gate

    holds = gate.main(model_dir, planted=not args.control, say=lambda text: print(text, flush=True))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())

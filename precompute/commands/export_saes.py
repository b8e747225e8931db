"""``export-saes``: a run's own SAEs in sae-lens format, with a card that says what they are and what they are worth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from core.config import Config
from core.errors import UserError
from core.run import Run, atomic_path, open_run
from core.samples.sources import knowledge

CARD = "README.md"
HERE = "trained here"
BOTH = "both"
KINDS = ("image", "prompt", "caption")


def command(args: argparse.Namespace) -> int:
    """Write them, and say what was written."""
    folders = export_saes(args.run, Path(args.out), args.licence)
    print(f"Written: {len(folders)} SAEs and {Path(args.out) / CARD}")
    return 0


def export_saes(name: str, out_dir: Path, licence: str = "") -> list[Path]:
    """Write layer_XX/ for each layer of the run and the card; the folders written.

    Raises UserError where the run has no SAEs, they are by others, or ``out_dir`` holds something already.
    """
    from core.sae.files import load_sae, save_sae

    run = open_run(name)
    if not run.is_done("train"):
        raise UserError(
            f"The run {name} has no SAEs yet.",
            "The stage train has not been computed.",
            f"python -m precompute run {run.manifest().preset} --run {name} --until train",
        )
    saes = run.table("saes").to_pandas()
    others = saes[saes["source"] != HERE]
    if len(others):
        what = f"The SAEs of the run {name} were trained by others."
        do = "Get them where they came from; only a run's own are exported."
        raise UserError(what, f"They are {', '.join(others['source'])}.", do)
    if out_dir.exists() and any(out_dir.iterdir()):
        raise UserError(f"{out_dir} is not empty.", "Nothing that is there is overwritten.", "Give another --out.")
    folders = []
    for layer in saes["layer"]:
        folders.append(out_dir / f"layer_{layer:02d}")
        save_sae(load_sae(run.path("saes", f"layer_{layer:02d}")), folders[-1])
    with atomic_path(out_dir / CARD) as temporary:
        temporary.write_text(card(run, saes, run.table("sae_fit").to_pandas(), licence), encoding="utf-8")
    return folders


def card(run: Run, saes: pd.DataFrame, fit: pd.DataFrame, licence: str = "") -> str:
    """The card, in Markdown with the header that the hub reads."""
    config, model = run.config(), str(saes["trained_on"].iloc[0])
    first = int(saes["layer"].iloc[0])
    does = "reads captions that people wrote" if config.caption.source == "references" else "writes its own captions"
    line = licence or f"none stated: they were trained on what {model} computes, whose licence applies; state one here"
    return f"""---
library_name: saelens
license: {licence or "other"}
tags: [sparse-autoencoder, captions, arabic, english]
---

# SAEs of {model}, trained on captions of images

Sparse autoencoders on the residual stream of {model} after its decoder blocks {", ".join(map(str, saes["layer"]))},
trained by CaptionScope on single tokens ({", ".join(config.train.tokens)}) while the model {does}.

- **Model**: {model}, in {config.model.dtype}; activations stored in {config.activations.dtype}
- **Data**: {_data(config, fit)}
- **Licence**: {line}

## What they are

{
        _table(
            ["layer", "hook", "kind", "d_model", "d_sae", "k", "training tokens", "sae_id"],
            [
                [
                    r["layer"],
                    f"`blocks.{r['layer']}.hook_resid_post`",
                    r["architecture"],
                    r["d_model"],
                    r["d_sae"],
                    "" if pd.isna(r["k"]) else int(r["k"]),
                    f"{r['n_train_tokens']:,.0f}",
                    f"`{r['sae_id']}`",
                ]
                for r in saes.to_dict("records")
            ],
        )
    }

They act on raw residuals, without any normalisation. Decoder rows have norm 1.

## What they are worth

On held-out images, at each kind of position apart, with 95 % intervals over images; in round brackets an untrained
dictionary of the same size and sparsity. Loss recovered: the reconstruction is put at positions of the kind alone; 0 is
their mean in its place, 1 the model as it is.

{
        _table(
            ["layer", "positions", "n images", "explained variance", "L0", "never active", "loss recovered"],
            [
                [
                    r["layer"],
                    r["kind"],
                    r["n_images"],
                    _value(r, "explained_variance"),
                    f"{r['l0']:.1f}",
                    f"{r['dead_share']:.0%}",
                    _value(r, "loss_recovered"),
                ]
                for r in fit.loc[(fit["lang"] == BOTH) & fit["kind"].isin(KINDS)].to_dict("records")
            ],
        )
    }

## How to load one

```python
from sae_lens import SAE
sae = SAE.load_from_disk("layer_{first:02d}")
features = sae.encode(residuals)  # float32 (n, {int(saes["d_model"].iloc[0])}), after decoder block {first}
```
"""


def _data(config: Config, fit: pd.DataFrame) -> str:
    s = config.samples
    world = knowledge(s).world_name
    what = f"scenes of {world}" if world else "images with captions of its user"
    held_out = int(fit["n_images"].to_numpy().max())
    return f"{what}, of which {s.test_share:.0%} were held out ({held_out:,} images); seed {config.seed}"


def _value(row: dict[str, Any], name: str) -> str:
    if pd.isna(row[name]):
        return "not measurable"
    low, high, control = (row[f"{name}_{end}"] for end in ("low", "high", "random"))
    return f"{row[name]:.3f} [{low:.3f}, {high:.3f}] ({control:.3f})"


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)

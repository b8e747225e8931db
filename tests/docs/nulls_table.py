"""The nulls' table of docs/measurements.md: python -m tests.docs.nulls_table RUN_FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from core.answers.nulls import others_answer
from core.figures.nulls import KINDS

VIEW = "before"


def main(folder: Path) -> None:
    """One row a kind at the layer where SAEs were trained beside the run's own, then what recurs and is labelled."""
    found, probes, recurrence, labels, quality, aligned = (
        pd.read_parquet(folder / f"{name}.parquet")
        for name in ("null_findings", "null_probes", "recurrence", "null_labels", "sae_quality", "null_alignment")
    )
    layer = int(recurrence["layer"].iloc[0])
    print(f"Layer {layer}, before the first gendered word.\n")
    print("| dictionary | English: findings | AUC of the first | this SAE more by | Arabic: findings | AUC | more by |")
    print("|---|---|---|---|---|---|---|")
    for kind, name in KINDS.items():
        cells = [name]
        for lang in ("en", "ar"):
            here = {"layer": layer, "view": VIEW, "lang": lang, "kind": kind}
            counts, first = (_of(frame, **here) for frame in (found, probes))
            first = first[first["k"] == 1].iloc[0]
            of = f"{counts['n_findings'].mean():,.0f} of {counts['n_features'].mean():,.0f}"
            cells += [of, within(first, "auc"), within(first, "difference")]
        print(f"| {' | '.join(cells)} |")
    known = recurrence.dropna(subset=["recurs"])
    hits, chance = (int(known[name].astype(bool).sum()) for name in ("recurs", "recurs_shuffled"))
    print(f"\nRecur with another seed: {hits:,} of {len(known):,} features; over shuffled tokens {chance}.")
    for lang in ("en", "ar"):
        of = {r.kind: r for r in _of(labels, layer=layer, lang=lang).itertuples()}
        told = ", ".join(f"{kind} {row.n_labelled} of {row.n_features}" for kind, row in of.items())
        print(f"Features with a label, {lang}: {told}.")
        of = {(r.measure, r.kind): r.value for r in _of(quality, layer=layer, lang=lang).itertuples()}
        told = ", ".join(f"{m} {of[m, 'trained']:.2f}, random {of[m, 'random']:.2f}" for m in ("cause", "isolation"))
        print(f"Gender changed by 5 features, {lang}: {told}.")
    told = ", ".join(
        f"{r.kind} {r.value:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in _of(aligned, layer=layer).itertuples()
    )
    print(f"CLBAS: {told}.")
    beside = pd.read_parquet(folder / "null_others.parquet")
    for view in ("before", "caption"):
        print(f"Gender beside other things, {view}: {others_answer(beside, layer, view).text}")


def _of(frame: pd.DataFrame, **equal: object) -> pd.DataFrame:
    for name, value in equal.items():
        frame = frame[frame[name] == value]
    return frame


def within(row: pd.Series, name: str) -> str:
    """A number with its interval, a dash where there is none."""
    if pd.isna(row[name]):
        return "–"
    value, low, high = (f"{row[f'{name}{end}']:.2f}" for end in ("", "_low", "_high"))
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""One sentence on whether what the model says of a feature fits the images that fire it."""

from __future__ import annotations

import pandas as pd

from core.answers import Answer, says
from core.config import LANGUAGE_NAME
from core.frames import records, tuples
from core.intervals import hochberg, told


@says("explain.fits")
def fits_answer(rows: pd.DataFrame) -> Answer:
    """From the chosen rows of one feature's explanations: AUC with interval and n, against other features' texts."""
    scored = rows[rows["why"] == ""]
    if scored.empty:
        why = "; ".join(dict.fromkeys(f"{LANGUAGE_NAME[r.lang]}: {r.why}" for r in tuples(rows)))
        return Answer(f"Whether this fits cannot be said ({why or 'not computed'}).", "not enough data")
    parts, clear = [], []
    for row in records(scored):
        n = f"n = {row['n_fires_test']} that fire it, {row['n_silent_test']} that do not"
        parts.append(
            f"{LANGUAGE_NAME[row['lang']]} fits the held-out images that fire it with AUC "
            f"{told(row['auc_test'], row['auc_low_test'], row['auc_high_test'], 0.5)} ({n}); "
            f"texts of {row['n_controls']} other "
            f"features {row['control']:.2f} on average, {row['control_high']:.2f} at their 95th percentile"
        )
        clear.append(bool(row["auc_low_test"] > 0.5 and row["auc_test"] > row["control_high"]))
    missing = [f"{LANGUAGE_NAME[r.lang]}: {r.why}" for r in tuples(rows[rows["why"] != ""])]
    least = hochberg(scored["p"]).min()  # of all languages: in one of two it fits by chance twice as often
    return Answer(f"{'. '.join([*parts, *missing])}.", "supported" if any(clear) and least <= 0.05 else "unclear")

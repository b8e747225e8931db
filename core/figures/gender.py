"""Features and gender: selected on some images and scored on others, rankings, their agreement, one feature's rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from core.config import LANGUAGE_NAME
from core.figures.atlas import MANY, ring
from core.figures.feature import isolated
from core.figures.marks import Axis, Bars, Box, Chart, Legend, Note, Panel, Points, Rule, rows
from core.figures.palette import CONTROL, GENDER
from core.frames import records
from core.intervals import clopper_pearson, told

VIEW_NAMES = {
    "before": "before the first gendered word",
    "caption": "over the whole caption",
    "image": "at the image",
    "prompt": "at the end of the question",
}
WHO = {"female": "women", "male": "men", "neutral": "neither"}
SPLITS = {"test": "held out", "train": "train"}
SYMBOLS = {"female": "circle", "male": "diamond", "neutral": "square"}
N_NAMED = 6  # findings that are named beside their mark on paper
MORE = {
    "female": "more for women",
    "male": "more for men",
    "selected": "selected, does not hold",
    "none": "not selected",
}


@dataclass(frozen=True)
class Score:
    """A way to rank features by gender: its name, what its axis says, the value where there is nothing, its digits."""

    name: str
    axis: str
    nothing: float
    digits: int = 2

    def _digits(self, value: float) -> int:
        """One more where an AUC is so close to 0 or 1 that two digits would say so."""
        return self.digits + (self.nothing > 0 and not 0.01 <= value <= 0.99)

    def _text(self, value: float, digits: int) -> str:
        if pd.isna(value):
            return "–"
        return f"{value:.{digits}f}" if self.nothing else f"{value:+.{digits}f}".replace("-", "−")

    def show(self, value: float) -> str:
        return self._text(value, self._digits(value))

    def within(self, row: Mapping[str, Any], column: str) -> str:
        """A held-out value of a row of gender_features with its interval, or a dash."""
        value, low, high = (row[f"{column}_{part}"] for part in ("test", "low_test", "high_test"))
        if pd.isna(value):
            return "–"
        if pd.isna(low):
            return f"{self.show(value)} (fires too seldom for an interval)"
        form = f"{'' if self.nothing else '+'}.{self._digits(value)}f"
        return told(float(value), float(low), float(high), self.nothing, form).replace("-", "−")


SCORES = {
    "auc": Score("AUC", "AUC (0.5: chance; 1: always more for women)", 0.5),
    "d": Score("d", "Cohen’s d, women minus men", 0.0),
    "difference": Score("difference", "mean activation of women minus men", 0.0),
    "effect": Score("effect on the output", "effect on the log-odds of female words", 0.0, 3),
}


def null_band(n_female: int, n_male: int, level: float = 0.95) -> tuple[float, float]:
    """Where the held-out AUC of a feature that knows no gender falls (Mann-Whitney, normal, no ties); NaN for none."""
    if min(n_female, n_male) < 1:
        return float("nan"), float("nan")
    half = float(norm.ppf(0.5 + level / 2)) * np.sqrt((n_female + n_male + 1) / (12 * n_female * n_male))
    return 0.5 - half, 0.5 + half


def n_images(cell: pd.DataFrame, split: str = "test") -> tuple[int, int]:
    """Images of women and of men that a cell of gender_features (one layer, language and view) rests on."""
    if cell.empty:
        return 0, 0
    return int(cell[f"n_female_{split}"].max()), int(cell[f"n_male_{split}"].max())


def named(cell: pd.DataFrame, lang: str = "") -> pd.Series:
    """What to call each feature: the user's label, else the automatic one in the language or in the other, else ""."""
    first, second = ("label_ar", "label_en") if lang == "ar" else ("label_en", "label_ar")
    empty = pd.Series("", index=cell.index)
    one, two = (cell[c].fillna("") if c in cell else empty for c in (first, second))
    own = cell.get("own", empty)
    return own.where(own != "", one.where(one != "", two))


def ranked(cell: pd.DataFrame, ranking: str, n: int, fdr: float, lang: str = "") -> pd.DataFrame:
    """The n first features by a ranking (made on the training images): rank, feature, name, train, test, low, high,
    q_train, auc_test, finding, direction and `state_of`."""
    best = cell.dropna(subset=[f"rank_{ranking}"]).sort_values(f"rank_{ranking}", kind="stable").head(n)
    return pd.DataFrame(
        {
            "rank": best[f"rank_{ranking}"].astype(int),
            "feature": best["feature"].astype(int),
            "name": named(best, lang),
            "train": best[f"{ranking}_train"],
            "test": best[f"{ranking}_test"],
            "low": best[f"{ranking}_low_test"],
            "high": best[f"{ranking}_high_test"],
            "q_train": best["q_train"],
            "auc_test": best["auc_test"],
            "finding": best["finding"].astype(bool),
            "direction": best["direction"],
            "state": state_of(best, fdr),
        }
    )


def state_of(cell: pd.DataFrame, fdr: float) -> pd.Series:
    """female or male for a finding, "selected" where the held-out images do not bear it out, else "none"."""
    selected = (cell["q_train"] <= fdr).map({True: "selected", False: "none"})
    return selected.where(~cell["finding"].astype(bool), cell["direction"])


def selection_scatter(cell: pd.DataFrame, fdr: float, chosen: int | None = None, lang: str = "") -> Chart:
    """Every feature by its AUC on the images that selected it (x) and on held-out ones (y), with the band of chance."""
    tested = cell.dropna(subset=["auc_train", "auc_test"]).copy()
    tested["name"], tested["state"] = named(tested, lang), state_of(tested, fdr)
    low, high = null_band(*n_images(cell))
    found = {"size": 9, "edge": (0.6, "ground")}
    styles: dict[str, dict[str, Any]] = {
        "none": {"colour": "muted", "size": 5, "opacity": 0.35},
        "selected": {"colour": "muted", "size": 8, "symbol": "circle-open", "edge": (1.3, "muted")},
        "female": {"colour": GENDER["female"], "symbol": SYMBOLS["female"], **found},
        "male": {"colour": GENDER["male"], "symbol": SYMBOLS["male"], **found},
    }
    marks: list[Any] = [
        Box((low, high), CONTROL, 0.25, below=True),
        Rule((0, 1), (0, 1), dash="dot", below=True),
        Note(0.01, high, "chance", "left", "bottom", colour="muted"),
    ]
    for state, style in styles.items():
        part = tested[tested["state"] == state]
        marks.append(
            Points(
                part["auc_train"],
                part["auc_test"],
                MORE[state],
                **style,
                hover="<b>feature %{customdata[0]}</b> %{customdata[1]}<br>"
                "selected on %{x:.2f}, held out %{y:.2f} %{customdata[2]}",
                data=_card(part),
                legend=True,
                webgl=len(tested) > MANY,
                dim=0.5,
            )
        )
    marks += ring(tested, "auc_train", "auc_test", chosen, (2, "ink"))
    clear = tested[tested["state"].isin(SYMBOLS)]
    clear = clear.assign(far=(clear["auc_test"] - 0.5).abs()).nlargest(N_NAMED, "far")
    marks += [
        Note(r["auc_train"], r["auc_test"], tick(r["feature"], r["name"]), "left", "bottom", 6, printed=True)
        for r in records(clear)
    ]
    x, y = (
        Axis(title, range=(-0.02, 1.02), format=".1f", step=0.25)
        for title in ("AUC on the images that selected it", "AUC on held-out images")
    )
    return Chart([Panel(marks, x, y)], 460, (58, 12, 50, 12), Legend(1.01, 13, turned=True))


def _card(frame: pd.DataFrame) -> np.ndarray:
    ends = zip(frame["auc_low_test"], frame["auc_high_test"], strict=True)
    within = [told(low, low, high, 0.5).partition(" ")[2] for low, high in ends]
    names = [isolated(name) for name in frame["name"]]
    return np.array(list(zip(frame["feature"], names, within, strict=True)), dtype=object).reshape(-1, 3)


def ranking_forest(best: pd.DataFrame, ranking: str) -> Chart:
    """`ranked` features from the first down: held-out score with its interval, and open the score that ranked them."""
    score, at = SCORES[ranking], np.arange(len(best))
    marks: list[Any] = [
        Rule(x=score.nothing, dash="dash"),
        Points(best["train"], at, "train", "muted", "line-ns-open", edge=(2, "muted")),
    ]
    for state, colour in (("female", GENDER["female"]), ("male", GENDER["male"]), ("", "muted")):
        inside = (best["direction"].where(best["finding"], "") == state).to_numpy()
        part = best[inside]
        marks.append(
            Points(
                part["test"],
                at[inside],
                state or "does not hold",
                colour,
                SYMBOLS.get(state, "circle-open"),
                10,
                x_ends=(part["low"], part["high"]),
                bar=2,
                data=part[["feature", "low", "high"]],
                hover="feature %{customdata[0]}: held out %{x:.3g} [%{customdata[1]:.3g}, %{customdata[2]:.3g}]",
            )
        )
    names = [tick(feature, name) for feature, name in zip(best["feature"], best["name"], strict=True)]
    x = Axis(score.axis, range=(-0.03, 1.03), step=0.25) if ranking == "auc" else Axis(score.axis)
    panel = Panel(marks, x, rows(names))
    return Chart([panel], 70 + 30 * max(len(best), 1), (8, 14, 50, 8))


def tick(feature: int, name: str) -> str:
    """A feature's number and its name, each in its own direction."""
    return f"{isolated(name)}  {feature}" if name else str(feature)


def agreement_frame(rankings: pd.DataFrame) -> pd.DataFrame:
    """Rows of gender_rankings of one cell, the pairs first and each ranking with itself (train, test) last."""
    known = rankings.dropna(subset=["spearman"]).copy()
    known["itself"] = known["ranking_a"] == known["ranking_b"]
    known["pair"] = [
        f"{SCORES[a].name}, again held out" if a == b else f"{SCORES[a].name} and {SCORES[b].name}"
        for a, b in zip(known["ranking_a"], known["ranking_b"], strict=True)
    ]
    return known.sort_values(["itself", "spearman"], ascending=[True, False], kind="stable").reset_index(drop=True)


def agreement_bars(frame: pd.DataFrame) -> Chart:
    """Spearman's correlation of each pair of `agreement_frame`, over the grey range that shuffled image labels give."""
    at = np.arange(len(frame))
    shuffled = Bars(
        at,
        frame["spearman_shuffled_high"] - frame["spearman_shuffled_low"],
        frame["spearman_shuffled_low"],
        width=0.7,
        colour=CONTROL,
        opacity=0.4,
        name="shuffled labels",
        data=frame[["spearman_shuffled_low", "spearman_shuffled_high"]],
        hover="with shuffled labels %{customdata[0]:.2f} to %{customdata[1]:.2f}",
    )
    observed = Points(
        frame["spearman"],
        at,
        "observed",
        symbol=["diamond-open" if itself else "circle" for itself in frame["itself"]],
        size=10,
        data=frame[["n_features", "overlap", "k", "overlap_chance"]],
        hover="%{x:.2f} over %{customdata[0]:,} features; %{customdata[1]} of the first %{customdata[2]} "
        "shared, by chance %{customdata[3]:.1f}",
    )
    low = min(-0.1, float(frame[["spearman", "spearman_shuffled_low"]].min().min()) - 0.05) if len(frame) else -0.1
    x = Axis("rank correlation of the features' sizes (Spearman)", range=(low, 1.03))
    panel = Panel([shuffled, observed], x, rows(list(frame["pair"])))
    return Chart([panel], 66 + 28 * max(len(frame), 1), (8, 14, 50, 8), Legend(1.0, printed=True))


def of_language(lang: str) -> str:
    """ " of English captions", or "" where a view is of no language."""
    return f" of {LANGUAGE_NAME[lang]} captions" if lang in LANGUAGE_NAME else ""


def rates_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a view, language, gender and split of one feature's gender_features: n images, rate with its
    interval, mean activation; groups of no image are left out."""
    found = []
    for row in records(rows.sort_values("lang", ascending=False, kind="stable")):
        for gender in WHO:
            for split in SPLITS:
                n, rate = row[f"n_{gender}_{split}"], row[f"rate_{gender}_{split}"]
                if not n or pd.isna(rate):
                    continue
                low, high = (float(end) for end in clopper_pearson(rate * n, n))
                found.append(
                    (
                        row["view"],
                        row["lang"],
                        gender,
                        split,
                        int(n),
                        float(rate),
                        max(low, 0.0),
                        min(high, 1.0),
                        float(row[f"mean_{gender}_{split}"]),
                    )
                )
    return pd.DataFrame(found, columns=["view", "lang", "gender", "split", "n", "rate", "low", "high", "mean"])


def rates_dots(frame: pd.DataFrame) -> Chart:
    """`rates_frame` of one view: a row a language and gender; held-out images filled with interval, train open."""
    groups, marks = rows_of(frame), []
    for gender in WHO:
        for split in ("train", "test"):
            part = frame[(frame["gender"] == gender) & (frame["split"] == split)]
            held, who = split == "test", f"{WHO[gender]}, {SPLITS[split]}"
            colour = GENDER[gender] if gender != "neutral" else "muted"
            marks.append(
                Points(
                    part["rate"],
                    [groups[key] for key in zip(part["lang"], part["gender"], strict=True)],
                    who,
                    colour,
                    SYMBOLS[gender] + ("" if held else "-open"),
                    10 if held else 8,
                    edge=None if held else (1.4, colour),
                    x_ends=(part["low"], part["high"]) if held else None,
                    bar=2,
                    data=part[["n", "low", "high", "mean"]],
                    hover=f"{who}: fires on %{{x:.1%}} [%{{customdata[1]:.1%}}, %{{customdata[2]:.1%}}] of "
                    "%{customdata[0]} images, mean %{customdata[3]:.3g}",
                )
            )
    x = Axis("share of images on which it fires", format=".0%", to_zero=True, n_ticks=5, angle=0)
    panel = Panel(marks, x, rows([row_name(*key) for key in groups]))
    return Chart([panel], 58 + 26 * max(len(groups), 1), (8, 12, 46, 6), Legend(1.0, printed=True))


def rows_of(frame: pd.DataFrame) -> dict[tuple[str, str], int]:
    """The rows of the figure by (lang, gender), from the top, English first."""
    langs = [lang for lang in ("", "en", "ar") if (frame["lang"] == lang).any()]
    keys = [(lang, g) for lang in langs for g in WHO if ((frame["lang"] == lang) & (frame["gender"] == g)).any()]
    return {key: n for n, key in enumerate(keys)}


def row_name(lang: str, gender: str) -> str:
    """What stands before a row: "English: women"."""
    return f"{LANGUAGE_NAME[lang]}: {WHO[gender]}" if lang in LANGUAGE_NAME else WHO[gender].capitalize()


def scores_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a view and language: n images, AUC, d and difference on train and held-out images, q, finding."""
    kept = [
        "view",
        "lang",
        "n_female_train",
        "n_male_train",
        "n_female_test",
        "n_male_test",
        "auc_train",
        "auc_test",
        "auc_low_test",
        "auc_high_test",
        "d_train",
        "d_test",
        "d_low_test",
        "d_high_test",
        "difference_train",
        "difference_test",
        "difference_low_test",
        "difference_high_test",
        "effect_test",
        "effect_low_test",
        "effect_high_test",
        "q_train",
        "finding",
        "why",
    ]
    order = {"before": 0, "caption": 1, "image": 2}
    shown = rows[kept].assign(at=rows["view"].map(order).fillna(3), flip=np.where(rows["lang"] == "en", 0, 1))
    return shown.sort_values(["at", "flip"], kind="stable").drop(columns=["at", "flip"]).reset_index(drop=True)

"""Interventions: curves beside the band of their controls, ways to change a gender, transfer, selectivity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from core.config import LANGUAGE_NAME
from core.figures.marks import Axis, Box, Cells, Chart, ColourBar, Legend, Mark, Note, Panel, Points, Shades, line
from core.figures.palette import CONTROL, PUOR, VIRIDIS, beside
from core.frames import tuples

OUTCOMES = {
    "clean": "gender changed, the rest kept",
    "changed": "gender changed",
    "flipped": "the other gender named",
    "unnamed": "no gender named any more",
    "damaged": "the rest lost",
    "unchanged": "not one word changed",
    "content_kept": "words of content kept",
    "gendered_per_100": "gendered words in 100 tokens",
    "gendered": "gendered words in a caption",
    "neutral_per_100": "neutral words in 100 tokens",
    "length": "tokens in a caption",
    "nats_per_token": "surprise of the unedited model, nats a token",
    "repeats": "repeats itself",
    "right_gender": "gender right",
    "right_role": "role right",
    "right_object": "object right",
}
SHARES = frozenset(OUTCOMES) - {"gendered_per_100", "gendered", "neutral_per_100", "length", "nats_per_token"}
ALONG = {"Number of features": "k", "Strength": "strength", "Layer": "layer"}
PARTS = {"k": ("sets",), "strength": ("dose",), "layer": ("layers",)}
AXES = {"k": "features changed together", "strength": "strength, in the features’ own maximum", "layer": "layer"}
MODE_NAMES = {"swap": "other gender put in", "ablate": "gender taken out", "neutralise": "set to the middle", "": ""}
WIDEST = 300.0  # percent; an interval that reaches further is cut at the edge
WAYS = ("sets", "two layers", "nulls", "directions", "prompts", "identity")
SYMBOLS = {"en": "circle", "ar": "diamond"}
LANGS = ("en", "ar")


def curve_frame(effects: pd.DataFrame, along: str, outcome: str) -> pd.DataFrame:
    """Rows of one outcome along k, strength or layer, the question chosen beforehand among them; by language."""
    mine = effects[(effects["outcome"] == outcome) & (effects["method"] == "features") & (effects["sets"] == "own")]
    head = mine[(mine["part"] == "sets") & (mine["note"] == "headline")]
    if head.empty:
        return mine.iloc[:0]
    mode = head.iloc[0]["mode"]
    chosen = (mine["mode"] == mode) & (mine["part"].isin(PARTS[along]) | (mine["note"] == "headline"))
    return mine[chosen].drop_duplicates([along, "lang"]).sort_values(["lang", along]).reset_index(drop=True)


def curves(frame: pd.DataFrame, along: str, outcome: str) -> Chart:
    """Target (line with 95 % interval over images) and its controls (grey: every set, and their mean) by language."""
    values, panels = sorted(frame[along].unique()), []
    for column, lang in enumerate(_langs(frame), start=1):
        part = frame[frame["lang"] == lang]
        x = [values.index(v) for v in part[along]]
        marks: list[Mark] = [
            Box((row.control_low, row.control_high + 1e-9), CONTROL, 0.4, (at - 0.16, at + 0.16))
            for at, row in zip(x, tuples(part), strict=True)
            if np.isfinite(row.control_low)
        ]
        marks += [
            Points(x, part["control"], "", CONTROL, "line-ew", 22, edge=(2.4, CONTROL)),
            Points(
                x,
                part["target"],
                colour=lang,
                symbol=SYMBOLS[lang],
                size=10,
                edge=([3 if n == "headline" else 0 for n in part["note"]], "ink"),
                dash="solid",
                y_ends=_interval(part),
                data=_hover(part, outcome),
                hover="%{customdata}",
            ),
            line(x, part["baseline"], dash="dot"),
        ]
        labels, ends = [f"{v:g}" for v in values], (-0.35, len(values) - 0.65)
        x_axis = Axis(AXES[along], ticks=range(len(values)), labels=labels, range=ends)
        y_axis = _outcome_axis(outcome, OUTCOMES[outcome] if column == 1 else "", (-0.04, 1.06))
        panels.append(Panel(marks, x_axis, y_axis, f"{LANGUAGE_NAME[lang]} captions", column=column))
    return Chart(panels, 380, (60, 12, 56, 34), share_y=True, gaps=(0.04, None), inches=6.6)


def modes_frame(effects: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Rows of one outcome at every k of every mode, as their controls are matched; by language, mode and k."""
    mine = effects[(effects["outcome"] == outcome) & effects["part"].isin(["sets", "modes"])]
    return mine.sort_values(["lang", "mode", "k"], ascending=[False, False, True]).reset_index(drop=True)


MODE_DASHES = {"swap": "solid", "ablate": "dash", "neutralise": "dashdot"}
MODE_SYMBOLS = {"swap": "circle", "ablate": "square", "neutralise": "diamond"}


def modes(frame: pd.DataFrame, outcome: str) -> Chart:
    """A line a mode along k, with 95 % intervals over images, each beside the mean of its controls (grey)."""
    values, panels = sorted(frame["k"].unique()), []
    for column, lang in enumerate(_langs(frame), start=1):
        part = frame[frame["lang"] == lang]
        marks: list[Mark] = []
        for mode, shift in (("swap", -0.15), ("ablate", 0.0), ("neutralise", 0.15)):
            mine = part[part["mode"] == mode]
            x = [values.index(k) + shift for k in mine["k"]]
            marks += [
                Points(x, mine["control"], "", CONTROL, MODE_SYMBOLS[mode], 7, opacity=0.7),
                Points(
                    x,
                    mine["target"],
                    MODE_NAMES[mode],
                    lang,
                    MODE_SYMBOLS[mode],
                    9,
                    dash=MODE_DASHES[mode],
                    y_ends=_interval(mine),
                    group=mode,
                    legend=column == 1,
                    data=_hover(mine, outcome),
                    hover="%{customdata}",
                ),
            ]
        marks.append(line(list(range(len(values))), [part["baseline"].mean()] * len(values), dash="dot"))
        x_axis = Axis(AXES["k"], ticks=range(len(values)), labels=[f"{v:g}" for v in values])
        y_axis = _outcome_axis(outcome, OUTCOMES[outcome] if column == 1 else "", (-0.04, 1.06))
        panels.append(Panel(marks, x_axis, y_axis, f"{LANGUAGE_NAME[lang]} captions", column=column))
    return Chart(panels, 380, (60, 12, 56, 58), Legend(1.09), share_y=True, gaps=(0.04, None), inches=6.6)


def ratios_frame(effects: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Ablated target features against controls, by how these are drawn and whether the SAE's error is kept.

    Columns: those of intervention_effects, with ``hook`` (error kept, error lost) and ``drawn`` (matched, uniform).
    """
    mine = effects[(effects["outcome"] == outcome) & (effects["mode"] == "ablate")]
    mine = mine[(mine["part"] == "controls") | (mine["note"] == "headline")]
    hook = np.where(mine["method"] == "features", "error kept", "error lost")
    drawn = np.where(mine["note"] == "uniform controls", "uniform", "matched")
    return mine.assign(hook=hook, drawn=drawn).sort_values(["hook", "drawn", "lang"], ascending=[True, True, False])


def _langs(frame: pd.DataFrame) -> list[str]:
    return [lang for lang in LANGS if (frame["lang"] == lang).any()]


def _interval(part: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    return part["baseline"] + part["effect_low"], part["baseline"] + part["effect_high"]


def _outcome_axis(outcome: str, title: str, ends: tuple[float, float]) -> Axis:
    return Axis(title, range=ends, format=".0%") if outcome in SHARES else Axis(title)


def shown(value: float, outcome: str) -> str:
    """A value of an outcome, as percent or with two figures."""
    if not np.isfinite(value):
        return "–"
    return f"{100 * value:.0f} %" if outcome in SHARES else f"{value:.2f}"


def _hover(part: pd.DataFrame, outcome: str) -> list[str]:
    lines = []
    for r in tuples(part):
        interval = f"{shown(r.baseline + r.effect_low, outcome)} to {shown(r.baseline + r.effect_high, outcome)}"
        control = (
            ""
            if not np.isfinite(r.control)
            else (
                f"<br>{r.n_controls} controls: {shown(r.control, outcome)} ({shown(r.control_low, outcome)} to "
                f"{shown(r.control_high, outcome)}); p = {r.p_specific:.3f}, adjusted {r.p_adjusted:.3f}"
            )
        )
        lines.append(
            f"layer {r.layer}, k = {r.k}, strength {r.strength:g}<br>{OUTCOMES[outcome]}: "
            f"{shown(r.target, outcome)} [{interval}]; unedited {shown(r.baseline, outcome)}{control}"
            f"<br>{r.n_images} images"
        )
    return lines


def way_name(row: Any) -> str:
    """What a design changes, in words."""
    method, mode, k, note, part = (getattr(row, name) for name in ("method", "mode", "k", "note", "part"))
    fixed = {
        "zero edit": "an edit that changes nothing",
        "reconstruction": "the SAE’s reconstruction alone",
        "no way out": "features, where nothing reads them",
        "neutral prompt": "asked for gender-neutral words",
    }
    if method == "reconstruction without features":
        return f"{k} features off, the SAE’s error lost{_drawn(note)}"
    if method in fixed:
        return fixed[method]
    if method == "random dictionary":
        return f"{k} features of a random dictionary: {MODE_NAMES[mode]}"
    if part == "two layers":
        return f"{k} features in each of layers {row.layer} and {row.with_layer}: {MODE_NAMES[mode]}"
    what = f"{k} features" if method == "features" else method
    what += {"transfer": " of the other language"}.get(part, "")
    what += f" of layer {row.layer}" if part == "layers" or note == "headline" else ""
    return f"{what}: {MODE_NAMES[mode]}{_drawn(note)}"


def _drawn(note: str) -> str:
    return ", beside features drawn uniformly" if note == "uniform controls" else ""


def ways_frame(effects: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """One row a way to change captions and language, beside its controls: features, those of two layers, of a random
    dictionary, directions, prompt, identity."""
    mine = effects[effects["outcome"] == outcome]
    mine = mine[(mine["note"] == "headline") | mine["part"].isin(WAYS[1:])].copy()
    mine["way"] = [way_name(r) for r in tuples(mine)]
    place = {part: 1000 * number for number, part in enumerate(WAYS)}
    mine["place"] = mine["part"].map(place) + mine["mode"].map({"swap": 0, "ablate": 100, "": 200})
    return mine.sort_values(["place", "design", "lang"], ascending=[True, True, False]).reset_index(drop=True)


def ways(frame: pd.DataFrame, outcome: str) -> Chart:
    """A line a way: the values of each language with intervals, each over the grey band of its controls."""
    names, marks = list(dict.fromkeys(frame["way"])), []
    for lang, shift in beside(frame["lang"], 0.17).items():
        part = frame[frame["lang"] == lang]
        y = np.array([names.index(w) for w in part["way"]]) + shift
        marks += [
            Box((at - 0.14, at + 0.14), CONTROL, 0.4, (r.control_low, r.control_high + 1e-3))
            for at, r in zip(y, tuples(part), strict=True)
            if np.isfinite(r.control_low)
        ]
        marks.append(
            Points(
                part["target"],
                y,
                LANGUAGE_NAME[lang],
                lang,
                SYMBOLS[lang],
                x_ends=_interval(part),
                data=_hover(part, outcome),
                hover="%{customdata}",
            )
        )
    y_axis = Axis(ticks=range(len(names)), labels=names, range=(len(names) - 0.4, -0.6), grid=False)
    panel = Panel(marks, _outcome_axis(outcome, OUTCOMES[outcome], (-0.03, 1.05)), y_axis)
    return Chart([panel], 80 + 44 * max(1, len(names)), (12, 16, 48, 30), Legend(1.0), inches=6.6)


def transfer_frame(effects: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """The four cells: features ranked on captions of one language (``ranked_on``), captions written in another."""
    mine = effects[(effects["outcome"] == outcome) & (effects["method"] == "features")]
    head = mine[(mine["part"] == "sets") & (mine["note"] == "headline")]
    if head.empty:
        return head.assign(ranked_on="")
    first = head[head["mode"] == head.iloc[0]["mode"]]
    both = pd.concat([first, mine[mine["part"] == "transfer"]])
    other = {"en": "ar", "ar": "en"}
    both["ranked_on"] = both["lang"].where(both["sets"] == "own", both["lang"].map(other))
    return both.sort_values(["ranked_on", "lang"], ascending=False).reset_index(drop=True)


def transfer_matrix(frame: pd.DataFrame, outcome: str) -> Chart:
    """The four cells as a matrix: target minus controls, written with its interval."""
    grid = [[_cell(frame, row, column) for column in LANGS] for row in LANGS]
    z = [[c["specific"] if c is not None else np.nan for c in row] for row in grid]
    marks: list[Mark] = [Cells([0, 1], [0, 1], Shades(z, 0, 1, VIRIDIS), gap=4)]
    for i, row in enumerate(grid):
        for j, c in enumerate(row):
            if c is not None:
                words = (
                    f"<b>{shown(c['target'], outcome)}</b><br>controls {shown(c['control'], outcome)}<br>difference "
                    f"{shown(c['specific'], outcome)}<br>[{shown(c['specific_low'], outcome)}, "
                    f"{shown(c['specific_high'], outcome)}]"
                )
                marks.append(Note(j, i, words, size=14, colour="#111111" if z[i][j] > 0.6 else "#FFFFFF"))
    columns, ranked = (
        [f(LANGUAGE_NAME[lang]) for lang in LANGS] for f in ("{} captions".format, "ranked on<br>{}".format)
    )
    x = Axis(ticks=[0, 1], labels=columns, side="top", grid=False)
    y = Axis(ticks=[0, 1], labels=ranked, range=(1.5, -0.5), grid=False)
    return Chart([Panel(marks, x, y)], 360, (12, 12, 12, 54), inches=3.8)


def _cell(frame: pd.DataFrame, ranked_on: str, lang: str) -> pd.Series | None:
    found = frame[(frame["ranked_on"] == ranked_on) & (frame["lang"] == lang)]
    return found.iloc[0] if len(found) else None


def selectivity_frame(arms: pd.DataFrame) -> pd.DataFrame:
    """Every arm by language: share of captions cleanly changed and share damaged, and whether it is a control."""
    mine = arms[~arms["method"].isin(["none"])].dropna(subset=["clean", "damaged"]).copy()
    control = (mine["draw"] >= 0) | (mine["method"] == "other prompt")
    names = {
        "features": "features",
        "reconstruction without features": "features, error lost",
        "difference of means": "a direction",
        "probe direction": "a direction",
        "LEACE": "a direction",
        "random dictionary": "a random dictionary",
        "neutral prompt": "the prompt",
    }
    mine["kind"] = np.where(control, "control", mine["method"].map(names).fillna("identity"))
    return mine.reset_index(drop=True)


KIND_SYMBOLS = {
    "control": "circle",
    "identity": "x",
    "the prompt": "triangle-up",
    "a direction": "square",
    "features, error lost": "star-open",
    "a random dictionary": "diamond-open",
    "features": "star",
}


def selectivity(frame: pd.DataFrame) -> Chart:
    """Clean changes (up) against damage (right): top left is a change of gender and of nothing else."""
    panels = []
    for column, lang in enumerate(_langs(frame), start=1):
        marks = []
        for kind, symbol in KIND_SYMBOLS.items():
            part = frame[(frame["lang"] == lang) & (frame["kind"] == kind)]
            marks.append(
                Points(
                    part["damaged"],
                    part["clean"],
                    kind,
                    CONTROL if kind in ("control", "identity") else lang,
                    symbol,
                    {"control": 7, "features": 13}.get(kind, 11),
                    edge=(0.6, "ground"),
                    opacity=0.5 if kind == "control" else None,
                    group=kind,
                    legend=column == 1,
                    data=[_arm_hover(r) for r in tuples(part)],
                    hover="%{customdata}",
                )
            )
        x = Axis("the rest lost", range=(-0.04, 1.04), format=".0%")
        y = Axis("gender changed, the rest kept" if column == 1 else "", range=(-0.04, 1.06), format=".0%")
        panels.append(Panel(marks, x, y, f"{LANGUAGE_NAME[lang]} captions", column=column))
    return Chart(panels, 400, (60, 12, 56, 58), Legend(1.09), share_y=True, gaps=(0.04, None), inches=6.6)


def _arm_hover(r: Any) -> str:
    get = lambda name: getattr(r, name)  # noqa: E731
    of = f", control set {get('draw') + 1}" if get("draw") >= 0 else ""
    return (
        f"{get('method')} {MODE_NAMES.get(get('mode'), '')}{of}<br>layer {get('layer')}, k = {get('k')}, strength "
        f"{get('strength'):g}<br>clean {100 * get('clean'):.0f} %, damaged {100 * get('damaged'):.0f} %"
        f"<br>moves the residual by {100 * get('moved_ratio'):.0f} % where it acts"
    )


def terms_frame(terms: pd.DataFrame, mode: str, most: int = 24) -> pd.DataFrame:
    """The gendered words that change most, by language, with target minus controls at every k of a mode."""
    mine = terms[(terms["mode"] == mode) & (terms["method"] == "features") & (terms["sets"] == "own")].copy()
    mine["change"] = mine["specific"].where(mine["specific"].notna(), mine["effect"])
    mine = mine[mine["change"].notna()]
    size = mine.assign(size=mine["change"].abs()).groupby(["lang", "gender", "lemma"])["size"].max()
    kept = size.groupby("lang").nlargest(most // 2).reset_index(level=0, drop=True).index
    return mine[mine.set_index(["lang", "gender", "lemma"]).index.isin(kept)].reset_index(drop=True)


def percent_frame(terms: pd.DataFrame, mode: str) -> pd.DataFrame:
    """Every gendered word of the headline of a mode: captions that hold it unedited and edited, change in percent."""
    mine = terms[(terms["note"] == "headline") & (terms["mode"] == mode)]
    columns = ["lang", "gender", "lemma", "n_images", "n_before", "n_after", "percent", "percent_low", "percent_high"]
    mine = mine[[*columns, "percent_control", "why_percent"]]
    order = {"by": ["lang", "gender", "n_before", "lemma"], "ascending": [False, True, False, True]}
    return mine.sort_values(**order).reset_index(drop=True)


def percent_bars(frame: pd.DataFrame) -> Chart:
    """Signed change of each gendered word's captions in percent with 95 % intervals, and under controls (grey)."""
    known, panels, tall = frame[frame["percent"].notna()], [], 1
    right = min(WIDEST, max(100.0, float(known["percent_high"].max()))) if len(known) else 100.0
    for column, lang in enumerate(_langs(known), start=1):
        part = known[known["lang"] == lang]
        y, rows = list(range(len(part))), tuples(part)
        tall = max(tall, len(part))
        ends = part["percent_low"], part["percent_high"].clip(upper=1.2 * right)
        data = [
            f"{r.lemma}: {r.n_before} of {r.n_images} captions unedited, {r.n_after} edited<br>{r.percent:+.0f} % "
            f"[{r.percent_low:+.0f}, {r.percent_high:+.0f}]; controls {r.percent_control:+.0f} %"
            for r in tuples(part)
        ]
        marks: list[Mark] = [
            Points(part["percent_control"], y, "controls", CONTROL, "line-ns", 18, edge=(2.4, CONTROL)),
            Points(part["percent"], y, "", lang, SYMBOLS[lang], 9, x_ends=ends, data=data, hover="%{customdata}"),
            line([0, 0], [-0.6, len(part) - 0.4], dash="dot"),
        ]
        names = [f"{r.lemma} ({r.gender[0]}), {r.n_before} → {r.n_after}" for r in rows]
        y_axis = Axis(ticks=y, labels=names, range=(len(part) - 0.4, -0.6), grid=False)
        x_axis = Axis("change of the captions with the word, %", range=(-108, 1.05 * right))
        panels.append(Panel(marks, x_axis, y_axis, LANGUAGE_NAME[lang], column=column))
    return Chart(panels, max(220, 120 + 26 * tall), (12, 12, 50, 34), gaps=(0.2, None), inches=6.6)


def too_rare(frame: pd.DataFrame) -> str:
    """The words without a change in percent, with the captions that hold them unedited and edited."""
    return "; ".join(
        f"{LANGUAGE_NAME[lang]}: "
        + ", ".join(f"{r.lemma} ({r.gender[0]}) {r.n_before} → {r.n_after}" for r in tuples(part))
        for lang in LANGS
        if len(part := frame[(frame["lang"] == lang) & frame["percent"].isna()])
    )


def terms_heat(frame: pd.DataFrame) -> Chart:
    """Words (rows, by language and gender) by number of features: where they come or go, beyond controls."""
    langs, panels, tall = _langs(frame), [], 1
    ks = sorted(frame["k"].unique()) if langs else []
    for column, lang in enumerate(langs, start=1):
        part = frame[frame["lang"] == lang].sort_values(["gender", "lemma"])
        words = list(dict.fromkeys(zip(part["gender"], part["lemma"], strict=True)))
        tall = max(tall, len(words))
        cells = part.set_index(["gender", "lemma", "k"])["change"]
        z = [[100 * float(cells.get((*word, k), np.nan)) for k in ks] for word in words]
        names, places = [f"{lemma} ({gender[0]})" for gender, lemma in words], range(len(words))
        heat = Cells(
            [str(k) for k in ks],
            list(places),
            Shades(z, -60, 60, PUOR, ColourBar("points") if column == len(langs) else None),
            data=[[n] * len(ks) for n in names],
            hover="%{customdata}, %{x} features: %{z:+.0f} points",
        )
        y = Axis(ticks=places, labels=names, turned=True, grid=False)
        panels.append(Panel([heat], Axis(AXES["k"], category=True, grid=False), y, LANGUAGE_NAME[lang], column=column))
    height = max(220, 110 + 24 * tall)  # room for the scale
    return Chart(panels, height, (12, 12, 50, 34), gaps=(0.16, None), inches=6.6)

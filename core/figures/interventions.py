"""Interventions drawn: curves beside the band of their controls, ways to change a gender, transfer, selectivity."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.figures.palette import CONTROL, LANGUAGE_NAME, PUOR, VIRIDIS, Look, beside, dress, look, scale

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
MODE_NAMES = {"swap": "other gender put in", "ablate": "gender taken out", "": ""}
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


def curves(frame: pd.DataFrame, along: str, outcome: str, dark: bool = False) -> go.Figure:
    """Target (line with 95 % interval over images) and its controls (grey: every set, and their mean) by language."""
    inks, langs = look(dark), [lang for lang in LANGS if (frame["lang"] == lang).any()]
    fig = make_subplots(
        1,
        max(1, len(langs)),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[f"{LANGUAGE_NAME[lang]} captions" for lang in langs],
    )
    values = sorted(frame[along].unique())
    for column, lang in enumerate(langs, start=1):
        part = frame[frame["lang"] == lang]
        x = [values.index(v) for v in part[along]]
        _band(fig, x, part, column)
        low, high = part["baseline"] + part["effect_low"], part["baseline"] + part["effect_high"]
        fig.add_scatter(
            x=x,
            y=part["target"],
            mode="lines+markers",
            row=1,
            col=column,
            line={"color": inks.languages[lang], "width": 2},
            marker={
                "symbol": SYMBOLS[lang],
                "size": 10,
                "color": inks.languages[lang],
                "line": {"width": [3 if n == "headline" else 0 for n in part["note"]], "color": inks.ink},
            },
            error_y={
                "type": "data",
                "symmetric": False,
                "array": high - part["target"],
                "arrayminus": part["target"] - low,
                "thickness": 1.4,
                "width": 0,
                "color": inks.languages[lang],
            },
            customdata=_hover(part, outcome),
            hovertemplate="%{customdata}<extra></extra>",
        )
        fig.add_scatter(
            x=x,
            y=part["baseline"],
            mode="lines",
            line={"color": inks.muted, "dash": "dot", "width": 1},
            hoverinfo="skip",
            row=1,
            col=column,
        )
    dress(fig, dark, 380, margin=(60, 12, 56, 34))
    labels = [f"{v:g}" for v in values]
    fig.update_xaxes(
        title_text=AXES[along], tickvals=list(range(len(values))), ticktext=labels, range=[-0.35, len(values) - 0.65]
    )
    fig.update_yaxes(title_text=OUTCOMES[outcome], col=1, row=1)
    if outcome in SHARES:
        fig.update_yaxes(tickformat=".0%", range=[-0.04, 1.06])
    fig.update_annotations(font={"size": 15, "color": inks.ink})
    return fig


def _band(fig: go.Figure, x: list[int], part: pd.DataFrame, column: int) -> None:
    for at, row in zip(x, part.itertuples(), strict=True):
        if np.isfinite(row.control_low):
            fig.add_shape(
                type="rect",
                x0=at - 0.16,
                x1=at + 0.16,
                y0=row.control_low,
                y1=row.control_high + 1e-9,
                fillcolor=CONTROL,
                opacity=0.4,
                line_width=0,
                row=1,
                col=column,
            )
    fig.add_scatter(
        x=x,
        y=part["control"],
        mode="markers",
        row=1,
        col=column,
        hoverinfo="skip",
        marker={"symbol": "line-ew", "size": 22, "line": {"width": 2.4, "color": CONTROL}},
    )


def shown(value: float, outcome: str) -> str:
    """A value of an outcome, as percent or with two figures."""
    if not np.isfinite(value):
        return "–"
    return f"{100 * value:.0f} %" if outcome in SHARES else f"{value:.2f}"


def _hover(part: pd.DataFrame, outcome: str) -> list[str]:
    lines = []
    for r in part.itertuples():
        interval = f"{shown(r.baseline + r.effect_low, outcome)} to {shown(r.baseline + r.effect_high, outcome)}"
        control = (
            ""
            if not np.isfinite(r.control)
            else (
                f"<br>{r.n_controls} controls: {shown(r.control, outcome)} ({shown(r.control_low, outcome)} to "
                f"{shown(r.control_high, outcome)}); p = {r.p_specific:.3f}, q = {r.q_specific:.3f}"
            )
        )
        lines.append(
            f"layer {r.layer}, k = {r.k}, strength {r.strength:g}<br>{OUTCOMES[outcome]}: "
            f"{shown(r.target, outcome)} [{interval}]; unedited {shown(r.baseline, outcome)}{control}"
            f"<br>{r.n_images} images"
        )
    return lines


def way_name(row: object) -> str:
    """What a design changes, in words."""
    method, mode, k, note, part = (getattr(row, name) for name in ("method", "mode", "k", "note", "part"))
    fixed = {
        "zero edit": "an edit that changes nothing",
        "reconstruction": "the SAE’s reconstruction alone",
        "no way out": "features, where nothing reads them",
        "neutral prompt": "asked for gender-neutral words",
    }
    if method in fixed:
        return fixed[method]
    what = f"{k} features" if method == "features" else method
    what += {"transfer": " of the other language"}.get(part, "")
    what += f" of layer {row.layer}" if part == "layers" or note == "headline" else ""
    return f"{what}: {MODE_NAMES[mode]}"


def ways_frame(effects: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """One row a way to change captions and language, beside its controls: features, directions, prompt, identity."""
    mine = effects[effects["outcome"] == outcome]
    keep = (mine["note"] == "headline") | mine["part"].isin(["directions", "prompts", "identity"])
    mine = mine[keep].copy()
    mine["way"] = [way_name(r) for r in mine.itertuples()]
    order = {"sets": 0, "directions": 1, "prompts": 2, "identity": 3}
    mine["place"] = mine["part"].map(order) * 1000 + mine["mode"].map({"swap": 0, "ablate": 100, "": 200})
    return mine.sort_values(["place", "design", "lang"], ascending=[True, True, False]).reset_index(drop=True)


def ways(frame: pd.DataFrame, outcome: str, dark: bool = False) -> go.Figure:
    """A line a way: the values of each language with intervals, each over the grey band of its controls."""
    inks, names = look(dark), list(dict.fromkeys(frame["way"]))
    fig = go.Figure()
    for lang, shift in beside(frame["lang"], 0.17).items():
        part = frame[frame["lang"] == lang]
        y = np.array([names.index(w) for w in part["way"]]) + shift
        for at, r in zip(y, part.itertuples(), strict=True):
            if np.isfinite(r.control_low):
                fig.add_shape(
                    type="rect",
                    y0=at - 0.14,
                    y1=at + 0.14,
                    x0=r.control_low,
                    x1=r.control_high + 1e-3,
                    fillcolor=CONTROL,
                    opacity=0.4,
                    line_width=0,
                )
        low, high = part["baseline"] + part["effect_low"], part["baseline"] + part["effect_high"]
        fig.add_scatter(
            x=part["target"],
            y=y,
            mode="markers",
            name=LANGUAGE_NAME[lang],
            marker={"symbol": SYMBOLS[lang], "size": 9, "color": inks.languages[lang]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": high - part["target"],
                "arrayminus": part["target"] - low,
                "thickness": 1.4,
                "width": 0,
                "color": inks.languages[lang],
            },
            customdata=_hover(part, outcome),
            hovertemplate="%{customdata}<extra></extra>",
        )
    dress(fig, dark, 80 + 44 * max(1, len(names)), margin=(12, 16, 48, 30))
    fig.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -0.6], showgrid=False)
    fig.update_xaxes(title_text=OUTCOMES[outcome])
    if outcome in SHARES:
        fig.update_xaxes(tickformat=".0%", range=[-0.03, 1.05])
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0})
    return fig


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


def transfer_matrix(frame: pd.DataFrame, outcome: str, dark: bool = False) -> go.Figure:
    """The four cells as a matrix: target minus controls, written with its interval."""
    inks = look(dark)
    grid = [[_cell(frame, row, column) for column in LANGS] for row in LANGS]
    z = [[c["specific"] if c is not None else np.nan for c in row] for row in grid]
    fig = go.Figure(
        go.Heatmap(
            z=z,
            x=[0, 1],
            y=[0, 1],
            colorscale=scale(VIRIDIS),
            zmin=0,
            zmax=1,
            xgap=4,
            ygap=4,
            showscale=False,
            hoverinfo="skip",
        )
    )
    for i, row in enumerate(grid):
        for j, c in enumerate(row):
            if c is None:
                continue
            ink = "#111" if z[i][j] > 0.6 else "#fff"
            words = (
                f"<b>{shown(c['target'], outcome)}</b><br>controls {shown(c['control'], outcome)}<br>difference "
                f"{shown(c['specific'], outcome)}<br>[{shown(c['specific_low'], outcome)}, "
                f"{shown(c['specific_high'], outcome)}]"
            )
            fig.add_annotation(x=j, y=i, text=words, showarrow=False, font={"size": 14, "color": ink})
    dress(fig, dark, 360, margin=(12, 12, 12, 54))
    fig.update_xaxes(
        tickvals=[0, 1], ticktext=[f"{LANGUAGE_NAME[lang]} captions" for lang in LANGS], side="top", showgrid=False
    )
    fig.update_yaxes(
        tickvals=[0, 1],
        ticktext=[f"ranked on<br>{LANGUAGE_NAME[lang]}" for lang in LANGS],
        range=[1.5, -0.5],
        showgrid=False,
    )
    fig.update_layout(font={"color": inks.ink})
    return fig


def _cell(frame: pd.DataFrame, ranked_on: str, lang: str) -> pd.Series | None:
    found = frame[(frame["ranked_on"] == ranked_on) & (frame["lang"] == lang)]
    return found.iloc[0] if len(found) else None


def selectivity_frame(arms: pd.DataFrame) -> pd.DataFrame:
    """Every arm by language: share of captions cleanly changed and share damaged, and whether it is a control."""
    mine = arms[~arms["method"].isin(["none"])].dropna(subset=["clean", "damaged"]).copy()
    control = (mine["draw"] >= 0) | (mine["method"] == "other prompt")
    names = {
        "features": "features",
        "difference of means": "a direction",
        "probe direction": "a direction",
        "LEACE": "a direction",
        "neutral prompt": "the prompt",
    }
    mine["kind"] = np.where(control, "control", mine["method"].map(names).fillna("identity"))
    return mine.reset_index(drop=True)


KIND_SYMBOLS = {
    "control": "circle",
    "identity": "x",
    "the prompt": "triangle-up",
    "a direction": "square",
    "features": "star",
}


def selectivity(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Clean changes (up) against damage (right): top left is a change of gender and of nothing else."""
    inks, langs = look(dark), [lang for lang in LANGS if (frame["lang"] == lang).any()]
    fig = make_subplots(
        1,
        max(1, len(langs)),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[f"{LANGUAGE_NAME[lang]} captions" for lang in langs],
    )
    for column, lang in enumerate(langs, start=1):
        for kind, symbol in KIND_SYMBOLS.items():
            part = frame[(frame["lang"] == lang) & (frame["kind"] == kind)]
            plain = kind in ("control", "identity")
            fig.add_scatter(
                x=part["damaged"],
                y=part["clean"],
                mode="markers",
                name=kind,
                legendgroup=kind,
                showlegend=column == 1,
                row=1,
                col=column,
                opacity=0.5 if kind == "control" else 1,
                marker={
                    "symbol": symbol,
                    "size": 7 if kind == "control" else 11 if kind != "features" else 13,
                    "color": _kind_colour(plain, lang, inks),
                    "line": {"width": 0.6, "color": inks.ground},
                },
                customdata=[_arm_hover(r) for r in part.itertuples()],
                hovertemplate="%{customdata}<extra></extra>",
            )
    dress(fig, dark, 400, margin=(60, 12, 56, 58))
    fig.update_xaxes(title_text="the rest lost", tickformat=".0%", range=[-0.04, 1.04])
    fig.update_yaxes(tickformat=".0%", range=[-0.04, 1.06])
    fig.update_yaxes(title_text="gender changed, the rest kept", row=1, col=1)
    fig.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.09, "yanchor": "bottom", "x": 0})
    fig.update_annotations(font={"size": 15, "color": inks.ink})
    return fig


def _kind_colour(plain: bool, lang: str, inks: Look) -> str:
    return CONTROL if plain else inks.languages[lang]


def _arm_hover(r: object) -> str:
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
    size = mine.assign(size=mine["change"].abs()).groupby(["lang", "gender", "lemma"])["size"].max()
    kept = size.groupby("lang").nlargest(most // 2).reset_index(level=0, drop=True).index
    return mine[mine.set_index(["lang", "gender", "lemma"]).index.isin(kept)].reset_index(drop=True)


def terms_heat(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Words (rows, by language and gender) by number of features: where they come or go, beyond controls."""
    langs = [lang for lang in LANGS if (frame["lang"] == lang).any()]
    fig = make_subplots(
        1, max(1, len(langs)), horizontal_spacing=0.16, subplot_titles=[LANGUAGE_NAME[lang] for lang in langs]
    )
    ks, tall = sorted(frame["k"].unique()), 1
    for column, lang in enumerate(langs, start=1):
        part = frame[frame["lang"] == lang].sort_values(["gender", "lemma"])
        rows = list(dict.fromkeys(zip(part["gender"], part["lemma"], strict=True)))
        tall = max(tall, len(rows))
        cells = part.set_index(["gender", "lemma", "k"])["change"]
        z = [[100 * float(cells.get((*row, k), np.nan)) for k in ks] for row in rows]
        names = [f"{lemma} ({gender[0]})" for gender, lemma in rows]
        fig.add_heatmap(
            z=z,
            x=[str(k) for k in ks],
            y=list(range(len(rows))),
            row=1,
            col=column,
            zmin=-60,
            zmax=60,
            colorscale=scale(PUOR),
            xgap=2,
            ygap=2,
            showscale=column == len(langs),
            colorbar={"title": {"text": "points"}, "thickness": 10},
            customdata=[[n] * len(ks) for n in names],
            hovertemplate="%{customdata}, %{x} features: %{z:+.0f} points<extra></extra>",
        )
        fig.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, autorange="reversed", row=1, col=column)
        fig.update_xaxes(title_text=AXES["k"], type="category", row=1, col=column)
    dress(fig, dark, max(220, 110 + 24 * tall), margin=(12, 12, 50, 34))  # room for the scale
    fig.update_xaxes(showgrid=False)
    fig.update_yaxes(showgrid=False)
    fig.update_annotations(font={"size": 15, "color": look(dark).ink})
    return fig

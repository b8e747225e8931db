"""What the model would say at each layer of one caption: layers upwards, a column a token, its top word in a cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from core.config import LANGUAGE_NAME
from core.figures.feature import isolated
from core.figures.marks import Axis, Cells, Chart, Legend, Mark, Note, Panel, Points, Rule, Shades
from core.figures.palette import GENDER, LANGUAGE
from core.frames import records

COLUMN, ROW, SIDE, HEAD, FOOT = 72, 38, 60, 40, 14  # pixels: of a token, of a layer, of margins
LEAST = 1e-3  # nats that are told apart: the last layer's are none
LONGEST = 11  # letters of a word that a cell holds
RANKS = 3  # powers of ten that the colour tells apart
MOST = 6.0  # log-odds at which a cell has its full colour
KEYS = {
    "rank": "The fuller the colour, the nearer to first ranks the word that was written; none from the 1,000th on.",
    "gender": "Pink: a word for a woman is likelier, green: one for a man, full from log-odds of 6 on; none: no two "
    "words are compared.",
}


def caption_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a layer and token of one caption: layer, slot, said, word, probability, rank, log_odds, compared, top."""
    own = rows[rows["kind"] == "caption"].sort_values(["layer", "slot"])
    top = [
        ", ".join(f"{word} {p:.1%}" for word, p in zip(words, ps, strict=True))
        for words, ps in zip(own["top"], own["top_p"], strict=True)
    ]
    found = own[["sample_id", "lang", "lens", "layer", "slot", "said", "rank", "p_said", "compared", "log_odds"]]
    return found.assign(
        word=[words[0] for words in own["top"]], probability=[float(ps[0]) for ps in own["top_p"]], top=top
    ).reset_index(drop=True)


def width(frame: pd.DataFrame) -> int:
    """Pixels at which every column can be read."""
    return SIDE + 20 + COLUMN * max(1, frame["slot"].nunique())


def caption_lens_figure(frame: pd.DataFrame, lang: str, colour: str = "rank") -> Chart:
    """``caption_frame`` of one language, the last layer on top, next to what was written; Arabic from right to left.

    ``colour``: "rank" of the word that was written, or "gender", the log-odds of a woman's word over a man's where they
    are compared.
    """
    slots, layers = sorted(set(frame["slot"])), sorted(set(frame["layer"]))
    column, row = {slot: n for n, slot in enumerate(slots)}, {layer: n for n, layer in enumerate(layers)}
    said = frame.drop_duplicates("slot").set_index("slot")["said"].reindex(slots)
    key = "rank" if colour == "rank" else "log_odds"
    values = frame.pivot(index="layer", columns="slot", values=key).reindex(index=layers, columns=slots).to_numpy(float)
    words, hover = [], [["" for _ in slots] for _ in layers]
    for one in records(frame):
        words.append(f"{isolated(short(one['word']))}<br>{one['probability']:.0%}")
        hover[row[one["layer"]]][column[one["slot"]]] = _told(one)
    shades = _ranks(values, lang) if colour == "rank" else _genders(values)
    marks: list[Mark] = [
        Cells(list(range(len(slots))), list(range(len(layers))), shades, 2, None, "%{customdata}", hover)
    ]
    marks.append(
        Points(
            [column[s] for s in frame["slot"]],
            [row[n] for n in frame["layer"]],
            symbol="",
            text=words,
            text_at="middle center",
            text_size=12,
        )
    )
    if not slots:
        marks = [Note(0.5, 0.5, "no caption", x_in="panel", y_in="panel")]
    n = max(1, len(slots))
    x = Axis(
        ticks=range(len(slots)),
        labels=[isolated(short(word)) for word in said],
        range=(n - 0.5, -0.5) if lang == "ar" else (-0.5, n - 0.5),
        grid=False,
        names=True,
        angle=0,
        side="top",
    )
    y = Axis(
        "layer",
        ticks=range(len(layers)),
        labels=[str(layer) for layer in layers],
        range=(-0.5, max(1, len(layers)) - 0.5),
        grid=False,
        side="right" if lang == "ar" else "",
    )
    marks.append(
        Note(0, -0.02, KEYS[colour], "left", "top", size=11, colour="muted", x_in="panel", y_in="panel", printed=True)
    )
    margin = (12, SIDE, FOOT, HEAD) if lang == "ar" else (SIDE, 12, FOOT, HEAD)
    height = HEAD + FOOT + ROW * max(2, len(layers))
    return Chart([Panel(marks, x, y)], height, margin, inches=max(4.0, 1.0 + 0.62 * n))


def short(word: str) -> str:
    """A word that fits a cell."""
    return word if len(word) <= LONGEST else word[: LONGEST - 1] + "…"


def _told(one: dict[str, Any]) -> str:
    lines = [f"layer {one['layer']}, in the place of {isolated(one['said'])}"]
    lines += [isolated(part) for part in str(one["top"]).split(", ")]
    lines.append(f"rank of {isolated(one['said'])}: {one['rank']:,}")
    if one["compared"]:
        lines.append(f"log-odds, women over men: {one['log_odds']:+.2f}")
    return "<br>".join(lines)


def _ranks(rank: np.ndarray, lang: str) -> Shades:
    """The nearer to the first, the fuller the language's colour."""
    near = RANKS - np.clip(np.log10(np.maximum(rank, 1)), 0, RANKS)
    hue = LANGUAGE.get(lang, LANGUAGE["en"])
    return Shades(near, 0, RANKS, [f"{hue}00", f"{hue}20", f"{hue}48", f"{hue}90"])


def _genders(log_odds: np.ndarray) -> Shades:
    ends = [f"{GENDER['male']}A0", f"{GENDER['male']}00", f"{GENDER['female']}00", f"{GENDER['female']}A0"]
    return Shades(np.clip(log_odds, -MOST, MOST), -MOST, MOST, ends)


def alt(frame: pd.DataFrame, lang: str) -> str:
    """The figure in words: what the last layer writes, and from where on each token is its first choice."""
    if frame.empty:
        return "No caption"
    last = frame[frame["layer"] == frame["layer"].max()].sort_values("slot")
    return f"{LANGUAGE_NAME.get(lang, lang)}: the words of every layer for the caption {' '.join(last['said'])}"


LENSES = {"logit": "logit lens", "tuned": "tuned lens"}
WITHOUT = {"token": "from the current token alone", "prior": "from nothing: the prior"}


def lens_fit_figure(rows: pd.DataFrame) -> Chart:
    """How far each lens is from the model's own output by layer (table ``lens_fit``), a panel a language.

    Dashed: what the same fit reaches from the current token's embedding alone, and with no state at all.
    """
    panels = []
    langs = [lang for lang in LANGUAGE_NAME if lang in set(rows["lang"])]
    for number, lang in enumerate(langs, start=1):
        own = rows[rows["lang"] == lang]
        marks: list[Mark] = []
        layers = sorted(n for n in set(own["layer"]) if n >= 0)
        for lens, name in WITHOUT.items():
            for one in records(own[own["lens"] == lens]):
                marks.append(Rule(y=max(one["kl"], LEAST), dash="dash" if lens == "token" else "dot"))
                marks.append(
                    Note(1, float(np.log10(max(one["kl"], LEAST))), name, "right", "bottom", x_in="panel", size=12)
                )
        for lens, name in LENSES.items():
            part = own[own["lens"] == lens]
            part = part.assign(**{c: part[c].clip(lower=LEAST) for c in ("kl", "kl_low", "kl_high")})
            marks.append(
                Points(
                    part["layer"],
                    part["kl"],
                    name,
                    lang if lens == "tuned" else "muted",
                    "circle" if lens == "tuned" else "square",
                    8,
                    dash="solid",
                    y_ends=(part["kl_low"], part["kl_high"]),
                    data=part[["kl_low", "kl_high", "first", "n_images", "n_tokens"]].to_numpy(),
                    hover="layer %{x}: %{y:.3f} nats [%{customdata[0]:.3f}, %{customdata[1]:.3f}]<br>"
                    "the model’s own first word at %{customdata[2]:.0%} of tokens<br>"
                    "n = %{customdata[3]} images, %{customdata[4]} tokens<extra>%{fullData.name}</extra>",
                )
            )
        x = Axis("layer", ticks=layers, grid=False)
        y = Axis("KL to the model’s own output, nats" if number == 1 else "", log=True, numbers=number == 1)
        panels.append(Panel(marks, x, y, LANGUAGE_NAME[lang], column=number))
    return Chart(
        panels,
        380,
        (62, 10, 84, 34),
        Legend(-0.2),
        once=True,
        share_y=True,
        gaps=(0.035, None),
        titles=(14, "left"),
        inches=7.2,
    )

"""How often the words that a lens reads off a layer are of the caption's script, and one caption drawn.

``python -m tests.docs.lens_words RUN [LANG [PICTURE]]``: RUN is a run's folder with the table caption_lens; PICTURE
is where one caption is drawn, the logit lens to the left, the tuned one to the right.
"""

import io
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from PIL import Image

from core.figures import paper
from core.figures.caption_lens import caption_frame, caption_lens_figure
from core.run import Run

SCRIPT = {"ar": "ARABIC", "en": "LATIN"}


def of_script(word: str, lang: str) -> bool:
    """Whether a word has letters and all are of the language's script; what stands in brackets is no word."""
    letters = [c for c in word if c.isalpha() and c != "\u0640"]
    return bool(letters) and word[0] != "(" and all(SCRIPT[lang] in unicodedata.name(c, "") for c in letters)


def shares(rows: pd.DataFrame, lang: str) -> Iterator[str]:
    """By lens and layer the share of places whose likeliest word is of the script, and where the word that was written
    ranks first: the mean over captions, and the lowest and highest of them (captions are too few for intervals)."""
    rows = rows[(rows["lang"] == lang) & (rows["kind"] == "caption")]
    rows = rows.assign(read=[of_script(words[0], lang) for words in rows["top"]], first=rows["rank"] == 1)
    for (lens, layer), of_layer in rows.groupby(["lens", "layer"], sort=True):
        each = of_layer.groupby("sample_id")[["read", "first"]].mean()
        told = [f"{name} {each[name].mean():.2f} ({each[name].min():.2f} to {each[name].max():.2f})" for name in each]
        yield f"{lens:6} layer {layer:2}: {', '.join(told)}; {len(each)} captions"


def picture(rows: pd.DataFrame, lang: str) -> Image.Image:
    """The first caption through both lenses, side by side."""
    one = rows[(rows["lang"] == lang) & (rows["sample_id"] == rows["sample_id"].min())]
    drawn = [caption_lens_figure(caption_frame(one[one["lens"] == lens]), lang) for lens in ("logit", "tuned")]
    parts = [Image.open(io.BytesIO(paper.render(paper.draw(chart), "png", dpi=80))) for chart in drawn]
    both = Image.new("RGB", (sum(p.width for p in parts), max(p.height for p in parts)), "white")
    both.paste(parts[0], (0, 0))
    both.paste(parts[1], (parts[0].width, 0))
    return both


if __name__ == "__main__":
    table = Run(Path(sys.argv[1])).table("caption_lens").to_pandas()
    language = sys.argv[2] if len(sys.argv) > 2 else "ar"
    written = table[(table["kind"] == "caption") & (table["lang"] == language)].drop_duplicates(["sample_id", "slot"])
    n_words = sum(of_script(word, language) for word in written["said"])
    print(f"of the words as written {n_words} of {len(written)} are of the script")
    for line in shares(table, language):
        print(line)
    if len(sys.argv) > 3:
        picture(table, language).quantize(64).save(sys.argv[3], optimize=True)

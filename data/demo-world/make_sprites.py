"""Rebuild ``sprites.parquet`` from the two emoji packages, with source and licence on every row.

    pip install resvg_py==0.5.0
    python data/demo-world/make_sprites.py            # writes sprites.parquet beside this script
    python data/demo-world/make_sprites.py --check    # compares pixels with the file that is there, writes nothing

The packages (75 MB) are fetched with the npm client on the PATH, into a temporary folder; nothing of them is installed
or run. ``--packages DIR`` reads already fetched .tgz files instead.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

HERE = Path(__file__).resolve().parent
PERSON, OBJECT = 62, 32  # pixels, the sizes core/demo/world.py draws
TONES = ("", "\U0001f3fb", "\U0001f3fc", "\U0001f3fd", "\U0001f3fe", "\U0001f3ff")
JOIN, EMOJI_STYLE = "\u200d", "\ufe0f"
ADULT = {"male": "👨", "female": "👩", "neutral": "🧑"}
SIGN = {"male": JOIN + "♂" + EMOJI_STYLE, "female": JOIN + "♀" + EMOJI_STYLE, "neutral": ""}
TEXT_BY_DEFAULT = "🕵🏋🏌"  # drawn as text unless a tone or the emoji style follows


@dataclass(frozen=True)
class Package:
    """One npm package with the hash of its archive, where its pictures lie, and what must be said of it."""

    name: str
    version: str
    sha512: str
    file: str  # archive member, with {} for the code points
    digits: int  # code points are padded to this many hex digits
    source: str
    licence: str
    attribution: str

    @property
    def archive(self) -> str:
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES = {
    "noto": Package(
        "emoji-datasource-google",
        "16.0.0",
        "ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A==",
        "package/img/google/64/{}.png",
        4,
        "Noto Emoji, by way of emoji-datasource-google 16.0.0",
        "Apache-2.0",
        "Noto Emoji, copyright Google LLC, https://github.com/googlefonts/noto-emoji, Apache License 2.0, "
        "https://www.apache.org/licenses/LICENSE-2.0. Modified: resized.",
    ),
    "twemoji": Package(
        "@twemoji/svg",
        "15.0.0",
        "ZSPef2B6nBaYnfgdTbAy4jgW95o7pi2xPGwGCU+WMTxo7J6B1lMPTWwSq/wTuiMq+N0khQ90CcvYp1wFoQpo/w==",
        "package/{}.svg",
        0,
        "Twemoji, by way of @twemoji/svg 15.0.0",
        "CC-BY-4.0",
        "Twemoji, copyright Twitter, Inc and other contributors, https://github.com/jdecked/twemoji, CC-BY 4.0, "
        "https://creativecommons.org/licenses/by/4.0/. Modified: drawn as pixels and resized.",
    ),
}


def rows(name: str) -> list[dict[str, str]]:
    """One of the tables beside this script."""
    with open(HERE / name, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f, delimiter="\t"))


def person_emoji(role: dict[str, str], gender: str, tone: int) -> str:
    """The emoji of a role: adult + joiner + thing, or the role's own emoji + gender sign."""
    if role["join"] == "object":
        return ADULT[gender] + TONES[tone] + JOIN + role["emoji"]
    emoji = role["emoji"]
    needs_style = not TONES[tone] and gender != "neutral" and emoji in TEXT_BY_DEFAULT
    return emoji + (TONES[tone] or (EMOJI_STYLE if needs_style else "")) + SIGN[gender]


def spellings(emoji: str, digits: int) -> Iterator[str]:
    """File names the packages may use for one emoji: they differ in where they write the emoji style."""
    codes = [f"{ord(c):x}" for c in emoji]
    bare = [c for c in codes if c != "fe0f"]
    for variant in (codes, bare, [bare[0], "fe0f", *bare[1:]], [*bare, "fe0f"]):
        yield "-".join(c.zfill(digits) for c in variant)


class Art:
    """The pictures of one package."""

    def __init__(self, package: Package, packages_dir: Path):
        self.package = package
        path = packages_dir / package.archive
        if not path.exists():
            print(f"fetching {package.name} {package.version} ...")
            subprocess.run(
                ["npm", "pack", f"{package.name}@{package.version}"],
                cwd=packages_dir,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
        if found != package.sha512:
            sys.exit(f"{path.name} is not the archive this script was written for (sha512 {found}).")
        where = PurePosixPath(package.file)
        with tarfile.open(path) as tar:
            self.files = {
                m.name: tar.extractfile(m).read()
                for m in tar
                if m.isfile() and PurePosixPath(m.name).match(str(where.with_stem("*")))
            }

    def draw(self, emoji: str, size: int) -> Image.Image:
        """The emoji, RGBA, ``size`` pixels square; KeyError where the package has no picture of it."""
        for name in spellings(emoji, self.package.digits):
            data = self.files.get(self.package.file.format(name))
            if data is None:
                continue
            if self.package.file.endswith(".svg"):
                import resvg_py

                data = bytes(resvg_py.svg_to_bytes(svg_string=data.decode("utf-8"), width=size, height=size))
                return Image.open(io.BytesIO(data)).convert("RGBA")
            return Image.open(io.BytesIO(data)).convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)
        raise KeyError(f"{self.package.name} has no picture of {emoji}")


def make(packages_dir: Path) -> pa.Table:
    """All sprites: every role in the styles it is used in, every object in both."""
    art = {style: Art(package, packages_dir) for style, package in PACKAGES.items()}
    made = []

    def add(key: str, gender: str, tone: int, style: str, emoji: str, size: int) -> None:
        buffer = io.BytesIO()
        art[style].draw(emoji, size).save(buffer, "PNG", optimize=True)
        made.append(
            {
                "key": key,
                "gender": gender,
                "tone": tone,
                "style": style,
                "png": buffer.getvalue(),
                "source": PACKAGES[style].source,
                "licence": PACKAGES[style].licence,
            }
        )

    for role in rows("roles.tsv"):
        for style in role["styles"].split(","):
            for gender in ADULT:
                for tone in range(len(TONES)):
                    add(role["key"], gender, tone, style, person_emoji(role, gender, tone), PERSON)
    for thing in rows("objects.tsv"):
        for style in PACKAGES:
            add(thing["key"], "", 0, style, thing["emoji"], OBJECT)
    schema = pa.schema(
        [
            ("key", "string"),
            ("gender", "string"),
            ("tone", "int64"),
            ("style", "string"),
            ("png", "binary"),
            ("source", "string"),
            ("licence", "string"),
        ]
    )
    text = "\n".join(p.attribution for p in PACKAGES.values())
    return pa.Table.from_pylist(made, schema.with_metadata({"attribution": text, "made_by": "make_sprites.py"}))


def differences(new: pa.Table, old: pa.Table) -> tuple[int, int, int]:
    """Sprites that only one table has, sprites whose pixels differ, and the largest difference of a channel."""

    def pixels(table: pa.Table) -> dict[tuple, np.ndarray]:
        return {
            (r["key"], r["gender"], r["tone"], r["style"]): np.asarray(Image.open(io.BytesIO(r["png"]))).astype(int)
            for r in table.select(["key", "gender", "tone", "style", "png"]).to_pylist()
        }

    a, b = pixels(new), pixels(old)
    gaps = [int(np.abs(a[k] - b[k]).max()) for k in a.keys() & b.keys()]
    return len(a.keys() ^ b.keys()), sum(gap > 0 for gap in gaps), max(gaps, default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file that is there, write nothing")
    parser.add_argument("--packages", type=Path, help="folder with the fetched .tgz files")
    args = parser.parse_args()
    path = HERE / "sprites.parquet"
    with tempfile.TemporaryDirectory() as temporary:
        table = make(args.packages or Path(temporary))
    if path.exists():
        lacking, differing, largest = differences(table, pq.read_table(path))
        print(f"{len(table)} sprites; {lacking} not in both files, {differing} differ, by up to {largest}")
        if args.check:
            sys.exit(1 if lacking or differing else 0)
    elif args.check:
        sys.exit(f"There is no {path.name} to compare with.")
    part = path.with_name(".tmp-sprites.parquet")
    pq.write_table(table, part, compression="zstd")
    os.replace(part, path)
    print(f"wrote {path.name}, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

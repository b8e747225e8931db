"""How many gendered words have a counterpart: python tests/bench/bench_pairs.py [en=CAPTIONS] [ar=CAPTIONS]

By language: the forms of the lexicon that stand in a pair, and the words of captions that have a counterpart, all and
the first of each caption, with those that have none. Captions are the demo's grammar, or a file with one a line, what
stands before a tab left out (Flickr8k.token.txt).
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.demo.world import N_TEMPLATES, ROLES, Scene, caption
from core.words.lexicon import LANGUAGES, lexicon
from core.words.pairs import pairs, unpaired, with_counterpart


def main() -> None:
    files = dict(argument.split("=", 1) for argument in sys.argv[1:])
    for lang in LANGUAGES:
        forms = [entry for entry in lexicon(lang) if entry.gender != "neutral"]
        alone = unpaired(lang)
        print(f"{lang}: {len(pairs(lang))} pairs; {len(forms) - len(alone)} of {len(forms)} gendered forms have one")
        print("  without:", ", ".join(entry.form for entry in alone) or "none")
        texts = lines(Path(files[lang])) if lang in files else demo(lang)
        started = time.perf_counter()
        found = with_counterpart(texts, lang)
        seconds = time.perf_counter() - started
        print(
            f"  {len(texts)} captions in {seconds:.1f} s: {found.n_with} of {found.n_words} gendered words,"
            f" {found.n_first_with} of {found.n_first} first ones"
        )
        print("  without:", ", ".join(f"{word} {n}" for word, n in found.without) or "none")


def lines(file: Path) -> list[str]:
    return [line.rpartition("\t")[2] for line in file.read_text(encoding="utf-8").splitlines()]


def demo(lang: str) -> list[str]:
    """A caption of every role, gender and template of the demo's grammar."""
    return [
        caption(Scene(role, gender, 0, "noto", 0, 0, True, (0, 0, 0, 0)), lang, gender, template)
        for role, gender, template in itertools.product(range(len(ROLES)), ("male", "female"), range(N_TEMPLATES))
    ]


if __name__ == "__main__":
    main()

"""How tokenizers cut gendered words: python -m tests.bench.bench_coverage NAME=FOLDER [NAME=FOLDER ..]

One row a tokenizer and language: the share of the lexicon's forms that part from their counterpart, and at which piece.
"""

from __future__ import annotations

import sys

from core.config import LANGUAGE_NAME
from core.gender.tokenized_forms import PARTS, forms


def main(asked: list[str]) -> None:
    from transformers import AutoTokenizer

    print(
        "| tokenizer | language | forms | with a contrast |",
        " | ".join(f"{p} piece" if p != "end" else p for p in PARTS),
        "|",
    )
    print("|---|---|" + "---:|" * (2 + len(PARTS)))
    for name, _, folder in (one.partition("=") for one in asked):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        for lang, language in LANGUAGE_NAME.items():
            found = forms(tokenizer, lang, at_most=1_000_000)
            parts = " | ".join(f"{found.parts[part] / found.n_covered:.0%}" for part in PARTS)
            print(f"| {name} | {language} | {found.n:,} | {found.n_covered / found.n:.1%} | {parts} |")


if __name__ == "__main__":
    main(sys.argv[1:])

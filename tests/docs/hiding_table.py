"""What hiding parts of a run's images does to the gendered word: ``python -m tests.docs.hiding_table cache/demo``."""

import sys
from pathlib import Path

from core.answers.hiding import hiding_answer, unseen_sentence, whole_answer
from core.frames import tuples
from core.run import Run

if __name__ == "__main__":
    run = Run(Path(sys.argv[1]))
    table = run.table("hiding").to_pandas()
    for answer in (whole_answer(table), hiding_answer(table)):
        print(f"{answer.text} ({answer.sure})\n")
    print(f"{unseen_sentence(run.table('hiding_captions').to_pandas())}\n")
    for row in tuples(table[table["outcome"] == "changed"]):
        ends = f"[{100 * row.difference_low:+.0f}, {100 * row.difference_high:+.0f}]"
        shares = f"{row.area:10} {100 * row.share:3.0f} % {row.against:10} {100 * row.other:3.0f} %"
        print(f"{row.lang} {row.filling:6} {row.shape:6} {shares} {100 * row.difference:+4.0f} {ends} {row.n_images}")

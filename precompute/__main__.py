"""``python -m precompute``, and ``captionscope`` where it is installed: runs one command and says how it ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from core.errors import UserError
from precompute import commands

# oneMKL may else choose threads and kernels by load and by where an array lies in memory, so that a stage that goes on
# after a kill differs in the last bit (seen: one figure in 349 files). Read when the library is first called.
REPRODUCIBLE = {"MKL_CBWR": "AUTO,STRICT", "MKL_DYNAMIC": "FALSE", "OMP_DYNAMIC": "FALSE"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all went well, 1 after an error, 2 when another process holds the run, 130 for Ctrl-C."""
    args = commands.parser().parse_args(argv)
    for name, value in REPRODUCIBLE.items():
        os.environ.setdefault(name, value)
    try:
        return commands.call(args)
    except UserError as e:
        from core.run import RunHeld

        print(e, file=sys.stderr)
        return 2 if isinstance(e, RunHeld) else 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the output was piped into something that has ended, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as e:
        from precompute.engine.local import is_disk_full

        if not is_disk_full(e):
            raise
        print(
            f"The disk is full.\n{e}\nMake room and run the same command again: it goes on from the last checkpoint.",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())

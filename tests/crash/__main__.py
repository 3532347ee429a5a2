"""The long forms of the crash tests: `python -m tests.crash CASE [--seed N] [...]`.

states    every image that a crash may leave of a recorded life
kills     a broker process under load, killed again and again
damage    bits, ranges and ends of every file spoiled, one at a time and several
faults    every call of the disk failing, one after the other
model     the HTTP API against a plain model
sharing   groups, delays and refusals, ended or failing at every call of the disk

Each prints what it did and what it found, and ends with exit code 1 where a promise did not hold.
A failure names the seed that replays it.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

CASES: Final = ("states", "kills", "damage", "faults", "model", "sharing")


def main(arguments: Sequence[str]) -> int:
    """Run one case; return the exit code."""
    case, *options = arguments or ["--help"]
    if case not in CASES:
        print((__doc__ or "").strip())
        return 0 if case in ("-h", "--help") else 2
    run: Callable[[Sequence[str]], int] = import_module(f"tests.crash.{case}").main
    return run(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

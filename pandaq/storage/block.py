"""A block: consecutive lines that are written, indexed, checked and read as one."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

BLOCK_BYTES: Final = 8 * 1024
"""A block ends here, so that damage to one byte costs no more than this. One line may be longer."""


class Block(NamedTuple):
    """Consecutive lines, offsets `first` to `last`, each with its newline.

    They were appended together, at `time_ms` (since 1970).
    """

    first: int
    last: int
    data: bytes
    time_ms: int = 0

    def lines(self) -> list[bytes]:
        """Return the lines without their newlines."""
        if self.first == self.last:
            return [self.data[:-1]]  # It may be large.
        return self.data.split(b"\n")[:-1]


def blocks_of(first: int, lines: Sequence[bytes], time_ms: int = 0) -> list[Block]:
    r"""Part lines that are appended at `time_ms` into blocks.

    >>> [(block.first, block.last) for block in blocks_of(1, [b"x" * 3000 + b"\n"] * 5)]
    [(1, 2), (3, 4), (5, 5)]
    """
    ends = list(accumulate(map(len, lines)))
    blocks: list[Block] = []
    start = size = 0
    while start < len(lines):
        stop = max(bisect_right(ends, size + BLOCK_BYTES), start + 1)
        data = b"".join(lines[start:stop])
        blocks.append(Block(first + start, first + stop - 1, data, time_ms))
        start, size = stop, ends[stop - 1]
    return blocks

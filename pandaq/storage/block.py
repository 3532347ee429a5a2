"""A block: consecutive lines that are written, indexed, checked and read as one."""

from collections.abc import Sequence
from typing import Final, NamedTuple

BLOCK_BYTES: Final = 8 * 1024
"""A block ends here, so that damage to one byte costs no more than this. One line may be longer."""


class Block(NamedTuple):
    """Consecutive lines, offsets `first` to `last`, each with its newline."""

    first: int
    last: int
    data: bytes

    def lines(self) -> list[bytes]:
        """Return the lines without their newlines."""
        return self.data.split(b"\n")[:-1]


def blocks_of(first: int, lines: Sequence[bytes]) -> list[Block]:
    r"""Part lines into blocks.

    >>> [(block.first, block.last) for block in blocks_of(1, [b"x" * 3000 + b"\n"] * 5)]
    [(1, 2), (3, 4), (5, 5)]
    """
    blocks: list[Block] = []
    start = size = 0
    for number, line in enumerate(lines):
        if size and size + len(line) > BLOCK_BYTES:
            blocks.append(Block(first + start, first + number - 1, b"".join(lines[start:number])))
            start, size = number, 0
        size += len(line)
    if size:
        blocks.append(Block(first + start, first + len(lines) - 1, b"".join(lines[start:])))
    return blocks

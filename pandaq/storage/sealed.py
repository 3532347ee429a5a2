"""Small files of lines that prove themselves: a checksum closes each block of lines.

    ingress|10|10
    orders_partition_0|4
    checksum|6f1c2a90

The last line is the CRC-32 of the block's bytes before it, in hexadecimal. A file that is replaced
as a whole has one block; a file that is appended to has one for each append, so a torn append is
known from a whole one, and damage in one block leaves the others readable. It is told from the
other lines by having no second `|`, since a topic may be called "checksum".
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pandaq.storage.disk import Disk
from pandaq.storage.whole import read_whole, write_whole

_CHECKSUM: Final = b"checksum|"


class Span(NamedTuple):
    """A range of bytes in a file."""

    position: int
    length: int


@dataclass(frozen=True, slots=True)
class Unsealed:
    """What a sealed file says.

    `lines` are those of all whole blocks, in order. `end` is the length in bytes up to the last
    checksum line; what stands behind it is an append that a crash tore. `damaged` are the blocks
    whose checksum does not fit.
    """

    lines: list[str]
    end: int
    damaged: list[Span]


def seal(lines: Iterable[str]) -> bytes:
    r"""Return the bytes of one block.

    >>> seal(["a|1"])
    b'a|1\nchecksum|d9bd30e2\n'
    """
    block = "".join(f"{line}\n" for line in lines).encode()
    return block + _CHECKSUM + b"%08x\n" % zlib.crc32(block)


def unseal(data: bytes) -> Unsealed:
    """Read all blocks of a sealed file; never raises, whatever the bytes are."""
    lines: list[str] = []
    damaged: list[Span] = []
    block_start = position = 0
    for line in data.splitlines(keepends=True):
        line_start, position = position, position + len(line)
        if not (line.startswith(_CHECKSUM) and line.endswith(b"\n") and line.count(b"|") == 1):
            continue
        block = data[block_start:line_start]
        if line == _CHECKSUM + b"%08x\n" % zlib.crc32(block):
            lines += block.decode().split("\n")[:-1]
        else:
            damaged.append(Span(block_start, position - block_start))
        block_start = position
    return Unsealed(lines, block_start, damaged)


def write_sealed(disk: Disk, path: Path, lines: Iterable[str]) -> None:
    """Put one block in place of a file, durably. Raises `OSError`, `SyncFailed`."""
    write_whole(disk, path, seal(lines))


def read_sealed(disk: Disk, path: Path) -> list[str] | None:
    """Return the lines of a file of one block; None where it is missing or not whole.

    Raises `OSError`.
    """
    if not disk.exists(path):
        return None
    data = read_whole(disk, path)
    lines = unseal(data).lines
    return lines if data and data == seal(lines) else None

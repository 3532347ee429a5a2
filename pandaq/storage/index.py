"""A segment's index: where its lines stand, when they came, and what their bytes must be.

One entry of 40 bytes for each block of lines, little-endian:

    first    u64    offset of the block's first line
    position u64    where the block begins in the segment
    time_ms  u64    when it was appended, milliseconds since 1970 (UTC)
    lines    u32    how many lines it has
    length   u32    how many bytes they are
    crc      u32    CRC-32 of those bytes
    check    u32    CRC-32 of the 36 bytes before it

The index is derived from the log: where it is missing or damaged it is made anew, and `check`
keeps a damaged entry from being taken as evidence against a good log.
"""

import struct
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from pandaq.storage.disk import File

_FIELDS: Final = struct.Struct("<QQQIII")
_CHECK: Final = struct.Struct("<I")
ENTRY_BYTES: Final = _FIELDS.size + _CHECK.size
_WINDOW_ENTRIES: Final = 128


class IndexEntry(NamedTuple):
    """Where one block of lines stands in its segment."""

    first: int
    position: int
    time_ms: int
    lines: int
    length: int
    crc: int

    @property
    def last(self) -> int:
        """Offset of the block's last line."""
        return self.first + self.lines - 1

    @property
    def end(self) -> int:
        """Where the block ends in the segment, in bytes."""
        return self.position + self.length

    def fits(self, data: bytes) -> bool:
        """Tell whether these are the bytes that were appended."""
        return len(data) == self.length and zlib.crc32(data) == self.crc


class IndexDamaged(Exception):
    """An entry that is needed does not fit its own check."""


def encode_entry(entry: IndexEntry) -> bytes:
    """Return the 40 bytes of an entry."""
    fields = _FIELDS.pack(*entry)
    return fields + _CHECK.pack(zlib.crc32(fields))


def decode_entry(data: bytes) -> IndexEntry | None:
    """Return the entry of 40 bytes, or None where they do not fit their own check."""
    fields, check = data[: _FIELDS.size], data[_FIELDS.size :]
    if len(data) != ENTRY_BYTES or _CHECK.unpack(check)[0] != zlib.crc32(fields):
        return None
    return IndexEntry._make(_FIELDS.unpack(fields))


def decode_entries(data: bytes) -> list[IndexEntry | None]:
    """Return the entries of an index, None in place of a damaged one."""
    return [
        decode_entry(data[start : start + ENTRY_BYTES])
        for start in range(0, len(data), ENTRY_BYTES)
    ]


class Index:
    """The entries of one segment, in a file; only a window of them is in memory."""

    def __init__(self, file: File) -> None:
        self._file = file
        try:
            self._count = file.size() // ENTRY_BYTES
        except BaseException:
            file.close()
            raise
        self._window: list[IndexEntry] = []
        self._window_start = 0

    def __len__(self) -> int:
        return self._count

    def append(self, entries: Sequence[IndexEntry]) -> None:
        """Add entries at the end. Raises `OSError`; then `truncate` before the next append."""
        self._file.write(self._count * ENTRY_BYTES, b"".join(map(encode_entry, entries)))
        self._count += len(entries)

    def truncate(self, count: int) -> None:
        """Keep the first `count` entries.

        Durable at once: an entry that came back after a crash would speak against the good bytes
        that were written in place of its own.
        """
        self._file.truncate(count * ENTRY_BYTES)
        self._count = count
        self._window = []
        self._file.sync()

    def __getitem__(self, number: int) -> IndexEntry:
        if not 0 <= number - self._window_start < len(self._window):
            self._load(number, 1)
        return self._window[number - self._window_start]

    def from_offset(self, offset: int) -> list[IndexEntry]:
        """Return some entries in order, from the one that holds `offset` or the next behind it.

        Empty where the index ends before `offset`. Raises `IndexDamaged`.
        """
        window = self._window
        if not (window and window[0].first <= offset <= window[-1].last):
            self._load(self.number_of(offset), _WINDOW_ENTRIES)
            window = self._window
        start = max(bisect_right(window, offset, key=lambda entry: entry.first) - 1, 0)
        if window and window[start].last < offset:
            start += 1
        return window[start:]

    def first_since(self, time_ms: int) -> int | None:
        """Return the first offset that was appended then or later, None for none.

        One by one, since a clock may have been set back. Raises `IndexDamaged`.
        """
        for entry in self.entries():
            if entry is None:
                raise IndexDamaged
            if entry.time_ms >= time_ms:
                return entry.first
        return None

    def entries(self) -> list[IndexEntry | None]:
        """Return all entries, None in place of a damaged one."""
        return decode_entries(self._file.read(0, self._count * ENTRY_BYTES))

    def sync(self) -> None:
        """Make the index durable."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def number_of(self, offset: int) -> int:
        """Find the last entry whose first offset is at most `offset`; the first where none is."""
        return max(bisect_right(range(self._count), offset, key=self._first_of) - 1, 0)

    def _first_of(self, number: int) -> int:
        entry = decode_entry(self._file.read(number * ENTRY_BYTES, ENTRY_BYTES))
        if entry is None:
            raise IndexDamaged
        return entry.first

    def _load(self, number: int, count: int) -> None:
        count = min(count, self._count - number)  # Behind it may stand a part of a failed append.
        data = self._file.read(number * ENTRY_BYTES, count * ENTRY_BYTES)
        window = [
            entry
            for start in range(0, len(data), ENTRY_BYTES)
            if (entry := decode_entry(data[start : start + ENTRY_BYTES]))
        ]
        whole = len(window) == count
        if not whole or any(a.last >= b.first or a.end > b.position for a, b in pairwise(window)):
            raise IndexDamaged
        self._window, self._window_start = window, number

"""A segment's index, made anew from its lines.

Entries that fit their own check are kept, since they alone know what the bytes must be. What lies
between them is read line by line: whole lines get new entries, anything else stays without one and
is thereby set aside, since nothing is ever read but through the index.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final
from zlib import crc32

from pandaq.records import LineFormat
from pandaq.storage.block import BLOCK_BYTES
from pandaq.storage.disk import File
from pandaq.storage.findings import Damage, Finding, Missing, TailCut
from pandaq.storage.index import IndexEntry
from pandaq.storage.progress import Progress

_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Rebuilt:
    """The entries of the whole segment, its length up to the last whole line, what was found."""

    entries: list[IndexEntry] = field(default_factory=list)
    size: int = 0
    findings: list[Finding] = field(default_factory=list)


def rebuild(
    file: File,
    line_format: LineFormat,
    first: int,
    old_entries: Sequence[IndexEntry | None],
    now_ms: int,
) -> Rebuilt:
    """Make the entries of the segment that begins at offset `first`.

    The append time of lines without an entry is that of the entry behind them, else `now_ms`: so
    nothing looks older than it is, which would let it go too early. Changes nothing on the disk.
    Raises `OSError`.
    """
    size = file.size()
    rebuilt = Rebuilt()
    for entry in _usable(old_entries, first, size):
        _scan(file, line_format, rebuilt, first, now_ms, until=entry)
        rebuilt.entries.append(entry)
        rebuilt.size = entry.end
    _scan(file, line_format, rebuilt, first, now_ms, until=None)
    return rebuilt


def _usable(entries: Sequence[IndexEntry | None], first: int, size: int) -> Iterator[IndexEntry]:
    """Yield the entries that are whole, inside the file, and in order."""
    next_offset, position = first, 0
    for entry in entries:
        if entry and entry.first >= next_offset and position <= entry.position < entry.end <= size:
            yield entry
            next_offset, position = entry.last + 1, entry.end


def _scan(
    file: File,
    line_format: LineFormat,
    rebuilt: Rebuilt,
    first: int,
    now_ms: int,
    *,
    until: IndexEntry | None,
) -> None:
    """Add entries for the lines from `rebuilt.size` to the entry `until`, or to the file's end."""
    known = len(rebuilt.entries)
    last = rebuilt.entries[-1] if rebuilt.entries else None
    next_offset = last.last + 1 if last else first
    time_ms = until.time_ms if until else max(now_ms, last.time_ms if last else 0)
    end = until.position if until else file.size()
    bad_start: int | None = None

    def close_gap(position: int, following: int) -> None:
        """Say what is lost between the last whole line and the line `following` at `position`."""
        if bad_start is not None:
            length = position - bad_start
            rebuilt.findings.append(
                Damage(file.path, bad_start, length, next_offset, following - 1)
            )
        elif following > next_offset:
            rebuilt.findings.append(Missing(file.path, next_offset, following - 1))

    numbered = _numbered(file, line_format, rebuilt.size, end)
    for (position, line, offset), (_, _, following) in pairwise(numbered):
        if not line.endswith(b"\n") and until is None:
            if bad_start is not None:
                close_gap(position, next_offset)
            rebuilt.findings.append(TailCut(file.path, position, len(line)))
            return
        # Where the next line goes on as if this one had no jump, this one's number is damaged.
        jumps = offset is not None and offset > next_offset and following == next_offset + 1
        if offset is None or offset < next_offset or jumps or (until and offset >= until.first):
            bad_start = position if bad_start is None else bad_start
            rebuilt.size = position + len(line)
            continue
        close_gap(position, offset)
        # Never joined to an entry of before: its block may be damaged, and this line is not.
        joined = offset == next_offset and len(rebuilt.entries) > known
        _extend(rebuilt, position, offset, line, time_ms, joined=joined)
        bad_start, next_offset = None, offset + 1
    if until:
        close_gap(until.position, until.first)
    elif bad_start is not None:
        close_gap(end, next_offset)


def _extend(
    rebuilt: Rebuilt, position: int, offset: int, line: bytes, time_ms: int, *, joined: bool
) -> None:
    """Add one whole line, to the last entry where it continues that and there is room."""
    last = rebuilt.entries[-1] if rebuilt.entries else None
    if last and joined and last.end == position and last.length + len(line) <= BLOCK_BYTES:
        rebuilt.entries[-1] = last._replace(
            lines=last.lines + 1, length=last.length + len(line), crc=crc32(line, last.crc)
        )
    else:
        rebuilt.entries.append(IndexEntry(offset, position, time_ms, 1, len(line), crc32(line)))
    rebuilt.size = position + len(line)


def _numbered(
    file: File, line_format: LineFormat, start: int, end: int
) -> Iterator[tuple[int, bytes, int | None]]:
    """Yield each line with its position and its offset, None where it is damaged; then the end."""
    for position, line in _lines(file, start, end):
        yield position, line, line_format.offset_of(line[:-1]) if line.endswith(b"\n") else None
    yield end, b"", None


def _lines(file: File, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its position; the last one may lack its newline."""
    rest = b""
    position = begin = start
    progress = Progress(f"making the index of {file.path} anew, bytes", end - begin)
    while start < end:
        progress.at(start - begin)
        chunk = file.read(start, min(_CHUNK_BYTES, end - start))
        if not chunk:
            break
        start += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield position, line + b"\n"
            position += len(line) + 1
    if rest:
        yield position, rest

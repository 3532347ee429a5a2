"""An append-only log in segments, with its index.

Lines go to the active segment. When that has grown to `segment_bytes` it is sealed: synced, renamed
after its first offset, never written again; and a new one begins. Reading goes through the index,
and every byte that is read is checked against it.

A log may have holes where damage or a crash cost it lines; a reader sees the next block begin
behind the offset that it asked for.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from pandaq.errors import StorageFailed
from pandaq.records import LineFormat
from pandaq.storage.block import Block
from pandaq.storage.disk import Disk
from pandaq.storage.findings import Damage, Finding
from pandaq.storage.guard import WriteGuard, must_succeed
from pandaq.storage.segment import Segment

Clock = Callable[[], int]
"""The time in milliseconds since 1970 (UTC)."""


class SealedSegment(NamedTuple):
    """What retention needs to know of a sealed segment."""

    first: int
    last: int
    size: int
    newest_ms: int


class Log:
    """A log on the disk, open for one owner.

    `end` is the offset of the last line. Errors: `StorageFull` where there is no room, after which
    the log is as it was before; `StorageFailed` for any other error of the disk. After a failed
    sync the log is closed for writing for good, since the kernel may have dropped what it could
    not write: `guard.failure` then says why, reads go on, and a restart recovers.
    """

    def __init__(
        self, disk: Disk, path: Path, line_format: LineFormat, segment_bytes: int, clock: Clock
    ) -> None:
        self.path = path
        self.guard = WriteGuard(path)
        self._disk = disk
        self._format = line_format
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._dirty = False
        self._findings: list[Finding] = []
        self._reader: Segment | None = None
        self._described: dict[int, SealedSegment] = {}
        self._active: Segment | None = None
        names = disk.list(path.parent)
        self._sealed = self._firsts(names, path.suffix)
        try:
            self.end = self._open_active(self._first_of_active(names)).last
        except BaseException:
            self.close()
            raise

    # -- writing

    def append(self, bodies: Sequence[bytes], time_ms: int | None = None) -> list[Block]:
        """Write a line for each body behind `end`, all or none, and return them as blocks.

        They are durable after `sync`. `time_ms` is when they came, if that was not now.
        """
        lines = self._format.encode(self.end + 1, bodies)
        with self.guard.writing():
            segment = self._segment_to_write()
            self._dirty = True
            try:
                blocks = segment.append(lines, self._clock() if time_ms is None else time_ms)
            except OSError:
                must_succeed(segment.take_back)
                raise
        self.end += len(bodies)
        return blocks

    def sync(self) -> None:
        """Make all lines durable. An error closes the log for writing."""
        with self.guard.checking():
            if self._dirty and self._active:
                must_succeed(self._active.sync)
        self._dirty = False

    def try_to_write(self) -> None:
        """Write what no reader sees, and take it back."""
        with self.guard.writing():
            self._segment_to_write().try_to_write()

    def cut(self, offset: int) -> None:
        """Drop every line behind `offset`, at a start. Raises `OSError`."""
        while self._sealed and (not self._active or self._active.first > offset + 1):
            if self._active:
                self._delete(self._active)
            first = self._sealed.pop()
            self._described.pop(first, None)
            self._close_reader()
            self._disk.replace(self._path_of(first, self.path.suffix), self.path)
            self._disk.sync_folder(self.path.parent)
            self._open_active(first)
        if self._active:
            self._active.cut(offset)
            self.end = self._active.last

    def skip(self, offset: int) -> None:
        """Go on at `offset + 1`, leaving a hole, so that no offset is given out twice.

        At a start only. Raises `OSError`.
        """
        if offset <= self.end:
            return
        if self._active and self._active.size:
            self._seal(self._active)
        elif self._active:
            self._delete(self._active)
        self.end = offset
        self._open_active(offset + 1)

    # -- reading

    @property
    def start(self) -> int:
        """The first offset that the log may still have."""
        return self._firsts_in_order()[0]

    def read(self, offset: int, max_bytes: int) -> list[Block | Damage]:
        """Return some blocks in order, from the one that holds `offset`, or the next one, on.

        At least one, as far as there are any; then about `max_bytes`. Damaged blocks come as their
        damage. Raises `StorageFailed` where a file cannot be read at all.
        """
        try:
            while offset <= self.end:
                segment, following = self._segment_of(offset)
                blocks = segment.read(offset, max_bytes)
                if blocks or following is None:
                    return blocks
                offset = following
        except (OSError, ValueError) as error:
            # ValueError: the file is closed, since sealing it and opening it again both failed.
            raise StorageFailed(self.path, str(error)) from error
        return []

    def first_since(self, time_ms: int) -> int:
        """Return the first offset that was appended then or later (ms since 1970).

        As exact as blocks are; `end + 1` where there is none. Raises `StorageFailed`.
        """
        try:
            for sealed in self.sealed():
                if sealed.newest_ms >= time_ms:
                    found = self._sealed_segment(sealed.first).first_since(time_ms)
                    if found is not None:
                        return found
            found = self._active.first_since(time_ms) if self._active else None
        except (OSError, ValueError) as error:
            raise StorageFailed(self.path, str(error)) from error
        return self.end + 1 if found is None else found

    def raw(self, damage: Damage) -> bytes:
        """Return the damaged bytes as they are. Raises `OSError`."""
        segment = self._segment_with(damage)
        return segment.raw(damage.position, damage.length) if segment else b""

    def still_has(self, damage: Damage) -> bool:
        """Tell whether damage that was found earlier is there now. Raises `OSError`."""
        segment = self._segment_with(damage)
        return segment is not None and segment.still_has(damage)

    def blank(self, damages: Sequence[Damage]) -> None:
        """Make holes of damaged bytes, durably; what they held keeps its offsets.

        At a start only. Raises `OSError`.
        """
        for damage in damages:
            segment = self._segment_with(damage)
            if segment:
                segment.blank(damage)
        self._described.clear()
        if self._active and self._active.last < self.end:
            end, self.end = self.end, self._active.last
            self.skip(end)

    # -- making room

    def sealed(self) -> list[SealedSegment]:
        """Describe the sealed segments, oldest first. Raises `OSError`."""
        return [self._describe(first) for first in self._sealed]

    @property
    def active_bytes(self) -> int:
        """Length of the active segment."""
        return self._active.size if self._active else 0

    def aged_through(self, time_ms: int) -> int:
        """Return the offset up to which sealed segments have nothing since then; 0 for none.

        Raises `OSError`.
        """
        through = 0
        for sealed in self.sealed():
            if sealed.newest_ms >= time_ms:
                break
            through = sealed.last
        return through

    def release(self, offset: int) -> int:
        """Delete the sealed segments that hold nothing behind `offset`; return how many.

        Raises `OSError`.
        """
        # Where the next segment could not be begun, the newest sealed one stays: a log without any
        # file looks like one that somebody took away.
        firsts = self._firsts_in_order() if self._active else self._sealed
        doomed = [first for first, following in pairwise(firsts) if following <= offset + 1]
        for first in doomed:
            self._close_reader()
            # The index goes first: a log without one is whole, an index without a log is a riddle.
            self._disk.delete(self._path_of(first, ".index"))
            self._disk.delete(self._path_of(first, self.path.suffix))
            self._sealed.remove(first)
            self._described.pop(first, None)
        if doomed:
            self._disk.sync_folder(self.path.parent)
        return len(doomed)

    def take_findings(self) -> list[Finding]:
        """Return what was found and put right since the last call."""
        for segment in filter(None, (self._reader, self._active)):
            self._findings += segment.findings
            segment.findings = []
        findings, self._findings = self._findings, []
        return findings

    def close(self) -> None:
        """Close the files; closing twice is fine. Does not sync."""
        self._close_reader()
        if self._active:
            self._active.close()

    # -- segments

    def _segment_to_write(self) -> Segment:
        active = self._active
        # One without a line is not sealed: the next one would have the same first offset.
        if active and active.size >= self._segment_bytes and active.last >= active.first:
            self._seal(active)
        return self._active or self._open_active(self.end + 1)

    def _seal(self, active: Segment) -> None:
        """Sync and rename the active segment. Where that fails, it is still the active one."""
        must_succeed(active.sync)
        must_succeed(active.sync_index)
        active.close()
        try:
            self._disk.replace(self.path, self._path_of(active.first, self.path.suffix))
        except OSError:
            must_succeed(lambda: self._open_active(active.first))
            raise
        self._sealed.append(active.first)
        self._active = None
        # Durable before the next segment takes the name, or a crash might leave only one of them.
        must_succeed(lambda: self._disk.sync_folder(self.path.parent))

    def _open_active(self, first: int) -> Segment:
        """Open the active segment, and make durable what a run that was killed has left of it.

        A crash could undo that later, and would mix it with what is written in its place.
        """
        self._active = segment = self._open(self.path, first)
        must_succeed(segment.sync)
        must_succeed(segment.sync_index)
        must_succeed(lambda: self._disk.sync_folder(self.path.parent))
        return segment

    def _open(self, path: Path, first: int) -> Segment:
        index_path = self._path_of(first, ".index")
        return Segment(
            self._disk,
            path,
            index_path,
            first,
            self._format,
            self._clock(),
            sealed=path != self.path,
        )

    def _delete(self, segment: Segment) -> None:
        segment.close()
        self._disk.delete(self._path_of(segment.first, ".index"))
        self._disk.delete(segment.path)
        self._disk.sync_folder(self.path.parent)

    def _segment_of(self, offset: int) -> tuple[Segment, int | None]:
        """Return the segment that `offset` belongs to, and where the one behind it begins."""
        if self._active and (offset >= self._active.first or not self._sealed):
            return self._active, None
        firsts = self._firsts_in_order()
        number = max(bisect_right(self._sealed, offset) - 1, 0)
        return self._sealed_segment(firsts[number]), firsts[number + 1]

    def _segment_with(self, damage: Damage) -> Segment | None:
        sealed = [n for n in self._sealed if self._path_of(n, self.path.suffix) == damage.path]
        return self._sealed_segment(sealed[0]) if sealed else self._active

    def _sealed_segment(self, first: int) -> Segment:
        if not self._reader or self._reader.first != first:
            self._close_reader()
            self._reader = self._open(self._path_of(first, self.path.suffix), first)
        return self._reader

    def _close_reader(self) -> None:
        if self._reader:
            self._findings += self._reader.findings
            self._reader.close()
            self._reader = None

    def _describe(self, first: int) -> SealedSegment:
        if first not in self._described:
            segment = self._sealed_segment(first)
            self._described[first] = SealedSegment(
                first, segment.last, segment.size, segment.newest_ms
            )
        return self._described[first]

    def _firsts_in_order(self) -> list[int]:
        return [*self._sealed, self._active.first if self._active else self.end + 1]

    # -- names

    def _path_of(self, first: int, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.stem}.{first:020d}{suffix}")

    def _firsts(self, names: Sequence[str], suffix: str) -> list[int]:
        pattern = re.compile(rf"{re.escape(self.path.stem)}\.(\d{{20}}){re.escape(suffix)}")
        return sorted(int(match[1]) for name in names if (match := pattern.fullmatch(name)))

    def _first_of_active(self, names: Sequence[str]) -> int:
        """Tell where the active segment begins: by its index's name, else by what stands before it.

        An empty segment behind a hole is known by its index's name alone.
        """
        after_sealed = self._describe(self._sealed[-1]).last + 1 if self._sealed else 1
        by_index = set(self._firsts(names, ".index")) - set(self._sealed)
        return max(after_sealed, *by_index) if by_index else after_sealed

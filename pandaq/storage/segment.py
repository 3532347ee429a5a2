"""A segment: one file of lines, and the index beside it.

partition_0.log                              the active segment
partition_0.00000000000000000001.log         a sealed one, named by its first offset
partition_0.00000000000000000001.index       the index of either
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar
from zlib import crc32

from pandaq.records import LineFormat
from pandaq.storage.block import Block, blocks_of
from pandaq.storage.disk import Disk, File
from pandaq.storage.findings import Damage, Finding, Note
from pandaq.storage.guard import must_succeed
from pandaq.storage.index import Index, IndexDamaged, IndexEntry, encode_entry
from pandaq.storage.rebuild import Rebuilt, rebuild
from pandaq.storage.whole import write_whole

T = TypeVar("T")

TRIAL_BYTES: Final = 64 * 1024
"""To see whether there is room again, so much is written."""
PIECE_BYTES: Final = 256 * 1024
"""Blocks are written in pieces of about this size."""


class Segment:
    """An open segment. Every method raises `OSError` when the disk does.

    `first` is the first offset that it may hold, `last` the last one it holds (`first - 1` where it
    is empty), `size` its length in bytes. `findings` says what opening it had to put right.
    """

    def __init__(
        self,
        disk: Disk,
        path: Path,
        index_path: Path,
        first: int,
        line_format: LineFormat,
        now_ms: int,
        *,
        sealed: bool,
    ) -> None:
        self.path = path
        self.first = first
        self.last = first - 1
        self.findings: list[Finding] = []
        self._disk = disk
        self._index_path = index_path
        self._line_format = line_format
        self._now_ms = now_ms
        self._sealed = sealed
        self._open_index: Index | None = None
        self._file: File = disk.open(path, create=True)
        try:
            self.size = self._file.size()
            self._recover()
        except BaseException:
            self.close()
            raise

    @property
    def newest_ms(self) -> int:
        """When the last lines were appended, milliseconds since 1970; now where it is empty."""
        if not len(self._index):
            return self._now_ms
        return self._mending(lambda: self._index[len(self._index) - 1].time_ms)

    def append(self, lines: Sequence[bytes], now_ms: int) -> list[Block]:
        """Write consecutive lines behind `last`, and return them as blocks. Not yet durable.

        All or none: where it raises, the caller takes what was written back by `take_back`.
        """
        blocks = blocks_of(self.last + 1, lines, now_ms)
        position = self.size
        entries = []
        for block in blocks:
            length = len(block.data)
            entries.append(
                IndexEntry(
                    block.first,
                    position,
                    now_ms,
                    block.last - block.first + 1,
                    length,
                    crc32(block.data),
                )
            )
            position += length
        position = self.size
        for piece in _pieces(blocks):
            self._file.write(position, piece)
            position += len(piece)
        self._index.append(entries)
        self.size = position
        self.last += len(lines)
        return blocks

    def try_to_write(self) -> None:
        """Write behind `size` and take it back; zeros, as in what never reached the disk."""
        try:
            self._file.write(self.size, bytes(TRIAL_BYTES))
        finally:
            must_succeed(lambda: self._file.truncate(self.size))

    def take_back(self) -> None:
        """Remove what an append that failed may have written behind `size`, durably."""
        self._file.truncate(self.size)
        self._file.sync()
        self._index.truncate(len(self._index))

    def read(self, offset: int, max_bytes: int) -> list[Block | Damage]:
        """Return some blocks, from the one that holds `offset`, or the next behind it, on.

        At least one, then as many as stand next to each other and fit `max_bytes`; none where the
        segment ends before `offset`. A block that is not what was appended comes as its damage.
        """
        entries = self._mending(lambda: self._index.from_offset(offset))
        run = entries[:1]
        for entry in entries[1:]:
            if entry.position != run[-1].end or entry.end - run[0].position > max_bytes:
                break
            run.append(entry)
        return self._read_run(run)

    def first_since(self, time_ms: int) -> int | None:
        """Return the first offset of a block that was appended then or later, None for none."""
        return self._mending(lambda: self._index.first_since(time_ms))

    def cut(self, offset: int) -> None:
        """Drop all behind the line `offset`, also what is no line; a damaged block goes whole."""
        try:
            self._cut(offset, trusting_index=False)
        except IndexDamaged:
            self._rebuild_index("the index was damaged and has been made anew")
            self._cut(offset, trusting_index=True)

    def still_has(self, damage: Damage) -> bool:
        """Tell whether the damaged bytes are there, and no good line has taken their place."""
        start, end = damage.position, damage.position + damage.length
        return end <= self._file.size() and not any(
            entry.position < end
            and start < entry.end
            and entry.fits(self._file.read(entry.position, entry.length))
            for entry in self._index.entries()
            if entry
        )

    def blank(self, damage: Damage) -> None:
        """Write over damaged bytes, so that nothing takes them for lines again, durably.

        First the bytes, then the index: cut short in between, they are still damaged.
        """
        if damage.position >= self.size:
            return  # Gone with what was cut off the end.
        self._file.write(damage.position, bytes(damage.length - 1) + b"\n")
        self._file.sync()
        entries = [entry for entry in self._index.entries() if entry]
        self._replace_index([entry for entry in entries if entry.position != damage.position])
        if damage.position + damage.length == self.size:
            self.size = self._end_of(len(self._index))
            self.last = self._index[len(self._index) - 1].last if self.size else self.first - 1
            self._file.truncate(self.size)
            self._file.sync()

    def raw(self, position: int, length: int) -> bytes:
        """Return bytes as they are, good or damaged."""
        return self._file.read(position, length)

    def sync(self) -> None:
        """Make all lines durable."""
        self._file.sync()

    def sync_index(self) -> None:
        """Make the index durable."""
        self._index.sync()

    def close(self) -> None:
        """Close the files; closing twice is fine. Does not sync."""
        self._file.close()
        if self._open_index is not None:  # An empty one counts as false.
            self._open_index.close()

    @property
    def _index(self) -> Index:
        """The index; opened again where making it anew was cut short."""
        if self._open_index is None:
            self._open_index = Index(self._disk.open(self._index_path, create=True))
        return self._open_index

    def _recover(self) -> None:
        """Where the index does not end with the file, make it anew and cut a torn last line."""
        try:
            last = self._index[len(self._index) - 1] if len(self._index) else None
        except IndexDamaged:
            last = None
        if (last.end if last else 0) == self.size:
            self.last = last.last if last else self.first - 1
            return
        rebuilt = self._rebuild_index("the index did not end with the log and has been made anew")
        self.last = rebuilt.entries[-1].last if rebuilt.entries else self.first - 1
        if rebuilt.size < self.size:
            self._file.truncate(rebuilt.size)
            self.size = rebuilt.size

    def _cut(self, offset: int, *, trusting_index: bool) -> None:
        if offset >= self.last and self._end_of(len(self._index)) == self.size:
            return
        number = self._index.number_of(offset)
        kept = b""
        if len(self._index):
            entry = self._index[number]
            # A cut into a hole would take good lines along, were the hole in the index alone.
            before, behind = self.first <= offset < entry.first, entry.last < offset < self.last
            if (before or behind) and not trusting_index:
                raise IndexDamaged
            if entry.last <= offset:
                number += 1
            elif entry.first <= offset:
                data = self._file.read(entry.position, entry.length)
                if entry.fits(data):
                    lines = data.split(b"\n")[: offset - entry.first + 1]
                    kept = b"".join(line + b"\n" for line in lines)
        self.last = self._index[number - 1].last if number else self.first - 1
        # Of what is no line nothing may stay: the next line would be written right behind it.
        self.size = entry.position + len(kept) if kept else self._end_of(number)
        # What stays is not written again, or a crash might take it; and what goes is gone for good,
        # or a crash might mix it with what is written in its place.
        self._file.truncate(self.size)
        self._file.sync()
        self._index.truncate(number)
        if kept:
            self.last = offset
            count = offset - entry.first + 1
            self._index.append([entry._replace(lines=count, length=len(kept), crc=crc32(kept))])

    def _end_of(self, count: int) -> int:
        """Tell where the first `count` blocks end."""
        return self._index[count - 1].end if count else 0

    def _mending(self, use_index: Callable[[], T]) -> T:
        """Use the index; where an entry turns out to be damaged, make it anew and try again."""
        try:
            return use_index()
        except IndexDamaged:
            self._rebuild_index("the index was damaged and has been made anew")
            return use_index()

    def _rebuild_index(self, why: str) -> Rebuilt:
        old_entries = self._index.entries()
        rebuilt = rebuild(self._file, self._line_format, self.first, old_entries, self._now_ms)
        self._replace_index(rebuilt.entries)
        # A crash may do this to the index of the active segment, of which nothing but the log is
        # synced, and to a sealed one that was about to be deleted: its index goes first.
        is_damage = self._sealed and bool(old_entries)
        self.findings += [Note(self._index_path, why, is_damage), *rebuilt.findings]
        return rebuilt

    def _replace_index(self, entries: Sequence[IndexEntry]) -> None:
        self._index.close()
        self._open_index = None
        write_whole(self._disk, self._index_path, b"".join(map(encode_entry, entries)))

    def _read_run(self, run: Sequence[IndexEntry]) -> list[Block | Damage]:
        """Read neighbouring blocks in one go, or only those up to one that the disk cannot read."""
        if not run:
            return []
        start = run[0].position
        try:
            data = self._file.read(start, run[-1].end - start)
        except OSError:
            # What cannot be read is no damage: it may be there the next time.
            if len(run) == 1:
                raise
            return self._read_run(run[: len(run) // 2])
        blocks: list[Block | Damage] = []
        for entry in run:
            block = data[entry.position - start : entry.end - start]  # The only one is no copy.
            if entry.fits(block):
                blocks.append(Block(entry.first, entry.last, block, entry.time_ms))
            else:
                damage = (self.path, entry.position, entry.length, entry.first, entry.last)
                blocks.append(Damage(*damage))
        return blocks


def _pieces(blocks: Sequence[Block]) -> Iterator[bytes]:
    """Join blocks to pieces that are worth a call of the system; a large one is not copied."""
    piece: list[bytes] = []
    size = 0
    for block in blocks:
        piece.append(block.data)
        size += len(block.data)
        if size >= PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)

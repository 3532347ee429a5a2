"""A segment's index: where its lines stand, when they came, and what their bytes must be."""

import errno
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.storage.index import (
    ENTRY_BYTES,
    Index,
    IndexDamaged,
    IndexEntry,
    decode_entry,
    encode_entry,
)
from tests.simulated_disk import SimulatedDisk

PATH = Path("a.index")
U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1)
ENTRIES = st.builds(IndexEntry, U64, U64, U64, U32, U32, U32)


@pytest.fixture
def disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.open(PATH, create=True).close()
    disk.sync_folder(Path())
    return disk


def entries_of(spans: Sequence[tuple[int, int]]) -> list[IndexEntry]:
    """Return entries for blocks of so many lines, each behind a hole of so many offsets."""
    entries: list[IndexEntry] = []
    offset = position = 1
    for hole, lines in spans:
        offset += hole
        entries.append(IndexEntry(offset, position, 1000 + offset, lines, lines * 10, offset))
        offset, position = offset + lines, position + lines * 10 + hole
    return entries


def filled(disk: SimulatedDisk, entries: Sequence[IndexEntry]) -> Index:
    index = Index(disk.open(PATH))
    index.append(entries)
    return index


def check_from_offset(index: Index, entries: list[IndexEntry], offset: int) -> None:
    """Compare with the slowest way to find it."""
    expected = [entry for entry in entries if entry.last >= offset]
    found = index.from_offset(offset)
    assert found == expected[: len(found)]
    assert bool(found) == bool(expected)


HUNDREDS = entries_of([(3 if number % 5 == 0 else 0, 1 + number % 3) for number in range(400)])


class TestEntry:
    @given(ENTRIES)
    def test_an_entry_comes_back(self, entry: IndexEntry) -> None:
        assert len(encode_entry(entry)) == ENTRY_BYTES
        assert decode_entry(encode_entry(entry)) == entry

    @given(ENTRIES)
    def test_a_changed_bit_is_seen_wherever_it_is(self, entry: IndexEntry) -> None:
        data = bytearray(encode_entry(entry))
        for position in range(ENTRY_BYTES):
            for bit in range(8):
                data[position] ^= 1 << bit
                assert decode_entry(bytes(data)) is None
                data[position] ^= 1 << bit

    @pytest.mark.parametrize("data", [b"", bytes(ENTRY_BYTES), bytes(39), bytes(41)])
    def test_what_is_no_entry_is_none(self, data: bytes) -> None:
        assert decode_entry(data) is None

    def test_its_bytes_are_as_they_are_drawn(self) -> None:
        fields = bytes.fromhex(
            "0100000000000000 0200000000000000 0300000000000000 04000000 05000000 06000000"
        )
        check = zlib.crc32(fields).to_bytes(4, "little")
        assert encode_entry(IndexEntry(1, 2, 3, 4, 5, 6)) == fields + check

    def test_it_tells_where_its_block_ends(self) -> None:
        entry = IndexEntry(first=7, position=100, time_ms=0, lines=3, length=50, crc=0)
        assert (entry.last, entry.end) == (9, 150)

    def test_it_fits_the_bytes_that_were_appended_and_no_others(self) -> None:
        entry = IndexEntry(1, 0, 0, 1, 4, zlib.crc32(b"abc\n"))
        assert entry.fits(b"abc\n")
        for data in (b"", b"abc", b"abd\n", b"abc\n\n", b"\0abc\n"):
            assert not entry.fits(data)


class TestReading:
    def test_an_empty_index_has_nothing(self, disk: SimulatedDisk) -> None:
        index = Index(disk.open(PATH))
        assert (len(index), index.entries(), index.number_of(5)) == (0, [], 0)
        assert index.from_offset(1) == []

    def test_all_entries_come_back_by_number(self, disk: SimulatedDisk) -> None:
        index = filled(disk, HUNDREDS)
        assert len(index) == len(HUNDREDS)
        assert index.entries() == HUNDREDS
        for number in (0, 399, 200, 127, 128, 129, 0):
            assert index[number] == HUNDREDS[number]

    def test_an_index_that_is_opened_again_is_the_same(self, disk: SimulatedDisk) -> None:
        filled(disk, HUNDREDS).close()
        assert Index(disk.open(PATH)).entries() == HUNDREDS

    def test_every_offset_is_found_also_in_holes_and_beyond_the_end(
        self, disk: SimulatedDisk
    ) -> None:
        offsets = range(HUNDREDS[-1].last + 3)
        for order in (offsets, offsets[::-1], offsets[::101]):
            index = filled(disk, HUNDREDS)
            for offset in order:
                check_from_offset(index, HUNDREDS, offset)
            index.truncate(0)
            index.close()

    @given(
        spans=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=200),
        asked=st.lists(st.tuples(st.booleans(), st.integers(0, 1000)), max_size=30),
        appended_later=st.integers(0, 9),
    )
    def test_every_offset_is_found_whatever_was_asked_before(
        self, spans: list[tuple[int, int]], asked: list[tuple[bool, int]], appended_later: int
    ) -> None:
        disk = SimulatedDisk()
        disk.open(PATH, create=True).close()
        entries = entries_of(spans)
        late = entries[len(entries) - min(appended_later, len(entries)) :]
        early = entries[: len(entries) - len(late)]
        index = filled(disk, early)
        for number, (by_number, offset) in enumerate(asked):
            there = early if number < len(asked) // 2 else entries
            if number == len(asked) // 2:
                index.append(late)
            if by_number and there:
                assert index[offset % len(there)] == there[offset % len(there)]
            else:
                check_from_offset(index, there, offset)

    def test_the_entry_that_holds_an_offset_is_found_by_halving(self, disk: SimulatedDisk) -> None:
        index = filled(disk, HUNDREDS)
        disk.trace.clear()
        index.from_offset(HUNDREDS[311].first)
        assert [step.operation for step in disk.trace] == ["read"] * len(disk.trace)
        assert len(disk.trace) <= 10

    def test_neighbours_are_found_without_another_read(self, disk: SimulatedDisk) -> None:
        index = filled(disk, HUNDREDS)
        index.from_offset(1)
        disk.trace.clear()
        for offset in range(HUNDREDS[0].first, HUNDREDS[127].last + 1):
            check_from_offset(index, HUNDREDS, offset)
        assert disk.trace == []

    def test_a_number_is_that_of_the_last_entry_that_begins_at_or_before_the_offset(
        self, disk: SimulatedDisk
    ) -> None:
        index = filled(disk, HUNDREDS)
        for offset in range(HUNDREDS[-1].last + 3):
            begun = [number for number, entry in enumerate(HUNDREDS) if entry.first <= offset]
            assert index.number_of(offset) == (begun[-1] if begun else 0)


class TestWriting:
    @pytest.mark.parametrize("left", range(1, ENTRY_BYTES))
    def test_a_partial_last_entry_is_ignored(self, disk: SimulatedDisk, left: int) -> None:
        file = disk.open(PATH)
        file.write(0, b"".join(map(encode_entry, HUNDREDS[:3])))
        file.truncate(2 * ENTRY_BYTES + left)
        index = Index(file)
        assert len(index) == 2
        assert index.entries() == index.from_offset(1) == HUNDREDS[:2]
        assert index.from_offset(HUNDREDS[2].first) == []
        index.append(HUNDREDS[2:5])
        assert index.entries() == HUNDREDS[:5]

    @pytest.mark.parametrize("count", [0, 1, 2, 150])
    def test_a_truncation_is_durable_at_once(self, disk: SimulatedDisk, count: int) -> None:
        index = filled(disk, HUNDREDS)
        index.sync()
        index.from_offset(1)
        index.truncate(count)
        left = HUNDREDS[:count]
        assert (len(index), index.entries()) == (count, left)
        for offset in range(HUNDREDS[-1].last + 2):
            check_from_offset(index, left, offset)
        assert Index(disk.power_loss_worst().open(PATH)).entries() == left

    def test_entries_follow_those_that_a_truncation_kept(self, disk: SimulatedDisk) -> None:
        index = filled(disk, HUNDREDS[:9])
        index.truncate(4)
        other = [entry._replace(time_ms=7) for entry in HUNDREDS[4:8]]
        index.append(other)
        assert index.entries() == HUNDREDS[:4] + other

    def test_entries_are_durable_after_a_sync(self, disk: SimulatedDisk) -> None:
        index = filled(disk, HUNDREDS[:2])
        index.sync()
        index.append(HUNDREDS[2:4])
        assert Index(disk.power_loss_worst().open(PATH)).entries() == HUNDREDS[:2]

    @pytest.mark.parametrize("written", [0, 7, ENTRY_BYTES, ENTRY_BYTES + 7, 2 * ENTRY_BYTES])
    def test_what_a_failed_append_left_is_never_read(
        self, disk: SimulatedDisk, written: int
    ) -> None:
        index = filled(disk, HUNDREDS[:2])
        disk.fail("write", error=OSError(errno.ENOSPC, "full"), written=written)
        with pytest.raises(OSError, match="full"):
            index.append(HUNDREDS[2:4])
        assert len(index) == 2
        assert index.entries() == index.from_offset(1) == HUNDREDS[:2]
        index.truncate(len(index))
        index.append(HUNDREDS[2:5])
        assert index.entries() == index.from_offset(1) == HUNDREDS[:5]


class TestDamage:
    @pytest.mark.parametrize("number", [0, 1, 127, 128, 200, 399])
    def test_a_damaged_entry_is_refused_and_the_others_are_told(
        self, disk: SimulatedDisk, number: int
    ) -> None:
        index = filled(disk, HUNDREDS)
        disk.corrupt(PATH, number * ENTRY_BYTES + 17, b"\xff")
        with pytest.raises(IndexDamaged):
            index[number]
        with pytest.raises(IndexDamaged):
            index.from_offset(HUNDREDS[number].first)
        expected: list[IndexEntry | None] = [*HUNDREDS]
        expected[number] = None
        assert index.entries() == expected

    def test_whatever_is_damaged_no_wrong_entry_comes(self, disk: SimulatedDisk) -> None:
        few = HUNDREDS[:7]
        index = filled(disk, few)
        data = disk.files()[PATH]
        for position in range(len(data)):
            disk.corrupt(PATH, position, bytes([data[position] ^ 0x10]))
            for offset in range(few[-1].last + 2):
                index = Index(disk.kill().open(PATH))
                with suppress(IndexDamaged):
                    check_from_offset(index, few, offset)
            disk.corrupt(PATH, position, data[position : position + 1])

    @pytest.mark.parametrize(
        "second",
        [
            IndexEntry(first=3, position=30, time_ms=0, lines=3, length=30, crc=0),
            IndexEntry(first=1, position=30, time_ms=0, lines=1, length=30, crc=0),
            IndexEntry(first=4, position=29, time_ms=0, lines=3, length=30, crc=0),
        ],
    )
    def test_entries_that_overlap_are_damaged(
        self, disk: SimulatedDisk, second: IndexEntry
    ) -> None:
        first = IndexEntry(first=1, position=0, time_ms=0, lines=3, length=30, crc=0)
        index = filled(disk, [first, second])
        with pytest.raises(IndexDamaged):
            index.from_offset(0)

    def test_zeros_are_no_entries(self, disk: SimulatedDisk) -> None:
        disk.open(PATH).truncate(3 * ENTRY_BYTES)
        index = Index(disk.kill().open(PATH))
        assert index.entries() == [None] * 3
        with pytest.raises(IndexDamaged):
            index.from_offset(1)

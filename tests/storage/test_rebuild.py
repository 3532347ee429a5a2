"""A segment's index, made anew from its lines."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.records import LineFormat
from pandaq.storage.block import BLOCK_BYTES
from pandaq.storage.findings import Damage, Missing, TailCut
from pandaq.storage.index import IndexEntry
from pandaq.storage.rebuild import Rebuilt, rebuild
from tests.simulated_disk import SimulatedDisk

PATH = Path("a.log")
FORMAT = LineFormat.partition("t", 0)
NOW = 5000


def line(offset: int, content: bytes = b"1") -> bytes:
    (encoded,) = FORMAT.encode(offset, [b"m|" + content])
    return encoded


def lines(first: int, last: int) -> bytes:
    return b"".join(line(offset) for offset in range(first, last + 1))


def entry(first: int, data: bytes, position: int, time_ms: int = 1000) -> IndexEntry:
    return IndexEntry(first, position, time_ms, data.count(b"\n"), len(data), crc32(data))


def rebuilt_from(data: bytes, entries: Sequence[IndexEntry | None] = (), first: int = 1) -> Rebuilt:
    disk = SimulatedDisk()
    file = disk.open(PATH, create=True)
    file.write(0, data)
    disk.trace.clear()
    rebuilt = rebuild(file, FORMAT, first, entries, NOW)
    assert {step.operation for step in disk.trace} <= {"size", "read"}
    return rebuilt


def spans(rebuilt: Rebuilt) -> list[tuple[int, int]]:
    return [(entry.first, entry.last) for entry in rebuilt.entries]


class TestWholeLines:
    def test_an_empty_segment_has_no_entries(self) -> None:
        assert rebuilt_from(b"") == Rebuilt([], 0, [])

    def test_lines_are_joined_to_one_entry(self) -> None:
        data = lines(1, 9)
        assert rebuilt_from(data) == Rebuilt([entry(1, data, 0, NOW)], len(data), [])

    def test_the_first_line_may_have_any_first_offset(self) -> None:
        data = lines(100, 109)
        assert rebuilt_from(data, first=100) == Rebuilt([entry(100, data, 0, NOW)], len(data), [])

    def test_an_entry_is_no_longer_than_a_block_unless_it_is_one_line(self) -> None:
        sizes = [4000, 4000, 4000, 3 * BLOCK_BYTES, 10, 10]
        data = [line(n, b'"%s"' % (b"x" * size)) for n, size in enumerate(sizes, 1)]
        rebuilt = rebuilt_from(b"".join(data))
        assert spans(rebuilt) == [(1, 2), (3, 3), (4, 4), (5, 6)]
        assert rebuilt.findings == []

    def test_lines_may_be_longer_than_what_is_read_at_once(self) -> None:
        sizes = [2_500_000, 1, 1_048_576, 700_000, 700_000, 3]
        data = [line(n, b'"%s"' % (b"x" * size)) for n, size in enumerate(sizes, 1)]
        rebuilt = rebuilt_from(b"".join(data))
        assert spans(rebuilt) == [(n, n) for n in range(1, 7)]
        assert [entry.crc for entry in rebuilt.entries] == [crc32(each) for each in data]

    def test_many_lines_are_read_in_parts(self) -> None:
        data = lines(1, 100_000)
        rebuilt = rebuilt_from(data)
        assert (rebuilt.size, rebuilt.findings) == (len(data), [])
        for one, following in pairwise(rebuilt.entries):
            assert (one.last + 1, one.end) == (following.first, following.position)
            assert one.fits(data[one.position : one.end])


class TestTornTail:
    @pytest.mark.parametrize("before", [0, 1, 5])
    def test_a_torn_last_line_is_left_out_wherever_it_is_torn(self, before: int) -> None:
        whole, torn = lines(1, before), line(before + 1)
        for cut in range(1, len(torn)):
            rebuilt = rebuilt_from(whole + torn[:cut])
            assert spans(rebuilt) == ([(1, before)] if before else [])
            assert rebuilt.size == len(whole)
            assert rebuilt.findings == [TailCut(PATH, len(whole), cut)]

    def test_zeros_at_the_end_are_torn_off_too(self) -> None:
        whole = lines(1, 3)
        rebuilt = rebuilt_from(whole + bytes(100))
        assert (rebuilt.size, rebuilt.findings) == (len(whole), [TailCut(PATH, len(whole), 100)])

    def test_what_is_damaged_before_the_torn_line_is_told_apart(self) -> None:
        whole, bad = lines(1, 3), b"bad\n"
        rebuilt = rebuilt_from(whole + bad + b"t|0|5|m")
        assert rebuilt.size == len(whole + bad)
        assert rebuilt.findings == [
            Damage(PATH, len(whole), 4, 4, 3),
            TailCut(PATH, len(whole + bad), 7),
        ]


class TestDamage:
    @pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 3), (4, 4), (4, 7), (9, 9)])
    def test_damaged_lines_are_one_finding_and_their_neighbours_stay(
        self, first: int, last: int
    ) -> None:
        before, bad, after = lines(1, first - 1), lines(first, last), lines(last + 1, 10)
        rebuilt = rebuilt_from(before + bad.replace(b"|m|", b"\0m\0") + after)
        kept = [(1, first - 1)] if first > 1 else []
        assert spans(rebuilt) == [*kept, (last + 1, 10)]
        assert rebuilt.findings == [Damage(PATH, len(before), len(bad), first, last)]
        assert rebuilt.size == len(before + bad + after)

    def test_a_line_of_another_log_is_damage(self) -> None:
        data = line(1) + line(2).replace(b"t|0|", b"t|1|") + line(3)
        assert spans(rebuilt_from(data)) == [(1, 1), (3, 3)]

    def test_damage_at_the_end_costs_no_offset_that_is_known(self) -> None:
        whole = lines(1, 3)
        rebuilt = rebuilt_from(whole + b"bad\nworse\n")
        assert (spans(rebuilt), rebuilt.size) == ([(1, 3)], len(whole) + 10)
        assert rebuilt.findings == [Damage(PATH, len(whole), 10, 4, 3)]

    def test_a_line_too_many_costs_no_offset(self) -> None:
        whole = lines(1, 3)
        rebuilt = rebuilt_from(whole + b"bad\n" + line(4))
        assert spans(rebuilt) == [(1, 3), (4, 4)]
        assert rebuilt.findings == [Damage(PATH, len(whole), 4, 4, 3)]

    def test_missing_lines_are_told(self) -> None:
        rebuilt = rebuilt_from(lines(4, 6) + lines(9, 10))
        assert spans(rebuilt) == [(4, 6), (9, 10)]
        assert rebuilt.findings == [Missing(PATH, 1, 3), Missing(PATH, 7, 8)]

    def test_a_line_that_goes_back_is_damage(self) -> None:
        data = lines(1, 4) + line(3, b"2") + line(5)
        rebuilt = rebuilt_from(data)
        assert spans(rebuilt) == [(1, 4), (5, 5)]
        assert rebuilt.findings == [Damage(PATH, len(lines(1, 4)), len(line(3)), 5, 4)]

    @pytest.mark.parametrize("wrong", [1, 4, 6, 7, 9, 10, 95, 10**18])
    def test_a_wrong_offset_costs_its_own_line_alone(self, wrong: int) -> None:
        before, bad, after = lines(1, 4), line(wrong), lines(6, 20)
        rebuilt = rebuilt_from(before + bad + after)
        assert spans(rebuilt) == [(1, 4), (6, 20)]
        assert rebuilt.findings == [Damage(PATH, len(before), len(bad), 5, 5)]


class TestOldEntries:
    def test_they_are_kept_as_they_are(self) -> None:
        one, two = lines(1, 3), lines(4, 6)
        old = [entry(1, one, 0, 1000), entry(4, two, len(one), 2000)]
        assert rebuilt_from(one + two, old) == Rebuilt(old, len(one + two), [])

    def test_they_are_kept_though_their_bytes_are_damaged(self) -> None:
        one, two = lines(1, 3), lines(4, 6)
        old = [entry(1, one, 0), entry(4, two, len(one))]
        rebuilt = rebuilt_from(one.replace(b"|m|1", b"|m|2") + two, old)
        assert rebuilt.entries == old

    def test_what_lies_between_them_gets_the_time_behind_and_the_rest_that_of_now(self) -> None:
        parts = [lines(1, 3), lines(4, 6), lines(7, 9), lines(10, 12)]
        starts = [sum(map(len, parts[:n])) for n in range(4)]
        entries = [entry(3 * n + 1, parts[n], starts[n], 1000 * (n + 1)) for n in range(4)]
        data = b"".join(parts)
        rebuilt = rebuilt_from(data, [entries[0], None, entries[2]])
        expected = [
            entries[0],
            entries[1]._replace(time_ms=3000),
            entries[2],
            entries[3]._replace(time_ms=5000),
        ]
        assert rebuilt == Rebuilt(expected, len(data), [])
        rebuilt = rebuilt_from(data, [None, *entries[1:]])
        assert rebuilt == Rebuilt([entries[0]._replace(time_ms=2000), *entries[1:]], len(data), [])

    def test_lines_are_never_joined_to_an_old_entry_whose_bytes_may_be_damaged(self) -> None:
        one, two = lines(1, 3), lines(4, 6)
        rebuilt = rebuilt_from(one.replace(b"|m|1", b"|m|2") + two, [entry(1, one, 0)])
        new = entry(4, two, len(one))._replace(time_ms=5000)
        assert rebuilt.entries == [entry(1, one, 0), new]

    def test_damage_between_them_is_told(self) -> None:
        one, bad, two = lines(1, 3), b"bad\n", lines(6, 8)
        old = [entry(1, one, 0), entry(6, two, len(one + bad))]
        rebuilt = rebuilt_from(one + bad + two, old)
        assert rebuilt.entries == old
        assert rebuilt.findings == [Damage(PATH, len(one), 4, 4, 5)]

    def test_lines_between_them_must_fit_between_them(self) -> None:
        one, between, two = lines(1, 3), lines(4, 7), lines(6, 8)
        old = [entry(1, one, 0), entry(6, two, len(one + between))]
        rebuilt = rebuilt_from(one + between + two, old)
        assert spans(rebuilt) == [(1, 3), (4, 5), (6, 8)]
        bad = len(lines(6, 7))
        assert rebuilt.findings == [Damage(PATH, len(one + between) - bad, bad, 6, 5)]

    def test_those_that_cannot_be_right_are_not_used(self) -> None:
        data = lines(1, 9)
        some = line(1)
        wrong = [
            entry(1, data + b"beyond the end\n", 0),
            IndexEntry(1, 0, 0, 1, 0, 0),
            entry(0, some, 0),
        ]
        for each in wrong:
            assert rebuilt_from(data, [each]) == Rebuilt([entry(1, data, 0, NOW)], len(data), [])

    def test_those_that_overlap_or_go_back_are_not_used(self) -> None:
        one, two = lines(1, 3), lines(4, 6)
        good = entry(1, one, 0)
        for wrong in (entry(4, two, len(one) - 1), entry(3, two, len(one)), good):
            rebuilt = rebuilt_from(one + two, [good, wrong])
            new = entry(4, two, len(one))._replace(time_ms=5000)
            assert rebuilt.entries == [good, new]

    def test_the_tail_behind_the_last_of_them_may_be_torn(self) -> None:
        one = lines(1, 3)
        for cut in range(1, len(line(4))):
            rebuilt = rebuilt_from(one + line(4)[:cut], [entry(1, one, 0)])
            assert (rebuilt.entries, rebuilt.size) == ([entry(1, one, 0)], len(one))
            assert rebuilt.findings == [TailCut(PATH, len(one), cut)]

    @pytest.mark.parametrize("cut", range(1, len(lines(1, 3))))
    def test_what_is_left_of_a_block_that_was_cut_is_kept(self, cut: int) -> None:
        one = lines(1, 3)
        rebuilt = rebuilt_from(one[:cut], [entry(1, one, 0)])
        whole = one[:cut].rpartition(b"\n")[0].count(b"\n") + 1 if b"\n" in one[:cut] else 0
        assert spans(rebuilt) == ([(1, whole)] if whole else [])
        assert rebuilt.size == len(lines(1, whole))


PIECES = st.lists(
    st.integers(1, 12).map(line)
    | st.binary(max_size=9)
    | st.sampled_from([b"\n", bytes(20), b"t|0|", b"t|0|3|m|1"]),
    max_size=12,
)
OLD_ENTRIES = st.lists(
    st.none()
    | st.builds(
        IndexEntry,
        st.integers(0, 12),
        st.integers(0, 60),
        st.just(1000),
        st.integers(1, 3),
        st.integers(0, 40),
        st.integers(0, 9),
    ),
    max_size=4,
)


@given(PIECES.map(b"".join), OLD_ENTRIES)
def test_whatever_is_there_the_entries_are_in_order_and_of_whole_lines(
    data: bytes, old: list[IndexEntry | None]
) -> None:
    rebuilt = rebuilt_from(data, old)
    for one, following in pairwise(rebuilt.entries):
        assert one.last < following.first
        assert one.end <= following.position
    for each in rebuilt.entries:
        assert each.first >= 1
        assert 0 <= each.position < each.end <= rebuilt.size <= len(data)
        if each not in old:
            block = data[each.position : each.end]
            assert each.fits(block)
            offsets = [FORMAT.offset_of(text) for text in block.split(b"\n")[:-1]]
            assert block.endswith(b"\n")
            assert offsets == list(range(each.first, each.last + 1))


@given(PIECES.map(b"".join))
def test_a_second_time_nothing_changes(data: bytes) -> None:
    rebuilt = rebuilt_from(data)
    again = rebuilt_from(data[: rebuilt.size], rebuilt.entries)
    assert again.entries == rebuilt.entries


def test_a_byte_that_changes_costs_at_most_the_lines_that_it_parts_or_joins() -> None:
    whole = [line(offset, b'{"a":%d}' % offset) for offset in range(1, 7)]
    data = b"".join(whole)
    starts = [len(b"".join(whole[:n])) for n in range(7)]
    for position in range(len(data)):
        for byte in (0, 10, 49, 57, 124, data[position] ^ 1, data[position] ^ 128):
            changed = data[:position] + bytes([byte]) + data[position + 1 :]
            touched = {n for n in range(6) if starts[n] <= position < starts[n + 1]}
            if data[position] == 10:
                touched |= {n + 1 for n in touched}
            rebuilt = rebuilt_from(changed)
            kept = {offset for first, last in spans(rebuilt) for offset in range(first, last + 1)}
            expected = {n + 1 for n in range(6) if n not in touched}
            if 5 not in touched:
                assert expected <= kept <= {1, 2, 3, 4, 5, 6}
            else:
                assert expected <= kept

"""A segment: one file of lines, and the index beside it."""

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.records import LineFormat
from pandaq.storage.block import Block
from pandaq.storage.findings import Damage, Missing, Note, TailCut
from pandaq.storage.index import ENTRY_BYTES
from pandaq.storage.segment import Segment
from tests.simulated_disk import SimulatedDisk

PATH = Path("a.log")
INDEX_PATH = Path("a.index")
FORMAT = LineFormat.partition("t", 0)
LINE_BYTES = len(b"t|0|1|m|1\n")
"""Length of a line with an offset of one digit."""


@pytest.fixture
def disk() -> SimulatedDisk:
    return SimulatedDisk()


def open_segment(disk: SimulatedDisk, first: int = 1, now_ms: int = 5000) -> Segment:
    return Segment(disk, PATH, INDEX_PATH, first, FORMAT, now_ms, sealed=False)


def lines(first: int, last: int, content: bytes = b"1") -> list[bytes]:
    return FORMAT.encode(first, [b"m|" + content] * (last - first + 1))


def filled(disk: SimulatedDisk, counts: list[int], first: int = 1) -> Segment:
    """Return a segment with so many lines by each append, appended at 1000, 2000, … ms."""
    segment = open_segment(disk, first)
    for number, count in enumerate(counts, 1):
        start = segment.last + 1
        segment.append(lines(start, start + count - 1), 1000 * number)
    return segment


def offsets(blocks: list[Block | Damage]) -> list[tuple[int, int]]:
    return [(block.first, block.last) for block in blocks if isinstance(block, Block)]


def bytes_of(disk: SimulatedDisk, path: Path = PATH) -> bytes:
    return disk.files()[path]


class TestOpening:
    def test_a_new_segment_is_empty(self, disk: SimulatedDisk) -> None:
        segment = open_segment(disk, first=8)
        assert (segment.first, segment.last, segment.size) == (8, 7, 0)
        assert segment.read(8, 100) == []
        assert segment.findings == []

    def test_a_segment_is_opened_as_it_was_left(self, disk: SimulatedDisk) -> None:
        filled(disk, [2, 3], first=4).close()
        disk.trace.clear()
        segment = open_segment(disk, first=4)
        assert (segment.last, segment.size) == (8, 5 * LINE_BYTES)
        assert [step.operation for step in disk.trace].count("read") <= 1
        assert offsets(segment.read(4, 100)) == [(4, 5), (6, 8)]
        assert segment.findings == []

    def test_a_torn_line_is_cut_and_said(self, disk: SimulatedDisk) -> None:
        filled(disk, [3]).close()
        disk.open(PATH).truncate(3 * LINE_BYTES - 1)
        segment = open_segment(disk.kill())
        assert (segment.last, segment.size) == (2, 2 * LINE_BYTES)
        assert segment.findings == [
            Note(INDEX_PATH, "the index did not end with the log and has been made anew"),
            TailCut(PATH, 2 * LINE_BYTES, LINE_BYTES - 1),
        ]

    def test_an_index_that_is_made_anew_is_durable(self, disk: SimulatedDisk) -> None:
        segment = filled(disk, [2, 3])
        segment.sync()
        disk.sync_folder(Path())
        image = disk.power_loss_worst()
        assert bytes_of(image, INDEX_PATH) == b""
        open_segment(image).close()
        assert len(bytes_of(image.power_loss_worst(), INDEX_PATH)) == ENTRY_BYTES

    def test_a_segment_that_begins_late_says_what_is_missing(self, disk: SimulatedDisk) -> None:
        file = disk.open(PATH, create=True)
        file.write(0, b"".join(lines(4, 6)))
        file.close()
        segment = open_segment(disk)
        assert (segment.first, segment.last) == (1, 6)
        assert Missing(PATH, 1, 3) in segment.findings

    def test_what_cannot_be_opened_leaves_nothing_open(self, disk: SimulatedDisk) -> None:
        filled(disk, [3]).close()
        disk.corrupt(INDEX_PATH, 0, b"\xff")
        for operation, where in (("open", "*.index"), ("read", "*"), ("write", "*.tmp")):
            disk.fail(operation, where)  # type: ignore[arg-type]
            with pytest.raises(OSError, match="Input/output error"):
                open_segment(disk)
            assert not disk.open_files


class TestAppending:
    def test_lines_are_returned_as_the_blocks_that_are_written(self, disk: SimulatedDisk) -> None:
        segment = open_segment(disk)
        big = lines(1, 3, b'"%s"' % (b"x" * 4000))
        blocks = segment.append(big, 1000)
        assert offsets([*blocks]) == [(1, 2), (3, 3)]
        assert b"".join(block.data for block in blocks) == b"".join(big) == bytes_of(disk)
        assert (segment.last, segment.size) == (3, len(b"".join(big)))

    @pytest.mark.parametrize("path", [PATH, INDEX_PATH])
    @pytest.mark.parametrize("written", [0, 1, LINE_BYTES, ENTRY_BYTES, 10_000])
    def test_a_failed_append_is_taken_back_durably(
        self, disk: SimulatedDisk, path: Path, written: int
    ) -> None:
        segment = filled(disk, [2])
        segment.sync()
        disk.sync_folder(Path())
        before = disk.files()
        disk.fail("write", path, error=OSError(errno.ENOSPC, "full"), written=written)
        with pytest.raises(OSError, match="full"):
            segment.append(lines(3, 5), 2000)
        segment.take_back()
        assert disk.files() == disk.power_loss_worst().files() == before
        assert (segment.last, segment.size) == (2, 2 * LINE_BYTES)
        segment.append(lines(3, 4), 2000)
        assert offsets(segment.read(1, 100)) == [(1, 2), (3, 4)]

    def test_lines_and_index_are_made_durable_apart(self, disk: SimulatedDisk) -> None:
        segment = filled(disk, [2])
        disk.sync_folder(Path())
        segment.sync()
        assert list(disk.power_loss_worst().files().values()) == [b"", bytes_of(disk)]
        segment.sync_index()
        assert disk.power_loss_worst().files() == disk.files()

    def test_the_newest_time_is_that_of_the_last_append(self, disk: SimulatedDisk) -> None:
        assert open_segment(disk.kill(), now_ms=7000).newest_ms == 7000
        segment = filled(disk, [2, 1, 1])
        assert segment.newest_ms == 3000
        assert open_segment(disk.kill(), now_ms=7000).newest_ms == 3000


class TestReading:
    def test_it_begins_with_the_block_that_holds_the_offset(self, disk: SimulatedDisk) -> None:
        segment = filled(disk, [2, 1, 3])
        for offset, expected in enumerate([(1, 2), (1, 2), (3, 3), (4, 6), (4, 6), (4, 6)], 1):
            assert offsets(segment.read(offset, 0)) == [expected]
        assert segment.read(7, 0) == []

    def test_neighbours_are_read_in_one_go(self, disk: SimulatedDisk) -> None:
        segment = filled(disk, [2, 1, 3])
        segment.read(1, 0)
        disk.trace.clear()
        assert offsets(segment.read(1, 1000)) == [(1, 2), (3, 3), (4, 6)]
        assert [step.path for step in disk.trace] == [PATH]

    def test_what_does_not_stand_next_to_it_is_not_read_with_it(self, disk: SimulatedDisk) -> None:
        file = disk.open(PATH, create=True)
        file.write(0, b"".join(lines(1, 2)) + b"junk\n" + b"".join(lines(3, 4)))
        file.close()
        segment = open_segment(disk)
        assert offsets(segment.read(1, 1000)) == [(1, 2)]
        assert offsets(segment.read(3, 1000)) == [(3, 4)]

    def test_a_damaged_block_comes_as_its_damage_among_the_good(self, disk: SimulatedDisk) -> None:
        segment = filled(disk, [2, 1, 3])
        disk.corrupt(PATH, 2 * LINE_BYTES + 8, b"2")
        one, damage, three = segment.read(1, 1000)
        assert offsets([one, three]) == [(1, 2), (4, 6)]
        assert damage == Damage(PATH, 2 * LINE_BYTES, LINE_BYTES, 3, 3)
        assert segment.raw(damage.position, damage.length) == b"t|0|3|m|2\n"

    def test_where_the_disk_cannot_read_all_it_reads_the_blocks_before(
        self, disk: SimulatedDisk
    ) -> None:
        segment = filled(disk, [2, 1, 3])
        disk.fail("read", PATH)
        assert offsets(segment.read(1, 1000)) == [(1, 2)]

    def test_a_block_that_the_disk_cannot_read_is_no_damage(self, disk: SimulatedDisk) -> None:
        segment = filled(disk, [2, 1, 3])
        disk.fail("read", PATH, times=2)
        with pytest.raises(OSError, match="Input/output error"):
            segment.read(1, 1000)
        assert offsets(segment.read(1, 1000)) == [(1, 2), (3, 3), (4, 6)]

    def test_a_damaged_entry_is_made_anew_in_passing(self, disk: SimulatedDisk) -> None:
        segment = filled(disk, [2, 1, 3])
        disk.corrupt(INDEX_PATH, ENTRY_BYTES + 3, b"\xff")
        assert offsets(segment.read(1, 1000)) == [(1, 2), (3, 3), (4, 6)]
        assert segment.findings == [
            Note(INDEX_PATH, "the index was damaged and has been made anew")
        ]
        segment.append(lines(7, 7), 4000)
        assert offsets(segment.read(7, 1000)) == [(7, 7)]


class TestCutting:
    @pytest.mark.parametrize("offset", range(8))
    def test_the_lines_behind_the_offset_go(self, disk: SimulatedDisk, offset: int) -> None:
        segment = filled(disk, [2, 1, 3])
        whole = bytes_of(disk)
        segment.cut(offset)
        end = min(offset, 6)
        assert (segment.last, segment.size) == (end, end * LINE_BYTES)
        assert bytes_of(disk) == whole[: end * LINE_BYTES]
        again = open_segment(disk.kill())
        assert (again.last, again.findings) == (end, [])
        segment.append(lines(end + 1, end + 2), 9000)
        read = segment.read(1, 1000)
        assert offsets(read)[0][0] == 1
        assert offsets(read)[-1] == (end + 1, end + 2)

    def test_the_part_of_a_block_that_stays_keeps_its_time_and_is_not_written_again(
        self, disk: SimulatedDisk
    ) -> None:
        segment = filled(disk, [2, 3])
        disk.trace.clear()
        segment.cut(4)
        assert [step.operation for step in disk.trace if step.path == PATH] == [
            *("read", "truncate", "sync")
        ]
        assert segment.newest_ms == 2000

    def test_a_damaged_block_goes_as_a_whole(self, disk: SimulatedDisk) -> None:
        segment = filled(disk, [2, 3, 1])
        disk.corrupt(PATH, 2 * LINE_BYTES + 8, b"2")
        segment.cut(4)
        assert (segment.last, segment.size) == (2, 2 * LINE_BYTES)

    def test_a_cut_in_a_hole_keeps_what_is_before_it(self, disk: SimulatedDisk) -> None:
        file = disk.open(PATH, create=True)
        file.write(0, b"".join(lines(1, 2) + lines(6, 8)))
        file.close()
        for offset in (2, 3, 5):
            segment = open_segment(disk.kill())
            segment.cut(offset)
            assert (segment.last, segment.size) == (2, 2 * LINE_BYTES)

    def test_an_empty_segment_is_cut_to_itself(self, disk: SimulatedDisk) -> None:
        segment = open_segment(disk, first=5)
        for offset in (0, 4, 9):
            segment.cut(offset)
            assert (segment.last, segment.size) == (4, 0)


@given(
    st.lists(
        st.tuples(st.just("append"), st.integers(1, 5))
        | st.tuples(st.just("cut"), st.integers(0, 30))
        | st.tuples(st.just("reopen"), st.booleans().map(int)),
        max_size=12,
    ),
    st.integers(0, 200),
)
def test_whatever_is_done_its_lines_are_read_at_their_offsets(
    steps: list[tuple[str, int]], max_bytes: int
) -> None:
    disk = SimulatedDisk()
    segment = open_segment(disk)
    expected: list[bytes] = []
    for number, (step, argument) in enumerate(steps):
        match step:
            case "append":
                new = lines(len(expected) + 1, len(expected) + argument, b"%d" % number)
                segment.append(new, number)
                expected += new
            case "cut":
                segment.cut(argument)
                del expected[argument:]
            case _:
                segment.close()
                if argument:
                    disk.delete(INDEX_PATH)
                segment = open_segment(disk)
        assert segment.last == len(expected)
        assert bytes_of(disk) == b"".join(expected)
        for offset in range(1, len(expected) + 1):
            blocks = segment.read(offset, max_bytes)
            assert blocks[0].first <= offset <= blocks[0].last
            for block in blocks:
                assert isinstance(block, Block)
                assert block.data == b"".join(expected[block.first - 1 : block.last])

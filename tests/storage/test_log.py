"""An append-only log in segments, with its index."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.storage.block import Block
from pandaq.storage.findings import Note
from pandaq.storage.log import Log, SealedSegment
from tests.simulated_disk import Operation, SimulatedDisk, every_crash
from tests.storage.sample_log import (
    FOLDER,
    NEVER,
    PATH,
    Clock,
    Read,
    append,
    body,
    check_goes_on,
    files,
    grown,
    images_of,
    index_path,
    line,
    lines,
    new_disk,
    open_log,
    put,
    read_all,
    sealed_path,
    stopped_at_every_step,
)


@pytest.fixture
def disk() -> SimulatedDisk:
    return new_disk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestAppending:
    def test_a_new_log_is_empty(self, disk: SimulatedDisk) -> None:
        log = open_log(disk)
        assert (log.start, log.end, log.active_bytes) == (1, 0, 0)
        assert read_all(log) == Read({}, [])
        assert log.read(1, 100) == []
        assert (log.sealed(), log.take_findings()) == ([], [])

    def test_a_new_log_is_there_after_a_crash(self, disk: SimulatedDisk) -> None:
        open_log(disk)
        assert set(files(disk.power_loss_worst())) == {PATH.name, index_path(1).name}

    def test_lines_get_consecutive_offsets(self, disk: SimulatedDisk) -> None:
        log = open_log(disk)
        assert log.append([body(1), body(2)]) == [
            Block(1, 2, line(1) + b"\n" + line(2) + b"\n", Clock().now_ms)
        ]
        assert log.append([body(3)]) == [Block(3, 3, line(3) + b"\n", Clock().now_ms)]
        assert log.end == 3
        assert files(disk)["a.log"] == b"t|0|1|m1|1\nt|0|2|m2|1\nt|0|3|m3|1\n"

    def test_an_append_of_nothing_changes_nothing(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [3])
        before = disk.files()
        assert log.append([]) == []
        assert log.end == 3
        assert disk.files() == before

    def test_lines_are_durable_after_a_sync_and_one_sync_is_enough(
        self, disk: SimulatedDisk
    ) -> None:
        log = open_log(disk)
        syncs = disk.syncs[PATH]
        append(log, 2)
        append(log, 1)
        log.sync()
        assert disk.syncs[PATH] == syncs + 1
        append(log, 2)
        assert read_all(open_log(disk.power_loss_worst())).lines == lines(1, 3)

    def test_a_sync_with_nothing_new_does_nothing(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [1])
        disk.trace.clear()
        log.sync()
        assert disk.trace == []

    def test_a_closed_log_has_no_file_open(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2] * 9, segment_bytes=40)
        read_all(log)
        assert len(disk.open_files) == 4
        log.close()
        log.close()
        assert not disk.open_files

    def test_other_files_of_the_folder_are_left_alone(self, disk: SimulatedDisk) -> None:
        for name in ("aa.00000000000000000005.log", "a.5.log", "b.00000000000000000005.index"):
            put(disk, FOLDER / name, b"other")
        log = grown(disk, [9], segment_bytes=40)
        assert (log.start, log.end) == (1, 9)
        assert set(files(disk).values()) >= {b"other"}


class TestReading:
    @pytest.mark.parametrize("segment_bytes", [1, 30, 100, NEVER])
    @pytest.mark.parametrize("max_bytes", [0, 1, 50, 1 << 20])
    def test_it_may_begin_at_every_offset(
        self, disk: SimulatedDisk, segment_bytes: int, max_bytes: int
    ) -> None:
        log = grown(disk, [1, 3, 2, 5, 1, 1, 4], segment_bytes)
        for each in (log, open_log(disk.kill(), segment_bytes)):
            for offset in range(1, 18):
                assert read_all(each, offset, max_bytes).lines == lines(offset, 17)
            assert each.read(18, max_bytes) == []
            assert each.read(1000, max_bytes) == []

    def test_one_read_gives_at_least_a_block_and_no_more_than_asked(
        self, disk: SimulatedDisk
    ) -> None:
        log = grown(disk, [2] * 9)
        blocks = log.read(3, 0)
        assert [(block.first, block.last) for block in blocks] == [(3, 4)]
        blocks = log.read(4, 3 * 22)
        assert [(block.first, block.last) for block in blocks] == [(3, 4), (5, 6), (7, 8)]
        blocks = log.read(4, 3 * 22 - 1)
        assert [(block.first, block.last) for block in blocks] == [(3, 4), (5, 6)]

    def test_what_is_not_yet_synced_is_read_too(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2])
        append(log, 2)
        assert read_all(log).lines == lines(1, 4)

    def test_only_the_active_segment_and_one_sealed_are_open(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2] * 20, segment_bytes=40)
        for offset in (1, 40, 20, 3, 17, 1):
            read_all(log, offset)
            assert len(disk.open_files) <= 4

    @given(st.lists(st.integers(1, 4), max_size=12), st.integers(1, 120), st.integers(0, 120))
    def test_what_was_appended_is_read_whatever_the_sizes(
        self, appends: list[int], segment_bytes: int, max_bytes: int
    ) -> None:
        disk = new_disk()
        log = grown(disk, appends, segment_bytes)
        assert read_all(log, 1, max_bytes) == Read(lines(1, sum(appends)), [])
        log.close()
        assert read_all(open_log(disk), 1, max_bytes) == Read(lines(1, sum(appends)), [])


class TestSealing:
    def test_a_segment_is_sealed_when_it_has_grown_so_long(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2, 2], segment_bytes=44)
        assert list(files(disk)) == [index_path(1).name, PATH.name]
        append(log, 1)
        assert set(files(disk)) == {
            *(sealed_path(1).name, index_path(1).name),
            *(PATH.name, index_path(5).name),
        }
        assert files(disk)[PATH.name] == line(5) + b"\n"
        assert log.active_bytes == 11

    def test_a_sealed_segment_is_durable_with_its_index(self, disk: SimulatedDisk) -> None:
        log = open_log(disk, 40)
        for _ in range(3):
            append(log, 2)
        image = disk.power_loss_worst()
        assert files(image)[sealed_path(1).name] == files(disk)[sealed_path(1).name]
        assert files(image)[index_path(1).name] == files(disk)[index_path(1).name]
        log = open_log(image)
        assert log.end == 4
        assert log.take_findings() == []

    def test_sealed_segments_are_described(self, disk: SimulatedDisk, clock: Clock) -> None:
        log = open_log(disk, 40, clock)
        for time_ms in (2000, 3000, 4000, 5000, 6000):
            clock.now_ms = time_ms
            append(log, 2)
        expected = [SealedSegment(1, 4, 44, 3000), SealedSegment(5, 8, 44, 5000)]
        assert log.sealed() == expected
        assert open_log(disk.kill(), 40).sealed() == expected

    def test_offsets_go_on_over_segments_and_reopening(self, disk: SimulatedDisk) -> None:
        for _ in range(7):
            log = open_log(disk, 30)
            append(log, 1)
            append(log, 2)
            log.sync()
            log.close()
        log = open_log(disk, 30)
        assert log.end == 21
        assert read_all(log).lines == lines(1, 21)
        assert log.take_findings() == []

    def test_a_segment_of_nothing_but_damage_is_not_sealed(self, disk: SimulatedDisk) -> None:
        put(disk, PATH, b"x" * 99 + b"\n")
        log = open_log(disk, 40)
        assert log.end == 0
        for number in range(1, 6):
            append(log, 2)
            assert read_all(log).lines == lines(1, 2 * number)
            assert [each.first for each in log.sealed()] == [1, 3, 7][: number // 2]
        log.close()
        assert read_all(open_log(disk, 40)).lines == lines(1, 10)

    def test_a_crash_at_any_step_keeps_what_was_synced(self) -> None:
        def make(disk: SimulatedDisk) -> Log:
            return grown(disk, [2, 3], segment_bytes=50)

        for disk, stopped in stopped_at_every_step(make, lambda log: append(log, 3)):
            for image in images_of(disk):
                log = open_log(image, 50)
                read = read_all(log)
                assert read.lines.items() <= lines(1, 8).items()
                assert read.lines.items() >= lines(1, 5).items()
                assert stopped or len(log.sealed()) == 1
                check_goes_on(image, log)

    def test_every_crash_of_a_roll_keeps_what_was_synced(self) -> None:
        def make(disk: SimulatedDisk) -> Log:
            return grown(disk, [1], segment_bytes=5)

        seen = set()
        for disk, _ in stopped_at_every_step(make, lambda log: append(log, 1)):
            for image in every_crash(disk, entries_in_order=False):
                log = open_log(image, 5)
                read = read_all(log)
                assert read.lines in (lines(1, 1), lines(1, 2))
                assert read.damaged == [] or read.lines == lines(1, 1)
                seen.add((log.end, len(log.sealed())))
        assert seen == {(1, 0), (1, 1), (2, 1)}


class TestRelease:
    def test_only_whole_segments_below_the_offset_go(self) -> None:
        for offset in range(14):
            disk = new_disk()
            log = grown(disk, [2, 2, 3, 3, 2], segment_bytes=40)
            firsts = [1, 5, 11]
            gone = [n for n, following in ((1, 5), (5, 11)) if following <= offset + 1]
            assert log.release(offset) == len(gone)
            left = [first for first in firsts if first not in gone]
            assert log.start == left[0]
            assert read_all(log).lines == lines(left[0], 12)
            assert read_all(log, left[0]).lines == lines(left[0], 12)
            for image in (disk.kill(), disk.power_loss_worst()):
                again = open_log(image, 40)
                assert (again.start, again.end) == (left[0], 12)
                assert all(isinstance(each, Note) for each in again.take_findings())
                assert set(files(image)) == {
                    PATH.name,
                    *(sealed_path(first).name for first in left[:-1]),
                    *(index_path(first).name for first in left),
                }

    def test_a_segment_that_is_being_read_can_go(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2, 2, 2], segment_bytes=20)
        assert read_all(log, 1, 0).lines == lines(1, 6)
        log.read(1, 0)
        assert log.release(2) == 1
        assert read_all(log).lines == lines(3, 6)
        assert [each.first for each in log.sealed()] == [3]

    def test_an_empty_log_keeps_its_end_when_all_before_it_went(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2, 2], segment_bytes=20)
        log.skip(9)
        assert log.release(9) == 2
        assert open_log(disk.power_loss_worst()).end == 9

    @pytest.mark.parametrize("offset", [2, 4])
    def test_a_crash_at_any_step_keeps_what_is_behind_the_offset(self, offset: int) -> None:
        def make(disk: SimulatedDisk) -> Log:
            return grown(disk, [2, 2, 2], segment_bytes=20)

        for disk, _ in stopped_at_every_step(make, lambda log: log.release(offset)):
            for image in images_of(disk):
                log = open_log(image, 20)
                assert log.end == 6
                read = read_all(log)
                assert read.damaged == []
                assert read.lines.items() >= lines(offset + 1, 6).items()
                assert read.lines.items() <= lines(1, 6).items()
                log.release(offset)
                assert read_all(log).lines == lines(offset + 1, 6)
                check_goes_on(image, log)

    def test_a_release_that_fails_may_be_tried_again(self) -> None:
        for after in range(5):
            disk = new_disk()
            log = grown(disk, [2, 2, 2], segment_bytes=20)
            operations: list[Operation] = ["delete", "sync_folder"]
            for operation in operations:
                disk.fail(operation, after=after)
            try:
                log.release(4)
            except OSError:
                disk.heal()
                assert read_all(log).lines.items() >= lines(5, 6).items()
                log.release(4)
            assert read_all(log).lines == lines(5, 6)
            disk.heal()
            check_goes_on(disk, log)

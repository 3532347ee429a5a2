"""A log that is cut back, or goes on behind a hole, at a start."""

import pytest

from pandaq.storage.log import Log
from tests.simulated_disk import SimulatedDisk
from tests.storage.sample_log import (
    NEVER,
    PATH,
    Read,
    append,
    check_goes_on,
    grown,
    images_of,
    line,
    lines,
    new_disk,
    open_log,
    read_all,
    stopped_at_every_step,
)


@pytest.fixture
def disk() -> SimulatedDisk:
    return new_disk()


class TestCut:
    @pytest.mark.parametrize("segment_bytes", [20, 45, NEVER])
    def test_a_log_may_be_cut_at_every_offset_and_goes_on_there(self, segment_bytes: int) -> None:
        for offset in range(14):
            disk = new_disk()
            log = grown(disk, [3, 2, 1, 4, 2], segment_bytes)
            log.cut(offset)
            end = min(offset, 12)
            assert log.end == end
            assert read_all(log) == Read(lines(1, end), [])
            log.sync()
            again = open_log(disk.kill(), segment_bytes)
            assert (again.end, read_all(again).lines) == (end, lines(1, end))
            assert again.take_findings() == []
            check_goes_on(disk, log)

    @pytest.mark.parametrize("segment_bytes", [20, 45, NEVER])
    def test_what_is_appended_again_gets_the_same_offsets(self, segment_bytes: int) -> None:
        disk = new_disk()
        log = grown(disk, [3, 2, 1, 4, 2], segment_bytes)
        log.cut(4)
        for count in (1, 3, 4):
            append(log, count)
        assert log.end == 12
        assert read_all(log) == Read(lines(1, 12), [])

    def test_a_cut_behind_the_end_changes_nothing(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2, 2], 20)
        before = disk.files()
        log.cut(4)
        log.cut(99)
        assert (log.end, disk.files()) == (4, before)

    def test_a_cut_in_a_damaged_block_drops_the_block(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2, 3])
        disk.corrupt(PATH, 40, b"X")
        log.cut(4)
        assert (log.end, read_all(log).lines) == (2, lines(1, 2))

    def test_a_cut_in_a_hole_leaves_what_is_before_it(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2, 3])
        log.skip(20)
        append(log, 2)
        log.cut(10)
        assert (log.end, read_all(log).lines) == (5, lines(1, 5))

    @pytest.mark.parametrize("segment_bytes", [20, 45, NEVER])
    @pytest.mark.parametrize("offset", [0, 1, 3, 7])
    def test_a_crash_at_any_step_keeps_what_is_not_cut(
        self, segment_bytes: int, offset: int
    ) -> None:
        def make(disk: SimulatedDisk) -> Log:
            grown(disk, [3, 2, 3], segment_bytes).close()
            return open_log(disk, segment_bytes)

        for disk, _ in stopped_at_every_step(make, lambda log: log.cut(offset)):
            for image in images_of(disk):
                log = open_log(image, segment_bytes)
                kept = read_all(log).lines
                assert kept.items() >= lines(1, offset).items()
                assert kept.items() <= lines(1, 8).items()
                log.cut(offset)
                assert log.end == offset
                assert read_all(log).lines == lines(1, offset)
                check_goes_on(image, log)

    def test_a_crash_after_appending_again_keeps_what_is_not_cut(self) -> None:
        def make(disk: SimulatedDisk) -> Log:
            return grown(disk, [5, 2])

        def cut_and_append(log: Log) -> None:
            log.cut(3)
            append(log, 3, b"22")

        allowed = {offset: {line(offset), line(offset, b"22")} for offset in range(1, 8)}
        for disk, _ in stopped_at_every_step(make, cut_and_append):
            for image in images_of(disk):
                log = open_log(image)
                read = read_all(log)
                assert read.lines.items() >= lines(1, 3).items()
                assert all(text in allowed[offset] for offset, text in read.lines.items())
                log.cut(3)
                assert read_all(log) == Read(lines(1, 3), [])
                check_goes_on(image, log)


class TestSkip:
    @pytest.mark.parametrize("appends", [[], [3], [3, 2, 3]])
    def test_the_log_goes_on_behind_the_hole(self, disk: SimulatedDisk, appends: list[int]) -> None:
        log = grown(disk, appends, 30)
        end = sum(appends)
        log.skip(20)
        assert log.end == 20
        assert read_all(log).lines == lines(1, end)
        assert log.read(end + 1, 100) == []
        append(log, 2)
        for each in (log, open_log(disk.kill(), 30)):
            assert each.end == 22
            assert read_all(each).lines == lines(1, end) | lines(21, 22)
            (block,) = each.read(end + 1, 100)
            assert (block.first, block.last) == (21, 22)

    @pytest.mark.parametrize("appends", [[], [3], [3, 2, 3]])
    def test_the_hole_survives_though_nothing_is_behind_it(
        self, disk: SimulatedDisk, appends: list[int]
    ) -> None:
        grown(disk, appends, 30).skip(20)
        for image in (disk.kill(), disk.power_loss_worst()):
            log = open_log(image, 30)
            assert log.end == 20
            assert log.take_findings() == []
            check_goes_on(image, log)

    @pytest.mark.parametrize("offset", [0, 2, 3])
    def test_a_skip_to_what_is_there_does_nothing(self, disk: SimulatedDisk, offset: int) -> None:
        log = grown(disk, [3])
        before = disk.files()
        log.skip(offset)
        assert (log.end, disk.files()) == (3, before)

    def test_a_log_may_skip_again(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [3])
        for offset in (10, 20):
            log.skip(offset)
        append(log, 1)
        log.skip(30)
        append(log, 1)
        for each in (log, open_log(disk.kill())):
            assert read_all(each).lines == lines(1, 3) | lines(21, 21) | lines(31, 31)

    @pytest.mark.parametrize("appends", [[], [3], [3, 2]])
    def test_a_crash_at_any_step_keeps_what_was_synced(self, appends: list[int]) -> None:
        end = sum(appends)

        def make(disk: SimulatedDisk) -> Log:
            return grown(disk, appends, 30)

        for disk, stopped in stopped_at_every_step(make, lambda log: log.skip(20)):
            for image in images_of(disk):
                log = open_log(image, 30)
                assert log.end in ({end, 20} if stopped else {20})
                assert read_all(log) == Read(lines(1, end), [])
                log.skip(20)
                assert log.end == 20
                check_goes_on(image, log)

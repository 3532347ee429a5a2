"""A log whose bytes, or whose index, are not what they were."""

import random
from pathlib import Path

import pytest

from pandaq.errors import StorageFailed
from pandaq.storage.findings import Damage, Finding, Missing, TailCut
from pandaq.storage.index import ENTRY_BYTES
from tests.simulated_disk import SimulatedDisk, every_crash
from tests.storage.sample_log import (
    NEVER,
    PATH,
    Clock,
    Read,
    append,
    check_goes_on,
    files,
    grown,
    index_path,
    line,
    lines,
    new_disk,
    open_log,
    put,
    read_all,
    sealed_path,
)


@pytest.fixture
def disk() -> SimulatedDisk:
    return new_disk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestTornTail:
    """A log cut at every byte of its last record, and opened again."""

    @pytest.mark.parametrize("sealed", [0, 1, 3])
    @pytest.mark.parametrize("index", ["kept", "missing", "cut", "synced"])
    def test_all_whole_lines_are_there_and_the_torn_one_is_said(
        self, sealed: int, index: str
    ) -> None:
        segment_bytes = 20 if sealed else NEVER
        for together in (True, False):
            counts = [2] * sealed + ([3] if together else [1, 1, 1])
            end = sum(counts)
            first = 2 * sealed + 1
            last_line = len(line(end)) + 1
            for cut in range(1, last_line):
                disk = new_disk()
                grown(disk, counts[: sealed + 1], segment_bytes).close()
                log = open_log(disk)
                for count in counts[sealed + 1 :]:
                    append(log, count)
                if index == "synced":
                    log.sync()
                log.close()
                whole = files(disk)[PATH.name]
                entries = files(disk)[index_path(first).name]
                put(disk, PATH, whole[:-cut])
                if index == "missing":
                    put(disk, index_path(first), None)
                elif index == "cut":
                    put(disk, index_path(first), entries[: -(cut % ENTRY_BYTES) or None])
                log = open_log(disk, segment_bytes)
                assert log.end == end - 1
                assert read_all(log) == Read(lines(1, end - 1), [])
                left = last_line - cut
                position = len(whole) - last_line
                cuts = [each for each in log.take_findings() if isinstance(each, TailCut)]
                assert cuts == [TailCut(PATH, position, left)]
                assert files(disk)[PATH.name] == whole[:position]
                check_goes_on(disk, log)

    def test_a_line_that_lacks_but_its_newline_is_torn(self, disk: SimulatedDisk) -> None:
        grown(disk, [2]).close()
        put(disk, PATH, files(disk)[PATH.name][:-1])
        log = open_log(disk)
        assert read_all(log).lines == lines(1, 1)

    def test_a_torn_line_may_be_the_only_one(self, disk: SimulatedDisk) -> None:
        grown(disk, [1]).close()
        put(disk, PATH, b"t|0|1")
        log = open_log(disk)
        assert log.end == 0
        assert TailCut(PATH, 0, 5) in log.take_findings()
        check_goes_on(disk, log)

    def test_it_never_mixes_with_what_is_written_in_its_place(self) -> None:
        torn, new = line(2, b'"aaaa"'), b'"bb"'
        for cut in range(1, len(torn)):
            disk = new_disk()
            grown(disk, [1]).close()
            put(disk, PATH, line(1) + b"\n" + torn[:cut])
            append(open_log(disk), 1, new)
            put(disk := disk.kill(), index_path(1), None)
            for image in every_crash(disk):
                read = read_all(open_log(image))
                assert read.lines in (lines(1, 1), lines(1, 1) | {2: line(2, new)})

    def test_findings_are_told_once(self, disk: SimulatedDisk) -> None:
        put(disk, PATH, b"torn")
        log = open_log(disk)
        assert log.take_findings()
        assert log.take_findings() == []


class TestLostOrOldIndex:
    """Whatever becomes of an index, a log that is whole is served the same."""

    APPENDS = (2, 1, 3)

    def made(self, segment_bytes: int = NEVER) -> tuple[SimulatedDisk, Path]:
        disk = new_disk()
        grown(disk, list(self.APPENDS), segment_bytes).close()
        return disk, index_path(1)

    def check_same(self, disk: SimulatedDisk) -> list[Finding]:
        log = open_log(disk)
        assert log.end == 6
        assert read_all(log) == Read(lines(1, 6), [])
        findings = log.take_findings()
        assert not any(isinstance(each, Damage | Missing | TailCut) for each in findings)
        check_goes_on(disk, log)
        return findings

    def test_missing(self) -> None:
        disk, path = self.made()
        put(disk, path, None)
        assert [each.path for each in self.check_same(disk)] == [path]

    def test_truncated_at_every_byte(self) -> None:
        for size in range(3 * ENTRY_BYTES):
            disk, path = self.made()
            put(disk, path, files(disk)[path.name][:size])
            assert self.check_same(disk)

    def test_zeroed_from_every_byte_on(self) -> None:
        for size in range(3 * ENTRY_BYTES):
            disk, path = self.made()
            put(disk, path, files(disk)[path.name][:size] + bytes(3 * ENTRY_BYTES - size))
            self.check_same(disk)

    def test_of_an_older_state(self) -> None:
        for appends in range(3):
            disk, path = self.made()
            older = new_disk()
            grown(older, list(self.APPENDS[:appends])).close()
            put(disk, path, files(older)[path.name])
            assert self.check_same(disk)

    def test_of_a_newer_state(self) -> None:
        disk, path = self.made()
        newer = disk.kill()
        grown(newer, [2, 5]).close()
        put(disk, path, files(newer)[path.name])
        assert self.check_same(disk)

    def test_filled_with_anything(self) -> None:
        for seed in range(30):
            disk, path = self.made()
            choices = random.Random(seed)
            put(disk, path, choices.randbytes(choices.randint(1, 5 * ENTRY_BYTES)))
            self.check_same(disk)

    def test_with_any_bit_changed(self) -> None:
        disk, path = self.made()
        data = files(disk)[path.name]
        for position in range(len(data)):
            image = disk.kill()
            image.corrupt(path, position, bytes([data[position] ^ (1 << position % 8)]))
            self.check_same(image)

    def test_changed_while_the_log_is_open(self) -> None:
        for position in range(0, 3 * ENTRY_BYTES - 1, 7):
            disk, path = self.made()
            log = open_log(disk)
            disk.corrupt(path, position, b"\xee\xee")
            assert read_all(log) == Read(lines(1, 6), [])
            check_goes_on(disk, log)

    def test_of_a_sealed_segment(self) -> None:
        for size in range(0, 2 * ENTRY_BYTES, 3):
            disk, path = self.made(segment_bytes=25)
            assert disk.exists(sealed_path(1))
            put(disk, path, files(disk)[path.name][:size] if size else None)
            log = open_log(disk, 25)
            assert read_all(log) == Read(lines(1, 6), [])
            check_goes_on(disk, log)

    def test_the_append_times_that_are_still_known_stay(self, disk: SimulatedDisk) -> None:
        clock = Clock()
        log = open_log(disk, 25, clock)
        for time_ms in (2000, 3000, 4000):
            clock.now_ms = time_ms
            append(log, 2)
        log.close()
        path = index_path(1)
        put(disk, path, files(disk)[path.name][:ENTRY_BYTES])
        assert [each.newest_ms for each in open_log(disk, 25).sealed()] == [2000]


class TestDamage:
    @pytest.mark.parametrize("segment_bytes", [30, NEVER])
    def test_no_changed_byte_is_ever_served_and_other_blocks_are(self, segment_bytes: int) -> None:
        appends = [2, 1, 3, 2]
        disk = new_disk()
        grown(disk, appends, segment_bytes).close()
        blocks = [range(1, 3), range(3, 4), range(4, 7), range(7, 9)]
        for path, data in list(disk.files().items()):
            for position in range(len(data)):
                for bit in (0, 6):
                    image = disk.kill()
                    image.corrupt(path, position, bytes([data[position] ^ (1 << bit)]))
                    log = open_log(image, segment_bytes)
                    assert log.end == 8
                    read = read_all(log)
                    assert read.lines.items() <= lines(1, 8).items()
                    if path.suffix == ".index":
                        assert read == Read(lines(1, 8), [])
                        continue
                    (damage,) = read.damaged
                    assert (damage.path, damage.first) == (path, damage.first)
                    assert damage.position <= position < damage.position + damage.length
                    lost = range(damage.first, damage.last + 1)
                    assert lost in blocks
                    assert set(read.lines) == set(range(1, 9)) - set(lost)
                    assert log.raw(damage) in image.files()[path]

    def test_a_log_with_damage_goes_on(self) -> None:
        disk = new_disk()
        grown(disk, [2, 1, 3]).close()
        disk.corrupt(PATH, 25, b"X")
        check_goes_on(disk, open_log(disk))

    def test_damage_costs_no_more_than_a_block_of_a_large_append(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [10_000])
        disk.corrupt(PATH, 50_000, b"X")
        read = read_all(log)
        (damage,) = read.damaged
        assert damage.length <= 8192
        assert len(read.lines) == 10_000 - (damage.last - damage.first + 1)

    def test_damage_without_an_index_leaves_the_other_lines(self) -> None:
        disk = new_disk()
        grown(disk, [6]).close()
        put(disk, index_path(1), None)
        disk.corrupt(PATH, 3 * 11 + 4, b"X")
        log = open_log(disk)
        assert Damage(PATH, 33, 11, 4, 4) in log.take_findings()
        assert set(read_all(log).lines) == {1, 2, 3, 5, 6}

    def test_damage_in_an_older_block_costs_no_line_whose_entry_was_lost(self) -> None:
        disk = new_disk()
        grown(disk, [2, 2]).close()
        put(disk, index_path(1), files(disk)[index_path(1).name][:ENTRY_BYTES])
        disk.corrupt(PATH, 9, b"X")
        log = open_log(disk)
        assert set(read_all(log).lines) == {3, 4}

    def test_damage_at_the_end_of_a_sealed_segment_is_told_by_its_own_bytes(self) -> None:
        disk = new_disk()
        grown(disk, [2, 2], segment_bytes=20).close()
        put(disk, sealed_path(1), files(disk)[sealed_path(1).name] + b"junk\n")
        log = open_log(disk, 20)
        (damage,) = [each for each in log.take_findings() if isinstance(each, Damage)]
        assert log.raw(damage) == b"junk\n"

    def test_a_block_that_the_disk_cannot_read_is_told_and_there_the_next_time(
        self, disk: SimulatedDisk
    ) -> None:
        log = grown(disk, [2, 2, 2])
        disk.fail("read", PATH, times=3)
        with pytest.raises(StorageFailed, match="Input/output error"):
            read_all(log)
        disk.heal()
        assert read_all(log) == (lines(1, 6), [])

    def test_an_index_that_the_disk_cannot_read_is_told(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2])
        disk.fail("read", "*.index")
        with pytest.raises(StorageFailed, match="Input/output error"):
            log.read(1, 100)
        assert read_all(log).lines == lines(1, 2)

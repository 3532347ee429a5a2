"""A log on a disk that is full, fails, or ends the process at any moment."""

import errno
import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.errors import StorageFailed, StorageFull
from pandaq.storage.index import ENTRY_BYTES
from pandaq.storage.log import Log
from tests.simulated_disk import Operation, SimulatedDisk, every_crash
from tests.storage.sample_log import (
    FULL,
    NEVER,
    PATH,
    Read,
    append,
    append_for_ever,
    check_goes_on,
    grown,
    images_of,
    index_path,
    line,
    lines,
    new_disk,
    open_log,
    put,
    read_all,
)


@pytest.fixture
def disk() -> SimulatedDisk:
    return new_disk()


ROLL_STEPS: list[tuple[Operation, str]] = [
    ("write", "a.log"),
    ("write", "*.index"),
    ("replace", "*"),
    ("open", "a.log"),
    ("open", "*.index"),
]


class TestFaults:
    """An append that fails leaves the log as it was; when the cause is gone, it goes on."""

    @pytest.mark.parametrize("written", [0, 5, 22, 10_000])
    @pytest.mark.parametrize(("operation", "where"), ROLL_STEPS)
    @pytest.mark.parametrize("segment_bytes", [20, NEVER])
    @pytest.mark.parametrize("error", [FULL, OSError(errno.EIO, "Input/output error")])
    def test_it_is_told_and_costs_nothing(
        self, segment_bytes: int, operation: Operation, where: str, written: int, error: OSError
    ) -> None:
        disk = new_disk()
        log = grown(disk, [2, 2], segment_bytes)
        if segment_bytes == NEVER and operation != "write":
            return
        expected = StorageFull if error is FULL else StorageFailed
        for _ in range(2):
            disk.fail(operation, where, error=error, written=written)
            with pytest.raises(expected):
                append(log, 2, b'"refused"')
            assert (log.end, log.guard.failure) == (4, None)
            assert read_all(log) == Read(lines(1, 4), [])
            again = open_log(disk.kill(), segment_bytes)
            assert (again.end, read_all(again).lines) == (4, lines(1, 4))
        append(log, 2)
        assert read_all(log) == Read(lines(1, 6), [])
        check_goes_on(disk, log)

    @pytest.mark.parametrize("segment_bytes", [20, 100, NEVER])
    def test_wherever_the_room_ends_all_that_was_taken_is_kept(self, segment_bytes: int) -> None:
        for room in range(0, 400, 7):
            disk = new_disk()
            log = grown(disk, [2], segment_bytes)
            disk.capacity_bytes = disk.used_bytes + room
            with pytest.raises(StorageFull):
                append_for_ever(log)
            end = log.end
            assert end % 2 == 0
            assert read_all(log) == Read(lines(1, end), [])
            with pytest.raises(StorageFull):
                append(log, 20)
            assert log.end == end
            log.sync()
            disk.capacity_bytes = None
            append(log, 2)
            assert read_all(log) == Read(lines(1, end + 2), [])
            check_goes_on(disk, log)

    def test_a_refused_append_never_mixes_with_what_is_written_in_its_place(self) -> None:
        new = b'"bb"'
        for written in range(1, 20):
            disk = new_disk()
            log = grown(disk, [1])
            disk.fail("write", PATH, error=FULL, written=written)
            with pytest.raises(StorageFull):
                append(log, 1, b'"aaaa"')
            append(log, 1, new)
            put(disk := disk.kill(), index_path(1), None)
            for image in every_crash(disk):
                read = read_all(open_log(image))
                assert read.lines in (lines(1, 1), lines(1, 1) | {2: line(2, new)})

    @pytest.mark.parametrize(
        ("operation", "where"), [("sync", "*.log"), ("sync", "*.index"), ("sync_folder", "*")]
    )
    def test_a_sync_that_fails_in_a_roll_closes_the_log(
        self, disk: SimulatedDisk, operation: Operation, where: str
    ) -> None:
        for after in range(2 if operation == "sync_folder" else 1):
            disk = new_disk()
            log = grown(disk, [2, 2], 20)
            disk.fail(operation, where, after=after)
            self.check_closed(disk, log, lambda log=log: append(log, 1))  # type: ignore[misc]

    def test_a_sync_that_fails_closes_the_log(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2, 2], 20)
        append(log, 2)
        disk.fail("sync")
        self.check_closed(disk, log, log.sync, end=6)

    def test_no_room_at_a_sync_closes_the_log_too(self, disk: SimulatedDisk) -> None:
        log = grown(disk, [2, 2])
        append(log, 2)
        disk.fail("sync", error=FULL)
        self.check_closed(disk, log, log.sync, end=6)

    @pytest.mark.parametrize("operation", ["truncate", "sync"])
    def test_a_failed_append_that_cannot_be_taken_back_closes_the_log(
        self, disk: SimulatedDisk, operation: Operation
    ) -> None:
        log = grown(disk, [2, 2])
        disk.fail("write", "*.index", error=FULL, written=40)
        disk.fail(operation)
        self.check_closed(disk, log, lambda: append(log, 2))

    @staticmethod
    def check_closed(
        disk: SimulatedDisk, log: Log, act: Callable[[], object], end: int = 4
    ) -> None:
        with pytest.raises(StorageFailed) as raised:
            act()
        assert raised.value.closed
        disk.heal()
        assert log.guard.failure
        before = disk.files()
        for _ in range(2):
            with pytest.raises(StorageFailed):
                append(log, 1)
            with pytest.raises(StorageFailed):
                log.sync()
        assert disk.files() == before
        assert log.end == end
        assert read_all(log).lines == lines(1, end)
        log.close()
        assert not disk.open_files
        for image in images_of(disk):
            again = open_log(image, 20)
            assert read_all(again).lines.items() >= lines(1, 4).items()
            assert read_all(again).lines.items() <= lines(1, 6).items()

    def test_an_index_that_cannot_be_made_anew_is_told_until_it_can(self) -> None:
        operations: list[Operation] = ["write", "sync", "replace"]
        for operation in operations:
            disk = new_disk()
            log = grown(disk, [2, 2, 2])
            disk.corrupt(index_path(1), 50, b"\xee\xee")
            disk.fail(operation, "*.index*", times=None)
            for _ in range(2):
                with pytest.raises(StorageFailed):
                    log.read(1, 100)
            disk.heal()
            assert read_all(log) == Read(lines(1, 6), [])
            assert read_all(open_log(disk.kill())) == Read(lines(1, 6), [])

    def test_a_log_that_cannot_be_opened_leaves_no_file_open(self) -> None:
        def make() -> SimulatedDisk:
            disk = new_disk()
            grown(disk, [2, 2, 2], 20).close()
            put(disk, index_path(5), None)
            return disk

        operations: list[Operation] = [
            *("open", "read", "list", "write", "truncate", "sync", "replace", "sync_folder")
        ]
        for operation in operations:
            for after in range(9):
                disk = make()
                fault = disk.fail(operation, after=after)
                with suppress(OSError):
                    open_log(disk, 20).close()
                assert after or fault.hits
                assert not disk.open_files

    def test_an_index_that_cannot_be_opened_again_is_opened_later(
        self, disk: SimulatedDisk
    ) -> None:
        log = grown(disk, [1] * 5)
        log.close()
        index = index_path(1)
        disk.corrupt(index, ENTRY_BYTES * 2, b"\xff")
        log = open_log(disk)
        disk.fail("open", index, error=OSError(errno.EMFILE, "Too many open files"), times=2)
        with pytest.raises(StorageFailed):
            log.read(1, 1 << 20)
        with pytest.raises(StorageFailed):
            append(log, 1)
        assert read_all(log).lines == lines(1, 5)
        check_goes_on(disk, log)

    def test_a_log_that_can_be_neither_sealed_nor_opened_again_says_so(
        self, disk: SimulatedDisk
    ) -> None:
        log = grown(disk, [1] * 5, segment_bytes=10)
        disk.fail("replace", "*", times=None)
        disk.fail("open", "*", times=None)
        for call in (lambda: append(log, 1), lambda: append(log, 1), lambda: log.read(log.end, 99)):
            with pytest.raises(StorageFailed):
                call()
        disk.heal()
        log.close()
        assert open_log(disk, 10).end == 5


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("sync"), st.just(0)),
        st.tuples(st.just("release"), st.integers(0, 40)),
        st.tuples(st.just("crash"), st.integers(0, 9)),
        st.tuples(st.just("reopen"), st.just(0)),
        st.tuples(st.just("cut"), st.integers(0, 5)),
    ),
    max_size=25,
)


@given(STEPS, st.integers(1, 80), st.randoms(use_true_random=False))
def test_whatever_happens_what_was_synced_is_served_at_its_offset(
    steps: list[tuple[str, int]], segment_bytes: int, choices: random.Random
) -> None:
    disk = new_disk()
    log = open_log(disk, segment_bytes)
    written: dict[int, set[bytes]] = {}
    synced: dict[int, bytes] = {}
    unsynced: dict[int, bytes] = {}
    released = 0
    for number, (step, count) in enumerate(steps):
        match step:
            case "append":
                content = b"%d" % number
                unsynced |= {log.end + n: line(log.end + n, content) for n in range(1, count + 1)}
                append(log, count, content)
                for offset, text in unsynced.items():
                    written.setdefault(offset, set()).add(text)
            case "sync":
                log.sync()
                synced, unsynced = synced | unsynced, {}
            case "release":
                log.release(min(count, log.end))
                released = max(released, log.start - 1)
            case "cut":
                offset = max(log.end - count, log.start - 1, released)
                log.cut(offset)
                log.sync()
                kept = synced | unsynced
                synced = {at: text for at, text in kept.items() if at <= offset}
                unsynced = {}
            case _:
                log.close()
                if step == "crash":
                    disk = disk.crash(choices, entries_in_order=count % 2 == 0)
                log = open_log(disk, segment_bytes)
                there = read_all(log).lines
                synced = {at: text for at, text in synced.items() if at > released}
                assert there.items() >= synced.items()
                assert all(text in written[at] for at, text in there.items())
                unsynced = {at: text for at, text in there.items() if at not in synced}
                continue
        expected = {at: text for at, text in (synced | unsynced).items() if at >= log.start}
        assert read_all(log).lines == expected


def test_a_log_whose_next_segment_cannot_be_begun_keeps_its_last_file(disk: SimulatedDisk) -> None:
    log = open_log(disk, segment_bytes=1)
    append(log, 1)
    disk.fail("open", PATH)
    with pytest.raises(StorageFailed):
        append(log, 1)
    assert log.release(log.end) == 0
    assert any(path.suffix == ".log" for path in disk.files())

"""A queue: a log on disk, the newest of its uncommitted messages in memory, and two offsets."""

import errno
import logging
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.batch import Batch
from pandaq.config import Retention
from pandaq.errors import InvalidOffset, StorageFailed, StorageFull
from pandaq.extra import Extra, Refusal, encode_extra
from pandaq.offsets import Offsets
from pandaq.records import LineFormat
from pandaq.storage.log import Log
from pandaq.storage.queue import BLOCK_OVERHEAD_BYTES, Queue, View
from tests.simulated_disk import SimulatedDisk

FOLDER = Path("/data")
PATH = FOLDER / "a.log"
FORMAT = LineFormat.partition("t", 0)
LINE_BYTES = len(b"t|0|1|m1|1")
"""Length of a line whose offset has one digit."""
BLOCK_BYTES = 2 * (LINE_BYTES + 1) + BLOCK_OVERHEAD_BYTES
"""What a block of two such lines costs in memory."""
PLENTY = 1 << 30
NOWHERE = 0
"""`tail_bytes` with which all is read from the disk."""


@pytest.fixture
def disk() -> SimulatedDisk:
    return new_disk()


def new_disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    return disk


def open_queue(
    disk: SimulatedDisk,
    tail_bytes: int = PLENTY,
    *,
    read: int = 0,
    segment_bytes: int = PLENTY,
) -> Queue:
    log = Log(disk, PATH, FORMAT, segment_bytes, lambda: 1000)
    return Queue(log, Offsets(log.end, read), tail_bytes)


def body(offset: int, size: int = 1) -> bytes:
    return b"m%d|%s" % (offset, b"1" * size)


def line(offset: int, size: int = 1) -> bytes:
    return b"t|0|%d|%b" % (offset, body(offset, size))


def lines(first: int, last: int) -> list[bytes]:
    return [line(offset) for offset in range(first, last + 1)]


def append(queue: Queue, *counts: int, durable: bool = False) -> None:
    """Append so many messages in each of so many appends."""
    for count in counts:
        end = queue.offsets.log_end
        queue.append([body(end + n) for n in range(1, count + 1)], durable=durable)


def read_all(queue: Queue) -> Batch:
    return queue.read(PLENTY, PLENTY)


class TestReading:
    def test_a_new_queue_has_nothing(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk)
        assert queue.offsets == Offsets(0, 0)
        assert read_all(queue) == Batch(0, 0, [])
        assert queue.buffer_size == 0

    @pytest.mark.parametrize("tail_bytes", [PLENTY, BLOCK_BYTES, NOWHERE])
    def test_what_is_read_stays(self, disk: SimulatedDisk, tail_bytes: int) -> None:
        queue = open_queue(disk, tail_bytes)
        append(queue, 2, 2)
        for _ in range(3):
            assert read_all(queue) == Batch(0, 4, lines(1, 4))
        assert queue.offsets == Offsets(4, 0)

    @pytest.mark.parametrize("tail_bytes", [PLENTY, BLOCK_BYTES, NOWHERE])
    def test_reading_begins_behind_what_is_committed(
        self, disk: SimulatedDisk, tail_bytes: int
    ) -> None:
        queue = open_queue(disk, tail_bytes)
        append(queue, 2, 2, 2)
        for offset in range(7):
            queue.commit(offset)
            assert queue.offsets == Offsets(6, offset)
            assert read_all(queue) == Batch(offset, 6, lines(offset + 1, 6))

    @pytest.mark.parametrize("tail_bytes", [PLENTY, BLOCK_BYTES, NOWHERE])
    def test_at_most_so_many_messages(self, disk: SimulatedDisk, tail_bytes: int) -> None:
        queue = open_queue(disk, tail_bytes)
        append(queue, 2, 2, 2)
        queue.commit(1)
        for number in range(1, 6):
            assert queue.read(number, PLENTY) == Batch(1, 1 + number, lines(2, 1 + number))

    @pytest.mark.parametrize("tail_bytes", [PLENTY, BLOCK_BYTES, NOWHERE])
    def test_at_most_so_many_bytes_but_at_least_one_message(
        self, disk: SimulatedDisk, tail_bytes: int
    ) -> None:
        queue = open_queue(disk, tail_bytes)
        append(queue, 2, 2, 2)
        for max_bytes in range(8 * LINE_BYTES):
            number = min(max(max_bytes // LINE_BYTES, 1), 6)
            assert queue.read(PLENTY, max_bytes) == Batch(0, number, lines(1, number))

    @pytest.mark.parametrize("tail_bytes", [PLENTY, NOWHERE])
    def test_a_message_that_is_longer_than_max_bytes_comes_alone(
        self, disk: SimulatedDisk, tail_bytes: int
    ) -> None:
        queue = open_queue(disk, tail_bytes)
        queue.append([body(1, 20_000), body(2), body(3, 20_000)], durable=False)
        assert queue.read(PLENTY, 100) == Batch(0, 1, [line(1, 20_000)])
        queue.commit(1)
        assert queue.read(PLENTY, 100) == Batch(1, 2, [line(2)])
        queue.commit(2)
        assert queue.read(PLENTY, 0) == Batch(2, 3, [line(3, 20_000)])

    def test_what_is_in_memory_is_not_read_from_the_disk(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk)
        append(queue, 2, 2)
        disk.trace.clear()
        assert read_all(queue).count == 4
        assert disk.trace == []

    def test_a_disk_that_cannot_be_read_is_told(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk, NOWHERE)
        append(queue, 2)
        disk.fail("read", "*.index")
        with pytest.raises(StorageFailed):
            read_all(queue)
        assert read_all(queue) == Batch(0, 2, lines(1, 2))

    def test_a_queue_that_is_opened_again_has_all(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk)
        append(queue, 2, 2, durable=True)
        queue.close()
        assert not disk.open_files
        queue = open_queue(disk, read=3)
        assert queue.offsets == Offsets(4, 3)
        assert queue.buffer_size == 0
        assert read_all(queue) == Batch(3, 4, lines(4, 4))

    def test_a_read_offset_beyond_the_log_is_no_queue(self, disk: SimulatedDisk) -> None:
        with pytest.raises(ValueError, match="readOffset 1 is not from 0"):
            open_queue(disk, read=1)


class TestCommitting:
    @pytest.mark.parametrize("offset", [1, 5])
    def test_a_commit_out_of_what_is_pending_changes_nothing(
        self, disk: SimulatedDisk, offset: int
    ) -> None:
        queue = open_queue(disk)
        append(queue, 2, 2)
        queue.commit(2)
        with pytest.raises(InvalidOffset):
            queue.commit(offset)
        assert queue.offsets == Offsets(4, 2)
        assert read_all(queue) == Batch(2, 4, lines(3, 4))

    def test_it_touches_no_file(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk)
        append(queue, 2, 2)
        disk.trace.clear()
        queue.commit(3)
        assert disk.trace == []

    def test_it_makes_room_in_memory(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk, 2 * BLOCK_BYTES)
        append(queue, 2, 2)
        for end in (6, 8):
            queue.commit(end - 4)
            append(queue, 2)
            disk.trace.clear()
            assert read_all(queue) == Batch(end - 4, end, lines(end - 3, end))
            assert disk.trace == []


class TestMemory:
    def test_the_buffer_counts_uncommitted_messages_in_memory(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk)
        append(queue, 2, 3)
        assert queue.buffer_size == 5
        for offset in range(6):
            queue.commit(offset)
            assert queue.buffer_size == 5 - offset

    def test_a_commit_frees_the_memory(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk)
        tracemalloc.start()
        try:
            for offset in (1, 2):
                queue.append([body(offset, 1_000_000)], durable=True)
            full, _ = tracemalloc.get_traced_memory()
            queue.commit(1)
            left, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert 900_000 < full - left < 1_100_000

    @pytest.mark.parametrize(
        ("tail_bytes", "kept"),
        [
            (NOWHERE, 0),
            (BLOCK_BYTES - 1, 0),
            (BLOCK_BYTES, 2),
            (2 * BLOCK_BYTES - 1, 2),
            (2 * BLOCK_BYTES, 4),
            (4 * BLOCK_BYTES, 8),
        ],
    )
    def test_the_newest_that_fit_stay_in_memory(
        self, disk: SimulatedDisk, tail_bytes: int, kept: int
    ) -> None:
        queue = open_queue(disk, tail_bytes)
        append(queue, 2, 2, 2, 2)
        assert queue.buffer_size == kept
        disk.trace.clear()
        queue.commit(8 - kept)
        assert read_all(queue) == Batch(8 - kept, 8, lines(9 - kept, 8))
        assert disk.trace == []
        assert queue.buffer_size == kept

    def test_what_is_committed_does_not_count_though_its_block_is_still_there(
        self, disk: SimulatedDisk
    ) -> None:
        queue = open_queue(disk, BLOCK_BYTES)
        append(queue, 2, 2)
        queue.commit(3)
        assert queue.buffer_size == 1


class TestFaults:
    def test_an_append_without_room_changes_nothing(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk)
        append(queue, 2)
        disk.fail("write", error=OSError(errno.ENOSPC, "full"))
        with pytest.raises(StorageFull):
            append(queue, 2)
        assert queue.offsets == Offsets(2, 0)
        assert (read_all(queue), queue.buffer_size) == (Batch(0, 2, lines(1, 2)), 2)
        append(queue, 2)
        assert read_all(queue) == Batch(0, 4, lines(1, 4))

    def test_a_durable_append_is_on_the_disk_when_it_returns(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk)
        append(queue, 2, durable=True)
        append(queue, 2)
        assert read_all(open_queue(disk.power_loss_worst())) == Batch(0, 2, lines(1, 2))

    def test_an_append_tells_its_bytes(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk)
        size = queue.append([body(n, 3000) for n in range(1, 9)], durable=False)
        assert size == len(disk.files()[PATH])

    @pytest.mark.parametrize("tail_bytes", [PLENTY, NOWHERE])
    @pytest.mark.parametrize("committed", [0, 1, 3])
    @pytest.mark.parametrize(
        "sizes", [[1], [1] * 5, [9000, 1, 1, 1, 1], [1, 9000, 1, 1, 1, 9000, 1, 1, 1, 1, 1]]
    )
    def test_a_durable_append_whose_sync_fails_is_never_read(
        self, disk: SimulatedDisk, tail_bytes: int, committed: int, sizes: Sequence[int]
    ) -> None:
        queue = open_queue(disk, tail_bytes)
        append(queue, 1, 2, durable=True)
        queue.commit(committed)
        disk.fail("sync")
        for _ in range(2):
            with pytest.raises(StorageFailed) as raised:
                queue.append([body(4 + n, size) for n, size in enumerate(sizes)], durable=True)
            assert raised.value.closed
            assert queue.offsets == Offsets(3, committed)
            assert queue.buffer_size == (3 - committed if tail_bytes else 0)
            assert read_all(queue) == Batch(committed, 3, lines(committed + 1, 3))
        with pytest.raises(InvalidOffset):
            queue.commit(4)


class TestDamage:
    def test_damaged_blocks_are_passed_over_and_reported_once(
        self, disk: SimulatedDisk, caplog: pytest.LogCaptureFixture
    ) -> None:
        queue = open_queue(disk, NOWHERE)
        append(queue, 2, 2, 2, 1)
        for position in (2 * (LINE_BYTES + 1), 4 * (LINE_BYTES + 1) + 9):
            disk.corrupt(PATH, position, b"X")
        for _ in range(3):
            assert read_all(queue) == Batch(0, 7, [*lines(1, 2), line(7)])
            assert queue.read(2, PLENTY) == Batch(0, 2, lines(1, 2))
            assert queue.read(3, PLENTY) == Batch(0, 7, [*lines(1, 2), line(7)])
        queue.commit(2)
        assert queue.read(1, PLENTY) == Batch(2, 7, [line(7)])
        reports = [record.getMessage() for record in caplog.records]
        assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
        assert "offsets 3 to 4 lost" in reports[0]
        assert "offsets 5 to 6 lost" in reports[1]

    def test_an_empty_batch_passes_over_damage_at_the_end(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk, NOWHERE)
        append(queue, 2, 2)
        disk.corrupt(PATH, 3 * (LINE_BYTES + 1), b"X")
        queue.commit(2)
        assert read_all(queue) == Batch(2, 4, [])
        append(queue, 2)
        assert read_all(queue) == Batch(2, 6, lines(5, 6))
        queue.commit(6)
        assert read_all(queue) == Batch(6, 6, [])

    def test_what_is_in_memory_is_served_though_the_disk_is_damaged(
        self, disk: SimulatedDisk
    ) -> None:
        queue = open_queue(disk, BLOCK_BYTES)
        append(queue, 2, 2)
        disk.corrupt(PATH, 3, b"\0" * 40)
        queue.commit(2)
        assert read_all(queue) == Batch(2, 4, lines(3, 4))

    def test_holes_are_passed_over_and_reported_once(
        self, disk: SimulatedDisk, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = Log(disk, PATH, FORMAT, PLENTY, lambda: 1000)
        log.append([body(1)])
        log.skip(10)
        queue = Queue(log, Offsets(), NOWHERE)
        assert queue.offsets == Offsets(10, 0)
        for _ in range(2):
            assert read_all(queue) == Batch(0, 1, lines(1, 1))
        append(queue, 2)
        for _ in range(2):
            assert read_all(queue) == Batch(0, 12, [line(1), *lines(11, 12)])
        assert [record.getMessage() for record in caplog.records] == [
            f"{PATH}: the offsets 2 to 10 are missing"
        ]


class TestRetention:
    def test_committed_segments_expire(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk, segment_bytes=20)
        append(queue, 2, 2, 2)
        retention = Retention(max_age_ms=10, keep_committed=True)
        assert queue.expired_through(retention, 9999, queue.offsets.log_end) == 0
        queue.commit(2)
        assert queue.expired_through(retention, 1010, queue.offsets.log_end) == 0
        assert queue.expired_through(retention, 1011, queue.offsets.log_end) == 2
        queue.commit(6)
        assert queue.expired_through(retention, 1011, queue.offsets.log_end) == 4

    def test_the_active_segment_counts_towards_the_bytes(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk, segment_bytes=20)
        append(queue, 2, 2, 2)
        queue.commit(6)
        size = 6 * (LINE_BYTES + 1)
        assert (
            queue.expired_through(
                Retention(max_age_ms=None, max_bytes=size), 0, queue.offsets.log_end
            )
            == 0
        )
        assert (
            queue.expired_through(
                Retention(max_age_ms=None, max_bytes=size - 1), 0, queue.offsets.log_end
            )
            == 2
        )

    def test_reading_goes_on_behind_what_was_released(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk, NOWHERE, segment_bytes=20)
        append(queue, 2, 2, 2)
        queue.commit(3)
        queue.log.release(3)
        assert read_all(queue) == Batch(3, 6, lines(4, 6))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.integers(1, 60), min_size=1, max_size=6)),
        st.tuples(st.just("commit"), st.lists(st.integers(0, 9), min_size=1, max_size=1)),
        st.tuples(
            st.just("read"),
            st.tuples(st.integers(1, 9), st.integers(0, 200)).map(list),
        ),
        st.tuples(st.sampled_from(["reopen", "release", "read all"]), st.just([0])),
    ),
    max_size=30,
)


@given(STEPS, st.sampled_from([NOWHERE, 300, 700, PLENTY]), st.sampled_from([1, 100, PLENTY]))
def test_from_memory_and_disk_comes_what_was_appended(
    steps: list[tuple[str, list[int]]], tail_bytes: int, segment_bytes: int
) -> None:
    disk = new_disk()
    queue = open_queue(disk, tail_bytes, segment_bytes=segment_bytes)
    expected: list[bytes] = []
    read = 0
    for step, numbers in steps:
        max_messages = max_bytes = PLENTY
        match step:
            case "append":
                new = list(enumerate(numbers, len(expected) + 1))
                queue.append([body(*each) for each in new], durable=numbers[0] % 2 == 0)
                expected += [line(*each) for each in new]
            case "commit":
                read = min(read + numbers[0], len(expected))
                queue.commit(read)
            case "release":
                queue.log.release(read)
            case "reopen":
                queue.close()
                queue = open_queue(disk, tail_bytes, read=read, segment_bytes=segment_bytes)
            case "read":
                max_messages, max_bytes = numbers
        assert queue.offsets == Offsets(len(expected), read)
        assert 0 <= queue.buffer_size <= queue.offsets.pending
        assert tail_bytes != NOWHERE or queue.buffer_size == 0
        batch = queue.read(max_messages, max_bytes)
        pending = expected[read:]
        assert batch.start_offset == read
        assert batch.end_offset == read + batch.count
        assert batch.lines == pending[: batch.count]
        assert bool(batch.lines) == bool(pending)
        assert batch.count <= max_messages
        fits = sum(map(len, batch.lines)) <= max_bytes
        assert fits or batch.count == 1
        if batch.count < min(len(pending), max_messages):
            assert sum(map(len, pending[: batch.count + 1])) > max_bytes


PRIVATE = b"|" + encode_extra(Extra(refusal=Refusal("g", 1, 0, 1)))
SHORT_LIVED = b"|" + encode_extra(Extra(expires_at=100))


def bodies_of(*extras: bytes) -> list[bytes]:
    return [b"m%d|1%b" % (number, extra) for number, extra in enumerate(extras, 1)]


def seen(queue: Queue, group: str, now_ms: int = 0, start: int = 0, most: int = PLENTY) -> Batch:
    return queue.read(most, PLENTY, View(group, start, start, now_ms))


def offsets_in(batch: Batch) -> list[int]:
    return [int(line.split(b"|")[2]) for line in batch.lines]


@pytest.mark.parametrize("tail_bytes", [PLENTY, NOWHERE])
class TestViews:
    def test_a_reader_sees_what_is_for_its_group(
        self, disk: SimulatedDisk, tail_bytes: int
    ) -> None:
        queue = open_queue(disk, tail_bytes)
        queue.append(bodies_of(b"", PRIVATE, b"", PRIVATE), durable=False)
        assert offsets_in(seen(queue, "g")) == [1, 2, 3, 4]
        assert offsets_in(seen(queue, "")) == [1, 3]
        assert seen(queue, "").end_offset == 3
        assert offsets_in(seen(queue, "", most=1)) == [1]
        # Nothing is left for it: it passes over the rest.
        assert (seen(queue, "", start=3).lines, seen(queue, "", start=3).end_offset) == ([], 4)

    def test_what_has_expired_is_passed_over_and_counted_once(
        self, disk: SimulatedDisk, tail_bytes: int
    ) -> None:
        queue = open_queue(disk, tail_bytes)
        queue.append(bodies_of(SHORT_LIVED, b"", SHORT_LIVED), durable=False)
        assert offsets_in(seen(queue, "", now_ms=99)) == [1, 2, 3]
        assert queue.expired == 0
        for group in ("", "g", ""):
            assert offsets_in(seen(queue, group, now_ms=100)) == [2]
        assert queue.expired == 2

    def test_of_what_it_does_not_see_it_looks_at_no_more_than_it_may_return(
        self, disk: SimulatedDisk, tail_bytes: int
    ) -> None:
        queue = open_queue(disk, tail_bytes)
        for _ in range(4):
            queue.append(bodies_of(*[PRIVATE] * 100), durable=False)
        batch = queue.read(PLENTY, 10_000, View("", 0, 0, 0))
        assert batch.lines == []
        assert 0 < batch.end_offset < 400

    def test_each_line_has_the_time_of_its_append(
        self, disk: SimulatedDisk, tail_bytes: int
    ) -> None:
        queue = open_queue(disk, tail_bytes)
        append(queue, 3)
        assert seen(queue, "").times == [1000] * 3


class TestGroups:
    def test_the_one_that_is_furthest_behind_keeps_messages(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk)
        append(queue, 4)
        assert queue.lowest_read == 0
        queue.put("g", Offsets(4, 3))
        assert queue.lowest_read == 3  # Nobody has used the unnamed group.
        queue.is_unnamed_used = True
        assert queue.lowest_read == 0
        queue.commit(2)
        assert (queue.lowest_read, queue.offsets_of("g").read) == (2, 3)
        queue.drop("g")
        assert queue.offsets_of("g").read == 0

    def test_its_offsets_move_with_the_log(self, disk: SimulatedDisk) -> None:
        queue = open_queue(disk)
        queue.put("g", Offsets())
        append(queue, 4)
        assert queue.offsets_of("g") == Offsets(4, 0)

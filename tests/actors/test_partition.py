"""A partition: every message once and in order, every commit on disk before it counts."""

import errno
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaq.actors.journal import JournalKeeper
from pandaq.actors.messages import (
    CheckCommit,
    Commit,
    DescribeQueue,
    EndWait,
    QueueDescription,
    Read,
    ReadOrWait,
    Retain,
    Sync,
    WakeAll,
)
from pandaq.actors.partition import Partition
from pandaq.actors.reply import Reply
from pandaq.batch import Batch
from pandaq.config import Retention
from pandaq.errors import InvalidOffset, ShuttingDown, StorageFailed, StorageFull
from pandaq.offsets import Offsets
from pandaq.storage.recovery import open_store
from pandaq.storage.store import Store
from tests.actors.stage import (
    ALL,
    JOURNAL,
    Clock,
    ids,
    is_answered,
    numbered,
    offsets_of,
    partition_log,
    payload,
    routed,
    small_config,
)
from tests.inline import InlineRef
from tests.simulated_disk import SimulatedDisk, Step

KEY = "orders_partition_0"
LOG = partition_log(0)
NO_ROOM = OSError(errno.ENOSPC, "no room")
COMMITTED_MAY_GO = Retention(max_age_ms=None, keep_committed=False)
ALL_MAY_GO = Retention(max_age_ms=None, max_bytes=1, delete_uncommitted=True)


def make_partition(
    store: Store, clock: Clock, retention: Retention = COMMITTED_MAY_GO
) -> Partition:
    topic = store.topics["orders"]
    journal = InlineRef(JournalKeeper(topic.journal))
    return Partition("orders", 0, topic.partitions[0], journal, {}, retention, clock, 5)


@pytest.fixture
def partition(store: Store, clock: Clock) -> Partition:
    return make_partition(store, clock)


def append(partition: Partition, message_ids: Sequence[str], first: int = 1) -> None:
    partition.on_receive(routed(*numbered(message_ids, first)))


def read(partition: Partition) -> Batch:
    batch: Batch = partition.on_receive(Read(ALL, ALL))
    return batch


def wait(partition: Partition) -> Reply[Batch]:
    future: Reply[Batch] = partition.on_receive(ReadOrWait(ALL, ALL))
    return future


def committed_on_disk(disk: SimulatedDisk) -> int:
    """Return the readOffset that a start would find if the power were lost now."""
    return (
        open_store(small_config(), disk.power_loss_worst(), Clock())
        .topics["orders"]
        .journal.read_offset(KEY)
    )


class TestAppending:
    def test_messages_get_the_offsets_of_their_order(self, partition: Partition) -> None:
        append(partition, "abc")
        append(partition, "de", first=4)
        batch = read(partition)
        assert ids(batch) == list("abcde")
        assert offsets_of(batch) == [1, 2, 3, 4, 5]

    def test_the_same_again_does_nothing(self, partition: Partition, disk: SimulatedDisk) -> None:
        append(partition, "abc")
        trace = list(disk.trace)
        append(partition, "abc")
        append(partition, "bc", first=2)
        append(partition, "", first=4)
        assert disk.trace == trace
        assert ids(read(partition)) == list("abc")

    def test_of_what_overlaps_only_the_new_is_appended(self, partition: Partition) -> None:
        append(partition, "abc")
        append(partition, "abcde")
        append(partition, "cdef", first=3)
        batch = read(partition)
        assert ids(batch) == list("abcdef")
        assert offsets_of(batch) == [1, 2, 3, 4, 5, 6]

    def test_offsets_of_the_ingress_log_may_have_gaps(self, partition: Partition) -> None:
        messages = [(offset, payload(str(offset))) for offset in (2, 5, 9)]
        partition.on_receive(routed(*messages[:2]))
        partition.on_receive(routed(*messages))
        assert ids(read(partition)) == ["2", "5", "9"]

    def test_an_append_without_room_keeps_nothing_and_is_done_by_the_retry(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        append(partition, "ab")
        disk.fail("write", LOG, error=NO_ROOM, written=10)
        with pytest.raises(StorageFull):
            append(partition, "abcd")
        assert ids(read(partition)) == list("ab")
        append(partition, "abcde")
        assert ids(read(partition)) == list("abcde")

    def test_appending_does_not_sync(self, partition: Partition, disk: SimulatedDisk) -> None:
        syncs = disk.syncs[LOG]
        append(partition, "abc")
        assert disk.syncs[LOG] == syncs

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.booleans()), max_size=12))
    def test_whatever_is_retried_each_message_comes_once_and_in_order(
        self, cycles: list[tuple[int, int, bool]]
    ) -> None:
        disk, clock = SimulatedDisk(), Clock()
        partition = make_partition(open_store(small_config(), disk, clock), clock)
        done = 0
        for back, more, fails in cycles:
            first = max(done - back, 0) + 1
            last = done + more
            if fails:
                disk.fail("write", LOG, error=NO_ROOM, written=more)
            try:
                append(partition, [str(n) for n in range(first, last + 1)], first)
                done = last
            except StorageFull:
                pass
            disk.heal()
        batch = read(partition)
        assert ids(batch) == [str(n) for n in range(1, done + 1)]
        assert offsets_of(batch) == list(range(1, done + 1))


class TestCommitting:
    def test_a_commit_is_answered_with_the_offsets_after_it(self, partition: Partition) -> None:
        append(partition, "abc")
        assert partition.on_receive(Commit(2)) == Offsets(3, 2)
        assert ids(read(partition)) == ["c"]

    def test_a_commit_is_on_disk_before_it_is_in_memory(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        append(partition, "abc")
        seen: list[Any] = []

        def look(path: object) -> bool:
            seen.append((path, partition.on_receive(DescribeQueue()).offsets))
            return False

        disk.fail("sync", look)
        partition.on_receive(Commit(2))
        assert seen == [(JOURNAL, Offsets(3, 0))]

    def test_a_commit_that_was_answered_survives_the_loss_of_power(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        append(partition, "abc")
        partition.on_receive(Sync())
        partition.on_receive(Commit(2))
        assert committed_on_disk(disk) == 2

    @pytest.mark.parametrize("offset", [-1, 0, 4])
    def test_an_offset_that_cannot_be_committed_is_refused_and_changes_nothing(
        self, partition: Partition, disk: SimulatedDisk, offset: int
    ) -> None:
        append(partition, "abc")
        partition.on_receive(Commit(1))
        trace = list(disk.trace)
        for message in (Commit(offset), CheckCommit(offset)):
            with pytest.raises(InvalidOffset) as raised:
                partition.on_receive(message)
            assert (raised.value.lowest, raised.value.log_end) == (1, 3)
        assert disk.trace == trace
        assert partition.on_receive(DescribeQueue()).offsets == Offsets(3, 1)

    def test_the_same_commit_again_is_a_success_that_writes_nothing(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        append(partition, "abc")
        partition.on_receive(Commit(2))
        trace = list(disk.trace)
        assert partition.on_receive(Commit(2)) == Offsets(3, 2)
        assert disk.trace == trace

    def test_to_check_a_commit_changes_nothing(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        append(partition, "abc")
        trace = list(disk.trace)
        partition.on_receive(CheckCommit(3))
        assert disk.trace == trace
        assert len(ids(read(partition))) == 3

    @pytest.mark.parametrize(
        ("operation", "error", "expected"),
        [("write", NO_ROOM, StorageFull), ("sync", OSError(errno.EIO, "broken"), StorageFailed)],
    )
    def test_a_commit_that_cannot_be_written_down_changes_nothing(
        self,
        partition: Partition,
        disk: SimulatedDisk,
        operation: Any,
        error: OSError,
        expected: type[Exception],
    ) -> None:
        append(partition, "abc")
        disk.fail(operation, JOURNAL, error=error)
        with pytest.raises(expected):
            partition.on_receive(Commit(2))
        assert partition.on_receive(DescribeQueue()).offsets == Offsets(3, 0)
        assert len(ids(read(partition))) == 3

    def test_a_commit_is_done_once_there_is_room(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        append(partition, "abc")
        disk.fail("write", JOURNAL, error=NO_ROOM)
        with pytest.raises(StorageFull):
            partition.on_receive(Commit(2))
        partition.on_receive(Commit(2))
        assert committed_on_disk(disk) == 2


class TestWaiting:
    def test_whoever_waits_is_answered_when_something_arrives(self, partition: Partition) -> None:
        futures = [wait(partition) for _ in range(3)]
        assert not any(map(is_answered, futures))
        append(partition, "ab")
        assert [ids(future.get(timeout=0)) for future in futures] == [["a", "b"]] * 3
        append(partition, "c", first=3)

    def test_what_is_there_is_answered_at_once(self, partition: Partition) -> None:
        append(partition, "ab")
        assert ids(wait(partition).get(timeout=0)) == ["a", "b"]
        partition.on_receive(Commit(2))
        assert not is_answered(wait(partition))

    def test_that_all_of_the_rest_is_lost_is_told_when_the_wait_ends(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        partition.on_receive(routed(*numbered(["a", "b"])))
        disk.corrupt(LOG, 2, b"\0" * 5)
        message = ReadOrWait(ALL, ALL)
        ended = partition.on_receive(message)
        assert not is_answered(ended)
        partition.on_receive(EndWait(message))
        assert ended.get(timeout=0) == Batch(0, 2, [])
        waiting = wait(partition)
        assert not is_answered(waiting)
        partition.on_receive(routed((3, payload("c"))))
        assert ids(waiting.get(timeout=0)) == ["c"]

    def test_each_gets_as_much_as_it_asked_for(self, partition: Partition) -> None:
        one, two = (partition.on_receive(ReadOrWait(count, ALL)) for count in (1, 2))
        append(partition, "abc")
        assert ids(one.get(timeout=0)) == ["a"]
        assert ids(two.get(timeout=0)) == ["a", "b"]

    def test_a_retry_that_brings_nothing_new_wakes_nobody(self, partition: Partition) -> None:
        append(partition, "a")
        partition.on_receive(Commit(1))
        future = wait(partition)
        append(partition, "a")
        assert not is_answered(future)

    def test_whoever_is_forgotten_is_not_answered_and_takes_no_memory(
        self, partition: Partition
    ) -> None:
        first, second = ReadOrWait(ALL, ALL), ReadOrWait(ALL, ALL)
        gone, still = partition.on_receive(first), partition.on_receive(second)
        for _ in range(2):
            partition.on_receive(EndWait(first))
        assert gone.get(timeout=0) == Batch(0, 0, [])
        assert not is_answered(still)
        append(partition, "a")
        assert still.get(timeout=0).count == 1
        assert partition._waiting == []

    def test_wake_all_answers_all_with_what_there_is_and_all_who_come(
        self, partition: Partition
    ) -> None:
        futures = [wait(partition) for _ in range(50)]
        partition.on_receive(WakeAll())
        futures.append(wait(partition))
        assert [future.get(timeout=0) for future in futures] == [Batch(0, 0, [])] * 51

    def test_a_stop_refuses_all_who_wait(self, partition: Partition) -> None:
        future = wait(partition)
        partition.on_stop()
        with pytest.raises(ShuttingDown):
            future.get(timeout=0)

    def test_a_read_that_fails_is_told_to_whoever_waits(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        futures = [wait(partition) for _ in range(2)]
        disk.fail("read", error=OSError(errno.EIO, "broken"), times=None)
        append(partition, "a")
        assert all(map(is_answered, futures))


class TestSyncing:
    def test_a_sync_makes_all_durable_and_tells_the_end(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        append(partition, "abc")
        assert partition.on_receive(Sync()) == {KEY: Offsets(3)}
        assert disk.power_loss_worst().files()[LOG].count(b"\n") == 3

    def test_after_a_failed_sync_nothing_is_appended_and_reads_go_on(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        append(partition, "abc")
        disk.fail("sync", LOG)
        for call in (lambda: partition.on_receive(Sync()), lambda: append(partition, "d", 4)):
            with pytest.raises(StorageFailed) as raised:
                call()
            assert raised.value.closed
        assert ids(read(partition)) == list("abc")
        assert partition.on_receive(DescribeQueue()).problem
        assert partition.on_receive(Commit(2)) == Offsets(3, 2)


class TestRetaining:
    def sealed(self, disk: SimulatedDisk) -> list[Any]:
        return [path for path in disk.files() if path.match("partition_0.0*.log")]

    def fill(self, partition: Partition) -> None:
        for number in range(1, 13):
            partition.on_receive(routed((number, payload(str(number), 200))))

    def test_sealed_segments_that_are_committed_may_go(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        self.fill(partition)
        before = len(self.sealed(disk))
        partition.on_receive(Commit(7))
        deleted = partition.on_receive(Retain({KEY: 1 << 40}))
        assert deleted > 0
        assert len(self.sealed(disk)) == before - deleted
        assert offsets_of(read(partition)) == [8, 9, 10, 11, 12]

    def test_nothing_behind_the_checkpoint_may_go(self, partition: Partition) -> None:
        self.fill(partition)
        partition.on_receive(Commit(12))
        assert partition.on_receive(Retain({KEY: 0})) == partition.on_receive(Retain({})) == 0
        few = partition.on_receive(Retain({KEY: 4}))
        assert 0 < few < partition.on_receive(Retain({KEY: 12})) + few

    def test_what_is_not_committed_stays(self, partition: Partition, disk: SimulatedDisk) -> None:
        self.fill(partition)
        trace = list(disk.trace)
        assert partition.on_receive(Retain({KEY: 1 << 40})) == 0
        assert not [step for step in disk.trace[len(trace) :] if step.operation == "delete"]
        assert len(offsets_of(read(partition))) == 12

    def test_what_goes_uncommitted_is_committed_first_and_on_disk(
        self, store: Store, clock: Clock, disk: SimulatedDisk
    ) -> None:
        partition = make_partition(store, clock, ALL_MAY_GO)
        self.fill(partition)
        disk.trace.clear()
        assert partition.on_receive(Retain({KEY: 1 << 40})) > 0
        operations = [step.operation for step in disk.trace]
        assert disk.trace.index(Step("sync", JOURNAL)) < operations.index("delete")
        offsets = partition.on_receive(DescribeQueue()).offsets
        assert 0 < offsets.read < offsets.log_end
        assert offsets_of(read(partition)) == list(range(offsets.read + 1, 13))
        assert committed_on_disk(disk) == offsets.read

    def test_what_cannot_be_written_down_as_committed_is_not_deleted(
        self, store: Store, clock: Clock, disk: SimulatedDisk
    ) -> None:
        partition = make_partition(store, clock, ALL_MAY_GO)
        self.fill(partition)
        disk.fail("write", JOURNAL, error=NO_ROOM)
        with pytest.raises(StorageFull):
            partition.on_receive(Retain({KEY: 1 << 40}))
        assert len(offsets_of(read(partition))) == 12
        assert partition.on_receive(DescribeQueue()).offsets == Offsets(12, 0)

    def test_age_is_told_by_the_clock(
        self, store: Store, clock: Clock, disk: SimulatedDisk
    ) -> None:
        partition = make_partition(store, clock, Retention(max_age_ms=1_000))
        self.fill(partition)
        partition.on_receive(Commit(12))
        clock.now_ms += 1_000
        assert partition.on_receive(Retain({KEY: 1 << 40})) == 0
        clock.now_ms += 1
        assert partition.on_receive(Retain({KEY: 1 << 40})) > 0


def test_it_describes_itself(partition: Partition) -> None:
    append(partition, "abc")
    partition.on_receive(Commit(1))
    assert partition.on_receive(DescribeQueue()) == QueueDescription(Offsets(3, 1), 0, None)

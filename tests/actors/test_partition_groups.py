"""A partition and its groups: whose it is, where each stands, what each sees."""

from typing import Any

import pytest

from pandaq.actors.journal import JournalKeeper
from pandaq.actors.messages import (
    Caller,
    Commit,
    DescribeQueue,
    DropGroup,
    EndWait,
    OpenGroup,
    Read,
    ReadOne,
    ReadOrWait,
    Retain,
    Seek,
    SetOwner,
    Sync,
    Target,
)
from pandaq.actors.partition import Partition
from pandaq.batch import Batch
from pandaq.config import Retention
from pandaq.errors import GroupNotFound, InvalidOffset, NotAssigned, StorageFull
from pandaq.extra import Extra, Refusal, encode_extra
from pandaq.offsets import Offsets
from pandaq.storage.journal import Journal
from pandaq.storage.store import Store
from tests.actors.stage import ALL, JOURNAL, Clock, is_answered, offsets_of, payload, routed
from tests.inline import InlineRef
from tests.simulated_disk import SimulatedDisk

KEY = "orders_partition_0"
ANN, BOB = Caller("g", "ann", 1), Caller("g", "bob", 2)
G = Caller("g")
PRIVATE = b"|" + encode_extra(Extra(refusal=Refusal("g", 1, 0, 1)))


def make_partition(
    store: Store, clock: Clock, owners: dict[str, tuple[str | None, int]] | None = None
) -> Partition:
    topic = store.topics["orders"]
    journal = InlineRef(JournalKeeper(topic.journal))
    retention = Retention(max_age_ms=None, keep_committed=False)
    queue = topic.partitions[0]
    return Partition("orders", 0, queue, journal, owners or {}, retention, clock, 5)


@pytest.fixture
def partition(store: Store, clock: Clock) -> Partition:
    """A partition of five messages; the group is at its beginning."""
    partition = make_partition(store, clock)
    append(partition, 1, 5)
    partition.on_receive(OpenGroup("g", "beginning"))
    return partition


def append(partition: Partition, first: int, last: int, extra: bytes = b"") -> None:
    messages = [(n, payload(str(n)) + extra) for n in range(first, last + 1)]
    partition.on_receive(routed(*messages))


def seen(partition: Partition, caller: Caller = G) -> list[int]:
    return offsets_of(partition.on_receive(Read(ALL, ALL, caller)))


def recorded(disk: SimulatedDisk) -> dict[str, Offsets]:
    return Journal(disk.power_loss_worst(), JOURNAL).offsets


class TestOwners:
    @pytest.mark.parametrize(
        "message",
        [
            Commit(1, ANN),
            Seek(Target(offset=1), ANN),
            Read(ALL, ALL, ANN),
            ReadOne(1, ANN),
            ReadOrWait(ALL, ALL, ANN),
        ],
    )
    def test_nothing_that_a_former_owner_sends_is_done_once_there_is_another(
        self, partition: Partition, disk: SimulatedDisk, message: Any
    ) -> None:
        partition.on_receive(SetOwner("g", "ann", 1))
        partition.on_receive(SetOwner("g", "bob", 2))
        before = recorded(disk)
        with pytest.raises(NotAssigned):
            partition.on_receive(message)
        assert recorded(disk) == before
        assert partition.on_receive(Commit(1, BOB)).read == 1

    def test_nor_once_nobody_has_it(self, partition: Partition) -> None:
        partition.on_receive(SetOwner("g", "ann", 1))
        partition.on_receive(SetOwner("g", None, 1))
        with pytest.raises(NotAssigned):
            partition.on_receive(Commit(1, ANN))

    def test_the_generation_counts_where_it_is_named(self, partition: Partition) -> None:
        partition.on_receive(SetOwner("g", "ann", 3))
        with pytest.raises(NotAssigned):
            partition.on_receive(Commit(1, ANN))
        assert partition.on_receive(Commit(1, Caller("g", "ann"))).read == 1

    def test_what_is_done_because_nobody_has_it_is_refused_once_somebody_has(
        self, partition: Partition
    ) -> None:
        seek = Seek(Target(offset=1), Caller("g", "ann", 0))
        assert partition.on_receive(seek).read == 1
        partition.on_receive(SetOwner("g", "bob", 1))
        with pytest.raises(NotAssigned):
            partition.on_receive(seek)

    def test_groups_have_owners_of_their_own(self, partition: Partition) -> None:
        partition.on_receive(SetOwner("g", "ann", 1))
        partition.on_receive(SetOwner("", "bob", 1))
        assert partition.on_receive(Commit(1, ANN)).read == 1
        assert partition.on_receive(Commit(2, Caller("", "bob", 1))).read == 2

    def test_those_of_the_run_before_hold(self, store: Store, clock: Clock) -> None:
        partition = make_partition(store, clock, {"": ("ann", 4)})
        append(partition, 1, 2)
        with pytest.raises(NotAssigned):
            partition.on_receive(Commit(1, Caller("", "bob", 4)))
        assert partition.on_receive(Commit(1, Caller("", "ann", 4))).read == 1

    def test_a_former_owner_that_waits_hears_of_it_at_once_and_others_wait_on(
        self, partition: Partition
    ) -> None:
        partition.on_receive(SetOwner("g", "ann", 1))
        partition.on_receive(Commit(5, ANN))
        own = partition.on_receive(ReadOrWait(ALL, ALL, ANN))
        nobodys = partition.on_receive(ReadOrWait(ALL, ALL, G))
        partition.on_receive(SetOwner("g", "bob", 2))
        with pytest.raises(NotAssigned):
            own.get(timeout=0)
        assert not is_answered(nobodys)


class TestGroups:
    def test_each_has_its_own_offset_on_the_disk(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        partition.on_receive(Commit(2, G))
        partition.on_receive(Commit(4))
        assert recorded(disk) == {KEY: Offsets(5, 4), f"{KEY}@g": Offsets(5, 2)}
        assert (seen(partition), seen(partition, Caller())) == ([3, 4, 5], [5])
        assert partition.on_receive(Sync()) == recorded(disk)

    def test_a_new_one_begins_at_an_end_and_one_that_is_there_stays(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        assert partition.on_receive(OpenGroup("h", "end")) == Offsets(5, 5)
        assert partition.on_receive(OpenGroup("g", "end")) == Offsets(5, 0)
        assert recorded(disk)[f"{KEY}@h"] == Offsets(5, 5)

    def test_one_that_nobody_opened_can_be_peeked_at_and_leaves_nothing_behind(
        self, partition: Partition
    ) -> None:
        for number in range(50):
            caller = Caller(f"name {number}")
            assert seen(partition, caller) == [1, 2, 3, 4, 5]
            with pytest.raises(GroupNotFound):
                partition.on_receive(Commit(5, caller))
        assert len(partition._seen) + len(partition._queue.groups) < 5

    def test_one_that_is_dropped_begins_anew(self, partition: Partition) -> None:
        partition.on_receive(Commit(5, G))
        partition.on_receive(DropGroup("g"))
        assert seen(partition) == [1, 2, 3, 4, 5]

    def test_one_that_cannot_be_written_down_is_not_there(
        self, partition: Partition, disk: SimulatedDisk
    ) -> None:
        disk.fail("write", JOURNAL, error=OSError(28, "no room"))
        with pytest.raises(StorageFull):
            partition.on_receive(OpenGroup("h", "end"))
        assert "h" not in partition.on_receive(DescribeQueue()).groups

    def test_what_one_has_not_committed_is_kept_and_of_the_unnamed_one_if_it_is_used(
        self, partition: Partition
    ) -> None:
        for number in range(6, 41):
            append(partition, number, number)
        ends = {KEY: 40}
        partition.on_receive(Commit(30, G))
        assert partition.on_receive(Retain(ends)) > 0
        assert seen(partition)[0] == 31
        # The unnamed group, which nobody used, has moved on with what is gone.
        start = partition._queue.log.start
        assert partition._queue.offsets.read == start - 1
        partition.on_receive(SetOwner("", "ann", 1))
        partition.on_receive(Commit(40, G))
        assert partition.on_receive(Retain(ends)) == 0
        assert seen(partition, Caller())[0] == start


class TestSeeking:
    @pytest.mark.parametrize(
        ("target", "offset"),
        [
            (Target(offset=0), 0),
            (Target(offset=4), 4),
            (Target(to="beginning"), 0),
            (Target(to="end"), 5),
            (Target(timestamp_ms=0), 0),
            (Target(timestamp_ms=2_000_000_000_000), 5),
        ],
    )
    def test_it_moves_on_and_back_and_is_on_the_disk(
        self, partition: Partition, disk: SimulatedDisk, target: Target, offset: int
    ) -> None:
        partition.on_receive(Commit(2, G))
        assert partition.on_receive(Seek(target, G)).read == offset
        assert seen(partition) == list(range(offset + 1, 6))
        assert recorded(disk)[f"{KEY}@g"] == Offsets(5, offset, 1)

    def test_by_time_it_goes_to_what_was_appended_then_or_later(
        self, partition: Partition, clock: Clock
    ) -> None:
        then_ms = clock.now_ms = clock.now_ms + 1_000
        append(partition, 6, 7)
        assert partition.on_receive(Seek(Target(timestamp_ms=then_ms), G)).read == 5
        assert partition.on_receive(Seek(Target(timestamp_ms=then_ms + 1), G)).read == 7

    @pytest.mark.parametrize("offset", [-1, 6])
    def test_what_the_log_has_not_is_refused(self, partition: Partition, offset: int) -> None:
        with pytest.raises(InvalidOffset, match="sought"):
            partition.on_receive(Seek(Target(offset=offset), G))
        with pytest.raises(InvalidOffset, match="read from"):
            partition.on_receive(Read(1, ALL, G, offset))

    def test_whoever_waits_is_answered_with_what_is_there_again(self, partition: Partition) -> None:
        partition.on_receive(Commit(5, G))
        waiting = partition.on_receive(ReadOrWait(ALL, ALL, G))
        partition.on_receive(Seek(Target(offset=3), G))
        assert offsets_of(waiting.get(timeout=0)) == [4, 5]


class TestWhatIsNotForAll:
    def test_a_copy_wakes_its_group_alone_and_the_others_pass_over_it(
        self, partition: Partition
    ) -> None:
        partition.on_receive(Commit(5, G))
        partition.on_receive(Commit(5))
        message = ReadOrWait(ALL, ALL)
        other = partition.on_receive(message)
        own = partition.on_receive(ReadOrWait(ALL, ALL, G))
        append(partition, 6, 6, PRIVATE)
        assert offsets_of(own.get(timeout=0)) == [6]
        assert not is_answered(other)
        partition.on_receive(EndWait(message))
        assert other.get(timeout=0) == Batch(5, 6, [])

    def test_only_what_is_there_for_the_caller_and_not_committed_can_be_refused(
        self, partition: Partition
    ) -> None:
        append(partition, 6, 6, PRIVATE)
        partition.on_receive(Commit(2, G))
        assert partition.on_receive(ReadOne(3, G)).startswith(b"orders|0|3|")
        assert partition.on_receive(ReadOne(6, G)).startswith(b"orders|0|6|")
        for offset, caller in ((2, G), (7, G), (6, Caller())):
            with pytest.raises(InvalidOffset, match="refused"):
                partition.on_receive(ReadOne(offset, caller))

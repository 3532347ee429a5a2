"""What recovery hands over: its parts keep what they were given, and close in the end."""

import errno
import os

import pytest

from pandaq.errors import StorageFailed, StorageFull
from pandaq.offsets import Offsets
from pandaq.storage.checkpoint import Checkpoint, read_checkpoint
from pandaq.storage.store import Store
from pandaq.storage.tpc_log import Assignment, read_tpc_log
from tests.simulated_disk import SimulatedDisk
from tests.storage.plain_broker import DATA, PlainBroker, small_config

PARTITIONS = {
    "orders_partition_0": Offsets(4, 1),
    "orders_partition_1": Offsets(2),
    "events_partition_0": Offsets(),
}
ALICE, BOB = Assignment("orders", 0, "alice"), Assignment("orders", 1, "bob")
NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk() -> SimulatedDisk:
    return SimulatedDisk()


@pytest.fixture
def store(disk: SimulatedDisk) -> Store:
    return PlainBroker(disk, small_config()).store


class TestCheckpoints:
    def test_a_checkpoint_is_durable_when_it_is_written(
        self, disk: SimulatedDisk, store: Store
    ) -> None:
        store.checkpoints.write(Offsets(9, 6), PARTITIONS)
        found = read_checkpoint(disk.power_loss_worst(), store.datadir.checkpoint)
        assert found == Checkpoint(Offsets(9, 6), PARTITIONS)

    def test_without_room_the_last_one_holds_and_it_may_be_tried_again(
        self, disk: SimulatedDisk, store: Store
    ) -> None:
        store.checkpoints.write(Offsets(9, 6), PARTITIONS)
        disk.fail("write", error=NO_ROOM)
        with pytest.raises(StorageFull):
            store.checkpoints.write(Offsets(10, 10), PARTITIONS)
        path = store.datadir.checkpoint
        assert read_checkpoint(disk.kill(), path) == Checkpoint(Offsets(9, 6), PARTITIONS)
        assert not disk.exists(path.with_name(path.name + ".tmp"))
        store.checkpoints.write(Offsets(10, 10), PARTITIONS)
        assert read_checkpoint(disk.kill(), path) == Checkpoint(Offsets(10, 10), PARTITIONS)

    @pytest.mark.parametrize("operation", ["sync", "sync_folder"])
    def test_after_a_failed_sync_none_is_written_any_more(
        self, operation: str, disk: SimulatedDisk, store: Store
    ) -> None:
        disk.fail(operation)  # type: ignore[arg-type]
        for _ in range(2):
            with pytest.raises(StorageFailed) as caught:
                store.checkpoints.write(Offsets(9, 6), PARTITIONS)
            assert caught.value.closed
            assert str(store.datadir.checkpoint) in str(caught.value)


class TestAssignmentLog:
    def test_assignments_are_durable_when_they_are_written(
        self, disk: SimulatedDisk, store: Store
    ) -> None:
        store.assignment_log.write([ALICE])
        store.assignment_log.write([ALICE, BOB])
        assert read_tpc_log(disk.power_loss_worst(), store.datadir.tpc_log) == [ALICE, BOB]

    def test_without_room_the_last_ones_hold(self, disk: SimulatedDisk, store: Store) -> None:
        store.assignment_log.write([ALICE])
        disk.fail("write", error=NO_ROOM)
        with pytest.raises(StorageFull):
            store.assignment_log.write([BOB])
        assert read_tpc_log(disk.kill(), store.datadir.tpc_log) == [ALICE]

    def test_an_error_that_is_no_sync_may_pass(self, disk: SimulatedDisk, store: Store) -> None:
        disk.fail("replace")
        with pytest.raises(StorageFailed) as caught:
            store.assignment_log.write([ALICE])
        assert not caught.value.closed
        store.assignment_log.write([BOB])
        assert read_tpc_log(disk.kill(), store.datadir.tpc_log) == [BOB]


class TestStore:
    def test_it_has_a_queue_for_each_partition(self, store: Store) -> None:
        assert {name: len(topic.partitions) for name, topic in store.topics.items()} == {
            "orders": 2,
            "events": 1,
        }

    def test_a_topic_has_the_retention_of_its_configuration(self, disk: SimulatedDisk) -> None:
        config = small_config()
        broker = PlainBroker(disk, config)
        for topic in config.topics:
            assert broker.store.topics[topic.id].retention == topic.retention

    def test_closing_closes_all_and_gives_the_lock_up(
        self, disk: SimulatedDisk, store: Store
    ) -> None:
        assert len(disk.open_files) == 12  # four logs with their indexes, and two journals
        assert list(disk.held_locks) == [DATA / "pandaq.lock"]
        store.close()
        store.close()
        assert not disk.open_files
        assert not disk.held_locks

    def test_closing_does_not_sync(self, disk: SimulatedDisk, store: Store) -> None:
        before = disk.syncs.total()
        store.close()
        assert disk.syncs.total() == before

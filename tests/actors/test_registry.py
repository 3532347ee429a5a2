"""The registry: who has which partition, on disk before anybody is told."""

import errno
from typing import Any

import pytest

from pandaq.actors.messages import (
    CheckCommit,
    Claim,
    DescribeAssignments,
    DescribeTrouble,
    Register,
)
from pandaq.actors.registry import Registry
from pandaq.errors import (
    InvalidOffset,
    NoPartitionAvailable,
    NotAssigned,
    OutcomeUnknown,
    StorageFailed,
    StorageFull,
)
from pandaq.storage.recovery import open_store
from pandaq.storage.store import Store
from pandaq.storage.tpc_log import Assignment
from tests.actors.stage import TPC_LOG, Clock, FakeRef, small_config
from tests.simulated_disk import SimulatedDisk


def refuse_beyond_three(message: Any) -> None:
    assert isinstance(message, CheckCommit)
    if not 0 <= message.offset <= 3:
        raise InvalidOffset(message.offset, 0, 3)


@pytest.fixture
def partitions() -> dict[str, list[FakeRef]]:
    return {
        "orders": [FakeRef(refuse_beyond_three) for _ in range(2)],
        "events": [FakeRef(refuse_beyond_three)],
    }


@pytest.fixture
def registry(store: Store, partitions: dict[str, list[FakeRef]]) -> Registry:
    return Registry(partitions, store.assignments, store.assignment_log, 5)


def assigned(registry: Registry) -> dict[tuple[str, int], str]:
    consumers: dict[tuple[str, int], str] = registry.on_receive(DescribeAssignments())
    return consumers


def on_disk(disk: SimulatedDisk) -> list[Assignment]:
    return open_store(small_config(), disk.power_loss_worst(), Clock()).assignments


class TestRegistering:
    def test_each_consumer_gets_a_partition_of_its_own(self, registry: Registry) -> None:
        assert registry.on_receive(Register("orders", "ann")) == 0
        assert registry.on_receive(Register("orders", "bob")) == 1
        assert registry.on_receive(Register("events", "bob")) == 0
        assert assigned(registry) == {
            ("orders", 0): "ann",
            ("orders", 1): "bob",
            ("events", 0): "bob",
        }

    def test_the_same_consumer_gets_the_same_partition_and_nothing_is_written(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        registry.on_receive(Register("orders", "ann"))
        registry.on_receive(Register("orders", "bob"))
        trace = list(disk.trace)
        assert registry.on_receive(Register("orders", "bob")) == 1
        assert disk.trace == trace

    def test_where_all_are_taken_nobody_is_put_out(self, registry: Registry) -> None:
        registry.on_receive(Register("events", "ann"))
        with pytest.raises(NoPartitionAvailable):
            registry.on_receive(Register("events", "bob"))
        assert assigned(registry) == {("events", 0): "ann"}

    def test_an_assignment_that_was_told_survives_the_loss_of_power(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        registry.on_receive(Register("orders", "ann"))
        assert on_disk(disk) == [Assignment("orders", 0, "ann")]

    def test_it_is_on_disk_before_it_is_in_memory(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        seen: list[object] = []

        def look(_path: object) -> bool:
            seen.append(assigned(registry))
            return False

        disk.fail("sync_folder", look)
        registry.on_receive(Register("orders", "ann"))
        assert seen == [{}]

    def test_the_next_run_knows_who_had_what(
        self, registry: Registry, disk: SimulatedDisk, partitions: dict[str, list[FakeRef]]
    ) -> None:
        registry.on_receive(Register("orders", "ann"))
        registry.on_receive(Register("orders", "bob"))
        store = open_store(small_config(), disk.power_loss_worst(), Clock())
        after = Registry(partitions, store.assignments, store.assignment_log, 5)
        assert after.on_receive(Register("orders", "bob")) == 1
        assert assigned(after) == assigned(registry)

    @pytest.mark.parametrize(
        ("operation", "where", "error", "expected"),
        [
            ("write", "TPC.log.tmp", OSError(errno.ENOSPC, "no room"), StorageFull),
            ("replace", "TPC.log", OSError(errno.EIO, "broken"), StorageFailed),
        ],
    )
    def test_what_cannot_be_written_changes_nothing_and_may_be_tried_again(
        self,
        registry: Registry,
        disk: SimulatedDisk,
        operation: Any,
        where: str,
        error: OSError,
        expected: type[Exception],
    ) -> None:
        registry.on_receive(Register("orders", "ann"))
        disk.fail(operation, where, error=error)
        with pytest.raises(expected):
            registry.on_receive(Register("orders", "bob"))
        assert assigned(registry) == {("orders", 0): "ann"}
        assert registry.on_receive(DescribeTrouble()) is None
        assert on_disk(disk) == [Assignment("orders", 0, "ann")]
        assert registry.on_receive(Register("orders", "bob")) == 1

    def test_a_failed_sync_changes_nothing_and_is_a_trouble_from_then_on(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        disk.fail("sync", "TPC.log.tmp")
        for _ in range(2):
            with pytest.raises(StorageFailed):
                registry.on_receive(Register("orders", "ann"))
        assert assigned(registry) == {}
        assert registry.on_receive(DescribeTrouble())


class TestClaiming:
    def claim(self, registry: Registry, consumer_id: str, offset: int = 1) -> None:
        registry.on_receive(Claim("orders", 1, consumer_id, offset))

    def test_whoever_has_the_partition_passes_and_nobody_is_asked(
        self, registry: Registry, disk: SimulatedDisk, partitions: dict[str, list[FakeRef]]
    ) -> None:
        self.claim(registry, "ann")
        trace = list(disk.trace)
        partitions["orders"][1].asked.clear()
        self.claim(registry, "ann", offset=99)
        assert disk.trace == trace
        assert partitions["orders"][1].asked == []

    def test_a_partition_that_nobody_has_is_assigned_and_written_down(
        self, registry: Registry, disk: SimulatedDisk, partitions: dict[str, list[FakeRef]]
    ) -> None:
        self.claim(registry, "ann", offset=3)
        assert partitions["orders"][1].asked == [CheckCommit(3)]
        assert assigned(registry) == {("orders", 1): "ann"}
        assert on_disk(disk) == [Assignment("orders", 1, "ann")]

    def test_a_commit_that_could_not_be_done_assigns_nothing(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        with pytest.raises(InvalidOffset):
            self.claim(registry, "ann", offset=4)
        assert assigned(registry) == {}
        assert not disk.exists(TPC_LOG) or on_disk(disk) == []
        self.claim(registry, "bob")

    def test_a_partition_of_another_is_refused(self, registry: Registry) -> None:
        self.claim(registry, "ann")
        with pytest.raises(NotAssigned):
            self.claim(registry, "bob")
        assert assigned(registry) == {("orders", 1): "ann"}

    def test_a_claim_that_cannot_be_written_assigns_nothing(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        disk.fail("write", "TPC.log.tmp", error=OSError(errno.ENOSPC, "no room"))
        with pytest.raises(StorageFull):
            self.claim(registry, "ann")
        assert assigned(registry) == {}
        self.claim(registry, "bob")

    def test_a_partition_that_does_not_answer_is_not_assigned(
        self, registry: Registry, partitions: dict[str, list[FakeRef]]
    ) -> None:
        def fail(_message: object) -> None:
            raise OutcomeUnknown(5)

        partitions["orders"][1].answer = fail
        with pytest.raises(OutcomeUnknown):
            self.claim(registry, "ann")
        assert assigned(registry) == {}

    def test_whoever_claimed_one_partition_gets_that_one_when_it_registers(
        self, registry: Registry
    ) -> None:
        self.claim(registry, "ann")
        assert registry.on_receive(Register("orders", "ann")) == 1

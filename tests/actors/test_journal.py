"""The keeper of a topic's offsets file: one sync for all commits that wait together."""

import errno

import pytest

from pandaq.actors.journal import JournalKeeper
from pandaq.actors.messages import DescribeTrouble, Flush, Record
from pandaq.actors.reply import Reply
from pandaq.errors import ShuttingDown, StorageFailed, StorageFull
from pandaq.offsets import Offsets
from pandaq.storage.journal import Journal
from pandaq.storage.store import Store
from tests.actors.stage import JOURNAL, is_answered, told
from tests.simulated_disk import SimulatedDisk

FIRST, SECOND = "orders_partition_0", "orders_partition_1"


@pytest.fixture
def keeper(store: Store) -> JournalKeeper:
    return JournalKeeper(store.topics["orders"].journal)


def record(keeper: JournalKeeper, key: str, read: int) -> Reply[None]:
    future: Reply[None] = keeper.on_receive(Record(key, Offsets(10, read)))
    return future


def on_disk(disk: SimulatedDisk) -> dict[str, int]:
    journal = Journal(disk.power_loss_worst(), JOURNAL)
    return {key: offsets.read for key, offsets in journal.offsets.items()}


def test_commits_of_two_partitions_that_wait_together_share_one_sync(
    keeper: JournalKeeper, disk: SimulatedDisk
) -> None:
    syncs = disk.syncs[JOURNAL]
    futures = [record(keeper, FIRST, 3), record(keeper, SECOND, 5)]
    assert told(keeper) == [Flush()]
    assert not any(map(is_answered, futures))
    keeper.on_receive(Flush())
    assert disk.syncs[JOURNAL] == syncs + 1
    assert all(map(is_answered, futures))
    assert on_disk(disk) == {FIRST: 3, SECOND: 5}


def test_nobody_is_answered_before_the_sync_is_over(
    keeper: JournalKeeper, disk: SimulatedDisk
) -> None:
    futures = [record(keeper, FIRST, 3), record(keeper, SECOND, 5)]
    seen: list[list[bool]] = []

    def look(_path: object) -> bool:
        seen.append([is_answered(future) for future in futures])
        return False

    disk.fail("sync", look)
    keeper.on_receive(Flush())
    assert seen == [[False, False]]


def test_of_two_commits_of_one_partition_the_later_one_holds(
    keeper: JournalKeeper, disk: SimulatedDisk
) -> None:
    record(keeper, FIRST, 3)
    record(keeper, FIRST, 4)
    keeper.on_receive(Flush())
    assert on_disk(disk) == {FIRST: 4}


def test_no_room_is_told_to_all_who_wait_and_the_next_commit_is_tried(
    keeper: JournalKeeper, disk: SimulatedDisk
) -> None:
    futures = [record(keeper, FIRST, 3), record(keeper, SECOND, 5)]
    disk.fail("write", JOURNAL, error=OSError(errno.ENOSPC, "no room"), written=5)
    keeper.on_receive(Flush())
    for future in futures:
        with pytest.raises(StorageFull):
            future.get(timeout=0)
    assert keeper.on_receive(DescribeTrouble()) is None
    assert on_disk(disk) == {}
    told(keeper)
    again = record(keeper, FIRST, 3)
    assert told(keeper) == [Flush()]
    keeper.on_receive(Flush())
    again.get(timeout=0)
    assert on_disk(disk) == {FIRST: 3}


def test_a_failed_sync_is_told_to_all_and_is_a_trouble_from_then_on(
    keeper: JournalKeeper, disk: SimulatedDisk
) -> None:
    disk.fail("sync", JOURNAL)
    future = record(keeper, FIRST, 3)
    keeper.on_receive(Flush())
    with pytest.raises(StorageFailed):
        future.get(timeout=0)
    late = record(keeper, SECOND, 5)
    keeper.on_receive(Flush())
    with pytest.raises(StorageFailed):
        late.get(timeout=0)
    assert keeper.on_receive(DescribeTrouble())


def test_a_stop_refuses_what_has_gathered(keeper: JournalKeeper, disk: SimulatedDisk) -> None:
    future = record(keeper, FIRST, 3)
    keeper.on_stop()
    with pytest.raises(ShuttingDown):
        future.get(timeout=0)
    assert on_disk(disk) == {}

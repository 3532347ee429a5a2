"""A topic's offsets file: what was recorded is there after any end."""

import errno
import os
import random
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from pandaq.errors import StorageFailed, StorageFull
from pandaq.offsets import Offsets
from pandaq.storage import journal as journal_module
from pandaq.storage.findings import Damage, TailCut
from pandaq.storage.journal import Journal
from tests.simulated_disk import SimulatedDisk, every_crash

FOLDER = Path("/data/topics/topic_orders")
PATH = FOLDER / "orders_partition_metadata.log"
KEY, OTHER = "orders_partition_0", "orders_partition_1"
NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Stop(BaseException):
    """The moment at which a test ends the process."""


@pytest.fixture
def disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    return disk


@pytest.fixture
def small_rewrites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "REWRITE_BYTES", 250)


def read_offsets(disk: SimulatedDisk) -> dict[str, int]:
    """Open the journal, return what it says, and close it."""
    journal = Journal(disk, PATH)
    offsets = {key: value.read for key, value in journal.offsets.items()}
    journal.close()
    return offsets


def stopped_before_call(disk: SimulatedDisk, number: int, act: Callable[[], None]) -> bool:
    """End the process before call `number` of the disk in `act`; tell whether it got there."""
    calls = count()

    def end(_path: Path) -> bool:
        if next(calls) >= number:
            raise Stop
        return False

    disk.fail("*", end)
    try:
        act()
    except Stop:
        return True
    finally:
        disk.heal()
    return False


def with_commits(*reads: int) -> tuple[SimulatedDisk, Journal]:
    """Return a disk and a journal on it in which KEY was committed that often, OTHER once."""
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    journal = Journal(disk, PATH)
    journal.record({OTHER: Offsets(7, 7)})
    for read in reads:
        journal.record({KEY: Offsets(100, read)})
    return disk, journal


class TestRecord:
    def test_a_new_journal_says_that_nothing_is_read(self, disk: SimulatedDisk) -> None:
        journal = Journal(disk, PATH)
        assert journal.offsets == {}
        assert journal.read_offset(KEY) == 0
        assert journal.findings == []

    def test_what_is_recorded_is_there_after_the_worst_crash(self, disk: SimulatedDisk) -> None:
        journal = Journal(disk, PATH)
        journal.record({KEY: Offsets(10, 4)})
        journal.record({OTHER: Offsets(3, 3)})
        assert journal.read_offset(KEY) == 4
        assert read_offsets(disk.power_loss_worst()) == {KEY: 4, OTHER: 3}

    def test_the_last_line_of_a_key_wins(self, disk: SimulatedDisk) -> None:
        journal = Journal(disk, PATH)
        for read in (1, 2, 9):
            journal.record({KEY: Offsets(10, read)})
        journal.close()
        assert Journal(disk, PATH).offsets == {KEY: Offsets(10, 9)}

    def test_a_line_is_as_the_format_has_it(self, disk: SimulatedDisk) -> None:
        Journal(disk, PATH).record({KEY: Offsets(10, 4)})
        assert b"\norders_partition_0|10|4\nchecksum|" in disk.files()[PATH]

    def test_several_keys_share_one_sync(self, disk: SimulatedDisk) -> None:
        journal = Journal(disk, PATH)
        before = disk.syncs[PATH]
        journal.record({KEY: Offsets(1, 1), OTHER: Offsets(2, 2)})
        assert disk.syncs[PATH] == before + 1

    def test_several_keys_are_recorded_all_or_none(self) -> None:
        disk, journal = with_commits(1)
        disk.fail("sync", error=Stop())
        with pytest.raises(Stop):
            journal.record({KEY: Offsets(100, 2), OTHER: Offsets(8, 8)})
        found = [read_offsets(image) for image in every_crash(disk)]
        assert {KEY: 1, OTHER: 7} in found
        assert {KEY: 2, OTHER: 8} in found
        assert all(each in ({KEY: 1, OTHER: 7}, {KEY: 2, OTHER: 8}) for each in found)


class TestFaults:
    def test_no_room_changes_nothing_and_may_pass(self) -> None:
        disk, journal = with_commits(5)
        disk.fail("write", error=NO_ROOM, written=11)
        with pytest.raises(StorageFull):
            journal.record({KEY: Offsets(100, 6)})
        assert journal.read_offset(KEY) == 5
        assert read_offsets(disk.kill()) == {KEY: 5, OTHER: 7}
        journal.record({KEY: Offsets(100, 6)})
        assert read_offsets(disk.power_loss_worst()) == {KEY: 6, OTHER: 7}

    def test_after_a_failed_sync_nothing_is_accepted(self) -> None:
        disk, journal = with_commits(5)
        disk.fail("sync")
        for _ in range(2):
            with pytest.raises(StorageFailed) as caught:
                journal.record({KEY: Offsets(100, 6)})
            assert caught.value.closed
            assert str(PATH) in str(caught.value)
        assert journal.read_offset(KEY) == 5
        assert journal.guard.failure
        assert read_offsets(disk.power_loss_worst()) == {KEY: 5, OTHER: 7}

    def test_after_a_torn_write_that_cannot_be_taken_back_nothing_is_accepted(self) -> None:
        disk, journal = with_commits(5)
        disk.fail("write", error=NO_ROOM, written=11)
        disk.fail("truncate")
        with pytest.raises(StorageFailed) as caught:
            journal.record({KEY: Offsets(100, 6)})
        assert caught.value.closed
        assert read_offsets(disk.kill()) == {KEY: 5, OTHER: 7}

    @pytest.mark.parametrize("operation", ["size", "read", "sync", "sync_folder"])
    def test_an_open_that_fails_leaves_nothing_open(self, operation: str) -> None:
        disk, journal = with_commits(5)
        journal.close()
        disk.fail(operation)  # type: ignore[arg-type]
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            Journal(disk, PATH)
        assert disk.open_files == ()
        disk.heal()
        assert read_offsets(disk) == {KEY: 5, OTHER: 7}

    @pytest.mark.usefixtures("small_rewrites")
    @pytest.mark.parametrize("fault", ["no room", "not opened again", "not renamed", "not synced"])
    def test_a_rewrite_that_fails_costs_nothing(self, fault: str) -> None:
        disk, journal = with_commits(*range(1, 6))
        match fault:
            case "no room":
                disk.fail("write", "*.tmp", error=NO_ROOM)
            case "not opened again":
                disk.fail("open", PATH)
            case "not renamed":
                disk.fail("replace", PATH)
            case "not synced":
                disk.fail("sync", "*.tmp")
        with pytest.raises(StorageFull if fault == "no room" else StorageFailed):
            journal.record({KEY: Offsets(100, 6)})
        assert journal.read_offset(KEY) == 5
        if fault in ("no room", "not renamed"):
            journal.record({KEY: Offsets(100, 7)})
            assert read_offsets(disk.power_loss_worst()) == {KEY: 7, OTHER: 7}
        else:
            with pytest.raises(StorageFailed) as caught:
                journal.record({KEY: Offsets(100, 7)})
            assert caught.value.closed
            assert read_offsets(disk.power_loss_worst()) == {KEY: 5, OTHER: 7}


@pytest.mark.usefixtures("small_rewrites")
class TestRewrite:
    def test_a_file_that_has_grown_is_written_anew(self) -> None:
        disk, _ = with_commits(*range(1, 100))
        assert len(disk.files()[PATH]) < 300
        assert read_offsets(disk.power_loss_worst()) == {KEY: 99, OTHER: 7}

    def test_an_end_before_any_call_of_a_rewrite_costs_nothing(self) -> None:
        for number in range(100):
            disk, journal = with_commits(*range(1, 6))
            assert len(disk.files()[PATH]) > 250
            stopped = stopped_before_call(
                disk, number, partial(journal.record, {KEY: Offsets(100, 6)})
            )
            assert read_offsets(disk.kill())[KEY] in ((5, 6) if stopped else (6,))
            for seed in range(6):
                image = disk.crash(random.Random(seed), entries_in_order=seed % 2 == 0)
                assert read_offsets(image)[KEY] in ((5, 6) if stopped else (6,))
                assert read_offsets(image)[OTHER] == 7
            if not stopped:
                assert number > 6
                return

    def test_what_an_ended_run_renamed_takes_later_commits_through_a_crash(self) -> None:
        for number in range(100):
            disk, journal = with_commits(*range(1, 6))
            stopped = stopped_before_call(
                disk, number, partial(journal.record, {KEY: Offsets(100, 6)})
            )
            if not stopped:
                return
            killed = disk.kill()
            Journal(killed, PATH).record({KEY: Offsets(100, 8)})
            assert read_offsets(killed.power_loss_worst()) == {KEY: 8, OTHER: 7}


class TestOpening:
    def test_a_torn_append_is_cut_and_said_at_every_length(self) -> None:
        disk, journal = with_commits(5)
        whole = len(disk.files()[PATH])
        journal.record({KEY: Offsets(100, 6)})
        data = disk.files()[PATH]
        for length in range(whole + 1, len(data)):
            torn = SimulatedDisk()
            torn.make_folder(FOLDER)
            torn.open(PATH, create=True).write(0, data[:length])
            journal = Journal(torn.kill(), PATH)
            assert journal.read_offset(KEY) == 5
            assert journal.findings == [TailCut(PATH, whole, length - whole)]
            journal.record({KEY: Offsets(100, 9)})
            assert journal.read_offset(KEY) == 9

    def test_what_an_ended_run_wrote_does_not_go_back_once_it_was_read(self) -> None:
        disk, journal = with_commits(5)
        assert stopped_before_call(disk, 1, lambda: journal.record({KEY: Offsets(100, 6)}))
        killed = disk.kill()
        assert read_offsets(killed) == {KEY: 6, OTHER: 7}
        assert read_offsets(killed.power_loss_worst()) == {KEY: 6, OTHER: 7}

    def test_a_flipped_bit_costs_at_most_its_commit_and_the_next_and_is_said(self) -> None:
        disk, journal = with_commits(1, 2, 3, 4, 5)
        journal.close()
        data = disk.files()[PATH]
        for position in range(len(data)):
            image = disk.kill()
            image.corrupt(PATH, position, bytes([data[position] ^ 1 << position % 8]))
            journal = Journal(image, PATH)
            assert journal.read_offset(KEY) >= 3
            assert all(isinstance(found, Damage | TailCut) for found in journal.findings)
            assert len(journal.findings) == 1
            journal.record({KEY: Offsets(100, 9)})
            assert read_offsets(image.power_loss_worst())[KEY] == 9


class TestGroups:
    BILLING = f"{KEY}@billing"

    def test_each_group_has_its_offsets(self, disk: SimulatedDisk) -> None:
        journal = Journal(disk, PATH)
        journal.record({KEY: Offsets(9, 2), self.BILLING: Offsets(9, 5)})
        assert (journal.read_offset(KEY), journal.highest_read(KEY)) == (2, 5)
        again = Journal(disk.power_loss_worst(), PATH)
        assert again.groups_of(KEY) == {"billing": Offsets(9, 5)}
        assert again.groups_of(OTHER) == {}
        assert (again.read_offset(KEY), again.highest_read(OTHER)) == (2, 0)

    def test_seeks_are_counted_and_only_where_there_were_any(self, disk: SimulatedDisk) -> None:
        journal = Journal(disk, PATH)
        journal.record({KEY: Offsets(9, 2), self.BILLING: Offsets(9, 5).sought(1)})
        data = disk.files()[PATH]
        assert data.endswith(f"{KEY}|9|2\n{self.BILLING}|9|1|1\nchecksum|".encode() + data[-9:])
        assert Journal(disk.power_loss_worst(), PATH).groups_of(KEY)["billing"].seeks == 1

    def test_what_is_forgotten_is_gone_for_good(self, disk: SimulatedDisk) -> None:
        journal = Journal(disk, PATH)
        journal.record({KEY: Offsets(9, 2), self.BILLING: Offsets(9, 5)})
        journal.forget([self.BILLING, "unknown"])
        assert journal.groups_of(KEY) == {}
        assert read_offsets(disk.power_loss_worst()) == {KEY: 2}
        journal.record({KEY: Offsets(9, 3)})
        assert read_offsets(disk.power_loss_worst()) == {KEY: 3}

    def test_what_cannot_be_forgotten_is_still_there(self, disk: SimulatedDisk) -> None:
        journal = Journal(disk, PATH)
        journal.record({self.BILLING: Offsets(9, 5)})
        disk.fail("write", error=NO_ROOM)
        with pytest.raises(StorageFull):
            journal.forget([self.BILLING])
        disk.heal()
        assert journal.groups_of(KEY) == {"billing": Offsets(9, 5)}
        journal.record({KEY: Offsets(9, 1)})
        assert read_offsets(disk.power_loss_worst()) == {self.BILLING: 5, KEY: 1}

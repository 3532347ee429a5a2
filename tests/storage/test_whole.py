"""Small files that are read and replaced as a whole."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.storage.guard import SyncFailed
from pandaq.storage.whole import read_whole, write_whole
from tests.simulated_disk import Operation, SimulatedDisk, every_crash

DATA = Path("/data")
LOG = DATA / "a.log"


class Stop(Exception):
    """The moment at which a test ends the process."""


@pytest.fixture
def disk() -> SimulatedDisk:
    return disk_with_folder()


def disk_with_folder() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_folder(DATA)
    return disk


def images_of_log(disk: SimulatedDisk) -> set[bytes | None]:
    return {image.files().get(LOG) for image in every_crash(disk)}


def stopped_at_every_step(old: bytes | None, new: bytes) -> Iterator[tuple[SimulatedDisk, bool]]:
    """Yield disks on which `write_whole` was stopped after each of its calls, and whether it was.

    The last one had all the time it needed.
    """
    stopped, step = True, 0
    while stopped:
        disk = disk_with_folder()
        if old is not None:
            write_whole(disk, LOG, old)
        disk.fail("*", error=Stop(), after=step, times=None, written=len(new) // 2)
        try:
            write_whole(disk, LOG, new)
        except Stop:
            step += 1
        else:
            stopped = False
        disk.heal()
        yield disk, stopped


class TestWriteWhole:
    @pytest.mark.parametrize("old", [None, b"old!"])
    def test_every_crash_at_every_step_leaves_the_old_or_the_new(self, old: bytes | None) -> None:
        seen = set()
        for disk, stopped in stopped_at_every_step(old, b"new"):
            images = images_of_log(disk)
            assert images <= {old, b"new"} if stopped else images == {b"new"}
            seen |= images
        assert seen == {old, b"new"}

    @given(
        old=st.none() | st.binary(max_size=99),
        new=st.binary(max_size=99),
        choices=st.randoms(use_true_random=False),
        entries_in_order=st.booleans(),
    )
    def test_any_crash_leaves_any_content_old_or_new(
        self,
        old: bytes | None,
        new: bytes,
        choices: random.Random,
        entries_in_order: bool,
    ) -> None:
        for disk, stopped in stopped_at_every_step(old, new):
            left = disk.crash(choices, entries_in_order=entries_in_order).files().get(LOG)
            assert left in {old, new} if stopped else left == new

    @given(old=st.binary(max_size=20), new=st.binary(max_size=20), again=st.binary(max_size=20))
    def test_it_may_be_repeated_on_what_a_kill_left(
        self, old: bytes, new: bytes, again: bytes
    ) -> None:
        for disk, _ in stopped_at_every_step(old, new):
            killed = disk.kill()
            write_whole(killed, LOG, again)
            assert killed.power_loss_worst().files() == {LOG: again}

    def test_it_may_be_repeated_after_a_failed_sync(self, disk: SimulatedDisk) -> None:
        write_whole(disk, LOG, b"old")
        disk.fail("sync", "*.tmp")
        with pytest.raises(OSError, match="Input/output error"):
            write_whole(disk, LOG, b"new")
        assert images_of_log(disk) == {b"old"}
        write_whole(disk, LOG, b"newer")
        assert images_of_log(disk) == {b"newer"}

    def test_it_leaves_no_file_open_whatever_fails(self) -> None:
        for disk, _ in stopped_at_every_step(b"old", b"new"):
            assert disk.open_files == ()

    def test_a_rename_before_the_sync_would_be_seen(self, disk: SimulatedDisk) -> None:
        write_whole(disk, LOG, b"old")
        file = disk.open(DATA / "a.tmp", create=True)
        file.write(0, b"new")
        file.close()
        disk.replace(DATA / "a.tmp", LOG)
        disk.sync_folder(DATA)
        assert {b"", b"n", b"new"} <= images_of_log(disk)

    def test_a_write_in_place_would_be_seen(self, disk: SimulatedDisk) -> None:
        write_whole(disk, LOG, b"old")
        disk.open(LOG).write(0, b"new")
        assert b"nld" in images_of_log(disk)

    @pytest.mark.parametrize("call", ["open", "truncate", "write", "replace"])
    def test_an_error_before_the_end_leaves_the_old_file_and_no_other(
        self, disk: SimulatedDisk, call: Operation
    ) -> None:
        write_whole(disk, LOG, b"old")
        disk.fail(call, "*.tmp")
        with pytest.raises(OSError, match="Input/output error") as raised:
            write_whole(disk, LOG, b"new")
        assert not isinstance(raised.value, SyncFailed)
        assert disk.files() == {LOG: b"old"}
        assert disk.power_loss_worst().files() == {LOG: b"old"}

    @pytest.mark.parametrize(("call", "left"), [("sync", b"old"), ("sync_folder", b"new")])
    def test_a_failed_sync_is_told_as_such(
        self, disk: SimulatedDisk, call: Operation, left: bytes
    ) -> None:
        write_whole(disk, LOG, b"old")
        disk.fail(call)
        with pytest.raises(SyncFailed, match="Input/output error"):
            write_whole(disk, LOG, b"new")
        assert disk.files() == {LOG: left}

    def test_the_first_error_is_the_one_that_is_told(self, disk: SimulatedDisk) -> None:
        disk.fail("write", error=OSError("the first"))
        disk.fail("delete", error=OSError("the second"))
        with pytest.raises(OSError, match="the first"):
            write_whole(disk, LOG, b"new")


class TestReadWhole:
    def test_it_reads_all_and_leaves_nothing_open(self, disk: SimulatedDisk) -> None:
        write_whole(disk, LOG, b"all of it")
        assert read_whole(disk, LOG) == b"all of it"
        disk.fail("read")
        with pytest.raises(OSError, match="Input/output error"):
            read_whole(disk, LOG)
        assert disk.open_files == ()

    def test_it_makes_no_file_where_there_is_none(self, disk: SimulatedDisk) -> None:
        with pytest.raises(FileNotFoundError):
            read_whole(disk, LOG)
        assert disk.files() == {}

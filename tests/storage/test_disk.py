"""The real disk and the simulated one keep the same contract; the simulated one also crashes."""

import errno
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import filelock
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.storage.disk import Disk, File, LocalDisk
from pandaq.storage.whole import read_whole, write_whole
from tests.simulated_disk import SimulatedDisk, Step, every_crash

DATA = Path("/data")
LOG = DATA / "a.log"


class Place(NamedTuple):
    """A disk and a folder on it that is there and empty."""

    disk: Disk
    folder: Path


class Stop(Exception):
    """The moment at which a test ends the process."""


@pytest.fixture(params=["local", "simulated", "simulated, relative path"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place(LocalDisk(), tmp_path)
    disk = SimulatedDisk()
    folder = DATA if request.param == "simulated" else Path("some/data")
    disk.make_folder(folder)
    return Place(disk, folder)


@pytest.fixture
def disk() -> SimulatedDisk:
    return disk_with_folder()


def disk_with_folder() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_folder(DATA)
    return disk


def put(disk: Disk, path: Path, data: bytes = b"") -> None:
    """Write a file and sync neither it nor its folder."""
    file = disk.open(path, create=True)
    file.write(0, data)
    file.close()


def synced_log(disk: Disk, data: bytes = b"") -> File:
    """Return an open file with durable bytes and a durable entry."""
    file = disk.open(LOG, create=True)
    file.write(0, data)
    file.sync()
    disk.sync_folder(LOG.parent)
    return file


def images_of_log(disk: SimulatedDisk) -> set[bytes | None]:
    return {image.files().get(LOG) for image in every_crash(disk)}


class TestContract:
    def test_a_missing_file_is_not_opened_without_create(self, place: Place) -> None:
        with pytest.raises(FileNotFoundError):
            place.disk.open(place.folder / "a")
        assert not place.disk.exists(place.folder / "a")

    def test_create_makes_an_empty_file(self, place: Place) -> None:
        file = place.disk.open(place.folder / "a", create=True)
        assert (file.size(), file.read(0, 9), file.path) == (0, b"", place.folder / "a")
        file.close()
        assert place.disk.exists(place.folder / "a")

    def test_create_leaves_a_file_that_is_there_as_it_is(self, place: Place) -> None:
        put(place.disk, place.folder / "a", b"old")
        file = place.disk.open(place.folder / "a", create=True)
        assert file.read(0, 9) == b"old"
        file.close()

    def test_a_file_in_a_missing_folder_is_not_created(self, place: Place) -> None:
        with pytest.raises(FileNotFoundError):
            place.disk.open(place.folder / "missing" / "a", create=True)

    def test_a_folder_is_not_opened_as_a_file(self, place: Place) -> None:
        place.disk.make_folder(place.folder / "sub")
        with pytest.raises((IsADirectoryError, PermissionError)):
            place.disk.open(place.folder / "sub")

    def test_a_read_returns_what_was_written_at_the_position(self, place: Place) -> None:
        file = place.disk.open(place.folder / "a", create=True)
        file.write(0, b"abcdef")
        file.write(2, b"XY")
        assert file.read(1, 4) == b"bXYe"
        file.close()

    def test_a_read_is_short_only_at_the_end(self, place: Place) -> None:
        file = place.disk.open(place.folder / "a", create=True)
        file.write(0, b"abc")
        assert [file.read(1, 9), file.read(3, 9), file.read(7, 9)] == [b"bc", b"", b""]
        file.close()

    def test_a_write_beyond_the_end_leaves_zeros_in_between(self, place: Place) -> None:
        file = place.disk.open(place.folder / "a", create=True)
        file.write(3, b"x")
        assert file.read(0, 9) == b"\0\0\0x"
        file.close()

    def test_a_write_of_nothing_changes_nothing(self, place: Place) -> None:
        file = place.disk.open(place.folder / "a", create=True)
        file.write(10, b"")
        assert file.size() == 0
        file.close()

    def test_truncate_cuts_and_fills_up_with_zeros(self, place: Place) -> None:
        file = place.disk.open(place.folder / "a", create=True)
        file.write(0, b"abcdef")
        file.truncate(2)
        assert (file.size(), file.read(0, 9)) == (2, b"ab")
        file.truncate(4)
        assert file.read(0, 9) == b"ab\0\0"
        file.close()

    def test_what_was_written_is_there_after_opening_again(self, place: Place) -> None:
        put(place.disk, place.folder / "a", b"kept")
        assert read_whole(place.disk, place.folder / "a") == b"kept"

    def test_a_negative_position_is_refused(self, place: Place) -> None:
        file = place.disk.open(place.folder / "a", create=True)
        calls: list[Callable[[], object]] = [
            lambda: file.read(-1, 1),
            lambda: file.write(-1, b"x"),
            lambda: file.truncate(-1),
        ]
        for call in calls:
            with pytest.raises(OSError, match="Invalid argument"):
                call()
        file.close()

    def test_a_closed_file_is_of_no_use(self, place: Place) -> None:
        file = place.disk.open(place.folder / "a", create=True)
        file.close()
        file.close()
        calls: list[Callable[[], object]] = [
            file.size,
            file.sync,
            lambda: file.read(0, 1),
            lambda: file.write(0, b"x"),
            lambda: file.truncate(0),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="closed file"):
                call()

    def test_replace_moves_the_file_over_the_one_that_is_there(self, place: Place) -> None:
        put(place.disk, place.folder / "new", b"new")
        put(place.disk, place.folder / "old", b"old")
        place.disk.replace(place.folder / "new", place.folder / "old")
        place.disk.sync_folder(place.folder)
        assert place.disk.list(place.folder) == ["old"]
        assert read_whole(place.disk, place.folder / "old") == b"new"

    def test_replace_moves_a_file_to_another_folder(self, place: Place) -> None:
        place.disk.make_folder(place.folder / "sub")
        put(place.disk, place.folder / "a", b"moved")
        place.disk.replace(place.folder / "a", place.folder / "sub" / "b")
        assert place.disk.list(place.folder) == ["sub"]
        assert read_whole(place.disk, place.folder / "sub" / "b") == b"moved"

    def test_replace_of_a_file_by_itself_keeps_it(self, place: Place) -> None:
        put(place.disk, place.folder / "a", b"same")
        place.disk.replace(place.folder / "a", place.folder / "a")
        assert read_whole(place.disk, place.folder / "a") == b"same"

    def test_replace_needs_its_source_and_the_folder_of_its_target(self, place: Place) -> None:
        with pytest.raises(FileNotFoundError):
            place.disk.replace(place.folder / "missing", place.folder / "b")
        put(place.disk, place.folder / "a")
        with pytest.raises(FileNotFoundError):
            place.disk.replace(place.folder / "a", place.folder / "missing" / "b")
        assert place.disk.list(place.folder) == ["a"]

    def test_replace_does_not_put_a_file_in_place_of_a_folder(self, place: Place) -> None:
        put(place.disk, place.folder / "a")
        place.disk.make_folder(place.folder / "sub")
        with pytest.raises((IsADirectoryError, PermissionError)):
            place.disk.replace(place.folder / "a", place.folder / "sub")

    def test_replace_does_not_put_a_folder_in_place_of_a_file(self, place: Place) -> None:
        put(place.disk, place.folder / "a", b"kept")
        place.disk.make_folder(place.folder / "sub")
        with pytest.raises(OSError, match=r"directory|denied"):
            place.disk.replace(place.folder / "sub", place.folder / "a")
        assert read_whole(place.disk, place.folder / "a") == b"kept"

    def test_delete_takes_the_file_away(self, place: Place) -> None:
        put(place.disk, place.folder / "a")
        place.disk.delete(place.folder / "a")
        assert not place.disk.exists(place.folder / "a")
        assert place.disk.list(place.folder) == []

    def test_delete_of_a_missing_file_is_fine(self, place: Place) -> None:
        place.disk.delete(place.folder / "a")
        place.disk.delete(place.folder / "missing" / "a")

    def test_delete_does_not_take_a_folder(self, place: Place) -> None:
        place.disk.make_folder(place.folder / "sub")
        with pytest.raises((IsADirectoryError, PermissionError)):
            place.disk.delete(place.folder / "sub")
        assert place.disk.exists(place.folder / "sub")

    def test_list_returns_the_sorted_names_of_files_and_folders(self, place: Place) -> None:
        for name in ("c", "a", "B"):
            put(place.disk, place.folder / name)
        place.disk.make_folder(place.folder / "b2" / "inside")
        assert place.disk.list(place.folder) == ["B", "a", "b2", "c"]

    def test_list_of_a_missing_folder_is_empty(self, place: Place) -> None:
        assert place.disk.list(place.folder / "missing" / "too") == []

    def test_make_folder_makes_those_above_and_may_be_repeated(self, place: Place) -> None:
        for _ in range(2):
            place.disk.make_folder(place.folder / "x" / "y" / "z")
        assert place.disk.list(place.folder / "x") == ["y"]
        assert place.disk.exists(place.folder / "x" / "y" / "z")

    def test_make_folder_does_not_take_the_place_of_a_file(self, place: Place) -> None:
        put(place.disk, place.folder / "a")
        with pytest.raises(FileExistsError):
            place.disk.make_folder(place.folder / "a")

    def test_delete_folder_takes_an_empty_folder_only(self, place: Place) -> None:
        place.disk.make_folder(place.folder / "x")
        put(place.disk, place.folder / "x" / "a")
        with pytest.raises(OSError, match="not empty"):
            place.disk.delete_folder(place.folder / "x")
        place.disk.delete(place.folder / "x" / "a")
        place.disk.delete_folder(place.folder / "x")
        assert not place.disk.exists(place.folder / "x")

    def test_delete_folder_of_a_missing_one_is_fine(self, place: Place) -> None:
        place.disk.delete_folder(place.folder / "missing" / "too")

    def test_write_whole_makes_and_replaces_a_file(self, place: Place) -> None:
        for data in (b"a longer first one", b"second"):
            write_whole(place.disk, place.folder / "a", data)
            assert read_whole(place.disk, place.folder / "a") == data
            assert place.disk.list(place.folder) == ["a"]

    def test_write_whole_is_not_misled_by_a_temporary_file_of_before(self, place: Place) -> None:
        put(place.disk, place.folder / "a.tmp", b"a longer one that was left")
        write_whole(place.disk, place.folder / "a", b"new")
        assert read_whole(place.disk, place.folder / "a") == b"new"

    def test_read_whole_of_a_missing_file_says_so(self, place: Place) -> None:
        with pytest.raises(FileNotFoundError):
            read_whole(place.disk, place.folder / "a")

    def test_a_lock_keeps_a_second_taker_out_until_it_is_released(self, place: Place) -> None:
        lock = place.disk.lock(place.folder / "lock")
        assert lock is not None
        assert place.disk.lock(place.folder / "lock") is None
        lock.release()
        lock.release()
        again = place.disk.lock(place.folder / "lock")
        assert again is not None
        lock.release()
        assert place.disk.lock(place.folder / "lock") is None
        again.release()

    def test_locks_of_different_paths_are_different_locks(self, place: Place) -> None:
        locks = [place.disk.lock(place.folder / name) for name in ("a", "b")]
        for lock in locks:
            assert lock is not None
            lock.release()

    def test_a_lock_of_another_user_is_seen(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock = LocalDisk().lock(tmp_path / "lock")
        assert lock is not None

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EACCES, "not yours")

        monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
        assert LocalDisk().lock(tmp_path / "lock") is None
        lock.release()
        with pytest.raises(PermissionError):
            LocalDisk().lock(tmp_path / "lock")

    def test_a_lock_keeps_another_process_out_and_ends_with_it(self, tmp_path: Path) -> None:
        take = (
            "import sys, pathlib; from pandaq.storage.disk import LocalDisk;"
            "lock = LocalDisk().lock(pathlib.Path(sys.argv[1])); print(lock is not None)"
        )

        def other_process_takes() -> bool:
            command = [sys.executable, "-c", take, str(tmp_path / "lock")]
            root = Path(__file__).parents[2]
            answer = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
            return answer.stdout.strip() == "True"

        assert other_process_takes()
        lock = LocalDisk().lock(tmp_path / "lock")
        assert lock is not None
        assert not other_process_takes()
        lock.release()
        assert other_process_takes()


class TestUnsyncedBytes:
    def test_all_that_was_synced_survives_every_crash(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk, b"one")
        file.write(3, b"two")
        file.truncate(5)
        file.sync()
        assert images_of_log(disk) == {b"onetw"}

    def test_a_write_is_kept_or_dropped_or_torn(self, disk: SimulatedDisk) -> None:
        synced_log(disk, b"ab").write(2, b"cd")
        assert images_of_log(disk) == {b"ab", b"abcd", b"abc", b"ab\0d"}

    def test_an_overwrite_may_be_torn_at_any_byte(self, disk: SimulatedDisk) -> None:
        synced_log(disk, b"abc").write(0, b"XYZ")
        assert images_of_log(disk) == {b"abc", b"XYZ", b"Xbc", b"XYc", b"aYZ", b"abZ"}

    def test_a_later_write_may_survive_an_earlier_one(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk)
        file.write(0, b"a")
        file.write(1, b"b")
        assert images_of_log(disk) == {b"", b"a", b"ab", b"\0b"}

    def test_a_truncation_may_be_lost(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk, b"abc")
        file.truncate(0)
        file.write(0, b"X")
        assert images_of_log(disk) == {b"abc", b"", b"X", b"Xbc"}

    def test_the_worst_crash_drops_all_that_was_not_synced(self, disk: SimulatedDisk) -> None:
        synced_log(disk, b"ab").write(2, b"cd")
        put(disk, DATA / "b", b"x")
        assert disk.power_loss_worst().files() == {LOG: b"ab"}

    def test_what_a_crash_left_is_durable(self, disk: SimulatedDisk) -> None:
        synced_log(disk, b"ab").write(2, b"cd")
        for image in every_crash(disk):
            assert image.power_loss_worst().files() == image.files()

    @given(st.data())
    def test_every_byte_of_an_image_was_durable_or_written_or_never_there(
        self, data: st.DataObject
    ) -> None:
        disk = disk_with_folder()
        file = synced_log(disk)
        states = [b""]  # as of the last sync and after each change since
        for _ in range(data.draw(st.integers(1, 8))):
            match data.draw(st.sampled_from(["write", "truncate", "sync"])):
                case "write":
                    file.write(data.draw(st.integers(0, 12)), data.draw(st.binary(max_size=6)))
                case "truncate":
                    file.truncate(data.draw(st.integers(0, 12)))
                case _:
                    file.sync()
                    states = []
            states.append(file.read(0, 99))
        image = disk.crash(data.draw(st.randoms(use_true_random=False))).files()[LOG]
        assert len(image) <= max(len(state) for state in states)
        for position, byte in enumerate(image):
            assert byte in {0, *(state[position] for state in states if position < len(state))}
        if len(states) == 1:
            assert image == states[0]

    @given(st.randoms(use_true_random=False), st.lists(st.binary(min_size=1, max_size=9)))
    def test_appends_synced_one_by_one_survive_in_full(
        self, choices: random.Random, appends: list[bytes]
    ) -> None:
        disk = disk_with_folder()
        file = synced_log(disk)
        for data in appends:
            file.write(file.size(), data)
            file.sync()
        file.write(file.size(), b"unsynced")
        image = disk.crash(choices).files()[LOG]
        assert image.startswith(b"".join(appends))


class TestUnsyncedEntries:
    def test_a_synced_file_without_its_entry_may_be_gone(self, disk: SimulatedDisk) -> None:
        file = disk.open(LOG, create=True)
        file.write(0, b"x")
        file.sync()
        assert images_of_log(disk) == {None, b"x"}
        disk.sync_folder(DATA)
        assert images_of_log(disk) == {b"x"}

    def test_a_deleted_file_may_come_back(self, disk: SimulatedDisk) -> None:
        synced_log(disk, b"x").close()
        disk.delete(LOG)
        assert images_of_log(disk) == {None, b"x"}
        disk.sync_folder(DATA)
        assert images_of_log(disk) == {None}

    def test_a_replaced_file_may_come_back(self, disk: SimulatedDisk) -> None:
        write_whole(disk, LOG, b"old")
        write_whole(disk, DATA / "new", b"new")
        disk.replace(DATA / "new", LOG)
        assert [image.files() for image in every_crash(disk)] == [
            {LOG: b"new"},
            {LOG: b"old", DATA / "new": b"new"},
        ]

    def test_a_folder_keeps_its_first_changes(self, disk: SimulatedDisk) -> None:
        for name in "abc":
            put(disk, DATA / name)
        lists = [image.list(DATA) for image in every_crash(disk)]
        assert lists == [["a", "b", "c"], ["a", "b"], ["a"], []]

    def test_out_of_order_a_folder_keeps_any_of_its_changes(self, disk: SimulatedDisk) -> None:
        for name in "ab":
            put(disk, DATA / name)
        lists = [image.list(DATA) for image in every_crash(disk, entries_in_order=False)]
        assert lists == [["a", "b"], ["a"], ["b"], []]

    @pytest.mark.parametrize("in_order", [True, False])
    def test_a_file_is_never_under_two_names(self, disk: SimulatedDisk, in_order: bool) -> None:
        disk.make_folder(DATA / "sub")
        synced_log(disk, b"x").close()
        disk.replace(LOG, DATA / "b")
        disk.replace(DATA / "b", DATA / "sub" / "c")
        disk.replace(DATA / "sub" / "c", DATA / "d")
        images = [image.files() for image in every_crash(disk, entries_in_order=in_order)]
        assert all(list(image.values()) == [b"x"] for image in images)
        assert {path for image in images for path in image} == {
            LOG,
            DATA / "b",
            DATA / "sub" / "c",
            DATA / "d",
        }

    def test_folders_lose_their_changes_independently(self, disk: SimulatedDisk) -> None:
        disk.make_folder(DATA / "sub")
        put(disk, DATA / "a")
        put(disk, DATA / "sub" / "b")
        disk.sync_folder(DATA / "sub")
        assert [set(image.files()) for image in every_crash(disk)] == [
            {DATA / "a", DATA / "sub" / "b"},
            {DATA / "sub" / "b"},
        ]

    def test_a_sync_of_one_folder_leaves_the_changes_of_another_in_order(
        self, disk: SimulatedDisk
    ) -> None:
        disk.make_folder(DATA / "sub")
        put(disk, DATA / "a")
        disk.delete(DATA / "a")
        put(disk, DATA / "b")
        disk.sync_folder(DATA / "sub")
        lists = [image.list(DATA) for image in every_crash(disk)]
        assert lists == [["b", "sub"], ["sub"], ["a", "sub"], ["sub"]]

    def test_a_sync_of_the_source_folder_makes_a_move_durable(self, disk: SimulatedDisk) -> None:
        disk.make_folder(DATA / "sub")
        synced_log(disk, b"x").close()
        put(disk, DATA / "sub" / "before")
        disk.replace(LOG, DATA / "sub" / "moved")
        put(disk, DATA / "sub" / "after")
        disk.sync_folder(DATA)
        assert disk.power_loss_worst().list(DATA / "sub") == ["before", "moved"]

    def test_a_made_folder_is_durable_and_its_neighbours_are_not(self, disk: SimulatedDisk) -> None:
        put(disk, DATA / "a")
        disk.make_folder(DATA / "x" / "y")
        assert disk.power_loss_worst().list(DATA) == ["x"]
        assert disk.power_loss_worst().list(DATA / "x") == ["y"]

    def test_a_deleted_folder_may_come_back(self, disk: SimulatedDisk) -> None:
        disk.make_folder(DATA / "x")
        disk.delete_folder(DATA / "x")
        assert [image.list(DATA) for image in every_crash(disk)] == [[], ["x"]]

    def test_a_folder_made_again_is_durable(self, disk: SimulatedDisk) -> None:
        disk.make_folder(DATA / "x")
        disk.delete_folder(DATA / "x")
        disk.make_folder(DATA / "x")
        assert [image.list(DATA) for image in every_crash(disk)] == [["x"]]


class TestCrash:
    def test_the_disk_and_its_images_do_not_disturb_each_other(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk, b"ab")
        images = [disk.crash(random.Random(1)), disk.kill(), disk.power_loss_worst()]
        file.write(0, b"XX")
        file.sync()
        put(disk, DATA / "later")
        for image in images:
            assert image.files() == {LOG: b"ab"}
            write_whole(image, LOG, b"other")
        assert disk.files() == {DATA / "later": b"", LOG: b"XX"}

    def test_the_same_steps_and_choices_make_the_same_image(self) -> None:
        def image(seed: int) -> dict[Path, bytes]:
            disk = disk_with_folder()
            disk.make_folder(DATA / "sub")
            synced_log(disk).close()
            disk.replace(LOG, DATA / "sub" / "a.log")
            for number in range(20):
                put(disk, DATA / f"{number}", b"content")
                disk.replace(DATA / f"{number}", DATA / "sub" / f"{number}")
                put(disk, DATA / f"{number}", b"content")
            return disk.crash(random.Random(seed)).files()

        assert all(image(1) == image(1) for _ in range(10))
        assert image(1) != image(2)

    def test_handles_locks_and_faults_do_not_survive(self, disk: SimulatedDisk) -> None:
        synced_log(disk)
        assert disk.lock(DATA / "lock") is not None
        disk.fail("*", times=None)
        for image in (disk.crash(random.Random(1)), disk.kill(), disk.power_loss_worst()):
            assert (image.open_files, image.held_locks, image.trace) == ((), (), [])
            image.open(LOG).close()
            assert image.lock(DATA / "lock") is not None

    def test_the_rules_of_the_disk_survive(self) -> None:
        disk = SimulatedDisk(single_owner=False, case_insensitive=True, capacity_bytes=3)
        put(disk, Path("a"), b"abc")
        image = disk.kill()
        image.open(Path("A"))
        with pytest.raises(OSError, match="No space left"):
            image.open(Path("a")).write(3, b"d")

    def test_a_killed_process_leaves_all_but_what_a_crash_still_takes(
        self, disk: SimulatedDisk
    ) -> None:
        synced_log(disk, b"ab").write(2, b"c")
        put(disk, DATA / "b", b"x")
        killed = disk.kill()
        assert killed.files() == {LOG: b"abc", DATA / "b": b"x"}
        assert killed.power_loss_worst().files() == {LOG: b"ab"}

    def test_a_sync_after_a_kill_makes_durable_what_was_written_before(
        self, disk: SimulatedDisk
    ) -> None:
        synced_log(disk, b"ab").write(2, b"c")
        put(disk, DATA / "b", b"x")
        killed = disk.kill()
        for path in (LOG, DATA / "b"):
            killed.open(path).sync()
        killed.sync_folder(DATA)
        assert killed.power_loss_worst().files() == {LOG: b"abc", DATA / "b": b"x"}


class TestFaults:
    def test_a_fault_strikes_the_named_calls_only_as_often_as_told(
        self, disk: SimulatedDisk
    ) -> None:
        file = synced_log(disk, b"abc")
        fault = disk.fail("read", after=1, times=2)
        assert file.read(0, 1) == b"a"
        for _ in range(2):
            assert file.size() == 3
            with pytest.raises(OSError, match="Input/output error"):
                file.read(0, 1)
        assert file.read(0, 1) == b"a"
        assert fault.hits == 2

    def test_a_fault_may_last_until_it_is_lifted(self, disk: SimulatedDisk) -> None:
        fault = disk.fail("list", times=None)
        for _ in range(3):
            with pytest.raises(OSError, match="Input/output error"):
                disk.list(DATA)
        fault.lift()
        assert disk.list(DATA) == []

    @pytest.mark.parametrize("where", ["*.log", "data/a.*", LOG, lambda path: path == LOG])
    def test_a_fault_strikes_the_paths_it_was_told(
        self, disk: SimulatedDisk, where: str | Path | Callable[[Path], bool]
    ) -> None:
        disk.fail("open", where, error=PermissionError(errno.EACCES, "no"), times=None)
        disk.open(DATA / "b", create=True)
        with pytest.raises(PermissionError):
            disk.open(LOG, create=True)
        assert disk.list(DATA) == ["b"]

    @pytest.mark.parametrize("where", ["source", "target"])
    def test_a_fault_of_a_replace_may_name_either_path(
        self, disk: SimulatedDisk, where: str
    ) -> None:
        put(disk, DATA / "source", b"x")
        disk.fail("replace", where)
        with pytest.raises(OSError, match="Input/output error"):
            disk.replace(DATA / "source", DATA / "target")
        assert disk.files() == {DATA / "source": b"x"}

    def test_every_call_can_fail_and_then_does_nothing(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk, b"abc")
        calls: list[Callable[[], object]] = [
            lambda: disk.open(DATA / "b", create=True),
            file.size,
            lambda: file.read(0, 1),
            lambda: file.write(0, b"X"),
            lambda: file.truncate(0),
            file.sync,
            lambda: disk.exists(LOG),
            lambda: disk.list(DATA),
            lambda: disk.make_folder(DATA / "x"),
            lambda: disk.replace(LOG, DATA / "b"),
            lambda: disk.delete(LOG),
            lambda: disk.delete_folder(DATA),
            lambda: disk.sync_folder(DATA),
            lambda: disk.lock(DATA / "lock"),
        ]
        steps = list(disk.trace)
        disk.fail("*", times=None, error=Stop())
        for call in calls:
            with pytest.raises(Stop):
                call()
        disk.heal()
        assert disk.trace == steps
        assert disk.files() == {LOG: b"abc"}

    def test_a_failing_write_may_leave_a_part(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk, b"ab")
        disk.fail("write", error=OSError(errno.ENOSPC, "full"), written=2)
        with pytest.raises(OSError, match="full"):
            file.write(2, b"cdef")
        assert file.read(0, 9) == b"abcd"

    def test_a_failing_sync_makes_nothing_durable(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk, b"a")
        file.write(1, b"b")
        disk.fail("sync")
        with pytest.raises(OSError, match="Input/output error"):
            file.sync()
        assert file.read(0, 9) == b"ab"
        assert images_of_log(disk) == {b"a", b"ab"}

    def test_no_later_sync_saves_what_a_failed_one_did_not(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk, b"a")
        file.write(1, b"b")
        disk.fail("sync")
        with pytest.raises(OSError, match="Input/output error"):
            file.sync()
        file.write(2, b"c")
        file.sync()
        assert file.read(0, 9) == b"abc"
        assert images_of_log(disk) == {b"a\0c", b"abc"}
        assert disk.kill().power_loss_worst().files() == {LOG: b"a\0c"}

    def test_a_failing_sync_of_a_folder_makes_nothing_durable(self, disk: SimulatedDisk) -> None:
        put(disk, LOG)
        disk.fail("sync_folder")
        with pytest.raises(OSError, match="Input/output error"):
            disk.sync_folder(DATA)
        assert disk.power_loss_worst().files() == {}


class TestCapacity:
    def test_a_write_that_finds_no_room_leaves_what_fitted(self, disk: SimulatedDisk) -> None:
        put(disk, DATA / "b", b"12345")
        disk.capacity_bytes = 8
        file = disk.open(LOG, create=True)
        with pytest.raises(OSError, match="No space left") as raised:
            file.write(0, b"abcdef")
        assert raised.value.errno == errno.ENOSPC
        assert file.read(0, 9) == b"abc"
        assert disk.used_bytes == 8

    def test_an_overwrite_needs_no_room(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk, b"abc")
        disk.capacity_bytes = 0
        file.write(1, b"X")
        with pytest.raises(OSError, match="No space left"):
            file.write(2, b"YZ")
        assert file.read(0, 9) == b"aXY"

    def test_neither_a_gap_nor_a_longer_truncation_finds_room(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk, b"abc")
        disk.capacity_bytes = 5
        with pytest.raises(OSError, match="No space left"):
            file.write(9, b"x")
        with pytest.raises(OSError, match="No space left"):
            file.truncate(6)
        assert file.read(0, 99) == b"abc"

    def test_room_comes_back(self, disk: SimulatedDisk) -> None:
        put(disk, DATA / "b", b"123")
        file = synced_log(disk, b"abc")
        disk.capacity_bytes = 6

        def has_room() -> bool:
            try:
                file.write(file.size(), b"x")
            except OSError:
                return False
            return True

        assert not has_room()
        file.truncate(2)
        assert [has_room(), has_room()] == [True, False]
        disk.delete(DATA / "b")
        assert [has_room(), has_room(), has_room(), has_room()] == [True, True, True, False]
        disk.capacity_bytes = 7
        assert has_room()


class TestWindows:
    def test_an_open_file_is_neither_replaced_nor_deleted(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk, b"x")
        put(disk, DATA / "b")
        calls: list[Callable[[], object]] = [
            lambda: disk.replace(LOG, DATA / "c"),
            lambda: disk.replace(DATA / "b", LOG),
            lambda: disk.delete(LOG),
        ]
        for call in calls:
            with pytest.raises(PermissionError):
                call()
        assert disk.files() == {LOG: b"x", DATA / "b": b""}
        file.close()
        disk.delete(LOG)

    def test_a_held_lock_is_not_deleted(self, disk: SimulatedDisk) -> None:
        lock = disk.lock(DATA / "lock")
        assert lock is not None
        with pytest.raises(PermissionError):
            disk.delete(DATA / "lock")
        lock.release()
        disk.delete(DATA / "lock")

    def test_a_file_has_one_owner(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk)
        with pytest.raises(PermissionError):
            disk.open(LOG)
        file.close()
        disk.open(LOG)

    def test_a_file_may_have_many_owners_where_told(self) -> None:
        disk = SimulatedDisk(single_owner=False)
        first, second = disk.open(Path("a"), create=True), disk.open(Path("a"))
        first.write(0, b"seen")
        assert second.read(0, 9) == b"seen"
        first.close()
        with pytest.raises(PermissionError):
            disk.delete(Path("a"))

    def test_names_differ_in_case_unless_told(self) -> None:
        disk = SimulatedDisk()
        put(disk, Path("Topic"), b"1")
        put(disk, Path("topic"), b"2")
        assert disk.list(Path()) == ["Topic", "topic"]

    def test_case_does_not_matter_where_told(self) -> None:
        disk = SimulatedDisk(case_insensitive=True)
        disk.make_folder(Path("/Data"))
        put(disk, Path("/Data/Topic"), b"1")
        put(disk, Path("/data/topic"), b"2")
        assert disk.files() == {Path("/Data/Topic"): b"2"}
        assert disk.exists(Path("/DATA/TOPIC"))
        disk.replace(Path("/data/topic"), Path("/data/TOPIC"))
        assert disk.list(Path("/data")) == ["TOPIC"]
        disk.delete(Path("/data/Topic"))
        assert disk.list(Path("/data")) == []


class TestSeenFromOutside:
    def test_the_trace_tells_what_was_done_in_order(self, disk: SimulatedDisk) -> None:
        disk.trace.clear()
        write_whole(disk, LOG, b"x")
        temporary = DATA / "a.log.tmp"
        assert disk.trace == [
            Step("open", temporary),
            Step("truncate", temporary),
            Step("write", temporary),
            Step("sync", temporary),
            Step("close", temporary),
            Step("replace", LOG),
            Step("sync_folder", DATA),
        ]

    def test_syncs_are_counted_per_path_when_they_succeed(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk)
        file.sync()
        disk.fail("sync")
        with pytest.raises(OSError, match="Input/output error"):
            file.sync()
        assert (disk.syncs[LOG], disk.syncs[DATA], disk.syncs[DATA / "b"]) == (2, 1, 0)

    def test_open_files_are_told_until_they_are_closed(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk)
        assert LOG in disk.open_files
        file.close()
        assert LOG not in disk.open_files

    def test_corruption_stays_whatever_a_crash_drops(self, disk: SimulatedDisk) -> None:
        file = synced_log(disk, b"abcd")
        file.write(4, b"ef")
        disk.corrupt(LOG, 3, b"XY")
        assert file.read(0, 9) == b"abcXYf"
        assert images_of_log(disk) == {b"abcX", b"abcXYf", b"abcXY", b"abcX\0f"}

    def test_corruption_beyond_the_end_is_refused(self, disk: SimulatedDisk) -> None:
        synced_log(disk, b"abc")
        with pytest.raises(ValueError, match="no 2 bytes at 2"):
            disk.corrupt(LOG, 2, b"XY")


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can give files away"
)
def test_what_root_makes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 12_345, 23_456)
    disk = LocalDisk()
    disk.make_folder(tmp_path / "a" / "b")
    disk.open(tmp_path / "a" / "b" / "file", create=True).close()
    lock = disk.lock(tmp_path / "lock")
    assert lock is not None
    lock.release()
    write_whole(disk, tmp_path / "whole", b"1")
    for path in tmp_path.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (12_345, 23_456), path
    there = tmp_path / "there"
    there.touch()
    os.chown(there, 1, 1)
    disk.open(there, create=True).close()
    assert there.stat().st_uid == 1

"""An overlay shows what was done to it, and does nothing to what is below."""

import errno
import random
from pathlib import Path

import pytest

from pandaq.storage.disk import Disk, File, LocalDisk
from pandaq.storage.overlay import Overlay
from tests.simulated_disk import SimulatedDisk

FOLDER = Path("/data")
NAMES = [FOLDER / name for name in ("a", "b", "c")]


def below() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    for path in NAMES[:2]:
        file = disk.open(path, create=True)
        file.write(0, path.name.encode() * 30)
        file.close()
    return disk


def act(disk: Disk, choices: random.Random) -> object:
    """Do one thing, and return what was seen of it."""
    path = choices.choice(NAMES)
    number = choices.randrange(8)
    position, length = choices.randrange(50), choices.randrange(20)
    if number == 0:
        disk.delete(path)
    elif number == 1:
        try:
            disk.replace(path, NAMES[2])
        except FileNotFoundError:
            return "missing"
    else:
        file: File = disk.open(path, create=True)
        if number == 2:
            file.truncate(position)
        elif number < 5:
            file.write(min(position, file.size()), bytes([65 + length]) * length)
        seen = file.size(), file.read(position, length), file.read(0, 1_000)
        file.close()
        return seen
    return disk.list(FOLDER), [disk.exists(each) for each in NAMES]


@pytest.mark.parametrize("seed", range(50))
def test_an_overlay_shows_what_a_disk_would_and_leaves_the_one_below_alone(seed: int) -> None:
    disk, lower = below(), below()
    before = lower.files()
    overlay = Overlay(lower)
    mine, other = random.Random(seed), random.Random(seed)
    for _ in range(60):
        assert act(overlay, mine) == act(disk, other)
    assert lower.files() == before
    assert not lower.open_files


def test_a_folder_is_made_and_deleted_above_alone() -> None:
    lower = below()
    overlay = Overlay(lower)
    overlay.make_folder(FOLDER / "new" / "deep")
    assert overlay.exists(FOLDER / "new" / "deep")
    assert "new" in overlay.list(FOLDER)
    overlay.delete_folder(FOLDER / "new" / "deep")
    assert not overlay.exists(FOLDER / "new" / "deep")
    assert not lower.exists(FOLDER / "new")


def test_a_lock_that_somebody_holds_below_is_refused() -> None:
    lower = below()
    path = FOLDER / "pandaq.lock"
    assert Overlay(lower).lock(path), "nobody can hold what is not there"
    assert not lower.exists(path)
    held = lower.lock(path)
    assert held
    assert Overlay(lower).lock(path) is None
    held.release()
    assert Overlay(lower).lock(path)


def test_a_lock_that_nobody_may_write_is_no_obstacle() -> None:
    lower = below()
    lower.lock(FOLDER / "pandaq.lock")
    lower.fail("lock", error=OSError(errno.EROFS, "read-only"))
    assert Overlay(lower).lock(FOLDER / "pandaq.lock")
    lower.fail("lock", error=OSError(errno.EIO, "broken"))
    with pytest.raises(OSError, match="broken"):
        Overlay(lower).lock(FOLDER / "pandaq.lock")


@pytest.mark.parametrize("disk", [SimulatedDisk(), LocalDisk()])
def test_a_file_opened_for_reading_cannot_be_written(disk: Disk, tmp_path: Path) -> None:
    disk.make_folder(tmp_path)
    disk.open(tmp_path / "a", create=True).close()
    file = disk.open(tmp_path / "a", read_only=True)
    assert file.read(0, 1) == b""
    with pytest.raises(OSError):  # noqa: PT011 (the two disks say it differently)
        file.write(0, b"x")
    file.close()

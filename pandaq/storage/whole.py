"""Small files that are read and replaced as a whole."""

from contextlib import suppress
from pathlib import Path

from pandaq.storage.disk import Disk
from pandaq.storage.guard import must_succeed


def read_whole(disk: Disk, path: Path) -> bytes:
    """Return a file's bytes. Raises `FileNotFoundError` where there is none."""
    file = disk.open(path)
    try:
        return file.read(0, file.size())
    finally:
        file.close()


def write_whole(disk: Disk, path: Path, data: bytes) -> None:
    """Put `data` in place of a file, durably: afterwards it has all of the old or all of the new.

    Write a temporary file, sync it, rename it over the target, sync the folder: in any other order
    a crash could leave an empty file under the right name. Raises `OSError`, after which the old
    file is still there, and `SyncFailed`, after which either may be.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        file = disk.open(temporary, create=True)
        try:
            file.truncate(0)
            file.write(0, data)
            must_succeed(file.sync)
        finally:
            file.close()
        disk.replace(temporary, path)
    except OSError:
        with suppress(OSError):  # The first error is the one to tell.
            disk.delete(temporary)
        raise
    must_succeed(lambda: disk.sync_folder(path.parent))

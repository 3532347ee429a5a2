"""The seam to the disk: every file call of the broker, and all that differs on Windows.

Storage is written against the two protocols `Disk` and `File`. `LocalDisk` is the real one; tests
put a simulated one in its place, which forgets what was not synced, tears writes and fails on
demand.

What a crash may do to a disk decides the protocol:

- What was written is durable after `File.sync`, not before.
- What was created, replaced or deleted in a folder is durable after `Disk.sync_folder`.
- A file that is open can be neither replaced nor deleted (Windows), so callers close it first.
"""

import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import filelock

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The `errno` values that say that a write found no room; all others are failures of the disk."""


class File(Protocol):
    """An open file of one owner. Every method raises `OSError` when the disk does."""

    @property
    def path(self) -> Path:
        """Where the file is."""

    def size(self) -> int:
        """Length in bytes."""

    def read(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position` on, fewer only where the file ends."""

    def write(self, position: int, data: bytes) -> None:
        """Write all of `data` at `position`; when it raises, any part may have been written."""

    def truncate(self, size: int) -> None:
        """Cut the file back to `size` bytes."""

    def sync(self) -> None:
        """Make all that was written durable."""

    def close(self) -> None:
        """Close the file; closing twice is fine. Does not sync."""


class Lock(Protocol):
    """A lock on a path, held until `release` or until the process ends."""

    def release(self) -> None:
        """Give the lock up; releasing twice is fine."""


class Disk(Protocol):
    """Folders and files. Every method raises `OSError` when the disk does."""

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> File:
        """Open a file for reading and writing; with `create`, make it where it is missing.

        With `read_only` for reading alone, also where nothing may be written.
        """

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file or folder."""

    def list(self, folder: Path) -> list[str]:
        """Return the sorted names in a folder, none where the folder is missing."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, durably; one that is there is fine."""

    def replace(self, source: Path, target: Path) -> None:
        """Rename `source` to `target` in one step, in place of any file that is there."""

    def delete(self, path: Path) -> None:
        """Delete a file; one that is missing is fine."""

    def delete_folder(self, folder: Path) -> None:
        """Delete an empty folder; one that is missing is fine."""

    def sync_folder(self, folder: Path) -> None:
        """Make the creations, renames and deletions in a folder durable."""

    def lock(self, path: Path) -> Lock | None:
        """Take the lock, or return None where somebody else has it."""


class LocalFile:
    """A file of the operating system, read and written without buffering of our own."""

    def __init__(self, path: Path, *, create: bool, read_only: bool) -> None:
        self._path = path
        flags = os.O_RDONLY if read_only else os.O_RDWR
        flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        if create:
            flags |= os.O_CREAT
        mode = "rb" if read_only else "r+b"
        self._raw = os.fdopen(os.open(path, flags, 0o644), mode, buffering=0)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    def size(self) -> int:
        """Length in bytes."""
        return os.fstat(self._raw.fileno()).st_size

    def read(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position` on, fewer only where the file ends."""
        self._raw.seek(position)
        data = self._raw.read(length) or b""
        while len(data) < length and (more := self._raw.read(length - len(data))):
            data += more
        return data

    def write(self, position: int, data: bytes) -> None:
        """Write all of `data` at `position`."""
        self._raw.seek(position)
        view = memoryview(data)
        while view:
            view = view[self._raw.write(view) :]

    def truncate(self, size: int) -> None:
        """Cut the file back to `size` bytes."""
        self._raw.truncate(size)

    def sync(self) -> None:
        """Make all that was written durable."""
        _sync(self._raw.fileno())

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


class LocalDisk:
    """The disk of this machine."""

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> LocalFile:
        """Open a file."""
        is_new = create and not path.exists()
        file = LocalFile(path, create=create, read_only=read_only)
        if is_new:
            _hand_over(path)
        return file

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file or folder."""
        return path.exists()

    def list(self, folder: Path) -> list[str]:
        """Return the sorted names in a folder, none where the folder is missing."""
        try:
            return sorted(entry.name for entry in folder.iterdir())
        except FileNotFoundError:
            return []

    def make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, durably."""
        if not folder.is_dir():
            self.make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            _hand_over(folder)
        elif not os.access(folder.parent, os.R_OK):
            return  # Somebody else's folder, made by somebody else: not ours to sync.
        # Also where it was there: a run that was killed may have made it and not synced it.
        self.sync_folder(folder.parent)

    def replace(self, source: Path, target: Path) -> None:
        """Rename `source` to `target` in one step."""
        _patiently(lambda: source.replace(target))

    def delete(self, path: Path) -> None:
        """Delete a file; one that is missing is fine."""
        _patiently(lambda: path.unlink(missing_ok=True))

    def delete_folder(self, folder: Path) -> None:
        """Delete an empty folder; one that is missing is fine."""
        if folder.is_dir():
            _patiently(folder.rmdir)

    def sync_folder(self, folder: Path) -> None:
        """Make the creations, renames and deletions in a folder durable."""
        if sys.platform == "win32":
            return  # Windows has no call for it: NTFS journals its folders.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # fdatasync promises nothing about a folder's entries.
        finally:
            os.close(descriptor)

    def lock(self, path: Path) -> Lock | None:
        """Take the lock, or return None where somebody else has it."""
        is_new = not path.exists()
        lock = filelock.FileLock(path, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            return None
        except PermissionError:
            if _is_held(path):
                return None  # by another user, whose file we may not write
            raise
        if is_new:
            _hand_over(path)
        return lock


def raise_open_files_limit() -> None:
    """Let this process have as many open files as it may: each partition needs two."""
    if sys.platform == "win32":
        return  # It has no such limit.
    import resource  # noqa: PLC0415  (POSIX only)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if sys.platform == "darwin":
        hard = min(hard, 10_240)  # macOS says "unlimited" and means OPEN_MAX.
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _hand_over(path: Path) -> None:
    """Give what root has just made to the owner of its folder, whose broker shall open it."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def _is_held(path: Path) -> bool:
    """Tell whether somebody holds a lock whose file may only be read."""
    if sys.platform == "win32" or not os.access(path, os.R_OK):
        return False
    import fcntl  # noqa: PLC0415  (POSIX only)

    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _sync(descriptor: int) -> None:
    """Make a descriptor's data durable, by the call that really does so on each platform."""
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415  (POSIX only)

        # On macOS fsync leaves the data in the drive's own cache.
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.EINVAL, errno.ENOTTY}:
                raise
            os.fsync(descriptor)  # A volume that does not know the call, such as a network share.
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


if sys.platform == "win32":
    SHARING_RETRIES: Final = 50
    SHARING_WAIT_S: Final = 0.02

    def _patiently(call: Callable[[], object]) -> None:
        """Do `call`, trying again while a virus scanner or an indexer has the file open."""
        for _ in range(SHARING_RETRIES):
            try:
                call()
            except PermissionError:
                time.sleep(SHARING_WAIT_S)
            else:
                return
        call()

else:

    def _patiently(call: Callable[[], object]) -> None:
        """Do `call`: here no other program's reading stands in its way."""
        call()

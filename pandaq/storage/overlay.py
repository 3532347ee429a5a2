"""A disk over another one that keeps every change in memory and leaves the other as it is.

What a start would do to a data directory can thus be done without doing it.
"""

import errno
from pathlib import Path

from pandaq.storage.disk import Disk, File, Lock


class _Node:
    """A file: so many bytes of one below (`kept`), and what was written behind them."""

    def __init__(self, disk: Disk, below: Path | None) -> None:
        self.kept = 0
        self.tail = bytearray()
        self._disk = disk
        self._below = below
        self._file: File | None = None
        if below:
            self.kept = self._open(below).size()
            self.close()

    @property
    def size(self) -> int:
        return self.kept + len(self.tail)

    def read(self, position: int, length: int) -> bytes:
        end = min(position + length, self.size)
        data = b""
        if self._below and position < min(end, self.kept):
            data = self._open(self._below).read(position, min(end, self.kept) - position)
            position += len(data)
        return data + bytes(self.tail[max(position - self.kept, 0) : max(end - self.kept, 0)])

    def truncate(self, size: int) -> None:
        self.kept = min(self.kept, size)
        del self.tail[size - self.kept :]
        self.tail.extend(bytes(size - self.size))

    def write(self, position: int, data: bytes) -> None:
        # What is below cannot be changed, so all from there on moves into memory.
        if position < self.kept:
            rest = self.read(position, self.kept - position)
            self.tail = bytearray(rest) + self.tail
            self.kept = position
        if position > self.size:
            self.truncate(position)
        start = position - self.kept
        self.tail[start : start + len(data)] = data

    def close(self) -> None:
        """Close the file below until something is read again."""
        if self._file:
            self._file.close()
            self._file = None

    def _open(self, below: Path) -> File:
        if self._file is None:
            self._file = self._disk.open(below, read_only=True)
        return self._file


class OverlayFile:
    """An open file of an overlay; see `pandaq.storage.disk.File`."""

    def __init__(self, path: Path, node: _Node) -> None:
        self._path = path
        self._node = node
        self._closed = False

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    def size(self) -> int:
        """Length in bytes."""
        return self._open_node().size

    def read(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position` on, fewer only where the file ends."""
        return self._open_node().read(position, length)

    def write(self, position: int, data: bytes) -> None:
        """Write all of `data` at `position`, in memory."""
        self._open_node().write(position, data)

    def truncate(self, size: int) -> None:
        """Cut the file back to `size` bytes, in memory."""
        self._open_node().truncate(size)

    def sync(self) -> None:
        """Do nothing: there is nothing to make durable."""

    def close(self) -> None:
        """Close the file; what was written to it stays in the overlay."""
        self._closed = True
        self._node.close()

    def _open_node(self) -> _Node:
        if self._closed:
            raise ValueError("I/O operation on closed file")
        return self._node


class Overlay:
    """Reads from `below`, which nothing is written to; see `pandaq.storage.disk.Disk`.

    Its memory grows with what is written, not with what is read.
    """

    def __init__(self, below: Disk) -> None:
        self._below = below
        self._nodes: dict[Path, _Node | None] = {}
        """What differs from below, or was opened; None for what was deleted."""
        self._folders: dict[Path, bool] = {}
        """Folders that were made or deleted."""

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> OverlayFile:
        """Open a file for reading and writing; with `create`, make it where it is missing."""
        node = self._node(path)
        if node is None:
            if not create or read_only:
                raise _missing(path)
            node = self._nodes[path] = _Node(self._below, None)
        return OverlayFile(path, node)

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file or folder."""
        if path in self._nodes:
            return self._nodes[path] is not None
        return self._folders[path] if path in self._folders else self._below.exists(path)

    def list(self, folder: Path) -> list[str]:
        """Return the sorted names in a folder, none where the folder is missing."""
        names = set(self._below.list(folder))
        for path, node in self._nodes.items():
            if path.parent == folder:
                (names.discard if node is None else names.add)(path.name)
        for path, is_there in self._folders.items():
            if path.parent == folder:
                (names.add if is_there else names.discard)(path.name)
        return sorted(names)

    def make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, in memory."""
        while not self.exists(folder):
            self._folders[folder] = True
            folder = folder.parent

    def replace(self, source: Path, target: Path) -> None:
        """Rename `source` to `target` in one step, in memory."""
        node = self._node(source)
        if node is None:
            raise _missing(source)
        self._nodes[source] = None
        self._nodes[target] = node

    def delete(self, path: Path) -> None:
        """Delete a file, in memory; one that is missing is fine."""
        if self.exists(path):
            self._nodes[path] = None

    def delete_folder(self, folder: Path) -> None:
        """Delete an empty folder, in memory; one that is missing is fine."""
        self._folders[folder] = False

    def sync_folder(self, folder: Path) -> None:
        """Do nothing: there is nothing to make durable."""

    def lock(self, path: Path) -> Lock | None:
        """Take the lock below where its file is there; without one, nobody can hold it.

        A folder that cannot be written, such as a backup's, has no broker that runs on it.
        """
        if not self._below.exists(path):
            return _NoLock()
        try:
            return self._below.lock(path)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
                raise
            return _NoLock()

    def _node(self, path: Path) -> _Node | None:
        if path not in self._nodes:
            if not self._below.exists(path):
                return None
            self._nodes[path] = _Node(self._below, path)
        return self._nodes[path]


class _NoLock:
    def release(self) -> None:
        """There is nothing to give up."""


def _missing(path: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "no such file", str(path))

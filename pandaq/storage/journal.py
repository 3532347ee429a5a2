"""A topic's offsets file: a line for each partition and commit, the last line of a key wins.

    {topicId}_partition_{N}|logEndOffset|readOffset

Commits are appended, several at once under one checksum and one sync. When the file has grown it is
put in place anew, with one line for each key.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pandaq.offsets import Offsets
from pandaq.storage.disk import NO_ROOM, Disk, File
from pandaq.storage.findings import Damage, Finding, TailCut
from pandaq.storage.guard import SyncFailed, WriteGuard, must_succeed
from pandaq.storage.sealed import seal, unseal, write_sealed

REWRITE_BYTES: Final = 256 * 1024
"""Length from which on the file is written anew."""


def partition_key(topic_id: str, partition_id: int) -> str:
    """Return the key of a partition's offsets.

    >>> partition_key("orders", 2)
    'orders_partition_2'
    """
    return f"{topic_id}_partition_{partition_id}"


class Journal:
    """The offsets of a topic's partitions, durable.

    `offsets` is what the file says; `findings`, what opening it had to report; `is_new`, whether
    there was none.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self.path = path
        self.guard = WriteGuard(path)
        self.offsets: dict[str, Offsets] = {}
        self.findings: list[Finding] = []
        self._disk = disk
        self.is_new = not disk.exists(path)
        if self.is_new:
            write_sealed(disk, path, [])
        self._file: File = disk.open(path)
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def read_offset(self, key: str) -> int:
        """Return the readOffset of a key; 0 for one that was never committed."""
        return self.offsets.get(key, Offsets()).read

    def record(self, updates: Mapping[str, Offsets]) -> None:
        """Write down the offsets of some keys; they are durable when this returns.

        Raises `StorageFull`, after which nothing has changed, and `StorageFailed`.
        """
        data = seal(_lines(updates))
        with self.guard.writing():
            if self._size > REWRITE_BYTES:
                self._rewrite()
            try:
                self._file.write(self._size, data)
            except OSError:
                must_succeed(lambda: self._file.truncate(self._size))
                raise
            must_succeed(self._file.sync)
        self._size += len(data)
        self.offsets.update(updates)

    def problem(self) -> str | None:
        """Return in words what keeps the file from being written, None where nothing does."""
        return self.guard.problem(lambda: self.record({}))

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._file.close()

    def _load(self) -> None:
        self._size = self._file.size()
        unsealed = unseal(self._file.read(0, self._size))
        for line in unsealed.lines:
            key, log_end, read = line.rsplit("|", 2)
            self.offsets[key] = Offsets(int(log_end), int(read))
        for block in unsealed.damaged:
            self.findings.append(Damage(self.path, block.position, block.length, 1, 0))
        if unsealed.end < self._size:
            self.findings.append(TailCut(self.path, unsealed.end, self._size - unsealed.end))
        try:
            # What is told from now on may not go back, though the run before was killed between
            # write and sync, or its sync failed and the system believes that all is written.
            self._rewrite()
        except OSError as error:
            # After a failed sync, or where the old file cannot be opened again, nothing goes on.
            if isinstance(error, SyncFailed) or error.errno not in NO_ROOM:
                raise
            self._file.truncate(unsealed.end)
            self._file.sync()
            self._disk.sync_folder(self.path.parent)
            self._size = unsealed.end

    def _rewrite(self) -> None:
        """Put the file in place anew; where that fails, the old one goes on."""
        self._file.close()
        try:
            write_sealed(self._disk, self.path, _lines(self.offsets))
        finally:
            must_succeed(self._reopen)

    def _reopen(self) -> None:
        self._file = self._disk.open(self.path)
        self._size = self._file.size()


def _lines(offsets: Mapping[str, Offsets]) -> list[str]:
    return [f"{key}|{value.log_end}|{value.read}" for key, value in offsets.items()]

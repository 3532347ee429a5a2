"""A topic's offsets file: a line for each partition and commit, the last line of a key wins.

    {topicId}_partition_{N}|logEndOffset|readOffset             of the unnamed group
    {topicId}_partition_{N}@{group}|logEndOffset|readOffset     of another

A fourth field counts the seeks, where there were any. Commits are appended, several at once under
one checksum and one sync. When the file has grown it is put in place anew, with one line for each
key.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
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


def group_key(key: str, group: str) -> str:
    """Return the key of a group's offsets in the partition of a key.

    >>> group_key("orders_partition_2", "billing"), group_key("orders_partition_2", "")
    ('orders_partition_2@billing', 'orders_partition_2')
    """
    return f"{key}@{group}" if group else key


def key_of_partition(key: str) -> str:
    """Return the key of the partition that a group's key is of.

    >>> key_of_partition("orders_partition_2@billing")
    'orders_partition_2'
    """
    return key.partition("@")[0]


class Journal:
    """The offsets of a topic's partitions, durable.

    `offsets` is what the file says; `findings`, what opening it had to report; `is_new`, whether
    there was none.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self.path = path
        self.guard = WriteGuard(path)
        self.offsets: dict[str, Offsets] = {}
        self._groups: defaultdict[str, dict[str, Offsets]] = defaultdict(dict)
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

    def groups_of(self, key: str) -> dict[str, Offsets]:
        """Return the offsets of the named groups in the partition of a key."""
        return dict(self._groups[key])

    def groups(self) -> set[str]:
        """Return the names of all groups that have offsets in any partition."""
        return {group for groups in self._groups.values() for group in groups}

    def highest_read(self, key: str) -> int:
        """Return how far the foremost group has read the partition of a key."""
        return max(self.read_offset(key), *(each.read for each in self._groups[key].values()), 0)

    def record(self, updates: Mapping[str, Offsets]) -> None:
        """Write down the offsets of some keys; they are durable when this returns.

        Raises `StorageFull`, after which nothing has changed, and `StorageFailed`.
        """
        data = seal(offset_lines(updates))
        with self.guard.writing():
            if self._size > REWRITE_BYTES:
                self._rewrite(self.offsets)
            try:
                self._file.write(self._size, data)
            except OSError:
                must_succeed(lambda: self._file.truncate(self._size))
                raise
            must_succeed(self._file.sync)
        self._size += len(data)
        self._remember(updates)

    def forget(self, keys: Collection[str]) -> None:
        """Drop the offsets of some keys; they are gone for good when this returns.

        Raises `StorageFull`, after which nothing has changed, and `StorageFailed`.
        """
        kept = {key: offsets for key, offsets in self.offsets.items() if key not in keys}
        with self.guard.writing():
            self._rewrite(kept)
        self.offsets = {}
        self._groups.clear()
        self._remember(kept)

    def problem(self) -> str | None:
        """Return in words what keeps the file from being written, None where nothing does."""
        return self.guard.problem(lambda: self.record({}))

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._file.close()

    def _remember(self, updates: Mapping[str, Offsets]) -> None:
        self.offsets.update(updates)
        for key, offsets in updates.items():
            partition, _, group = key.partition("@")
            if group:
                self._groups[partition][group] = offsets

    def _load(self) -> None:
        self._size = self._file.size()
        unsealed = unseal(self._file.read(0, self._size))
        for line in unsealed.lines:
            key, *numbers = line.split("|")
            self._remember({key: Offsets(*map(int, numbers))})
        for block in unsealed.damaged:
            self.findings.append(Damage(self.path, block.position, block.length, 1, 0))
        if unsealed.end < self._size:
            self.findings.append(TailCut(self.path, unsealed.end, self._size - unsealed.end))
        try:
            # What is told from now on may not go back, though the run before was killed between
            # write and sync, or its sync failed and the system believes that all is written.
            self._rewrite(self.offsets)
        except OSError as error:
            # After a failed sync, or where the old file cannot be opened again, nothing goes on.
            if isinstance(error, SyncFailed) or error.errno not in NO_ROOM:
                raise
            self._file.truncate(unsealed.end)
            self._file.sync()
            self._disk.sync_folder(self.path.parent)
            self._size = unsealed.end

    def _rewrite(self, offsets: Mapping[str, Offsets]) -> None:
        """Put the file in place anew; where that fails, the old one goes on."""
        self._file.close()
        try:
            write_sealed(self._disk, self.path, offset_lines(offsets))
        finally:
            must_succeed(self._reopen)

    def _reopen(self) -> None:
        self._file = self._disk.open(self.path)
        self._size = self._file.size()


def offset_lines(offsets: Mapping[str, Offsets]) -> list[str]:
    """Return a line for each key.

    >>> offset_lines({"orders_partition_0": Offsets(10, 4)})
    ['orders_partition_0|10|4']
    """
    return [
        f"{key}|{each.log_end}|{each.read}" + (f"|{each.seeks}" if each.seeks else "")
        for key, each in offsets.items()
    ]

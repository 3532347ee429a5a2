"""The data directory: where everything is, who may use it, and how it is wiped.

    <data>/
      pandaq.lock
      ingress.log, ingress_metadata.log, config.log, TPC.log
      delayed.log                              what is not due yet
      topics/topic_{topicId}/
        partition_{N}.log
        {topicId}_partition_metadata.log
      lost.log                                 what a repair found lost
      damaged/                                 what recovery and repair set aside

The ingress log may lie elsewhere; its lock is then beside it.
"""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

from pandaq.errors import DataDirError
from pandaq.storage.config_log import write_config_log
from pandaq.storage.disk import Disk, Lock
from pandaq.storage.ownership import (
    WIPE_MARK,
    is_data_directory,
    is_ingress_log,
    may_be_ingress_log,
)
from pandaq.storage.whole import read_whole, write_whole

_TOPIC_FOLDER: Final = re.compile(r"topic_(.+)")
_PARTITION_FILE: Final = re.compile(r"partition_(\d+)(\.\d{20})?\.(log|index)(\.tmp)?")
_SET_ASIDE: Final = re.compile(r".+\.offset-\d+(\.byte-\d+)?(\.\d+)?(\.tmp)?")


class DataDir:
    """The paths of a broker's data, and the lock on them while it runs."""

    def __init__(self, disk: Disk, root: Path, ingress_log: Path) -> None:
        self.root = root
        self.ingress_log = ingress_log
        self.checkpoint = root / "ingress_metadata.log"
        self.config_log = root / "config.log"
        self.tpc_log = root / "TPC.log"
        self.lost_log = root / "lost.log"
        self.delayed_log = root / "delayed.log"
        self.topics = root / "topics"
        self.damaged = root / "damaged"
        self._lock_file = root / "pandaq.lock"
        self._wipe_mark = root / WIPE_MARK
        self._disk = disk
        self._locks: list[Lock] = []

    def topic_folder(self, topic_id: str) -> Path:
        """Return the folder of a topic."""
        return self.topics / f"topic_{topic_id}"

    def partition_log(self, topic_id: str, partition_id: int) -> Path:
        """Return the log of a partition."""
        return self.topic_folder(topic_id) / f"partition_{partition_id}.log"

    def offsets_file(self, topic_id: str) -> Path:
        """Return the offsets file of a topic."""
        return self.topic_folder(topic_id) / f"{topic_id}_partition_metadata.log"

    # -- opening

    def acquire(self) -> None:
        """Make the folders and lock them.

        Raises `DataDirError` where the folder holds something else, where another broker uses it,
        and where it cannot be made or written.
        """
        try:
            self._check_ours()
            self._disk.make_folder(self.root)
            self._disk.make_folder(self.ingress_log.parent)
            self._acquire(self._lock_file)
            if self.ingress_log.parent != self.root:
                self._acquire_ingress_log()
            self._check_ingress_log()
        except OSError as error:
            self.release()
            raise DataDirError(
                f"the data directory {self.root} cannot be used: {error}; "
                "choose another one (--data) or mend its permissions"
            ) from error

    def release(self) -> None:
        """Give the locks up; releasing twice is fine."""
        while self._locks:
            self._locks.pop().release()

    def topics_on_disk(self) -> dict[str, int]:
        """Return the topics (id to partitions) that have a folder: what config.log should say."""
        found = {}
        for name in self._disk.list(self.topics):
            if match := _TOPIC_FOLDER.fullmatch(name):
                files = self._disk.list(self.topics / name)
                numbers = [int(m[1]) for file in files if (m := _PARTITION_FILE.fullmatch(file))]
                if numbers:
                    found[match[1]] = max(numbers) + 1
        return found

    # -- removing

    @property
    def wipe_was_interrupted(self) -> bool:
        """Whether a wipe began and did not end."""
        return self._disk.exists(self._wipe_mark)

    def wipe(self) -> None:
        """Delete all of the broker's data, and nothing else. Raises `OSError`.

        The mark comes first and goes last: a wipe that a crash cut short is ended at the next
        start, and half a data directory is never taken for a whole one.
        """
        write_whole(self._disk, self._wipe_mark, b"")
        for name in self._disk.list(self.topics):
            if match := _TOPIC_FOLDER.fullmatch(name):
                self.delete_topic(match[1])
        for folder in (*map(self.damaged.joinpath, self._disk.list(self.damaged)), self.damaged):
            if folder == self.damaged or _TOPIC_FOLDER.fullmatch(folder.name):
                self._delete_files(folder, _SET_ASIDE)
                self._delete_if_empty(folder)
        self._delete_if_empty(self.topics)
        self._delete_files(self.ingress_log.parent, _segments_of(self.ingress_log))
        self._delete_files(self.root, _segments_of(self.delayed_log))
        self._delete_files(self.root, _named(self.checkpoint, self.tpc_log, self.lost_log))
        # Says that there are no topics, and that this is a data directory, whatever else is in it.
        write_config_log(self._disk, self.config_log, {})
        self._disk.delete(self._wipe_mark)
        self._disk.sync_folder(self.root)

    def delete_topic(self, topic_id: str) -> None:
        """Delete a topic's files, and its folder where nothing else is in it. Raises `OSError`."""
        folder = self.topic_folder(topic_id)
        self._delete_files(folder, _PARTITION_FILE)
        self._delete_files(folder, _named(self.offsets_file(topic_id)))
        self._delete_if_empty(folder)
        self._disk.sync_folder(self.topics)

    def set_aside(self, name: str, data: bytes, topic_folder: str = "") -> Path:
        """Keep damaged bytes in the folder `damaged`, and return where. Raises `OSError`.

        Those of a topic are in a folder of their own there, by the name of the topic's, or long
        names would grow too long. What another time has left under this name stays.
        """
        folder = self.damaged / topic_folder
        self._disk.make_folder(folder)
        for path in (folder / f"{name}{suffix}" for suffix in _suffixes()):
            if not self._disk.exists(path):
                write_whole(self._disk, path, data)
                return path
            if read_whole(self._disk, path) == data:
                return path
        raise AssertionError  # There is always one more name.

    def has_ingress_log(self) -> bool:
        """Whether there is anything of the ingress log; an index alone is nothing."""
        names = self._disk.list(self.ingress_log.parent)
        logs = filter(_segments_of(self.ingress_log).fullmatch, names)
        return any(not name.endswith((".index", ".tmp")) for name in logs)

    def _delete_files(self, folder: Path, ours: re.Pattern[str]) -> None:
        for name in filter(ours.fullmatch, self._disk.list(folder)):
            self._disk.delete(folder / name)
        if self._disk.exists(folder):
            self._disk.sync_folder(folder)

    def _delete_if_empty(self, folder: Path) -> None:
        if not self._disk.list(folder):
            self._disk.delete_folder(folder)

    def _check_ours(self) -> None:
        """Refuse a folder or a file that no broker has made, before anything is touched."""
        names = set(self._disk.list(self.root))
        # What a first start may have left that ended before it wrote anything that proves it.
        first_start = {
            "lost+found",  # of a file system's own root
            self._lock_file.name,
            self.config_log.name + ".tmp",
            self._wipe_mark.name + ".tmp",
        }
        if self.ingress_log.is_relative_to(self.root):
            first_start.update(self.ingress_log.relative_to(self.root).parts[:-1][:1])
        if names - first_start and not is_data_directory(self._disk, self.root):
            raise DataDirError(
                f"{self.root} is not empty and is no data directory of Panda-Q; choose an empty "
                "or a new folder (--data)"
            )
        elsewhere = self.ingress_log.parent
        if elsewhere != self.root and is_data_directory(self._disk, elsewhere):
            raise DataDirError(
                f"{self.ingress_log} lies in the data directory of another broker; choose another "
                "INGRESS_LOG_FILE"
            )

    def _acquire_ingress_log(self) -> None:
        """Lock an ingress log that lies elsewhere, and refuse one that is somebody else's file."""
        path = self.ingress_log
        self._acquire(path.with_name(path.name + ".lock"))
        if not self._disk.exists(self.checkpoint) and not is_ingress_log(self._disk, path):
            self.release()
            raise DataDirError(
                f"{path} is no write-ahead log of Panda-Q; choose another INGRESS_LOG_FILE"
            )

    def _check_ingress_log(self) -> None:
        """Refuse a file in the ingress log's place that never was one: a start would empty it."""
        if not may_be_ingress_log(self._disk, self.ingress_log):
            self.release()
            raise DataDirError(
                f"{self.ingress_log} is no write-ahead log of Panda-Q, though it stands in the "
                "place of one; put the right one there, or move this one away"
            )

    def _acquire(self, path: Path) -> None:
        lock = self._disk.lock(path)
        if lock is None:
            self.release()
            raise DataDirError(
                f"another broker is using {path.parent} (it holds {path.name}); "
                "stop that one, or choose another data directory (--data)"
            )
        self._locks.append(lock)


def _segments_of(log: Path) -> re.Pattern[str]:
    """Return a pattern of the names of a log's files."""
    stem, suffix = re.escape(log.stem), re.escape(log.suffix)
    return re.compile(rf"{stem}(\.\d{{20}})?({suffix}|\.index)(\.tmp)?")


def _suffixes() -> Iterator[str]:
    yield ""
    yield from (f".{number}" for number in count(2))


def _named(*paths: Path) -> re.Pattern[str]:
    """Return a pattern of these files' names, and of what writing them may have left."""
    return re.compile(rf"({'|'.join(re.escape(path.name) for path in paths)})(\.tmp)?")

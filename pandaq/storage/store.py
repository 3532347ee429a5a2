"""Everything that a broker keeps, open: what recovery hands to the actors.

Store
├── ingress        the queue of the ingress buffer
├── topics         for each topic its journal and the queue of each partition
├── assignments    which consumer has which partition
└── findings       what the start cut, lost or put right
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pandaq.config import Retention
from pandaq.offsets import Offsets
from pandaq.storage.checkpoint import Checkpoint, write_checkpoint
from pandaq.storage.datadir import DataDir
from pandaq.storage.disk import Disk
from pandaq.storage.findings import Finding
from pandaq.storage.guard import WriteGuard
from pandaq.storage.journal import Journal
from pandaq.storage.queue import Queue
from pandaq.storage.tpc_log import Assignment, write_tpc_log


@dataclass(slots=True)
class TopicStore:
    """What is kept of one topic."""

    retention: Retention
    journal: Journal
    partitions: list[Queue]


class Checkpoints:
    """Writes the checkpoint; owned by whoever moves messages from ingress to the partitions."""

    def __init__(self, disk: Disk, datadir: DataDir) -> None:
        self._disk = disk
        self._path = datadir.checkpoint
        self._guard = WriteGuard(datadir.checkpoint)
        self.ends: Mapping[str, int] = {}
        """The ends, by key, that the last checkpoint names."""

    def write(self, ingress: Offsets, partitions: Mapping[str, Offsets]) -> None:
        """Say that all up to `ingress.read` is in the partitions, durably, with these offsets.

        Raises `StorageFull`, after which the last checkpoint still holds, and `StorageFailed`.
        """
        with self._guard.writing():
            write_checkpoint(self._disk, self._path, Checkpoint(ingress, partitions))
        self.ends = {key: offsets.log_end for key, offsets in partitions.items()}


class AssignmentLog:
    """Writes TPC.log; owned by whoever decides on assignments."""

    def __init__(self, disk: Disk, datadir: DataDir) -> None:
        self._disk = disk
        self._path = datadir.tpc_log
        self._guard = WriteGuard(datadir.tpc_log)

    def write(self, assignments: Iterable[Assignment]) -> None:
        """Put all assignments in place, durably. Raises `StorageFull`, `StorageFailed`."""
        with self._guard.writing():
            write_tpc_log(self._disk, self._path, assignments)

    def problem(self, assignments: Iterable[Assignment]) -> str | None:
        """Return in words what keeps the file from being written, None where nothing does.

        `assignments` are those that hold, to be written again after a refusal.
        """
        return self._guard.problem(lambda: self.write(assignments))


@dataclass(slots=True)
class Store:
    """See the top of the file. `close` closes the files and gives up the lock; it does not sync."""

    datadir: DataDir
    ingress: Queue
    topics: dict[str, TopicStore]
    assignments: list[Assignment]
    checkpoints: Checkpoints
    assignment_log: AssignmentLog
    routed: int = 0
    findings: list[Finding] = field(default_factory=list)

    def close(self) -> None:
        """Close everything; closing twice is fine."""
        for topic in self.topics.values():
            for queue in topic.partitions:
                queue.close()
            topic.journal.close()
        self.ingress.close()
        self.datadir.release()

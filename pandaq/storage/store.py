"""Everything that a broker keeps, open: what recovery hands to the actors.

Store
├── ingress        the queue of the ingress buffer
├── seen           the messageIds that topics with a dedupe window have had lately
├── delayed        what is not due yet
├── topics         for each topic its journal and the queue of each partition
├── assignments    which consumer has which partition
└── findings       what the start cut, lost or put right
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pandaq.config import Retention
from pandaq.dedupe import SeenIds
from pandaq.errors import StorageFailed, StorageFull
from pandaq.offsets import Offsets
from pandaq.records import LineFormat
from pandaq.storage.checkpoint import Checkpoint, write_checkpoint
from pandaq.storage.config_log import write_config_log
from pandaq.storage.datadir import DataDir
from pandaq.storage.delayed import Delayed
from pandaq.storage.disk import Disk
from pandaq.storage.findings import Finding
from pandaq.storage.guard import WriteGuard
from pandaq.storage.journal import Journal
from pandaq.storage.log import Clock, Log
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


class TopicLog:
    """Makes topics while the broker runs; owned by whoever decides that there be one."""

    def __init__(
        self,
        disk: Disk,
        datadir: DataDir,
        clock: Clock,
        segment_bytes: int,
        tail_bytes: int,
        topics: Mapping[str, int],
    ) -> None:
        self._disk = disk
        self._datadir = datadir
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._tail_bytes = tail_bytes
        self._topics = dict(topics)
        self._guard = WriteGuard(datadir.config_log)

    def create(self, topic_id: str, partitions: int, retention: Retention) -> TopicStore:
        """Make the files of a topic, durably, and say in config.log that it is there.

        That comes last: what an attempt leaves that was cut short is nobody's. Raises
        `StorageFull`, after which it may be tried again, and `StorageFailed`.
        """
        topics = self._topics | {topic_id: partitions}
        opened: list[Journal | Log] = []
        try:
            with self._guard.writing():
                self._disk.make_folder(self._datadir.topic_folder(topic_id))
                journal = Journal(self._disk, self._datadir.offsets_file(topic_id))
                opened.append(journal)
                queues = []
                for number in range(partitions):
                    log = self._open_log(topic_id, number)
                    opened.append(log)
                    log.cut(0)
                    queues.append(Queue(log, Offsets(), self._tail_bytes))
                write_config_log(self._disk, self._datadir.config_log, topics)
        except (StorageFull, StorageFailed):
            for each in opened:
                each.close()
            raise
        self._topics = topics
        return TopicStore(retention, journal, queues)

    def _open_log(self, topic_id: str, number: int) -> Log:
        path = self._datadir.partition_log(topic_id, number)
        line_format = LineFormat.partition(topic_id, number)
        return Log(self._disk, path, line_format, self._segment_bytes, self._clock)


@dataclass(slots=True)
class Store:
    """See the top of the file. `close` closes the files and gives up the lock; it does not sync."""

    datadir: DataDir
    ingress: Queue
    seen: dict[str, SeenIds]
    delayed: Delayed
    topics: dict[str, TopicStore]
    assignments: list[Assignment]
    checkpoints: Checkpoints
    assignment_log: AssignmentLog
    topic_log: TopicLog
    routed: int = 0
    findings: list[Finding] = field(default_factory=list)

    def close(self) -> None:
        """Close everything; closing twice is fine."""
        for topic in self.topics.values():
            for queue in topic.partitions:
                queue.close()
            topic.journal.close()
        self.delayed.log.close()
        self.ingress.close()
        self.datadir.release()

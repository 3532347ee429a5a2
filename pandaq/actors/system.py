"""The whole broker: what an embedding program holds, and what the web asks."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pandaq.actors.asking import Ask, R, Ref, ask, ask_all, get, send, tell, then
from pandaq.actors.crew import Crew, Spawn, spawn_thread
from pandaq.actors.messages import (
    Append,
    Claim,
    Commit,
    DescribeAssignments,
    DescribeQueue,
    DescribeTopic,
    DescribeTrouble,
    EndWait,
    QueueDescription,
    Read,
    ReadOrWait,
    Register,
)
from pandaq.actors.reply import Reply
from pandaq.batch import Batch
from pandaq.config import Config
from pandaq.errors import (
    OutcomeUnknown,
    PandaqError,
    PartitionNotFound,
    ShuttingDown,
    TopicNotFound,
)
from pandaq.ids import check_consumer_id
from pandaq.limits import check_messages
from pandaq.message import Message
from pandaq.offsets import Offsets
from pandaq.records import SEPARATOR, encode_payloads
from pandaq.storage.disk import Disk, LocalDisk
from pandaq.storage.log import Clock
from pandaq.storage.recovery import open_store

logger = logging.getLogger(__name__)


def wall_clock_ms() -> int:
    """Return the time in milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


class WaitingRead:
    """A read that is answered when there is something to read, or at `end`."""

    def __init__(self, partition: Ref, message: ReadOrWait) -> None:
        self._partition = partition
        self._message = message
        self.reply: Reply[Batch] = send(partition, message)

    def end(self) -> None:
        """Have it answered with what there is, also where nobody is left to hear it."""
        tell(self._partition, EndWait(self._message))


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as it is: its partitions in order, and the consumer of each that has one."""

    topic_id: str
    partitions: Sequence[QueueDescription]
    consumers: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Description:
    """Everything as it is, each part at its own moment."""

    topics: Sequence[TopicDescription]
    ingress: QueueDescription


class System:
    """A broker: its actors, and the files below them.

    >>> from pandaq import Broker, Config, Message, TopicConfig
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     config = Config(topics=[TopicConfig("orders", 1)], data_dir=Path(folder))
    ...     with Broker(config) as broker:
    ...         broker.append("orders", [Message.of("msg-001", {"amount": 99.99})])
    ...         batch = broker.read("orders", 0, wait_s=5)
    ...         broker.commit("orders", 0, "consumer-1", batch.end_offset)
    Offsets(log_end=1, read=1)

    The constructor does no I/O; `start` raises `StartError`. Every call may raise `TopicNotFound`,
    `PartitionNotFound`, `OutcomeUnknown` after `askTimeoutMs`, and `ShuttingDown`.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        disk: Disk | None = None,
        clock: Clock = wall_clock_ms,
        spawn: Spawn = spawn_thread,
    ) -> None:
        self.config = config or Config()
        self._disk = disk or LocalDisk()
        self._clock = clock
        self._spawn = spawn
        self._timeout_s = self.config.ask_timeout_ms / 1000
        self._crew: Crew | None = None
        self.topics: Mapping[str, int] = {each.id: each.partitions for each in self.config.topics}
        """The topics, id to partitions."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # -- life

    def start(self) -> None:
        """Open and recover the data directory, then start the actors, each after those it asks."""
        store = open_store(self.config, self._disk, self._clock)
        for finding in store.findings:
            logger.warning("%s", finding)
        logger.info(
            "%s: %d topics, %d messages routed from the ingress log",
            store.datadir.root,
            len(store.topics),
            store.routed,
        )
        crew = Crew(store, self.config, self._clock, self._spawn)
        try:
            crew.start()
        except BaseException:
            crew.stop(time.monotonic())
            raise
        self._crew = crew

    def wake_all(self) -> None:
        """Answer every waiting consumer now, and all who would wait from now on."""
        if self._crew:
            self._crew.wake_all()

    def stop(self, timeout_s: float | None = None) -> None:
        """Accept nothing more, route what is there, write a checkpoint, stop in reverse order.

        Takes `timeout_s` (by default `stopTimeoutMs`); what is not routed by then is routed by the
        next start.
        """
        if timeout_s is None:
            timeout_s = self.config.stop_timeout_ms / 1000
        deadline = time.monotonic() + timeout_s
        crew, self._crew = self._crew, None
        if crew:
            crew.wake_all()
            crew.drain(deadline)
            crew.stop(deadline)

    def abandon(self) -> None:
        """Stop at once: nothing is routed and no checkpoint is written; the next start recovers."""
        crew, self._crew = self._crew, None
        if crew:
            crew.stop(time.monotonic())

    def dead_actors(self) -> list[str]:
        """Return the names of actors that have died though nobody stopped them."""
        return self._crew.dead() if self._crew else []

    # -- what callers ask

    def append(self, topic_id: str, messages: Sequence[Message]) -> None:
        """Append messages to a topic, all or none; they are durable when this returns.

        Raises `InvalidRequest`, `PayloadTooLarge`, `BufferFull`, `StorageFull`, `StorageFailed`.
        """
        get(self.begin_append(topic_id, messages), self._timeout_s)

    def begin_append(self, topic_id: str, messages: Sequence[Message]) -> Reply[None]:
        """As `append`, but wait for nothing: the reply is completed when they are durable.

        What is wrong with the messages is raised at once; what the disk says comes by the reply.
        """
        ids = [message.message_id for message in messages]
        contents = [message.content for message in messages]
        return self.begin_append_texts(topic_id, ids, contents)

    def begin_append_texts(
        self, topic_id: str, ids: Sequence[str], contents: list[bytes], *, are_json: bool = False
    ) -> Reply[None]:
        """As `begin_append`; `are_json` says that a decoder has found the contents to be JSON."""
        self._check_topic(topic_id)
        check_messages(ids, contents, self.config, are_json=are_json)
        bodies = encode_payloads(ids, contents, topic_id.encode() + SEPARATOR)
        return send(self._running.ingress, Append(bodies))

    def register(self, topic_id: str, consumer_id: str) -> int:
        """Give a consumer a partition, the same one each time; return its number.

        Raises `InvalidRequest`, `NoPartitionAvailable`, `StorageFull`, `StorageFailed`.
        """
        self._check_topic(topic_id)
        check_consumer_id(consumer_id)
        return self._ask(self._running.registry, Register(topic_id, consumer_id))

    def read(
        self,
        topic_id: str,
        partition_id: int,
        max_messages: int = 500,
        wait_s: float = 0,
    ) -> Batch:
        """Return what stands behind a partition's readOffset; take nothing away.

        Where there is nothing, wait for up to `wait_s`. Raises `StorageFailed`.
        """
        if wait_s > 0:
            waiting = self.begin_wait(topic_id, partition_id, max_messages)
            with suppress(OutcomeUnknown):
                return get(waiting.reply, wait_s)
            waiting.end()
            return get(waiting.reply, self._timeout_s)
        reply = self.begin_read(topic_id, partition_id, max_messages)
        return get(reply, self._timeout_s)

    def begin_read(self, topic_id: str, partition_id: int, max_messages: int = 500) -> Reply[Batch]:
        """As `read` without a wait: the reply is completed with what there is."""
        partition = self._partition(topic_id, partition_id)
        return send(partition, Read(max_messages, self.config.max_consume_bytes))

    def begin_wait(self, topic_id: str, partition_id: int, max_messages: int = 500) -> WaitingRead:
        """As `read` with a wait that has no end, but sleep for nothing: see `WaitingRead`."""
        partition = self._partition(topic_id, partition_id)
        return WaitingRead(partition, ReadOrWait(max_messages, self.config.max_consume_bytes))

    def commit(self, topic_id: str, partition_id: int, consumer_id: str, offset: int) -> Offsets:
        """Take away for good all messages up to `offset`; durable when this returns.

        Raises `InvalidRequest`, `InvalidOffset`, `NotAssigned`, `StorageFull`, `StorageFailed`.
        """
        reply = self.begin_commit(topic_id, partition_id, consumer_id, offset)
        return get(reply, self._timeout_s)

    def begin_commit(
        self, topic_id: str, partition_id: int, consumer_id: str, offset: int
    ) -> Reply[Offsets]:
        """As `commit`, but wait for nothing: the reply is completed when it is durable."""
        partition = self._partition(topic_id, partition_id)
        check_consumer_id(consumer_id)
        claim = Claim(topic_id, partition_id, consumer_id, offset)
        return then(send(self._running.registry, claim), lambda _: send(partition, Commit(offset)))

    def describe(self) -> Description:
        """Return the offsets and buffers of everything."""
        crew = self._running
        asks = [(ref, DescribeTopic()) for ref in crew.topics.values()]
        partitions = dict(zip(crew.topics, ask_all(asks, self._timeout_s), strict=True))
        consumers = self._ask(crew.registry, DescribeAssignments())
        topics = [
            TopicDescription(
                topic_id,
                queues,
                {number: name for (topic, number), name in consumers.items() if topic == topic_id},
            )
            for topic_id, queues in partitions.items()
        ]
        return Description(topics, self._ask(crew.ingress, DescribeQueue()))

    def problems(self) -> list[str]:
        """Return what keeps the broker from working, a sentence each; none where it is healthy."""
        dead = self.dead_actors()
        if dead:
            return [f"the actor '{name}' has died; restart the broker" for name in dead]
        try:
            problems = self._problems_of_files()
            trouble = self._ask(self._running.broker, DescribeTrouble())
        except PandaqError as error:
            return [str(error)]
        return problems + ([f"routing waits: {trouble}"] if trouble else [])

    # -- inside

    @property
    def _running(self) -> Crew:
        if self._crew is None:
            raise ShuttingDown
        return self._crew

    def _ask(self, ref: Ref, message: Ask[R]) -> R:
        return ask(ref, message, self._timeout_s)

    def _check_topic(self, topic_id: str) -> None:
        if topic_id not in self.topics:
            raise TopicNotFound(topic_id)

    def _partition(self, topic_id: str, partition_id: int) -> Ref:
        self._check_topic(topic_id)
        refs = self._running.partitions[topic_id]
        if not 0 <= partition_id < len(refs):
            raise PartitionNotFound(topic_id, partition_id, len(refs))
        return refs[partition_id]

    def _problems_of_files(self) -> list[str]:
        """Return a sentence for each file that cannot be written."""
        crew, description = self._running, self.describe()
        problems = {"the ingress log": description.ingress.problem}
        for topic in description.topics:
            for number, queue in enumerate(topic.partitions):
                problems[f"partition {number} of topic '{topic.topic_id}'"] = queue.problem
        for topic_id, journal in crew.journals.items():
            trouble = self._ask(journal, DescribeTrouble())
            problems[f"the offsets file of topic '{topic_id}'"] = trouble
        problems["TPC.log"] = self._ask(crew.registry, DescribeTrouble())
        return [f"{name} {problem}" for name, problem in problems.items() if problem]

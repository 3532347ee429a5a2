"""The whole broker, started and stopped: what an embedding program holds, and what the web asks.

Startup is a list and shutdown is that list reversed. References go through constructors only, so an
actor can ask only those that started before it: there is no circle, hence no deadlock.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import pykka

from pandaq.actors.asking import Ask, R, Ref, ask, ask_all, ask_later
from pandaq.actors.broker import Broker
from pandaq.actors.ingress import Ingress
from pandaq.actors.journal import JournalKeeper
from pandaq.actors.messages import (
    Append,
    Claim,
    Commit,
    DescribeAssignments,
    DescribeQueue,
    DescribeTopic,
    DescribeTrouble,
    Drain,
    Forget,
    QueueDescription,
    Read,
    ReadOrWait,
    Refuse,
    Register,
    Tick,
    WakeAll,
)
from pandaq.actors.partition import Partition
from pandaq.actors.registry import Registry
from pandaq.actors.scheduler import Scheduler
from pandaq.actors.topic import Topic
from pandaq.config import Config
from pandaq.errors import (
    InvalidRequest,
    PandaqError,
    PartitionNotFound,
    PayloadTooLarge,
    ShuttingDown,
    TopicNotFound,
)
from pandaq.ids import check_consumer_id, check_message_id
from pandaq.message import Batch, Message
from pandaq.offsets import Offsets
from pandaq.records import encode_payload
from pandaq.storage.disk import Disk, LocalDisk
from pandaq.storage.journal import partition_key
from pandaq.storage.log import Clock
from pandaq.storage.recovery import open_store
from pandaq.storage.store import Store, TopicStore

logger = logging.getLogger(__name__)

WANTED_CHECK_S: Final = 1.0
"""How often a waiting read looks whether it is still wanted."""
MIN_STOP_S: Final = 0.5
"""What every actor gets to stop, however late it is."""

Spawn = Callable[..., Ref]
"""Makes an actor of a class and its constructor's arguments, and returns its reference."""


def wall_clock_ms() -> int:
    """Return the time in milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


def spawn_thread(actor_class: type[pykka.ThreadingActor], *args: Any) -> Ref:
    """Start an actor in a thread of its own."""
    return actor_class.start(*args)


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
        self._store: Store | None = None
        self._actors: dict[str, Ref] = {}
        self._partitions: dict[str, list[Ref]] = {}
        self._topics: dict[str, Ref] = {}

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
        store = self._store = open_store(self.config, self._disk, self._clock)
        for finding in store.findings:
            logger.warning("%s", finding)
        logger.info(
            "%s: %d topics, %d messages routed from the ingress log",
            store.datadir.root,
            len(store.topics),
            store.routed,
        )
        try:
            self._start_actors(store)
        except BaseException:
            self.abandon()
            raise

    def wake_all(self) -> None:
        """Answer every waiting consumer now, and all who would wait from now on."""
        for partition in (ref for refs in self._partitions.values() for ref in refs):
            if partition.is_alive():
                partition.tell(WakeAll())

    def stop(self) -> None:
        """Accept nothing more, route what is there, write a checkpoint, stop in reverse order.

        Takes `stopTimeoutMs` at most; what is not routed by then is routed by the next start.
        """
        if self._store is None:
            return
        deadline = time.monotonic() + self.config.stop_timeout_ms / 1000
        self._refuse()
        self.wake_all()
        self._stop_actor("scheduler", deadline)
        self._drain(deadline)
        self._stop_all(deadline)

    def abandon(self) -> None:
        """Stop at once: nothing is routed and no checkpoint is written; the next start recovers."""
        self._stop_all(time.monotonic())

    def dead_actors(self) -> list[str]:
        """Return the names of actors that have died though nobody stopped them."""
        if self._store is None:
            return []
        return [name for name, ref in self._actors.items() if not ref.is_alive()]

    # -- what callers ask

    @property
    def topics(self) -> Mapping[str, int]:
        """The topics, id to partitions."""
        return {topic_id: len(refs) for topic_id, refs in self._partitions.items()}

    def append(self, topic_id: str, messages: Sequence[Message]) -> None:
        """Append messages to a topic, all or none; they are durable when this returns.

        The content of each is trusted to be valid JSON (see `Message`). Raises `InvalidRequest`,
        `PayloadTooLarge`, `BufferFull`, `StorageFull`, `StorageFailed`.
        """
        self._refs_of(topic_id)
        bodies = self._bodies(topic_id.encode() + b"|", messages)
        ask_later(self._ingress, Append(bodies), self._timeout_s)

    def register(self, topic_id: str, consumer_id: str) -> int:
        """Give a consumer a partition, the same one each time; return its number.

        Raises `InvalidRequest`, `NoPartitionAvailable`, `StorageFull`, `StorageFailed`.
        """
        self._refs_of(topic_id)
        check_consumer_id(consumer_id)
        return self._ask(self._registry, Register(topic_id, consumer_id))

    def read(
        self,
        topic_id: str,
        partition_id: int,
        max_messages: int = 500,
        wait_s: float = 0,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Batch:
        """Return what stands behind a partition's readOffset; take nothing away.

        Where there is nothing, wait for up to `wait_s`, as long as `is_wanted`. Raises
        `StorageFailed`.
        """
        partition = self._partition(topic_id, partition_id)
        max_bytes = self.config.max_consume_bytes
        if wait_s > 0:
            future = self._ask(partition, ReadOrWait(max_messages, max_bytes))
            deadline = time.monotonic() + wait_s
            while (left := deadline - time.monotonic()) > 0 and is_wanted():
                try:
                    return future.get(timeout=min(left, WANTED_CHECK_S))
                except pykka.Timeout:
                    continue
            partition.tell(Forget(future))
        return self._ask(partition, Read(max_messages, max_bytes))

    def commit(self, topic_id: str, partition_id: int, consumer_id: str, offset: int) -> Offsets:
        """Take away for good all messages up to `offset`; durable when this returns.

        Raises `InvalidRequest`, `InvalidOffset`, `NotAssigned`, `StorageFull`, `StorageFailed`.
        """
        partition = self._partition(topic_id, partition_id)
        check_consumer_id(consumer_id)
        self._ask(self._registry, Claim(topic_id, partition_id, consumer_id, offset))
        return self._ask(partition, Commit(offset))

    def describe(self) -> Description:
        """Return the offsets and buffers of everything."""
        asks = [(ref, DescribeTopic()) for ref in self._topics.values()]
        partitions = dict(zip(self._topics, ask_all(asks, self._timeout_s), strict=True))
        consumers = self._ask(self._registry, DescribeAssignments())
        topics = [
            TopicDescription(
                topic_id,
                queues,
                {number: name for (topic, number), name in consumers.items() if topic == topic_id},
            )
            for topic_id, queues in partitions.items()
        ]
        return Description(topics, self._ask(self._ingress, DescribeQueue()))

    def problems(self) -> list[str]:
        """Return what keeps the broker from working, a sentence each; none where it is healthy."""
        dead = self.dead_actors()
        if dead:
            return [f"the actor '{name}' has died; restart the broker" for name in dead]
        try:
            description = self.describe()
            trouble = self._ask(self._broker, DescribeTrouble())
        except PandaqError as error:
            return [str(error)]
        queues = {"the ingress log": description.ingress}
        for topic in description.topics:
            for number, queue in enumerate(topic.partitions):
                queues[f"partition {number} of topic '{topic.topic_id}'"] = queue
        failed = [
            f"{name} is closed for writing ({queue.failure}); check the disk, then restart"
            for name, queue in queues.items()
            if queue.failure
        ]
        return failed + ([f"routing waits: {trouble}"] if trouble else [])

    # -- inside

    def _start_actors(self, store: Store) -> None:
        for topic_id, topic in store.topics.items():
            self._start_topic(topic_id, topic)
        self._ingress = self._start("ingress", Ingress, store.ingress, self.config)
        assignments = (store.assignments, store.assignment_log)
        self._registry = self._start(
            "registry", Registry, self._partitions, *assignments, self._timeout_s
        )
        self._broker = self._start(
            "broker", Broker, self._ingress, self._topics, store.checkpoints, self.config
        )
        self._scheduler = self._start(
            "scheduler", Scheduler, self._ingress, self._broker, self.config
        )
        self._scheduler.tell(Tick())

    def _start(self, name: str, actor_class: type[pykka.ThreadingActor], *args: Any) -> Ref:
        ref = self._actors[name] = self._spawn(actor_class, *args)
        return ref

    def _start_topic(self, topic_id: str, topic: TopicStore) -> None:
        journal = self._start(f"journal of {topic_id}", JournalKeeper, topic.journal)
        self._partitions[topic_id] = [
            self._start(
                f"partition {number} of {topic_id}",
                Partition,
                partition_key(topic_id, number),
                queue,
                journal,
                topic.retention,
                self._clock,
                self._timeout_s,
            )
            for number, queue in enumerate(topic.partitions)
        ]
        self._topics[topic_id] = self._start(
            f"topic {topic_id}", Topic, self._partitions[topic_id], self._timeout_s
        )

    def _refuse(self) -> None:
        if self._ingress.is_alive():
            self._ingress.tell(Refuse(ShuttingDown()))

    def _drain(self, deadline: float) -> None:
        left = max(deadline - time.monotonic(), 0)
        try:
            ask(self._broker, Drain(left / 2), left)
        except PandaqError as error:
            logger.warning("stopping without a checkpoint, the next start recovers: %s", error)

    def _stop_all(self, deadline: float) -> None:
        store, self._store = self._store, None
        stopped = [self._stop_actor(name, deadline) for name in reversed(list(self._actors))]
        if store and all(stopped):
            store.close()

    def _stop_actor(self, name: str, deadline: float) -> bool:
        timeout_s = max(deadline - time.monotonic(), MIN_STOP_S)
        try:
            self._actors[name].stop(block=True, timeout=timeout_s)
        except pykka.Timeout:
            logger.warning("the actor '%s' does not stop; its files stay open", name)
            return False
        return True

    def _ask(self, ref: Ref, message: Ask[R]) -> R:
        return ask(ref, message, self._timeout_s)

    def _refs_of(self, topic_id: str) -> list[Ref]:
        try:
            return self._partitions[topic_id]
        except KeyError:
            raise TopicNotFound(topic_id) from None

    def _partition(self, topic_id: str, partition_id: int) -> Ref:
        refs = self._refs_of(topic_id)
        if not 0 <= partition_id < len(refs):
            raise PartitionNotFound(topic_id, partition_id, len(refs))
        return refs[partition_id]

    def _bodies(self, prefix: bytes, messages: Sequence[Message]) -> list[bytes]:
        limit = self.config.max_message_bytes
        if not messages:
            raise InvalidRequest("there is no message; send at least one")
        if len(messages) > self.config.max_batch_messages:
            raise PayloadTooLarge(
                "the batch", len(messages), self.config.max_batch_messages, "maxBatchMessages"
            )
        bodies = []
        for number, message in enumerate(messages):
            try:
                check_message_id(message.message_id)
            except InvalidRequest as error:
                where = f"message {number}: " if len(messages) > 1 else ""
                raise InvalidRequest(f"{where}{error}") from None
            if len(message.content) > limit:
                what = f"the content of message {number} (messageId {message.message_id!r})"
                raise PayloadTooLarge(what, len(message.content), limit, "maxMessageBytes")
            bodies.append(prefix + encode_payload(message))
        return bodies

"""The actors of one run: each starts after those that it asks, and stops before them.

References go through constructors only, so an actor can ask only those that started before it:
there is no circle, hence no deadlock. A topic that is made later is the one exception: the registry
and the broker are told of it. It asks nobody but its own, so there is no circle either.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pykka

from pandaq.actors.asking import Ref, ask, tell
from pandaq.actors.broker import Broker
from pandaq.actors.catalog import Catalog
from pandaq.actors.delay import Delay
from pandaq.actors.ingress import Ingress
from pandaq.actors.journal import JournalKeeper
from pandaq.actors.messages import AddTopic, Drain, Outcome, Refuse, Tick, WakeAll
from pandaq.actors.partition import Partition
from pandaq.actors.registry import Registry, RegistryLimits
from pandaq.actors.scheduler import Scheduler
from pandaq.actors.topic import Topic
from pandaq.config import Config
from pandaq.errors import PandaqError, ShuttingDown
from pandaq.storage.log import Clock
from pandaq.storage.store import Store, TopicStore
from pandaq.storage.tpc_log import Assignment

logger = logging.getLogger(__name__)

MIN_STOP_S: Final = 0.5
"""What every actor gets to stop, however late it is."""

Owners = Mapping[str, tuple[str | None, int]]
"""By group: the consumer of a partition, None where it has none any more, and the generation."""

Spawn = Callable[..., Ref]
"""Makes an actor of a class and its constructor's arguments, and returns its reference."""


def spawn_thread(actor_class: type[pykka.ThreadingActor], *args: Any) -> Ref:
    """Start an actor in a thread of its own."""
    return actor_class.start(*args)


class Crew:
    """The references to all actors, which are there once `start` has returned, and their files."""

    delay: Ref
    ingress: Ref
    registry: Ref
    broker: Ref
    catalog: Ref
    scheduler: Ref

    def __init__(
        self, store: Store, config: Config, clock: Clock, monotonic: Clock, spawn: Spawn
    ) -> None:
        self.journals: dict[str, Ref] = {}
        self.partitions: dict[str, list[Ref]] = {}
        self.topics: dict[str, Ref] = {}
        self._actors: dict[str, Ref] = {}
        self._store = store
        self._config = config
        self._clock = clock
        self._monotonic = monotonic
        self._spawn = spawn
        self._timeout_s = config.ask_timeout_ms / 1000

    def start(self) -> None:
        """Start all, in order. Where it raises, some run: `stop` them."""
        store, config, clock = self._store, self._config, self._clock
        owners = _owners(store.assignments)
        for topic_id, topic in store.topics.items():
            self._start_topic(topic_id, topic, owners.get(topic_id, {}))
        self.delay = self._start("delay", Delay, store.delayed, clock, config.max_delayed)
        self.ingress = self._start("ingress", Ingress, store.ingress, store.seen, clock, config)
        self.registry = self._start(
            "registry",
            Registry,
            self.partitions,
            self.journals,
            _groups(store.topics),
            store.assignments,
            store.assignment_log,
            RegistryLimits(config.max_groups, config.max_members),
            self._monotonic,
            self._timeout_s,
        )
        self.broker = self._start(
            "broker",
            Broker,
            self.ingress,
            self.delay,
            self.topics,
            store.checkpoints,
            config,
            clock,
        )
        self.catalog = self._start(
            "catalog", Catalog, self._make_topic, self.registry, self.broker, self._timeout_s
        )
        self.scheduler = self._start(
            "scheduler", Scheduler, self.ingress, self.broker, self._config
        )
        self.scheduler.tell(Tick())

    def wake_all(self) -> None:
        """Answer every waiting consumer now, and all who would wait from now on."""
        for partition in (ref for refs in list(self.partitions.values()) for ref in refs):
            tell(partition, WakeAll())

    def drain(self, deadline: float) -> None:
        """Accept nothing more, route what is there and write a checkpoint, if there is time."""
        self._stop("scheduler", deadline)
        try:
            ask(self.ingress, Refuse(ShuttingDown()), _left(deadline))
            outcome = ask(self.broker, Drain(_left(deadline) / 2), _left(deadline))
            if outcome is Outcome.BLOCKED:
                logger.warning("not all messages could be routed; the next start routes them")
        except PandaqError as error:
            logger.warning("stopping without a checkpoint, the next start recovers: %s", error)

    def stop(self, deadline: float) -> None:
        """Stop all, in reverse order, and close the files, which one that still runs may need."""
        stopped = [self._stop(name, deadline) for name in reversed(self._actors)]
        if all(stopped):
            self._store.close()

    def dead(self) -> list[str]:
        """Return the names of those that have stopped."""
        return [name for name, ref in list(self._actors.items()) if not ref.is_alive()]

    def _start(self, name: str, actor_class: type[pykka.ThreadingActor], *args: Any) -> Ref:
        ref = self._actors[name] = self._spawn(actor_class, *args)
        return ref

    def _make_topic(self, topic_id: str) -> AddTopic | None:
        """Have a topic with one partition; return what to say of it, None where it is there."""
        if topic_id in self.topics:
            return None
        topic = self._store.topic_log.create(topic_id, 1, self._config.retention)
        self._store.topics[topic_id] = topic
        self._start_topic(topic_id, topic, {})
        return AddTopic(
            topic_id, self.topics[topic_id], self.journals[topic_id], self.partitions[topic_id]
        )

    def _start_topic(self, topic_id: str, topic: TopicStore, owners: Mapping[int, Owners]) -> None:
        journal = self._start(f"journal of {topic_id}", JournalKeeper, topic.journal)
        self.journals[topic_id] = journal
        partitions = [
            self._start(
                f"partition {number} of {topic_id}",
                Partition,
                topic_id,
                number,
                queue,
                journal,
                owners.get(number, {}),
                topic.retention,
                self._clock,
                self._timeout_s,
            )
            for number, queue in enumerate(topic.partitions)
        ]
        self.partitions[topic_id] = partitions
        self.topics[topic_id] = self._start(f"topic {topic_id}", Topic, partitions, self._timeout_s)

    def _stop(self, name: str, deadline: float) -> bool:
        timeout_s = max(_left(deadline), MIN_STOP_S)
        try:
            self._actors[name].stop(block=True, timeout=timeout_s)
        except pykka.Timeout:
            logger.warning("the actor '%s' does not stop; its files stay open", name)
            return False
        return True


def _owners(assignments: Iterable[Assignment]) -> dict[str, dict[int, Owners]]:
    """Return who has which partition, by topic and partition."""
    owners: dict[str, dict[int, dict[str, tuple[str | None, int]]]] = {}
    for each in assignments:
        if each.partition_id is not None:
            consumer_id = None if each.terms.is_free else each.consumer_id
            of_topic = owners.setdefault(each.topic_id, {}).setdefault(each.partition_id, {})
            of_topic[each.terms.group] = consumer_id, each.terms.generation
    return {topic_id: dict(of_topic) for topic_id, of_topic in owners.items()}


def _groups(topics: Mapping[str, TopicStore]) -> list[tuple[str, str]]:
    """Return all groups that have offsets, each with its topic."""
    return [
        (topic_id, group)
        for topic_id, topic in topics.items()
        for group in dict.fromkeys(name for queue in topic.partitions for name in queue.groups)
    ]


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0)

"""The actors of one run: each starts after those that it asks, and stops before them.

References go through constructors only, so an actor can ask only those that started before it:
there is no circle, hence no deadlock.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import pykka

from pandaq.actors.asking import Ref, ask, tell
from pandaq.actors.broker import Broker
from pandaq.actors.ingress import Ingress
from pandaq.actors.journal import JournalKeeper
from pandaq.actors.messages import Drain, Outcome, Refuse, Tick, WakeAll
from pandaq.actors.partition import Partition
from pandaq.actors.registry import Registry
from pandaq.actors.scheduler import Scheduler
from pandaq.actors.topic import Topic
from pandaq.config import Config
from pandaq.errors import PandaqError, ShuttingDown
from pandaq.storage.journal import partition_key
from pandaq.storage.log import Clock
from pandaq.storage.store import Store, TopicStore

logger = logging.getLogger(__name__)

MIN_STOP_S: Final = 0.5
"""What every actor gets to stop, however late it is."""

Spawn = Callable[..., Ref]
"""Makes an actor of a class and its constructor's arguments, and returns its reference."""


def spawn_thread(actor_class: type[pykka.ThreadingActor], *args: Any) -> Ref:
    """Start an actor in a thread of its own."""
    return actor_class.start(*args)


class Crew:
    """The references to all actors, which are there once `start` has returned, and their files."""

    ingress: Ref
    registry: Ref
    broker: Ref
    scheduler: Ref

    def __init__(self, store: Store, config: Config, clock: Clock, spawn: Spawn) -> None:
        self.journals: dict[str, Ref] = {}
        self.partitions: dict[str, list[Ref]] = {}
        self.topics: dict[str, Ref] = {}
        self._actors: dict[str, Ref] = {}
        self._store = store
        self._config = config
        self._clock = clock
        self._spawn = spawn
        self._timeout_s = config.ask_timeout_ms / 1000

    def start(self) -> None:
        """Start all, in order. Where it raises, some run: `stop` them."""
        store = self._store
        for topic_id, topic in store.topics.items():
            self._start_topic(topic_id, topic)
        self.ingress = self._start("ingress", Ingress, store.ingress, self._config)
        assignments = (store.assignments, store.assignment_log)
        self.registry = self._start(
            "registry", Registry, self.partitions, *assignments, self._timeout_s
        )
        self.broker = self._start(
            "broker", Broker, self.ingress, self.topics, store.checkpoints, self._config
        )
        self.scheduler = self._start(
            "scheduler", Scheduler, self.ingress, self.broker, self._config
        )
        self.scheduler.tell(Tick())

    def wake_all(self) -> None:
        """Answer every waiting consumer now, and all who would wait from now on."""
        for partition in (ref for refs in self.partitions.values() for ref in refs):
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
        return [name for name, ref in self._actors.items() if not ref.is_alive()]

    def _start(self, name: str, actor_class: type[pykka.ThreadingActor], *args: Any) -> Ref:
        ref = self._actors[name] = self._spawn(actor_class, *args)
        return ref

    def _start_topic(self, topic_id: str, topic: TopicStore) -> None:
        journal = self._start(f"journal of {topic_id}", JournalKeeper, topic.journal)
        self.journals[topic_id] = journal
        self.partitions[topic_id] = [
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
        self.topics[topic_id] = self._start(
            f"topic {topic_id}", Topic, self.partitions[topic_id], self._timeout_s
        )

    def _stop(self, name: str, deadline: float) -> bool:
        timeout_s = max(_left(deadline), MIN_STOP_S)
        try:
            self._actors[name].stop(block=True, timeout=timeout_s)
        except pykka.Timeout:
            logger.warning("the actor '%s' does not stop; its files stay open", name)
            return False
        return True


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0)

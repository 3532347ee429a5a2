"""The broker: moves messages from the ingress buffer to their topics, and writes the checkpoint.

One cycle reads a batch of the ingress log, has every topic append its part, and only then takes the
batch from the ingress buffer. Whatever fails in between, the same batch comes again, and the
partitions know what they have. What is delayed goes to the delay instead, and comes back through
the ingress buffer when it is due.
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never

from pandaq.actors.asking import Ask, R, Ref, ask, ask_all, tell
from pandaq.actors.messages import (
    AddTopic,
    Append,
    AppendDelayed,
    AppendRouted,
    Commit,
    Cycle,
    Cycled,
    DescribeQueue,
    DescribeTrouble,
    Drain,
    MarkSent,
    Outcome,
    Read,
    Refuse,
    Release,
    Retain,
    Sync,
    TakeDue,
)
from pandaq.actors.thread import ThreadActor
from pandaq.batch import Batch
from pandaq.config import Config
from pandaq.errors import StorageFailed, Unavailable
from pandaq.extra import decode_extra, may_be_delayed
from pandaq.records import SEPARATOR, extra_of, split_ingress_line
from pandaq.storage.delayed import KEY
from pandaq.storage.log import Clock
from pandaq.storage.store import Checkpoints

logger = logging.getLogger(__name__)

CYCLE_BYTES: Final = 8 * 1024 * 1024
"""A cycle routes no more than this, whatever `batchSize` is."""
MOST_DUE: Final = 2_000
"""Nor does it send more messages on that were delayed: the delay reads them one by one."""
RETENTION_INTERVAL_S: Final = 10.0
"""How often old segments are looked for."""

Message = Cycle | Drain | AddTopic | DescribeTrouble


class Broker(ThreadActor):
    """Owns the checkpoint."""

    def __init__(
        self,
        ingress: Ref,
        delay: Ref,
        topics: Mapping[str, Ref],
        checkpoints: Checkpoints,
        config: Config,
        clock: Clock,
    ) -> None:
        super().__init__()
        self._ingress = ingress
        self._delay = delay
        self._topics = dict(topics)
        self._checkpoints = checkpoints
        self._clock = clock
        self._next_due_ms: float = 0
        self._config = config
        self._timeout_s = config.ask_timeout_ms / 1000
        self._unsynced_bytes = 0
        self._sync_at = self._checkpoint_at = self._retain_at = time.monotonic()
        self._trouble: str | None = None

    def on_receive(self, message: Message) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case Cycle():
                return self._cycle()
            case Drain(timeout_s):
                return self._drain(timeout_s)
            case AddTopic(topic_id, topic):
                self._topics[topic_id] = topic
                return None
            case DescribeTrouble():
                return self._trouble
            case _:
                assert_never(message)

    def _cycle(self) -> Cycled:
        begun_at = ended_at = time.monotonic()
        try:
            try:
                is_full = self._is_full(self._route())
                ended_at = time.monotonic()
            finally:
                # Also where routing waits: what was accepted has to be durable in time, and on a
                # full disk it may be retention that makes the room to go on.
                self._sync_if_due()
                self._retain_if_due()
            self._send_due()
            self._checkpoint_if_due()
        except Unavailable as error:
            return Cycled(self._blocked(error), 0)
        self._trouble = None
        outcome = Outcome.MORE if is_full else Outcome.IDLE
        return Cycled(outcome, ended_at - begun_at)

    def _is_full(self, batch: Batch) -> bool:
        """Tell whether there was more, that a batch had no room for."""
        size = sum(map(len, batch.lines))
        return batch.count == self._config.batch_size or size > CYCLE_BYTES // 2

    def _route(self) -> Batch:
        """Route one batch and return it."""
        batch = ask(self._ingress, Read(self._config.batch_size, CYCLE_BYTES), self._timeout_s)
        self._unsynced_bytes += sum(map(len, batch.lines))
        parts = _by_topic(self._without_delayed(batch.lines))
        asks = [(self._topics[topic_id], routed) for topic_id, routed in parts.items()]
        ask_all(asks, self._timeout_s)
        if batch.end_offset > batch.start_offset:
            ask(self._ingress, Commit(batch.end_offset), self._timeout_s)
        return batch

    def _without_delayed(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """Give the delay what is its concern; return what goes to the topics now."""
        offsets, bodies, is_due = [], [], []
        for line in filter(may_be_delayed, lines):
            _, offset, topic_id, payload = split_ingress_line(line)
            extra = decode_extra(extra_of(payload))
            if extra.is_delayed:
                offsets.append(int(offset))
                bodies.append(topic_id + SEPARATOR + payload)
                is_due.append(extra.deliver_at is None)
        if not offsets:
            return lines
        counts = ask(self._delay, AppendDelayed(offsets, bodies), self._timeout_s)
        self._next_due_ms = 0
        goes = {
            offset: is_new and due
            for offset, is_new, due in zip(offsets, counts, is_due, strict=True)
        }
        return [line for line in lines if goes.get(int(split_ingress_line(line)[1]), True)]

    def _send_due(self) -> None:
        """Append to the ingress buffer what was delayed and is due."""
        if self._clock() < self._next_due_ms:
            return
        take = TakeDue(min(self._config.batch_size, MOST_DUE), CYCLE_BYTES)
        due = ask(self._delay, take, self._timeout_s)
        if due.bodies:
            ask(self._ingress, Append(due.bodies, is_own=True), self._timeout_s)
        next_due_ms = ask(self._delay, MarkSent(due.offsets), self._timeout_s)
        self._next_due_ms = math.inf if next_due_ms is None else next_due_ms

    def _sync_if_due(self) -> None:
        now = time.monotonic()
        if self._config.durability == "interval" and now >= self._sync_at:
            ask(self._ingress, Sync(), self._timeout_s)
            self._sync_at = now + self._config.sync_interval_ms / 1000

    def _checkpoint_if_due(self) -> None:
        now = time.monotonic()
        is_much = self._unsynced_bytes >= self._config.checkpoint_bytes
        if self._unsynced_bytes and (is_much or now >= self._checkpoint_at):
            self._checkpoint()
            self._checkpoint_at = now + self._config.checkpoint_interval_ms / 1000

    def _retain_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._retain_at:
            self._retain_at = now + RETENTION_INTERVAL_S
            self._ask_topics(Retain(self._checkpoints.ends))

    def _checkpoint(self) -> None:
        """Sync the partitions, then say so, then let go of what the ingress log need not keep.

        The checkpoint comes after the syncs: a crash before it repeats routing, never loses it.
        """
        partitions = {key: it for topic in self._ask_topics(Sync()) for key, it in topic.items()}
        delayed = ask(self._delay, Sync(), self._timeout_s)
        partitions |= delayed
        ingress = ask(self._ingress, DescribeQueue(), self._timeout_s).offsets
        self._checkpoints.write(ingress, partitions)
        self._unsynced_bytes = 0
        ask(self._ingress, Release(ingress.read), self._timeout_s)
        ask(self._delay, Release(delayed[KEY].read), self._timeout_s)

    def _drain(self, timeout_s: float) -> Outcome:
        deadline = time.monotonic() + timeout_s
        try:
            while self._route().count:
                if time.monotonic() > deadline:
                    logger.warning("not all messages could be routed in time; the next start will")
                    break
            self._checkpoint()
        except Unavailable as error:
            return self._blocked(error)
        return Outcome.IDLE

    def _blocked(self, error: Unavailable) -> Outcome:
        """Say what stands in the way, once; where only a restart helps, accept nothing more."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            logger.error("routing waits: %s", error)
        if isinstance(error, StorageFailed) and error.closed:
            tell(self._ingress, Refuse(error))
        return Outcome.BLOCKED

    def _ask_topics(self, message: Ask[R]) -> list[R]:
        return ask_all([(topic, message) for topic in self._topics.values()], self._timeout_s)


def _by_topic(lines: Sequence[bytes]) -> dict[str, AppendRouted]:
    offsets: defaultdict[bytes, list[int]] = defaultdict(list)
    payloads: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for _, offset, topic_id, payload in map(split_ingress_line, lines):
        offsets[topic_id].append(int(offset))
        payloads[topic_id].append(payload)
    return {each.decode(): AppendRouted(offsets[each], payloads[each]) for each in payloads}

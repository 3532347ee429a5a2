"""What consumers ask of a broker."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from pandaq.actors.asking import R, S, get, send, then
from pandaq.actors.calls import Calls
from pandaq.actors.messages import (
    ANYBODY,
    Append,
    Assigned,
    Caller,
    Check,
    CheckRoom,
    Claim,
    Commit,
    Heartbeat,
    OpenTopic,
    Read,
    ReadOne,
    ReadOrWait,
    Register,
    Seek,
    Target,
    Unregister,
)
from pandaq.actors.reply import Reply
from pandaq.actors.waiting import WaitingRead
from pandaq.assignments import Member
from pandaq.batch import Batch
from pandaq.config import Retry
from pandaq.errors import InvalidRequest, OutcomeUnknown
from pandaq.ids import check_consumer_id, check_topic_id, dead_letters_of
from pandaq.offsets import Offsets
from pandaq.refusal import Refuser, refused


@dataclass(frozen=True, slots=True)
class Refused:
    """What became of a message that was refused: how often it was, and when it comes again (ms).

    `topic_id` is where it went: its own topic, or that of the dead letters.
    """

    attempts: int
    deliver_at: int
    topic_id: str


class Consuming(Calls):
    """Coming and going, reading, committing, and refusing."""

    def register(
        self,
        topic_id: str,
        consumer_id: str,
        *,
        group: str = "",
        lease_ms: int | None = None,
        share: bool = False,
        start: Literal["beginning", "end"] = "beginning",
    ) -> Assigned:
        """Give a consumer a partition, the same one each time, or its share of them.

        With a lease it has them until it is not heard of for so long. A `group` that is new begins
        at the `start` of what the log has. Raises `InvalidRequest`, `NoPartitionAvailable`,
        `TooMany`, `StorageFull`, `StorageFailed`.
        """
        self._check_names(topic_id, consumer_id, group)
        longest = self.config.max_lease_ms
        if lease_ms is not None and not 0 < lease_ms <= longest:
            raise InvalidRequest(
                f"leaseMs is {lease_ms}; it must be from 1 to {longest} (maxLeaseMs)"
            )
        member = Member(lease_ms, share)
        message = Register(topic_id, consumer_id, group, member, start)
        return self._ask(self._running.registry, message)

    def heartbeat(self, topic_id: str, consumer_id: str, group: str = "") -> Assigned:
        """Say that a consumer is alive; return what it has now. Raises `ConsumerNotFound`."""
        self._check_names(topic_id, consumer_id, group)
        return self._ask(self._running.registry, Heartbeat(topic_id, group, consumer_id))

    def unregister(self, topic_id: str, consumer_id: str, group: str = "") -> Sequence[int]:
        """Take a consumer's partitions from it, and return which. Raises `ConsumerNotFound`."""
        self._check_names(topic_id, consumer_id, group)
        return self._ask(self._running.registry, Unregister(topic_id, group, consumer_id))

    def read(
        self,
        topic_id: str,
        partition_id: int,
        max_messages: int = 500,
        wait_s: float = 0,
        *,
        caller: Caller = ANYBODY,
        offset: int | None = None,
    ) -> Batch:
        """Return what stands behind a partition's readOffset; take nothing away.

        Where there is nothing, wait for up to `wait_s`. With an `offset`, return what stands behind
        that, and do not wait. Raises `InvalidOffset`, `NotAssigned`, `StorageFailed`.
        """
        if wait_s > 0 and offset is None:
            waiting = self.begin_wait(topic_id, partition_id, max_messages, caller=caller)
            with suppress(OutcomeUnknown):
                return get(waiting.reply, wait_s)
            waiting.end()
            return get(waiting.reply, self._timeout_s)
        reply = self.begin_read(topic_id, partition_id, max_messages, caller=caller, offset=offset)
        return get(reply, self._timeout_s)

    def begin_read(
        self,
        topic_id: str,
        partition_id: int,
        max_messages: int = 500,
        *,
        caller: Caller = ANYBODY,
        offset: int | None = None,
    ) -> Reply[Batch]:
        """As `read` without a wait: the reply is completed with what there is."""
        partition = self._partition(topic_id, partition_id)
        read = Read(max_messages, self.config.max_consume_bytes, caller, offset)
        if check := self._begin_check(topic_id, partition_id, caller):
            return then(check, lambda found: send(partition, _as_holder(read, found)))
        return send(partition, read)

    def begin_wait(
        self,
        topic_id: str,
        partition_id: int,
        max_messages: int = 500,
        *,
        caller: Caller = ANYBODY,
    ) -> WaitingRead:
        """As `read` with a wait that has no end, but sleep for nothing: see `WaitingRead`."""
        partition = self._partition(topic_id, partition_id)
        check = self._begin_check(topic_id, partition_id, caller)
        read = ReadOrWait(max_messages, self.config.max_consume_bytes, caller)
        return WaitingRead(partition, read, check)

    def commit(
        self,
        topic_id: str,
        partition_id: int,
        consumer_id: str,
        offset: int,
        *,
        group: str = "",
        generation: int | None = None,
    ) -> Offsets:
        """Take away for good all messages up to `offset`; durable when this returns.

        Raises `InvalidRequest`, `InvalidOffset`, `NotAssigned`, `StorageFull`, `StorageFailed`.
        """
        caller = Caller(group, consumer_id, generation)
        return get(self.begin_commit(topic_id, partition_id, caller, offset), self._timeout_s)

    def begin_commit(
        self, topic_id: str, partition_id: int, caller: Caller, offset: int
    ) -> Reply[Offsets]:
        """As `commit`, but wait for nothing: the reply is completed when it is durable."""
        partition = self._partition(topic_id, partition_id)
        consumer_id = self._check_caller(caller)
        claim = Claim(topic_id, partition_id, consumer_id, offset, caller.group, caller.generation)
        return then(
            send(self._running.registry, claim),
            lambda generation: send(
                partition, Commit(offset, replace(caller, generation=generation))
            ),
        )

    def seek(self, topic_id: str, partition_id: int, caller: Caller, target: Target) -> Offsets:
        """Move a group's readOffset, forward or back; durable when this returns.

        The consumer has to have the partition, or nobody. Raises `InvalidRequest`,
        `InvalidOffset`, `NotAssigned`, `StorageFull`, `StorageFailed`.
        """
        partition = self._partition(topic_id, partition_id)
        check = self._check_of(topic_id, partition_id, caller, or_free=True)
        generation = self._ask(self._running.registry, check)
        return self._ask(partition, Seek(target, replace(caller, generation=generation)))

    def nack(
        self,
        topic_id: str,
        partition_id: int,
        caller: Caller,
        offset: int,
        *,
        reason: str = "",
        delay_ms: int | None = None,
    ) -> Refused:
        """As `begin_nack`, and wait."""
        refuser = Refuser(caller.group, reason, delay_ms)
        reply = self.begin_nack(topic_id, partition_id, caller, offset, refuser)
        return get(reply, self._timeout_s)

    def begin_nack(
        self, topic_id: str, partition_id: int, caller: Caller, offset: int, refuser: Refuser
    ) -> Reply[Refused]:
        """Refuse a message: a copy comes again, for the caller's group alone.

        The reply is completed when the copy is durable. The message itself stays where it is, to be
        committed as any other. Raises `InvalidRequest`, `InvalidOffset`, `NotAssigned` and what
        `append` does.
        """
        partition, crew = self._partition(topic_id, partition_id), self._running
        delay_ms, longest = refuser.delay_ms, self.config.max_delay_ms
        if delay_ms is not None and not 0 <= delay_ms <= longest:
            raise InvalidRequest(
                f"delayMs is {delay_ms}; it must be from 0 to {longest} (maxDelayMs)"
            )
        check_topic_id(dead_letters_of(topic_id))

        def read(generation: int) -> Reply[bytes]:
            return send(partition, ReadOne(offset, replace(caller, generation=generation)))

        def append(line: bytes) -> Reply[Refused]:
            now_ms = self._clock()
            copy = refused(line, refuser, self._retry_of(topic_id), now_ms)
            # There has to be a topic for it, or room for it to wait.
            if copy.is_dead:
                ready = send(crew.catalog, OpenTopic(copy.topic_id))
            else:
                ready = send(crew.delay, CheckRoom(int(copy.deliver_at > now_ms)))
            appended = then(ready, lambda _: send(crew.ingress, Append([copy.body])))
            return _as(appended, Refused(copy.attempts, copy.deliver_at, copy.topic_id))

        check = send(crew.registry, self._check_of(topic_id, partition_id, caller))
        return then(then(check, read), append)

    def _check_caller(self, caller: Caller) -> str:
        """Return the consumer who calls. Raises `InvalidRequest`."""
        if caller.consumer_id is None:
            raise InvalidRequest("consumerId is missing")
        check_consumer_id(caller.consumer_id)
        if caller.group:
            check_consumer_id(caller.group, "group")
        return caller.consumer_id

    def _check_of(
        self, topic_id: str, partition_id: int, caller: Caller, *, or_free: bool = False
    ) -> Check:
        consumer_id = self._check_caller(caller)
        return Check(topic_id, partition_id, consumer_id, caller.group, caller.generation, or_free)

    def _begin_check(self, topic_id: str, partition_id: int, caller: Caller) -> Reply[int] | None:
        """Have the registry look whether a consumer that is named has the partition."""
        if caller.consumer_id is None:
            if caller.generation is not None:
                raise InvalidRequest("generation is given without consumerId; send both")
            if caller.group:
                check_consumer_id(caller.group, "group")
            return None
        check = self._check_of(topic_id, partition_id, caller)
        return send(self._running.registry, check)

    def _retry_of(self, topic_id: str) -> Retry:
        topic = self._configured.get(topic_id)
        return topic.retry if topic else self.config.retry


def _as_holder(read: Read, generation: int) -> Read:
    """Return a read that is refused where the partition has changed hands since it was checked."""
    return replace(read, caller=replace(read.caller, generation=generation))


def _as(reply: Reply[R], value: S) -> Reply[S]:
    """Return a reply that is completed with another value."""

    def done(_: R) -> Reply[S]:
        later: Reply[S] = Reply()
        later.set(value)
        return later

    return then(reply, done)

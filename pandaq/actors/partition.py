"""A partition: keeps its messages in order, and hands them out until they are committed."""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Literal, assert_never

from pandaq.actors.asking import Ref, answer, ask, refuse
from pandaq.actors.messages import (
    AppendRouted,
    Caller,
    CheckCommit,
    Commit,
    DescribeQueue,
    DropGroup,
    EndWait,
    OpenGroup,
    QueueDescription,
    Read,
    ReadOne,
    ReadOrWait,
    Record,
    Retain,
    Seek,
    SetOwner,
    Sync,
    Target,
    WakeAll,
)
from pandaq.actors.reply import Reply
from pandaq.actors.thread import ThreadActor
from pandaq.batch import Batch
from pandaq.config import Retention
from pandaq.errors import GroupNotFound, InvalidOffset, NotAssigned, Unavailable
from pandaq.offsets import Offsets
from pandaq.storage.journal import group_key, partition_key
from pandaq.storage.log import Clock
from pandaq.storage.queue import Queue, View

Message = (
    AppendRouted
    | Read
    | ReadOne
    | ReadOrWait
    | EndWait
    | WakeAll
    | CheckCommit
    | Commit
    | Seek
    | OpenGroup
    | DropGroup
    | SetOwner
    | Sync
    | Retain
    | DescribeQueue
)


class Partition(ThreadActor):
    """Owns the queue of one partition.

    `owners` has its consumer and the generation, by group; None where it had one before.
    """

    def __init__(
        self,
        topic_id: str,
        partition_id: int,
        queue: Queue,
        journal: Ref,
        owners: Mapping[str, tuple[str | None, int]],
        retention: Retention,
        clock: Clock,
        ask_timeout_s: float,
    ) -> None:
        super().__init__()
        self._topic_id = topic_id
        self._partition_id = partition_id
        self._key = partition_key(topic_id, partition_id)
        self._queue = queue
        self._journal = journal
        self._owners = dict(owners)
        queue.is_unnamed_used = "" in owners
        self._retention = retention
        self._clock = clock
        self._ask_timeout_s = ask_timeout_s
        self._routed_through = 0
        self._waiting: list[tuple[ReadOrWait, Reply[Batch]]] = []
        self._nobody_waits = False
        self._seen: dict[str, int] = {}
        """Up to where it is known that nothing is left for a group."""

    def on_receive(self, message: Message) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case AppendRouted(offsets, payloads):
                self._append(offsets, payloads)
            case Read():
                return self._read(message)
            case ReadOne(offset, caller):
                return self._read_one(offset, caller)
            case ReadOrWait():
                return self._read_or_wait(message)
            case EndWait(waiting):
                self._wake([waiting])
            case WakeAll():
                self._nobody_waits = True
                self._wake([waiting for waiting, _ in self._waiting])
            case CheckCommit(offset, group):
                self._queue.offsets_of(group).committed(offset)
            case Commit(offset, caller):
                return self._commit(offset, caller)
            case Seek(target, caller):
                return self._seek(target, caller)
            case OpenGroup(group, start):
                return self._open_group(group, start)
            case DropGroup(group):
                self._drop_group(group)
            case SetOwner(group, consumer_id, generation):
                self._set_owner(group, consumer_id, generation)
            case Sync():
                return self._sync()
            case Retain(ends):
                return self._retain(ends.get(self._key, 0))
            case DescribeQueue():
                return self._describe()
            case _:
                assert_never(message)
        return None

    def on_stop(self) -> None:
        """Let nobody wait for what will not come."""
        refuse(reply for _, reply in self._waiting)

    # -- appending and reading

    def _append(self, offsets: Sequence[int], payloads: Sequence[bytes]) -> None:
        """Append what is not there yet: a cycle that failed half-way comes again as a whole."""
        known = bisect_right(offsets, self._routed_through)
        if known < len(offsets):
            self._queue.append(payloads[known:] if known else payloads, durable=False)
            self._routed_through = offsets[-1]
            self._wake_where_there_is_something()

    def _read(self, message: Read) -> Batch:
        """Read from where the group is, or behind another offset."""
        self._check_owner(message.caller)
        group, offset = message.caller.group, message.offset
        if offset is None:
            return self._read_group(group, message.max_messages, message.max_bytes)
        if not 0 <= offset <= self._queue.offsets.log_end:
            raise InvalidOffset(offset, 0, self._queue.offsets.log_end, "read from")
        view = View(group, offset, max(offset, self._queue.log.start - 1), self._clock())
        return self._queue.read(message.max_messages, message.max_bytes, view)

    def _read_one(self, offset: int, caller: Caller) -> bytes:
        self._check_owner(caller)
        offsets = self._queue.offsets_of(caller.group)
        if offsets.read < offset <= offsets.log_end:
            view = View(caller.group, offset - 1, offset - 1, self._clock())
            batch = self._queue.read(1, 1, view)
            if batch.end_offset == offset and batch.lines:
                return batch.lines[0]
        raise InvalidOffset(offset, offsets.read + 1, offsets.log_end, "refused")

    def _read_group(self, group: str, max_messages: int, max_bytes: int) -> Batch:
        read = self._queue.offsets_of(group).read
        view = View(group, read, max(read, self._seen.get(group, 0)), self._clock())
        batch = self._queue.read(max_messages, max_bytes, view)
        # Not of any name that somebody reads by: those have no end.
        if not batch.lines and (not group or group in self._queue.groups):
            self._seen[group] = batch.end_offset
        return batch

    def _read_or_wait(self, message: ReadOrWait) -> Reply[Batch]:
        self._check_owner(message.caller)
        reply: Reply[Batch] = Reply()
        self._waiting.append((message, reply))
        if self._nobody_waits:
            self._wake([message])
        else:
            self._wake_where_there_is_something()
        return reply

    def _wake_where_there_is_something(self) -> None:
        """Answer those that wait for something that is there; reading takes nothing away."""
        log_end = self._queue.offsets.log_end
        groups = {message.caller.group for message, _ in self._waiting}
        behind = {
            group
            for group in groups
            if max(self._queue.offsets_of(group).read, self._seen.get(group, 0)) < log_end
        }
        # What is not for a group, or is lost, it is not woken for: it passes over that later.
        there = set(filter(self._has_something, behind))
        self._wake([message for message, _ in self._waiting if message.caller.group in there])

    def _has_something(self, group: str) -> bool:
        try:
            return bool(self._read_group(group, 1, 1).lines)
        except Unavailable:
            return True  # An error, for those who wait.

    def _wake(self, messages: Collection[ReadOrWait]) -> None:
        """Answer these, with what there is."""
        if not messages:
            return
        woken = set(map(id, messages))  # Two that are equal are two all the same.
        waiting, self._waiting = self._waiting, []
        for message, reply in waiting:
            if id(message) in woken:
                group, *most = message.caller.group, message.max_messages, message.max_bytes
                answer(reply, partial(self._read_group, group, *most))
            else:
                self._waiting.append((message, reply))

    # -- committing

    def _commit(self, offset: int, caller: Caller) -> Offsets:
        """Write the commit down, then change memory, then answer."""
        self._check_owner(caller)
        self._check_group(caller.group)
        offsets = self._queue.offsets_of(caller.group)
        return self._keep(caller.group, offsets.committed(offset))

    def _seek(self, target: Target, caller: Caller) -> Offsets:
        self._check_owner(caller)
        self._check_group(caller.group)
        log, offsets = self._queue.log, self._queue.offsets_of(caller.group)
        match target:
            case Target(offset=int(offset)):
                pass
            case Target(timestamp_ms=int(timestamp_ms)):
                offset = min(log.first_since(timestamp_ms) - 1, offsets.log_end)
            case Target(to="end"):
                offset = offsets.log_end
            case _:
                offset = log.start - 1
        if offset != offsets.read:
            self._keep(caller.group, offsets.sought(offset, log.start))
            self._seen.pop(caller.group, None)
            self._wake_where_there_is_something()
        return self._queue.offsets_of(caller.group)

    def _open_group(self, group: str, start: Literal["beginning", "end"]) -> Offsets:
        if group in self._queue.groups:
            return self._queue.offsets_of(group)
        log_end = self._queue.offsets.log_end
        read = log_end if start == "end" else self._queue.log.start - 1
        offsets = Offsets(log_end, read)
        ask(self._journal, Record(group_key(self._key, group), offsets), self._ask_timeout_s)
        self._queue.put(group, offsets)
        return offsets

    def _drop_group(self, group: str) -> None:
        self._queue.drop(group)
        self._seen.pop(group, None)
        self._owners.pop(group, None)

    def _keep(self, group: str, offsets: Offsets) -> Offsets:
        """Write a group's offsets down, then change memory."""
        if offsets != self._queue.offsets_of(group):
            ask(self._journal, Record(group_key(self._key, group), offsets), self._ask_timeout_s)
            self._queue.put(group, offsets)
        return offsets

    def _check_group(self, group: str) -> None:
        if group and group not in self._queue.groups:
            raise GroupNotFound(self._topic_id, group)

    # -- who has it

    def _set_owner(self, group: str, consumer_id: str | None, generation: int) -> None:
        """Have another owner: from here on nothing of the former one is done."""
        self._owners[group] = consumer_id, generation
        self._queue.is_unnamed_used = "" in self._owners
        waiting, self._waiting = self._waiting, []
        for message, reply in waiting:
            try:
                self._check_owner(message.caller)
            except NotAssigned:
                reply.set_exception()
            else:
                self._waiting.append((message, reply))

    def _check_owner(self, caller: Caller) -> None:
        """Raise `NotAssigned` where the caller names a consumer that has not the partition."""
        if caller.consumer_id is None:
            return
        consumer_id, generation = self._owners.get(caller.group, (None, 0))
        if consumer_id is None and caller.generation == 0:
            return  # Nobody has it, as the registry has said.
        if consumer_id != caller.consumer_id or caller.generation not in (None, generation):
            raise NotAssigned(self._topic_id, self._partition_id, caller.consumer_id)

    # -- keeping

    def _sync(self) -> dict[str, Offsets]:
        queue = self._queue
        queue.sync()
        groups = {group_key(self._key, group): queue.offsets_of(group) for group in queue.groups}
        return {self._key: queue.offsets} | groups

    def _retain(self, end: int) -> int:
        """Delete what may go; what goes uncommitted counts as read, and that is written first."""
        queue = self._queue
        through = queue.expired_through(self._retention, self._clock(), end)
        for group in ("", *queue.groups):
            offsets = queue.offsets_of(group)
            if offsets.read < through:
                self._keep(group, offsets.committed(through))
        return queue.release(through)

    def _describe(self) -> QueueDescription:
        queue = self._queue
        groups = {group: queue.offsets_of(group) for group in queue.groups}
        offsets, size = queue.offsets, queue.buffer_size
        return QueueDescription(offsets, size, queue.problem(), groups, queue.expired)

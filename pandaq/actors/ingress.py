"""The ingress buffer: takes what producers send, and has it on disk before it answers.

Group commit: while one flush is on its way to the disk, the messages of other producers gather;
the next flush writes them all at once and syncs once.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from pandaq.actors.asking import refuse
from pandaq.actors.messages import (
    Append,
    AwaitArrival,
    Commit,
    DescribeQueue,
    DescribeSeen,
    Flush,
    QueueDescription,
    Read,
    Refuse,
    Release,
    SeenDescription,
    Sync,
)
from pandaq.actors.reply import Reply
from pandaq.actors.thread import ThreadActor
from pandaq.config import Config
from pandaq.dedupe import SeenIds
from pandaq.errors import BufferFull, Unavailable
from pandaq.offsets import Offsets
from pandaq.storage.log import Clock
from pandaq.storage.queue import Queue

Message = (
    Append
    | Flush
    | Read
    | Commit
    | Sync
    | Release
    | AwaitArrival
    | Refuse
    | DescribeQueue
    | DescribeSeen
)


class Ingress(ThreadActor):
    """Owns the ingress queue, and the messageIds that topics have `seen`."""

    def __init__(
        self, queue: Queue, seen: Mapping[str, SeenIds], clock: Clock, config: Config
    ) -> None:
        super().__init__()
        self._queue = queue
        self._seen = seen
        self._clock = clock
        self._durable = config.durability == "fsync"
        self._max_backlog_bytes = config.max_backlog_bytes
        self._backlog_bytes = 0
        self._backlog: deque[tuple[int, int]] = deque()
        self._gathered: list[_Gathered] = []
        self._awaiting: list[Reply[None]] = []
        self._refusal: Unavailable | None = None

    def on_receive(self, message: Message) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case Append():
                return self._gather(message)
            case Flush():
                return self._flush()
            case Read(max_messages, max_bytes):
                return self._queue.read(max_messages, max_bytes)
            case Commit(offset):
                return self._commit(offset)
            case Sync():
                return self._sync()
            case Release(offset):
                return self._release(offset)
            case AwaitArrival():
                return self._await_arrival()
            case Refuse(reason):
                self._refusal = reason
            case DescribeQueue():
                return self._describe()
            case DescribeSeen():
                return {
                    topic_id: SeenDescription(seen.window_ms, len(seen), seen.forgotten)
                    for topic_id, seen in self._seen.items()
                }
            case _:
                assert_never(message)
        return None

    def on_stop(self) -> None:
        """Tell those whose flush would come too late that nothing of theirs was kept."""
        refuse(each.reply for each in self._gathered)

    def _gather(self, message: Append) -> Reply[Sequence[int]]:
        """Put messages with the others that wait for the next flush."""
        if self._refusal:
            # Without its traceback, to which every raise would add.
            raise self._refusal.with_traceback(None)
        gathered = _Gathered(message, message.bodies)
        if message.ids:
            gathered = self._without_duplicates(message)
        size = gathered.size = sum(map(len, gathered.bodies))
        # What is alone always finds room, or a large request never would.
        is_much = self._backlog_bytes and self._backlog_bytes + size > self._max_backlog_bytes
        if is_much and not message.is_own:
            raise BufferFull(self._backlog_bytes, self._max_backlog_bytes)
        self._backlog_bytes += size
        if gathered.new_ids:
            self._seen[message.topic_id].add(gathered.new_ids, self._clock())
        if not self._gathered:
            self.actor_ref.tell(Flush())
        # Also one that is all duplicates: those that it repeats may be among the gathered.
        self._gathered.append(gathered)
        return gathered.reply

    def _without_duplicates(self, message: Append) -> "_Gathered":
        seen, now_ms = self._seen[message.topic_id], self._clock()
        new: dict[str, bytes] = {}
        duplicates = []
        for place, (message_id, body) in enumerate(zip(message.ids, message.bodies, strict=True)):
            if message_id in new or seen.has(message_id, now_ms):
                duplicates.append(place)
            else:
                new[message_id] = body
        return _Gathered(message, list(new.values()), list(new), duplicates)

    def _flush(self) -> None:
        """Write all that has gathered, sync once, then answer all of it."""
        gathered, self._gathered = self._gathered, []
        size = sum(each.size for each in gathered)
        bodies = [body for each in gathered for body in each.bodies]
        try:
            if bodies:
                self._queue.append(bodies, durable=self._durable)
        except Exception:  # noqa: BLE001 (it is for those who wait)
            self._backlog_bytes -= size
            for each in gathered:
                if each.new_ids:
                    self._seen[each.message.topic_id].discard(each.new_ids)
                each.reply.set_exception()
            return
        self._backlog.append((self._queue.offsets.log_end, size))
        for each in gathered:
            each.reply.set(each.duplicates)
        awaiting, self._awaiting = self._awaiting, []
        for reply in awaiting:
            reply.set()

    def _commit(self, offset: int) -> Offsets:
        """Take away what is routed. In memory only: the checkpoint makes it durable."""
        self._queue.commit(offset)
        while self._backlog and self._backlog[0][0] <= offset:
            self._backlog_bytes -= self._backlog.popleft()[1]
        return self._queue.offsets

    def _release(self, offset: int) -> int:
        """Let go of what is routed, but for what tells which messageIds came lately."""
        window_ms = max((seen.window_ms for seen in self._seen.values()), default=None)
        aged_ms = None if window_ms is None else self._clock() - window_ms
        return self._queue.release(offset, aged_ms)

    def _sync(self) -> dict[str, Offsets]:
        self._queue.sync()
        return {"ingress": self._queue.offsets}

    def _await_arrival(self) -> Reply[None]:
        reply: Reply[None] = Reply()
        if self._queue.offsets.pending:
            reply.set()
        else:
            self._awaiting.append(reply)
        return reply

    def _describe(self) -> QueueDescription:
        queue = self._queue
        return QueueDescription(queue.offsets, queue.buffer_size, queue.problem())


@dataclass(slots=True)
class _Gathered:
    """A request that waits for the next flush: what of it is to be written, and who waits."""

    message: Append
    bodies: Sequence[bytes]
    new_ids: Sequence[str] = ()
    duplicates: Sequence[int] = ()
    size: int = 0
    reply: Reply[Sequence[int]] = field(default_factory=Reply)

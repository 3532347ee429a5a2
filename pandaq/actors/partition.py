"""A partition: keeps its messages in order, and hands them out until they are committed."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Any, assert_never

from pandaq.actors.asking import Ref, answer, ask, refuse
from pandaq.actors.messages import (
    AppendRouted,
    CheckCommit,
    Commit,
    DescribeQueue,
    EndWait,
    QueueDescription,
    Read,
    ReadOrWait,
    Record,
    Retain,
    Sync,
    WakeAll,
)
from pandaq.actors.reply import Reply
from pandaq.actors.thread import ThreadActor
from pandaq.batch import Batch
from pandaq.config import Retention
from pandaq.offsets import Offsets
from pandaq.storage.log import Clock
from pandaq.storage.queue import Queue

Message = (
    AppendRouted
    | Read
    | ReadOrWait
    | EndWait
    | WakeAll
    | CheckCommit
    | Commit
    | Sync
    | Retain
    | DescribeQueue
)


class Partition(ThreadActor):
    """Owns the queue of one partition; `key` names it in the journal and the checkpoint."""

    def __init__(
        self,
        key: str,
        queue: Queue,
        journal: Ref,
        retention: Retention,
        clock: Clock,
        ask_timeout_s: float,
    ) -> None:
        super().__init__()
        self._key = key
        self._queue = queue
        self._journal = journal
        self._retention = retention
        self._clock = clock
        self._ask_timeout_s = ask_timeout_s
        self._routed_through = 0
        self._waiting: list[tuple[ReadOrWait, Reply[Batch]]] = []
        self._nobody_waits = False
        self._lost_through = 0

    def on_receive(self, message: Message) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case AppendRouted(offsets, payloads):
                self._append(offsets, payloads)
            case Read(max_messages, max_bytes):
                return self._queue.read(max_messages, max_bytes)
            case ReadOrWait():
                return self._read_or_wait(message)
            case EndWait(waiting):
                self._wake(waiting)
            case WakeAll():
                self._nobody_waits = True
                self._wake()
            case CheckCommit(offset):
                self._queue.offsets.committed(offset)
            case Commit(offset):
                return self._commit(offset)
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

    def _append(self, offsets: Sequence[int], payloads: Sequence[bytes]) -> None:
        """Append what is not there yet: a cycle that failed half-way comes again as a whole."""
        known = bisect_right(offsets, self._routed_through)
        if known < len(offsets):
            self._queue.append(payloads[known:] if known else payloads, durable=False)
            self._routed_through = offsets[-1]
            self._wake()

    def _read_or_wait(self, message: ReadOrWait) -> Reply[Batch]:
        reply: Reply[Batch] = Reply()
        self._waiting.append((message, reply))
        # That all of the rest is lost is told to one who waits, and not again and again.
        if self._nobody_waits or self._queue.offsets.log_end > max(
            self._queue.offsets.read, self._lost_through
        ):
            self._wake()
        return reply

    def _wake(self, only: ReadOrWait | None = None) -> None:
        """Answer all that wait, or one; reading takes nothing away, so all have the same."""
        waiting, self._waiting = self._waiting, []
        for message, reply in waiting:
            if only is None or message is only:
                answer(reply, partial(self._read, message.max_messages, message.max_bytes))
            else:
                self._waiting.append((message, reply))

    def _read(self, max_messages: int, max_bytes: int) -> Batch:
        batch = self._queue.read(max_messages, max_bytes)
        if not batch.lines:
            self._lost_through = batch.end_offset
        return batch

    def _commit(self, offset: int) -> Offsets:
        """Write the commit down, then change memory, then answer."""
        offsets = self._queue.offsets.committed(offset)
        if offsets != self._queue.offsets:
            ask(self._journal, Record(self._key, offsets), self._ask_timeout_s)
            self._queue.commit(offset)
        return offsets

    def _sync(self) -> dict[str, Offsets]:
        self._queue.sync()
        return {self._key: self._queue.offsets}

    def _retain(self, end: int) -> int:
        """Delete what may go; what goes uncommitted counts as read, and that is written first."""
        through = self._queue.expired_through(self._retention, self._clock(), end)
        if through > self._queue.offsets.read:
            self._commit(through)
        return self._queue.release(through)

    def _describe(self) -> QueueDescription:
        queue = self._queue
        return QueueDescription(queue.offsets, queue.buffer_size, queue.problem())

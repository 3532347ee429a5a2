"""The ingress buffer: takes what producers send, and has it on disk before it answers.

Group commit: while one flush is on its way to the disk, the messages of other producers gather;
the next flush writes them all at once and syncs once.
"""

from collections import deque
from typing import Any, assert_never

from pandaq.actors.asking import refuse
from pandaq.actors.messages import (
    Append,
    AwaitArrival,
    Commit,
    DescribeQueue,
    Flush,
    QueueDescription,
    Read,
    Refuse,
    Release,
    Sync,
)
from pandaq.actors.reply import Reply
from pandaq.actors.thread import ThreadActor
from pandaq.config import Config
from pandaq.errors import BufferFull, Unavailable
from pandaq.offsets import Offsets
from pandaq.storage.queue import Queue

Message = Append | Flush | Read | Commit | Sync | Release | AwaitArrival | Refuse | DescribeQueue


class Ingress(ThreadActor):
    """Owns the ingress queue."""

    def __init__(self, queue: Queue, config: Config) -> None:
        super().__init__()
        self._queue = queue
        self._durable = config.durability == "fsync"
        self._max_backlog_bytes = config.max_backlog_bytes
        self._backlog_bytes = 0
        self._backlog: deque[tuple[int, int]] = deque()
        self._gathered: list[tuple[Append, int, Reply[None]]] = []
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
                return self._queue.release(offset)
            case AwaitArrival():
                return self._await_arrival()
            case Refuse(reason):
                self._refusal = reason
            case DescribeQueue():
                return self._describe()
            case _:
                assert_never(message)
        return None

    def on_stop(self) -> None:
        """Tell those whose flush would come too late that nothing of theirs was kept."""
        refuse(reply for _, _, reply in self._gathered)

    def _gather(self, message: Append) -> Reply[None]:
        """Put messages with the others that wait for the next flush."""
        if self._refusal:
            # Without its traceback, to which every raise would add.
            raise self._refusal.with_traceback(None)
        size = sum(map(len, message.bodies))
        # What is alone always finds room, or a large request never would.
        if self._backlog_bytes and self._backlog_bytes + size > self._max_backlog_bytes:
            raise BufferFull(self._backlog_bytes, self._max_backlog_bytes)
        self._backlog_bytes += size
        if not self._gathered:
            self.actor_ref.tell(Flush())
        reply: Reply[None] = Reply()
        self._gathered.append((message, size, reply))
        return reply

    def _flush(self) -> None:
        """Write all that has gathered, sync once, then answer all of it."""
        gathered, self._gathered = self._gathered, []
        size = sum(size for _, size, _ in gathered)
        bodies = [body for message, _, _ in gathered for body in message.bodies]
        try:
            self._queue.append(bodies, durable=self._durable)
        except Exception:  # noqa: BLE001 (it is for those who wait)
            self._backlog_bytes -= size
            for _, _, reply in gathered:
                reply.set_exception()
            return
        self._backlog.append((self._queue.offsets.log_end, size))
        for _, _, reply in gathered:
            reply.set()
        awaiting, self._awaiting = self._awaiting, []
        for reply in awaiting:
            reply.set()

    def _commit(self, offset: int) -> Offsets:
        """Take away what is routed. In memory only: the checkpoint makes it durable."""
        self._queue.commit(offset)
        while self._backlog and self._backlog[0][0] <= offset:
            self._backlog_bytes -= self._backlog.popleft()[1]
        return self._queue.offsets

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

"""Messages that wait for the broker, and which of them form the next batch: rules, no threads.

A batch is due as soon as one of these holds:

    it is full        `batch_max` messages wait, or `batch_max_bytes` of them
    it has lingered   its first message came `linger_ms` ago
    it is wanted      a flush, a close or a sender that needs room waits for it

It takes what waits in order, as much as fits; a message larger than `batch_max_bytes` goes alone.
A batch that was taken keeps its room in the outbox until it was answered.
"""

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

from pandaq_sdk.receipt import Produced


@dataclass(frozen=True)
class OutboxLimits:
    """When a batch goes out, and how much may wait or be on its way; `ValueError` for nonsense.

    `batch_max` and `buffer_max` count messages; `batch_max_bytes` and `buffer_max_bytes` are of
    their JSON, with a comma each. A batch's body has about 50 bytes more: the default stays below
    the 1 MiB that many a proxy takes, and far below the 16 MiB of a broker.
    """

    linger_ms: float = 2.0
    batch_max: int = 500
    batch_max_bytes: int = 1_000_000
    buffer_max: int = 20_000
    buffer_max_bytes: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        if not self.linger_ms >= 0:
            raise ValueError(f"linger_ms is {self.linger_ms}; it must be 0 (send at once) or more")
        for name in ("batch_max", "batch_max_bytes", "buffer_max", "buffer_max_bytes"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")


class Outgoing(NamedTuple):
    """One message as it will be sent: its JSON, its messageId, and whom to tell the outcome."""

    encoded: bytes
    message_id: object
    future: "Future[Produced]"
    came_s: float


class Outbox:
    """Messages in the order they came; one batch of them at a time is on its way.

        outbox.put(Outgoing(b'{"messageId":…}', "msg-001", future, came_s=clock()))
        if outbox.due_in_s(clock()) == 0:
            batch = outbox.take()
            …  # send it
            outbox.release()

    For one thread at a time.
    """

    def __init__(self, limits: OutboxLimits) -> None:
        self._limits = limits
        self._waiting: deque[Outgoing] = deque()
        self._waiting_bytes = 0
        self._wanted = 0  # how many of those that wait should not linger
        self._taken = 0
        self._taken_bytes = 0

    @property
    def count(self) -> int:
        """How many messages wait or are on their way."""
        return len(self._waiting) + self._taken

    @property
    def size_bytes(self) -> int:
        """How many bytes these have."""
        return self._waiting_bytes + self._taken_bytes

    def has_room(self, size_bytes: int, *, answering: bool = False) -> bool:
        """Tell whether one more message fits; into an empty outbox each does.

        With `answering` the batch on its way counts as gone: it has been answered, and what its
        futures' callbacks send may take its place.
        """
        count, total_bytes = len(self._waiting), self._waiting_bytes + size_bytes + 1
        if not answering:
            count, total_bytes = count + self._taken, total_bytes + self._taken_bytes
        limits = self._limits
        return count == 0 or (count < limits.buffer_max and total_bytes <= limits.buffer_max_bytes)

    def put(self, message: Outgoing) -> bool:
        """Add a message; return whether that changes when the next batch is due."""
        before_bytes = self._waiting_bytes
        self._waiting.append(message)
        self._waiting_bytes += len(message.encoded) + 1
        count = len(self._waiting)
        limit_bytes = self._limits.batch_max_bytes
        return (
            count in (1, self._limits.batch_max)
            or before_bytes < limit_bytes <= self._waiting_bytes
        )

    def want(self) -> None:
        """Let nothing that waits now linger."""
        self._wanted = len(self._waiting)

    def due_in_s(self, now_s: float) -> float | None:
        """Return in how many seconds the next batch is due: 0 for now, None for nothing waits."""
        if not self._waiting:
            return None
        limits = self._limits
        if (
            self._wanted
            or len(self._waiting) >= limits.batch_max
            or self._waiting_bytes >= limits.batch_max_bytes
        ):
            return 0.0
        return max(0.0, self._waiting[0].came_s + limits.linger_ms / 1000 - now_s)

    def take(self) -> list[Outgoing]:
        """Return the next batch, due or not; the one before must have been released."""
        batch: list[Outgoing] = []
        size_bytes = 0
        limits = self._limits
        while self._waiting and len(batch) < limits.batch_max:
            one_bytes = len(self._waiting[0].encoded) + 1
            if batch and size_bytes + one_bytes > limits.batch_max_bytes:
                break
            batch.append(self._waiting.popleft())
            size_bytes += one_bytes
        self._waiting_bytes -= size_bytes
        self._wanted = max(0, self._wanted - len(batch))
        self._taken, self._taken_bytes = len(batch), size_bytes
        return batch

    def release(self) -> int:
        """Give back the room of the batch taken; return how many messages it had."""
        count, self._taken, self._taken_bytes = self._taken, 0, 0
        return count

    def empty(self) -> list[Outgoing]:
        """Take out all that wait, and return them."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = self._wanted = 0
        return waiting

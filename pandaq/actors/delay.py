"""The delay: keeps messages that are not due yet, and says when they are."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, assert_never

from pandaq.actors.messages import (
    AppendDelayed,
    CheckRoom,
    DelayedDescription,
    DescribeDelayed,
    MarkSent,
    Release,
    Sync,
    TakeDue,
)
from pandaq.actors.thread import ThreadActor
from pandaq.errors import DelayFull
from pandaq.storage.delayed import KEY, Delayed
from pandaq.storage.log import Clock

Message = AppendDelayed | TakeDue | MarkSent | CheckRoom | Sync | Release | DescribeDelayed


class Delay(ThreadActor):
    """Owns the delay log."""

    def __init__(self, delayed: Delayed, clock: Clock, max_delayed: int) -> None:
        super().__init__()
        self._delayed = delayed
        self._clock = clock
        self._max_delayed = max_delayed
        self._appended: dict[int, bool] = {}
        self._routed_through = 0

    def on_receive(self, message: Message) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case AppendDelayed(offsets, bodies):
                return self._append(offsets, bodies)
            case TakeDue(max_messages, max_bytes):
                return self._delayed.due(self._clock(), max_messages, max_bytes)
            case MarkSent(offsets):
                self._delayed.sent(offsets)
                return self._delayed.look_at_ms()
            case CheckRoom(count):
                self._check_room(count)
            case Sync():
                self._delayed.log.sync()
                return {KEY: self._delayed.offsets}
            case Release(offset):
                return self._release(offset)
            case DescribeDelayed():
                return self._describe()
            case _:
                assert_never(message)
        return None

    def _append(self, offsets: Sequence[int], bodies: Sequence[bytes]) -> list[bool]:
        """Append what is not there yet: a cycle that failed half-way comes again as a whole."""
        known = bisect_right(offsets, self._routed_through)
        if known < len(offsets):
            counts = self._delayed.append(bodies[known:])
            # What may come again is kept: the batch that these are in.
            self._appended = {n: c for n, c in self._appended.items() if n >= offsets[0]}
            self._appended |= zip(offsets[known:], counts, strict=True)
            self._routed_through = offsets[-1]
        return [self._appended[offset] for offset in offsets]

    def _check_room(self, count: int) -> None:
        waiting = len(self._delayed)
        if waiting + count > self._max_delayed:
            raise DelayFull(waiting, self._max_delayed)

    def _release(self, offset: int) -> int:
        log = self._delayed.log
        with log.guard.checking():
            return log.release(offset)

    def _describe(self) -> DelayedDescription:
        delayed, log = self._delayed, self._delayed.log
        problem = log.guard.problem(log.try_to_write)
        return DelayedDescription(len(delayed), delayed.next_due_ms(), problem)

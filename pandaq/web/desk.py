"""The desk: where requests wait for their answers, without a thread of their own.

Whoever completes an answer (an actor, the time) puts the request's `resume` on the desk and wakes
the server's thread, which calls it.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Final

from pandaq.web.answer import Pending

SPARE: Final = 256
"""So many deadlines of answers that came in time may stay before they are cleared away."""


class Desk:
    """Pending requests, by when their time is up. `wake` makes the server's thread call `work`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._is_waking = False
        self._done: deque[Callable[[], None]] = deque()
        self._lock = Lock()
        self._deadlines: list[tuple[float, int, Pending]] = []
        self._count = 0
        self._clear_at = SPARE

    def park(self, pending: Pending, resume: Callable[[], None]) -> None:
        """Have `resume` called by `work` when the answer is there; from any thread."""
        if self._watch(pending):
            self._wake()  # to sleep no longer than until then
        pending.when_done(lambda: self._finish(resume))

    def left_s(self, most_s: float) -> float:
        """Return how long there is nothing to do, at most `most_s`."""
        with self._lock:
            while self._deadlines and self._deadlines[0][2].is_done:
                heapq.heappop(self._deadlines)
            if not self._deadlines:
                return most_s
            return min(max(self._deadlines[0][0] - time.monotonic(), 0), most_s)

    def work(self) -> None:
        """Expire what is due, then resume the requests whose answers are there."""
        for pending in self._due():
            pending.expire()
            if not pending.is_done:
                self._watch(pending)
        while True:
            # Before looking: who comes in between wakes once more, and is not overlooked.
            self._is_waking = False
            if not self._done:
                return
            while self._done:
                self._done.popleft()()

    def _finish(self, resume: Callable[[], None]) -> None:
        self._done.append(resume)
        if not self._is_waking:
            self._is_waking = True
            self._wake()

    def _watch(self, pending: Pending) -> bool:
        """Note a deadline; tell whether it is the next one."""
        with self._lock:
            self._count += 1
            heapq.heappush(self._deadlines, (pending.due_at, self._count, pending))
            if len(self._deadlines) > self._clear_at:
                self._deadlines = [each for each in self._deadlines if not each[2].is_done]
                heapq.heapify(self._deadlines)
                self._clear_at = SPARE + 2 * len(self._deadlines)
            return bool(self._deadlines) and self._deadlines[0][2] is pending

    def _due(self) -> list[Pending]:
        now, due = time.monotonic(), []
        with self._lock:
            while self._deadlines and self._deadlines[0][0] <= now:
                due.append(heapq.heappop(self._deadlines)[2])
        return due

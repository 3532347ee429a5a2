"""An answer, and one that is still to come.

A request whose answer has to wait, for the disk or for messages, gives its thread back. What stands
for it until then is a `Pending`. It ends by one of three:

    the broker's reply    its value, or its error
    the time              of a wait (`wait_s`): the broker is asked for what there is;
                          of the broker (`timeout_s`): the outcome is unknown
    the client            who has gone: the wait ends, and nobody hears the answer
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from pandaq.actors.asking import get
from pandaq.actors.reply import Reply
from pandaq.errors import OutcomeUnknown


class Answer(NamedTuple):
    """A whole HTTP response: the status line, the headers, the body."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


class Later(NamedTuple):
    """What a route returns whose data is still to come.

    `encode` makes the data of the reply's value; `is_quick` says of it whether that takes no time.
    After `wait_s`, or when the client has gone, `end_wait` has the reply completed with what there
    is.
    """

    reply: Reply[Any]
    encode: Callable[[Any], Any]
    is_quick: Callable[[Any], bool] = lambda _: True
    wait_s: float = 0
    end_wait: Callable[[], None] = lambda: None


class Pending:
    """A request that waits for its answer; `due_at` (monotonic) is when to call `expire`.

    `finish` makes an answer of a call that returns the data or raises.
    """

    def __init__(
        self, later: Later, timeout_s: float, finish: Callable[[Callable[[], Any]], Answer]
    ) -> None:
        self.due_at = time.monotonic() + (later.wait_s or timeout_s)
        self._later = later
        self._timeout_s = timeout_s
        self._finish = finish
        self._wait_has_ended = not later.wait_s
        self._is_late = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_done(self) -> bool:
        """Whether the answer is there."""
        return self._later.reply.is_done or self._is_late

    @property
    def is_quick(self) -> bool:
        """Whether the answer, which is there, is made in no time."""
        try:
            return self._later.is_quick(self._later.reply.get(timeout=0))
        except Exception:  # noqa: BLE001 (the answer tells of it)
            return True

    def when_done(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, at once or by whoever completes it: it must be quick."""
        self._callbacks.append(callback)
        self._later.reply.when_done(self._call_back)

    def expire(self) -> None:
        """Say that the time is up: that of the wait, later that of the broker."""
        if not self._wait_has_ended:
            self.due_at = time.monotonic() + self._timeout_s
            self.end_wait()
        elif not self.is_done:
            self._is_late = True
            self._call_back()

    def end_wait(self) -> None:
        """Wait no longer: let the answer be what there is, also where nobody will hear it."""
        self._wait_has_ended = True
        self._later.end_wait()

    def answer(self) -> Answer:
        """Return the answer, once it is there."""
        return self._finish(self._data)

    def wait(self) -> Answer:
        """Return the answer, waiting for it in the caller's thread."""
        while not self.is_done:
            with suppress(Exception):  # The answer tells of it.
                get(self._later.reply, self.due_at - time.monotonic())
            if not self.is_done:
                self.expire()
        return self.answer()

    def _data(self) -> Any:
        later = self._later
        if not later.reply.is_done:
            raise OutcomeUnknown(self._timeout_s)
        return later.encode(get(later.reply, 0))

    def _call_back(self) -> None:
        # The reply and the time may both come to this: a pop gives each callback to one of them.
        with suppress(IndexError):
            while True:
                self._callbacks.pop()()


class PendingBody:
    """The body of a pending answer for a WSGI server that has to wait in the thread."""

    def __init__(self, pending: Pending, start_response: Callable[..., Any]) -> None:
        self._pending = pending
        self._start_response = start_response

    def __iter__(self) -> Iterator[bytes]:
        answer = self._pending.wait()
        self._start_response(answer.status, answer.headers)
        yield answer.body

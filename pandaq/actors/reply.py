"""A reply: the answer to an ask, which may come later than the actor's next message.

It stands in for pykka's own future, whose condition costs more than all the rest of an ask, and
calls back, so that nobody has to sleep in a thread of his own until it is there.
"""

import sys
from collections.abc import Callable
from queue import Full
from threading import Lock
from typing import Any, TypeVar

import pykka

R = TypeVar("R")


class Reply(pykka.Future[R]):
    """A future that is completed once, by `set` or `set_exception`.

    Completed with another reply, it waits for that one: so an actor whose answer must wait returns
    a reply that it completes later, and its asker need not know.
    """

    def __init__(self) -> None:
        super().__init__()
        self._value: Any = None
        self._error: BaseException | None = None
        self._is_done = False
        self._callbacks: list[Callable[[], None]] = []
        # Held until the reply is done: whoever waits stands in line for it.
        self._latch = Lock()
        self._latch.acquire()

    @property
    def is_done(self) -> bool:
        """Whether `get` returns or raises at once."""
        return self._is_done

    def get(self, *, timeout: float | None = None) -> R:
        """Return the value, or raise the error, after at most `timeout` seconds.

        Raises `pykka.Timeout`.
        """
        if not self._is_done:
            if self._get_hook is not None:  # pykka's own answer to a stop
                return super().get(timeout=timeout)
            if not self._latch.acquire(timeout=-1 if timeout is None else max(timeout, 0)):
                raise pykka.Timeout(f"{timeout} seconds")
            self._latch.release()
        if self._error is not None:
            raise self._error
        value: R = self._value
        return value

    def set(self, value: Any = None) -> None:
        """Complete it with a value, or with what another reply will be completed with.

        Raises `queue.Full` where it is complete.
        """
        if isinstance(value, Reply):
            value.when_done(lambda: self._complete(value._value, value._error))  # noqa: SLF001
        else:
            self._complete(value, None)

    def set_exception(self, exc_info: Any = None) -> None:
        """Complete it with an error: `exc_info`, or the one that is being handled."""
        kind, error, trace = exc_info or sys.exc_info()
        if error is None:
            error = kind() if kind else RuntimeError("no error is being handled")
        self._complete(None, error.with_traceback(trace))

    def when_done(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, at once or by whoever completes it: it must be quick."""
        self._callbacks.append(callback)
        if self._is_done:
            self._call_back()

    def _complete(self, value: Any, error: BaseException | None) -> None:
        if self._is_done:
            raise Full
        self._value, self._error = value, error
        self._is_done = True
        self._latch.release()
        self._call_back()

    def _call_back(self) -> None:
        # Taken off one by one, since whoever asks to be called may come in between.
        while self._callbacks:
            try:
                callback = self._callbacks.pop()
            except IndexError:
                return
            callback()

"""The thread behind `Producer.send`: it waits for batches, delivers them, and ends."""

import atexit
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

from pandaq_sdk.delivery import Line, claimed, deliver, fail
from pandaq_sdk.errors import ClientClosed, FlushTimedOut, SendBufferFull, SenderStopped
from pandaq_sdk.outbox import Outbox, OutboxLimits, Outgoing
from pandaq_sdk.receipt import Produced

_AT_EXIT_S = 5.0
"""How long the end of a program that forgot to close may wait for what is not sent yet."""


class Sender:
    """Takes messages from any thread and sends them in batches from one of its own.

        sender = Sender(line, OutboxLimits(), send_timeout_s=30)
        future = sender.send(b'{"messageId":"msg-001","content":1}', "msg-001")
        sender.close()

    Only the thread uses `line`, and closes it in the end. It starts with the first message. It is
    a daemon, so that a program may end without `close`; what is left then has `_AT_EXIT_S`.

    One lock guards everything here. The thread waits for `_work`; senders without room, and
    flushes, wait for `_progress`. No future is completed under the lock: its callbacks are other
    people's code, and may send.
    """

    def __init__(self, line: Line, limits: OutboxLimits, send_timeout_s: float) -> None:
        if not send_timeout_s >= 0:
            raise ValueError(f"send_timeout_s is {send_timeout_s}; it must be 0 or more")
        self._line = line
        self._send_timeout_s = send_timeout_s
        self._outbox = Outbox(limits)
        self._lock = threading.RLock()  # a signal handler or a __del__ may send in the midst
        self._work = threading.Condition(self._lock)
        self._progress = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._open = False  # the thread runs and takes messages
        self._closed = False
        self._stopped: SenderStopped | None = None
        self._on_its_way: Sequence[Outgoing] = ()
        self._sent = 0
        self._answered = 0

    def send(self, encoded: bytes, message_id: object) -> "Future[Produced]":
        """Take a message, once there is room; return the future of its receipt.

        Raises `SendBufferFull`, `ClientClosed` and `SenderStopped`; nothing was taken then.
        """
        future: Future[Produced] = Future()
        with self._lock:
            if not self._open:
                self._start()
            if not self._outbox.has_room(len(encoded)):
                self._wait_for_room(len(encoded))
            if self._outbox.put(Outgoing(encoded, message_id, future, time.monotonic())):
                self._work.notify()
            self._sent += 1
        return future

    def flush(self, timeout_s: float | None) -> None:
        """Wait until all that was sent so far is answered; raises `FlushTimedOut`.

        A callback cannot wait for the thread that runs it: there it is raised at once.
        """
        with self._lock:
            self._hurry()
            upto = self._sent
            within_s = 0.0 if self._is_own_thread() else timeout_s
            if not self._progress.wait_for(lambda: self._answered >= upto, within_s):
                raise FlushTimedOut(upto - self._answered, within_s or 0.0)

    def close(self) -> None:
        """Take nothing more, and return once the thread has delivered the rest and ended.

        The first error that is no single message's fault is given to all that wait behind it, so
        that a broker that is away is waited for once. From a callback, it does not wait.
        """
        self._shut(None)
        if not self._is_own_thread():
            atexit.unregister(self._at_exit)

    def _start(self) -> None:
        self._check_open()
        thread = threading.Thread(target=self._run, name="pandaq-sender", daemon=True)
        thread.start()
        self._thread = thread
        self._open = True
        atexit.register(self._at_exit)

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed
        if self._stopped is not None:
            raise SenderStopped(self._stopped.reason) from self._stopped.__cause__

    def _hurry(self) -> None:
        self._outbox.want()
        self._work.notify()

    def _wait_for_room(self, size_bytes: int) -> None:
        if self._is_own_thread():  # nobody else could make room
            if not self._outbox.has_room(size_bytes, answering=True):
                raise SendBufferFull(self._outbox.count, self._outbox.size_bytes, 0.0)
            return

        def ready() -> bool:
            if not self._open or self._outbox.has_room(size_bytes):
                return True
            self._hurry()
            return False

        if not self._progress.wait_for(ready, self._send_timeout_s):
            raise SendBufferFull(self._outbox.count, self._outbox.size_bytes, self._send_timeout_s)
        self._check_open()

    def _is_own_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def _shut(self, timeout_s: float | None) -> None:
        with self._lock:
            self._closed, self._open = True, False
            self._work.notify()
            self._progress.notify_all()
        if self._thread is not None and not self._is_own_thread():
            self._thread.join(timeout_s)

    def _at_exit(self) -> None:
        self._shut(_AT_EXIT_S)
        self._stop(SenderStopped("the program ended"))

    # -- what the thread does

    def _run(self) -> None:
        try:
            try:
                while self._next():
                    self._deliver()
            finally:
                self._line.close()
        except BaseException as error:  # noqa: BLE001 (told to every message)
            stopped = SenderStopped(f"{type(error).__name__}: {error}")
            stopped.__cause__ = error
            self._stop(stopped)

    def _next(self) -> bool:
        with self._lock:
            while True:
                wait_s = self._outbox.due_in_s(time.monotonic())
                if wait_s == 0 or (wait_s is not None and self._closed):
                    self._on_its_way = self._outbox.take()
                    return True
                if self._closed:
                    return False
                self._work.wait(wait_s)

    def _deliver(self) -> None:
        self._on_its_way = claimed(self._on_its_way)
        error = deliver(self._on_its_way, self._line)
        with self._lock:
            self._on_its_way = ()
            self._answered += self._outbox.release()
            abandoned = self._outbox.empty() if error and self._closed else []
            self._progress.notify_all()
        if error and abandoned:
            fail(claimed(abandoned), error)
            self._all_answered()

    def _stop(self, error: SenderStopped) -> None:
        with self._lock:
            self._open = False
            self._stopped = self._stopped or error
            on_its_way, self._on_its_way = self._on_its_way, ()
            waiting = self._outbox.empty()
            self._outbox.release()
            self._progress.notify_all()
        fail(on_its_way, error)
        fail(claimed(waiting), error)
        self._all_answered()

    def _all_answered(self) -> None:
        with self._lock:
            self._answered = self._sent
            self._progress.notify_all()

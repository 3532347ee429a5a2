"""A consumer's place in a group: kept by heartbeats, in a thread of its own.

A lease that ran out all the same (the broker was away, the machine slept) is taken anew. What is
assigned is told as soon as it is heard; what the thread cannot mend is told, too, and ends it.
"""

import logging
import threading
from collections.abc import Callable
from typing import Literal

from pandaq_sdk.errors import (
    BrokerError,
    ConnectionFailed,
    NotFound,
    PandaqSdkError,
    Unavailable,
    UnexpectedAnswer,
)
from pandaq_sdk.group_calls import Assignment, GroupCalls

logger = logging.getLogger("pandaq_sdk")

BEATS_PER_LEASE = 3
"""So often a lease is renewed before it would run out."""
SOON_S = 0.2
"""How long until a heartbeat that got no answer is tried again, at most."""


class Membership:
    """Joins a group and stays in it until `leave`.

    `assigned` is told every assignment, `failed` what ends the membership; both from the thread of
    the heartbeats, but for the first assignment.
    """

    def __init__(
        self,
        calls: GroupCalls,
        lease_ms: int,
        start: Literal["beginning", "end"],
        assigned: Callable[[Assignment], None],
        failed: Callable[[PandaqSdkError], None],
    ) -> None:
        self._calls = calls
        self._lease_ms = lease_ms
        self._start = start
        self._assigned = assigned
        self._failed = failed
        self._wake = threading.Event()
        self._left = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def has_joined(self) -> bool:
        """Whether `join` has been here."""
        return self._thread is not None

    def join(self) -> None:
        """Join the group, in the caller's thread, then keep the lease in another.

        Raises what the broker answers, and `ConnectionFailed` where it does not.
        """
        self._assigned(self._calls.register(self._lease_ms, self._start))
        self._thread = threading.Thread(target=self._beat, name="pandaq-heartbeat", daemon=True)
        self._thread.start()

    def refresh(self) -> None:
        """Ask for the assignment now: somebody has heard that it has changed."""
        self._wake.set()

    def leave(self) -> None:
        """Stop the heartbeats and leave the group, if the broker can be told; else the lease ends.

        Leaving again does nothing.
        """
        if self._left.is_set():
            return
        self._left.set()
        self._wake.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()
            try:
                self._calls.unregister()
            except PandaqSdkError as error:
                logger.info("could not leave the group, so the lease has to run out: %s", error)
        self._calls.close()

    def _beat(self) -> None:
        pause_s = self._lease_ms / 1000 / BEATS_PER_LEASE
        next_s = pause_s
        while not self._left.is_set():
            self._wake.wait(next_s)
            self._wake.clear()
            if self._left.is_set():
                return
            try:
                self._assigned(self._heard())
                next_s = pause_s
            except (ConnectionFailed, Unavailable, UnexpectedAnswer) as error:
                logger.warning("no heartbeat, trying again: %s", error)
                next_s = min(pause_s, SOON_S)
            except PandaqSdkError as error:
                self._failed(error)
                return

    def _heard(self) -> Assignment:
        """Return what is assigned now, after joining anew where that is needed."""
        try:
            return self._calls.heartbeat()
        except NotFound as error:
            if not _is_forgotten(error):
                raise
            logger.warning("the lease has run out, joining again: %s", error)
            return self._calls.register(self._lease_ms, self._start)


def _is_forgotten(error: BrokerError) -> bool:
    return error.error_code == "CONSUMER_NOT_FOUND"

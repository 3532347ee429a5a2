"""The fetching of one partition's messages, in a thread of its own: one batch ahead, no more."""

import logging
import threading
from collections.abc import Callable

from pandaq_sdk.batch import Batch
from pandaq_sdk.errors import (
    ConnectionFailed,
    NotAssigned,
    PandaqSdkError,
    Unavailable,
    UnexpectedAnswer,
)
from pandaq_sdk.group_calls import GroupCalls
from pandaq_sdk.retry import backoff_s

logger = logging.getLogger("pandaq_sdk")

LONGEST_PAUSE_S = 1.0
"""How long a broker that is away, or has nothing to say, is left alone at most."""


class Fetcher:
    """Waits for a batch of a partition, hands it over, and waits to `go_on`.

    It is of one generation of the partition; once `stop` was called, or the broker has said that
    the partition is another's, `is_current` is false, and what it fetched is to be dropped.
    """

    def __init__(
        self,
        partition_id: int,
        generation: int,
        calls: GroupCalls,
        *,
        max_messages: int,
        wait_ms: int,
        fetched: Callable[["Fetcher", Batch], None],
        revoked: Callable[[], None],
        failed: Callable[[PandaqSdkError], None],
    ) -> None:
        self.partition_id = partition_id
        self.generation = generation
        self.is_current = True
        self._calls = calls
        self._max_messages = max_messages
        self._wait_ms = wait_ms
        self._fetched = fetched
        self._revoked = revoked
        self._failed = failed
        self._wake = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"pandaq-partition-{partition_id}", daemon=True
        )

    def start(self) -> None:
        """Begin to fetch."""
        self._thread.start()

    def go_on(self) -> None:
        """Fetch the next batch: the last one is committed."""
        self._wake.set()

    def stop(self) -> None:
        """Fetch nothing more; a wait that is under way ends by itself."""
        self.is_current = False
        self._wake.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        try:
            while self.is_current:
                try:
                    batch = self._read()
                except (ConnectionFailed, Unavailable, UnexpectedAnswer) as error:
                    logger.warning("partition %d: trying again: %s", self.partition_id, error)
                    self._wake.wait(backoff_s(failures, LONGEST_PAUSE_S))
                    failures += 1
                    continue
                failures = 0
                if self.is_current and batch.end_offset > batch.start_offset:
                    self._wake.clear()
                    self._fetched(self, batch)
                    self._wake.wait()
                    self._wake.clear()
        except NotAssigned:
            self.is_current = False
            self._revoked()
        except PandaqSdkError as error:
            self._failed(error)
        finally:
            self._calls.close()

    def _read(self) -> Batch:
        wait_ms = self._wait_ms
        return self._calls.read(self.partition_id, self.generation, self._max_messages, wait_ms)

"""The whole broker: what an embedding program holds, and what the web asks."""

import logging
import time
from types import TracebackType
from typing import Self

from pandaq.actors.consuming import Consuming
from pandaq.actors.crew import Crew, Spawn, spawn_thread
from pandaq.actors.operating import Operating
from pandaq.actors.producing import Producing
from pandaq.config import Config
from pandaq.storage.disk import Disk, LocalDisk
from pandaq.storage.log import Clock
from pandaq.storage.recovery import open_store

logger = logging.getLogger(__name__)


def wall_clock_ms() -> int:
    """Return the time in milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


def monotonic_clock_ms() -> int:
    """Return the milliseconds of a clock that does not jump."""
    return time.monotonic_ns() // 1_000_000


class System(Producing, Consuming, Operating):
    """A broker: its actors, and the files below them.

    >>> from pandaq import Broker, Config, Message, TopicConfig
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     config = Config(topics=[TopicConfig("orders", 1)], data_dir=Path(folder))
    ...     with Broker(config) as broker:
    ...         _ = broker.append("orders", [Message.of("msg-001", {"amount": 99.99})])
    ...         batch = broker.read("orders", 0, wait_s=5)
    ...         broker.commit("orders", 0, "consumer-1", batch.end_offset)
    Offsets(log_end=1, read=1)

    The constructor does no I/O; `start` raises `StartError`. Every call may raise `TopicNotFound`,
    `PartitionNotFound`, `OutcomeUnknown` after `askTimeoutMs`, and `ShuttingDown`.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        disk: Disk | None = None,
        clock: Clock = wall_clock_ms,
        monotonic: Clock = monotonic_clock_ms,
        spawn: Spawn = spawn_thread,
    ) -> None:
        super().__init__(config or Config(), clock)
        self._disk = disk or LocalDisk()
        self._monotonic = monotonic
        self._spawn = spawn

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Open and recover the data directory, then start the actors, each after those it asks."""
        store = open_store(self.config, self._disk, self._clock)
        for finding in store.findings:
            logger.warning("%s", finding)
        logger.info(
            "%s: %d topics, %d messages routed from the ingress log",
            store.datadir.root,
            len(store.topics),
            store.routed,
        )
        crew = Crew(store, self.config, self._clock, self._monotonic, self._spawn)
        try:
            crew.start()
        except BaseException:
            crew.stop(time.monotonic())
            raise
        self._crew = crew

    def wake_all(self) -> None:
        """Answer every waiting consumer now, and all who would wait from now on."""
        if self._crew:
            self._crew.wake_all()

    def stop(self, timeout_s: float | None = None) -> None:
        """Accept nothing more, route what is there, write a checkpoint, stop in reverse order.

        Takes `timeout_s` (by default `stopTimeoutMs`); what is not routed by then is routed by the
        next start.
        """
        if timeout_s is None:
            timeout_s = self.config.stop_timeout_ms / 1000
        deadline = time.monotonic() + timeout_s
        crew, self._crew = self._crew, None
        if crew:
            crew.wake_all()
            crew.drain(deadline)
            crew.stop(deadline)

    def abandon(self) -> None:
        """Stop at once: nothing is routed and no checkpoint is written; the next start recovers."""
        crew, self._crew = self._crew, None
        if crew:
            crew.stop(time.monotonic())

"""The scheduler: decides when the broker loop runs.

At once when messages arrive, at the latest every `intervalMs`, and not twice within `cycleGapMs`,
so that a flood of single messages is routed in batches. It sleeps on its own behalf, nobody else's.
"""

import logging
import time
from typing import Any, assert_never

import pykka

from pandaq.actors.asking import Future, Ref, ask
from pandaq.actors.messages import AwaitArrival, Cycle, Outcome, Tick
from pandaq.config import Config
from pandaq.errors import OutcomeUnknown

logger = logging.getLogger(__name__)


class Scheduler(pykka.ThreadingActor):
    """Owns the broker loop's time. Begins with a first `Tick`."""

    use_daemon_thread = True

    def __init__(self, ingress: Ref, broker: Ref, config: Config) -> None:
        super().__init__()
        self._ingress = ingress
        self._broker = broker
        self._interval_s = config.interval_ms / 1000
        self._gap_s = config.cycle_gap_ms / 1000
        self._timeout_s = config.ask_timeout_ms / 1000
        self._arrival: Future[None] | None = None
        self._next_cycle_at = 0.0

    def on_receive(self, message: Tick) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case Tick():
                self._tick()
            case _:
                assert_never(message)

    def _tick(self) -> None:
        """Have one cycle done, then wait until the next one is due."""
        self._next_cycle_at = time.monotonic() + self._gap_s
        try:
            outcome = ask(self._broker, Cycle(), self._timeout_s)
            if outcome is Outcome.IDLE:
                self._await_arrival()
                time.sleep(max(self._next_cycle_at - time.monotonic(), 0))
            elif outcome is Outcome.BLOCKED:
                time.sleep(self._interval_s)
        except OutcomeUnknown as error:
            # The cycle goes on, and the next one queues behind it.
            logger.warning("the broker loop is slow: %s", error)
        self.actor_ref.tell(Tick())

    def _await_arrival(self) -> None:
        """Wait for a message to route, for `intervalMs` at most."""
        if self._arrival is None:
            self._arrival = ask(self._ingress, AwaitArrival(), self._timeout_s)
        try:
            self._arrival.get(timeout=self._interval_s)
        except pykka.Timeout:
            return
        self._arrival = None

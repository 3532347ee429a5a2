"""The scheduler: decides when the broker loop runs.

At once when messages arrive, at the latest every `intervalMs`, and not twice within `cycleGapMs`,
so that a flood of single messages is routed in batches. It sleeps on its own behalf, nobody else's.
"""

import logging
import time
from typing import Any, Final, assert_never

import pykka

from pandaq.actors.asking import Ref, ask, send
from pandaq.actors.messages import AwaitArrival, Cycle, Outcome, Tick
from pandaq.actors.reply import Reply
from pandaq.actors.thread import ThreadActor
from pandaq.config import Config
from pandaq.errors import OutcomeUnknown

logger = logging.getLogger(__name__)

REST: Final = 1
"""After a cycle that has routed everything, the next one waits so many times as long as that took:
with many partitions a cycle costs much, however few messages it has for each."""
MAX_REST_S: Final = 0.1
"""But no longer than this."""
MAX_SLEEP_S: Final = 0.5
"""However long the intervals are, a stop waits no longer than this."""


class Scheduler(ThreadActor):
    """Owns the broker loop's time. Begins with a first `Tick`."""

    def __init__(self, ingress: Ref, broker: Ref, config: Config) -> None:
        super().__init__()
        self._ingress = ingress
        self._broker = broker
        self._interval_s = config.interval_ms / 1000
        self._gap_s = config.cycle_gap_ms / 1000
        self._timeout_s = config.ask_timeout_ms / 1000
        self._arrival: Reply[None] | None = None
        self._next_cycle_at = time.monotonic()

    def on_receive(self, message: Tick) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case Tick():
                self._tick()
            case _:
                assert_never(message)

    def _tick(self) -> None:
        """Sleep for a part of the time until the next cycle is due, or have it done."""
        left_s = self._next_cycle_at - time.monotonic()
        if left_s > 0:
            time.sleep(min(left_s, MAX_SLEEP_S))
        else:
            self._cycle()
        self.actor_ref.tell(Tick())

    def _cycle(self) -> None:
        """Have one cycle done, and decide when the next one is due."""
        begun_at = time.monotonic()
        try:
            outcome, routing_s = ask(self._broker, Cycle(), self._timeout_s)
            if outcome is Outcome.IDLE:
                rested_at = time.monotonic() + min(routing_s * REST, MAX_REST_S)
                self._await_arrival()
                self._next_cycle_at = max(begun_at + self._gap_s, rested_at)
            elif outcome is Outcome.BLOCKED:
                self._next_cycle_at = time.monotonic() + self._interval_s
        except OutcomeUnknown as error:
            # The cycle goes on, and the next one queues behind it.
            logger.warning("the broker loop is slow: %s", error)

    def _await_arrival(self) -> None:
        """Wait for a message to route, for `intervalMs` at most."""
        if self._arrival is None:
            self._arrival = send(self._ingress, AwaitArrival())
        try:
            self._arrival.get(timeout=min(self._interval_s, MAX_SLEEP_S))
        except pykka.Timeout:
            return
        self._arrival = None

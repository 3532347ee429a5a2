"""The scheduler: when a cycle runs, by a clock that stands still unless somebody waits."""

import math
from collections.abc import Callable
from typing import Any, Literal

import pykka
import pytest

from pandaq.actors import scheduler as scheduler_module
from pandaq.actors.messages import AwaitArrival, Cycle, Cycled, Outcome, Tick
from pandaq.actors.reply import Reply
from pandaq.actors.scheduler import MAX_REST_S, MAX_SLEEP_S, REST, Scheduler
from pandaq.errors import OutcomeUnknown, ShuttingDown
from tests.actors.stage import FakeRef, FakeTime, small_config, told


class Arrival(Reply[None]):
    """A reply to which a message arrives at a time."""

    def __init__(self, time: FakeTime, at_s: float) -> None:
        super().__init__()
        self._time = time
        self._at_s = at_s

    def get(self, *, timeout: float | None = None) -> None:
        assert timeout is not None
        if self._at_s > self._time.now_s + timeout:
            self._time.now_s += timeout
            raise pykka.Timeout
        self._time.now_s = max(self._time.now_s, self._at_s)


class ArrivalRef(FakeRef):
    """A reference to an ingress that is not there."""

    def ask(self, message: Any, *, block: Literal[False]) -> Reply[Any]:
        self.asked.append(message)
        reply: Reply[Any] = self.answer(message)
        return reply


class Scene:
    """A scheduler between an ingress and a broker that are not there."""

    def __init__(self, time: FakeTime, **settings: Any) -> None:
        self.time = time
        self.cycles: list[float] = []
        self.routing_s = 0.0
        self.outcome: Callable[[], Outcome] = lambda: Outcome.IDLE
        self.next_arrival_s = math.inf
        self.ingress = ArrivalRef(lambda _message: Arrival(time, self.next_arrival_s))
        self.broker = FakeRef(self._cycle)
        config = small_config(**({"interval_ms": 100, "cycle_gap_ms": 3} | settings))
        self.scheduler = Scheduler(self.ingress, self.broker, config)

    def run(self, ticks: int) -> list[float]:
        """Let the scheduler tick; return when cycles began, in seconds since the first."""
        for _ in range(ticks):
            self.scheduler.on_receive(Tick())
            assert told(self.scheduler) == [Tick()]
        return [round(cycle - self.cycles[0], 6) for cycle in self.cycles]

    def _cycle(self, message: Any) -> Cycled:
        assert message == Cycle()
        self.cycles.append(self.time.now_s)
        self.time.now_s += self.routing_s
        return Cycled(self.outcome(), self.routing_s)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    time = FakeTime()
    monkeypatch.setattr(scheduler_module, "time", time)
    return time


def test_where_nothing_arrives_a_cycle_runs_every_interval(time: FakeTime) -> None:
    assert Scene(time).run(4) == [0, 0.1, 0.2, 0.3]


def test_an_arrival_is_awaited_once_however_long_it_takes(time: FakeTime) -> None:
    scene = Scene(time)
    scene.run(10)
    assert scene.ingress.asked == [AwaitArrival()]


def test_a_message_that_arrives_is_routed_at_once(time: FakeTime) -> None:
    scene = Scene(time)
    scene.next_arrival_s = time.now_s + 0.05
    assert scene.run(2) == [0, 0.05]
    assert time.sleeps == []


def test_after_an_arrival_the_next_one_is_awaited(time: FakeTime) -> None:
    scene = Scene(time)
    scene.next_arrival_s = time.now_s + 0.05
    scene.run(1)
    scene.next_arrival_s = math.inf
    assert scene.run(2) == [0, 0.05, 0.15]
    assert scene.ingress.asked == [AwaitArrival()] * 2


def test_a_flood_of_single_messages_is_routed_in_batches(time: FakeTime) -> None:
    scene = Scene(time)
    scene.next_arrival_s = 0
    assert scene.run(7) == [0, 0.003, 0.006, 0.009]


@pytest.mark.parametrize("routing_s", [0.01, 10 * MAX_REST_S])
def test_after_much_work_the_loop_rests_in_proportion(time: FakeTime, routing_s: float) -> None:
    scene = Scene(time)
    scene.next_arrival_s = 0
    scene.routing_s = routing_s
    period_s = routing_s + min(routing_s * REST, MAX_REST_S)
    assert scene.run(3) == [0, pytest.approx(period_s)]


def test_without_a_gap_a_flood_is_routed_as_it_comes(time: FakeTime) -> None:
    scene = Scene(time, cycle_gap_ms=0)
    scene.next_arrival_s = 0
    assert scene.run(4) == [0, 0, 0, 0]
    assert time.sleeps == []


def test_where_the_batch_was_full_the_next_cycle_comes_at_once(time: FakeTime) -> None:
    scene = Scene(time)
    scene.outcome = lambda: Outcome.MORE
    assert scene.run(5) == [0, 0, 0, 0, 0]
    assert scene.ingress.asked == []


def test_where_the_disk_refuses_it_is_tried_again_after_the_interval(time: FakeTime) -> None:
    scene = Scene(time)
    scene.outcome = lambda: Outcome.BLOCKED
    assert scene.run(5) == [0, 0.1, 0.2]
    assert scene.ingress.asked == []


@pytest.mark.parametrize("arrives_after_s", [0.1, math.inf])
@pytest.mark.parametrize("outcome", Outcome)
def test_however_long_the_intervals_are_no_tick_outlasts_the_patience_of_a_stop(
    time: FakeTime, outcome: Outcome, arrives_after_s: float
) -> None:
    scene = Scene(time, interval_ms=600_000, cycle_gap_ms=600_000)
    scene.next_arrival_s = time.now_s + arrives_after_s
    scene.outcome = lambda: outcome
    for _ in range(20):
        before = time.now_s
        scene.run(1)
        assert time.now_s - before <= MAX_SLEEP_S


def test_the_gap_is_kept_however_long_it_is(time: FakeTime) -> None:
    scene = Scene(time, cycle_gap_ms=2_000)
    scene.next_arrival_s = 0
    assert scene.run(11) == [0, 2, 4]


def test_a_cycle_that_takes_too_long_is_followed_by_the_next(
    time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(time)

    def fail() -> Outcome:
        raise OutcomeUnknown(10)

    scene.outcome = fail
    assert scene.run(2) == [0, 0]
    assert "the broker loop is slow" in caplog.text


@pytest.mark.parametrize("error", [ShuttingDown(), ZeroDivisionError()])
def test_a_broker_that_has_died_takes_the_scheduler_with_it(
    time: FakeTime, error: Exception
) -> None:
    scene = Scene(time)

    def fail() -> Outcome:
        raise error

    scene.outcome = fail
    with pytest.raises(type(error)):
        scene.scheduler.on_receive(Tick())

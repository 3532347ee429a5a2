"""The desk: nobody is forgotten, nobody is woken for nothing, and it does not fill up."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from pandaq.actors.reply import Reply
from pandaq.web import answer as answer_module
from pandaq.web import desk as desk_module
from pandaq.web.answer import Answer, Later, Pending
from pandaq.web.desk import SPARE, Desk
from tests.actors.stage import FakeTime

MOST_S = 1000.0


class Wakes:
    """Counts how often the server's thread was woken."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    time = FakeTime()
    for module in (desk_module, answer_module):
        monkeypatch.setattr(module, "time", time)
    return time


@pytest.fixture
def wakes() -> Wakes:
    return Wakes()


@pytest.fixture
def desk(wakes: Wakes) -> Desk:
    return Desk(wakes)


def finish(call: Callable[[], Any]) -> Answer:
    return Answer("200", [], str(call()).encode())


def pending(reply: Reply[int] | None = None, timeout_s: float = 10, wait_s: float = 0) -> Pending:
    return Pending(Later(reply or Reply(), str, wait_s=wait_s), timeout_s, finish)


def test_what_is_answered_is_resumed_by_the_servers_thread(
    time: FakeTime, desk: Desk, wakes: Wakes
) -> None:
    reply: Reply[int] = Reply()
    resumed: list[str] = []
    desk.park(pending(reply), lambda: resumed.append("a"))
    before = wakes.count
    reply.set(1)
    assert resumed == []
    assert wakes.count == before + 1
    desk.work()
    desk.work()
    assert resumed == ["a"]


def test_what_was_answered_before_it_came_is_resumed(time: FakeTime, desk: Desk) -> None:
    reply: Reply[int] = Reply()
    reply.set(1)
    resumed: list[str] = []
    desk.park(pending(reply), lambda: resumed.append("a"))
    desk.work()
    assert resumed == ["a"]


def test_many_answers_wake_once(time: FakeTime, desk: Desk, wakes: Wakes) -> None:
    replies = [Reply[int]() for _ in range(20)]
    for reply in replies:
        desk.park(pending(reply), lambda: None)
    before = wakes.count
    for reply in replies:
        reply.set(1)
    assert wakes.count == before + 1
    desk.work()
    desk.park(pending(replies[0]), lambda: None)
    assert wakes.count > before + 1


def test_after_one_that_comes_while_it_works_the_next_answer_wakes_again(
    time: FakeTime, desk: Desk, wakes: Wakes
) -> None:
    done, later = Reply[int](), Reply[int]()
    done.set(1)
    resumed: list[str] = []

    def go_on() -> None:
        desk.park(pending(done), lambda: resumed.append("at once"))
        desk.park(pending(later), lambda: resumed.append("later"))

    desk.park(pending(done), go_on)
    desk.work()
    assert resumed == ["at once"]
    before = wakes.count
    later.set(1)
    assert wakes.count == before + 1


def test_it_sleeps_until_the_next_time_is_up(time: FakeTime, desk: Desk, wakes: Wakes) -> None:
    assert desk.left_s(MOST_S) == MOST_S
    desk.park(pending(timeout_s=20), lambda: None)
    desk.park(pending(timeout_s=10), lambda: None)
    assert wakes.count == 2  # Each was the next one when it came.
    desk.park(pending(timeout_s=30), lambda: None)
    assert wakes.count == 2
    assert desk.left_s(MOST_S) == pytest.approx(10)
    assert desk.left_s(3) == 3
    time.now_s += 15
    assert desk.left_s(MOST_S) == 0


def test_those_whose_time_is_up_are_resumed_in_its_order(time: FakeTime, desk: Desk) -> None:
    resumed: list[int] = []
    for timeout_s in (30, 10, 20):
        desk.park(pending(timeout_s=timeout_s), partial(resumed.append, timeout_s))
    time.now_s += 25
    desk.work()
    assert resumed == [10, 20]
    assert desk.left_s(MOST_S) == pytest.approx(5)


def test_after_its_wait_a_request_has_the_brokers_time(time: FakeTime, desk: Desk) -> None:
    resumed: list[int] = []
    desk.park(pending(timeout_s=10, wait_s=30), lambda: resumed.append(1))
    time.now_s += 31
    desk.work()
    assert resumed == []
    assert desk.left_s(MOST_S) == pytest.approx(10)
    time.now_s += 11
    desk.work()
    assert resumed == [1]
    assert desk.left_s(MOST_S) == MOST_S


def test_the_times_of_what_was_answered_do_not_pile_up(time: FakeTime, desk: Desk) -> None:
    desk.park(pending(timeout_s=1), lambda: None)  # The next one all the while.
    for _ in range(10 * SPARE):
        reply: Reply[int] = Reply()
        desk.park(pending(reply), lambda: None)
        reply.set(1)
        desk.work()
        assert len(desk._deadlines) <= 2 * SPARE


def test_whoever_comes_while_it_works_is_not_overlooked() -> None:
    woken = threading.Semaphore(0)
    desk = Desk(woken.release)
    total, resumed = 3000, 0

    def resume() -> None:
        nonlocal resumed
        resumed += 1

    def park() -> None:
        for _ in range(total // 3):
            reply: Reply[int] = Reply()
            desk.park(pending(reply), resume)
            reply.set(1)

    threads = [threading.Thread(target=park) for _ in range(3)]
    for thread in threads:
        thread.start()
    while resumed < total:
        assert woken.acquire(timeout=10), f"{resumed} of {total}: a wake was lost"
        desk.work()
    for thread in threads:
        thread.join(10)

"""Answers that are still to come: by the reply, by the time, or by nobody."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pandaq.actors.reply import Reply
from pandaq.errors import OutcomeUnknown
from pandaq.web.answer import Answer, Later, Pending, PendingBody

TIMEOUT_S = 5.0


def finish(call: Callable[[], Any]) -> Answer:
    """Make an answer as the app does: every error is one, too."""
    try:
        return Answer("200", [], str(call()).encode())
    except OutcomeUnknown:
        return Answer("503", [], b"")
    except KeyError:
        return Answer("400", [], b"")


class Scene:
    """A pending answer, and what was asked of the broker."""

    def __init__(self, *, wait_s: float = 0, timeout_s: float = TIMEOUT_S) -> None:
        self.reply: Reply[int] = Reply()
        self.ends = 0
        later = Later(self.reply, lambda value: value * 2, wait_s=wait_s, end_wait=self._end)
        self.pending = Pending(later, timeout_s, finish)
        self.called = 0
        self.pending.when_done(self._call)

    def _end(self) -> None:
        self.ends += 1

    def _call(self) -> None:
        self.called += 1


def test_the_replys_value_is_encoded_and_answered() -> None:
    scene = Scene()
    assert not scene.pending.is_done
    scene.reply.set(4)
    assert (scene.pending.is_done, scene.called) == (True, 1)
    assert scene.pending.answer() == Answer("200", [], b"8")


def test_the_replys_error_is_the_answer() -> None:
    scene = Scene()
    scene.reply.set_exception((KeyError, KeyError("a"), None))
    assert scene.pending.answer().status == "400"


def test_without_a_wait_the_first_time_that_is_up_is_the_brokers() -> None:
    scene = Scene()
    scene.pending.expire()
    assert (scene.pending.is_done, scene.called, scene.ends) == (True, 1, 0)
    assert scene.pending.answer().status == "503"
    scene.reply.set(4)  # Too late: nobody is called again.
    assert scene.called == 1


def test_after_the_wait_the_broker_is_asked_for_what_there_is_and_has_its_own_time() -> None:
    scene = Scene(wait_s=60)
    due_at = scene.pending.due_at
    assert due_at > time.monotonic() + 30
    scene.pending.expire()
    assert (scene.ends, scene.pending.is_done, scene.called) == (1, False, 0)
    assert time.monotonic() < scene.pending.due_at < due_at
    scene.pending.expire()
    assert (scene.ends, scene.called) == (1, 1)
    assert scene.pending.answer().status == "503"


def test_an_answer_that_is_there_does_not_expire() -> None:
    scene = Scene()
    scene.reply.set(4)
    scene.pending.expire()
    assert scene.called == 1
    assert scene.pending.answer().status == "200"


def test_a_client_that_goes_ends_the_wait() -> None:
    scene = Scene(wait_s=60)
    scene.pending.end_wait()
    assert scene.ends == 1
    scene.pending.expire()  # From now on only the broker's time counts.
    assert scene.pending.is_done


def test_reply_and_time_at_once_call_back_once() -> None:
    for _ in range(200):
        scene = Scene()
        thread = threading.Thread(target=scene.reply.set, args=(1,))
        thread.start()
        scene.pending.expire()
        thread.join(TIMEOUT_S)
        assert scene.called == 1


class TestInTheCallersThread:
    def test_it_waits_for_the_reply(self) -> None:
        scene = Scene()
        timer = threading.Timer(0.05, scene.reply.set, (5,))
        timer.start()
        assert scene.pending.wait().body == b"10"
        timer.join()

    def test_it_waits_no_longer_than_wait_and_timeout(self) -> None:
        scene = Scene(wait_s=0.02, timeout_s=0.02)
        began = time.monotonic()
        assert scene.pending.wait().status == "503"
        assert 0.03 < time.monotonic() - began < TIMEOUT_S
        assert scene.ends == 1

    def test_an_error_of_the_reply_is_the_answer(self) -> None:
        scene = Scene()
        scene.reply.set_exception((KeyError, KeyError("a"), None))
        assert scene.pending.wait().status == "400"

    def test_it_is_a_body_for_any_wsgi_server(self) -> None:
        scene = Scene()
        scene.reply.set(6)
        started: list[Any] = []
        body = PendingBody(scene.pending, lambda *args: started.append(args))
        assert started == []
        assert list(body) == [b"12"]
        assert started == [("200", [])]


@pytest.mark.parametrize("done", [False, True])
def test_who_asks_late_to_be_called_is(*, done: bool) -> None:
    scene = Scene()
    if done:
        scene.reply.set(1)
    called: list[int] = []
    scene.pending.when_done(lambda: called.append(1))
    assert called == [1] * done
    if not done:
        scene.reply.set(1)
    assert called == [1]

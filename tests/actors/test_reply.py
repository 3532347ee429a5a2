"""A reply: completed once, heard by all who wait, and by all who want to be called."""

import threading
from queue import Full

import pykka
import pytest

from pandaq.actors.reply import Reply

MANY = 200


def test_its_value_is_there_for_all_who_get_it() -> None:
    reply: Reply[int] = Reply()
    before = reply.is_done
    reply.set(7)
    assert (before, reply.is_done) == (False, True)
    assert [reply.get(), reply.get(timeout=0)] == [7, 7]


def test_its_error_is_raised_by_every_get() -> None:
    reply: Reply[int] = Reply()
    try:
        raise KeyError("a")  # noqa: TRY301 (the one that is being handled)
    except KeyError:
        reply.set_exception()
    for _ in range(2):
        with pytest.raises(KeyError):
            reply.get(timeout=0)


def test_an_error_may_be_given_as_its_class_alone() -> None:
    reply: Reply[int] = Reply()
    reply.set_exception((ValueError, None, None))
    with pytest.raises(ValueError, match=r"^$"):
        reply.get(timeout=0)


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_who_waits_in_vain_is_told(timeout: float) -> None:
    with pytest.raises(pykka.Timeout):
        Reply[int]().get(timeout=timeout)


def test_it_is_completed_once() -> None:
    reply: Reply[int] = Reply()
    reply.set(1)
    with pytest.raises(Full):
        reply.set(2)
    with pytest.raises(Full):
        reply.set_exception((ValueError, ValueError(), None))
    assert reply.get(timeout=0) == 1


def test_all_threads_that_wait_are_woken() -> None:
    reply: Reply[int] = Reply()
    heard: list[int] = []
    threads = [
        threading.Thread(target=lambda: heard.append(reply.get(timeout=10))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    reply.set(5)
    for thread in threads:
        thread.join(10)
    assert heard == [5] * 20


class TestAnotherReply:
    def test_its_value_comes_later(self) -> None:
        outer: Reply[int] = Reply()
        inner: Reply[int] = Reply()
        outer.set(inner)
        assert not outer.is_done
        inner.set(3)
        assert outer.get(timeout=0) == 3

    def test_so_does_its_error(self) -> None:
        outer: Reply[int] = Reply()
        inner: Reply[int] = Reply()
        outer.set(inner)
        inner.set_exception((KeyError, KeyError("a"), None))
        with pytest.raises(KeyError):
            outer.get(timeout=0)

    def test_one_that_is_there_is_passed_on_at_once(self) -> None:
        outer: Reply[int] = Reply()
        inner: Reply[int] = Reply()
        inner.set(3)
        outer.set(inner)
        assert outer.get(timeout=0) == 3


class TestCallbacks:
    def test_they_are_called_when_it_is_there(self) -> None:
        reply: Reply[int] = Reply()
        called: list[str] = []
        reply.when_done(lambda: called.append("before"))
        assert called == []
        reply.set(1)
        reply.when_done(lambda: called.append("after"))
        assert called == ["before", "after"]

    def test_the_value_is_there_when_they_are_called(self) -> None:
        reply: Reply[int] = Reply()
        seen: list[int] = []
        reply.when_done(lambda: seen.append(reply.get(timeout=0)))
        reply.set(4)
        assert seen == [4]

    def test_each_is_called_once_whoever_comes_first(self) -> None:
        for _ in range(MANY):
            reply: Reply[int] = Reply()
            called: list[int] = []
            begin = threading.Barrier(3)

            def watch(number: int) -> None:
                begin.wait(10)  # noqa: B023 (the threads end within the round)
                reply.when_done(lambda: called.append(number))  # noqa: B023

            threads = [threading.Thread(target=watch, args=(number,)) for number in range(2)]
            for thread in threads:
                thread.start()
            begin.wait(10)
            reply.set(1)
            for thread in threads:
                thread.join(10)
            assert sorted(called) == [0, 1]


def test_it_takes_pykkas_hook() -> None:
    """Which pykka's own answer to a stop has."""
    reply: Reply[bool] = Reply()
    inner: Reply[int] = Reply()
    reply.set_get_hook(lambda timeout: inner.get(timeout=timeout) > 1)
    with pytest.raises(pykka.Timeout):
        reply.get(timeout=0)
    inner.set(2)
    assert reply.get(timeout=0) is True

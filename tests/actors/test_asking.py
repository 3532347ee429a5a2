"""How actors are asked: one deadline, every failure as an error of ours."""

import threading
import time
from typing import Any

import pykka
import pytest

from pandaq.actors.asking import answer, ask, ask_all, get, refuse, send, tell, then
from pandaq.actors.messages import (
    Append,
    AwaitArrival,
    DescribeQueue,
    DescribeTrouble,
    QueueDescription,
    Sync,
    WakeAll,
)
from pandaq.actors.reply import Reply
from pandaq.errors import BufferFull, OutcomeUnknown, ShuttingDown, StorageFull
from pandaq.offsets import Offsets
from tests.actors.stage import FakeRef, answering, failing

TIMEOUT_S = 5.0
SOON_S = 0.02


class SilentRef(FakeRef):
    """A reference to an actor that never answers."""

    def ask(self, message: Any, *, block: Any) -> Reply[Any]:
        self.asked.append(message)
        return Reply()


def dead_ref() -> FakeRef:
    ref = FakeRef()
    ref.alive = False
    return ref


def test_an_ask_returns_the_answer() -> None:
    description = QueueDescription(Offsets(3, 1), 2, None)
    assert ask(answering(description), DescribeQueue(), TIMEOUT_S) == description


def test_an_ask_raises_what_the_actor_raises() -> None:
    with pytest.raises(StorageFull):
        ask(failing(StorageFull("a")), Sync(), TIMEOUT_S)


def test_an_ask_that_is_not_answered_in_time_has_an_unknown_outcome() -> None:
    with pytest.raises(OutcomeUnknown) as raised:
        ask(SilentRef(), Sync(), SOON_S)
    assert raised.value.timeout_s == SOON_S


def test_an_actor_that_has_stopped_is_shutting_down_to_its_asker() -> None:
    for call in (
        lambda: ask(dead_ref(), Sync(), TIMEOUT_S),
        lambda: get(send(dead_ref(), AwaitArrival()), TIMEOUT_S),
        lambda: ask_all([(FakeRef(), Sync()), (dead_ref(), Sync())], TIMEOUT_S),
    ):
        with pytest.raises(ShuttingDown):
            call()


def test_a_real_actor_that_has_stopped_is_shutting_down_to_its_asker() -> None:
    ref = pykka.ThreadingActor.start()
    ref.stop()
    with pytest.raises(ShuttingDown):
        ask(ref, Sync(), TIMEOUT_S)
    tell(ref, WakeAll())


def test_an_answer_that_comes_later_is_waited_for() -> None:
    future: Reply[None] = Reply()
    future.set()
    ask(answering(future), Append([b"a"]), TIMEOUT_S)


def test_an_answer_that_comes_too_late_has_an_unknown_outcome() -> None:
    future: Reply[None] = Reply()
    with pytest.raises(OutcomeUnknown):
        ask(answering(future), Append([b"a"]), SOON_S)


def test_an_answer_that_comes_later_can_be_an_error() -> None:
    future: Reply[None] = Reply()
    answer(future, lambda: ask(failing(BufferFull(1, 1)), AwaitArrival(), TIMEOUT_S))
    with pytest.raises(BufferFull):
        ask(answering(future), Append([b"a"]), TIMEOUT_S)


def test_all_answers_come_in_the_order_of_the_asks() -> None:
    answers = [{name: Offsets(number)} for number, name in enumerate("abc")]
    refs = [answering(each) for each in answers]
    assert ask_all([(ref, Sync()) for ref in refs], TIMEOUT_S) == answers
    assert ask_all([], TIMEOUT_S) == []


def test_the_first_error_of_several_is_raised_when_all_have_been_asked() -> None:
    refs = [FakeRef(), failing(StorageFull("first")), failing(StorageFull("second")), FakeRef()]
    with pytest.raises(StorageFull, match="first"):
        ask_all([(ref, Sync()) for ref in refs], TIMEOUT_S)
    assert all(ref.asked == [Sync()] for ref in refs)


def test_several_asks_have_one_deadline_between_them() -> None:
    begun_at = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        ask_all([(SilentRef(), Sync()) for _ in range(50)], SOON_S)
    assert time.monotonic() - begun_at < 50 * SOON_S / 2


def test_what_is_told_to_an_actor_that_has_stopped_is_not_missed() -> None:
    tell(dead_ref(), WakeAll())
    ref = FakeRef()
    tell(ref, WakeAll())
    assert ref.told == [WakeAll()]


def test_refused_futures_raise_that_the_broker_is_shutting_down() -> None:
    futures: list[Reply[None]] = [Reply() for _ in range(2)]
    refuse(futures)
    for future in futures:
        with pytest.raises(ShuttingDown):
            future.get(timeout=0)


def test_a_message_is_a_value() -> None:
    assert DescribeTrouble() == DescribeTrouble()
    with pytest.raises(AttributeError):
        Append([b"a"]).bodies = []  # type: ignore[misc]


class TestThen:
    """One ask behind the other, with nobody who waits in between."""

    def test_what_follows_gets_the_value_and_gives_the_answer(self) -> None:
        first: Reply[int] = Reply()
        second: Reply[str] = Reply()
        asked: list[int] = []

        def following(value: int) -> Reply[str]:
            asked.append(value)
            return second

        whole = then(first, following)
        assert asked == []
        first.set(7)
        assert (asked, whole.is_done) == ([7], False)
        second.set("done")
        assert get(whole, 0) == "done"

    def test_after_an_error_nothing_follows(self) -> None:
        first: Reply[int] = Reply()
        whole: Reply[str] = then(first, lambda _: pytest.fail("asked"))
        first.set_exception((BufferFull, BufferFull(1, 1), None))
        with pytest.raises(BufferFull):
            get(whole, 0)

    def test_what_cannot_be_asked_is_the_answer(self) -> None:
        first: Reply[int] = Reply()

        def following(_: int) -> Reply[str]:
            raise ShuttingDown

        whole = then(first, following)
        first.set(1)
        with pytest.raises(ShuttingDown):
            get(whole, 0)


def test_who_asks_many_sleeps_until_the_last_has_answered() -> None:
    refs = [answering(Reply[int]()) for _ in range(20)]
    woken = threading.Event()
    answers: list[Any] = []

    def ask_them() -> None:
        answers.extend(ask_all([(ref, AwaitArrival()) for ref in refs], TIMEOUT_S))
        woken.set()

    thread = threading.Thread(target=ask_them)
    thread.start()
    replies = [ref.answer(None) for ref in refs]
    for reply in replies[:-1]:
        reply.set(1)
    assert not woken.wait(0.05)
    replies[-1].set(2)
    thread.join(TIMEOUT_S)
    assert answers == [1] * 19 + [2]

"""An actor in its thread: pykka's, with our inbox and our replies."""

import threading
from typing import Any

import pykka
import pytest

from pandaq.actors.reply import Reply
from pandaq.actors.thread import ThreadActor

DEADLINE_S = 10.0


class Echo(ThreadActor):
    """Answers with what it is asked, fails on errors, waits for events; keeps what it has heard."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Exception):
            raise message
        if message == "heard":
            return self.heard
        if isinstance(message, threading.Event):
            assert message.wait(DEADLINE_S)
        self.heard.append(message)
        return message


@pytest.fixture
def ref() -> Any:
    ref = Echo.start()
    yield ref
    ref.stop(timeout=DEADLINE_S)


def test_an_ask_is_answered_by_a_reply_of_ours(ref: pykka.ActorRef[Echo]) -> None:
    reply = ref.ask(1, block=False)
    assert isinstance(reply, Reply)
    assert reply.get(timeout=DEADLINE_S) == 1


def test_what_it_raises_is_raised_by_the_reply_and_it_goes_on(ref: pykka.ActorRef[Echo]) -> None:
    with pytest.raises(KeyError):
        ref.ask(KeyError("a"), timeout=DEADLINE_S)
    assert ref.ask(2, timeout=DEADLINE_S) == 2


def test_an_answer_that_is_a_reply_comes_when_that_does(ref: pykka.ActorRef[Echo]) -> None:
    later: Reply[int] = Reply()
    reply = ref.ask(later, block=False)
    assert ref.ask(1, timeout=DEADLINE_S) == 1  # It has gone on meanwhile.
    assert isinstance(reply, Reply)
    assert not reply.is_done
    later.set(9)
    assert reply.get(timeout=DEADLINE_S) == 9


def test_messages_come_in_order_from_many_threads(ref: pykka.ActorRef[Echo]) -> None:
    def tell(name: int) -> None:
        for number in range(200):
            ref.tell((name, number))

    threads = [threading.Thread(target=tell, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    heard: Any = ref.ask("heard", timeout=DEADLINE_S)
    for name in range(4):
        assert [number for who, number in heard if who == name] == list(range(200))


def test_a_stop_comes_behind_what_was_sent_before_and_refuses_what_comes_after() -> None:
    ref = Echo.start()
    busy = threading.Event()
    replies = [ref.ask(message, block=False) for message in (busy, 1)]
    stopped = ref.stop(block=False)
    late = ref.ask(2, block=False)
    busy.set()
    assert stopped.get(timeout=DEADLINE_S) is True
    assert replies[1].get(timeout=DEADLINE_S) == 1
    with pytest.raises(pykka.ActorDeadError):
        late.get(timeout=DEADLINE_S)
    with pytest.raises(pykka.ActorDeadError):
        ref.ask(3, timeout=DEADLINE_S)


def test_its_thread_does_not_keep_the_process_alive(ref: pykka.ActorRef[Echo]) -> None:
    assert ref.ask(1, timeout=DEADLINE_S) == 1
    threads = [each for each in threading.enumerate() if each.name.startswith("Echo")]
    assert threads
    assert all(thread.daemon for thread in threads)

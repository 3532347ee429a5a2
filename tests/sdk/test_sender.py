"""The thread that sends in the background: order, waiting, and every way to end."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaq_sdk import (
    ClientClosed,
    ConnectionFailed,
    FlushTimedOut,
    InvalidRequest,
    PandaqSdkError,
    Produced,
    SendBufferFull,
    SenderStopped,
)
from pandaq_sdk.errors import broker_error
from pandaq_sdk.outbox import OutboxLimits
from pandaq_sdk.sender import Sender
from tests.sdk.fake_broker import DEADLINE_S
from tests.sdk.fake_line import BAD, FakeLine, Step

AWAY = ConnectionFailed("POST /ingress/orders", 6, OSError("no route"))
FOR_EVER_MS = 1e9

NewSender = Callable[..., Sender]


@pytest.fixture
def line() -> FakeLine:
    return FakeLine()


@pytest.fixture
def new_sender(line: FakeLine) -> Iterator[NewSender]:
    with ExitStack() as stack:

        def new(send_timeout_s: float = DEADLINE_S, **limits: float) -> Sender:
            sender = Sender(line, OutboxLimits(**limits), send_timeout_s)  # type: ignore[arg-type]
            stack.callback(sender.close)
            stack.callback(line.resume)
            return sender

        yield new


@pytest.fixture
def sender(new_sender: NewSender) -> Sender:
    return new_sender()


def send(sender: Sender, content: Any) -> "Future[Produced]":
    return sender.send(json.dumps({"messageId": "m", "content": content}).encode(), "m")


def error_of(future: "Future[Produced]") -> BaseException | None:
    return future.exception(DEADLINE_S)


def in_thread(act: Callable[[], object]) -> "Future[object]":
    """Run `act` in a thread of its own; its outcome is in the future."""
    outcome: Future[object] = Future()

    def run() -> None:
        try:
            outcome.set_result(act())
        except BaseException as error:  # noqa: BLE001 (told by the future)
            outcome.set_exception(error)

    threading.Thread(target=run).start()
    return outcome


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def blocked(sender: Sender) -> bool:
    """Whether somebody waits for room or for a flush."""
    with sender._lock:
        return bool(sender._progress._waiters)  # type: ignore[attr-defined]


class TestSending:
    def test_a_message_goes_out_after_its_linger_without_another_call(self, sender: Sender) -> None:
        assert send(sender, 1).result(DEADLINE_S).message_id == "m"

    def test_a_full_batch_does_not_linger(self, new_sender: NewSender, line: FakeLine) -> None:
        sender = new_sender(batch_max=3, linger_ms=FOR_EVER_MS)
        futures = [send(sender, n) for n in range(3)]
        assert not wait(futures, DEADLINE_S).not_done
        assert line.requests == [[0, 1, 2]]

    def test_what_comes_while_a_batch_is_on_its_way_goes_with_the_next(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(linger_ms=0)
        line.pause()
        send(sender, 0)
        line.wait_for_request()
        futures = [send(sender, n) for n in range(1, 5)]
        line.resume()
        assert not wait(futures, DEADLINE_S).not_done
        assert line.requests == [[0], [1, 2, 3, 4]]

    def test_each_threads_messages_keep_their_order(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(batch_max=7, buffer_max=50, linger_ms=0)

        def send_all(who: int) -> None:
            for n in range(200):
                send(sender, [who, n])

        done = [in_thread(partial(send_all, who)) for who in range(4)]
        assert not wait(done, DEADLINE_S).not_done
        sender.flush(DEADLINE_S)
        assert len(line.log) == 800
        for who in range(4):
            assert [n for sent_by, n in line.log if sent_by == who] == list(range(200))

    def test_nothing_is_started_before_the_first_message(
        self, sender: Sender, line: FakeLine
    ) -> None:
        before = threading.active_count()
        sender.flush(None)
        assert threading.active_count() == before
        send(sender, 1)
        assert threading.active_count() == before + 1

    def test_a_bad_message_fails_alone_and_later_batches_are_sent(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(batch_max=4)
        futures = [send(sender, content) for content in (0, 1, BAD, 3, 4)]
        kinds = [type(error_of(future)) for future in futures]
        assert kinds == [type(None), type(None), InvalidRequest, type(None), type(None)]
        assert line.log == [0, 1, 3, 4]

    def test_batches_after_a_failed_one_are_tried_all_the_same(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(batch_max=2)
        line.steps += [AWAY]
        futures = [send(sender, n) for n in range(4)]
        kinds = [type(error_of(future)) for future in futures]
        assert kinds == [ConnectionFailed, ConnectionFailed, type(None), type(None)]

    def test_a_cancelled_message_is_not_sent_and_makes_no_one_wait(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(linger_ms=FOR_EVER_MS)
        first, second = send(sender, 1), send(sender, 2)
        assert first.cancel()
        sender.flush(DEADLINE_S)
        assert not wait([first, second], DEADLINE_S).not_done
        assert line.log == [2]

    def test_a_message_on_its_way_cannot_be_cancelled(self, sender: Sender, line: FakeLine) -> None:
        line.pause()
        future = send(sender, 1)
        line.wait_for_request()
        assert not future.cancel()
        line.resume()
        assert error_of(future) is None


class TestBackpressure:
    def test_a_sender_without_room_waits_until_there_is_some(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(buffer_max=2, linger_ms=0)
        line.pause()
        send(sender, 0)
        line.wait_for_request()
        send(sender, 1)
        third = in_thread(lambda: send(sender, 2))
        wait_until(lambda: blocked(sender))
        assert not third.done()
        line.resume()
        third.result(DEADLINE_S)
        sender.flush(DEADLINE_S)
        assert line.log == [0, 1, 2]

    def test_a_sender_without_room_does_not_wait_for_the_linger(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(buffer_max=2, linger_ms=FOR_EVER_MS)
        for n in range(6):
            send(sender, n)
        sender.flush(DEADLINE_S)
        assert line.log == list(range(6))

    @pytest.mark.parametrize("limits", [{"buffer_max": 2}, {"buffer_max_bytes": 70}], ids=str)
    def test_what_finds_no_room_in_time_is_not_taken(
        self, new_sender: NewSender, line: FakeLine, limits: dict[str, float]
    ) -> None:
        sender = new_sender(send_timeout_s=0.01, **limits)
        line.pause()
        taken = [send(sender, n) for n in range(2)]
        with pytest.raises(SendBufferFull) as caught:
            send(sender, 2)
        assert (caught.value.count, caught.value.size_bytes) == (2, 66)
        line.resume()
        assert not wait(taken, DEADLINE_S).not_done
        sender.close()
        assert line.log == [0, 1]

    def test_the_buffer_never_holds_more_than_it_may(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(buffer_max=20, batch_max=6, linger_ms=0)
        seen: list[int] = []
        line.steps.extend([lambda: seen.append(sender._outbox.count)] * 1000)
        done = [in_thread(lambda: [send(sender, n) for n in range(100)]) for _ in range(3)]
        assert not wait(done, DEADLINE_S).not_done
        sender.flush(DEADLINE_S)
        assert 0 < max(seen) <= 20

    def test_a_close_ends_the_wait_for_room(self, new_sender: NewSender, line: FakeLine) -> None:
        sender = new_sender(buffer_max=1)
        line.pause()
        first = send(sender, 1)
        second = in_thread(lambda: send(sender, 2))
        wait_until(lambda: blocked(sender))
        closing = in_thread(sender.close)
        with pytest.raises(ClientClosed):
            second.result(DEADLINE_S)
        line.resume()
        closing.result(DEADLINE_S)
        assert first.done()


class TestCallbacks:
    def test_a_message_may_be_sent_again_from_its_callback_though_the_buffer_is_full(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(buffer_max=4, batch_max=2, send_timeout_s=DEADLINE_S)
        again: list[Future[Produced]] = []

        def send_again(content: int, _: object) -> None:
            again.append(send(sender, content))

        line.pause()
        line.steps.append(AWAY)
        for n in range(4):
            future = send(sender, n)
            if n < 2:
                future.add_done_callback(partial(send_again, n))
        line.resume()
        wait_until(lambda: len(again) == 2)
        assert not wait(again, DEADLINE_S).not_done
        assert line.log == [2, 3, 0, 1]

    def test_a_callback_that_sends_too_much_is_told_at_once(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(buffer_max=2, linger_ms=0)
        told: Future[BaseException] = Future()

        def flood(_: object) -> None:
            try:
                for n in range(10):
                    send(sender, n)
            except SendBufferFull as error:
                told.set_result(error)

        send(sender, "first").add_done_callback(flood)
        assert isinstance(told.result(DEADLINE_S), SendBufferFull)
        sender.flush(DEADLINE_S)
        assert line.log == ["first", 0, 1]

    def test_a_callback_that_raises_harms_nobody(
        self, sender: Sender, line: FakeLine, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(_: object) -> None:
            raise ValueError("a defect of the callback")

        send(sender, 1).add_done_callback(broken)
        second = send(sender, 2)
        assert error_of(second) is None
        assert error_of(send(sender, 3)) is None
        assert "a defect of the callback" in caplog.text

    def test_a_flush_in_a_callback_raises_instead_of_waiting_for_ever(self, sender: Sender) -> None:
        told: Future[object] = Future()

        def flush(_: object) -> None:
            try:
                sender.flush(None)
            except FlushTimedOut as error:
                told.set_result(error.unanswered)

        send(sender, 1).add_done_callback(flush)
        assert told.result(DEADLINE_S) == 1

    def test_a_close_in_a_callback_lets_the_thread_finish(
        self, new_sender: NewSender, line: FakeLine, caplog: pytest.LogCaptureFixture
    ) -> None:
        sender = new_sender(batch_max=1)
        line.pause()
        send(sender, 1).add_done_callback(lambda _: sender.close())
        second = send(sender, 2)
        line.resume()
        assert error_of(second) is None
        wait_until(lambda: line.closed)
        assert caplog.text == "", "the callback did not raise"


class TestFlush:
    def test_a_flush_waits_for_all_that_was_sent_and_does_not_linger(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(linger_ms=FOR_EVER_MS, batch_max=2)
        futures = [send(sender, n) for n in range(5)]
        sender.flush(DEADLINE_S)
        assert all(future.done() for future in futures)
        assert line.log == list(range(5))

    def test_a_flush_does_not_raise_what_the_futures_tell(
        self, sender: Sender, line: FakeLine
    ) -> None:
        line.steps.append(AWAY)
        future = send(sender, 1)
        sender.flush(DEADLINE_S)
        assert isinstance(error_of(future), ConnectionFailed)

    def test_a_flush_that_takes_too_long_says_how_many_are_unanswered(
        self, sender: Sender, line: FakeLine
    ) -> None:
        line.pause()
        futures = [send(sender, n) for n in range(3)]
        with pytest.raises(FlushTimedOut) as caught:
            sender.flush(0.01)
        assert (caught.value.unanswered, caught.value.timeout_s) == (3, 0.01)
        line.resume()
        assert not wait(futures, DEADLINE_S).not_done

    def test_a_flush_does_not_wait_for_what_is_sent_after_it(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(batch_max=1, linger_ms=0)
        line.pause()
        send(sender, 1)
        flushing = in_thread(lambda: sender.flush(DEADLINE_S))
        wait_until(lambda: blocked(sender))
        later = send(sender, 2)
        line.steps += [None, line.pause]
        line._goes.set()
        flushing.result(DEADLINE_S)
        line.resume()
        assert error_of(later) is None


class TestClosing:
    def test_a_close_sends_what_waits_and_then_closes_the_line(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(linger_ms=FOR_EVER_MS, batch_max=2)
        futures = [send(sender, n) for n in range(5)]
        sender.close()
        assert all(future.done() for future in futures)
        assert line.log == list(range(5))
        assert line.closed

    def test_after_a_close_nothing_is_taken_and_closing_again_does_nothing(
        self, sender: Sender, line: FakeLine
    ) -> None:
        send(sender, 1)
        sender.close()
        sender.close()
        with pytest.raises(ClientClosed):
            send(sender, 2)
        sender.flush(None)
        assert line.log == [1]

    def test_a_sender_that_was_never_used_closes(self, sender: Sender) -> None:
        sender.close()
        with pytest.raises(ClientClosed):
            send(sender, 1)

    def test_a_close_waits_for_a_broker_that_is_away_only_once(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(batch_max=2, linger_ms=FOR_EVER_MS)
        line.pause()
        futures = [send(sender, n) for n in range(6)]
        futures[-1].cancel()
        line.steps.extend([AWAY] * 3)
        closing = in_thread(sender.close)
        wait_until(lambda: sender._closed)
        line.resume()
        closing.result(DEADLINE_S)
        assert all(isinstance(error_of(future), ConnectionFailed) for future in futures[:-1])
        assert len(line.requests) == 1
        assert not wait(futures, DEADLINE_S).not_done, "a cancelled one is done, too"

    def test_a_defect_in_the_thread_fails_every_message_and_ends_the_sender(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(batch_max=2)
        line.pause()
        futures = [send(sender, n) for n in range(5)]
        line.steps.append(ZeroDivisionError("a defect"))
        line.resume()
        for future in futures:
            error = error_of(future)
            assert isinstance(error, SenderStopped)
            assert isinstance(error.__cause__, ZeroDivisionError)
        with pytest.raises(SenderStopped, match="ZeroDivisionError: a defect"):
            send(sender, 9)
        sender.flush(DEADLINE_S)
        sender.close()
        assert line.closed

    def test_a_callback_that_exits_ends_the_sender_and_leaves_no_future_pending(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(batch_max=2)
        line.pause()
        futures = [send(sender, n) for n in range(4)]
        futures[0].add_done_callback(lambda _: sys.exit("stop"))
        line.resume()
        assert error_of(futures[0]) is None
        assert all(isinstance(error_of(future), SenderStopped) for future in futures[1:])

    def test_a_thread_that_dies_ends_the_wait_for_room(
        self, new_sender: NewSender, line: FakeLine
    ) -> None:
        sender = new_sender(buffer_max=1)
        line.pause()
        send(sender, 1)
        second = in_thread(lambda: send(sender, 2))
        wait_until(lambda: blocked(sender))
        line.steps.append(ZeroDivisionError("a defect"))
        line.resume()
        with pytest.raises(SenderStopped):
            second.result(DEADLINE_S)


PROGRAM = """
import json, sys
sys.path[:0] = {path!r}
from pandaq_sdk import sender
from pandaq_sdk.outbox import OutboxLimits
from tests.sdk.fake_line import FakeLine

sender._AT_EXIT_S = {at_exit_s}
line = FakeLine()
{before}
one = sender.Sender(line, OutboxLimits(linger_ms=1e9, batch_max=2), 1)
for n in range(3):
    future = one.send(json.dumps({{"content": n}}).encode(), n)
    future.add_done_callback(lambda done: print(type(done.exception()).__name__, flush=True))
"""


def ended_without_close(at_exit_s: float, before: str) -> list[str]:
    root = Path(__file__).resolve().parents[2]
    path = [str(root / "sdk"), str(root)]
    program = PROGRAM.format(path=path, at_exit_s=at_exit_s, before=before)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=50, text=True, check=True
    )
    assert ended.stderr == ""
    return ended.stdout.split()


def test_a_program_that_forgets_to_close_sends_what_is_left() -> None:
    assert ended_without_close(20, "") == ["NoneType"] * 3


def test_a_program_that_forgets_to_close_ends_though_the_broker_does_not_answer() -> None:
    assert ended_without_close(0.05, "line.pause()") == ["SenderStopped"] * 3


steps = st.sampled_from(
    [
        None,
        broker_error(400, "INVALID_REQUEST", "no"),
        broker_error(503, "TIMEOUT", "unknown"),
        AWAY,
        ZeroDivisionError("a defect"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([BAD, "cancelled", "flush", 1, 2, 3]), max_size=25),
    st.lists(steps, max_size=8),
    st.integers(1, 6),
)
def test_whatever_the_broker_does_every_future_is_done_once_and_the_log_has_what_they_say(
    script: list[Any], answers: list[Step | None], batch_max: int
) -> None:
    line = FakeLine()
    line.steps.extend(answers)
    limits = OutboxLimits(linger_ms=FOR_EVER_MS, batch_max=batch_max, buffer_max=7)
    sender = Sender(line, limits, DEADLINE_S)
    told: list[object] = []
    sent: list[tuple[Any, Future[Produced]]] = []
    with suppress(SenderStopped):  # where the thread met with the defect
        for content in script:
            if content == "flush":
                sender.flush(DEADLINE_S)
                continue
            future = send(sender, content)
            sent.append((content, future))
            future.add_done_callback(told.append)
            if content == "cancelled":
                future.cancel()
    sender.close()

    assert sorted(map(id, told)) == sorted(id(future) for _, future in sent)
    assert not wait([future for _, future in sent], 0).not_done
    kept = [c for c, future in sent if not future.cancelled() and future.exception() is None]
    assert line.log == kept
    for content, future in sent:
        if not future.cancelled() and (error := future.exception()):
            assert isinstance(error, PandaqSdkError)
            assert answers or content == BAD
    assert line.closed or not sent

"""What becomes of the messages of a batch."""

import enum
import json
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq_sdk import (
    ConnectionFailed,
    PandaqSdkError,
    Produced,
    UnexpectedAnswer,
)
from pandaq_sdk.delivery import claimed, deliver, fail
from pandaq_sdk.errors import broker_error
from pandaq_sdk.outbox import Outgoing
from tests.sdk.fake_broker import TIMESTAMP
from tests.sdk.fake_line import BAD, FakeLine

AWAY = ConnectionFailed("POST /ingress/orders", 6, OSError("no route"))


def outgoing(content: Any, message_id: object = "m") -> Outgoing:
    encoded = json.dumps({"messageId": message_id, "content": content}).encode()
    return Outgoing(encoded, message_id, Future(), 0.0)


def batch_of(*contents: Any) -> list[Outgoing]:
    return claimed([outgoing(content) for content in contents])


def outcome(message: Outgoing) -> str:
    assert message.future.done()
    error = message.future.exception()
    return type(error).__name__ if error else "Produced"


@pytest.fixture
def line() -> FakeLine:
    return FakeLine()


def test_every_message_of_a_batch_gets_its_receipt(line: FakeLine) -> None:
    batch = claimed([outgoing(1, "a"), outgoing(2, 7)])
    assert deliver(batch, line) is None
    assert [each.future.result() for each in batch] == [
        Produced("a", "orders", TIMESTAMP),
        Produced("7", "orders", TIMESTAMP),
    ]
    assert line.requests == [[1, 2]]


class Color(str, enum.Enum):  # noqa: UP042 (the str() of a StrEnum is its value)
    RED = "red"


class Number(int):
    def __str__(self) -> str:
        return "a number"


@pytest.mark.parametrize(("message_id", "text"), [(Color.RED, "red"), (Number(7), "7")])
def test_a_receipt_names_the_message_as_json_does(
    line: FakeLine, message_id: object, text: str
) -> None:
    (message,) = batch = claimed([outgoing(1, message_id)])
    deliver(batch, line)
    assert message.future.result().message_id == text
    assert json.loads(message.encoded)["messageId"] in {text, 7}


@pytest.mark.parametrize("culprit", range(7))
def test_one_bad_message_fails_alone_and_the_order_stays(line: FakeLine, culprit: int) -> None:
    contents: list[Any] = list(range(7))
    contents[culprit] = BAD
    batch = batch_of(*contents)
    assert deliver(batch, line) is None
    assert [n for n in range(7) if outcome(batch[n]) == "InvalidRequest"] == [culprit]
    assert line.log == [n for n in range(7) if n != culprit]


def test_one_bad_message_of_500_costs_few_requests(line: FakeLine) -> None:
    deliver(batch_of(*range(250), BAD, *range(251, 500)), line)
    assert len(line.log) == 499
    assert len(line.requests) <= 2 * 9 + 1


def test_a_batch_of_nothing_but_bad_messages_ends(line: FakeLine) -> None:
    batch = batch_of(*[BAD] * 50)
    deliver(batch, line)
    assert {outcome(each) for each in batch} == {"InvalidRequest"}
    assert len(line.requests) == 2 * 50 - 1


@pytest.mark.parametrize(
    "refusal",
    [
        broker_error(400, "INVALID_REQUEST", "messages[1].content is missing"),
        broker_error(413, "PAYLOAD_TOO_LARGE", "the body has 20 MiB"),
        UnexpectedAnswer("POST /ingress/orders", 413, "a page of a proxy"),
    ],
    ids=repr,
)
def test_a_batch_refused_for_a_message_or_its_size_is_sent_in_halves(
    line: FakeLine, refusal: PandaqSdkError
) -> None:
    line.steps.append(refusal)
    batch = batch_of(1, 2, 3)
    assert deliver(batch, line) is None
    assert line.requests == [[1, 2, 3], [1], [2, 3]]
    assert {outcome(each) for each in batch} == {"Produced"}


@pytest.mark.parametrize(
    "error",
    [
        AWAY,
        broker_error(429, "BUFFER_FULL", "later"),
        broker_error(404, "TOPIC_NOT_FOUND", "there is no topic"),
        broker_error(401, "UNAUTHENTICATED", "who are you"),
        broker_error(507, "STORAGE_FULL", "full"),
        UnexpectedAnswer("POST /ingress/orders", 502, "a page of a proxy"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_is_no_messages_fault_is_given_to_all(
    line: FakeLine, error: PandaqSdkError
) -> None:
    line.steps.append(error)
    batch = batch_of(1, 2, 3)
    assert deliver(batch, line) is error
    assert {outcome(each) for each in batch} == {type(error).__name__}
    assert len(line.requests) == 1


def test_a_broker_that_goes_away_amid_the_halves_fails_what_is_left(line: FakeLine) -> None:
    line.steps += [None, None, AWAY]
    batch = batch_of(1, 2, BAD, 4)
    assert deliver(batch, line) is AWAY
    assert line.requests == [[1, 2, BAD, 4], [1, 2], [BAD, 4]]
    expected = ["Produced", "Produced", "ConnectionFailed", "ConnectionFailed"]
    assert [outcome(each) for each in batch] == expected


def test_an_answer_without_its_fields_fails_the_batch(
    line: FakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.sdk.fake_line.TIMESTAMP", None)
    (message,) = batch = batch_of(1)
    assert isinstance(deliver(batch, line), UnexpectedAnswer)
    assert outcome(message) == "UnexpectedAnswer"


def test_each_message_has_an_error_of_its_own(line: FakeLine) -> None:
    AWAY.__cause__ = OSError("no route")
    line.steps.append(AWAY)
    batch = batch_of(1, 2)
    deliver(batch, line)
    first, second = (each.future.exception() for each in batch)
    assert first is not second
    assert str(first) == str(second) == str(AWAY)
    assert first
    assert first.__cause__ is AWAY.__cause__


def test_a_cancelled_message_is_not_claimed_and_the_others_cannot_be_cancelled() -> None:
    first, second = outgoing(1), outgoing(2)
    first.future.cancel()
    assert claimed([first, second]) == [second]
    assert not second.future.cancel()


def test_a_batch_of_none_is_not_sent(line: FakeLine) -> None:
    assert deliver([], line) is None
    assert line.requests == []


def test_a_future_that_somebody_else_completed_keeps_its_outcome(line: FakeLine) -> None:
    theirs = Produced("theirs", "orders", TIMESTAMP)
    before, amid, after = messages = [outgoing(n) for n in range(3)]
    before.future.set_result(theirs)
    batch = claimed(messages)
    amid.future.set_result(theirs)
    deliver(batch, line)
    fail([after], AWAY)
    assert [each.future.result() == theirs for each in messages] == [True, True, False]
    assert line.log == [1, 2]


refusals = st.sampled_from(
    [
        broker_error(400, "INVALID_REQUEST", "no"),
        broker_error(413, "PAYLOAD_TOO_LARGE", "no"),
        broker_error(429, "BUFFER_FULL", "later"),
        broker_error(503, "TIMEOUT", "unknown"),
        AWAY,
    ]
)


@given(
    st.lists(st.just(BAD) | st.integers(), min_size=1, max_size=20),
    st.lists(st.none() | refusals, max_size=20),
)
def test_every_message_is_told_once_what_became_of_it(
    contents: list[Any], steps: list[PandaqSdkError | None]
) -> None:
    line = FakeLine()
    line.steps.extend(steps)
    messages = [outgoing(content) for content in contents]
    told: list[object] = []
    for each in messages:
        each.future.add_done_callback(told.append)
    deliver(claimed(messages), line)

    assert told == [each.future for each in messages], "each once, and in order"
    outcomes = list(zip(contents, map(outcome, messages), strict=True))
    assert line.log == [content for content, kind in outcomes if kind == "Produced"]
    assert len(line.requests) <= 2 * len(contents) - 1
    scripted = {type(step).__name__ for step in steps if step}
    for content, kind in outcomes:
        if content == BAD:
            assert kind in {"InvalidRequest", *scripted}
        else:
            assert kind in {"Produced", *scripted}

"""Sending in the background, over HTTP."""

from collections.abc import Callable
from concurrent.futures import wait
from typing import Any

import pytest

from pandaq_sdk import (
    ClientClosed,
    InvalidRequest,
    NotEncodable,
    Produced,
    Producer,
    SendBufferFull,
    UnexpectedAnswer,
)
from tests.sdk.fake_broker import (
    BREAK_OFF,
    DEADLINE_S,
    HANG_UP,
    TIMESTAMP,
    FakeBroker,
    Reply,
    refusal,
)
from tests.sdk.test_producer import CONTENTS

NewProducer = Callable[..., Producer]


def test_a_message_gets_its_receipt(broker: FakeBroker, producer: Producer) -> None:
    future = producer.send({"messageId": 7, "content": {"amount": 99.99}})
    assert future.result(DEADLINE_S) == Produced("7", "orders", TIMESTAMP)
    (request,) = broker.requests
    assert (request.method, request.target) == ("POST", "/ingress/orders")
    assert request.headers["Content-Type"] == "application/json"


def test_messages_are_sent_as_one_batch_as_the_contract_has_it(
    broker: FakeBroker, new_producer: NewProducer
) -> None:
    producer = new_producer(linger_ms=1e9)
    messages = [{"messageId": str(n), "content": c, "key": "k"} for n, c in enumerate(CONTENTS)]
    futures = [producer.send(message) for message in messages]
    producer.flush(DEADLINE_S)
    assert [future.result().message_id for future in futures] == [m["messageId"] for m in messages]
    (request,) = broker.requests
    assert request.json == {"brokerId": "broker_1", "messages": messages}


@pytest.mark.parametrize("content", [float("nan"), b"bytes", "\ud83d", object()], ids=repr)
def test_what_is_no_json_is_refused_by_the_call_and_nothing_else_is_concerned(
    broker: FakeBroker, producer: Producer, content: Any
) -> None:
    before = producer.send({"messageId": "m", "content": 1})
    with pytest.raises(NotEncodable, match=r"^message cannot be written as JSON"):
        producer.send({"messageId": "m", "content": content})
    with pytest.raises(NotEncodable, match="not a mapping"):
        producer.send(None)  # type: ignore[arg-type]
    before.result(DEADLINE_S)
    assert broker.log == [1]


def test_a_message_that_changes_after_it_was_sent_is_sent_as_it_was(
    broker: FakeBroker, new_producer: NewProducer
) -> None:
    producer = new_producer(linger_ms=1e9)
    message = {"messageId": "m", "content": 0}
    for n in range(3):
        message["content"] = n
        producer.send(message)
    producer.flush(DEADLINE_S)
    assert broker.log == [0, 1, 2]


@pytest.mark.parametrize(
    "failure", [refusal(429, "BUFFER_FULL"), refusal(503, "TIMEOUT"), HANG_UP, BREAK_OFF], ids=str
)
def test_what_may_pass_is_tried_again_as_by_the_other_calls(
    broker: FakeBroker, producer: Producer, sleeps: list[float], failure: Reply
) -> None:
    broker.script(failure, failure)
    assert producer.send({"messageId": "m", "content": 1}).result(DEADLINE_S).message_id == "m"
    assert sleeps == [0.2, 0.4]
    assert len({request.body for request in broker.requests}) == 1


def test_only_the_message_that_the_broker_will_not_have_fails(
    broker: FakeBroker, new_producer: NewProducer
) -> None:
    producer = new_producer(linger_ms=1e9)
    no = refusal(400, "INVALID_REQUEST")
    futures = [producer.send({"messageId": "m", "content": n}) for n in range(4)]
    answer = broker._from_log
    broker._from_log = lambda request: (  # type: ignore[method-assign]
        no if any(each["content"] == 2 for each in request.json["messages"]) else answer(request)
    )
    producer.flush(DEADLINE_S)
    assert broker.log == [0, 1, 3]
    assert isinstance(futures[2].exception(), InvalidRequest)


def test_a_proxy_that_takes_less_gets_smaller_bodies(
    broker: FakeBroker, new_producer: NewProducer
) -> None:
    broker.script(Reply(413, b"<html>Request Entity Too Large</html>"))
    producer = new_producer(linger_ms=1e9)
    futures = [producer.send({"messageId": "m", "content": n}) for n in range(2)]
    producer.flush(DEADLINE_S)
    assert [type(future.exception()) for future in futures] == [type(None)] * 2
    assert len(broker.requests) == 3


def test_an_answer_of_no_broker_fails_the_batch(broker: FakeBroker, producer: Producer) -> None:
    broker.script(Reply(502, b"<html>Bad Gateway</html>"))
    future = producer.send({"messageId": "m", "content": 1})
    assert isinstance(future.exception(DEADLINE_S), UnexpectedAnswer)


def test_the_background_has_a_connection_of_its_own(broker: FakeBroker, producer: Producer) -> None:
    for _ in range(2):
        producer.send({"messageId": "m", "content": 1}).result(DEADLINE_S)
        producer.produce({"messageId": "m", "content": 1})
    first, second = ([r.peer for r in broker.requests[n::2]] for n in range(2))
    assert len(set(first)) == len(set(second)) == 1
    assert set(first).isdisjoint(second)


def test_the_background_has_the_same_credentials(
    broker: FakeBroker, new_producer: NewProducer
) -> None:
    new_producer(token="s3cret").send({"messageId": "m", "content": 1}).result(DEADLINE_S)
    assert broker.requests[0].headers["Authorization"] == "Bearer s3cret"


def test_a_batch_never_has_more_than_it_may(broker: FakeBroker, new_producer: NewProducer) -> None:
    producer = new_producer(batch_max=3, batch_max_bytes=100)
    for n in range(8):
        producer.send({"messageId": str(n), "content": n})
    producer.send({"messageId": "large", "content": "x" * 500})
    producer.flush(DEADLINE_S)
    sizes = [len(request.json["messages"]) for request in broker.requests]
    assert sum(sizes) == 9
    assert max(sizes) <= 3
    assert sizes[-1] == 1


def test_leaving_the_block_sends_what_waits_even_if_it_raised(broker: FakeBroker) -> None:
    def raising() -> None:
        with Producer("broker_1", broker.url, "orders", linger_ms=1e9) as producer:
            producer.send({"messageId": "m", "content": 1})
            raise KeyError

    with pytest.raises(KeyError):
        raising()
    assert broker.log == [1]


def test_a_closed_producer_takes_nothing(broker: FakeBroker, producer: Producer) -> None:
    producer.close()
    with pytest.raises(ClientClosed):
        producer.send({"messageId": "m", "content": 1})
    producer.flush()


def test_a_full_buffer_is_told_and_nothing_was_taken(
    broker: FakeBroker, new_producer: NewProducer
) -> None:
    producer = new_producer(buffer_max_bytes=40, send_timeout_s=0)
    reply = broker._from_log
    asked: list[object] = []

    def full(request: Any) -> Reply:
        asked.append(request)
        with pytest.raises(SendBufferFull):
            producer.send({"messageId": "m", "content": 2})
        return reply(request)

    broker._from_log = full  # type: ignore[method-assign]
    future = producer.send({"messageId": "m", "content": 1})
    assert not wait([future], DEADLINE_S).not_done
    assert len(asked) == 1
    assert broker.log == [1]


@pytest.mark.parametrize(
    "wrong",
    [{"linger_ms": -1}, {"batch_max": 0}, {"buffer_max_bytes": 0}, {"send_timeout_s": -1}],
    ids=str,
)
def test_limits_that_cannot_be_right_are_refused(
    new_producer: NewProducer, wrong: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))} is .*; it must be"):
        new_producer(**wrong)


def test_a_broker_id_that_is_no_text_is_refused_at_once(broker: FakeBroker) -> None:
    with pytest.raises(NotEncodable, match=r"^broker_id cannot be written as JSON"):
        Producer("\ud800", broker.url, "orders")

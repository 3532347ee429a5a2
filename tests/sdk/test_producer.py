"""Sending messages."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from pandaq_sdk import NotEncodable, Produced, ProducedBatch, Producer
from tests.sdk.fake_broker import TIMESTAMP, FakeBroker, success

CONTENTS: list[Any] = [None, False, True, 0, -1.5, "", "é\U0001f600\x00", [], {}, {"a": [None]}]


def test_a_message_is_sent_as_the_contract_has_it(broker: FakeBroker, producer: Producer) -> None:
    message = {"messageId": "msg-001", "content": {"orderId": "123", "amount": 99.99}}
    assert producer.produce(message) == Produced("msg-001", "orders", TIMESTAMP)
    (request,) = broker.requests
    assert (request.method, request.target) == ("POST", "/ingress/orders")
    assert request.json == {"brokerId": "broker_1", "message": message}


def test_a_batch_is_sent_as_the_contract_has_it(broker: FakeBroker, producer: Producer) -> None:
    messages = [{"messageId": number, "content": number} for number in range(3)]
    assert producer.produce_batch(messages) == ProducedBatch(3, "orders", TIMESTAMP)
    assert broker.requests[0].json == {"brokerId": "broker_1", "messages": messages}


def test_a_batch_may_come_from_a_generator(broker: FakeBroker, producer: Producer) -> None:
    assert producer.produce_batch({"messageId": n, "content": n} for n in range(4)).count == 4
    assert broker.log == [0, 1, 2, 3]


@pytest.mark.parametrize("content", CONTENTS, ids=repr)
def test_content_of_every_type_is_sent_as_it_is(
    broker: FakeBroker, producer: Producer, content: Any
) -> None:
    producer.produce({"messageId": "m", "content": content})
    assert broker.log == [content]
    assert type(broker.log[0]) is type(content)


def test_further_fields_of_a_message_are_sent(broker: FakeBroker, producer: Producer) -> None:
    message = {"messageId": "m", "content": 1, "key": "k", "headers": {"h": "1"}}
    producer.produce(message)
    assert broker.requests[0].json["message"] == message


def test_an_empty_batch_is_refused_without_a_call(broker: FakeBroker, producer: Producer) -> None:
    with pytest.raises(ValueError, match="no messages"):
        producer.produce_batch([])
    assert broker.requests == []


@pytest.mark.parametrize("content", [float("nan"), b"bytes", "\ud83d", object()], ids=repr)
def test_what_is_no_json_is_refused_before_anything_is_sent(
    broker: FakeBroker, producer: Producer, content: Any
) -> None:
    with pytest.raises(NotEncodable, match=r"^message cannot be written as JSON"):
        producer.produce({"messageId": "m", "content": content})
    with pytest.raises(NotEncodable, match=r"^messages\[1\] cannot be written as JSON"):
        producer.produce_batch(
            [{"messageId": "m", "content": 1}, {"messageId": "n", "content": content}]
        )
    assert broker.requests == []


def test_a_broker_id_that_is_no_text_is_refused(
    broker: FakeBroker, new_producer: Callable[..., Producer]
) -> None:
    producer = new_producer()
    producer.broker_id = "\ud800"
    with pytest.raises(NotEncodable, match=r"^the batch cannot be written as JSON"):
        producer.produce_batch([{"messageId": "m", "content": 1}])


def test_a_batch_of_something_else_than_messages_is_refused(
    broker: FakeBroker, producer: Producer
) -> None:
    with pytest.raises(NotEncodable, match=r"messages\[0\].*it is 'messageId', not a mapping"):
        producer.produce_batch({"messageId": "m", "content": 1})  # type: ignore[dict-item]
    with pytest.raises(NotEncodable, match="it is None, not a mapping"):
        producer.produce(None)  # type: ignore[arg-type]
    assert broker.requests == []


def test_a_duplicate_is_reported(broker: FakeBroker, producer: Producer) -> None:
    broker.script(success(messageId="m", topicId="orders", timestamp=TIMESTAMP, duplicate=True))
    assert producer.produce({"messageId": "m", "content": 1}).duplicate is True


def test_a_receipt_is_frozen(producer: Producer) -> None:
    receipt = producer.produce({"messageId": "m", "content": 1})
    with pytest.raises(FrozenInstanceError):
        receipt.topic_id = "other"  # type: ignore[misc]


def test_a_topic_is_quoted_in_the_url(broker: FakeBroker) -> None:
    with Producer("broker_1", broker.url + "/", "a/b ü?") as producer:
        producer.produce({"messageId": "m", "content": 1})
    assert broker.requests[0].target == "/ingress/a%2Fb%20%C3%BC%3F"


def test_arguments_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="base_url is 'broker_1'"):
        Producer("http://localhost:3000", "broker_1", "orders")


def test_constructing_and_closing_makes_no_call(broker: FakeBroker) -> None:
    with Producer("broker_1", broker.url, "orders"):
        pass
    assert broker.requests == []

"""Receiving messages step by step."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from pandaq_sdk import (
    Batch,
    Committed,
    ConnectionFailed,
    Consumer,
    InvalidOffset,
    Message,
    NoPartitionAvailable,
    Registered,
    UnexpectedAnswer,
)
from tests.sdk.fake_broker import (
    SILENCE,
    TIMESTAMP,
    FakeBroker,
    message,
    refusal,
    registered,
    success,
)

NewConsumer = Callable[..., Consumer]


def test_constructing_and_closing_makes_no_call(broker: FakeBroker) -> None:
    with Consumer(broker.url, "broker_1", "consumer-1", "orders"):
        pass
    assert broker.requests == []


def test_the_first_use_registers_and_the_next_does_not(
    broker: FakeBroker, consumer: Consumer
) -> None:
    broker.partition_id = 3
    assert consumer.partition_id == 3
    consumer.consume()
    consumer.commit_offset(0)
    (registration,) = broker.sent_to("/register")
    assert registration.target == "/register/orders"
    assert registration.json == {"brokerId": "broker_1", "consumerId": "consumer-1"}
    assert broker.requests[1].path == "/consume/broker_1/orders/3"


def test_registering_gives_what_the_broker_says(broker: FakeBroker, consumer: Consumer) -> None:
    broker.partition_id = 2
    expected = Registered("orders", "broker_1", "consumer-1", 2, TIMESTAMP)
    assert consumer.register() == expected
    assert consumer.partition_id == 2
    assert len(broker.requests) == 1


def test_no_free_partition_is_its_own_error(broker: FakeBroker, consumer: Consumer) -> None:
    broker.script(refusal(409, "NO_PARTITION_AVAILABLE"))
    with pytest.raises(NoPartitionAvailable):
        consumer.consume()


def test_a_single_message_is_a_batch_of_one(broker: FakeBroker, consumer: Consumer) -> None:
    broker.append(["first", "second"])
    batch = consumer.consume()
    assert batch == Batch((Message("orders", "msg-1", "first", 1),), 0, 1)
    assert batch.count == 1
    assert "?" not in broker.requests[-1].target


def test_nothing_to_read_is_an_empty_batch_that_is_false(
    broker: FakeBroker, consumer: Consumer
) -> None:
    for batch in (consumer.consume(), consumer.batch_consume()):
        assert batch == Batch((), 0, 0)
        assert not batch


def test_a_batch_asks_for_500_messages_at_once(broker: FakeBroker, consumer: Consumer) -> None:
    broker.append(range(3))
    batch = consumer.batch_consume()
    assert broker.requests[-1].query == {"b": "t", "max": "500", "wait": "0"}
    assert [each.content for each in batch] == [0, 1, 2]
    assert (batch.count, batch.start_offset, batch.end_offset) == (3, 0, 3)


def test_a_batch_asks_for_what_it_is_told(broker: FakeBroker, consumer: Consumer) -> None:
    broker.append(range(9))
    assert consumer.batch_consume(max_messages=2, wait_ms=70).count == 2
    assert broker.requests[-1].query == {"b": "t", "max": "2", "wait": "70"}


@pytest.mark.parametrize("wrong", [{"max_messages": 0}, {"wait_ms": -1}])
def test_a_batch_that_cannot_be_is_refused(
    broker: FakeBroker, consumer: Consumer, wrong: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="it must be"):
        consumer.batch_consume(**wrong)
    assert broker.requests == []


def test_a_poll_that_cannot_be_is_refused(new_consumer: NewConsumer) -> None:
    with pytest.raises(ValueError, match="wait_ms is -1"):
        new_consumer(poll_wait_ms=-1)
    with pytest.raises(ValueError, match="max_messages is 0"):
        new_consumer(poll_max_messages=0)


def test_a_long_poll_may_be_silent_for_its_wait_and_no_longer_than_the_timeout_after(
    broker: FakeBroker, new_consumer: NewConsumer
) -> None:
    consumer = new_consumer(timeout_s=0.25, retries=0)
    consumer.register()
    broker.script(SILENCE)
    with pytest.raises(ConnectionFailed, match=r"read timeout=0\.29"):
        consumer.batch_consume(wait_ms=40)


def test_reading_is_a_peek_until_the_commit(broker: FakeBroker, consumer: Consumer) -> None:
    broker.append(["first", "second"])
    assert consumer.consume() == consumer.consume()
    consumer.commit_offset(1)
    assert consumer.consume().messages[0].content == "second"


def test_a_commit_is_sent_as_the_contract_has_it(broker: FakeBroker, consumer: Consumer) -> None:
    broker.append(range(5))
    committed = consumer.commit_offset(2)
    assert committed == Committed(2, "orders", 0, "consumer-1", 2, 5, TIMESTAMP)
    assert broker.requests[-1].json == {
        "brokerId": "broker_1",
        "topicId": "orders",
        "partitionId": 0,
        "consumerId": "consumer-1",
        "offset": 2,
    }


def test_a_commit_beyond_the_log_end_is_its_own_error(consumer: Consumer) -> None:
    with pytest.raises(InvalidOffset):
        consumer.commit_offset(1)


@pytest.mark.parametrize(
    "content", [None, False, True, 0, 1.5, "", "é\U0001f600\x00", [], {}, {"a": [None]}], ids=repr
)
def test_content_of_every_type_arrives_as_it_is(
    broker: FakeBroker, consumer: Consumer, content: Any
) -> None:
    broker.append([content])
    for batch in (consumer.consume(), consumer.batch_consume()):
        (received,) = batch.messages
        assert (received.content, type(received.content)) == (content, type(content))


def batch_of(*messages: dict[str, Any]) -> Any:
    return success(messages=list(messages), count=len(messages), startOffset=0, endOffset=1)


def test_fields_of_a_newer_broker_are_ignored(broker: FakeBroker, consumer: Consumer) -> None:
    newer = message(1, "x") | {"someday": 3, "trace": {"id": 1}}
    broker.script(registered(0), batch_of(newer))
    assert consumer.batch_consume().messages == (Message("orders", "msg-1", "x", 1),)


def test_key_headers_and_timestamp_are_there_if_the_broker_sends_them(
    broker: FakeBroker, consumer: Consumer
) -> None:
    richer = message(1, "x") | {"key": "k", "headers": {"h": "1"}, "timestamp": TIMESTAMP}
    broker.script(registered(0), batch_of(richer))
    (received,) = consumer.batch_consume()
    assert (received.key, received.headers, received.timestamp) == ("k", {"h": "1"}, TIMESTAMP)


def test_a_key_of_another_type_is_no_reason_to_lose_the_message(
    broker: FakeBroker, consumer: Consumer
) -> None:
    other = message(1, "x") | {"key": 7, "headers": ["h"], "timestamp": 1767323045678}
    broker.script(registered(0), batch_of(other))
    assert consumer.batch_consume().messages == (Message("orders", "msg-1", "x", 1),)


@pytest.mark.parametrize("field", ["topicId", "messageId", "content", "offset"])
def test_a_message_without_what_the_contract_promises_is_unexpected(
    broker: FakeBroker, consumer: Consumer, field: str
) -> None:
    lacking = message(1, "x")
    del lacking[field]
    broker.script(registered(0), batch_of(lacking))
    with pytest.raises(UnexpectedAnswer, match=f"the field {field} is missing"):
        consumer.batch_consume()


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("topicId", 7, "text"),
        ("messageId", None, "text"),
        ("offset", True, "an integer"),
        ("offset", 1.0, "an integer"),
        ("offset", "1", "an integer"),
    ],
)
def test_a_message_with_a_field_of_another_type_is_unexpected(
    broker: FakeBroker, consumer: Consumer, field: str, value: Any, wanted: str
) -> None:
    broker.script(registered(0), batch_of(message(1, "x"), message(2, "y") | {field: value}))
    with pytest.raises(UnexpectedAnswer, match=f"the field {field} should be {wanted} and is"):
        consumer.batch_consume()


def test_a_message_is_frozen_and_complete(broker: FakeBroker, consumer: Consumer) -> None:
    broker.append(["first"])
    (received,) = consumer.batch_consume()
    assert received == Message("orders", "msg-1", "first", 1, None, None, None)
    assert pickle.loads(pickle.dumps(received)) == received
    with pytest.raises(AttributeError):
        received.offset = 2  # type: ignore[misc]


def test_names_are_quoted_in_the_url(broker: FakeBroker) -> None:
    with Consumer(broker.url, "broker/1", "consumer|1", "a b") as consumer:
        broker.script(registered(0))
        consumer.consume()
    assert [request.target for request in broker.requests] == [
        "/register/a%20b",
        "/consume/broker%2F1/a%20b/0",
    ]

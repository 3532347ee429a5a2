"""Receiving messages in a loop: what is handed out, what is committed, and when."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from pandaq_sdk import (
    BrokerError,
    ClientClosed,
    ConnectionFailed,
    Consumer,
    InvalidOffset,
    NotAssigned,
)
from tests.sdk.fake_broker import HANG_UP, FakeBroker, Reply, refusal, registered, success

NewConsumer = Callable[..., Consumer]


class Enough(Exception):
    """Ends a loop from within."""


def take(consumer: Consumer, count: int) -> list[Any]:
    """Handle all but the last of `count` messages, and leave with that one in hand."""
    return [message.content for message in islice(consumer, count)]


def empty(meanwhile: Callable[[], object] = lambda: None) -> Reply:
    return replace(success(messages=[], count=0, startOffset=0, endOffset=0), meanwhile=meanwhile)


def test_a_loop_hands_out_every_message_once_and_in_order(
    broker: FakeBroker, new_consumer: NewConsumer
) -> None:
    broker.append(range(10))
    assert take(new_consumer(poll_max_messages=3), 10) == list(range(10))
    assert broker.commits == [3, 6, 9]


def test_a_poll_waits_as_long_and_takes_as_many_as_told(
    broker: FakeBroker, new_consumer: NewConsumer
) -> None:
    broker.append(range(2))
    take(new_consumer(), 1)
    take(new_consumer(poll_wait_ms=70, poll_max_messages=2), 1)
    assert [request.query for request in broker.sent_to("/consume")] == [
        {"b": "t", "max": "500", "wait": "5000"},
        {"b": "t", "max": "2", "wait": "70"},
    ]


def test_the_end_of_a_batch_is_committed_when_the_message_after_it_is_asked_for(
    broker: FakeBroker, new_consumer: NewConsumer
) -> None:
    broker.append(range(4))
    messages = iter(new_consumer(poll_max_messages=2))
    next(messages)
    next(messages)
    assert broker.commits == []
    next(messages)
    assert broker.commits == [2]
    assert [request.path[:8] for request in broker.requests[-2:]] == ["/commit", "/consume"]


def test_the_end_offset_that_the_broker_says_is_what_is_committed(
    broker: FakeBroker, consumer: Consumer
) -> None:
    broker.append(range(9))
    lossy = success(
        messages=[{"topicId": "orders", "messageId": "m", "content": 1, "offset": 5}],
        count=1,
        startOffset=0,
        endOffset=7,
    )
    broker.script(registered(0), lossy)
    take(consumer, 2)
    assert broker.commits == [7]


def test_a_batch_without_messages_that_passes_over_lost_ones_is_committed(
    broker: FakeBroker, consumer: Consumer
) -> None:
    broker.append(range(9))
    nothing = success(messages=[], count=0, startOffset=0, endOffset=7)
    broker.script(registered(0), nothing)
    assert take(consumer, 2) == [7, 8]
    assert broker.commits[0] == 7


def test_the_message_in_hand_at_a_break_is_not_committed_but_those_before_are(
    broker: FakeBroker, consumer: Consumer
) -> None:
    broker.append("abcd")
    with consumer:
        for message in consumer:
            if message.content == "c":
                break
        assert broker.commits == []
    assert broker.commits == [2]


def test_the_message_in_hand_at_an_error_is_not_committed_but_those_before_are(
    broker: FakeBroker, consumer: Consumer
) -> None:
    broker.append("abcd")

    def handle_two_and_fail() -> None:
        with consumer:
            for message in consumer:
                if message.content == "c":
                    raise Enough

    with pytest.raises(Enough):
        handle_two_and_fail()
    assert broker.commits == [2]


def test_leaving_at_the_first_message_commits_nothing(
    broker: FakeBroker, consumer: Consumer
) -> None:
    broker.append("abcd")
    with consumer:
        take(consumer, 1)
    assert broker.commits == []


def test_closing_twice_commits_once(broker: FakeBroker, consumer: Consumer) -> None:
    broker.append("abcd")
    take(consumer, 3)
    consumer.close()
    consumer.close()
    assert broker.commits == [2]


def test_the_message_in_hand_comes_again_in_another_process(
    broker: FakeBroker, new_consumer: NewConsumer
) -> None:
    broker.append("abcd")
    with new_consumer() as first:
        assert take(first, 3) == ["a", "b", "c"]
    assert take(new_consumer(), 2) == ["c", "d"]


def test_the_message_in_hand_comes_first_in_the_next_loop_and_those_before_do_not(
    broker: FakeBroker, consumer: Consumer
) -> None:
    broker.append("abcd")
    assert take(consumer, 3) == ["a", "b", "c"]
    assert take(consumer, 2) == ["c", "d"]
    assert broker.commits == [2]


def test_without_a_close_what_was_handled_since_the_last_commit_comes_again(
    broker: FakeBroker, new_consumer: NewConsumer
) -> None:
    broker.append("abcd")
    take(new_consumer(poll_max_messages=2), 4)
    assert take(new_consumer(), 2) == ["c", "d"]


def test_a_commit_in_the_body_counts_the_message_in_hand(
    broker: FakeBroker, consumer: Consumer
) -> None:
    broker.append("abcd")
    with consumer:
        for message in consumer:
            if message.content == "c":
                consumer.commit_offset(message.offset)
                break
    assert broker.commits == [3]


def test_a_commit_of_each_message_in_the_body_is_not_repeated(
    broker: FakeBroker, new_consumer: NewConsumer
) -> None:
    broker.append("abcd")
    with new_consumer(poll_max_messages=2) as consumer:
        for message in consumer:
            consumer.commit_offset(message.offset)
            if message.content == "d":
                break
    assert broker.commits == [1, 2, 3, 4]


def test_a_commit_ahead_in_the_body_is_not_taken_back(
    broker: FakeBroker, consumer: Consumer
) -> None:
    broker.append("abcd")
    with consumer:
        for message in consumer:
            if message.content == "a":
                consumer.commit_offset(4)
            if message.content == "d":
                break
    assert broker.commits == [4]


def test_a_partition_that_was_set_back_is_read_and_committed_again(
    broker: FakeBroker, new_consumer: NewConsumer
) -> None:
    broker.append("abcd")
    consumer = new_consumer(poll_max_messages=2)
    assert take(consumer, 3) == ["a", "b", "c"]
    broker.read_offset = 0
    assert take(consumer, 3) == ["a", "b", "c"]
    assert broker.commits == [2, 2]


def test_a_loop_goes_on_when_messages_come_later(broker: FakeBroker, consumer: Consumer) -> None:
    broker.script(registered(0), empty(), empty(lambda: broker.append("a")))
    assert take(consumer, 1) == ["a"]


def test_quick_empty_answers_are_followed_by_growing_pauses(
    broker: FakeBroker, consumer: Consumer, sleeps: list[float]
) -> None:
    broker.append("a")
    broker.script(registered(0), *[empty()] * 5)
    take(consumer, 1)
    assert sleeps == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_pause_is_never_none_at_all(
    broker: FakeBroker, new_consumer: NewConsumer, sleeps: list[float]
) -> None:
    broker.append("a")
    broker.script(registered(0), empty())
    take(new_consumer(jitter=lambda: 0.0, poll_wait_ms=0), 1)
    assert sleeps == [0.1]


def test_a_message_makes_the_pauses_short_again(
    broker: FakeBroker, consumer: Consumer, sleeps: list[float]
) -> None:
    broker.append("a")
    broker.script(registered(0), empty(), empty())
    messages = iter(consumer)
    next(messages)
    broker.script(
        success(
            committed=True,
            offset=1,
            topicId="orders",
            partitionId=0,
            consumerId="consumer-1",
            logEndOffset=1,
            newReadOffset=1,
            timestamp="",
        ),
        empty(),
    )
    next(messages)
    assert sleeps == [0.2, 0.4, 0.2]


def test_an_empty_answer_after_the_wait_is_followed_by_the_next_poll_at_once(
    broker: FakeBroker, new_consumer: NewConsumer, sleeps: list[float]
) -> None:
    now = [100.0]

    def the_wait_passes() -> None:
        now[0] += 5.0

    broker.append("a")
    broker.script(registered(0), empty(), *[empty(the_wait_passes)] * 2, empty())
    take(new_consumer(clock=lambda: now[0]), 1)
    # The two quick ones are each the first of their kind.
    assert sleeps == [0.2, 0.2]


def test_a_failed_commit_of_the_loop_is_tried_again_by_the_next(
    broker: FakeBroker, new_consumer: NewConsumer
) -> None:
    broker.append("abcd")
    consumer = new_consumer(poll_max_messages=2, retries=0)
    messages = iter(consumer)
    next(messages)
    next(messages)
    broker.script(HANG_UP)
    with pytest.raises(ConnectionFailed):
        next(messages)
    assert take(consumer, 1) == ["c"]
    assert broker.commits == [2, 2]


@pytest.mark.parametrize(
    ("lost", "error"),
    [
        (refusal(409, "NOT_ASSIGNED"), NotAssigned),
        (refusal(400, "INVALID_OFFSET"), InvalidOffset),
    ],
    ids=["not assigned", "invalid offset"],
)
def test_a_commit_that_can_never_succeed_is_raised_once(
    broker: FakeBroker, new_consumer: NewConsumer, lost: Reply, error: type[BrokerError]
) -> None:
    broker.append("abcd")
    consumer = new_consumer(poll_max_messages=2)
    messages = iter(consumer)
    next(messages)
    next(messages)
    broker.script(lost)
    with pytest.raises(error):
        next(messages)
    consumer.close()
    assert broker.commits == [2]


def test_offsets_of_one_partition_are_never_committed_to_another(
    broker: FakeBroker, consumer: Consumer
) -> None:
    broker.append("abcd")
    messages = iter(consumer)
    next(messages)
    next(messages)
    broker.partition_id = 1
    consumer.register()
    broker.log = ["x", "y", "z"]
    assert next(messages).content == "x"
    consumer.close()
    assert broker.commits == []


def test_registering_again_for_the_same_partition_forgets_nothing(
    broker: FakeBroker, consumer: Consumer
) -> None:
    broker.append("abcd")
    take(consumer, 3)
    consumer.register()
    consumer.close()
    assert broker.commits == [2]


def test_a_failed_commit_at_the_end_of_a_with_block_is_raised_and_the_sockets_are_closed(
    broker: FakeBroker, new_consumer: NewConsumer
) -> None:
    broker.append("abcd")
    consumer = new_consumer(retries=0)

    def handle_two() -> None:
        with consumer:
            take(consumer, 3)
            broker.script(HANG_UP)

    with pytest.raises(ConnectionFailed):
        handle_two()
    consumer.close()  # does nothing more
    with pytest.raises(ClientClosed):
        consumer.consume()


def test_a_failed_commit_does_not_hide_the_error_of_the_body(
    broker: FakeBroker, new_consumer: NewConsumer
) -> None:
    broker.append("abcd")

    def handle_two_and_fail() -> None:
        with new_consumer(retries=0) as consumer:
            take(consumer, 3)
            broker.script(HANG_UP)
            raise Enough

    with pytest.raises(Enough) as caught:
        handle_two_and_fail()
    assert "could not be committed either: no answer to POST" in caught.value.__notes__[0]


def test_a_loop_over_a_closed_consumer_says_so(broker: FakeBroker, consumer: Consumer) -> None:
    broker.append("a")
    messages = iter(consumer)
    next(messages)
    consumer.close()
    with pytest.raises(ClientClosed):
        next(messages)

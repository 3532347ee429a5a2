"""What becomes of a message that a consumer refuses."""

import pytest

from pandaq.config import Retry
from pandaq.errors import InvalidRequest
from pandaq.extra import Extra, Refusal, decode_extra, encode_extra
from pandaq.records import extra_of
from pandaq.refusal import MAX_REASON, Refuser, driven_back, refused

RETRY = Retry(max_attempts=3, delay_ms=100, max_delay_ms=150)
NOW_MS = 1_000


def line(extra: Extra = Extra(), topic: str = "orders", offset: int = 7) -> bytes:  # noqa: B008
    more = encode_extra(extra)
    return b"%b|2|%d|m|1" % (topic.encode(), offset) + (b"|" + more if more else b"")


def parts(body: bytes) -> tuple[bytes, bytes, Extra]:
    topic_id, payload = body.split(b"|", 1)
    return topic_id, payload.split(b"|")[0], decode_extra(extra_of(payload))


def test_a_copy_keeps_all_that_the_message_has_and_says_whose_it_is() -> None:
    sent = Extra("k|1", {"h": "x|y"}, expires_at=5_000, delayed=3)
    copy = refused(line(sent), Refuser("g", "why"), RETRY, NOW_MS)
    assert (copy.attempts, copy.deliver_at, copy.is_dead) == (1, 1_100, False)
    refusal = Refusal("g", 1, 2, 7, "why")
    expected = Extra("k|1", {"h": "x|y"}, 1_100, 5_000, None, refusal)
    assert parts(copy.body) == (b"orders", b"m", expected)


def test_each_time_it_comes_later_up_to_a_limit_and_remembers_where_it_stood_first() -> None:
    first = refused(line(), Refuser("g"), RETRY, NOW_MS)
    again = line(parts(first.body)[2], offset=40)
    second = refused(again, Refuser("g"), RETRY, NOW_MS)
    assert (second.attempts, second.deliver_at) == (2, 1_150)
    assert parts(second.body)[2].refusal == Refusal("g", 2, 2, 7)


@pytest.mark.parametrize(("delay_ms", "due"), [(0, None), (5, 1_005)])
def test_who_refuses_may_say_when_it_comes(delay_ms: int, due: int | None) -> None:
    copy = refused(line(), Refuser("g", "", delay_ms), RETRY, NOW_MS)
    assert copy.deliver_at == NOW_MS + delay_ms
    assert parts(copy.body)[2].deliver_at == due


def test_after_the_last_attempt_it_goes_to_the_dead_letters_for_good() -> None:
    before = Extra("k", {"h": "x"}, expires_at=9, refusal=Refusal("g", 2, 5, 4))
    copy = refused(line(before), Refuser("g", "r" * 2_000), RETRY, NOW_MS)
    assert (copy.topic_id, copy.is_dead, copy.attempts) == ("orders.dlq", True, 3)
    topic_id, _, extra = parts(copy.body)
    assert topic_id == b"orders.dlq"
    said = {
        "h": "x",
        "dlq-topic": "orders",
        "dlq-partition": "5",
        "dlq-offset": "4",
        "dlq-group": "g",
        "dlq-attempts": "3",
        "dlq-reason": "r" * MAX_REASON,
    }
    assert extra == Extra("k", said)


def test_a_dead_letter_cannot_be_refused() -> None:
    with pytest.raises(InvalidRequest, match="dead letters"):
        refused(line(topic="orders.dlq"), Refuser("g"), RETRY, NOW_MS)


def test_a_dead_letter_that_is_driven_back_is_as_before_its_first_refusal() -> None:
    once = Retry(max_attempts=1)
    dead = refused(line(Extra("k", {"h": "x"})), Refuser("g", "why"), once, NOW_MS)
    topic_id, payload = dead.body.split(b"|", 1)
    back = driven_back(topic_id + b"|0|1|" + payload)
    assert parts(back) == (b"orders", b"m", Extra("k", {"h": "x"}, refusal=Refusal("g", 0, 2, 7)))
    for_all = driven_back(b"orders.dlq|0|1|m|1")
    assert for_all == b"orders|m|1"

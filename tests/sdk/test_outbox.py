"""Which messages form the next batch, and when it is due."""

from concurrent.futures import Future
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq_sdk.outbox import Outbox, OutboxLimits, Outgoing


def message(size_bytes: int = 9, came_s: float = 0.0) -> Outgoing:
    return Outgoing(b"x" * size_bytes, "m", Future(), came_s)


def outbox(*messages: Outgoing, **limits: float) -> Outbox:
    box = Outbox(OutboxLimits(**limits))  # type: ignore[arg-type]
    for each in messages:
        box.put(each)
    return box


def test_an_empty_outbox_is_never_due() -> None:
    assert outbox().due_in_s(1e9) is None


def test_a_batch_is_due_when_its_first_message_has_lingered() -> None:
    box = outbox(message(came_s=7.0), message(came_s=7.9), linger_ms=1000)
    assert box.due_in_s(7.0) == 1.0
    assert box.due_in_s(7.75) == 0.25
    assert box.due_in_s(8.0) == 0.0
    assert box.due_in_s(99.0) == 0.0


def test_what_a_batch_leaves_behind_lingers_from_when_it_came() -> None:
    box = outbox(*[message(came_s=float(n)) for n in range(3)], batch_max=2, linger_ms=5000)
    box.take()
    assert box.due_in_s(2.0) == 5.0


def test_without_linger_a_message_is_due_at_once() -> None:
    assert outbox(message(came_s=3.0), linger_ms=0).due_in_s(3.0) == 0.0


def test_a_batch_with_as_many_messages_as_allowed_is_due_at_once() -> None:
    box = outbox(message(), batch_max=2)
    assert box.due_in_s(0.0) != 0.0
    box.put(message())
    assert box.due_in_s(0.0) == 0.0


def test_a_batch_with_as_many_bytes_as_allowed_is_due_at_once() -> None:
    box = outbox(message(9), batch_max_bytes=20)
    assert box.due_in_s(0.0) != 0.0
    box.put(message(9))
    assert box.due_in_s(0.0) == 0.0


def test_what_is_wanted_does_not_linger_and_what_comes_after_it_does() -> None:
    box = outbox(message(), message(), batch_max=2, linger_ms=1000)
    box.want()
    box.put(message())
    assert box.due_in_s(0.0) == 0.0
    assert len(box.take()) == 2
    assert box.due_in_s(0.0) == 1.0


def test_what_is_wanted_beyond_one_batch_does_not_linger_either() -> None:
    box = outbox(*[message()] * 5, batch_max=4, linger_ms=1000)
    box.want()
    box.take()
    assert box.due_in_s(0.0) == 0.0


def test_a_message_larger_than_a_batch_goes_alone() -> None:
    small, large = message(5), message(500)
    box = outbox(small, large, small, batch_max_bytes=100)
    assert [box.take() for _ in range(3)] == [[small], [large], [small]]


def test_only_what_changes_when_a_batch_is_due_is_told() -> None:
    box = outbox(batch_max=3, batch_max_bytes=30)
    assert [box.put(message(4)) for _ in range(4)] == [True, False, True, False]
    box = outbox(batch_max=100, batch_max_bytes=30)
    assert [box.put(message(9)) for _ in range(4)] == [True, False, True, False]


def test_there_is_room_up_to_as_many_messages_as_allowed() -> None:
    box = outbox(message(), buffer_max=2)
    assert box.has_room(1)
    box.put(message())
    assert not box.has_room(1)


def test_there_is_room_up_to_as_many_bytes_as_allowed() -> None:
    box = outbox(message(9), buffer_max_bytes=20)
    assert box.has_room(9)
    assert not box.has_room(10)


def test_into_an_empty_outbox_every_message_fits() -> None:
    assert outbox(buffer_max_bytes=20).has_room(1000)


def test_a_batch_on_its_way_keeps_its_room_until_it_is_released() -> None:
    box = outbox(message(), message(), buffer_max=2)
    box.take()
    assert not box.has_room(1)
    assert box.has_room(1, answering=True)
    assert (box.count, box.size_bytes) == (2, 20)
    assert box.release() == 2
    assert box.has_room(1)
    assert (box.count, box.size_bytes) == (0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"linger_ms": -1},
        {"linger_ms": float("nan")},
        {"batch_max": 0},
        {"batch_max_bytes": 0},
        {"buffer_max": 0},
        {"buffer_max_bytes": 0},
    ],
    ids=str,
)
def test_limits_that_cannot_be_right_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))} is .*; it must be"):
        outbox(**wrong)


@given(
    st.lists(st.integers(0, 50), max_size=40),
    st.integers(1, 10),
    st.integers(1, 100),
)
def test_batches_keep_the_order_and_the_limits_and_are_as_large_as_these_allow(
    sizes: list[int], batch_max: int, batch_max_bytes: int
) -> None:
    messages = [message(size) for size in sizes]
    box = outbox(*messages, batch_max=batch_max, batch_max_bytes=batch_max_bytes)
    batches = []
    while box.due_in_s(1e9) is not None:
        batches.append(box.take())
        box.release()
    assert [each for batch in batches for each in batch] == messages
    assert (box.count, box.size_bytes) == (0, 0)

    def bytes_of(batch: list[Outgoing]) -> int:
        return sum(len(each.encoded) + 1 for each in batch)

    for batch in batches:
        assert len(batch) <= batch_max
        assert len(batch) == 1 or bytes_of(batch) <= batch_max_bytes
    for batch, after in pairwise(batches):
        assert len(batch) == batch_max or bytes_of([*batch, after[0]]) > batch_max_bytes

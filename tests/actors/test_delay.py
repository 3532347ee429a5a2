"""The delay: what waits, goes when it is due, and goes once."""

from collections.abc import Sequence

import pytest

from pandaq.actors.delay import Delay
from pandaq.actors.messages import (
    AppendDelayed,
    CheckRoom,
    DescribeDelayed,
    MarkSent,
    Release,
    Sync,
    TakeDue,
)
from pandaq.errors import DelayFull, StorageFull
from pandaq.extra import Extra, encode_extra
from pandaq.offsets import Offsets
from pandaq.storage.delayed import KEY
from pandaq.storage.store import Store
from tests.actors.stage import ALL, Clock
from tests.simulated_disk import SimulatedDisk


@pytest.fixture
def delay(store: Store, clock: Clock) -> Delay:
    return Delay(store.delayed, clock, max_delayed=3)


def waiting(name: str, clock: Clock, delay_ms: int) -> bytes:
    extra = encode_extra(Extra(deliver_at=clock.now_ms + delay_ms))
    return b"orders|%b|1|%b" % (name.encode(), extra)


def gone(name: str, offset: int) -> bytes:
    return b"orders|%b|1|%b" % (name.encode(), encode_extra(Extra(delayed=offset)))


def append(delay: Delay, offsets: Sequence[int], *bodies: bytes) -> Sequence[bool]:
    counts: Sequence[bool] = delay.on_receive(AppendDelayed(offsets, bodies))
    return counts


def due(delay: Delay) -> list[str]:
    return [b.split(b"|")[1].decode() for b in delay.on_receive(TakeDue(ALL, ALL)).bodies]


def test_what_is_due_by_the_clock_is_given_until_it_is_sent(delay: Delay, clock: Clock) -> None:
    append(delay, [1, 2], waiting("a", clock, 100), waiting("b", clock, 50))
    assert due(delay) == []
    clock.now_ms += 50
    assert due(delay) == due(delay) == ["b"]
    assert delay.on_receive(MarkSent([2])) == clock.now_ms + 50
    assert due(delay) == []


def test_a_batch_that_comes_again_does_nothing_and_has_the_same_answer(
    delay: Delay, clock: Clock
) -> None:
    append(delay, [1, 2], waiting("a", clock, 1), waiting("b", clock, 1))
    batch = [3, 5, 6], gone("a", 1), gone("a", 1), waiting("c", clock, 1)
    assert append(delay, *batch) == [True, False, True]
    assert append(delay, *batch) == [True, False, True]
    # And where it was cut short: what is new of it is done.
    assert append(delay, [3, 5, 6, 7], *batch[1:], gone("b", 2)) == [True, False, True, True]
    assert delay.on_receive(DescribeDelayed()).count == 1


def test_an_append_without_room_can_come_again(
    delay: Delay, clock: Clock, disk: SimulatedDisk
) -> None:
    disk.fail("write", "delayed.log", error=OSError(28, "no room"))
    with pytest.raises(StorageFull):
        append(delay, [1], waiting("a", clock, 1))
    assert append(delay, [1], waiting("a", clock, 1)) == [True]
    assert delay.on_receive(DescribeDelayed()).count == 1


def test_there_is_room_for_so_many(delay: Delay, clock: Clock) -> None:
    append(delay, [1, 2], waiting("a", clock, 1), waiting("b", clock, 1))
    delay.on_receive(CheckRoom(1))
    with pytest.raises(DelayFull, match="maxDelayed"):
        delay.on_receive(CheckRoom(2))


def test_a_checkpoint_syncs_it_and_lets_go_of_what_has_gone(delay: Delay, clock: Clock) -> None:
    for number in range(1, 21):
        append(delay, [2 * number], waiting("x" * 20, clock, 1))
        append(delay, [2 * number + 1], gone("x" * 20, 2 * number - 1))
    assert delay.on_receive(Sync()) == {KEY: Offsets(40, 40)}
    assert delay.on_receive(Release(40)) > 0
    description = delay.on_receive(DescribeDelayed())
    assert (description.count, description.next_due_ms, description.problem) == (0, None, None)

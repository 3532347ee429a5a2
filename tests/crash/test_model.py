"""Whatever callers, the disk and its ends do, the HTTP API answers as a plain model does."""

import logging
from collections.abc import Iterable

import pytest

from tests.crash import model
from tests.crash.plain_model import PARTITIONS, Item, Partition, PlainModel, Sent

# Shrinking a sequence that fails takes longer than a run in which none does.
pytestmark = pytest.mark.timeout(400)


def test_every_answer_is_that_of_a_plain_model_whatever_ends_the_broker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "pandaq")
    before = model.counts.copy()
    model.run(examples=100, seed=1)
    done = model.counts - before
    # Were rules never run, or all requests refused, all would pass with nothing looked at.
    writes = ("produce", "batch", "commit", "register")
    troubles = {status: sum(done[f"{kind} {status}"] for kind in writes) for status in (503, 507)}
    assert min(troubles.values()) >= 3, troubles
    ends = {"restarts": 40, "kills": 30, "crashes": 30}
    answers = {"produce 200": 50, "batch 200": 50, "consume 200": 1_000, "commit 200": 20}
    refusals = {"wrong 400": 20, "wrong 404": 3, "commit 400": 10, "commit 409": 3}
    for kind, least in (ends | answers | refusals | {"register 200": 15, "health 503": 1}).items():
        assert done[kind] >= least, f"{kind}: {done[kind]} of at least {least}; {model.summary()}"


def test_a_torn_batch_without_an_answer_may_be_there_in_part_and_an_ended_process_tears_none() -> (
    None
):
    batch = Sent([(("orders", number % 2), Item(str(number), "1")) for number in range(4)])
    plain = PlainModel()
    for numbers in ([0, 1], [2, 3], [1, 2]):
        plain.doubtful = [batch]
        part = surplus(batch.items[number] for number in numbers)
        with pytest.raises(AssertionError, match="nobody sent this"):
            plain.adopt(part, torn=False)
        plain.adopt(part, torn=True)
        assert plain.doubtful == []
    assert plain.logs["orders", 1] == [Item("1", "1"), Item("3", "1"), Item("1", "1")]


@pytest.mark.parametrize("numbers", [[0, 0], [2, 0], [0, 2]])
def test_no_tear_explains_a_message_that_is_there_twice_or_in_another_place(
    numbers: list[int],
) -> None:
    plain = PlainModel()
    plain.doubtful = [Sent([(("orders", 0), Item(str(number), "1")) for number in range(3)])]
    with pytest.raises(AssertionError, match="nobody sent this"):
        plain.adopt(surplus((("orders", 0), Item(str(n), "1")) for n in numbers), torn=True)


def surplus(items: Iterable[tuple[Partition, Item]]) -> dict[Partition, list[Item]]:
    """Return what a start has found beyond what is certain, by partition."""
    found: dict[Partition, list[Item]] = {partition: [] for partition in PARTITIONS}
    for partition, item in items:
        found[partition].append(item)
    return found

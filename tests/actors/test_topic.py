"""A topic: each message to the partition of its key, and one answer for all partitions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaq.actors.messages import (
    DescribeQueue,
    DescribeTopic,
    QueueDescription,
    Retain,
    Sync,
)
from pandaq.actors.topic import Topic
from pandaq.errors import StorageFailed, StorageFull
from pandaq.offsets import Offsets
from pandaq.records import keys_of
from pandaq.routing import partition_for
from tests.actors.stage import FakeRef, answering, failing, ids_for, numbered, routed


def topic_of(*partitions: FakeRef) -> Topic:
    return Topic(partitions, 5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1), max_size=30), st.integers(1, 7))
def test_each_message_goes_to_the_partition_of_its_key_and_order_is_kept(
    message_ids: list[str], count: int
) -> None:
    partitions = [FakeRef() for _ in range(count)]
    messages = numbered(message_ids)
    topic_of(*partitions).on_receive(routed(*messages))
    for number, partition in enumerate(partitions):
        expected = [
            (offset, payload)
            for offset, payload in messages
            if partition_for(keys_of([payload])[0], count) == number
        ]
        assert partition.asked == ([routed(*expected)] if expected else [])


def test_the_key_is_the_message_id_that_the_producer_sent() -> None:
    partitions = [FakeRef() for _ in range(50)]
    topic_of(*partitions).on_receive(routed(*numbered(['a|"b"\n'])))
    asked = [number for number, partition in enumerate(partitions) if partition.asked]
    assert asked == [partition_for(b'a|"b"\n', 50)]


def test_where_one_partition_fails_the_others_have_theirs_and_the_asker_hears() -> None:
    partitions = [failing(StorageFull("a")), FakeRef(), FakeRef()]
    message_ids = [ids_for(number, 1, 3)[0] for number in range(3)]
    with pytest.raises(StorageFull):
        topic_of(*partitions).on_receive(routed(*numbered(message_ids)))
    assert [len(partition.asked) for partition in partitions] == [1, 1, 1]


def test_a_sync_gives_the_ends_of_all_partitions() -> None:
    topic = topic_of(answering({"a": Offsets(1)}), answering({"b": Offsets(2)}))
    assert topic.on_receive(Sync()) == {"a": Offsets(1), "b": Offsets(2)}


def test_a_sync_that_one_partition_fails_has_failed() -> None:
    topic = topic_of(answering({"a": Offsets(1)}), failing(StorageFailed("b", "broken")))
    with pytest.raises(StorageFailed):
        topic.on_receive(Sync())


def test_retaining_counts_the_segments_of_all_partitions() -> None:
    assert topic_of(*(answering(2) for _ in range(3))).on_receive(Retain({})) == 6


def test_it_describes_its_partitions_in_order() -> None:
    queues = [QueueDescription(Offsets(end, 0), 0, None) for end in (5, 3, 9)]
    partitions = [answering(queue) for queue in queues]
    assert topic_of(*partitions).on_receive(DescribeTopic()) == queues
    assert all(partition.asked == [DescribeQueue()] for partition in partitions)

"""Which consumer has which partition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.assignments import Assignments
from pandaq.errors import NoPartitionAvailable, NotAssigned

CONSUMERS = st.sampled_from(["alice", "bob", "carol", "dave"])


def assigned(partitions: int, *holders: str | None) -> Assignments:
    topic = Assignments("orders", partitions)
    for partition_id, holder in enumerate(holders):
        if holder is not None:
            topic = topic.claimed(partition_id, holder)
    return topic


def holders(topic: Assignments) -> list[str | None]:
    return [topic.holder(partition_id) for partition_id in range(topic.partitions)]


class TestRegistering:
    def test_who_is_new_gets_the_first_free_partition(self) -> None:
        topic, partition_id = assigned(4, "bob", None, "carol", None).registered("alice")
        assert partition_id == 1
        assert holders(topic) == ["bob", "alice", "carol", None]

    def test_who_registers_again_gets_the_same(self) -> None:
        topic = assigned(3, None, "alice", None)
        assert topic.registered("alice") == (topic, 1)

    def test_who_has_several_gets_the_first_of_them(self) -> None:
        topic = assigned(3, "bob", "alice", "alice")
        assert topic.registered("alice") == (topic, 1)

    def test_who_has_one_gets_it_though_all_are_taken(self) -> None:
        topic = assigned(2, "bob", "alice")
        assert topic.registered("alice") == (topic, 1)

    def test_who_comes_when_all_are_taken_is_refused(self) -> None:
        with pytest.raises(NoPartitionAvailable) as raised:
            assigned(2, "bob", "carol").registered("alice")
        assert (raised.value.topic_id, raised.value.partitions) == ("orders", 2)


class TestClaiming:
    def test_a_claim_of_a_free_partition_assigns_it(self) -> None:
        assert holders(assigned(3, "bob").claimed(2, "alice")) == ["bob", None, "alice"]

    def test_a_claim_of_ones_own_changes_nothing(self) -> None:
        topic = assigned(2, "alice")
        assert topic.claimed(0, "alice") is topic

    def test_a_claim_of_anothers_is_refused(self) -> None:
        with pytest.raises(NotAssigned) as raised:
            assigned(2, "bob").claimed(0, "alice")
        error = raised.value
        assert (error.topic_id, error.partition_id, error.consumer_id) == ("orders", 0, "alice")


def test_a_change_leaves_the_map_before_it_as_it_was() -> None:
    topic = assigned(2, "bob")
    topic.claimed(1, "alice")
    topic.registered("alice")
    assert holders(topic) == ["bob", None]


def test_the_consumers_cannot_be_changed_in_place() -> None:
    for topic in (Assignments("orders", 1), assigned(1, "bob")):
        with pytest.raises(TypeError):
            topic.consumers[0] = "alice"  # type: ignore[index]


@given(
    partitions=st.integers(1, 4),
    calls=st.lists(st.tuples(st.none() | st.integers(0, 3), CONSUMERS), max_size=30),
)
def test_whatever_is_asked_a_partition_keeps_its_only_holder(
    partitions: int, calls: list[tuple[int | None, str]]
) -> None:
    topic = Assignments("orders", partitions)
    for partition_id, consumer_id in calls:
        before = holders(topic)
        if partition_id is None:
            expected = before.index(consumer_id) if consumer_id in before else None
            if expected is None and None in before:
                expected = before.index(None)
            if expected is None:
                with pytest.raises(NoPartitionAvailable):
                    topic.registered(consumer_id)
                continue
            topic, got = topic.registered(consumer_id)
            assert got == expected
            assert topic.registered(consumer_id) == (topic, got)
        else:
            expected = got = partition_id % partitions
            if before[got] not in (None, consumer_id):
                with pytest.raises(NotAssigned):
                    topic.claimed(got, consumer_id)
                continue
            topic = topic.claimed(got, consumer_id)
        after = [*before[:got], consumer_id, *before[got + 1 :]]
        assert holders(topic) == after
        assert set(topic.consumers) <= set(range(partitions))

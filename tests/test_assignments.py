"""Which consumer has which partition."""

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.assignments import Assignments, Member
from pandaq.errors import NoPartitionAvailable, NotAssigned

CONSUMERS = st.sampled_from(["alice", "bob", "carol", "dave", "erin"])
SHARE = Member(share=True)
LEASED = Member(lease_ms=100)


def assigned(partitions: int, *holders: str | None) -> Assignments:
    topic = Assignments("orders", partitions)
    for partition_id, holder in enumerate(holders):
        if holder is not None:
            topic = topic.claimed(partition_id, holder)
    return topic


def shared(partitions: int, *consumers: str) -> Assignments:
    group = Assignments("orders", partitions)
    for consumer in consumers:
        group = group.registered(consumer, SHARE)
    return group


def holders(topic: Assignments) -> list[str | None]:
    return [topic.holder(partition_id) for partition_id in range(topic.partitions)]


def counts(group: Assignments) -> list[int]:
    return sorted(len(group.held_by(consumer)) for consumer in group.members)


class TestRegistering:
    def test_who_is_new_gets_the_first_free_partition(self) -> None:
        topic = assigned(4, "bob", None, "carol", None).registered("alice")
        assert topic.held_by("alice") == [1]
        assert holders(topic) == ["bob", "alice", "carol", None]

    def test_who_registers_again_gets_the_same(self) -> None:
        topic = assigned(3, None, "alice", None)
        assert topic.registered("alice") is topic

    def test_who_has_several_keeps_them(self) -> None:
        topic = assigned(3, "bob", "alice", "alice")
        assert topic.registered("alice").held_by("alice") == [1, 2]

    def test_who_has_one_keeps_it_though_all_are_taken(self) -> None:
        topic = assigned(2, "bob", "alice")
        assert topic.registered("alice") is topic

    def test_who_comes_when_all_are_taken_is_refused(self) -> None:
        with pytest.raises(NoPartitionAvailable) as raised:
            assigned(2, "bob", "carol").registered("alice")
        assert (raised.value.topic_id, raised.value.partitions) == ("orders", 2)

    def test_new_terms_take_the_place_of_the_old_ones_and_move_nothing(self) -> None:
        topic = Assignments("orders", 2).registered("alice", LEASED)
        again = topic.registered("alice")
        assert again.members == {"alice": Member()}
        assert (holders(again), again.generation(0)) == (holders(topic), topic.generation(0))


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

    def test_who_lost_its_lease_gets_the_partition_back_on_a_lease_and_not_for_ever(self) -> None:
        topic = Assignments("orders", 1).registered("alice", LEASED).left(["alice"])
        assert topic.claimed(0, "alice").members == {"alice": LEASED}
        assert topic.claimed(0, "bob").members == {"bob": Member()}


class TestLeaving:
    def test_what_a_consumer_had_is_free(self) -> None:
        topic = assigned(3, "bob", "alice", "alice").left(["alice"])
        assert holders(topic) == ["bob", None, None]
        assert topic.registered("carol").held_by("carol") == [1]

    def test_who_is_no_member_changes_nothing(self) -> None:
        topic = assigned(1, "bob")
        assert topic.left(["alice"]) is topic

    def test_a_lease_runs_out_when_nothing_is_heard_for_longer(self) -> None:
        topic = Assignments("orders", 3).registered("alice", LEASED).registered("bob")
        assert topic.lapsed({"alice": 100, "bob": 10**9}) == []
        assert topic.lapsed({"alice": 100.5, "bob": 10**9}) == ["alice"]


class TestGenerations:
    def test_each_change_of_hands_gives_a_higher_one(self) -> None:
        topic = Assignments("orders", 1)
        assert topic.generation(0) == 0
        topic = topic.registered("alice")
        assert topic.generation(0) == 1
        topic = topic.left(["alice"])
        assert topic.generation(0) == 1
        assert topic.registered("bob").generation(0) == 2

    def test_also_where_the_same_consumer_comes_back(self) -> None:
        topic = assigned(1, "alice").left(["alice"]).registered("alice")
        assert topic.generation(0) == 2

    def test_only_the_holder_passes_and_only_with_the_current_one(self) -> None:
        topic = assigned(1, "alice")
        topic.check_holder(0, "alice", None)
        topic.check_holder(0, "alice", 1)
        for consumer, generation in (("alice", 2), ("bob", None), ("bob", 1)):
            with pytest.raises(NotAssigned):
                topic.check_holder(0, consumer, generation)


class TestSharing:
    def test_one_has_all(self) -> None:
        assert shared(3, "alice").held_by("alice") == [0, 1, 2]

    def test_a_second_one_gets_half_and_the_first_keeps_the_rest(self) -> None:
        group = shared(4, "alice", "bob")
        assert (group.held_by("alice"), group.held_by("bob")) == ([0, 1], [2, 3])
        assert [group.generation(n) for n in range(4)] == [1, 1, 2, 2]

    def test_more_members_than_partitions_leave_some_with_none(self) -> None:
        group = shared(2, "alice", "bob", "carol")
        assert counts(group) == [0, 1, 1]
        assert group.left(["alice"]).held_by("carol")

    def test_who_does_not_share_keeps_its_own_and_the_others_divide_the_rest(self) -> None:
        group = assigned(5, None, "zoe").registered("alice", SHARE).registered("bob", SHARE)
        assert group.held_by("zoe") == [1]
        assert (group.held_by("alice"), group.held_by("bob")) == ([0, 2], [3, 4])

    def test_who_does_not_share_finds_nothing_where_others_share_all(self) -> None:
        with pytest.raises(NoPartitionAvailable):
            shared(3, "alice").registered("bob")

    def test_who_stops_sharing_keeps_one(self) -> None:
        group = shared(4, "alice", "bob").registered("alice")
        assert (group.held_by("alice"), group.held_by("bob")) == ([0], [1, 2, 3])

    def test_who_begins_to_share_divides_with_the_others(self) -> None:
        group = assigned(4, "alice", "alice", "alice").registered("alice", SHARE)
        assert group.held_by("alice") == [0, 1, 2, 3]

    def test_partitions_that_are_new_are_divided(self) -> None:
        before = shared(2, "alice", "bob")
        after = Assignments.of("orders", 4, dict(before.holdings), {}).divided()
        assert counts(after) == [2, 2]
        assert after.divided() is after

    def test_a_member_that_has_nothing_is_put_together_too(self) -> None:
        group = Assignments.of("orders", 1, {}, {"alice": SHARE}).divided()
        assert group.held_by("alice") == [0]


def test_a_change_leaves_the_map_before_it_as_it_was() -> None:
    topic = assigned(2, "bob")
    topic.claimed(1, "alice")
    topic.registered("alice")
    topic.left(["bob"])
    assert holders(topic) == ["bob", None]


def test_the_map_cannot_be_changed_in_place() -> None:
    for topic in (Assignments("orders", 1), assigned(1, "bob")):
        with pytest.raises(TypeError):
            topic.members["alice"] = Member()  # type: ignore[index]
        with pytest.raises(TypeError):
            del topic.holdings[0]  # type: ignore[attr-defined]


# A call: who, and whether it joins, on a lease, sharing, leaves, lapses, or claims a partition.
CALLS = st.lists(
    st.tuples(
        CONSUMERS,
        st.sampled_from(["join", "lease", "share", "share", "leave", "lapse"]) | st.integers(0, 7),
    ),
    max_size=40,
)


def after_call(group: Assignments, consumer: str, call: str | int) -> Assignments:
    match call:
        case "join":
            return group.registered(consumer)
        case "lease":
            return group.registered(consumer, LEASED)
        case "share":
            return group.registered(consumer, Member(100, share=True))
        case "leave":
            return group.left([consumer])
        case "lapse":
            silent: Mapping[str, float] = dict.fromkeys(group.members, 0) | {consumer: 101}
            return group.left(group.lapsed(silent))
        case _:
            return group.claimed(int(call) % group.partitions, consumer)


@given(partitions=st.integers(1, 8), calls=CALLS)
def test_whatever_comes_and_goes_the_rules_hold(
    partitions: int, calls: list[tuple[str, str | int]]
) -> None:
    group = Assignments("orders", partitions)
    for consumer, call in calls:
        before = group
        try:
            group = after_call(group, consumer, call)
        except NoPartitionAvailable:
            assert call in ("join", "lease")
            assert None not in holders(group)
            assert not group.held_by(consumer)
            continue
        except NotAssigned:
            assert holders(group)[int(call) % partitions] not in (None, consumer)
            continue
        check(before, group, consumer, call)


def check(before: Assignments, after: Assignments, consumer: str, call: str | int) -> None:
    sharing = {name for name, member in after.members.items() if member.share}
    holding = set(filter(None, holders(after)))
    # A partition belongs to a member, and whoever does not share is a member by having one.
    assert holding <= after.members.keys()
    assert after.members.keys() - sharing <= holding
    if sharing:
        # All is owned, and fair to within one.
        assert None not in holders(after)
        of_sharing = [len(after.held_by(name)) for name in sharing]
        assert max(of_sharing) - min(of_sharing) <= 1
        assert max(of_sharing) <= -(-after.partitions // len(sharing))
    for n in range(after.partitions):
        # What changes hands gets a higher generation, and nothing else does.
        moved = after.holder(n) is not None and after.holder(n) != before.holder(n)
        assert after.generation(n) == before.generation(n) + moved
        # Who does not share loses nothing to others.
        holder = before.holder(n)
        if holder is not None and holder != consumer and not before.members[holder].share:
            assert after.holder(n) == holder
    if call == "join":
        assert after.held_by(consumer)
    if call == "leave":
        assert consumer not in after.members
    check_moves(before, after, consumer)


def check_moves(before: Assignments, after: Assignments, consumer: str) -> None:
    """No more is moved from one sharing member to another than fairness needs."""
    sharing = [name for name, member in after.members.items() if member.share]
    kept = [name for name in sharing if name in before.members and before.members[name].share]
    had = {name: len(before.held_by(name)) for name in kept if name != consumer}
    pool = sum(len(after.held_by(name)) for name in sharing)
    if not sharing or not had:
        return
    least, more = divmod(pool, len(sharing))
    # The fewest that can go: all that is above a fair share, those who have most having one more.
    others = sorted([*had.values(), len(before.held_by(consumer)) * (consumer in kept)])[::-1]
    fewest = sum(max(count - least - (place < more), 0) for place, count in enumerate(others))
    moved = sum(
        before.holder(n) in had and after.holder(n) not in (before.holder(n), None)
        for n in range(after.partitions)
    )
    taken_by_claim = any(
        before.holder(n) in had
        and after.holder(n) == consumer
        and not after.members[consumer].share
        for n in range(after.partitions)
        if consumer in after.members
    )
    assert moved <= fewest or taken_by_claim


@given(partitions=st.integers(1, 20), members=st.integers(1, 8))
def test_one_who_joins_moves_no_more_than_its_share(partitions: int, members: int) -> None:
    groups = [Assignments("orders", partitions)]
    for number in range(members):
        groups.append(groups[-1].registered(f"c{number}", SHARE))
    for number, (before, after) in enumerate(pairwise(groups)):
        moved = sum(a != b for a, b in zip(holders(before), holders(after), strict=True))
        newcomer = f"c{number}"
        assert moved == len(after.held_by(newcomer))
        assert moved <= -(-partitions // (number + 1))

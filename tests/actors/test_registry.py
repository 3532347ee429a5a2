"""The registry: who has which partition, on disk before anybody is told."""

import errno
from typing import Any

import pytest

from pandaq.actors.messages import (
    AddTopic,
    Assigned,
    Check,
    CheckCommit,
    Claim,
    DeleteGroup,
    DescribeGroups,
    DescribeTrouble,
    DropGroup,
    Forget,
    GroupDescription,
    Heartbeat,
    OpenGroup,
    Register,
    SetOwner,
    Unregister,
)
from pandaq.actors.registry import Registry, RegistryLimits
from pandaq.assignments import Member
from pandaq.errors import (
    ConsumerNotFound,
    GroupInUse,
    GroupNotFound,
    InvalidOffset,
    NoPartitionAvailable,
    NotAssigned,
    OutcomeUnknown,
    StorageFailed,
    StorageFull,
    TooMany,
)
from pandaq.storage.recovery import open_store
from pandaq.storage.store import Store
from pandaq.storage.tpc_log import Assignment, Terms
from tests.actors.stage import TPC_LOG, Clock, FakeRef, small_config
from tests.simulated_disk import SimulatedDisk

LEASED = Member(lease_ms=1_000)
SHARING = Member(lease_ms=1_000, share=True)


def refuse_beyond_three(message: Any) -> None:
    if isinstance(message, CheckCommit) and not 0 <= message.offset <= 3:
        raise InvalidOffset(message.offset, 0, 3)


@pytest.fixture
def partitions() -> dict[str, list[FakeRef]]:
    return {
        "orders": [FakeRef(refuse_beyond_three) for _ in range(2)],
        "events": [FakeRef(refuse_beyond_three)],
    }


@pytest.fixture
def journals() -> dict[str, FakeRef]:
    return {"orders": FakeRef(), "events": FakeRef()}


class Scene:
    """Makes registries of the same topics, clock and files."""

    def __init__(
        self, partitions: dict[str, list[FakeRef]], journals: dict[str, FakeRef], clock: Clock
    ) -> None:
        self.partitions = partitions
        self.journals = journals
        self.clock = clock

    def registry(self, store: Store, *groups: tuple[str, str]) -> Registry:
        return Registry(
            self.partitions,
            self.journals,
            groups,
            store.assignments,
            store.assignment_log,
            RegistryLimits(max_groups=2, max_members=3),
            self.clock,
            5,
        )

    def told(self, topic_id: str = "orders") -> list[list[Any]]:
        """Return what each partition of a topic was told since the last look."""
        told = [list(each.told) for each in self.partitions[topic_id]]
        for each in self.partitions[topic_id]:
            each.told.clear()
        return told


@pytest.fixture
def scene(
    partitions: dict[str, list[FakeRef]], journals: dict[str, FakeRef], clock: Clock
) -> Scene:
    return Scene(partitions, journals, clock)


@pytest.fixture
def registry(store: Store, scene: Scene) -> Registry:
    return scene.registry(store)


def described(registry: Registry, topic_id: str, group: str = "") -> GroupDescription | None:
    groups: list[GroupDescription] = registry.on_receive(DescribeGroups())
    found = [each for each in groups if (each.topic_id, each.group) == (topic_id, group)]
    return found[0] if found else None


def assigned(registry: Registry, group: str = "") -> dict[tuple[str, int], str]:
    return {
        (each.topic_id, number): consumer_id
        for each in registry.on_receive(DescribeGroups())
        if each.group == group
        for number, (consumer_id, _) in each.holders.items()
    }


def register(
    registry: Registry,
    consumer_id: str,
    group: str = "",
    member: Member = Member(),  # noqa: B008
    topic_id: str = "orders",
) -> list[int]:
    found: Assigned = registry.on_receive(Register(topic_id, consumer_id, group, member))
    assert found.lease_ms == member.lease_ms
    return [number for number, _ in found.partitions]


def on_disk(disk: SimulatedDisk) -> list[Assignment]:
    return open_store(small_config(), disk.power_loss_worst(), Clock()).assignments


class TestRegistering:
    def test_each_consumer_gets_a_partition_of_its_own(self, registry: Registry) -> None:
        assert register(registry, "ann") == [0]
        assert register(registry, "bob") == [1]
        assert register(registry, "bob", topic_id="events") == [0]
        assert assigned(registry) == {
            ("orders", 0): "ann",
            ("orders", 1): "bob",
            ("events", 0): "bob",
        }

    def test_the_same_consumer_gets_the_same_partition_and_nothing_is_written(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        register(registry, "ann")
        register(registry, "bob")
        trace = list(disk.trace)
        assert register(registry, "bob") == [1]
        assert disk.trace == trace

    def test_where_all_are_taken_nobody_is_put_out(self, registry: Registry) -> None:
        register(registry, "ann", topic_id="events")
        with pytest.raises(NoPartitionAvailable):
            register(registry, "bob", topic_id="events")
        assert assigned(registry) == {("events", 0): "ann"}

    def test_an_assignment_that_was_told_survives_the_loss_of_power(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        register(registry, "ann")
        assert on_disk(disk) == [Assignment("orders", 0, "ann")]

    def test_it_is_on_disk_before_it_is_in_memory(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        seen: list[object] = []

        def look(_path: object) -> bool:
            seen.append(assigned(registry))
            return False

        disk.fail("sync_folder", look)
        register(registry, "ann")
        assert seen == [{}]

    def test_the_next_run_knows_who_had_what(
        self, registry: Registry, disk: SimulatedDisk, scene: Scene
    ) -> None:
        register(registry, "ann")
        register(registry, "bob")
        after = scene.registry(open_store(small_config(), disk.power_loss_worst(), Clock()))
        assert register(after, "bob") == [1]
        assert assigned(after) == assigned(registry)

    @pytest.mark.parametrize(
        ("operation", "where", "error", "expected"),
        [
            ("write", "TPC.log.tmp", OSError(errno.ENOSPC, "no room"), StorageFull),
            ("replace", "TPC.log", OSError(errno.EIO, "broken"), StorageFailed),
        ],
    )
    def test_what_cannot_be_written_changes_nothing_and_may_be_tried_again(
        self,
        registry: Registry,
        disk: SimulatedDisk,
        operation: Any,
        where: str,
        error: OSError,
        expected: type[Exception],
    ) -> None:
        register(registry, "ann")
        disk.fail(operation, where, error=error)
        with pytest.raises(expected):
            register(registry, "bob")
        assert assigned(registry) == {("orders", 0): "ann"}
        assert registry.on_receive(DescribeTrouble()) is None
        assert on_disk(disk) == [Assignment("orders", 0, "ann")]
        assert register(registry, "bob") == [1]

    def test_a_failed_sync_changes_nothing_and_is_a_trouble_from_then_on(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        disk.fail("sync", "TPC.log.tmp")
        for _ in range(2):
            with pytest.raises(StorageFailed):
                register(registry, "ann")
        assert assigned(registry) == {}
        assert registry.on_receive(DescribeTrouble())

    def test_a_group_has_only_so_many_members(self, registry: Registry) -> None:
        for name in ("ann", "bob", "carl"):
            register(registry, name, "g", SHARING)
        with pytest.raises(TooMany, match="maxMembers"):
            register(registry, "dora", "g", SHARING)


class TestClaiming:
    def claim(self, registry: Registry, consumer_id: str, offset: int = 1) -> int:
        generation: int = registry.on_receive(Claim("orders", 1, consumer_id, offset))
        return generation

    def test_whoever_has_the_partition_passes_and_nobody_is_asked(
        self, registry: Registry, disk: SimulatedDisk, partitions: dict[str, list[FakeRef]]
    ) -> None:
        self.claim(registry, "ann")
        trace = list(disk.trace)
        partitions["orders"][1].asked.clear()
        assert self.claim(registry, "ann", offset=99) == 1
        assert disk.trace == trace
        assert partitions["orders"][1].asked == []

    def test_a_partition_that_nobody_has_is_assigned_and_written_down(
        self, registry: Registry, disk: SimulatedDisk, partitions: dict[str, list[FakeRef]]
    ) -> None:
        assert self.claim(registry, "ann", offset=3) == 1
        assert partitions["orders"][1].asked == [CheckCommit(3)]
        assert assigned(registry) == {("orders", 1): "ann"}
        assert on_disk(disk) == [Assignment("orders", 1, "ann")]

    def test_a_commit_that_could_not_be_done_assigns_nothing(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        with pytest.raises(InvalidOffset):
            self.claim(registry, "ann", offset=4)
        assert assigned(registry) == {}
        assert not disk.exists(TPC_LOG) or on_disk(disk) == []
        self.claim(registry, "bob")

    def test_a_partition_of_another_is_refused(self, registry: Registry) -> None:
        self.claim(registry, "ann")
        with pytest.raises(NotAssigned):
            self.claim(registry, "bob")
        assert assigned(registry) == {("orders", 1): "ann"}

    def test_a_claim_that_cannot_be_written_assigns_nothing(
        self, registry: Registry, disk: SimulatedDisk
    ) -> None:
        disk.fail("write", "TPC.log.tmp", error=OSError(errno.ENOSPC, "no room"))
        with pytest.raises(StorageFull):
            self.claim(registry, "ann")
        assert assigned(registry) == {}
        self.claim(registry, "bob")

    def test_a_partition_that_does_not_answer_is_not_assigned(
        self, registry: Registry, partitions: dict[str, list[FakeRef]]
    ) -> None:
        def fail(_message: object) -> None:
            raise OutcomeUnknown(5)

        partitions["orders"][1].answer = fail
        with pytest.raises(OutcomeUnknown):
            self.claim(registry, "ann")
        assert assigned(registry) == {}

    def test_whoever_claimed_one_partition_gets_that_one_when_it_registers(
        self, registry: Registry
    ) -> None:
        self.claim(registry, "ann")
        assert register(registry, "ann") == [1]

    def test_who_names_a_generation_is_assigned_nothing(self, registry: Registry) -> None:
        with pytest.raises(NotAssigned):
            registry.on_receive(Claim("orders", 1, "ann", 1, "", 1))
        assert assigned(registry) == {}

    def test_a_group_that_nobody_used_begins_with_a_commit(
        self, registry: Registry, partitions: dict[str, list[FakeRef]]
    ) -> None:
        registry.on_receive(Claim("orders", 1, "ann", 2, "billing"))
        assert partitions["orders"][1].asked == [
            CheckCommit(2, "billing"),
            OpenGroup("billing", "beginning"),
        ]
        assert assigned(registry, "billing") == {("orders", 1): "ann"}
        assert assigned(registry) == {}


class TestLeases:
    def test_a_partition_is_free_when_nothing_is_heard_for_longer(
        self, registry: Registry, clock: Clock
    ) -> None:
        register(registry, "ann", member=LEASED)
        clock.now_ms += 1_000
        assert assigned(registry) == {("orders", 0): "ann"}
        clock.now_ms += 1
        assert assigned(registry) == {}
        assert register(registry, "bob", member=LEASED) == [0]

    @pytest.mark.parametrize(
        "call",
        [
            Heartbeat("orders", "", "ann"),
            Register("orders", "ann", member=LEASED),
            Claim("orders", 0, "ann", 1),
            Check("orders", 0, "ann"),
            Check("orders", 0, "ann", generation=1),
        ],
    )
    def test_all_that_a_consumer_does_renews_it(
        self, registry: Registry, clock: Clock, call: Any
    ) -> None:
        register(registry, "ann", member=LEASED)
        for _ in range(3):
            clock.now_ms += 900
            registry.on_receive(call)
        assert assigned(registry) == {("orders", 0): "ann"}

    def test_what_is_asked_for_another_partition_or_generation_does_not(
        self, registry: Registry, clock: Clock
    ) -> None:
        register(registry, "ann", member=LEASED)
        clock.now_ms += 900
        for call in (Check("orders", 1, "ann"), Check("orders", 0, "ann", generation=7)):
            with pytest.raises(NotAssigned):
                registry.on_receive(call)
        clock.now_ms += 101
        assert assigned(registry) == {}

    def test_who_was_too_late_has_to_register_again(self, registry: Registry, clock: Clock) -> None:
        register(registry, "ann", member=LEASED)
        clock.now_ms += 1_001
        with pytest.raises(ConsumerNotFound):
            registry.on_receive(Heartbeat("orders", "", "ann"))
        for call in (Check("orders", 0, "ann"), Claim("orders", 0, "ann", 1, "", 1)):
            with pytest.raises(NotAssigned):
                registry.on_receive(call)
        assert registry.on_receive(Register("orders", "ann", member=LEASED)).partitions == [(0, 2)]

    def test_a_late_commit_gives_the_partition_back_on_the_same_lease(
        self, registry: Registry, clock: Clock
    ) -> None:
        register(registry, "ann", member=LEASED)
        clock.now_ms += 1_001
        assert registry.on_receive(Claim("orders", 0, "ann", 1)) == 2
        clock.now_ms += 1_001
        assert assigned(registry) == {}

    def test_after_a_start_each_has_its_full_lease(
        self, registry: Registry, clock: Clock, disk: SimulatedDisk, scene: Scene
    ) -> None:
        register(registry, "ann", member=LEASED)
        clock.now_ms += 900
        after = scene.registry(open_store(small_config(), disk.power_loss_worst(), Clock()))
        clock.now_ms += 1_000
        assert assigned(after) == {("orders", 0): "ann"}
        group = described(after, "orders")
        assert group
        assert group.members["ann"] == (LEASED, 0)
        clock.now_ms += 1
        assert assigned(after) == {}

    def test_without_a_lease_it_stays_for_ever(self, registry: Registry, clock: Clock) -> None:
        register(registry, "ann")
        clock.now_ms += 10**12
        assert registry.on_receive(Heartbeat("orders", "", "ann")) == Assigned([(0, 1)], None)

    def test_who_leaves_is_gone_at_once(self, registry: Registry, disk: SimulatedDisk) -> None:
        register(registry, "ann", member=LEASED)
        assert registry.on_receive(Unregister("orders", "", "ann")) == [0]
        assert assigned(registry) == {}
        terms = Terms(generation=1, lease_ms=1_000, is_free=True)
        assert on_disk(disk) == [Assignment("orders", 0, "ann", terms)]
        with pytest.raises(ConsumerNotFound):
            registry.on_receive(Unregister("orders", "", "ann"))

    def test_looking_frees_nothing_on_a_full_disk_and_does_not_fail(
        self, registry: Registry, clock: Clock, disk: SimulatedDisk
    ) -> None:
        register(registry, "ann", member=LEASED)
        clock.now_ms += 1_001
        disk.fail("write", "TPC.log.tmp", error=OSError(errno.ENOSPC, "no room"))
        assert assigned(registry) == {("orders", 0): "ann"}
        assert assigned(registry) == {}


class TestGroups:
    def test_each_has_consumers_of_its_own(self, registry: Registry) -> None:
        for group in ("", "billing", "audit"):
            assert register(registry, "ann", group) == [0]
        assert register(registry, "bob", "audit") == [1]
        assert assigned(registry, "billing") == {("orders", 0): "ann"}

    def test_all_partitions_know_it_before_anybody_has_one(
        self, registry: Registry, scene: Scene
    ) -> None:
        registry.on_receive(Register("orders", "ann", "billing", start="end"))
        for ref in scene.partitions["orders"]:
            assert ref.asked == [OpenGroup("billing", "end")]
        # Later the start means nothing.
        registry.on_receive(Register("orders", "bob", "billing", start="beginning"))
        assert all(len(ref.asked) == 1 for ref in scene.partitions["orders"])

    def test_there_may_be_only_so_many(self, registry: Registry) -> None:
        register(registry, "ann", "one")
        register(registry, "ann", "two")
        with pytest.raises(TooMany, match="maxGroups"):
            register(registry, "ann", "three")
        assert register(registry, "ann", "three", topic_id="events") == [0]

    def test_one_that_has_offsets_is_there_after_a_start(self, store: Store, scene: Scene) -> None:
        registry = scene.registry(store, ("orders", "billing"))
        group = described(registry, "orders", "billing")
        assert group
        assert (group.members, group.holders) == ({}, {})

    def test_one_that_is_deleted_is_gone_from_its_files_first(
        self, registry: Registry, scene: Scene, disk: SimulatedDisk
    ) -> None:
        register(registry, "ann", "billing")
        with pytest.raises(GroupInUse, match="ann"):
            registry.on_receive(DeleteGroup("orders", "billing"))
        registry.on_receive(Unregister("orders", "billing", "ann"))
        scene.told()
        registry.on_receive(DeleteGroup("orders", "billing"))
        keys = frozenset({"orders_partition_0@billing", "orders_partition_1@billing"})
        assert scene.journals["orders"].asked == [Forget(keys)]
        assert scene.told() == [[DropGroup("billing")]] * 2
        assert on_disk(disk) == []
        assert described(registry, "orders", "billing") is None

    @pytest.mark.parametrize("group", ["", "nobody"])
    def test_one_that_is_not_there_cannot_be_deleted(self, registry: Registry, group: str) -> None:
        with pytest.raises(GroupNotFound):
            registry.on_receive(DeleteGroup("orders", group))

    def test_one_that_cannot_be_forgotten_stays(self, registry: Registry, scene: Scene) -> None:
        register(registry, "ann", "billing")
        registry.on_receive(Unregister("orders", "billing", "ann"))

        def fail(_message: object) -> None:
            raise StorageFull("offsets")

        scene.journals["orders"].answer = fail
        with pytest.raises(StorageFull):
            registry.on_receive(DeleteGroup("orders", "billing"))
        assert described(registry, "orders", "billing")


class TestSharing:
    def test_partitions_hear_of_their_owners_before_the_consumer_does(
        self, registry: Registry, scene: Scene
    ) -> None:
        register(registry, "ann", "g", SHARING)
        assert scene.told() == [[SetOwner("g", "ann", 1)], [SetOwner("g", "ann", 1)]]
        assert register(registry, "bob", "g", SHARING) == [1]
        assert scene.told() == [[], [SetOwner("g", "bob", 2)]]
        assert registry.on_receive(Heartbeat("orders", "g", "ann")).partitions == [(0, 1)]

    def test_what_a_dead_member_had_is_the_others(
        self, registry: Registry, scene: Scene, clock: Clock
    ) -> None:
        register(registry, "ann", "g", SHARING)
        register(registry, "bob", "g", SHARING)
        scene.told()
        clock.now_ms += 600
        registry.on_receive(Heartbeat("orders", "g", "bob"))
        clock.now_ms += 600
        found = registry.on_receive(Heartbeat("orders", "g", "bob"))
        assert found.partitions == [(0, 2), (1, 2)]
        assert scene.told() == [[SetOwner("g", "bob", 2)], []]

    def test_members_without_a_partition_are_members_after_a_start(
        self, registry: Registry, scene: Scene, disk: SimulatedDisk
    ) -> None:
        for name in ("ann", "bob", "carl"):
            register(registry, name, "g", SHARING)
        store = open_store(small_config(), disk.power_loss_worst(), Clock())
        after = scene.registry(store, ("orders", "g"))
        group = described(after, "orders", "g")
        assert group
        assert set(group.members) == {"ann", "bob", "carl"}
        after.on_receive(Unregister("orders", "g", "ann"))
        assert assigned(after, "g") == {("orders", 0): "carl", ("orders", 1): "bob"}

    def test_partitions_that_are_new_after_a_start_are_divided_and_told(
        self, registry: Registry, scene: Scene, disk: SimulatedDisk
    ) -> None:
        register(registry, "ann", "g", SHARING)
        store = open_store(small_config(), disk.power_loss_worst(), Clock())
        scene.partitions["orders"].append(FakeRef())
        after = scene.registry(store, ("orders", "g"))
        scene.told()
        assert register(after, "ann", "g", SHARING) == [0, 1, 2]
        assert scene.told() == [[], [], [SetOwner("g", "ann", 1)]]


def test_a_topic_that_is_made_later_has_groups_too(registry: Registry, scene: Scene) -> None:
    made = AddTopic("late", FakeRef(), FakeRef(), [FakeRef()])
    registry.on_receive(made)
    assert register(registry, "ann", topic_id="late") == [0]
    registry.on_receive(made)  # sent again, since nobody heard the answer
    assert assigned(registry) == {("late", 0): "ann"}

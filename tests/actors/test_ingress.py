"""The ingress buffer: on disk before it is answered, one sync for all who wait together."""

import errno
from typing import Any

import pytest

from pandaq.actors.ingress import Ingress
from pandaq.actors.messages import (
    Append,
    AwaitArrival,
    Commit,
    DescribeQueue,
    DescribeSeen,
    Flush,
    QueueDescription,
    Read,
    Refuse,
    Release,
    Sync,
)
from pandaq.actors.reply import Reply
from pandaq.batch import Batch
from pandaq.dedupe import SeenIds
from pandaq.errors import BufferFull, ShuttingDown, StorageFailed, StorageFull
from pandaq.offsets import Offsets
from pandaq.storage.recovery import open_store
from pandaq.storage.store import Store
from tests.actors.stage import (
    ALL,
    INGRESS_LOG,
    Clock,
    body,
    ids,
    is_answered,
    small_config,
    told,
)
from tests.simulated_disk import SimulatedDisk, Step

NO_ROOM = OSError(errno.ENOSPC, "no room")


@pytest.fixture
def ingress(store: Store) -> Ingress:
    return Ingress(store.ingress, {}, Clock(), small_config())


def append(ingress: Ingress, *message_ids: str, size: int = 0) -> Reply[None]:
    future: Reply[None] = ingress.on_receive(Append([body(id_, size) for id_ in message_ids]))
    return future


def appended(ingress: Ingress, *message_ids: str, size: int = 0) -> None:
    future = append(ingress, *message_ids, size=size)
    ingress.on_receive(Flush())
    future.get(timeout=0)


def read(ingress: Ingress) -> list[str]:
    return ids(ingress.on_receive(Read(ALL, ALL)))


def writes(disk: SimulatedDisk) -> int:
    return disk.trace.count(Step("write", INGRESS_LOG))


class TestGroupCommit:
    def test_two_appends_before_a_flush_share_one_write_and_one_sync(
        self, ingress: Ingress, disk: SimulatedDisk
    ) -> None:
        syncs, before = disk.syncs[INGRESS_LOG], writes(disk)
        futures = [append(ingress, "a"), append(ingress, "b", "c")]
        assert told(ingress) == [Flush()]
        assert not any(map(is_answered, futures))
        assert read(ingress) == []
        ingress.on_receive(Flush())
        assert disk.syncs[INGRESS_LOG] == syncs + 1
        assert writes(disk) == before + 1
        assert all(map(is_answered, futures))
        assert read(ingress) == ["a", "b", "c"]

    def test_nobody_is_answered_before_the_sync_is_over(
        self, ingress: Ingress, disk: SimulatedDisk
    ) -> None:
        futures = [append(ingress, "a"), append(ingress, "b")]
        seen: list[Any] = []

        def look(_path: object) -> bool:
            seen.append(([is_answered(future) for future in futures], read(ingress)))
            return False

        disk.fail("sync", look)
        ingress.on_receive(Flush())
        assert seen == [([False, False], [])]

    def test_what_is_answered_survives_the_loss_of_power(
        self, ingress: Ingress, disk: SimulatedDisk, clock: Clock
    ) -> None:
        append(ingress, "a")
        appended(ingress, "b")
        append(ingress, "c")
        after = open_store(small_config(), disk.power_loss_worst(), clock)
        assert after.routed == 2

    def test_each_flush_is_told_once(self, ingress: Ingress) -> None:
        for _ in range(3):
            append(ingress, "a")
            append(ingress, "b")
            assert told(ingress) == [Flush()]
            ingress.on_receive(Flush())

    def test_offsets_follow_the_order_of_arrival(self, ingress: Ingress) -> None:
        append(ingress, "a", "b")
        append(ingress, "c")
        ingress.on_receive(Flush())
        batch: Batch = ingress.on_receive(Read(ALL, ALL))
        assert [line.split(b"|")[1] for line in batch.lines] == [b"1", b"2", b"3"]
        assert (batch.start_offset, batch.end_offset) == (0, 3)

    def test_without_fsync_an_answer_does_not_wait_for_a_sync(
        self, store: Store, disk: SimulatedDisk
    ) -> None:
        ingress = Ingress(store.ingress, {}, Clock(), small_config(durability="interval"))
        syncs = disk.syncs[INGRESS_LOG]
        appended(ingress, "a")
        assert disk.syncs[INGRESS_LOG] == syncs
        assert ingress.on_receive(Sync()) == {"ingress": Offsets(1)}
        assert disk.syncs[INGRESS_LOG] == syncs + 1


class TestFaults:
    def test_a_write_without_room_is_told_to_all_who_wait_and_keeps_nothing(
        self, ingress: Ingress, disk: SimulatedDisk
    ) -> None:
        futures = [append(ingress, "a"), append(ingress, "b")]
        disk.fail("write", INGRESS_LOG, error=NO_ROOM, written=3)
        ingress.on_receive(Flush())
        for future in futures:
            with pytest.raises(StorageFull):
                future.get(timeout=0)
        assert read(ingress) == []
        appended(ingress, "c")
        assert read(ingress) == ["c"]
        assert ingress.on_receive(DescribeQueue()).offsets == Offsets(1, 0)

    def test_a_failed_sync_is_told_to_all_who_wait_and_to_all_who_come(
        self, ingress: Ingress, disk: SimulatedDisk
    ) -> None:
        appended(ingress, "before")
        futures = [append(ingress, "a"), append(ingress, "b")]
        disk.fail("sync", INGRESS_LOG)
        ingress.on_receive(Flush())
        for future in futures:
            with pytest.raises(StorageFailed) as raised:
                future.get(timeout=0)
            assert raised.value.closed
        with pytest.raises(StorageFailed):
            appended(ingress, "c")
        assert read(ingress) == ["before"]
        assert ingress.on_receive(DescribeQueue()).problem

    def test_a_flush_that_fails_wakes_nobody_who_waits_for_arrivals(
        self, ingress: Ingress, disk: SimulatedDisk
    ) -> None:
        arrival = ingress.on_receive(AwaitArrival())
        append(ingress, "a")
        disk.fail("write", INGRESS_LOG, error=NO_ROOM)
        ingress.on_receive(Flush())
        assert not is_answered(arrival)

    def test_a_defect_is_told_to_those_who_wait_and_not_to_the_next(
        self, ingress: Ingress, disk: SimulatedDisk
    ) -> None:
        future = append(ingress, "a")
        disk.fail("write", INGRESS_LOG, error=ZeroDivisionError())
        ingress.on_receive(Flush())
        with pytest.raises(ZeroDivisionError):
            future.get(timeout=0)
        told(ingress)
        append(ingress, "b")
        assert told(ingress) == [Flush()]

    def test_where_damage_has_left_nothing_the_next_batch_passes_over_it(
        self, ingress: Ingress, disk: SimulatedDisk
    ) -> None:
        appended(ingress, "a", "b")
        disk.corrupt(INGRESS_LOG, 0, b"?")
        assert ingress.on_receive(Read(ALL, ALL)) == Batch(0, 2, [])
        ingress.on_receive(Commit(2))
        appended(ingress, "c")
        assert read(ingress) == ["c"]


class TestBacklog:
    @pytest.fixture
    def ingress(self, store: Store) -> Ingress:
        return Ingress(store.ingress, {}, Clock(), small_config(max_backlog_bytes=200))

    def test_what_waits_for_a_flush_counts(self, ingress: Ingress) -> None:
        append(ingress, "a", size=120)
        with pytest.raises(BufferFull) as raised:
            append(ingress, "b", size=120)
        assert raised.value.backlog_bytes == len(body("a", 120))
        assert raised.value.limit == 200

    def test_what_is_refused_is_not_written(self, ingress: Ingress) -> None:
        future = append(ingress, "a", size=120)
        with pytest.raises(BufferFull):
            append(ingress, "b", size=120)
        ingress.on_receive(Flush())
        future.get(timeout=0)
        assert read(ingress) == ["a"]

    def test_what_is_written_and_not_routed_counts(self, ingress: Ingress) -> None:
        appended(ingress, "a", size=120)
        with pytest.raises(BufferFull):
            append(ingress, "b", size=120)
        ingress.on_receive(Commit(1))
        appended(ingress, "b", size=120)
        assert read(ingress) == ["b"]

    def test_a_commit_counts_down_what_it_covers_and_no_more(self, ingress: Ingress) -> None:
        appended(ingress, "a", size=60)
        appended(ingress, "b", size=60)
        with pytest.raises(BufferFull):
            append(ingress, "c", size=60)
        ingress.on_receive(Commit(1))
        append(ingress, "c", size=60)
        with pytest.raises(BufferFull):
            append(ingress, "d", size=60)

    def test_what_could_not_be_written_counts_no_more(
        self, ingress: Ingress, disk: SimulatedDisk
    ) -> None:
        append(ingress, "a", size=120)
        disk.fail("write", INGRESS_LOG, error=NO_ROOM)
        ingress.on_receive(Flush())
        appended(ingress, "b", size=120)

    def test_what_is_alone_always_finds_room(self, ingress: Ingress) -> None:
        appended(ingress, "a", size=5_000)
        with pytest.raises(BufferFull):
            append(ingress, "b")
        ingress.on_receive(Commit(1))
        appended(ingress, "b")

    def test_small_messages_fill_the_backlog_up_to_its_limit(self, ingress: Ingress) -> None:
        count = 200 // len(body("a"))
        for _ in range(count):
            append(ingress, "a")
        with pytest.raises(BufferFull):
            append(ingress, "a")
        ingress.on_receive(Flush())
        ingress.on_receive(Commit(count))
        for _ in range(count):
            append(ingress, "a")


class TestRefusing:
    def test_after_a_refuse_nothing_is_accepted_and_the_reason_is_told(
        self, ingress: Ingress
    ) -> None:
        ingress.on_receive(Refuse(StorageFailed("a.log", "broken", closed=True)))
        for _ in range(2):
            with pytest.raises(StorageFailed, match=r"a\.log"):
                append(ingress, "a")
        assert told(ingress) == []

    def test_what_came_before_is_still_written_and_read(self, ingress: Ingress) -> None:
        future = append(ingress, "a")
        ingress.on_receive(Refuse(ShuttingDown()))
        ingress.on_receive(Flush())
        future.get(timeout=0)
        assert read(ingress) == ["a"]
        ingress.on_receive(Commit(1))

    def test_refusing_for_long_takes_no_memory(self, ingress: Ingress) -> None:
        ingress.on_receive(Refuse(ShuttingDown()))
        depths = set()
        for _ in range(20):
            with pytest.raises(ShuttingDown) as raised:
                append(ingress, "a")
            depths.add(len(raised.traceback))
        assert len(depths) == 1

    def test_a_stop_refuses_what_has_gathered(self, ingress: Ingress) -> None:
        future = append(ingress, "a")
        ingress.on_stop()
        with pytest.raises(ShuttingDown):
            future.get(timeout=0)
        assert read(ingress) == []


class TestArrivals:
    def test_an_arrival_is_told_once_it_is_written(self, ingress: Ingress) -> None:
        arrivals = [ingress.on_receive(AwaitArrival()) for _ in range(2)]
        append(ingress, "a")
        assert not any(map(is_answered, arrivals))
        ingress.on_receive(Flush())
        assert all(map(is_answered, arrivals))
        appended(ingress, "b")

    def test_what_is_there_already_is_told_at_once(self, ingress: Ingress) -> None:
        appended(ingress, "a")
        assert is_answered(ingress.on_receive(AwaitArrival()))

    def test_what_is_routed_is_no_arrival(self, ingress: Ingress) -> None:
        appended(ingress, "a")
        ingress.on_receive(Commit(1))
        assert not is_answered(ingress.on_receive(AwaitArrival()))


class TestReadingAndLettingGo:
    def test_reading_takes_nothing_away_and_is_bounded(self, ingress: Ingress) -> None:
        appended(ingress, "a", "b", "c")
        for _ in range(2):
            assert ids(ingress.on_receive(Read(2, ALL))) == ["a", "b"]
        assert ids(ingress.on_receive(Read(ALL, 1))) == ["a"]
        assert ingress.on_receive(Commit(2)) == Offsets(3, 2)
        assert read(ingress) == ["c"]

    def test_release_deletes_segments_that_hold_nothing_behind_the_offset(
        self, ingress: Ingress, disk: SimulatedDisk
    ) -> None:
        for number in range(6):
            appended(ingress, str(number), size=300)
        sealed = [path for path in disk.files() if path.match("ingress.0*.log")]
        assert sealed
        assert ingress.on_receive(Release(1)) == 0
        ingress.on_receive(Commit(6))
        assert ingress.on_receive(Release(6)) == len(sealed)
        appended(ingress, "more")
        assert read(ingress) == ["more"]

    def test_it_describes_itself(self, ingress: Ingress) -> None:
        appended(ingress, "a", "b")
        ingress.on_receive(Commit(1))
        description = QueueDescription(Offsets(2, 1), buffer_size=0, problem=None)
        assert ingress.on_receive(DescribeQueue()) == description


class TestDedupe:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def ingress(self, store: Store, clock: Clock) -> Ingress:
        return Ingress(store.ingress, {"orders": SeenIds(100, 1_000)}, clock, small_config())

    def send(self, ingress: Ingress, *message_ids: str) -> Reply[Any]:
        bodies = [body(id_) for id_ in message_ids]
        reply: Reply[Any] = ingress.on_receive(Append(bodies, "orders", message_ids))
        return reply

    def test_what_came_before_or_twice_is_not_written_and_named_by_its_place(
        self, ingress: Ingress
    ) -> None:
        first = self.send(ingress, "a", "b", "a")
        ingress.on_receive(Flush())
        again = self.send(ingress, "c", "b", "a", "c")
        ingress.on_receive(Flush())
        assert first.get(timeout=0) == [2]
        assert again.get(timeout=0) == [1, 2, 3]
        assert read(ingress) == ["a", "b", "c"]

    def test_one_that_repeats_what_is_not_durable_yet_waits_for_it(
        self, ingress: Ingress, disk: SimulatedDisk
    ) -> None:
        first, again = self.send(ingress, "a"), self.send(ingress, "a")
        assert not is_answered(again)
        disk.fail("write", INGRESS_LOG, error=NO_ROOM)
        ingress.on_receive(Flush())
        for reply in (first, again):
            with pytest.raises(StorageFull):
                reply.get(timeout=0)
        # Nothing was kept, so it is new.
        third = self.send(ingress, "a")
        ingress.on_receive(Flush())
        assert third.get(timeout=0) == []
        assert read(ingress) == ["a"]

    def test_where_all_are_repeated_nothing_is_written(
        self, ingress: Ingress, disk: SimulatedDisk
    ) -> None:
        self.send(ingress, "a")
        ingress.on_receive(Flush())
        trace = list(disk.trace)
        again = self.send(ingress, "a")
        ingress.on_receive(Flush())
        assert again.get(timeout=0) == [0]
        assert disk.trace == trace

    def test_after_the_window_it_is_new(self, ingress: Ingress, clock: Clock) -> None:
        for passes_ms, duplicates in ((0, []), (100, [0]), (1, [])):
            clock.now_ms += passes_ms
            reply = self.send(ingress, "a")
            ingress.on_receive(Flush())
            assert reply.get(timeout=0) == duplicates
        assert ingress.on_receive(DescribeSeen())["orders"].count == 1

    def test_what_tells_of_them_is_kept_though_it_is_routed(
        self, ingress: Ingress, clock: Clock
    ) -> None:
        for number in range(30):
            self.send(ingress, f"message-{number}")
            ingress.on_receive(Flush())
        ingress.on_receive(Commit(30))
        clock.now_ms += 100
        assert ingress.on_receive(Release(30)) == 0
        clock.now_ms += 1
        assert ingress.on_receive(Release(30)) > 0

    def test_what_the_broker_itself_appends_is_not_looked_at_and_finds_room(
        self, store: Store, clock: Clock
    ) -> None:
        seen = {"orders": SeenIds(100, 10)}
        ingress = Ingress(store.ingress, seen, clock, small_config(max_backlog_bytes=30))
        self.send(ingress, "a")
        with pytest.raises(BufferFull):
            self.send(ingress, "b" * 30)
        reply = ingress.on_receive(Append([body("a"), body("c" * 30)], is_own=True))
        ingress.on_receive(Flush())
        assert reply.get(timeout=0) == ()
        assert len(read(ingress)) == 3

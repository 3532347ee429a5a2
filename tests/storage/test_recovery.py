"""What a start makes of each thing that a crash, a disk or a person may have done to the files."""

import errno
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from pandaq.config import Retention
from pandaq.errors import ConfigError, DataDirError
from pandaq.routing import partition_for
from pandaq.storage.findings import Damage, Missing, Note, TailCut
from pandaq.storage.tpc_log import Assignment
from tests.simulated_disk import Operation, SimulatedDisk, SimulatedFile
from tests.storage.plain_broker import ALL, DATA, PlainBroker, small_config

CONFIG_LOG: Final = DATA / "config.log"
CHECKPOINT: Final = DATA / "ingress_metadata.log"
TPC_LOG: Final = DATA / "TPC.log"
INGRESS: Final = DATA / "ingress.log"
ORDERS: Final = DATA / "topics" / "topic_orders"
EVENTS: Final = DATA / "topics" / "topic_events"
ONE: Final = small_config({"orders": 1}, segment_bytes=100_000)
"""One topic with one partition, and no segment ever sealed."""


class Stop(BaseException):
    """The moment at which a test ends the process."""


def lived() -> SimulatedDisk:
    """Return a disk with messages that are checkpointed, routed only, and not routed: 30 each."""
    disk = SimulatedDisk()
    broker = PlainBroker(disk, small_config())
    for number in range(90):
        broker.produce("orders" if number % 3 else "events", f"m{number}")
        if number == 29:
            broker.route()
            broker.checkpoint()
        if number == 59:
            broker.route()
    broker.commit("orders", 0, 10)
    broker.commit("events", 0, 20)
    broker.assign(Assignment("orders", 0, "alice"), Assignment("events", 0, "bob"))
    return disk.kill()


LIVED: Final = lived()
SENT: Final = {f"m{number}" for number in range(90)}


def ids_of(broker: PlainBroker) -> Counter[str]:
    """Return how often each message is in the partitions."""
    return Counter(id_ for topic in broker.store.topics for id_ in broker.message_ids(topic))


def check_all_is_there(broker: PlainBroker) -> None:
    """Check that a broker on a copy of `LIVED` has everything, once, and where it was."""
    expected: dict[tuple[str, int], list[str]] = {}
    for number in range(90):
        topic_id = "orders" if number % 3 else "events"
        partitions = {"orders": 2, "events": 1}[topic_id]
        partition = topic_id, partition_for(b"m%d" % number, partitions)
        expected.setdefault(partition, []).append(f"m{number}")
    for partition, ids in expected.items():
        assert broker.messages(*partition) == dict(enumerate(ids, 1))
    assert broker.queue("orders", 0).offsets.read == 10
    assert broker.queue("events", 0).offsets.read == 20
    assert broker.store.assignments == [
        Assignment("orders", 0, "alice"),
        Assignment("events", 0, "bob"),
    ]


def produced_alone(*contents: bytes) -> SimulatedDisk:
    """Return a disk with one append for each message m0, m1, ..., none of them routed."""
    disk = SimulatedDisk()
    broker = PlainBroker(disk, ONE)
    for number, content in enumerate(contents):
        broker.produce("orders", f"m{number}", content=content)
    return disk.kill()


def delete(disk: SimulatedDisk, pattern: str) -> int:
    """Delete the files that match, durably; return how many there were."""
    paths = [path for path in disk.files() if path.match(pattern)]
    for path in paths:
        disk.delete(path)
        disk.sync_folder(path.parent)
    return len(paths)


def flip(disk: SimulatedDisk, path: Path, position: int, bit: int) -> None:
    disk.corrupt(path, position, bytes([disk.files()[path][position] ^ 1 << bit]))


def truncate(disk: SimulatedDisk, path: Path, size: int) -> None:
    file = disk.open(path)
    file.truncate(size)
    file.sync()
    file.close()


def only_indexes(broker: PlainBroker) -> bool:
    """Tell whether nothing was found but that an index was made anew."""
    return all(
        isinstance(finding, Note) and finding.path.suffix == ".index"
        for finding in broker.store.findings
    )


def check_nothing_is_open(disk: SimulatedDisk) -> None:
    assert disk.open_files == ()
    assert disk.held_locks == ()


class TestPlainStart:
    def test_a_new_directory_is_empty_and_has_nothing_to_tell(self) -> None:
        disk = SimulatedDisk()
        broker = PlainBroker(disk, small_config())
        assert broker.store.findings == []
        assert broker.store.routed == 0
        assert ids_of(broker) == Counter()
        broker.store.close()
        check_nothing_is_open(disk)

    def test_after_a_kill_everything_is_there_once_and_where_it_was(self) -> None:
        broker = PlainBroker(LIVED.kill(), small_config())
        check_all_is_there(broker)
        assert broker.store.routed == 60

    def test_after_a_clean_stop_nothing_is_routed_again_and_nothing_is_told(self) -> None:
        disk = LIVED.kill()
        PlainBroker(disk, small_config()).stop()
        for image in (disk.kill(), disk.power_loss_worst()):
            broker = PlainBroker(image, small_config())
            check_all_is_there(broker)
            assert broker.store.routed == 0
            assert only_indexes(broker)
        assert PlainBroker(disk, small_config()).store.findings == []

    def test_an_interrupted_start_repeats_nothing(self) -> None:
        for number in range(0, 500, 7):
            disk = LIVED.kill()
            disk.fail("*", after=number, times=None, error=Stop())
            try:
                PlainBroker(disk, small_config()).store.close()
            except Stop:
                for image in (disk.kill(), disk.crash(random.Random(number))):
                    check_all_is_there(PlainBroker(image, small_config()))
            else:
                assert number > 100
                return

    def test_what_a_killed_start_has_left_is_durable_before_more_is_built_on_it(self) -> None:
        disk = SimulatedDisk()

        def stop_once_there_is(name: str) -> Callable[[Path], bool]:
            def stop(_path: Path) -> bool:
                if DATA / name in disk.files():
                    raise Stop
                return False

            return stop

        for name in ("config.log", "ingress.log"):
            disk.fail("*", stop_once_there_is(name), times=None)
            with pytest.raises(Stop):
                PlainBroker(disk, ONE)
            disk = disk.kill()
        for seed in range(100):
            PlainBroker(disk.crash(random.Random(seed), entries_in_order=False), ONE).store.close()

    def test_what_recovery_has_routed_is_let_go_from_the_ingress_log(self) -> None:
        disk = LIVED.kill()
        before = sum(len(data) for path, data in disk.files().items() if path.match("ingress.*log"))
        PlainBroker(disk, small_config()).store.close()
        after = sum(len(data) for path, data in disk.files().items() if path.match("ingress.*log"))
        assert after < 600 < before

    def test_closing_twice_is_fine(self) -> None:
        disk = LIVED.kill()
        broker = PlainBroker(disk, small_config())
        broker.store.close()
        broker.store.close()
        check_nothing_is_open(disk)


class TestWhatIsRead:
    def test_reading_at_a_start_does_not_grow_with_the_backlog(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read_bytes = 0
        read = SimulatedFile.read

        def counting(file: SimulatedFile, position: int, length: int) -> bytes:
            nonlocal read_bytes
            data = read(file, position, length)
            read_bytes += len(data)
            return data

        def bytes_read_behind(backlog: int) -> int:
            nonlocal read_bytes
            disk = SimulatedDisk()
            broker = PlainBroker(disk, small_config(segment_bytes=2_000))
            for number in range(backlog):
                broker.produce("orders", f"m{number:05d}")
                broker.route()
            broker.checkpoint()
            broker.produce("orders", *(f"n{number}" for number in range(5)))
            read_bytes = 0
            again = PlainBroker(disk.kill(), small_config(segment_bytes=2_000))
            assert again.store.routed == 5
            return read_bytes

        monkeypatch.setattr(SimulatedFile, "read", counting)
        few, many = bytes_read_behind(200), bytes_read_behind(2_000)
        assert many < few + 1_000 < 4_000


class TestCheckpoint:
    @pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
    def test_a_lost_checkpoint_is_said_and_loses_nothing(self, damage: str) -> None:
        size = len(LIVED.files()[CHECKPOINT])
        for position in range(0, size, 1 if damage != "missing" else size):
            disk = LIVED.kill() if position % 2 else LIVED.power_loss_worst()
            match damage:
                case "missing":
                    delete(disk, "ingress_metadata.log")
                case "truncated":
                    truncate(disk, CHECKPOINT, position)
                case "flipped":
                    flip(disk, CHECKPOINT, position, position % 8)
            broker = PlainBroker(disk, small_config())
            times = ids_of(broker)
            assert times.keys() == SENT
            assert max(times.values()) <= 2
            (told,) = [str(each) for each in broker.store.findings if each.path == CHECKPOINT]
            assert "missing or damaged" in told
            broker.store.close()
            again = PlainBroker(disk.power_loss_worst(), small_config())
            assert ids_of(again) == times
            assert only_indexes(again)

    def test_without_a_checkpoint_new_messages_stand_behind_what_is_committed(self) -> None:
        disk = LIVED.kill()
        assert delete(disk, "ingress_metadata.log")
        assert delete(disk, "topic_events/partition_0.*")
        broker = PlainBroker(disk, small_config())
        assert Missing(EVENTS / "partition_0.log", 1, 20) in broker.store.findings
        uncommitted = {f"m{number}" for number in range(60, 90, 3)}
        batch = broker.queue("events", 0).read(ALL, ALL)
        assert uncommitted <= {line.split(b"|")[3].decode() for line in batch.lines}

    def test_what_was_killed_without_a_checkpoint_survives_a_crash_after_the_next_start(
        self,
    ) -> None:
        disk = SimulatedDisk()
        broker = PlainBroker(disk, ONE)
        broker.produce("orders", "m1", "m2")
        broker.route()
        killed = disk.kill()
        delete(killed, "ingress_metadata.log")
        times = ids_of(PlainBroker(killed, ONE))
        assert ids_of(PlainBroker(killed.power_loss_worst(), ONE)) == times


class TestSmallFiles:
    @pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
    def test_a_lost_config_log_is_made_anew_from_the_folders(self, damage: str) -> None:
        size = len(LIVED.files()[CONFIG_LOG])
        for position in range(0, size, 1 if damage != "missing" else size):
            disk = LIVED.kill()
            match damage:
                case "missing":
                    delete(disk, "config.log")
                case "truncated":
                    truncate(disk, CONFIG_LOG, position)
                case "flipped":
                    flip(disk, CONFIG_LOG, position, position % 8)
            broker = PlainBroker(disk, small_config())
            check_all_is_there(broker)
            (told,) = [str(each) for each in broker.store.findings if each.path == CONFIG_LOG]
            assert "made anew from the topics' folders" in told
            broker.store.close()
            assert PlainBroker(disk, small_config()).store.findings == []

    @pytest.mark.parametrize("position", [0, 20, 40])
    def test_a_damaged_tpc_log_is_said_and_consumers_register_again(self, position: int) -> None:
        disk = LIVED.kill()
        flip(disk, TPC_LOG, position, 3)
        broker = PlainBroker(disk, small_config())
        assert broker.store.assignments == []
        assert f"{TPC_LOG}: damaged; consumers have to register again" in broker.told()
        assert ids_of(broker).keys() == SENT

    def test_a_missing_tpc_log_says_that_nobody_has_registered(self) -> None:
        disk = LIVED.kill()
        delete(disk, "TPC.log")
        broker = PlainBroker(disk, small_config())
        assert broker.store.assignments == []
        assert not any(finding.path == TPC_LOG for finding in broker.store.findings)

    def test_missing_offsets_are_said_and_lose_no_message(self) -> None:
        disk = LIVED.kill()
        delete(disk, "topics/topic_orders/orders_partition_metadata.log")
        broker = PlainBroker(disk, small_config())
        path = ORDERS / "orders_partition_metadata.log"
        assert (
            f"{path}: missing; its partitions are read from where the checkpoint has them"
            in broker.told()
        )
        assert ids_of(broker).keys() == SENT

    @pytest.mark.parametrize("damage", ["damaged", "missing"])
    def test_lost_offsets_are_those_of_the_checkpoint_and_said(self, damage: str) -> None:
        disk = LIVED.kill()
        PlainBroker(disk, small_config()).stop()
        path = ORDERS / "orders_partition_metadata.log"
        if damage == "missing":
            delete(disk, path.name)
        else:
            flip(disk, path, 20, 1)
        broker = PlainBroker(disk, small_config())
        assert (
            f"{path}: says 0 for partition 0; the checkpoint has it read up to 10" in broker.told()
        )
        check_all_is_there(broker)
        broker.store.close()
        again = PlainBroker(disk, small_config())
        check_all_is_there(again)
        assert again.told() == []

    def test_damaged_offsets_are_said_and_lose_no_message(self) -> None:
        path = ORDERS / "orders_partition_metadata.log"
        disk = LIVED.kill()
        flip(disk, path, 20, 1)
        broker = PlainBroker(disk, small_config())
        assert any(
            isinstance(finding, Damage) and finding.path == path
            for finding in broker.store.findings
        )
        assert broker.queue("orders", 0).offsets.read == 0
        assert broker.queue("events", 0).offsets.read == 20
        assert set(ids_of(broker).values()) == {1}
        assert ids_of(broker).keys() == SENT


class TestIndexes:
    def test_all_indexes_may_be_deleted(self) -> None:
        disk = LIVED.kill()
        assert delete(disk, "*.index") > 5
        broker = PlainBroker(disk, small_config())
        check_all_is_there(broker)
        assert only_indexes(broker)

    @pytest.mark.parametrize("position", range(0, 80, 3))
    def test_all_indexes_may_be_damaged(self, position: int) -> None:
        disk = LIVED.kill()
        for path, data in disk.files().items():
            if path.suffix == ".index" and position < len(data):
                flip(disk, path, position, position % 8)
        broker = PlainBroker(disk, small_config())
        check_all_is_there(broker)
        assert only_indexes(broker)

    def test_without_its_index_a_log_that_begins_later_is_not_said_to_lack_its_start(self) -> None:
        disk = SimulatedDisk()
        broker = PlainBroker(disk, small_config({"orders": 1}, segment_bytes=256))
        for number in range(30):
            broker.produce("orders", f"m{number}")
            broker.route()
        broker.checkpoint()
        broker.produce("orders", "last")
        broker.store.close()
        delete(disk, "ingress.*index")
        again = PlainBroker(disk, small_config({"orders": 1}, segment_bytes=256))
        assert sorted(ids_of(again)) == sorted(["last", *(f"m{number}" for number in range(30))])
        assert only_indexes(again)


class TestIngressDamage:
    @pytest.mark.parametrize("index", ["kept", "missing"])
    def test_a_flipped_bit_costs_what_it_hit_and_is_set_aside_and_said(self, index: str) -> None:
        undamaged = produced_alone(b'{"a":1}', b'"b"', b"[3]", b"null")
        if index == "missing":
            delete(undamaged, "ingress.*index")
        data = undamaged.files()[INGRESS]
        starts = [0, *(n + 1 for n in range(len(data) - 1) if data[n] == ord("\n"))]
        seen_as_damage = 0
        for position in range(len(data)):
            disk = undamaged.kill()
            flip(disk, INGRESS, position, position % 8)
            flipped = disk.files()[INGRESS]
            broker = PlainBroker(disk, ONE)
            hit = max(number for number, start in enumerate(starts) if start <= position)
            intact = {f"m{number}" for number in range(4)} - {f"m{hit}"}
            if data[position] == ord("\n"):
                intact -= {f"m{hit + 1}"}  # without its newline a line runs into the next one
            if index == "kept":
                intact = {f"m{number}" for number in range(4)} - {f"m{hit}"}
            assert intact <= ids_of(broker).keys()
            damages = [each for each in broker.store.findings if isinstance(each, Damage)]
            for damage in damages:
                assert damage.path == INGRESS
                assert damage.position <= position < damage.position + damage.length
                assert damage.first <= hit + 1 <= max(damage.last, damage.first)
                kept = disk.files()[
                    DATA / "damaged" / f"ingress.log.offset-{damage.first}.byte-{damage.position}"
                ]
                assert kept == flipped[damage.position : damage.position + damage.length]
            seen_as_damage += len(damages)
            if index == "kept":
                start = starts[hit]
                length = data.index(b"\n", start) + 1 - start
                assert damages == [Damage(INGRESS, start, length, hit + 1, hit + 1)]
                assert len(ids_of(broker)) == 3
            broker.produce("orders", "new")
            broker.stop()
            again = PlainBroker(disk, ONE)
            assert {*intact, "new"} <= ids_of(again).keys()
            again.store.close()
        assert seen_as_damage > len(data) // 3

    def test_a_torn_last_line_is_cut_and_said_at_every_length(self) -> None:
        undamaged = produced_alone(b"1", b"2")
        data = undamaged.files()[INGRESS]
        start = data.index(b"\n") + 1
        for size in range(start + 1, len(data)):
            disk = undamaged.kill()
            truncate(disk, INGRESS, size)
            broker = PlainBroker(disk, ONE)
            assert list(ids_of(broker)) == ["m0"]
            assert TailCut(INGRESS, start, size - start) in broker.store.findings
            assert not any(isinstance(each, Damage | Missing) for each in broker.store.findings)

    def test_damage_in_a_sealed_segment_without_its_index_is_set_aside_and_said(self) -> None:
        disk = SimulatedDisk()
        config = small_config({"orders": 1}, segment_bytes=256)
        broker = PlainBroker(disk, config)
        for number in range(60):
            broker.produce("orders", f"m{number:02d}")
        broker.store.close()
        delete(disk, "ingress.*index")
        sealed = [path for path in disk.files() if path.match("ingress.0*log")]
        assert len(sealed) > 2
        for path in sealed:
            disk.corrupt(path, 12, b"\x00")
        again = PlainBroker(disk, config)
        damages = [each for each in again.store.findings if isinstance(each, Damage)]
        assert sorted(damage.path for damage in damages) == sealed
        assert not any(isinstance(each, Missing) for each in again.store.findings)
        assert len(ids_of(again)) == 60 - len(sealed)
        assert len(disk.list(DATA / "damaged")) == len(sealed)

    def test_damage_behind_what_is_routed_is_not_said_to_lose_anything(self) -> None:
        disk = produced_alone(b"1", b"2")
        PlainBroker(disk, ONE).store.close()
        delete(disk, "ingress.*index")
        disk.corrupt(INGRESS, 3, b"\x00")
        broker = PlainBroker(disk, ONE)
        assert sorted(ids_of(broker)) == ["m0", "m1"]
        assert only_indexes(broker)

    @pytest.mark.parametrize("routed_before", [0, 2, 4])
    def test_no_commit_makes_an_intact_message_invisible(self, routed_before: int) -> None:
        ids = [f"m{number}" for number in range(6)]
        for damaged in range(routed_before, 6):
            for committed in range(7):
                disk = SimulatedDisk()
                broker = PlainBroker(disk, ONE)
                for number, id_ in enumerate(ids):
                    broker.produce("orders", id_)
                    if number + 1 == routed_before:
                        broker.route()
                        broker.checkpoint()
                broker.route()
                broker.commit("orders", 0, committed)
                disk = disk.power_loss_worst()
                position = disk.files()[INGRESS].index(b"|m%d|" % damaged)
                disk.corrupt(INGRESS, position, b"\x00")
                again = PlainBroker(disk, ONE)
                queue = again.queue("orders", 0)
                visible = {line.split(b"|")[3].decode() for line in queue.read(ALL, ALL).lines}
                assert set(ids[committed:]) - {ids[damaged]} <= visible
                assert queue.offsets.read == committed
                assert max(ids_of(again).values()) == 1

    @pytest.mark.parametrize("damaged", range(30, 60))
    def test_what_the_partitions_have_is_kept_where_the_ingress_log_lost_it(
        self, damaged: int
    ) -> None:
        disk = LIVED.kill()
        for path, data in disk.files().items():
            if path.match("ingress*.log") and (found := data.find(b"|m%d|" % damaged)) >= 0:
                disk.corrupt(path, found, b"\x00")
        broker = PlainBroker(disk, small_config())
        check_all_is_there(broker)
        assert any(isinstance(each, Damage) for each in broker.store.findings)
        broker.stop()
        check_all_is_there(PlainBroker(disk, small_config()))

    @pytest.mark.parametrize("kept", range(30, 61, 5))
    def test_what_the_partitions_have_is_kept_where_the_ingress_log_lost_its_end(
        self, kept: int
    ) -> None:
        disk = LIVED.kill()
        for path, data in disk.files().items():
            if path.match("ingress*.log"):
                for number in range(kept, 90):
                    if (found := data.find(b"|m%d|" % number)) >= 0:
                        truncate(disk, path, data.rfind(b"\n", 0, found) + 1)
                        break
        broker = PlainBroker(disk, small_config())
        assert ids_of(broker) == Counter(f"m{number}" for number in range(60))

    def test_a_message_for_an_unknown_topic_is_kept_and_said(self) -> None:
        disk = LIVED.kill()
        delete(disk, "config.log")
        delete(disk, "topic_events/*")
        broker = PlainBroker(disk, small_config())
        told = [each for each in broker.told() if "is for the unknown topic 'events'" in each]
        assert len(told) == 20
        kept = [data for path, data in disk.files().items() if path.match("damaged/unknown-topic*")]
        assert sorted(line.split(b"|")[3] for line in kept) == sorted(
            b"m%d" % number for number in range(30, 90, 3)
        )
        assert set(ids_of(broker).values()) == {1}

    def test_an_end_that_the_checkpoint_knows_is_never_given_out_again(self) -> None:
        disk = produced_alone(b"1", b"2", b"3")
        PlainBroker(disk, ONE).store.close()
        truncate(disk, INGRESS, 0)
        broker = PlainBroker(disk, ONE)
        assert broker.store.ingress.offsets.log_end == 3
        assert not any(isinstance(each, Missing) for each in broker.store.findings)
        broker.produce("orders", "new")
        again = PlainBroker(disk.power_loss_worst(), ONE)
        assert list(again.messages("orders", 0).values()) == ["m0", "m1", "m2", "new"]

    def test_the_lost_end_of_the_ingress_log_is_said_once(self) -> None:
        disk = SimulatedDisk()
        broker = PlainBroker(disk, ONE)
        broker.produce("orders", "m0", "m1")
        broker.route()
        broker.produce("orders", "m2")
        broker.produce("orders", "m3")
        broker.checkpoint()
        disk = disk.power_loss_worst()
        data = disk.files()[INGRESS]
        truncate(disk, INGRESS, data.index(b"broker_1|4"))
        again = PlainBroker(disk, ONE)
        assert [each for each in again.store.findings if isinstance(each, Missing)] == [
            Missing(INGRESS, 4, 4)
        ]
        assert list(again.messages("orders", 0).values()) == ["m0", "m1", "m2"]
        again.store.close()
        assert PlainBroker(disk, ONE).store.findings == []


class TestMissingIngressLog:
    @pytest.mark.parametrize("pattern", ["ingress.*[gx]", "ingress.*log"])
    def test_it_is_one_sentence_and_changes_nothing(self, pattern: str) -> None:
        whole = LIVED.files()
        disk = LIVED.kill()
        for path in whole:
            if path.match(pattern):
                disk.delete(path)
        left = disk.files()
        with pytest.raises(DataDirError) as caught:
            PlainBroker(disk, small_config())
        told = str(caught.value)
        assert told.startswith("the write-ahead log /data/ingress.log is missing")
        assert "holds 30 messages" in told
        assert "\n" not in told
        check_nothing_is_open(disk)
        assert disk.files() == left
        for path, data in whole.items():
            if path not in left:
                disk.open(path, create=True).write(0, data)
        check_all_is_there(PlainBroker(disk.kill(), small_config()))

    def test_without_the_checkpoint_the_broker_starts_as_the_sentence_says(self) -> None:
        disk = LIVED.kill()
        delete(disk, "ingress*")
        broker = PlainBroker(disk, small_config())
        assert ids_of(broker).keys() == {f"m{number}" for number in range(60)}
        broker.produce("orders", "new")
        broker.route()
        assert "new" in ids_of(broker)


class TestPartitionDamage:
    def damaged_in_the_middle(self) -> tuple[SimulatedDisk, Path, int]:
        disk = SimulatedDisk()
        broker = PlainBroker(disk, ONE)
        for number in range(5):
            broker.produce("orders", f"m{number}")
            broker.route()
        broker.stop()
        path = ORDERS / "partition_0.log"
        position = disk.files()[path].index(b"orders|0|3|")
        disk.corrupt(path, position + 3, b"\x00")
        return disk, path, position

    def test_what_is_damaged_is_never_served_and_the_rest_is(self) -> None:
        disk, _, _ = self.damaged_in_the_middle()
        broker = PlainBroker(disk, ONE)
        assert broker.messages("orders", 0) == {1: "m0", 2: "m1", 4: "m3", 5: "m4"}
        assert broker.queue("orders", 0).offsets.log_end == 5

    def test_without_an_index_it_is_said_by_offset_and_byte(self) -> None:
        disk, path, position = self.damaged_in_the_middle()
        delete(disk, "partition_0.*index")
        broker = PlainBroker(disk, ONE)
        length = len(b"orders|0|3|m2|1\n")
        assert Damage(path, position, length, 3, 3) in broker.store.findings
        assert broker.messages("orders", 0) == {1: "m0", 2: "m1", 4: "m3", 5: "m4"}

    def test_a_log_that_lost_its_end_gets_a_hole_and_new_messages_behind_it(self) -> None:
        for lost in range(1, 6):
            disk, path, _ = self.damaged_in_the_middle()
            disk.corrupt(path, disk.files()[path].index(b"|3|") - 5, b"e")
            truncate(disk, path, disk.files()[path].index(b"orders|0|%d|" % lost))
            broker = PlainBroker(disk, ONE)
            assert Missing(path, lost, 5) in broker.store.findings
            assert broker.queue("orders", 0).offsets.log_end == 5
            broker.produce("orders", "new")
            broker.route()
            expected = {**{n: f"m{n - 1}" for n in range(1, lost)}, 6: "new"}
            assert broker.messages("orders", 0) == expected
            broker.stop()
            again = PlainBroker(disk.power_loss_worst(), ONE)
            assert again.messages("orders", 0) == expected
            assert only_indexes(again)

    @pytest.mark.parametrize("checkpointed", [False, True])
    def test_a_read_offset_beyond_the_end_leaves_new_messages_visible(
        self, *, checkpointed: bool
    ) -> None:
        disk = SimulatedDisk()
        broker = PlainBroker(disk, ONE)
        broker.produce("orders", "m0", "m1", "m2")
        broker.route()
        if checkpointed:
            broker.checkpoint()
        broker.commit("orders", 0, 3)
        broker.store.close()
        delete(disk, "partition_0.*")
        if not checkpointed:
            truncate(disk, INGRESS, 0)
        again = PlainBroker(disk, ONE)
        queue = again.queue("orders", 0)
        assert queue.offsets.read == queue.offsets.log_end == 3
        assert Missing(ORDERS / "partition_0.log", 1, 3) in again.store.findings
        again.produce("orders", "new")
        again.route()
        assert queue.read(ALL, ALL).end_offset == 4
        again.stop()
        assert PlainBroker(disk, ONE).messages("orders", 0) == {4: "new"}


class TestConfiguration:
    def test_a_new_topic_is_created(self) -> None:
        disk = LIVED.kill()
        config = small_config({"orders": 2, "events": 1, "new": 3})
        broker = PlainBroker(disk, config)
        check_all_is_there(broker)
        broker.produce("new", "n1", "n2", "n3")
        broker.stop()
        again = PlainBroker(disk.power_loss_worst(), config)
        assert again.message_ids("new") == ["n1", "n2", "n3"]
        assert len(again.store.topics["new"].partitions) == 3

    def test_partitions_are_added_and_what_was_routed_stays(self) -> None:
        disk = LIVED.kill()
        grown = small_config({"orders": 5, "events": 2})
        broker = PlainBroker(disk, grown)
        check_all_is_there(broker)
        broker.produce("orders", *(f"new{number}" for number in range(20)))
        broker.route()
        for number in range(5):
            ids = [id_ for id_ in broker.messages("orders", number).values() if "new" in id_]
            assert ids
            assert all(partition_for(id_.encode(), 5) == number for id_ in ids)

    def test_growth_in_a_start_that_ends_before_any_call_moves_nothing(self) -> None:
        grown = small_config({"orders": 5, "events": 2})
        for number in range(0, 1_000, 5):
            disk = LIVED.kill()
            disk.fail("*", after=number, times=None, error=Stop())
            try:
                PlainBroker(disk, grown).store.close()
            except Stop:
                check_all_is_there(PlainBroker(disk.kill(), grown))
                check_all_is_there(PlainBroker(disk.crash(random.Random(number)), grown))
            else:
                assert number > 100
                return

    def test_fewer_partitions_are_refused_by_name_and_change_nothing(self) -> None:
        disk = LIVED.kill()
        with pytest.raises(ConfigError) as caught:
            PlainBroker(disk, small_config({"events": 1, "orders": 1}))
        assert str(caught.value) == (
            "Config(...): topics[1].partitions is 1, but topic 'orders' has 2 in /data; "
            "partitions can be added, not taken away"
        )
        check_nothing_is_open(disk)
        check_all_is_there(PlainBroker(disk, small_config()))

    def test_a_topic_with_messages_that_is_left_out_is_refused_by_name(self) -> None:
        disk = LIVED.kill()
        with pytest.raises(ConfigError) as caught:
            PlainBroker(disk, small_config({"orders": 2}))
        assert str(caught.value) == (
            "Config(...): topics lacks topic 'events', which has messages in /data; "
            "put it back with its 1 partitions"
        )
        check_nothing_is_open(disk)
        check_all_is_there(PlainBroker(disk, small_config()))

    def test_an_empty_topic_that_is_left_out_is_dropped(self) -> None:
        disk = LIVED.kill()
        PlainBroker(disk, small_config({"orders": 2, "events": 1, "empty": 3})).store.close()
        assert disk.exists(DATA / "topics" / "topic_empty")
        broker = PlainBroker(disk, small_config())
        check_all_is_there(broker)
        assert not disk.exists(DATA / "topics" / "topic_empty")
        assert any("empty and no longer configured" in told for told in broker.told())
        broker.store.close()
        check_nothing_is_open(disk)
        assert PlainBroker(disk, small_config()).store.findings == []

    def test_dropping_a_topic_may_end_before_any_call(self) -> None:
        filled = LIVED.kill()
        PlainBroker(filled, small_config({"orders": 2, "events": 1, "empty": 3})).store.close()
        for number in range(1_000):
            disk = filled.kill()
            disk.fail("*", after=number, times=None, error=Stop())
            try:
                PlainBroker(disk, small_config()).store.close()
            except Stop:
                for image in (disk.kill(), disk.crash(random.Random(number))):
                    check_all_is_there(PlainBroker(image, small_config()))
                    assert not image.exists(DATA / "topics" / "topic_empty" / "partition_0.log")
            else:
                return

    @pytest.mark.parametrize("case_insensitive", [False, True])
    def test_an_empty_topic_may_be_written_otherwise(self, *, case_insensitive: bool) -> None:
        disk = SimulatedDisk(case_insensitive=case_insensitive)
        PlainBroker(disk, small_config({"Orders": 2})).store.close()
        broker = PlainBroker(disk, small_config({"orders": 2}))
        broker.produce("orders", "m1")
        broker.stop()
        again = PlainBroker(disk.power_loss_worst(), small_config({"orders": 2}))
        assert again.message_ids("orders") == ["m1"]

    @pytest.mark.parametrize("case_insensitive", [False, True])
    def test_a_topic_with_messages_may_not_be_written_otherwise(
        self, *, case_insensitive: bool
    ) -> None:
        disk = SimulatedDisk(case_insensitive=case_insensitive)
        broker = PlainBroker(disk, small_config({"Orders": 2}))
        broker.produce("Orders", "m1")
        broker.stop()
        with pytest.raises(ConfigError, match="topics lacks topic 'Orders'"):
            PlainBroker(disk, small_config({"orders": 2}))
        check_nothing_is_open(disk)
        again = PlainBroker(disk, small_config({"Orders": 2}))
        assert again.message_ids("Orders") == ["m1"]

    def test_another_broker_id_takes_the_messages_over(self) -> None:
        config = small_config()
        other = type(config)(
            broker_id="broker_2", topics=config.topics, data_dir=DATA, segment_bytes=512
        )
        check_all_is_there(PlainBroker(LIVED.kill(), other))

    def test_assignments_of_what_is_no_longer_there_are_dropped(self) -> None:
        disk = LIVED.kill()
        broker = PlainBroker(disk, small_config({"orders": 2, "events": 1, "empty": 1}))
        kept = Assignment("orders", 1, "alice")
        broker.assign(kept, Assignment("empty", 0, "bob"), Assignment("orders", 7, "carol"))
        broker.store.close()
        assert PlainBroker(disk, small_config()).store.assignments == [kept]

    def test_retention_lets_a_log_begin_later_and_a_start_does_not_mind(self) -> None:
        config = small_config(
            {"orders": 1},
            segment_bytes=256,
            retention=Retention(max_age_ms=None, max_bytes=600, keep_committed=False),
        )
        disk = SimulatedDisk()
        broker = PlainBroker(disk, config)
        for number in range(60):
            broker.produce("orders", f"m{number}")
            broker.route()
        broker.checkpoint()
        broker.commit("orders", 0, 50)
        broker.retain("orders", 0)
        messages = broker.messages("orders", 0)
        assert 30 < min(messages) <= 51
        again = PlainBroker(disk.power_loss_worst(), config)
        assert again.messages("orders", 0) == messages
        assert only_indexes(again)


class TestFaults:
    def fail_at_every(self, operation: Operation, error: OSError, times: int | None = 1) -> int:
        """Start with a fault at each call; return how often the start did not succeed."""
        refused = 0
        for number in range(2_000):
            disk = LIVED.kill()
            fault = disk.fail(operation, after=number, error=error, written=number % 7, times=times)
            try:
                broker = PlainBroker(disk, small_config())
            except DataDirError as caught:
                refused += 1
                told = str(caught)
                assert "/data" in told
                assert "\n" not in told
                check_nothing_is_open(disk)
            else:
                disk.heal()
                check_all_is_there(broker)
                broker.store.close()
            disk.heal()
            check_all_is_there(PlainBroker(disk.kill(), small_config()))
            check_all_is_there(PlainBroker(disk.crash(random.Random(number)), small_config()))
            if not fault.hits:
                return refused
        raise AssertionError("a start never came to its end")

    def test_no_room_at_any_write_is_one_sentence_and_costs_nothing(self) -> None:
        no_room = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        assert self.fail_at_every("write", no_room, times=None) > 10

    def test_what_retention_lets_go_makes_the_room_to_recover(self) -> None:
        disk = SimulatedDisk()
        kept = PlainBroker(disk, small_config())
        everything = Retention(keep_committed=False)
        config = small_config(retention=everything)
        for number in range(20):
            kept.produce("orders", *(f"m{number}-{each}" for each in range(5)))
        kept.route()
        kept.checkpoint()
        for partition_id in range(2):
            log_end = kept.queue("orders", partition_id).offsets.log_end
            kept.commit("orders", partition_id, log_end)
        kept.produce("orders", *(f"n{each}" for each in range(20)))
        disk = disk.kill()
        disk.capacity_bytes = disk.used_bytes + 10
        with pytest.raises(DataDirError, match="there is no room to recover /data"):
            PlainBroker(disk, small_config())
        broker = PlainBroker(disk, config)
        found = {number: len(broker.messages("orders", number)) for number in range(2)}
        assert sum(found.values()) >= 20

    @pytest.mark.parametrize(
        "operation",
        [
            "open",
            "size",
            "read",
            "truncate",
            "sync",
            "exists",
            "list",
            "make_folder",
            "replace",
            "delete",
            "sync_folder",
            "lock",
        ],
    )
    def test_an_error_at_any_call_is_one_sentence_and_costs_nothing(
        self, operation: Operation
    ) -> None:
        assert self.fail_at_every(operation, OSError(errno.EIO, os.strerror(errno.EIO))) > 0

    def test_a_message_that_cannot_be_read_for_once_is_not_given_up(self) -> None:
        for times in (1, 2, None):
            for number in range(10):
                disk = produced_alone(b"1")
                disk.fail("read", INGRESS, after=number, times=times)
                try:
                    PlainBroker(disk, ONE).store.close()
                except DataDirError as caught:
                    assert "Input/output error" in str(caught)  # noqa: PT017
                check_nothing_is_open(disk)
                disk.heal()
                assert ids_of(PlainBroker(disk, ONE)) == Counter(["m0"])

    def test_damage_at_the_end_is_told_though_all_before_it_is_routed(self) -> None:
        disk = SimulatedDisk()
        broker = PlainBroker(disk, ONE)
        broker.produce("orders", "m0")
        broker.stop()
        broker = PlainBroker(disk, ONE)
        broker.produce("orders", "m1")
        disk = disk.kill()
        size = len(disk.files()[INGRESS])
        disk.corrupt(INGRESS, size - 5, b"\x00")
        delete(disk, "ingress.*.index")
        broker = PlainBroker(disk, ONE)
        (told,) = [each for each in broker.told() if "damaged" in each]
        assert told.startswith(f"{INGRESS}: ")
        assert told.endswith("are damaged (what they held is not known)")
        assert len(disk.list(DATA / "damaged")) == 1

    def test_no_room_for_damaged_bytes_keeps_the_damage_for_the_next_start(self) -> None:
        disk = produced_alone(b"1", b"2", b"3")
        disk.corrupt(INGRESS, 3, b"\x00")
        no_room = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        disk.fail("write", "*/damaged/*", error=no_room, times=None)
        with pytest.raises(DataDirError, match="there is no room to recover /data"):
            PlainBroker(disk, ONE)
        check_nothing_is_open(disk)
        disk.heal()
        broker = PlainBroker(disk, ONE)
        assert sorted(ids_of(broker)) == ["m1", "m2"]
        assert len(disk.list(DATA / "damaged")) == 1

"""The delay log: what waits is there after any end, and goes once."""

import errno
from pathlib import Path

import pytest

from pandaq.errors import StorageFailed, StorageFull
from pandaq.extra import Extra, decode_extra, encode_extra
from pandaq.offsets import Offsets
from pandaq.records import LineFormat, extra_of
from pandaq.storage import delayed as delayed_module
from pandaq.storage.delayed import Delayed, mark_of
from pandaq.storage.log import Log
from tests.simulated_disk import SimulatedDisk

FOLDER = Path("/data")
PATH = FOLDER / "delayed.log"
PLENTY = 1 << 30


@pytest.fixture
def disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    return disk


def opened(disk: SimulatedDisk, segment_bytes: int = PLENTY) -> Delayed:
    return Delayed(Log(disk, PATH, LineFormat.ingress("b"), segment_bytes, lambda: 7))


def waiting(message_id: str, deliver_at: int, offset: int | None = None) -> bytes:
    """Return a message as the ingress log brings it, of the delay log's `offset`, if any."""
    extra = encode_extra(Extra(key="k", deliver_at=deliver_at, delayed=offset))
    return b"orders|%b|1|%b" % (message_id.encode(), extra)


def gone(message_id: str, offset: int) -> bytes:
    return b"orders|%b|1|%b" % (message_id.encode(), encode_extra(Extra(key="k", delayed=offset)))


def ids_due(delayed: Delayed, now_ms: int, most: int = 10) -> list[str]:
    return [body.split(b"|")[1].decode() for body in delayed.due(now_ms, most, PLENTY).bodies]


class TestWaiting:
    def test_what_is_due_comes_in_the_order_of_its_time_until_it_is_sent(
        self, disk: SimulatedDisk
    ) -> None:
        delayed = opened(disk)
        assert delayed.append([waiting("a", 30), waiting("b", 10), waiting("c", 20)]) == [True] * 3
        assert (len(delayed), delayed.next_due_ms()) == (3, 10)
        assert ids_due(delayed, 9) == []
        assert ids_due(delayed, 20) == ids_due(delayed, 20) == ["b", "c"]
        due = delayed.due(20, 10, PLENTY)
        assert due.offsets == [2, 3]
        delayed.sent(due.offsets)
        assert ids_due(delayed, 20) == []
        assert (len(delayed), delayed.next_due_ms()) == (3, 30)

    def test_what_goes_says_where_it_waited_and_not_when_it_is_due(
        self, disk: SimulatedDisk
    ) -> None:
        delayed = opened(disk)
        delayed.append([waiting("a|b", 5)])
        (body,) = delayed.due(5, 10, PLENTY).bodies
        assert decode_extra(extra_of(body.split(b"|", 1)[1])) == Extra(key="k", delayed=1)

    def test_no_more_goes_at_once_than_is_asked_for(self, disk: SimulatedDisk) -> None:
        delayed = opened(disk)
        delayed.append([waiting(name, 1) for name in "abcd"])
        assert ids_due(delayed, 1, most=2) == ["a", "b"]
        assert len(delayed.due(1, 10, 1).bodies) == 1

    def test_what_has_gone_is_known_and_does_not_go_again(self, disk: SimulatedDisk) -> None:
        delayed = opened(disk)
        delayed.append([waiting("a", 1), waiting("b", 2)])
        assert delayed.append([gone("a", 1), gone("a", 1)]) == [True, False]
        assert delayed.append([gone("a", 1), gone("x", 99)]) == [False, False]
        assert ids_due(delayed, 9) == ["b"]
        assert delayed.offsets == Offsets(3, 1)
        assert delayed.append([gone("b", 2)]) == [True]
        assert (len(delayed), delayed.next_due_ms(), delayed.offsets) == (0, None, Offsets(4, 4))

    def test_a_message_is_known_by_its_offset_and_id(self, disk: SimulatedDisk) -> None:
        delayed = opened(disk)
        delayed.append([waiting("a", 1)])
        assert delayed.has(1, b"a|1")
        assert not delayed.has(1, b"b|1")
        assert not delayed.has(2, b"a|1")


class TestFiles:
    def test_a_log_that_is_opened_again_knows_what_waits(self, disk: SimulatedDisk) -> None:
        delayed = opened(disk)
        delayed.append([waiting("a", 30), waiting("b", 10), waiting("c", 20)])
        delayed.append([gone("b", 2)])
        delayed.log.sync()
        again = opened(disk.power_loss_worst())
        assert ids_due(again, 99) == ["c", "a"]
        assert again.offsets == Offsets(4, 0)

    def test_the_line_of_what_has_gone_is_short(self, disk: SimulatedDisk) -> None:
        delayed = opened(disk)
        delayed.append([waiting("a", 1)])
        delayed.append([gone("a", 1)])
        assert disk.files()[PATH].endswith(b'\nb|2|orders|a|null|{"delayed":1}\n')
        assert mark_of(b'a|"long"|{"delayed":1,"key":"k"}') == b'a|null|{"delayed":1}'

    def test_an_append_without_room_changes_nothing(self, disk: SimulatedDisk) -> None:
        delayed = opened(disk)
        delayed.append([waiting("a", 1)])
        disk.fail("write", PATH.name, error=OSError(errno.ENOSPC, "no room"))
        with pytest.raises(StorageFull):
            delayed.append([gone("a", 1), waiting("b", 2)])
        assert ids_due(delayed, 9) == ["a"]
        assert delayed.append([gone("a", 1), waiting("b", 2)]) == [True, True]
        assert ids_due(delayed, 9) == ["b"]

    def test_what_is_damaged_is_told_when_it_is_opened(self, disk: SimulatedDisk) -> None:
        delayed = opened(disk)
        delayed.append([waiting("a", 1)])
        delayed.append([waiting("b", 2)])
        delayed.log.close()
        disk.corrupt(PATH, 3, b"\0\0")
        again = opened(disk)
        assert [(each.first, each.last) for each in again.damaged] == [(1, 1)]
        assert ids_due(again, 9) == ["b"]

    def test_what_is_damaged_later_is_told_and_holds_nothing_up(
        self, disk: SimulatedDisk, caplog: pytest.LogCaptureFixture
    ) -> None:
        delayed = opened(disk)
        delayed.append([waiting("a", 1)])
        delayed.append([waiting("b", 2)])
        disk.corrupt(PATH, 3, b"\0\0")
        assert ids_due(delayed, 9) == ["b"]
        assert "a delayed message is lost" in caplog.text
        assert len(delayed) == 1

    def test_a_disk_that_cannot_be_read_now_takes_nothing_away(self, disk: SimulatedDisk) -> None:
        delayed = opened(disk)
        for name in "abc":
            delayed.append([waiting(name, 1)])
        disk.fail("read", PATH, after=1)
        with pytest.raises(StorageFailed):
            delayed.due(9, 10, PLENTY)
        assert ids_due(delayed, 9) == ["a", "b", "c"]

    def test_however_they_are_due_they_are_looked_up_in_the_order_of_the_log(
        self, disk: SimulatedDisk
    ) -> None:
        delayed = opened(disk)
        for first in range(0, 3_000, 100):
            times = [1 + n * 7_919 % 1_000 for n in range(first, first + 100)]
            delayed.append([waiting("x" * 70, each) for each in times])
        reads = [0]

        def count(_path: Path) -> bool:
            reads[0] += 1
            return False

        disk.fail("read", count, times=None)
        due = delayed.due(2_000, 1_000, PLENTY)
        times = [1 + (offset - 1) * 7_919 % 1_000 for offset in due.offsets]
        assert (len(times), times) == (1_000, sorted(times))
        assert reads[0] < 400


class TestLettingGo:
    def test_few_that_wait_among_many_that_have_gone_are_appended_anew(
        self, disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delayed_module, "SPARSE", 4)
        delayed = opened(disk, segment_bytes=300)
        delayed.append([waiting("late", 1_000)])
        for number in range(2, 12, 2):
            delayed.append([waiting("x", 1)])
            delayed.append([gone("x", number)])
        assert (delayed.look_at_ms(), delayed.next_due_ms()) == (0, 1_000)
        due = delayed.due(500, 10, PLENTY)
        assert due.offsets == [1]
        delayed.sent(due.offsets)
        assert delayed.due(500, 10, PLENTY).bodies == []
        assert delayed.append(due.bodies) == [True]
        assert delayed.offsets == Offsets(12, 11)
        assert delayed.log.release(delayed.offsets.read) > 0
        assert ids_due(delayed, 1_000) == ["late"]
        delayed.log.sync()
        assert ids_due(opened(disk.power_loss_worst()), 1_000) == ["late"]

"""What an error of the disk means for a file that is written."""

import errno
from pathlib import Path

import pytest

from pandaq.errors import StorageFailed, StorageFull
from pandaq.storage.disk import NO_ROOM
from pandaq.storage.guard import SyncFailed, WriteGuard, must_succeed

PATH = Path("data/a.log")


@pytest.fixture
def guard() -> WriteGuard:
    return WriteGuard(PATH)


def failing(error: BaseException) -> None:
    raise error


def test_what_succeeds_goes_through(guard: WriteGuard) -> None:
    with guard.writing():
        must_succeed(lambda: None)
    assert guard.failure is None


@pytest.mark.parametrize("number", sorted(NO_ROOM))
def test_no_room_is_told_as_such_and_may_be_tried_again(guard: WriteGuard, number: int) -> None:
    with pytest.raises(StorageFull) as raised, guard.writing():
        failing(OSError(number, "no room"))
    assert raised.value.path == PATH
    assert isinstance(raised.value.__cause__, OSError)
    assert guard.failure is None
    with guard.writing():
        pass


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), PermissionError("broken")])
def test_any_other_error_may_be_tried_again(guard: WriteGuard, error: OSError) -> None:
    with pytest.raises(StorageFailed, match="broken") as raised, guard.writing():
        failing(error)
    assert (raised.value.path, raised.value.__cause__) == (PATH, error)
    assert not raised.value.closed
    assert guard.failure is None
    with guard.writing():
        pass


@pytest.mark.parametrize("number", [errno.EIO, *sorted(NO_ROOM)])
def test_a_failed_sync_closes_the_file_for_good(guard: WriteGuard, number: int) -> None:
    with pytest.raises(StorageFailed, match="broken") as raised, guard.writing():
        must_succeed(lambda: failing(OSError(number, "broken")))
    assert raised.value.closed
    assert isinstance(raised.value.__cause__, SyncFailed)
    assert guard.failure is not None
    assert "broken" in guard.failure
    for _ in range(2):
        written = False
        with pytest.raises(StorageFailed, match="broken") as raised, guard.writing():
            written = True
        assert raised.value.closed
        assert not written


def test_a_failed_sync_keeps_its_number_and_its_words() -> None:
    with pytest.raises(SyncFailed) as raised:
        must_succeed(lambda: failing(OSError(errno.EIO, "broken")))
    assert (raised.value.errno, raised.value.strerror) == (errno.EIO, "broken")
    with pytest.raises(SyncFailed, match="only words"):
        must_succeed(lambda: failing(OSError("only words")))


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), StorageFull(PATH)])
def test_what_the_disk_did_not_raise_is_left_as_it_is(
    guard: WriteGuard, error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised, guard.writing():
        must_succeed(lambda: failing(error))
    assert raised.value is error
    assert guard.failure is None


class TestTrouble:
    """What was refused is remembered until a write succeeds."""

    def refused(self, guard: WriteGuard) -> None:
        with pytest.raises(StorageFull), guard.writing():
            failing(OSError(errno.ENOSPC, "no room"))

    def test_a_refused_write_is_trouble_until_one_succeeds(self, guard: WriteGuard) -> None:
        self.refused(guard)
        assert "no room" in str(guard.trouble)
        with guard.checking():
            pass
        assert "no room" in str(guard.trouble)
        with guard.writing():
            pass
        assert guard.trouble is None

    def test_who_asks_for_the_problem_has_it_tried_again(self, guard: WriteGuard) -> None:
        tried = []

        def write() -> None:
            with guard.writing():
                tried.append(1)

        assert guard.problem(write) is None
        assert tried == []
        self.refused(guard)
        assert guard.problem(lambda: self.refused(guard)) == (
            "cannot be written ([Errno 28] no room); make room, or check the disk"
        )
        assert guard.problem(write) is None
        assert tried == [1]

    def test_what_is_closed_is_not_tried_again(self, guard: WriteGuard) -> None:
        with pytest.raises(StorageFailed), guard.writing():
            must_succeed(lambda: failing(OSError(errno.EIO, "broken")))
        problem = guard.problem(lambda: pytest.fail("tried"))
        assert problem == "is closed for writing ([Errno 5] broken); check the disk, then restart"

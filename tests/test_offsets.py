"""Where a log ends and how far it has been read."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.errors import InvalidOffset
from pandaq.offsets import Offsets

NUMBERS = st.integers(0, 1 << 63)


@st.composite
def any_offsets(draw: st.DrawFn) -> Offsets:
    log_end = draw(NUMBERS)
    return Offsets(log_end, draw(st.integers(0, log_end)))


def test_a_new_log_is_empty_and_unread() -> None:
    assert Offsets() == Offsets(log_end=0, read=0)
    assert Offsets().pending == 0


@pytest.mark.parametrize(("log_end", "read"), [(0, 1), (3, 4), (3, -1), (-1, -1)])
def test_offsets_that_break_the_rule_cannot_be_made(log_end: int, read: int) -> None:
    with pytest.raises(ValueError, match=f"readOffset {read} is not from 0 to logEndOffset"):
        Offsets(log_end, read)


def test_offsets_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Offsets().read = 1  # type: ignore[misc]


@given(any_offsets(), NUMBERS)
def test_an_append_moves_the_end_alone(offsets: Offsets, count: int) -> None:
    appended = offsets.appended(count)
    assert appended == Offsets(offsets.log_end + count, offsets.read)
    assert appended.pending == offsets.pending + count


@given(any_offsets(), st.data())
def test_a_commit_moves_the_read_offset_alone(offsets: Offsets, data: st.DataObject) -> None:
    offset = data.draw(st.integers(offsets.read, offsets.log_end))
    committed = offsets.committed(offset)
    assert committed == Offsets(offsets.log_end, offset)
    assert committed.pending == offsets.log_end - offset


@given(any_offsets())
def test_a_commit_of_the_read_offset_changes_nothing(offsets: Offsets) -> None:
    assert offsets.committed(offsets.read) == offsets


@given(any_offsets(), st.integers())
def test_a_commit_outside_of_what_is_pending_is_refused(offsets: Offsets, offset: int) -> None:
    if offsets.read <= offset <= offsets.log_end:
        offset = offsets.log_end + 1 + offset
    with pytest.raises(InvalidOffset) as raised:
        offsets.committed(offset)
    error = raised.value
    assert (error.offset, error.lowest, error.log_end) == (offset, offsets.read, offsets.log_end)
    assert f"from {offsets.read} (readOffset) to {offsets.log_end} (logEndOffset)" in str(error)


@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 50))))
def test_neither_offset_ever_goes_back(changes: list[tuple[bool, int]]) -> None:
    offsets = Offsets()
    for append, number in changes:
        before = offsets
        if append:
            offsets = offsets.appended(abs(number))
        elif before.read <= number <= before.log_end:
            offsets = offsets.committed(number)
        else:
            with pytest.raises(InvalidOffset):
                offsets.committed(number)
        assert offsets.log_end >= before.log_end
        assert offsets.read >= before.read
        assert 0 <= offsets.read <= offsets.log_end

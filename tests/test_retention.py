"""Which sealed segments of a log may go."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.config import Retention
from pandaq.retention import expired_through

NOW = 1_000_000


@dataclass(frozen=True)
class Sealed:
    """A sealed segment as the rule sees it."""

    last: int
    size: int
    newest_ms: int


THREE = [Sealed(10, 100, NOW - 300), Sealed(20, 100, NOW - 200), Sealed(30, 100, NOW - 100)]


def keeping(
    age_ms: int | None = None,
    size: int | None = None,
    *,
    committed: bool = True,
    delete_uncommitted: bool = False,
) -> Retention:
    return Retention(
        max_age_ms=age_ms,
        max_bytes=size,
        keep_committed=committed,
        delete_uncommitted=delete_uncommitted,
    )


@st.composite
def any_segments(draw: st.DrawFn) -> list[Sealed]:
    lengths = draw(st.lists(st.integers(1, 9), max_size=6))
    return [
        Sealed(sum(lengths[: n + 1]), draw(st.integers(1, 50)), NOW - draw(st.integers(0, 50)))
        for n in range(len(lengths))
    ]


ANY_RETENTION = st.builds(
    keeping,
    st.none() | st.integers(1, 50),
    st.none() | st.integers(1, 200),
    committed=st.booleans(),
    delete_uncommitted=st.booleans(),
)


def test_nothing_goes_where_nothing_is_sealed() -> None:
    strict = keeping(1, 1, committed=False, delete_uncommitted=True)
    assert expired_through([], 999, 0, strict, NOW) == 0


def test_all_stay_where_no_limit_is_passed() -> None:
    assert expired_through(THREE, 100, 30, keeping(), NOW) == 0
    assert expired_through(THREE, 100, 30, keeping(300, 400), NOW) == 0


@pytest.mark.parametrize(("age_ms", "through"), [(300, 0), (299, 10), (199, 20), (1, 30)])
def test_what_is_too_old_goes(age_ms: int, through: int) -> None:
    assert expired_through(THREE, 100, 30, keeping(age_ms), NOW) == through


@pytest.mark.parametrize(
    ("size", "through"), [(400, 0), (399, 10), (300, 10), (299, 20), (200, 20), (199, 30), (1, 30)]
)
def test_what_is_too_much_goes_and_the_active_segment_counts(size: int, through: int) -> None:
    assert expired_through(THREE, 100, 30, keeping(size=size), NOW) == through


@pytest.mark.parametrize(("read", "through"), [(0, 0), (9, 0), (10, 10), (29, 20), (30, 30)])
def test_what_is_committed_goes_at_once_where_it_is_not_kept(read: int, through: int) -> None:
    assert expired_through(THREE, 100, read, keeping(committed=False), NOW) == through


@pytest.mark.parametrize(("read", "through"), [(0, 0), (9, 0), (10, 10), (29, 20), (30, 30)])
def test_what_is_not_committed_stays_however_old_and_much(read: int, through: int) -> None:
    assert expired_through(THREE, 100, read, keeping(1, 1), NOW) == through


def test_what_is_not_committed_goes_where_the_topic_says_so() -> None:
    assert expired_through(THREE, 100, 0, keeping(199, delete_uncommitted=True), NOW) == 20


def test_deleting_uncommitted_ones_needs_a_limit_that_they_pass() -> None:
    retention = keeping(committed=False, delete_uncommitted=True)
    assert expired_through(THREE, 100, 10, retention, NOW) == 10


def test_an_old_one_behind_a_young_one_stays() -> None:
    segments = [Sealed(10, 1, NOW - 1), Sealed(20, 1, NOW - 9)]
    assert expired_through(segments, 0, 20, keeping(5), NOW) == 0


@given(any_segments(), st.integers(0, 60), st.integers(0, 60), ANY_RETENTION)
def test_never_an_uncommitted_one_unless_told(
    segments: list[Sealed], active_bytes: int, read: int, retention: Retention
) -> None:
    through = expired_through(segments, active_bytes, read, retention, NOW)
    assert through in {0, *(segment.last for segment in segments)}
    assert through <= read or retention.delete_uncommitted


@given(any_segments(), st.integers(0, 60), st.integers(0, 60), ANY_RETENTION)
def test_each_that_goes_has_a_reason_and_the_next_has_none(
    segments: list[Sealed], active_bytes: int, read: int, retention: Retention
) -> None:
    through = expired_through(segments, active_bytes, read, retention, NOW)

    def may_go(number: int) -> bool:
        segment = segments[number]
        left = active_bytes + sum(each.size for each in segments[number:])
        reasons = [
            retention.max_age_ms is not None and NOW - segment.newest_ms > retention.max_age_ms,
            retention.max_bytes is not None and left > retention.max_bytes,
            not retention.keep_committed and segment.last <= read,
        ]
        return any(reasons) and (segment.last <= read or retention.delete_uncommitted)

    gone = sum(segment.last <= through for segment in segments)
    assert all(may_go(number) for number in range(gone))
    assert gone == len(segments) or not may_go(gone)


@given(any_segments(), st.integers(0, 60), st.integers(0, 60), ANY_RETENTION)
def test_deciding_again_after_the_deletion_deletes_no_more(
    segments: list[Sealed], active_bytes: int, read: int, retention: Retention
) -> None:
    through = expired_through(segments, active_bytes, read, retention, NOW)
    left = [segment for segment in segments if segment.last > through]
    assert expired_through(left, active_bytes, read, retention, NOW) == 0
